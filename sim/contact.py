"""Where the simulated instruments of a station touch the world. (The arm touches it everywhere, by its tool's pose.)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.world import World


@dataclass(frozen=True)
class Nozzles:
    """A pump bank's (`sim.ne1000.Reservoir`): above the place of its station."""

    world: World
    bank: str

    def infuse(self, address: int, volume_ml: float) -> None:
        self.world.infuse(self.bank, address, volume_ml)


@dataclass(frozen=True)
class Top:
    """A hotplate's (`sim.hotplate.Plate`): under the sample at its station."""

    world: World
    hotplate: str

    def set_heater(self, target_c: float | None) -> None:
        self.world.set_heater(self.hotplate, target_c)

    def plate_c(self) -> float:
        return self.world.plate_c(self.hotplate)

    def probe_c(self) -> float:
        return self.world.probe_c(self.hotplate)

    def set_stirrer(self, rpm: float) -> None:
        self.world.set_stirrer(self.hotplate, rpm)

    def stir_rpm(self) -> float:
        return self.world.stir_rpm(self.hotplate)
