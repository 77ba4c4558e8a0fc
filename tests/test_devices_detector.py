"""The detector as an Ophyd device, down to the simulated SIMPLON detector: exposures, files, and Bluesky's documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import event_model
import h5py
import hdf5plugin  # noqa: F401  registers the filter for reading back
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.utils import FailedStatus

from devices.detector import DATASET, Detector
from lab.core.capabilities import Detector as DetectorCapability
from lab.core.capabilities import Instrument
from lab.core.config import DetectorConfig
from lab.core.errors import CommandError, LimitError, LinkDown

SPEED = 400.0
SHAPE = (96, 128)
INSTRUMENTS: dict[str, Any] = {"detector": {"kind": "detector", "limits": {"COUNT_TIME": [0.001, 100]},
                                            "geometry": {"shape": list(SHAPE), "beam_center_px": [47.5, 63.5]}}}


@pytest.fixture(scope="module")
def laboratory(bench: Any) -> Any:
    bench.simulate(INSTRUMENTS, SPEED)
    bench.bridge("detector", "TDD:")
    return bench


@pytest.fixture(scope="module")
def device(laboratory: Any) -> Iterator[Detector]:
    made = Detector("TDD:detector:", name="detector", speed=SPEED, config=DetectorConfig.model_validate(INSTRUMENTS["detector"]))
    made.wait_for_connection(timeout=200)
    yield made
    laboratory.stop()  # first: clearing a subscription while its events arrive can crash libca
    made.destroy()


@pytest.fixture()
def detector(laboratory: Any, device: Detector, until: Callable[..., None]) -> Iterator[Detector]:
    until(lambda: device.health().is_connected)
    device.recover().wait(120)
    device.set_exposure(0.4, 1).wait(120)
    yield device
    laboratory.clear()
    until(lambda: device.health().is_connected)
    device.make_safe().wait(120)
    device.unstage()


def test_it_is_a_detector_and_an_instrument(detector: Detector) -> None:
    assert isinstance(detector, DetectorCapability) and isinstance(detector, Instrument)
    health = detector.health()
    assert health.is_connected and health.state == "idle" and not health.cause
    assert "serial" in health.identity


def test_a_frame_is_in_the_file_when_its_trigger_is_done(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "frames" / "a.h5"
    detector.set_file(str(path))
    detector.stage()
    detector.trigger().wait(120)
    reading = detector.read()
    with h5py.File(path, "r", locking=False) as file:
        pixels = file[DATASET][0]
        assert file[DATASET].shape == (1, *SHAPE)
        assert file["entry/instrument/detector/count_time"][()] == 0.4
    detector.unstage()
    assert reading["detector_mean_counts"]["value"] == pytest.approx(pixels.mean(), rel=0.1)
    assert reading["detector_max_counts"]["value"] == pixels[pixels < 65535].max()
    assert reading["detector_count_time"]["value"] == 0.4
    assert "detector_image" not in reading
    assert detector.thumbnail.get().shape == (4096,)
    assert detector.health().state == "idle"


def run(plan: Any) -> list[tuple[str, dict[str, Any]]]:
    """Run a plan; its documents, each validated by event_model's schemas."""
    engine = RunEngine(context_managers=[])
    documents: list[tuple[str, dict[str, Any]]] = []

    def keep(name: str, doc: dict[str, Any]) -> None:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
        documents.append((name, doc))

    engine.subscribe(keep)
    engine(plan)
    return documents


def triggers(detector: Detector, path: Path, n: int) -> Any:
    """A run of `n` events, each one trigger."""
    detector.set_file(str(path))

    @bpp.stage_decorator([detector])
    @bpp.run_decorator()
    def inner() -> Any:
        for _ in range(n):
            yield from bps.trigger_and_read([detector])

    return inner()


@pytest.mark.parametrize("n_images", [1, 3])
def test_the_documents_point_to_each_events_frames(detector: Detector, tmp_path: Path, n_images: int) -> None:
    detector.set_exposure(0.4, n_images).wait(120)
    path = tmp_path / "with space" / "a.h5"
    documents = run(triggers(detector, path, 2))
    by_name: dict[str, list[dict[str, Any]]] = {}
    for name, doc in documents:
        by_name.setdefault(name, []).append(doc)
    assert [name for name, _ in documents] == ["start", "descriptor", "stream_resource", "stream_datum", "event",
                                               "stream_datum", "event", "stop"]
    (resource,) = by_name["stream_resource"]
    assert resource["mimetype"] == "application/x-hdf5"
    assert Path(unquote(urlparse(resource["uri"]).path)) == path and urlparse(resource["uri"]).netloc == "localhost"
    assert resource["parameters"] == {"dataset": DATASET, "chunk_shape": (1, *SHAPE), "swmr": False}
    assert [d["indices"] for d in by_name["stream_datum"]] == [{"start": 0, "stop": 1}, {"start": 1, "stop": 2}]
    assert [d["seq_nums"] for d in by_name["stream_datum"]] == [{"start": 1, "stop": 2}, {"start": 2, "stop": 3}]
    key = by_name["descriptor"][0]["data_keys"]["detector_image"]
    assert (key["shape"], key["dtype_numpy"], key["external"]) == ([n_images, *SHAPE], "<u2", "STREAM:")
    assert all("detector_image" not in event["data"] for event in by_name["event"])
    with h5py.File(path, "r") as file:
        assert file[DATASET].shape == (2 * n_images, *SHAPE)
        assert file[DATASET].dtype == key["dtype_numpy"]


def test_tiled_serves_the_frames_that_the_documents_point_to(detector: Detector, tmp_path: Path) -> None:
    from bluesky_tiled_plugins import TiledWriter
    from tiled.catalog import from_uri
    from tiled.client import Context, from_context
    from tiled.server.app import build_app

    detector.set_exposure(0.4, 2).wait(120)
    path = tmp_path / "a.h5"
    documents = run(triggers(detector, path, 2))
    catalog = from_uri(f"sqlite:///{tmp_path}/catalog.db", writable_storage=[f"file://localhost{tmp_path}/data", f"duckdb:///{tmp_path}/data.duckdb"],
                       readable_storage=[str(tmp_path)], init_if_not_exists=True)
    with Context.from_app(build_app(catalog)) as context:
        client = from_context(context)
        writer = TiledWriter(client)
        for name, doc in documents:
            writer(name, doc)
        image = client[documents[0][1]["uid"]]["primary"]["detector_image"].read()
    with h5py.File(path, "r") as file:
        np.testing.assert_array_equal(np.asarray(image).reshape(4, *SHAPE), file[DATASET][:])


def test_two_runs_have_files_and_resources_of_their_own(detector: Detector, tmp_path: Path) -> None:
    uris = []
    for name in ("a.h5", "b.h5"):
        uris += [doc["uri"] for kind, doc in run(triggers(detector, tmp_path / name, 1)) if kind == "stream_resource"]
    assert len(set(uris)) == 2


def test_staging_without_a_new_file_is_refused(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="stage: no file given; call set_file"):
        detector.stage()
    (tmp_path / "a.h5").touch()
    detector.set_file(str(tmp_path / "a.h5"))
    with pytest.raises(CommandError, match="exists already; frames are never overwritten"):
        detector.stage()
    detector.set_file("relative.h5")
    with pytest.raises(CommandError, match="allowed: an absolute path"):
        detector.stage()
    detector.set_file(str(tmp_path / "b.h5"))
    detector.stage()


def test_triggering_without_staging_is_refused(detector: Detector) -> None:
    with pytest.raises(CommandError, match="trigger: not staged"):
        detector.trigger().wait(120)


def test_an_exposure_beyond_the_limits_is_refused(detector: Detector) -> None:
    with pytest.raises(LimitError, match=r"detector\.COUNT_TIME: 200 s is outside 0\.001\.\.100 s"):
        detector.set_exposure(200, 1).wait(120)


def test_stop_aborts_the_exposure_and_the_staging_is_spoilt(detector: Detector, tmp_path: Path) -> None:
    detector.set_exposure(3, 1000).wait(120)
    detector.set_file(str(tmp_path / "a.h5"))
    detector.stage()
    status = detector.trigger()
    detector.stop()
    with pytest.raises(CommandError, match="ended by STOP|nothing is armed"):
        status.wait(120)
    with pytest.raises(CommandError, match="an earlier trigger of .* failed"):
        detector.trigger().wait(120)


@pytest.mark.parametrize(("misfortune", "words"), [
    ("lose frame", "frame 0 of series .* never came"),
    ("corrupt frame", "never came.*hash: given"),
    ("truncate frame", "never came.*size of the blob"),
])
def test_what_goes_wrong_on_the_stream_fails_the_trigger(laboratory: Any, detector: Detector, tmp_path: Path, misfortune: str,
                                                         words: str) -> None:
    laboratory.fault("detector", "error", words=misfortune)
    detector.set_file(str(tmp_path / "a.h5"))
    detector.stage()
    with pytest.raises(CommandError, match=words):
        detector.trigger().wait(120)


def test_a_failed_trigger_ends_the_run_with_the_detectors_words(laboratory: Any, detector: Detector, tmp_path: Path) -> None:
    detector.set_exposure(0.4, 2).wait(120)
    laboratory.fault("detector", "error", words="lose frame")
    with pytest.raises(FailedStatus) as caught:
        run(triggers(detector, tmp_path / "a.h5", 1))
    assert "never came" in str(caught.value.__cause__ or caught.value.args[0].exception())
    assert detector.health().state == "idle"


def test_a_detector_in_error_recovers(laboratory: Any, detector: Detector, tmp_path: Path, until: Callable[..., None]) -> None:
    laboratory.fault("detector", "error", words="high voltage")
    until(lambda: detector.health().state == "error")
    detector.set_file(str(tmp_path / "a.h5"))
    with pytest.raises(CommandError, match="High voltage: current limit exceeded"):
        detector.stage()
    detector.recover().wait(120)
    assert detector.health().state == "idle"


def test_an_unplugged_detector_says_why_and_comes_back(laboratory: Any, detector: Detector, until: Callable[..., None]) -> None:
    laboratory.fault("detector", "unplug")
    until(lambda: not detector.health().is_connected)
    assert detector.health().cause
    with pytest.raises(LinkDown, match="not connected"):
        detector.set_exposure(1, 1).wait(120)
    laboratory.clear()
    until(lambda: detector.health().is_connected)
    detector.set_exposure(1, 1).wait(120)
