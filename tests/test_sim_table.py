"""The table world: a CSV of measurements as the hidden response."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.core.brightness import COUNTS_FULL, rate_of, value_of
from lab.core.clock import ManualClock
from lab.core.config import LabConfig, TableWorld
from lab.core.errors import ConfigError
from sim.film import Film
from sim.table import Interpolator, Table, TableResponse, read_table
from sim.thermal import AMBIENT_C
from sim.world import World

DATA = Path(os.environ.get("LABWRIGHT_DATA", Path(__file__).parents[2] / "shared" / "data"))

GOOD = "a,b,y\n0,1,10\n0,1,12\n1,0,40\n0.5,0.5,20\n"


def write(folder: Path, text: str) -> str:
    file = folder / "table.csv"
    file.write_text(text)
    return str(file)


def film(name: str = "substrate:rack.1", **volumes_ml: float) -> Film:
    found = Film(name, AMBIENT_C)
    for address, (liquid, volume_ml) in enumerate(volumes_ml.items()):
        found.dose(address, liquid, volume_ml, volume_ml)
    return found


def world(file: str, output: str, inputs: dict[str, str], full_scale: tuple[float, float], scale: float = 1.0, seed: int = 0) -> TableWorld:
    return TableWorld.model_validate({
        "kind": "table", "file": file, "output": output, "full_scale": full_scale, "seed": seed,
        "inputs": [{"column": c, "quantity": q, "scale": scale if q.startswith("fraction") else 1.0} for c, q in inputs.items()]})


# ------------------------------------------------------------------------------------------------ reading


def test_rows_of_one_design_are_its_replicates(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, GOOD), ["a", "b"], [], "y", (0, 100))
    assert table.designs == ((0.0, 1.0), (1.0, 0.0), (0.5, 0.5))
    assert [list(values) for values in table.replicates] == [[10, 12], [40], [20]]


def test_numbers_that_differ_by_rounding_are_one_design(tmp_path: Path) -> None:
    rows = "a,b,y\n0.3,0.7,1\n0.30000000000000004,0.7,3\n0,1,5\n1,0,7\n"
    table = read_table(write(tmp_path, rows), ["a", "b"], [], "y", (0, 100))
    assert len(table.designs) == 3
    assert Interpolator(table).mean((0.1 + 0.2, 0.7)) == 2.0


@pytest.mark.parametrize(("text", "message"), [
    ("a,c,y\n0,1,2\n", r"table.csv: columns: given no column b; allowed: a header with a, b, y; it has a, c, y"),
    ("", r"no column a, b, y"),
    ("a,b,b,y\n0,1,1,2\n", r"given b more than once; allowed: each column once"),
    (GOOD + "0.2,red,3\n", r"row 6, column b: given 'red'; allowed: a finite number"),
    (GOOD + "0.2,nan,3\n", r"row 6, column b: given nan; allowed: a finite number"),
    (GOOD + "0.2,0.8,inf\n", r"row 6, column y: given inf; allowed: a finite number"),
    (GOOD + "0.2,,3\n", r"row 6, column b: given an empty cell; allowed: a finite number"),
    (GOOD + "0.2\n", r"row 6, column b: given an empty cell"),
    (GOOD + "0.2,0.8,101\n", r"row 6, column y: given 101; allowed: 0..100 \(the full_scale\)"),
    ("a,b,y\n0,1,1\n0,1,2\n1,0,3\n", r"columns a, b: given 2 different rows of inputs; allowed: at least 3"),
])
def test_a_wrong_table_names_file_place_given_and_allowed(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_table(write(tmp_path, text), ["a", "b"], [], "y", (0, 100))


def test_a_table_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nowhere.csv: world.file: given No such file"):
        read_table("nowhere.csv", ["a"], [], "y", (0, 1))


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes(b"a,b,y\n\xff\xfe,1,2\n")
    with pytest.raises(ConfigError, match="allowed: a CSV file in UTF-8"):
        read_table(str(file), ["a", "b"], [], "y", (0, 1))


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"row 3, column s: given an empty cell; allowed: a name"):
        read_table(write(tmp_path, "s,y\nDMF,1\n ,2\n"), ["s"], ["s"], "y", (0, 5))


@pytest.mark.parametrize(("change", "message"), [
    ({"inputs": [{"column": "a", "quantity": "colour"}]}, r"world.inputs.0.quantity: given 'colour'; allowed: fraction:LIQUID"),
    ({"inputs": [{"column": "a", "quantity": "fraction:"}]}, r"given 'fraction:'"),
    ({"inputs": []}, r"world.inputs: given none"),
    ({"full_scale": (100, 0)}, r"world.full_scale: given \[100.0, 0.0\]; allowed: two numbers, the lower one first"),
])
def test_a_wrong_world_names_its_field(tmp_path: Path, change: dict, message: str) -> None:
    given_world = {"kind": "table", "file": write(tmp_path, GOOD), "output": "y", "full_scale": (0, 100),
                   "inputs": [{"column": "a", "quantity": "fraction:x"}, {"column": "b", "quantity": "fraction:z"}], **change}
    with pytest.raises(ConfigError, match=message):
        TableResponse(TableWorld.model_validate(given_world), (32, 32))


# ---------------------------------------------------------------------------------------- interpolation


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(-50, 50)), min_size=4, max_size=25, unique_by=lambda r: (round(min(r[:2]), 3), round(max(r[:2]), 3))),
       st.floats(0, 1), st.floats(0, 1))
def test_on_a_simplex_designs_are_met_exactly_and_nothing_leaves_the_range(rows: list[tuple[float, float, float]], a: float, b: float) -> None:
    designs = tuple((min(r[:2]), max(r[:2]) - min(r[:2]), 1.0 - max(r[:2])) for r in rows)
    values = [r[2] for r in rows]
    table = Table(("x", "y", "z"), (False, False, False), designs, tuple(np.array([v]) for v in values))
    between = Interpolator(table)
    assert [between.mean(design) for design in designs] == values
    low, high = sorted((a, b))
    assert min(values) <= between.mean((low, high - low, 1.0 - high)) <= max(values)


def test_a_plane_is_interpolated_well_in_between() -> None:
    chance = np.random.default_rng(0)
    designs = chance.dirichlet([1, 1, 1], 80)
    outputs = designs @ np.array([1.0, 2.0, 5.0])
    between = Interpolator(Table(("x", "y", "z"), (False,) * 3, tuple(map(tuple, designs)), tuple(outputs[:, None])))
    inside = chance.dirichlet([3, 3, 3], 50)
    errors = [between.mean(point) - point @ np.array([1.0, 2.0, 5.0]) for point in inside]
    assert np.sqrt(np.mean(np.square(errors))) < 0.15


def test_a_large_table_is_interpolated_from_its_neighbours() -> None:
    chance = np.random.default_rng(1)
    points = chance.random((2600, 2))
    outputs = points.sum(axis=1)
    between = Interpolator(Table(("x", "y"), (False, False), tuple(map(tuple, points)), tuple(outputs[:, None])))
    assert between.mean(points[7]) == outputs[7]
    assert between.mean((0.3, 0.4)) == pytest.approx(0.7, abs=0.02)


def test_beyond_the_table_its_edge_is_given() -> None:
    between = Interpolator(Table(("x",), (False,), ((0.0,), (1.0,), (2.0,)), tuple(np.array([v]) for v in (1.0, 2.0, 4.0))))
    assert between.mean((9.0,)) == 4.0


def test_names_are_categories_with_nothing_between() -> None:
    designs = tuple((name, x) for name in ("DMF", "DMSO") for x in (0.0, 0.5, 1.0))
    outputs = (1.0, 2.0, 3.0, 11.0, 12.0, 13.0)
    between = Interpolator(Table(("s", "x"), (True, False), designs, tuple(np.array([v]) for v in outputs)))
    assert [between.mean(design) for design in designs] == list(outputs)
    assert between.mean(("DMF", 0.25)) < 4.0 and between.mean(("DMSO", 0.25)) > 10.0
    assert between.categories("s") == ["DMF", "DMSO"]
    with pytest.raises(KeyError, match="GBL"):
        between.mean(("GBL", 0.0))


def test_scatter_is_the_replicates_own_where_there_are_any_and_pooled_elsewhere() -> None:
    replicates = (np.array([9.0, 11.0]), np.array([100.0]), np.array([19.0, 21.0]))
    between = Interpolator(Table(("x",), (False,), ((0.0,), (0.5,), (1.0,)), replicates))
    assert between.deviation((0.0,)) == pytest.approx(np.sqrt(2.0))
    pooled = np.sqrt((2.0 / 100.0 + 2.0 / 400.0) / 2.0)
    assert between.deviation((0.5,)) == pytest.approx(100.0 * pooled)
    assert np.sqrt(2.0) < between.deviation((0.25,)) < 100.0 * pooled


def test_without_replicates_there_is_no_scatter() -> None:
    between = Interpolator(Table(("x",), (False,), ((0.0,), (0.5,), (1.0,)), tuple(np.array([v]) for v in (1.0, 2.0, 3.0))))
    assert between.deviation((0.3,)) == 0.0


# --------------------------------------------------------------------------------------------------- films


EXACT = "a,b,y\n0,1,10\n0,1,10\n1,0,40\n0.5,0.5,20\n"


def exact(tmp_path: Path) -> TableResponse:
    return TableResponse(world(write(tmp_path, EXACT), "y", {"a": "fraction:x", "b": "fraction:z"}, (0, 100)), (32, 32))


def test_the_film_is_as_bright_as_the_table_says(tmp_path: Path) -> None:
    response = exact(tmp_path)
    assert response.value(film(x=0.3, z=0.3)) == pytest.approx(20.0)
    rate = response.rate(film(x=0.3, z=0.3))
    assert rate.shape == (32, 32) and rate == pytest.approx(np.full((32, 32), 0.2 * COUNTS_FULL))
    assert value_of(float(rate.mean()), (0, 100)) == pytest.approx(20.0)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(1.0, 1e6))
def test_brightness_is_calibrated_both_ways(value: float, low: float, span: float) -> None:
    assert value_of(rate_of(value, (low, low + span)), (low, low + span)) == pytest.approx(value, rel=1e-6, abs=1e-6)


def test_without_a_film_there_is_no_light(tmp_path: Path) -> None:
    response = exact(tmp_path)
    assert not response.rate(None).any()
    assert not response.rate(film()).any()
    assert not response.rate(film(x=0.0)).any()


def test_other_quantities_come_from_what_was_done(tmp_path: Path) -> None:
    rows = ["s,v,T,t,rpm,y"] + [f"{s},{v},{T},{t},{r},{v * 10 + T / 10 + (5 if s == 'DMSO' else 0)}"
                                for s in ("DMF", "DMSO") for v in (0.5, 1) for T in (60, 100) for t in (300, 900) for r in (0, 300)]
    inputs = {"s": "liquid", "v": "volume:ink", "T": "temperature", "t": "time", "rpm": "stir"}
    response = TableResponse(world(write(tmp_path, "\n".join(rows)), "y", inputs, (0, 100)), (32, 32))
    sample = film(ink=1.0, DMSO=0.4)
    sample.temperature_c = 100.0
    sample.live(900.0, 300.0)
    assert response.value(sample) == pytest.approx(10 + 10 + 5)
    assert response.value(film(ink=1.0)) is None  # no carrier: no sample of this table


def test_fractions_are_of_what_is_no_carrier(tmp_path: Path) -> None:
    rows = ["s,f,y"] + [f"{s},{f},{f}" for s in ("DMF", "DMSO") for f in (0, 50, 100)]
    response = TableResponse(world(write(tmp_path, "\n".join(rows)), "y", {"s": "liquid", "f": "fraction:a"}, (0, 200), scale=100.0), (32, 32))
    assert response.value(film(a=0.5, b=0.5, DMF=7.0)) == pytest.approx(50.0)


def test_one_sample_keeps_its_property_and_another_has_its_own(tmp_path: Path) -> None:
    config = world(write(tmp_path, GOOD), "y", {"a": "fraction:x", "b": "fraction:z"}, (0, 100))
    response = TableResponse(config, (32, 32))
    drawn = [response.value(film(f"substrate:rack.{i}", z=1.0)) for i in range(400)]
    assert response.value(film("substrate:rack.3", z=1.0)) == drawn[3]
    assert np.mean(drawn) == pytest.approx(11.0, abs=0.3)
    assert np.std(drawn) == pytest.approx(np.sqrt(2.0), rel=0.15)
    other = TableResponse(config.model_copy(update={"seed": 1}), (32, 32))
    assert other.value(film("substrate:rack.3", z=1.0)) != drawn[3]


def test_scatter_never_leaves_the_full_scale(tmp_path: Path) -> None:
    text = "a,y\n0,0\n0,9\n0.5,5\n1,10\n1,1\n"
    response = TableResponse(world(write(tmp_path, text), "y", {"a": "fraction:x"}, (0, 10)), (32, 32))
    drawn = [response.value(film(f"s{i}", z=1.0)) for i in range(100)]
    assert min(v for v in drawn if v is not None) == 0.0
    assert max(v for v in drawn if v is not None) == 10.0


# ------------------------------------------------------------------------------------------ the real tables


def laboratory(config: TableWorld, liquids: list[str]) -> LabConfig:
    syringes = [{"address": i, "liquid": name} for i, name in enumerate(liquids)]
    stations = {"synthesiser": {"role": "synthesiser", "origin": {"pose": [190, 0, 80, 180, 0, 180]}},
                "stage": {"role": "detector", "origin": {"pose": [0, 190, 80, 180, 0, -90]}},
                "rack": {"role": "rack", "origin": {"pose": [60, -130, 60, 180, 0, 180]}}}
    return LabConfig.model_validate({
        "name": "table", "world": config.model_dump(), "stations": stations,
        "instruments": {"pump": {"kind": "pump", "syringes": syringes}, "detector": {"kind": "detector"}}})


@pytest.mark.parametrize(("name", "columns", "output", "scale", "full_scale"), [
    ("perovskite", ["CsPbI", "FAPbI", "MAPbI"], "instability_index", 1.0, (0, 2e6)),
    ("p3ht", ["p3ht_pct", "d1_pct", "d2_pct", "d6_pct", "d8_pct"], "conductivity_S_per_cm", 100.0, (0, 1500)),
])
def test_a_real_table_is_seen_through_pumps_and_frames(name: str, columns: list[str], output: str, scale: float,
                                                      full_scale: tuple[float, float]) -> None:
    file = DATA / f"{name}.csv"
    if not file.exists():
        pytest.skip(f"{file.name} is not here (LABWRIGHT_DATA)")
    config = world(str(file), output, {c: f"fraction:{c}" for c in columns}, full_scale, scale)
    table = read_table(str(file), columns, [], output, full_scale)
    between = Interpolator(table)
    for design, values in zip(table.designs, table.replicates, strict=True):
        assert between.mean(design) == pytest.approx(values.mean(), rel=1e-12)
    lab = laboratory(config, columns)
    simulated = World(lab, ManualClock())
    simulated.close_gripper(lab.places["rack"].pose)
    simulated.open_gripper(lab.places["synthesiser"].pose)
    design = max(table.designs, key=lambda d: between.mean(d))
    for address, part in enumerate(design):
        simulated.infuse("pump", address, float(part) / scale)
    simulated.close_gripper(lab.places["synthesiser"].pose)
    simulated.open_gripper(lab.places["stage"].pose)
    seen = [value_of(float(frame.mean()) / 2.0, full_scale) for frame in simulated.stage("detector").expose(2.0, 2)]
    assert seen[0] == pytest.approx(seen[1], rel=0.01)
    assert abs(seen[0] - between.mean(design)) < 5 * between.deviation(design) + 0.1 * full_scale[1]


def test_names_of_a_real_table_are_inputs() -> None:
    file = DATA / "direct_arylation.csv"
    if not file.exists():
        pytest.skip(f"{file.name} is not here (LABWRIGHT_DATA)")
    columns = ["Base", "Ligand", "Solvent", "Concentration", "Temp_C"]
    table = read_table(str(file), columns, columns[:3], "yield", (0, 100))
    between = Interpolator(table)
    assert len(table.designs) == 1728
    assert between.mean(table.designs[100]) == table.replicates[100].mean()
    *names, concentration, _ = table.designs[100]
    assert 0.0 <= between.mean((*names, concentration, 100.0)) <= 100.0
