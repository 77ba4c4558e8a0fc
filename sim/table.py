"""The table world: a CSV of real measurements as the hidden response.

Between the designs that were measured the response is interpolated with radial functions (kernel r, constant drift;
Duchon's polyharmonic spline of lowest order). Why this one:

- it goes through the mean of the replicates at every design, exactly;
- its system is regular for any set of distinct points, whatever flat they lie in. Fractions that sum to one put all
  designs on a simplex, where kernels with a linear drift would be singular;
- it has no length scale to be tuned, and no flat spots at the designs as inverse distances have;
- it overshoots little, and what it does is cut off at the range of the measured outputs.

The scatter of a sample is drawn from the replicates: the variance among them, weighted by inverse squared distance over the nearest
designs; where a design was measured once, the pooled relative standard deviation stands in. It is drawn once for
each sample, so measuring a sample again gives the same property; only the counting noise differs.
"""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import RBFInterpolator

from lab.core.brightness import rate_of
from lab.core.config import TableWorld, WorldInput
from lab.core.errors import ConfigError
from sim.film import Film
from sim.thermal import AMBIENT_C

Cell = float | str

MIN_DESIGNS = 3
FULL_SYSTEM = 2500
"""Up to so many designs one system is solved for all; beyond, one of the nearest `NEIGHBOURS` for each question."""
NEIGHBOURS = 64
NOISE_NEIGHBOURS = 5
SAME = 1e-9
"""Designs nearer than this, relative to the numbers or to the table's box, are one design: rounding, not intent."""

NUMBERS = ("temperature", "time", "stir")
LIQUID_NUMBERS = ("fraction", "volume")
CATEGORY = "liquid"


@dataclass(frozen=True)
class Table:
    """A validated table.

    Parameters
    ----------
    columns : tuple of str
        Input columns.
    is_category : tuple of bool
        For each input column: text rather than numbers.
    designs : tuple of tuple
        Distinct rows of inputs, in the order of the file.
    replicates : tuple of ndarray
        For each design, its measured outputs.
    """

    columns: tuple[str, ...]
    is_category: tuple[bool, ...]
    designs: tuple[tuple[Cell, ...], ...]
    replicates: tuple[np.ndarray, ...]


def read_table(file: str, columns: Sequence[str], categories: Sequence[str], output: str, full_scale: tuple[float, float]) -> Table:
    """Read and check a CSV with a header.

    Parameters
    ----------
    file : str
    columns : sequence of str
        Input columns; further ones in the file are ignored.
    categories : sequence of str
        Those of `columns` that hold text.
    output : str
    full_scale : (float, float)
        What the outputs must lie in.

    Raises
    ------
    ConfigError
        Naming the file, the column and row, what stands there and what may: no such file, missing columns, text, NaN, infinite or
        empty cells, outputs outside `full_scale`, fewer than `MIN_DESIGNS` designs.
    """
    groups: dict[tuple[Cell, ...], list[float]] = {}
    for row, cells in _rows(file, (*columns, output)):
        design = tuple(_text(file, row, name, cells[name]) if name in categories else float(f"{_number(file, row, name, cells[name]):.9g}")
                       for name in columns)
        value = _number(file, row, output, cells[output])
        if not full_scale[0] <= value <= full_scale[1]:
            raise ConfigError(file, f"row {row}, column {output}", f"{value:g}",
                              f"{full_scale[0]:g}..{full_scale[1]:g} (the full_scale)")
        groups.setdefault(design, []).append(value)
    if len(groups) < MIN_DESIGNS:
        raise ConfigError(file, f"columns {', '.join(columns)}", f"{len(groups)} different rows of inputs", f"at least {MIN_DESIGNS}")
    return Table(tuple(columns), tuple(name in categories for name in columns), tuple(groups),
                 tuple(np.array(values) for values in groups.values()))


def _rows(file: str, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Data rows with their line numbers, after the header was checked."""
    try:
        with Path(file).open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            missing = [name for name in needed if name not in header]
            if missing:
                raise ConfigError(file, "columns", f"no column {', '.join(missing)}",
                                  f"a header with {', '.join(needed)}; it has {', '.join(header) or 'none'}")
            twice = sorted({name for name in needed if header.count(name) > 1})
            if twice:
                raise ConfigError(file, "columns", f"{', '.join(twice)} more than once", "each column once")
            return [(reader.line_num, {name: row[name] or "" for name in needed}) for row in reader]
    except OSError as error:
        raise ConfigError(file, "world.file", error.strerror or str(error), "a CSV file that can be read") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(file, "world.file", str(error), "a CSV file in UTF-8") from error


def _text(file: str, row: int, column: str, cell: str) -> str:
    if not cell.strip():
        raise ConfigError(file, f"row {row}, column {column}", "an empty cell", "a name")
    return cell.strip()


def _number(file: str, row: int, column: str, cell: str) -> float:
    where, allowed = f"row {row}, column {column}", "a finite number"
    if not cell.strip():
        raise ConfigError(file, where, "an empty cell", allowed)
    try:
        value = float(cell)
    except ValueError as error:
        raise ConfigError(file, where, repr(cell), allowed) from error
    if not math.isfinite(value):
        raise ConfigError(file, where, cell.strip(), allowed)
    return value


class Interpolator:
    """The response between the designs of a table.

    Parameters
    ----------
    table : Table
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._means = np.array([values.mean() for values in table.replicates])
        self._low, self._span = _box(table)
        self._categories = [sorted({str(d[i]) for d in table.designs}) if is_text else []
                            for i, is_text in enumerate(table.is_category)]
        self._points = np.array([self._coordinates(design) for design in table.designs])
        neighbours = None if len(self._points) <= FULL_SYSTEM else NEIGHBOURS
        self._radial = RBFInterpolator(self._points, self._means, kernel="linear", degree=0, neighbors=neighbours)
        self._variances = self._scatter()
        self._is_positive = all((values > 0.0).all() for values in table.replicates)

    def categories(self, column: str) -> list[str]:
        """The names that occur in a text column."""
        return self._categories[self._table.columns.index(column)]

    def mean(self, inputs: Sequence[Cell]) -> float:
        """Mean response at one row of inputs, inside the range of the measured means.

        Raises
        ------
        KeyError
            For a name that the table does not have.
        """
        point = self._coordinates(inputs)
        distance, nearest = self._distances(point)
        if distance[nearest[0]] <= SAME:
            return float(self._means[nearest[0]])
        return float(np.clip(self._radial(point[None, :])[0], self._means.min(), self._means.max()))

    def deviation(self, inputs: Sequence[Cell]) -> float:
        """Standard deviation among samples at one row of inputs."""
        distance, nearest = self._distances(self._coordinates(inputs))
        if distance[nearest[0]] <= SAME:
            return float(math.sqrt(self._variances[nearest[0]]))
        weights = distance[nearest] ** -2.0
        return float(math.sqrt((weights * self._variances[nearest]).sum() / weights.sum()))

    def draw(self, inputs: Sequence[Cell], chance: np.random.Generator) -> float:
        """The response of one sample: mean and scatter of samples at one row of inputs.

        Where every measured output is positive the scatter is log-normal with that mean and deviation: a scatter as large as
        the mean, as real replicates have, must not make samples that are less than nothing.
        """
        mean, deviation = self.mean(inputs), self.deviation(inputs)
        if not self._is_positive:
            return mean + deviation * float(chance.standard_normal())
        variance = math.log1p((deviation / mean) ** 2)
        return mean * math.exp(math.sqrt(variance) * float(chance.standard_normal()) - 0.5 * variance)

    def _distances(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance to every design, and the indices of the nearest ones, nearest first."""
        distance = np.sqrt(((self._points - point) ** 2).sum(axis=1))
        return distance, np.argsort(distance, kind="stable")[:NOISE_NEIGHBOURS]

    def _coordinates(self, inputs: Sequence[Cell]) -> np.ndarray:
        """Numbers scaled to 0..1 over the table (and kept there); a name as its corner of a simplex with edges of 1."""
        parts: list[float] = []
        for i, value in enumerate(inputs):
            names = self._categories[i]
            if not self._table.is_category[i]:
                parts.append(float(np.clip((float(value) - self._low[i]) / self._span[i], 0.0, 1.0)))
            elif value in names:
                parts += [math.sqrt(0.5) if value == name else 0.0 for name in names]
            else:
                raise KeyError(value)
        return np.array(parts)

    def _scatter(self) -> np.ndarray:
        """Variance among samples at each design."""
        freedom = np.array([len(values) - 1 for values in self._table.replicates])
        own = np.array([values.var(ddof=1) if len(values) > 1 else 0.0 for values in self._table.replicates])
        has_scale = (freedom > 0) & (self._means != 0.0)
        relative = 0.0
        if has_scale.any():
            relative = float((freedom * own / np.where(has_scale, self._means, 1.0) ** 2)[has_scale].sum() / freedom[has_scale].sum())
        return np.where(freedom > 0, own, relative * self._means**2)


def _box(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Lowest value and span of each numeric column (0 and 1 for text and for constant columns)."""
    lows, spans = [], []
    for i, is_text in enumerate(table.is_category):
        column = [0.0] if is_text else [float(design[i]) for design in table.designs]
        lows.append(min(column))
        spans.append(max(column) - min(column) or 1.0)
    return np.array(lows), np.array(spans)


class TableResponse:
    """A film as bright as the table says a sample made like it would be.

    Parameters
    ----------
    world : TableWorld
    shape : (int, int)
        Of a frame.

    Raises
    ------
    ConfigError
        See `read_table`; also for inputs that are not of the known quantities, and a full scale upside down.
    """

    def __init__(self, world: TableWorld, shape: tuple[int, int]) -> None:
        self._world, self._shape = world, shape
        for i, item in enumerate(world.inputs):
            _check_quantity(i, item)
        if not world.inputs:
            raise ConfigError("lab.yaml", "world.inputs", "none", "at least one column")
        if not world.full_scale[0] < world.full_scale[1]:
            raise ConfigError("lab.yaml", "world.full_scale", f"{list(world.full_scale)}", "two numbers, the lower one first")
        categories = [item.column for item in world.inputs if item.quantity == CATEGORY]
        table = read_table(world.file, [item.column for item in world.inputs], categories, world.output, world.full_scale)
        self._interpolator = Interpolator(table)
        self._carriers = {name for column in categories for name in self._interpolator.categories(column)}

    def rate(self, film: Film | None) -> np.ndarray:
        """Mean counts per pixel and second: ndarray, float64, the same everywhere. Without a film there is no light."""
        value = None if film is None else self.value(film)
        return np.full(self._shape, 0.0 if value is None else rate_of(value, self._world.full_scale))

    def value(self, film: Film) -> float | None:
        """The sample's property, its own scatter in it, inside the full scale; None when it is no sample of this table."""
        inputs = self._inputs(film)
        if inputs is None:
            return None
        chance = np.random.default_rng([self._world.seed, zlib.crc32(b"scatter"), zlib.crc32(film.name.encode())])
        value = self._interpolator.draw(inputs, chance)
        return min(max(value, self._world.full_scale[0]), self._world.full_scale[1])

    def _inputs(self, film: Film) -> list[Cell] | None:
        """One row of inputs from what was really done; None without any of the liquids."""
        volumes = film.volumes_ml
        solids = {name: volume for name, volume in volumes.items() if name not in self._carriers}
        if sum(volumes.values()) <= 0.0:
            return None
        row: list[Cell] = []
        for item in self._world.inputs:
            value = self._quantity(item, film, volumes, solids)
            if value is None:
                return None
            row.append(value if isinstance(value, str) else value * item.scale)
        return row

    def _quantity(self, item: WorldInput, film: Film, volumes: Mapping[str, float], solids: Mapping[str, float]) -> Cell | None:
        kind, _, liquid = item.quantity.partition(":")
        if kind == "fraction":
            total = sum(solids.values())
            return solids.get(liquid, 0.0) / total if total > 0.0 else None
        if kind == "volume":
            return volumes.get(liquid, 0.0)
        if kind == CATEGORY:
            known = [name for name in self._interpolator.categories(item.column) if volumes.get(name, 0.0) > 0.0]
            return max(known, key=lambda name: volumes[name]) if known else None
        plateau_c, plateau_s = film.history.plateau()
        return {"temperature": plateau_c if film.history else AMBIENT_C, "time": plateau_s, "stir": film.stir_rpm}[kind]


def _check_quantity(index: int, item: WorldInput) -> None:
    kind, _, liquid = item.quantity.partition(":")
    if (kind in LIQUID_NUMBERS and liquid) or item.quantity in (*NUMBERS, CATEGORY):
        return
    raise ConfigError("lab.yaml", f"world.inputs.{index}.quantity", repr(item.quantity),
                      "fraction:LIQUID, volume:LIQUID, temperature, time, stir or liquid")
