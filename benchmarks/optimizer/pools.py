"""Tables of real measurements: only their rows can be tried. A row's response is the mean of its replicates."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lab.core.errors import ConfigError
from lab.core.space import Value

TOP_SHARE = 0.05
"""Of the rows, the best that are looked for. Liang et al., npj Comput. Mater. 7, 188 (2021), doi 10.1038/s41524-021-00656-9."""

MOST_LEVELS = 12
"""A column of numbers with no more different ones is an ordered choice of a campaign, one with more a range."""


@dataclass(frozen=True)
class Pool:
    """Rows that can be tried, and what they give.

    Parameters
    ----------
    goal : str
    rows : tuple of dict
        Different ones.
    means : ndarray, shape (n,)
        Mean response of each row.
    total : float or None
        What the numbers of every row sum to.
    """

    goal: str
    rows: tuple[dict[str, Value], ...]
    means: np.ndarray
    total: float | None = None

    @cached_property
    def _index(self) -> dict[tuple[Value, ...], int]:
        return {tuple(row.values()): k for k, row in enumerate(self.rows)}

    @cached_property
    def top(self) -> frozenset[int]:
        """Indices of the best `TOP_SHARE` of the rows, rounded up."""
        order = np.argsort(-self.means if self.goal == "maximize" else self.means, kind="stable")
        return frozenset(int(k) for k in order[:math.ceil(TOP_SHARE * len(order))])

    @property
    def optimum(self) -> float:
        return float(self.means.max() if self.goal == "maximize" else self.means.min())

    def index(self, values: Mapping[str, Value]) -> int | None:
        """Which row `values` are; None when they are none."""
        return self._index.get(tuple(values[name] for name in self.rows[0]))

    def response(self, values: Mapping[str, Value]) -> float:
        """Mean response of the row that `values` are.

        Raises
        ------
        KeyError
            When they are none.
        """
        return float(self.means[self._index[tuple(values[name] for name in self.rows[0])]])

    @cached_property
    def space(self) -> dict[str, Any]:
        """``parameters`` and ``constraints`` of a campaign that holds every row."""
        parameters: list[dict[str, Any]] = []
        for name in self.rows[0]:
            levels = sorted({row[name] for row in self.rows}, key=lambda v: (str(type(v)), v))
            if isinstance(levels[0], str):
                parameters.append({"name": name, "type": "choice", "values": levels})
            elif self.total is None and len(levels) <= MOST_LEVELS:
                parameters.append({"name": name, "type": "choice", "values": levels, "is_ordered": True})
            else:
                parameters.append({"name": name, "type": "range", "bounds": [levels[0], levels[-1]]})
        constraints = [] if self.total is None else [f"{' + '.join(self.rows[0])} == {self.total:g}"]
        return {"parameters": parameters, "constraints": constraints}

    @cached_property
    def _coordinates(self) -> np.ndarray:
        return np.array([self._place(row) for row in self.rows])

    def _place(self, values: Mapping[str, Value]) -> list[float]:
        """Numbers in 0..1 over the table, a name as its corner of a simplex with edges of 1."""
        place: list[float] = []
        for name, first in self.rows[0].items():
            if isinstance(first, str):
                place += [math.sqrt(0.5) * (values[name] == level) for level in self._levels[name]]
            else:
                low, high = self._levels[name][0], self._levels[name][-1]
                place.append((float(values[name]) - float(low)) / (float(high) - float(low)))
        return place

    @cached_property
    def _levels(self) -> dict[str, list[Any]]:
        return {name: sorted({row[name] for row in self.rows}) for name in self.rows[0]}  # type: ignore[type-var]

    def nearest(self, values: Mapping[str, Value], taken: Collection[int]) -> tuple[int, float]:
        """The untried row nearest to a point, and how far it is in the table's unit box.

        Parameters
        ----------
        values : mapping
        taken : collection of int
            Rows that were tried; not all of them.
        """
        distance = np.sqrt(((self._coordinates - np.array(self._place(values))) ** 2).sum(axis=1))
        distance[list(taken)] = np.inf
        k = int(distance.argmin())
        return k, float(distance[k])


@dataclass(frozen=True)
class Table:
    """Where a pool comes from.

    Parameters
    ----------
    file : str
    inputs : tuple of str
        Input columns; their names in a campaign are these.
    output, goal : str
    source : str
    texts : tuple of str
        Those of `inputs` that hold names.
    total : float or None
        What the inputs of a row sum to; they were rounded, and are scaled to it exactly.
    """

    file: str
    inputs: tuple[str, ...]
    output: str
    goal: str
    source: str
    texts: tuple[str, ...] = ()
    total: float | None = None

    def read(self, folder: Path) -> Pool:
        """The pool.

        Raises
        ------
        ConfigError
            When the file, a column or a number is missing.
        """
        path = folder / self.file
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                found = [(self._row(cells), float(cells[self.output])) for cells in csv.DictReader(stream)]
        except OSError as error:
            raise ConfigError(str(path), "the table", error.strerror or str(error), "a CSV file; give its folder with --data") from error
        except (KeyError, ValueError) as error:
            raise ConfigError(str(path), "the table", str(error), f"numbers in {', '.join((*self.inputs, self.output))}") from error
        groups: dict[tuple[Value, ...], list[float]] = {}
        for row, value in found:
            groups.setdefault(row, []).append(value)
        rows = tuple(dict(zip(self.inputs, row, strict=True)) for row in groups)
        return Pool(self.goal, rows, np.array([np.mean(values) for values in groups.values()]), self.total)

    def _row(self, cells: Mapping[str, str]) -> tuple[Value, ...]:
        row: list[Value] = [cells[name] if name in self.texts else float(cells[name]) for name in self.inputs]
        if self.total is None:
            return tuple(row)
        scale = self.total / sum(float(v) for v in row)
        return tuple(round(float(v) * scale, 12) for v in row)


TABLES = {
    "crossed-barrel": Table("crossed_barrel.csv", ("n", "theta", "r", "t"), "toughness", "maximize",
                            "Gongora et al., Sci. Adv. 6, eaaz1708 (2020), doi 10.1126/sciadv.aaz1708"),
    "p3ht": Table("p3ht.csv", ("p3ht_pct", "d1_pct", "d2_pct", "d6_pct", "d8_pct"), "conductivity_S_per_cm", "maximize",
                  "Bash et al., Adv. Funct. Mater. 31, 2102606 (2021), doi 10.1002/adfm.202102606", total=100.0),
    "perovskite": Table("perovskite.csv", ("CsPbI", "FAPbI", "MAPbI"), "instability_index", "minimize",
                        "Sun et al., Matter 4, 1305 (2021), doi 10.1016/j.matt.2021.01.008", total=1.0),
    "direct-arylation": Table("direct_arylation.csv", ("Base", "Ligand", "Solvent", "Concentration", "Temp_C"), "yield", "maximize",
                              "Shields et al., Nature 590, 89 (2021), doi 10.1038/s41586-021-03213-y", texts=("Base", "Ligand", "Solvent")),
}
"""By their names in the bench, without ``pool-``."""
