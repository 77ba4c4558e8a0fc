"""A programmable controller: its inputs as signals, ``plc.hutch`` or ``plc["hutch"]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ophyd import Kind

from devices.instrument import BridgedDevice
from devices.signals import CONNECT_S, Reading
from lab.core.config import PlcConfig
from lab.core.errors import InstrumentError, LimitError


class Plc(BridgedDevice):
    """Reads doors, flows and whatever else lab.yaml lists under ``inputs``.

    Parameters
    ----------
    prefix : str
        ``f"{lab.prefix}{name}:"``.
    name : str
    config : lab.core.config.PlcConfig
    speed : float
        Laboratory seconds per wall second; nothing here takes laboratory time.
    """

    def __init__(self, prefix: str, *, name: str, config: PlcConfig, speed: float = 1.0) -> None:
        super().__init__(prefix, name=name)
        self._units = {each: one.unit for each, one in config.inputs.items()}
        self._inputs = {each: Reading(prefix + each, name=f"{name}_{each}", parent=self, kind=Kind.normal) for each in config.inputs}

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self._inputs)

    def __getitem__(self, name: str) -> Reading:
        try:
            return self._inputs[name]
        except KeyError as error:
            raise LimitError(f"{self.name}: given {name!r}; allowed: {', '.join(self._inputs)}") from error

    def __getattr__(self, name: str) -> Any:
        """``plc.hutch`` is ``plc["hutch"]``, for people."""
        inputs = self.__dict__.get("_inputs", {})
        return inputs[name] if name in inputs else super().__getattr__(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.__dict__.get("_inputs", {})]

    def __iter__(self) -> Iterator[Reading]:
        return iter(self._inputs.values())

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._inputs)

    def state_in_words(self) -> str:
        return ", ".join(f"{name} {self._said(name)}" for name in self._inputs)

    def fault(self) -> str:
        return "; ".join(f"{name} is not known" for name in self._inputs if self._said(name) == "?")

    def wait_for_connection(self, all_signals: bool = False, timeout: float = CONNECT_S) -> None:
        super().wait_for_connection(all_signals, timeout)
        for signal in self:
            signal.wait_for_connection(timeout)

    def read(self) -> dict[str, Any]:
        return self._gathered("read")

    def describe(self) -> dict[str, Any]:
        return self._gathered("describe")

    @property
    def hints(self) -> Mapping[str, Any]:
        return {"fields": [signal.name for signal in self]}

    def destroy(self) -> None:
        for signal in self:
            signal.destroy()
        super().destroy()

    def _said(self, name: str) -> str:
        try:
            return f"{self._inputs[name].get():g} {self._units[name]}".rstrip()
        except InstrumentError:
            return "?"

    def _gathered(self, method: str) -> dict[str, Any]:
        found: dict[str, Any] = getattr(super(), method)()
        for signal in self:
            found.update(getattr(signal, method)())
        return found
