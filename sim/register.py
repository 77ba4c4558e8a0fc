"""The register of a SIMPLON detector: parameters with type, access and limits, grouped in tables, read by GET and set by PUT."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Scalar = float | int | str | bool
ValueType = Literal["bool", "float", "int", "uint", "string", "string[]"]


class ApiError(Exception):
    """A request that the API refuses; turned into a reply at once, so it never leaves the simulator.

    Parameters
    ----------
    status : int
        HTTP status: 404 for what does not exist, 400 for what is not allowed.
    """

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text
        super().__init__(text)


@dataclass
class Parameter:
    """One key of a config or status table, and its present value."""

    value: Scalar | list[str]
    value_type: ValueType
    access: Literal["r", "rw"] = "rw"
    unit: str = ""
    low: float | None = None
    high: float | None = None
    allowed: tuple[str, ...] = ()

    def describe(self) -> dict[str, object]:
        """What GET answers."""
        found: dict[str, object] = {"value": self.value, "value_type": self.value_type, "access_mode": self.access}
        if self.unit:
            found["unit"] = self.unit
        if self.low is not None:
            found["min"] = self.low
        if self.high is not None:
            found["max"] = self.high
        if self.allowed:
            found["allowed_values"] = list(self.allowed)
        return found

    def take(self, key: str, value: object) -> None:
        """What PUT does.

        Raises
        ------
        ApiError
            400 for a parameter that is read only, a value of a wrong type, or one that is out of range.
        """
        if self.access == "r":
            raise ApiError(400, f"Parameter {key} is read only")
        checked = self._typed(key, value)
        if isinstance(checked, str):
            if self.allowed and checked not in self.allowed:
                raise ApiError(400, f"Value {checked!r} of {key} is not one of {', '.join(self.allowed)}")
        elif (self.low is not None and checked < self.low) or (self.high is not None and checked > self.high):
            raise ApiError(400, f"Value {checked} of {key} is out of range, min {self.low}, max {self.high}")
        self.value = checked

    def _typed(self, key: str, value: object) -> Scalar:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if self.value_type == "bool" and isinstance(value, bool):
            return value
        if self.value_type == "string" and isinstance(value, str):
            return value
        if self.value_type == "float" and is_number:
            return float(value)  # type: ignore[arg-type]
        if self.value_type in ("int", "uint") and is_number and float(value).is_integer():  # type: ignore[arg-type]
            return int(value)  # type: ignore[call-overload, no-any-return]
        raise ApiError(400, f"Value {value!r} of {key} is no {self.value_type}")


Table = dict[str, Parameter]


class Register:
    """All tables of a detector, by ``SUBSYSTEM/TASK``: ``detector/config``, ``stream/status`` and so on.

    Parameters
    ----------
    tables : mapping of str to Table
    """

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = dict(tables)

    def __getitem__(self, table: str) -> Table:
        return self._tables[table]

    def number(self, table: str, key: str) -> float:
        """A value that is a number."""
        value = self._tables[table][key].value
        return float(value) if isinstance(value, (int, float)) else math.nan

    def text(self, table: str, key: str) -> str:
        """A value that is text."""
        return str(self._tables[table][key].value)

    def put(self, table: str, key: str, value: Scalar | list[str]) -> None:
        """Set a value from inside, read only or not."""
        self._tables[table][key].value = value

    def add(self, table: str, key: str, more: int) -> None:
        """Add to a count."""
        self.put(table, key, int(self.number(table, key)) + more)

    def values(self, table: str) -> dict[str, Scalar | list[str]]:
        """All values of one table."""
        return {key: row.value for key, row in self._tables[table].items()}

    def has(self, table: str, key: str) -> bool:
        """Whether a GET of this key has an answer; ``keys`` lists the keys of a table."""
        return table in self._tables and (key in ("", "keys") or key in self._tables[table])

    def describe(self, table: str, key: str) -> object:
        """The answer to a GET."""
        rows = self._tables[table]
        return list(rows) if key in ("", "keys") else rows[key].describe()

    def take(self, table: str, key: str, value: object) -> None:
        """A PUT from outside. Raises `ApiError` 400 for what is read only, of a wrong type or out of range."""
        if key not in self._tables[table]:
            raise ApiError(400, f"{table} is read only")
        self._tables[table][key].take(key, value)
