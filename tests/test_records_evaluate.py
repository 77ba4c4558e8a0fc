"""Evaluation of frames that a small generator of its own draws: rings where Bragg's law puts them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from records_runs import documents_of, write_frames
from scipy.special import voigt_profile

from lab.core.brightness import COUNTS_FULL
from lab.core.config import Geometry
from lab.core.errors import ConfigError, SampleError
from lab.core.question import CampaignConfig
from lab.core.trial import Outcome
from lab.records.evaluate import PHASE_OUTCOMES, delivered, evaluate, warm_up

GEOMETRY = Geometry()
SMALL = Geometry(shape=(256, 256), pixel_um=344.0, beam_center_px=(127.5, 127.5))
SPACINGS = (6.29, 6.986, 7.50, 8.88)


def two_theta_deg(geometry: Geometry) -> np.ndarray:
    rows, columns = np.indices(geometry.shape)
    radius_m = np.hypot(rows - geometry.beam_center_px[0], columns - geometry.beam_center_px[1]) * geometry.pixel_um * 1e-6
    return np.degrees(np.arctan(radius_m / (geometry.distance_mm * 1e-3)))


def bragg_deg(spacing: float, geometry: Geometry) -> float:
    return 2.0 * math.degrees(math.asin(geometry.wavelength_angstrom / 2.0 / spacing))


FWHM_DEG, LORENTZIAN = 0.18, 0.65
"""Of every line; by Thompson, Cox and Hastings a Lorentzian width of 0.105 deg."""


def line(offset_deg: np.ndarray) -> np.ndarray:
    """A pseudo-Voigt of unit area by its plain definition: so much of a Lorentzian, the rest a Gaussian of the same width."""
    half = FWHM_DEG / 2
    sigma = half / math.sqrt(2 * math.log(2))
    lorentzian = half / math.pi / (offset_deg**2 + half**2)
    gaussian = np.exp(-0.5 * (offset_deg / sigma) ** 2) / sigma / math.sqrt(2 * math.pi)
    return np.asarray(LORENTZIAN * lorentzian + (1 - LORENTZIAN) * gaussian)


def rate(areas: tuple[float, ...], geometry: Geometry = GEOMETRY, profile: Callable[[np.ndarray], np.ndarray] = line) -> np.ndarray:
    """Counts per pixel and second: a ring for each area (counts x deg), on scattering that falls off with the angle."""
    angle = two_theta_deg(geometry)
    frame = 2.0 + 6.0 * np.exp(-angle / 4.0)
    for spacing, area in zip(SPACINGS, areas, strict=True):
        frame += area * profile(angle - bragg_deg(spacing, geometry))
    return frame


def campaign(objective: str = "perovskite_fraction", **more: object) -> CampaignConfig:
    fields: dict[str, object] = {
        "name": "film", "recipe": "thin_film", "parameters": [{"name": "cs", "type": "range", "bounds": [0, 1]}],
        "objectives": [{"name": objective, "goal": "maximize"}], "budget": {"trials": 1}}
    return CampaignConfig.model_validate({**fields, **more})


def measure(folder: Path, frames: np.ndarray, config: CampaignConfig, geometry: Geometry = GEOMETRY, count_time_s: float | None = 2.0,
            name: str = "frames", n_events: int = 1) -> Outcome:
    path = write_frames(folder / f"{name}.h5", frames, count_time_s)
    return evaluate(documents_of(path, len(frames) // n_events, geometry.shape, n_events), config, geometry)


def expose(mean_rate: np.ndarray, seed: int, n: int = 1, count_time_s: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(mean_rate * count_time_s, (n, *mean_rate.shape)).astype(np.uint16)


# ------------------------------------------------------------------------------------------------ phases


def test_fraction_and_lattice_parameter_come_back(tmp_path: Path) -> None:
    config = campaign(outcome_constraints=["lattice_parameter >= 6", "total_intensity >= 1"])
    outcome = measure(tmp_path, expose(rate((24.0, 8.0, 6.0, 2.0)), 1), config)
    fraction, a, total = (outcome.measured[name] for name in ("perovskite_fraction", "lattice_parameter", "total_intensity"))
    assert fraction.sem is not None and 0 < fraction.sem < 0.01 and abs(fraction.mean - 0.6) < 4 * fraction.sem
    assert a.sem is not None and 0 < a.sem < 0.001 and abs(a.mean - 6.29) < 4 * a.sem
    assert total.mean == pytest.approx(40.0, rel=0.02)
    assert tuple(outcome.measured) == (*config.outcome_names, "peak_width", "crystallite_size")
    for phase, share in (("pbi2", 0.2), ("delta_fa", 0.15), ("delta_cs", 0.05)):
        assert outcome.details[f"{phase}_fraction"] == pytest.approx(share, abs=0.01)
    assert outcome.measured["peak_width"].mean == pytest.approx(0.18, abs=0.02)
    assert {"redchi", "n_frames", "mean_counts"} <= set(outcome.details)


def test_the_crystallite_size_follows_scherrer(tmp_path: Path) -> None:
    # A Voigt line whose Lorentzian part is 0.12 deg wide: 0.9 * 1.0 A / (0.12 deg * cos(4.56 deg)).
    size_nm = 0.09 / (math.radians(0.12) * math.cos(math.radians(bragg_deg(6.29, GEOMETRY) / 2)))
    mean_rate = rate((30.0, 1.0, 0.0, 0.0), profile=lambda offset_deg: voigt_profile(offset_deg, 0.045, 0.06))
    assert measure(tmp_path, expose(mean_rate, 2), campaign("crystallite_size")).measured["crystallite_size"].mean == pytest.approx(size_nm, rel=0.1)


def test_lines_of_a_true_voigt_shape_give_nearly_the_same(tmp_path: Path) -> None:
    mean_rate = rate((24.0, 8.0, 6.0, 2.0), profile=lambda offset_deg: voigt_profile(offset_deg, 0.045, 0.06))
    outcome = measure(tmp_path, expose(mean_rate, 2), campaign())
    assert outcome.measured["perovskite_fraction"].mean == pytest.approx(0.6, abs=0.005)
    assert outcome.measured["lattice_parameter"].mean == pytest.approx(6.29, abs=0.001)


@pytest.mark.parametrize(("areas", "n_seeds"), [
    ((24.0, 8.0, 6.0, 2.0), 100), ((0.5, 15.0, 15.0, 10.0), 20), ((39.0, 0.4, 0.3, 0.3), 30), ((3.0, 1.0, 0.0, 0.0), 30)])
def test_standard_errors_are_honest(tmp_path: Path, areas: tuple[float, ...], n_seeds: int) -> None:
    """Pulls over many seeds: centred on zero, of unit width."""
    mean_rate, truth = rate(areas, SMALL), areas[0] / sum(areas)
    config, fractions, spacings = campaign(), [], []
    for seed in range(n_seeds):
        outcome = measure(tmp_path, expose(mean_rate, seed), config, SMALL, name=f"{seed}")
        fraction = outcome.measured["perovskite_fraction"]
        assert fraction.sem is not None
        fractions.append((fraction.mean - truth) / fraction.sem)
        if (spacing := outcome.measured.get("lattice_parameter")) is not None and spacing.sem is not None:
            spacings.append((spacing.mean - SPACINGS[0]) / spacing.sem)
    for pulls in (fractions, spacings):
        assert len(pulls) > 0.5 * n_seeds
        assert abs(np.mean(pulls)) < 0.6
        assert 0.6 < np.std(pulls) < 1.4


def test_more_frames_count_together(tmp_path: Path) -> None:
    mean_rate = rate((6.0, 2.0, 1.0, 1.0))
    one = measure(tmp_path, expose(mean_rate, 1), campaign(), name="one")
    many = measure(tmp_path, expose(mean_rate, 2, n=9), campaign(), name="many", n_events=3)
    assert many.details["n_frames"] == 9
    few_sem, many_sem = one.measured["perovskite_fraction"].sem, many.measured["perovskite_fraction"].sem
    assert few_sem is not None and many_sem is not None and 2.0 < few_sem / many_sem < 4.5


def test_masked_pixels_are_left_out(tmp_path: Path) -> None:
    frames = expose(rate((24.0, 8.0, 6.0, 2.0)), 1)
    frames[:, 250:262, :] = np.iinfo(np.uint16).max
    outcome = measure(tmp_path, frames, campaign())
    assert outcome.measured["perovskite_fraction"].mean == pytest.approx(0.6, abs=0.01)


def test_a_frame_without_peaks_says_what_was_seen(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"no peaks: of perovskite, .* the strongest line is \w+'s with -?\d.* sigma \(needed: 5\) over .*"
                                          "counts per pixel of background"):
        measure(tmp_path, expose(rate((0.0, 0.0, 0.0, 0.0)), 1), campaign())


def test_no_counts_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="no counts at all in 2 frames of 2 s: shutter, beam or exposure"):
        measure(tmp_path, np.zeros((2, *GEOMETRY.shape), np.uint16), campaign())


def test_a_film_without_perovskite_has_a_fraction_of_nothing_but_no_lattice_parameter(tmp_path: Path) -> None:
    frames = expose(rate((0.0, 20.0, 10.0, 0.0)), 3)
    fraction = measure(tmp_path, frames, campaign(), name="a").measured["perovskite_fraction"]
    assert fraction.sem is not None and abs(fraction.mean) < 4 * fraction.sem + 0.003
    with pytest.raises(SampleError, match="lattice_parameter cannot be told of this sample; what can: perovskite_fraction, total_intensity"):
        measure(tmp_path, frames, campaign("lattice_parameter"), name="b")


def test_noise_and_artefacts_give_an_outcome_or_words_never_anything_else(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    angle = two_theta_deg(SMALL)
    shapes = [np.full(SMALL.shape, 0.003), 50.0 * np.exp(-angle), 1e4 * (angle < 6), np.abs(np.sin(5 * angle)) * 30,
              generator.random(SMALL.shape) * 100, 3000.0 * voigt_profile(angle - 8.6, 0.02, 0.001), 5.0 * (np.indices(SMALL.shape)[0] % 2)]
    for n, shape in enumerate(shapes):
        try:
            outcome = measure(tmp_path, generator.poisson(shape, (1, *SMALL.shape)).astype(np.uint16), campaign(), SMALL, name=f"{n}")
        except SampleError as error:
            assert len(str(error)) > 20
        else:
            measured = outcome.measured["perovskite_fraction"]
            assert math.isfinite(measured.mean) and measured.sem is not None and math.isfinite(measured.sem)


def test_a_detector_that_cannot_see_the_lines_is_refused_before_anything_moves() -> None:
    with pytest.raises(ConfigError, match="a detector that sees 2 theta up to .* deg; allowed: at least 10.06 deg"):
        warm_up(Geometry(distance_mm=500.0))
    warm_up(GEOMETRY)


# -------------------------------------------------------------------------------------------- brightness


def bright(folder: Path, per_second: float, full_scale: tuple[float, float], n: int = 1, seed: int = 0, drift: float = 0.0,
           name: str = "bright") -> Outcome:
    shape = SMALL.shape
    generator = np.random.default_rng(seed)
    frames = generator.poisson(per_second * 2.0 * (1.0 + drift * np.arange(n)[:, None, None]), (n, *shape)).astype(np.uint16)
    config = campaign("glow", evaluate={"kind": "brightness", "full_scale": full_scale})
    return measure(folder, frames, config, SMALL, name=name)


def test_brightness_is_linear_in_the_counts(tmp_path: Path) -> None:
    glow = bright(tmp_path, 0.25 * COUNTS_FULL, (-10.0, 30.0)).measured["glow"]
    assert glow.sem is not None and abs(glow.mean - 0.0) < 4 * glow.sem
    # 250 counts/pixel/s for 2 s on 65536 pixels: sqrt(N)/N of the rate, times 40 units per 1000.
    assert glow.sem == pytest.approx(math.sqrt(500 * 65536) / (2 * 65536) * 40 / COUNTS_FULL, rel=0.01)


def test_frames_that_scatter_more_than_counting_say_so(tmp_path: Path) -> None:
    glow = bright(tmp_path, 100.0, (0.0, 1000.0), n=4, drift=0.05)
    assert glow.measured["glow"].sem == pytest.approx(100 * 0.05 * np.std(np.arange(4), ddof=1) / 2, rel=0.05)
    assert glow.details["scatter_sem"] > 10 * glow.details["counting_sem"]


def test_no_light_is_the_low_end_of_the_scale_with_the_error_of_one_count(tmp_path: Path) -> None:
    glow = bright(tmp_path, 0.0, (5.0, 1005.0)).measured["glow"]
    assert glow.mean == 5.0 and glow.sem == pytest.approx(1 / (2 * 65536))


def test_brightness_errors_are_honest(tmp_path: Path) -> None:
    pulls = []
    for seed in range(100):
        glow = bright(tmp_path, 0.3, (0.0, COUNTS_FULL), seed=seed, name=f"{seed}").measured["glow"]
        assert glow.sem is not None
        pulls.append((glow.mean - 0.3) / glow.sem)
    assert abs(np.mean(pulls)) < 0.4 and 0.8 < np.std(pulls) < 1.2


# --------------------------------------------------------------------------------------- frames and names


def test_what_a_kind_delivers_is_known_beforehand() -> None:
    assert delivered("phases", campaign()) == PHASE_OUTCOMES
    glow = campaign("glow", evaluate={"kind": "brightness", "full_scale": [0, 1]})
    assert delivered("brightness", glow) == ("glow",)
    assert campaign(outcome_constraints=["peak_width <= 1", "peak_width >= 0"]).outcome_names == ("perovskite_fraction", "peak_width")


def test_an_outcome_that_is_not_delivered_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="thickness cannot be told of this sample; what can: perovskite_fraction, total_intensity, peak_width"):
        measure(tmp_path, expose(rate((24.0, 8.0, 6.0, 2.0)), 1), campaign("thickness"))


def test_a_run_without_frames_is_told_in_words(tmp_path: Path) -> None:
    documents = [d for d in documents_of(tmp_path / "f.h5", 1, GEOMETRY.shape) if d[0] != "stream_datum"]
    with pytest.raises(SampleError, match="no frames: the run's documents point to no HDF5 frames"):
        evaluate(documents, campaign(), GEOMETRY)


def test_frames_are_found_in_a_home_that_has_moved(tmp_path: Path) -> None:
    """The documents say where they were written; after a crash the disk may be read at another place."""
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    path = write_frames(there / "film-1-s001.h5", expose(rate((0.6, 0.2, 0.1, 0.1)), seed=3), 2.0)
    documents = documents_of(path, 1, GEOMETRY.shape)
    before = evaluate(documents, campaign(), GEOMETRY, here)
    there.rename(here)
    assert evaluate(documents, campaign(), GEOMETRY, here) == before
    with pytest.raises(SampleError, match=r"film-1-s001.h5: .* cannot be read"):
        evaluate(documents, campaign(), GEOMETRY)


def test_frames_that_cannot_be_read_are_told_in_words(tmp_path: Path) -> None:
    documents = documents_of(tmp_path / "f.h5", 1, GEOMETRY.shape)
    with pytest.raises(SampleError, match=r"f\.h5: /entry/data/data cannot be read"):
        evaluate(documents, campaign(), GEOMETRY)
    (tmp_path / "f.h5").write_bytes(b"no HDF5")
    with pytest.raises(SampleError, match="cannot be read"):
        evaluate(documents, campaign(), GEOMETRY)
    (tmp_path / "f.h5").unlink()
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["/entry/else"] = 1
    with pytest.raises(SampleError, match="cannot be read"):
        evaluate(documents, campaign(), GEOMETRY)


def test_a_file_with_fewer_frames_than_the_documents_say_is_refused(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "f.h5", np.ones((1, *SMALL.shape), np.uint16))
    with pytest.raises(SampleError, match="has 1 frames; the documents point to 3"):
        evaluate(documents_of(path, 3, SMALL.shape), campaign(), SMALL)


def test_frames_of_another_shape_than_the_geometry_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"frames of \(256, 256\) pixels; lab.yaml's geometry says \(512, 512\)"):
        path = write_frames(tmp_path / "f.h5", np.ones((1, *SMALL.shape), np.uint16))
        evaluate(documents_of(path, 1, SMALL.shape), campaign(), GEOMETRY)


def test_a_frame_that_is_mostly_overflow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="pixels are masked or overflowed; expose shorter"):
        measure(tmp_path, np.full((1, *SMALL.shape), np.iinfo(np.uint16).max, np.uint16), campaign(), SMALL)


def test_the_exposure_comes_from_the_file_else_from_the_settings_else_nothing_is_told(tmp_path: Path) -> None:
    frames = np.full((1, *SMALL.shape), 100, np.uint16)
    scale = {"kind": "brightness", "full_scale": [0, COUNTS_FULL]}
    told = campaign("glow", evaluate=scale, settings={"count_time_s": 4.0})
    assert measure(tmp_path, frames, told, SMALL, 2.0, "a").measured["glow"].mean == pytest.approx(50.0)
    assert measure(tmp_path, frames, told, SMALL, None, "b").measured["glow"].mean == pytest.approx(25.0)
    for n, wrong in enumerate((0.0, math.nan)):
        with pytest.raises(SampleError, match="the exposure is not known"):
            measure(tmp_path, frames, told, SMALL, wrong, f"c{n}")
    with pytest.raises(SampleError, match="the exposure is not known"):
        measure(tmp_path, frames, campaign("glow", evaluate=scale), SMALL, None, "d")


def test_the_records_import_neither_pyfai_nor_tiled_until_they_are_needed() -> None:
    import subprocess
    import sys

    code = ("import sys, lab.records.ledger, lab.records.documents, lab.records.catalogue, lab.records.evaluate, lab.records.report; "
            "sys.exit(any(m.split('.')[0] in ('pyFAI', 'tiled', 'lmfit', 'bluesky') for m in sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], timeout=200).returncode == 0


