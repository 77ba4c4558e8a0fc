"""The shared world: doses, heat, moves, and the powder pattern that follows from them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.clock import ManualClock
from lab.core.config import Geometry, LabConfig
from lab.core.errors import ConfigError
from lab.core.phases import PBI2, SECONDARY, perovskite_lines, vegard_angstrom
from sim.counting import CountingNoise
from sim.film import Film, ThermalHistory
from sim.physical import INSTRUMENT_FWHM_DEG, PhysicalResponse, phases
from sim.powder import Peak, RingMap, pseudo_voigt, scherrer_fwhm_deg
from sim.stage import Stage
from sim.thermal import AMBIENT_C, Plate
from sim.world import CALIBRATION_ERROR, World

STATIONS = {
    "synthesiser": {"role": "synthesiser", "origin": {"pose": [190, 0, 80, 180, 0, 180]}},
    "plate_a": {"role": "annealer", "instrument": "hotplate_a", "origin": {"pose": [135, 135, 80, 180, 0, 135]}},
    "plate_b": {"role": "annealer", "instrument": "hotplate_b", "origin": {"pose": [-135, 135, 80, 180, 0, 45]}},
    "stage": {"role": "detector", "origin": {"pose": [0, 190, 80, 180, 0, -90]}},
    "rack": {"role": "rack", "slots": 4, "columns": 2, "step_mm": [20, -20], "origin": {"pose": [60, -130, 60, 180, 0, 180]}},
}


def laboratory(seed: int = 1, **more: object) -> LabConfig:
    syringes = [{"address": i, "liquid": name} for i, name in enumerate(("cs", "fa", "ma", "DMF"))]
    return LabConfig.model_validate({
        "name": "test", "world": {"kind": "physical", "seed": seed}, "stations": STATIONS,
        "instruments": {"pump": {"kind": "pump", "syringes": syringes}, "hotplate_a": {"kind": "hotplate"}, "hotplate_b": {"kind": "hotplate"},
                        "detector": {"kind": "detector", "geometry": {"shape": [128, 128], "beam_center_px": [63.5, 63.5], "pixel_um": 688}}},
        **more})


class Bench:
    """A world, its clock, and hands."""

    def __init__(self, lab: LabConfig) -> None:
        self.clock = ManualClock()
        self.world = World(lab, self.clock)
        self._places = lab.places

    def move(self, origin: str, target: str) -> None:
        assert self.world.close_gripper(self._places[origin].pose)
        self.world.open_gripper(self._places[target].pose)

    def dose(self, volumes_ml: Mapping[int, float], steps: int = 1) -> None:
        for address, volume_ml in volumes_ml.items():
            for _ in range(steps):
                self.world.infuse("pump", address, volume_ml / steps)

    def make_film(self, slot: str, volumes_ml: Mapping[int, float], anneal_c: float, anneal_s: float = 600.0) -> None:
        self.move(slot, "synthesiser")
        self.dose(volumes_ml)
        self.move("synthesiser", "plate_a")
        self.world.set_heater("hotplate_a", anneal_c)
        self.clock.advance(anneal_s + 120.0)
        self.world.set_heater("hotplate_a", None)
        self.move("plate_a", "stage")

    @property
    def account(self) -> dict:
        return json.loads(json.dumps(self.world.account()))


@pytest.fixture
def bench() -> Bench:
    return Bench(laboratory())


# --------------------------------------------------------------------------------------------------- doses


def test_a_dose_goes_into_the_sample_at_the_synthesiser(bench: Bench) -> None:
    bench.move("rack.2", "synthesiser")
    bench.dose({0: 0.2, 1: 0.8}, steps=7)
    doses = bench.account["doses"]
    assert [(d["sample"], d["address"], d["liquid"]) for d in doses] == [("substrate:rack.2", 0, "cs"), ("substrate:rack.2", 1, "fa")]
    assert [d["counted_ml"] for d in doses] == pytest.approx([0.2, 0.8])


def test_the_true_volume_differs_from_the_counted_one_by_about_a_per_cent() -> None:
    errors = []
    for seed in range(60):
        bench = Bench(laboratory(seed))
        bench.move("rack.1", "synthesiser")
        bench.dose({0: 1.0})
        errors.append(bench.account["doses"][0]["true_ml"] - 1.0)
    assert np.std(errors) == pytest.approx(CALIBRATION_ERROR, rel=0.35)
    assert abs(np.mean(errors)) < 0.005


def test_a_pump_errs_alike_for_all_samples_but_for_a_small_jitter(bench: Bench) -> None:
    for slot in ("rack.1", "rack.2", "rack.3"):
        bench.move(slot, "synthesiser")
        bench.dose({0: 1.0})
        bench.move("synthesiser", slot)
    volumes = [d["true_ml"] for d in bench.account["doses"]]
    assert len(set(volumes)) == 3
    assert np.std(volumes) < 0.006


def test_how_a_dose_is_cut_into_increments_changes_nothing() -> None:
    volumes = []
    for steps in (1, 13, 400):
        bench = Bench(laboratory())
        bench.move("rack.1", "synthesiser")
        bench.dose({1: 0.7}, steps)
        volumes.append(bench.account["doses"][0]["true_ml"])
    assert volumes == pytest.approx([volumes[0]] * 3, rel=1e-9)


def test_without_a_sample_a_dose_is_spilled(bench: Bench) -> None:
    bench.dose({1: 0.5})
    assert bench.account["doses"] == []
    (spill,) = bench.account["spills"]
    assert (spill["address"], spill["liquid"]) == (1, "fa")
    assert spill["true_ml"] == pytest.approx(0.5, rel=0.05)


def test_what_is_withdrawn_comes_from_the_mixture_and_never_more_than_there_is(bench: Bench) -> None:
    bench.move("rack.1", "synthesiser")
    bench.dose({0: 0.4, 1: 0.4})
    bench.world.infuse("pump", 3, -0.2)
    first, second = (d["true_ml"] for d in bench.account["doses"])
    assert first + second == pytest.approx(0.6, rel=0.03)
    bench.world.infuse("pump", 3, -5.0)
    assert sum(d["true_ml"] for d in bench.account["doses"]) == pytest.approx(0.0, abs=1e-12)


def test_two_pump_banks_with_one_address_are_refused() -> None:
    lab = laboratory()
    twice = lab.model_copy(update={"instruments": {**lab.instruments, "more": lab.instruments["pump"]}})
    with pytest.raises(ConfigError, match="each address once"):
        World(twice, ManualClock())


# --------------------------------------------------------------------------------------------------- moves


def test_every_rack_slot_starts_with_a_substrate_and_a_move_is_accounted(bench: Bench) -> None:
    assert set(bench.account["places"]) == {"rack.1", "rack.2", "rack.3", "rack.4"}
    bench.move("rack.3", "stage")
    assert bench.account["places"]["stage"] == "substrate:rack.3"
    assert "rack.3" not in bench.account["places"]
    assert [(m["origin"], m["target"]) for m in bench.account["moves"]] == [("rack.3", "stage")]


def test_the_gripper_holds_within_two_millimetres_and_not_beyond(bench: Bench) -> None:
    x, y, z, *angles = laboratory().places["rack.1"].pose
    assert not bench.world.close_gripper((x + 2.1, y, z, *angles))
    assert not bench.world.is_holding()
    assert bench.world.close_gripper((x, y - 1.2, z + 1.2, *angles))
    assert bench.world.is_holding()
    assert bench.account["places"]["gripper"] == "substrate:rack.1"


@pytest.mark.parametrize("pose", [(0.0, 0.0, 300.0, 0.0, 0.0, 0.0), (80.0, -130.0, 60.0, 180.0, 0.0, 180.0)],
                         ids=["in the air", "on an occupied place"])
def test_a_sample_let_go_where_none_can_stand_is_lost(bench: Bench, pose: tuple[float, ...]) -> None:
    bench.world.close_gripper(laboratory().places["rack.1"].pose)
    bench.world.open_gripper(pose)
    assert bench.account["lost"] == ["substrate:rack.1"]
    assert bench.account["places"]["rack.2"] == "substrate:rack.2"
    assert not bench.world.is_holding()


# ---------------------------------------------------------------------------------------------------- heat


def test_the_plate_heats_at_a_bounded_rate_settles_and_cools_slower(bench: Bench) -> None:
    bench.world.set_heater("hotplate_a", 140.0)
    bench.clock.advance(20.0)
    assert bench.world.plate_c("hotplate_a") == pytest.approx(AMBIENT_C + 30.0, abs=1.0)
    bench.clock.advance(180.0)
    assert bench.world.plate_c("hotplate_a") == pytest.approx(140.0, abs=0.1)
    assert 130.0 < bench.world.probe_c("hotplate_a") < 140.0
    bench.world.set_heater("hotplate_a", None)
    bench.clock.advance(20.0)
    assert 130.0 < bench.world.plate_c("hotplate_a") < 139.0
    bench.clock.advance(36000.0)
    assert bench.world.plate_c("hotplate_a") == pytest.approx(AMBIENT_C, abs=0.05)


@given(st.lists(st.floats(0.05, 90.0), min_size=1, max_size=12))
def test_the_plate_does_not_care_how_often_it_is_asked(pauses_s: list[float]) -> None:
    once, often = Bench(laboratory()), Bench(laboratory())
    for bench in (once, often):
        bench.world.set_heater("hotplate_a", 110.0)
    for pause_s in pauses_s:
        often.clock.advance(pause_s)
        often.world.plate_c("hotplate_a")
    once.clock.advance(sum(pauses_s))
    assert once.world.plate_c("hotplate_a") == pytest.approx(often.world.plate_c("hotplate_a"), abs=0.8)


def test_a_setpoint_below_the_room_only_lets_the_plate_cool() -> None:
    plate = Plate()
    plate.target_c = 5.0
    plate.step(100.0)
    assert plate.plate_c == pytest.approx(AMBIENT_C)


def test_the_thermal_history_of_a_sample_has_its_plateau(bench: Bench) -> None:
    bench.make_film("rack.1", {0: 0.1, 1: 0.8, 2: 0.1}, anneal_c=120.0, anneal_s=600.0)
    sample = bench.account["samples"]["substrate:rack.1"]
    assert sample["anneal_c"] == pytest.approx(120.0, abs=0.3)
    assert sample["anneal_s"] == pytest.approx(640.0, abs=25.0)
    assert sample["peak_c"] == pytest.approx(120.0, abs=0.1)


def test_a_sample_in_the_rack_stays_cold_while_another_is_heated(bench: Bench) -> None:
    bench.move("rack.1", "synthesiser")
    bench.dose({1: 0.5})
    bench.clock.advance(5.0)
    bench.move("synthesiser", "rack.1")
    bench.make_film("rack.2", {1: 0.5}, anneal_c=150.0)
    assert bench.account["samples"]["substrate:rack.1"]["peak_c"] == pytest.approx(AMBIENT_C, abs=0.1)


def test_stirring_is_remembered_as_the_speed_held_longest(bench: Bench) -> None:
    bench.move("rack.1", "synthesiser")
    bench.dose({1: 0.5})
    bench.move("synthesiser", "plate_a")
    for rpm, duration_s in ((200.0, 10.0), (450.0, 300.0), (0.0, 500.0)):
        bench.world.set_stirrer("hotplate_a", rpm)
        assert bench.world.stir_rpm("hotplate_a") == rpm
        bench.clock.advance(duration_s)
    assert bench.account["samples"]["substrate:rack.1"]["stir_rpm"] == 450.0


def test_a_hotplate_heats_and_stirs_what_stands_on_it_and_nothing_else(bench: Bench) -> None:
    for slot, plate in (("rack.1", "plate_a"), ("rack.2", "plate_b"), ("rack.3", "synthesiser")):
        bench.move(slot, "synthesiser")
        bench.dose({1: 0.5})
        if plate != "synthesiser":
            bench.move("synthesiser", plate)
    for hotplate, target_c, rpm in (("hotplate_a", 100.0, 200.0), ("hotplate_b", 150.0, 400.0)):
        bench.world.set_heater(hotplate, target_c)
        bench.world.set_stirrer(hotplate, rpm)
    bench.clock.advance(600.0)
    samples = bench.account["samples"]
    assert [samples[f"substrate:rack.{n}"]["peak_c"] for n in (1, 2, 3)] == pytest.approx([100.0, 150.0, AMBIENT_C], abs=0.1)
    assert [samples[f"substrate:rack.{n}"]["stir_rpm"] for n in (1, 2, 3)] == [200.0, 400.0, 0.0]


def test_what_a_sample_has_been_through_goes_with_it_from_plate_to_plate(bench: Bench) -> None:
    bench.world.set_heater("hotplate_a", 100.0)
    bench.world.set_heater("hotplate_b", 140.0)
    bench.move("rack.1", "synthesiser")
    bench.dose({1: 0.5})
    bench.clock.advance(300.0)
    for origin, target in (("synthesiser", "plate_b"), ("plate_b", "plate_a")):
        bench.move(origin, target)
        bench.clock.advance(300.0)
    sample = bench.account["samples"]["substrate:rack.1"]
    assert sample["peak_c"] == pytest.approx(140.0, abs=0.1)
    assert sample["anneal_s"] == pytest.approx(280.0, abs=15.0)
    assert sample["temperature_c"] == pytest.approx(100.0, abs=0.1)


def test_a_hot_sample_cools_in_the_gripper_and_then_rests(bench: Bench) -> None:
    bench.make_film("rack.1", {1: 0.5}, anneal_c=150.0)
    assert bench.account["samples"]["substrate:rack.1"]["temperature_c"] > 100.0
    bench.world.close_gripper(laboratory().places["stage"].pose)
    bench.clock.advance(3600.0)
    assert bench.account["samples"]["substrate:rack.1"]["temperature_c"] == pytest.approx(AMBIENT_C, abs=0.02)


@pytest.mark.parametrize("looks", [1, 50])
def test_the_time_that_a_film_waits_in_the_cold_is_counted_whoever_looks(bench: Bench, looks: int) -> None:
    bench.move("rack.1", "synthesiser")
    bench.clock.advance(500.0)
    bench.dose({1: 0.5})
    for _ in range(looks):
        bench.clock.advance(100.0 / looks)
        seen = bench.account["samples"]["substrate:rack.1"]
    assert seen["anneal_s"] == pytest.approx(100.0)
    assert seen["anneal_c"] == pytest.approx(AMBIENT_C)


def test_a_rate_is_integrated_over_the_history() -> None:
    history = ThermalHistory()
    history.add(100.0, 50.0)
    history.add(120.0, 10.0)
    assert history.integral(lambda t: t / 1000.0) == pytest.approx(50 * 0.1 + 10 * 0.12)
    assert ThermalHistory().integral(lambda t: t) == 0.0


# ------------------------------------------------------------------------------------------------ chemistry


def annealed(temperature_c: float, duration_s: float = 600.0) -> ThermalHistory:
    history = ThermalHistory()
    for step_c in np.arange(AMBIENT_C, temperature_c, 0.75):
        history.add(float(step_c), 0.5)
    history.add(temperature_c, duration_s)
    return history


def fraction(cs: float, fa: float, ma: float, temperature_c: float) -> float:
    return phases({"cs": cs, "fa": fa, "ma": ma}, annealed(temperature_c)).perovskite


def test_the_best_film_is_where_the_documentation_says() -> None:
    films = [(i / 20, j / 20, (20 - i - j) / 20, float(t)) for i in range(21) for j in range(21 - i) for t in range(60, 181, 10)]
    best = max(((fraction(*film), *film) for film in films), key=lambda row: row[0])
    value, cs, fa, ma, temperature_c = best
    assert 0.93 < value < 0.99
    assert 0.1 <= cs <= 0.2 and 0.7 <= fa <= 0.85 and 0.0 <= ma <= 0.15
    assert 120.0 <= temperature_c <= 140.0
    assert fraction(0.15, 0.75, 0.1, 140.0) > 0.93


def test_random_films_are_mediocre() -> None:
    chance = np.random.default_rng(0)
    found = [fraction(*chance.dirichlet([1, 1, 1]), chance.uniform(60, 180)) for _ in range(300)]
    assert 0.45 < np.median(found) < 0.65
    assert np.mean(np.array(found) > 0.9) < 0.03


@pytest.mark.parametrize(("cs", "fa", "ma", "temperature_c", "phase"), [
    (0.0, 1.0, 0.0, 140.0, "delta_fa"), (1.0, 0.0, 0.0, 140.0, "delta_cs"), (0.0, 0.0, 1.0, 150.0, "pbi2"),
    (0.1, 0.9, 0.0, 90.0, "delta_fa"), (0.1, 0.8, 0.1, 40.0, "amorphous")])
def test_each_mistake_leaves_its_own_phase(cs: float, fa: float, ma: float, temperature_c: float, phase: str) -> None:
    found = phases({"cs": cs, "fa": fa, "ma": ma}, annealed(temperature_c))
    shares = {name: getattr(found, name) for name in ("perovskite", "pbi2", "delta_fa", "delta_cs", "amorphous")}
    assert max(shares, key=lambda name: shares[name]) == phase


@given(st.floats(0, 1), st.floats(0, 1), st.floats(25, 250), st.floats(0, 1e5))
def test_phase_fractions_are_shares_of_one(a: float, b: float, temperature_c: float, duration_s: float) -> None:
    low, high = sorted((a, b))
    found = phases({"cs": low, "fa": high - low, "ma": 1.0 - high}, annealed(temperature_c, duration_s))
    shares = [found.perovskite, found.pbi2, found.delta_fa, found.delta_cs, found.amorphous]
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert sum(shares) == pytest.approx(1.0)


# --------------------------------------------------------------------------------------------------- rings


def test_lines_stand_where_vegard_and_bragg_put_them() -> None:
    a = vegard_angstrom({"cs": 0.15, "fa": 0.75, "ma": 0.1})
    assert a == pytest.approx(0.15 * 6.201 + 0.75 * 6.362 + 0.1 * 6.278)
    first = perovskite_lines(a)[0]
    assert first.two_theta_deg(1.0) == pytest.approx(2 * math.degrees(math.asin(1.0 / (2 * a))))
    assert [line.d_angstrom / a for line in perovskite_lines(a)] == pytest.approx([1 / math.sqrt(n) for n in (1, 2, 3, 4, 5)])
    assert {name: round(lines[0].d_angstrom, 2) for name, lines in SECONDARY.items()} == {"pbi2": 6.99, "delta_fa": 7.5, "delta_cs": 8.88}
    assert math.isnan(PBI2[0].two_theta_deg(20.0))


def test_a_composition_without_cations_has_no_lattice() -> None:
    with pytest.raises(ValueError, match="allowed: some of cs, fa, ma"):
        vegard_angstrom({"DMF": 1.0})


def test_the_frame_shows_rings_at_the_bragg_angle() -> None:
    geometry = Geometry()
    response = PhysicalResponse(geometry)
    film = Film("f", AMBIENT_C, history=annealed(140.0))
    for address, (liquid, volume_ml) in enumerate({"cs": 0.15, "fa": 0.75, "ma": 0.1}.items()):
        film.dose(address, liquid, volume_ml, volume_ml)
    rate = response.rate(film)
    row = rate[255, 256:]
    radius_mm = np.hypot(0.5, np.arange(256, 512) - 255.5) * 0.172
    two_theta = np.degrees(np.arctan(radius_mm / 150.0))
    window = (two_theta > 8.6) & (two_theta < 9.6)
    expected = perovskite_lines(vegard_angstrom({"cs": 0.15, "fa": 0.75, "ma": 0.1}))[0].two_theta_deg(1.0)
    centroid = np.average(two_theta[window], weights=(row[window] - row[window].min()) ** 2)
    assert centroid == pytest.approx(expected, abs=0.01)
    assert rate == pytest.approx(rate[::-1, :])
    assert rate == pytest.approx(rate.T)
    assert 50.0 < 2.0 * rate.max() < 500.0


@given(st.floats(0.05, 0.5), st.floats(0.0, 0.5))
def test_a_profile_has_unit_area_and_a_width_between_its_parts(gauss: float, lorentz: float) -> None:
    x = np.linspace(-400, 400, 800001)
    y = pseudo_voigt(x, 0.0, gauss, lorentz)
    assert np.trapezoid(y, x) == pytest.approx(1.0, abs=2e-3)
    width = np.ptp(x[y >= y.max() / 2])
    assert max(gauss, lorentz) - 0.01 <= width <= gauss + lorentz + 0.01


@pytest.mark.parametrize("size_nm", [12.0, 30.0, 60.0])
def test_the_crystallite_size_is_recovered_from_the_width(size_nm: float) -> None:
    rings = RingMap(Geometry())
    profile = rings.profile([Peak(9.06, 10.0, size_nm)], 1e-4)
    x = rings.table_deg
    fine = np.linspace(8.0, 10.0, 200001)
    width_deg = np.ptp(fine[np.interp(fine, x, profile) >= profile.max() / 2])
    theta = math.radians(9.06 / 2)
    assert 0.9 * 0.1 / (math.radians(width_deg) * math.cos(theta)) == pytest.approx(size_nm, rel=0.05)
    assert width_deg == pytest.approx(scherrer_fwhm_deg(9.06, size_nm, 1.0), rel=0.05)
    assert np.trapezoid(profile, x) == pytest.approx(10.0, rel=0.03)


def test_annealing_sharpens_the_lines() -> None:
    mild, long = (phases({"cs": 0.15, "fa": 0.75, "ma": 0.1}, annealed(130.0, s)) for s in (60.0, 3600.0))
    assert long.size_nm > 1.5 * mild.size_nm
    assert scherrer_fwhm_deg(9.06, mild.size_nm, 1.0) > INSTRUMENT_FWHM_DEG


# --------------------------------------------------------------------------------------------------- counts


def frames(bench: Bench, count_time_s: float = 2.0, n: int = 1) -> list[np.ndarray]:
    return list(bench.world.stage("detector").expose(count_time_s, n))


def test_an_empty_stage_and_a_bare_substrate_give_background_only(bench: Bench) -> None:
    (empty,) = frames(bench)
    bench.move("rack.1", "stage")
    (bare,) = frames(bench)
    assert empty.dtype == np.uint16 and empty.shape == (128, 128)
    assert empty.mean() == pytest.approx(bare.mean(), rel=0.05)
    bench.move("stage", "rack.1")
    bench.make_film("rack.2", {0: 0.15, 1: 0.75, 2: 0.1}, 140.0)
    (film,) = frames(bench)
    assert film.max() > 5 * empty.max()


def test_what_was_really_dosed_is_what_is_seen(bench: Bench) -> None:
    bench.make_film("rack.1", {2: 0.9, 1: 0.1}, 150.0)
    (frame,) = frames(bench, 60.0)
    rings = RingMap(bench.world.stage("detector").geometry)
    leading = {name: frame[np.abs(rings.two_theta_deg - lines[0].two_theta_deg(1.0)) < 0.15].mean() for name, lines in SECONDARY.items()}
    assert max(leading, key=lambda name: leading[name]) == "pbi2"


def test_long_exposures_come_in_32_bits(bench: Bench) -> None:
    assert frames(bench, 20.0)[0].dtype == np.uint16
    assert frames(bench, 21.0)[0].dtype == np.uint32
    assert Stage.bit_depth(21.0) == 32


def test_the_same_deeds_give_the_same_frames_and_another_seed_other_ones() -> None:
    def first_frames(seed: int) -> list[np.ndarray]:
        bench = Bench(laboratory(seed))
        bench.make_film("rack.1", {0: 0.2, 1: 0.6, 2: 0.2}, 130.0)
        return frames(bench, n=2)

    one, again, other = first_frames(1), first_frames(1), first_frames(2)
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert (one[0] != one[1]).any()
    assert (one[0] != other[0]).any()


@pytest.mark.parametrize("mean", [0.003, 0.8, 9.0, 40.0, 900.0])
def test_counting_noise_is_poisson(mean: float) -> None:
    chance = np.random.default_rng(5)
    means = np.full((64, 64), mean) * np.linspace(0.9, 1.1, 64)
    noise = CountingNoise(means)
    drawn = np.array([noise.draw(chance) for _ in range(300)])
    n = drawn.size
    assert drawn.mean() == pytest.approx(means.mean(), abs=5 * math.sqrt(mean / n))
    variance = ((drawn - means) ** 2).mean() / means.mean()
    assert variance == pytest.approx(1.0, abs=5 * math.sqrt((2 + 1 / mean) / n))
    assert (drawn == 0).mean() == pytest.approx(np.exp(-means).mean(), abs=5 * math.sqrt(np.exp(-means).mean() / n) + 1e-9)


def test_counting_noise_of_one_mean_has_the_distribution_of_poisson() -> None:
    from scipy.stats import chisquare, poisson

    noise = CountingNoise(np.full((200, 200), 3.7))
    chance = np.random.default_rng(11)
    drawn = np.concatenate([noise.draw(chance).ravel() for _ in range(10)])
    counts = np.bincount(np.minimum(drawn, 12), minlength=13)
    expected = poisson.pmf(np.arange(13), 3.7)
    expected[12] = 1.0 - expected[:12].sum()
    assert chisquare(counts, expected * len(drawn)).pvalue > 1e-3


def test_counting_noise_of_nothing_is_nothing() -> None:
    assert not CountingNoise(np.zeros((8, 8))).draw(np.random.default_rng(0)).any()


def test_a_scene_too_rich_for_tables_is_drawn_pixel_by_pixel() -> None:
    means = np.linspace(0.0, 200_000.0, 64 * 64).reshape(64, 64)
    drawn = CountingNoise(means).draw(np.random.default_rng(0))
    assert ((drawn - means) / np.sqrt(np.maximum(means, 1.0))).std() == pytest.approx(1.0, abs=0.1)
