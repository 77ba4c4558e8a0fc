"""A bank of syringe pumps: one `Pump` for each liquid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ophyd import Component, Device, Kind

from devices.instrument import BridgedDevice
from devices.signals import CONNECT_S, Command, Reading
from devices.statuses import OperationStatus
from lab.core.channels import PUMP, by_name, narrow
from lab.core.clock import deadline_s
from lab.core.config import PumpBank as PumpBankConfig
from lab.core.config import Syringe
from lab.core.errors import InstrumentError, LimitError

DOSE_MARGIN_S = 60.0
"""Added to twice the expected duration of a dose, wall seconds. The bridge has the tighter deadline and waits half a minute for a line
that dropped; this one only ends the wait for a bridge that hangs."""


class Pump(Device):
    """One syringe pump of a bank.

    Setting it dispenses: ``bps.mv(pumps["cs"], 0.5)`` infuses 0.5 mL and is done when the pump has stopped by itself.

    Parameters
    ----------
    prefix : str
        ``f"{lab.prefix}{bank}:{address}:"``.
    name : str
    bank : PumpBank
    syringe : Syringe
    """

    rate = Component(Command, "RATE_RBV", write_pv="RATE", kind=Kind.config)
    diameter = Component(Command, "DIAMETER_RBV", write_pv="DIAMETER", kind=Kind.config)
    dispense = Component(Command, "DISPENSE", is_exclusive=True, kind=Kind.omitted)
    withdraw = Component(Command, "WITHDRAW", is_exclusive=True, kind=Kind.omitted)
    dispensed = Component(Reading, "DISPENSED", kind=Kind.hinted)
    withdrawn = Component(Reading, "WITHDRAWN", kind=Kind.normal)
    halt = Component(Command, "STOP", kind=Kind.omitted)
    status_word = Component(Reading, "STATUS", string=True, kind=Kind.omitted)
    alarm = Component(Reading, "ALARM", is_text=True, kind=Kind.omitted)

    def __init__(self, prefix: str, *, name: str, bank: PumpBank, syringe: Syringe) -> None:
        super().__init__(prefix, name=name, parent=bank)
        self.syringe = syringe
        self._bank = bank
        for signal, row in ((self.rate, "RATE"), (self.diameter, "DIAMETER"), (self.dispense, "DISPENSE"), (self.withdraw, "WITHDRAW")):
            signal.channel = bank.rows[row]

    @property
    def liquid(self) -> str:
        return self.syringe.liquid

    def set(self, volume_ml: float) -> OperationStatus:
        """Dispense so many mL; fails with the pump's words, `dispensed` tells how much it was then."""
        try:
            rate = float(self.rate.get())
        except InstrumentError as error:
            status = OperationStatus(self, f"{self.name}: dispense {volume_ml:g} mL", CONNECT_S)
            status.fail(error)
            return status
        return self.dispense.set(volume_ml, timeout=deadline_s(2 * volume_ml / rate * 60, self._bank.speed, DOSE_MARGIN_S))

    def stop(self, *, success: bool = False) -> None:
        """Stop the pump; returns when it has stopped."""
        self.halt.set(1).wait()


class PumpBank(BridgedDevice):
    """The pumps of one line, by liquid: ``pumps["cs"]``.

    Parameters
    ----------
    prefix : str
        ``f"{lab.prefix}{name}:"``.
    name : str
    config : lab.core.config.PumpBank
        What is loaded, and the limits.
    speed : float
        Laboratory seconds per wall second.
    """

    def __init__(self, prefix: str, *, name: str, config: PumpBankConfig, speed: float) -> None:
        super().__init__(prefix, name=name)
        self.speed = speed
        self.rows = by_name(narrow(PUMP, config.limits, f"instruments.{name}.limits"))
        self._pumps = {s.liquid: Pump(f"{prefix}{s.address}:", name=f"{name}_{s.liquid}", bank=self, syringe=s) for s in config.syringes}

    @property
    def liquids(self) -> tuple[str, ...]:
        return tuple(self._pumps)

    def __getitem__(self, liquid: str) -> Pump:
        try:
            return self._pumps[liquid]
        except KeyError as error:
            raise LimitError(f"{self.name}: given {liquid!r}; allowed: {', '.join(self._pumps)}") from error

    def __getattr__(self, name: str) -> Any:
        """``pumps.cs`` is ``pumps["cs"]``, for people."""
        pumps = self.__dict__.get("_pumps", {})
        return pumps[name] if name in pumps else super().__getattr__(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.__dict__.get("_pumps", {})]

    def __iter__(self) -> Iterator[Pump]:
        return iter(self._pumps.values())

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._pumps)

    def state_in_words(self) -> str:
        return ", ".join(f"{pump.liquid} {pump.status_word.get()}" for pump in self)

    def fault(self) -> str:
        return "; ".join(f"{pump.liquid}: {alarm}" for pump in self if (alarm := pump.alarm.get()))

    def wait_for_connection(self, all_signals: bool = False, timeout: float = CONNECT_S) -> None:
        super().wait_for_connection(all_signals, timeout)
        for pump in self:
            pump.wait_for_connection(all_signals, timeout)

    def read(self) -> dict[str, Any]:
        return self._gathered("read")

    def describe(self) -> dict[str, Any]:
        return self._gathered("describe")

    def read_configuration(self) -> dict[str, Any]:
        return self._gathered("read_configuration")

    def describe_configuration(self) -> dict[str, Any]:
        return self._gathered("describe_configuration")

    @property
    def hints(self) -> Mapping[str, Any]:
        return {"fields": [field for pump in self for field in pump.hints["fields"]]}

    def stop(self, *, success: bool = False) -> None:
        """Stop every pump; returns when they have stopped."""
        self.make_safe().wait()

    def destroy(self) -> None:
        for pump in self:
            pump.destroy()
        super().destroy()

    def _gathered(self, method: str) -> dict[str, Any]:
        found: dict[str, Any] = getattr(super(), method)()
        for pump in self:
            found.update(getattr(pump, method)())
        return found
