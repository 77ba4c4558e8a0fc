"""A hotplate-stirrer: heating to a temperature, and stirring."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from ophyd import Component, Device, Kind

from devices import timekeeping
from devices.cadence import Cadence
from devices.instrument import BridgedDevice
from devices.signals import COMMAND_S, Command, Reading
from devices.statuses import OperationStatus, Steps, follow
from lab.core.channels import HOTPLATE, by_name, narrow
from lab.core.clock import deadline_s
from lab.core.config import Hotplate as HotplateConfig
from lab.core.errors import CommandError, InstrumentError, LinkDown

log = logging.getLogger(__name__)

STALL_S = 600.0
"""A plate that has come no nearer to its temperature for so long does not heat; laboratory seconds."""

STALL_MARGIN_S = 5.0
"""Added to it on the wall."""

PROGRESS_C = 0.5
"""What counts as nearer, K."""


class Stirrer(Device):
    """The stirrer of a hotplate; ``set(0)`` switches it off. Done when the instrument keeps the speed, not when it has spun up.

    Parameters
    ----------
    prefix, name, parent
        As of every Ophyd device.
    """

    speed_setpoint = Component(Command, "STIR_SP", write_pv="STIR_RPM", kind=Kind.config)
    rpm = Component(Reading, "STIR_RBV", kind=Kind.normal)
    power = Component(Command, "STIR", kind=Kind.omitted)

    tolerance = float("inf")
    """How far from its target, rpm, it may be when it is done: `set` does not wait until it has spun up."""

    @property
    def position(self) -> float:
        """Speed now, rpm."""
        return float(self.rpm.get())

    def set(self, rpm: float) -> OperationStatus:
        """Stir at so many rpm."""
        status = OperationStatus(self, f"{self.name} = {rpm:g} rpm", 2 * COMMAND_S)
        return follow(status, self._steps(rpm))

    def _steps(self, rpm: float) -> Steps:
        if rpm == 0:
            yield self.power.set(False)
        yield self.speed_setpoint.set(rpm)
        if rpm > 0:
            yield self.power.set(True)

    def stop(self, *, success: bool = False) -> None:
        """Stop stirring."""
        self.power.set(False).wait()


class Hotplate(BridgedDevice):
    """Heats to a temperature in degC (the `Heater` of lab.core.capabilities).

    Parameters
    ----------
    prefix : str
        ``f"{lab.prefix}{name}:"``.
    name : str
    speed : float
        Laboratory seconds per wall second.
    config : lab.core.config.Hotplate, optional
        For its limits.
    tolerance_c : float
        At temperature means within so many K.
    deadline_s : float
        Laboratory seconds that heating or cooling may take.
    """

    temperature = Component(Reading, "TEMPERATURE_RBV", kind=Kind.hinted)
    probe = Component(Reading, "PROBE_RBV", kind=Kind.normal)
    setpoint = Component(Command, "TEMPERATURE_SP", write_pv="TEMPERATURE", kind=Kind.config)
    power = Component(Command, "HEAT_RBV", write_pv="HEAT", kind=Kind.normal)
    stirrer = Component(Stirrer, "")

    tolerance = 5.0
    """How far from its target, K, a plate may be that holds it: more, and somebody has set it to something else."""

    def __init__(self, prefix: str, *, name: str, speed: float = 1.0, config: HotplateConfig | None = None,
                 tolerance_c: float = 1.0, deadline_s: float = 7200.0) -> None:
        super().__init__(prefix, name=name)
        self.speed, self.tolerance_c, self.deadline_s = speed, tolerance_c, deadline_s
        self._ramp: _Ramp | None = None
        rows = by_name(narrow(HOTPLATE, config.limits if config is not None else {}, f"instruments.{name}.limits"))
        self.setpoint.channel, self.stirrer.speed_setpoint.channel = rows["TEMPERATURE"], rows["STIR_RPM"]

    def set(self, temperature_c: float) -> OperationStatus:
        """Heat (or cool) to a temperature and hold it; done when the plate is within `tolerance_c` of it.

        The status fails with LimitError when the temperature is not allowed, with the bridge's cause when a reading is
        missing on the way, and with CommandError when the heater is switched off meanwhile or at the deadline.
        """
        self._end_ramp("another temperature has been asked for")
        wall_s = deadline_s(self.deadline_s, self.speed, 3 * COMMAND_S)
        status = self._operation(f"{temperature_c:g} degC", wall_s)
        return follow(status, self._steps(temperature_c, wall_s, status))

    def off(self) -> OperationStatus:
        """Heater off; done when the bridge has switched it."""
        self._end_ramp("the heater has been switched off")
        return self.power.set(False)

    @property
    def position(self) -> float:
        """Plate temperature now, degC."""
        return self.temperature_c()

    def temperature_c(self) -> float:
        """Plate temperature now, degC; raises InstrumentError with the cause when it cannot be read."""
        self.refresh()
        return float(self.temperature.get())

    def read(self) -> dict[str, Any]:
        self.refresh()
        found: dict[str, Any] = super().read()
        return found

    def cool_below(self, temperature_c: float) -> OperationStatus:
        """Heater off; done when the plate is below `temperature_c`."""
        self._end_ramp("the plate is to cool down")
        wall_s = deadline_s(self.deadline_s, self.speed, 3 * COMMAND_S)
        return follow(self._operation(f"below {temperature_c:g} degC", wall_s), self._cooling_steps(temperature_c, wall_s))

    def stop(self, *, success: bool = False) -> None:
        """Heater off: Bluesky calls this when a plan ends, pauses or fails, and no heater stays on behind a plan's back."""
        if self.power.get():
            log.info("%s: heater off, since the plan has ended or paused (%s.set(...) outside a plan holds a temperature)",
                     self.name, self.name)
        self.off().wait()

    def make_safe(self) -> OperationStatus:
        self._end_ramp("the hotplate has been made safe")
        return super().make_safe()

    def state_in_words(self) -> str:
        heater = f"heating to {self.setpoint.get():g} degC" if self.power.get() else "heater off"
        return f"{heater}, plate {self.temperature.get():g} degC, {self.stirrer.rpm.get():g} rpm"

    def _steps(self, temperature_c: float, wall_s: float, whole: OperationStatus) -> Steps:
        yield self.setpoint.set(temperature_c)
        yield self.power.set(True)
        if timekeeping.is_virtual():
            yield self.poll.set(1)
        initial_c = float(self.temperature.get())

        def is_there(now_c: float) -> bool:
            whole.tell(name=self.name, initial=initial_c, current=now_c, target=temperature_c, unit="degC")
            return abs(now_c - temperature_c) <= self.tolerance_c

        self._ramp = _Ramp(self, f"{temperature_c:g} degC", wall_s, is_there, temperature_c, is_heating=True)
        yield self._ramp.status

    def _cooling_steps(self, temperature_c: float, wall_s: float) -> Steps:
        yield self.power.set(False)
        if timekeeping.is_virtual():
            yield self.poll.set(1)
        self._ramp = _Ramp(self, f"below {temperature_c:g} degC", wall_s, lambda now_c: now_c < temperature_c, temperature_c)
        yield self._ramp.status

    def _operation(self, what: str, wall_s: float) -> OperationStatus:
        return OperationStatus(self, f"{self.name}: {what}", wall_s, missed=CommandError)

    def _end_ramp(self, why: str) -> None:
        ramp, self._ramp = self._ramp, None
        if ramp is not None:
            ramp.fail(CommandError(f"{self.name}: {why}"))


class _Ramp:
    """Waits until the plate is where it shall be.

    Listens to value and alarm of the plate's temperature, and to HEAT_RBV: a plate that is to be heated does not get there
    once the bridge or a person has switched the heater off. Nor does one that has switched itself off, of which NAMUR has no
    word: it gets no nearer.

    In virtual time there is nothing to listen to, since time stands still until it is looked again: so it says when to, and
    looks then (`_look_later`).
    """

    def __init__(self, plate: Hotplate, what: str, wall_s: float, is_there: Callable[[float], bool], goal_c: float, *,
                 is_heating: bool = False) -> None:
        self.status = OperationStatus(plate, f"{plate.name}: plate at {what}", wall_s, missed=CommandError)
        self._plate, self._what, self._is_there = plate, what, is_there
        self._goal_c, self._is_heating = goal_c, is_heating
        self._looking = threading.Lock()
        self._is_virtual = timekeeping.is_virtual()
        self._cadence = Cadence(goal_c)
        listeners = [(self._on_connection, plate.temperature.SUB_META)]
        if not self._is_virtual:
            listeners.append((self._on_change, plate.temperature.SUB_VALUE))
        self._subscriptions = [(signal, signal.subscribe(listener, event_type=event, run=False))
                               for signal in (plate.temperature, plate.power) for listener, event in listeners]
        self._distance_c = float("inf")
        self._cancel: Callable[[], None] = lambda: None
        self._cancel_look: Callable[[], None] = lambda: None
        self.status.add_callback(self._unsubscribe)
        self._look()
        if is_heating:
            self._await_progress()
        if self._is_virtual:
            self._look_later()

    def fail(self, error: InstrumentError) -> None:
        self.status.fail(error)

    def _on_change(self, **_: Any) -> None:
        self._look()

    def _on_connection(self, *, connected: bool = True, **_: Any) -> None:
        # No value comes from a bridge that is gone.
        if not connected:
            self.status.fail(LinkDown(f"{self._plate.name}: the bridge is gone; whether the plate still heats is not known"))

    def _look(self) -> None:
        with self._looking:
            if self.status.done:
                return
            try:
                if self._is_heating and not self._plate.power.get():
                    self.status.fail(CommandError(f"{self._plate.name}: the heater went off on the way to {self._what}: "
                                                  f"{self._plate.cause()}"))
                elif self._is_there(float(self._plate.temperature.get())):
                    self.status.succeed()
            except InstrumentError as error:
                self.status.fail(error)

    def _look_later(self) -> None:
        """Look again when the plate may be there; the sooner, the nearer it is."""
        try:
            pause_s = self._cadence.next_s(timekeeping.clock().now(), float(self._plate.temperature.get()))
        except InstrumentError as error:
            self.status.fail(error)
            return
        if not self.status.done:
            self._cancel_look = timekeeping.clock().after(pause_s, lambda: self._plate.poll.set(1).add_callback(self._look_anew))
            if self.status.done:
                self._cancel_look()

    def _look_anew(self, polled: Any) -> None:
        error = polled.exception(0)
        if error is not None:
            self.status.fail(error if isinstance(error, InstrumentError) else CommandError(f"{self._plate.name}: {error}"))
        self._look()
        self._look_later()

    def _await_progress(self) -> None:
        """Look at the distance now, and again when it should be smaller."""
        with self._looking:
            if self.status.done:
                return
            try:
                now_c = float(self._plate.temperature.get())
            except InstrumentError as error:
                self.status.fail(error)
                return
            distance_c = abs(now_c - self._goal_c)
            if distance_c > self._distance_c - PROGRESS_C:
                self.status.fail(CommandError(f"{self._plate.name}: stays at {now_c:g} degC on the way to {self._what}, though its heater was "
                                              "switched on; look at its display for an error or its safety limit"))
                return
            self._distance_c = distance_c
            self._cancel = self._after_stall()
            if self.status.done:
                self._cancel()

    def _after_stall(self) -> Callable[[], None]:
        if self._is_virtual:
            return timekeeping.clock().after(STALL_S, self._await_progress)
        timer = threading.Timer(STALL_S / self._plate.speed + STALL_MARGIN_S, self._await_progress)
        timer.daemon = True
        timer.start()
        return timer.cancel

    def _unsubscribe(self, _: Any) -> None:
        self._cancel()
        self._cancel_look()
        for signal, cid in self._subscriptions:
            signal.unsubscribe(cid)
