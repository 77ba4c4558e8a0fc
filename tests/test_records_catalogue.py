"""The catalogue: never in the way, and whole again after it was."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.sim import SynSignal
from records_runs import documents_of, write_frames

from lab.core.errors import ServiceError
from lab.records.catalogue import Catalogue
from lab.records.documents import JsonlWriter

DEADLINE_S = 200.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def catalogue(home: Path) -> Iterator[Catalogue]:
    opened = Catalogue(home / "catalogue")
    yield opened
    opened.close(DEADLINE_S)


def a_run(home: Path, name: str, **metadata: Any) -> tuple[np.ndarray, list[tuple[str, dict[str, Any]]]]:
    frames = np.random.default_rng(0).integers(0, 99, (2, 32, 32), dtype=np.uint16)
    return frames, documents_of(write_frames(home / f"{name}.h5", frames), 2, (32, 32), **metadata)


def feed(target: Any, documents: list[tuple[str, dict[str, Any]]]) -> str:
    for name, doc in documents:
        target(name, doc)
    return str(documents[0][1]["uid"])


def test_a_run_with_its_frames_can_be_read(catalogue: Catalogue, home: Path) -> None:
    frames, documents = a_run(home, "frames", sample="film-s001")
    uid = feed(catalogue.callback, documents)
    assert catalogue.wait(DEADLINE_S)
    assert catalogue.status() == (0, 0, "")
    run = catalogue[uid]
    assert run.metadata["start"]["sample"] == "film-s001"
    data = run["primary"].read()
    assert np.array_equal(data["detector_image"].values[0], frames)
    assert data["temperature"].values.tolist() == [99.5]
    assert data["thumbnail"].values[0].tolist() == list(range(16))
    assert catalogue[-1].metadata["start"]["uid"] == uid


def test_what_was_missed_is_replayed_once(catalogue: Catalogue, home: Path, tmp_path: Path) -> None:
    writer = JsonlWriter(tmp_path)
    _, first = a_run(home, "first")
    _, second = a_run(home, "second")
    _, unfinished = a_run(home, "unfinished")
    known = len(catalogue)
    uid = feed(writer, first)
    missed = feed(writer, second)
    feed(writer, unfinished[:-1])
    writer.close()
    feed(catalogue.callback, first)
    for _ in range(2):
        assert catalogue.replay(tmp_path) == 3
        assert catalogue.wait(DEADLINE_S)
    assert catalogue.status() == (0, 0, "")
    assert len(catalogue) == known + 2
    assert "stop" in catalogue[missed].metadata and "stop" in catalogue[uid].metadata


def test_a_new_run_is_counted_at_once(catalogue: Catalogue, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiled.client.container.LENGTH_CACHE_TTL", 2 * DEADLINE_S)
    known = len(catalogue)
    feed(catalogue.callback, a_run(home, "counted")[1])
    assert catalogue.wait(DEADLINE_S)
    assert len(catalogue) == known + 1


def test_a_run_that_is_there_in_part_is_made_whole_and_its_frames_are_left_alone(catalogue: Catalogue, home: Path, tmp_path: Path) -> None:
    from bluesky_tiled_plugins import TiledWriter

    frames, documents = a_run(home, "torn")
    feed(TiledWriter(catalogue.client), documents[:-1])
    uid = feed(JsonlWriter(tmp_path), documents)
    assert "stop" not in catalogue[uid].metadata
    catalogue.replay(tmp_path)
    assert catalogue.wait(DEADLINE_S)
    assert catalogue.status() == (0, 0, "")
    assert np.array_equal(catalogue[uid]["primary"].read()["detector_image"].values[0], frames)
    assert (home / "torn.h5").exists()


class Broken:
    """A Tiled client that fails at everything."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("the database is on fire")


def test_an_error_in_tiled_shows_in_status_and_never_reaches_the_run_engine(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "catalogue", connect=lambda folder, readable: Broken())
    engine = RunEngine(context_managers=[])
    engine.subscribe(catalogue.callback)
    engine(count([SynSignal(name="signal", func=lambda: 1.0)], num=2))
    assert engine.state == "idle"
    assert catalogue.wait(DEADLINE_S)
    status = catalogue.status()
    assert (status.pending, status.failed) == (0, 1) and "the database is on fire" in status.last_error
    catalogue._client = None
    catalogue.close(1.0)


def test_a_tiled_that_does_not_open_is_told_in_words(tmp_path: Path) -> None:
    def connect(folder: Path, readable: object) -> Any:
        raise OSError("disk full")

    catalogue = Catalogue(tmp_path / "catalogue", connect=connect)
    with pytest.raises(ServiceError, match="Tiled cannot be opened: OSError: disk full; the runs are safe"):
        _ = catalogue.client
    feed(catalogue.callback, [("start", {"uid": "u"}), ("stop", {"uid": "s", "run_start": "u"})])
    assert catalogue.wait(DEADLINE_S)
    assert "disk full" in catalogue.status().last_error
    catalogue.close(1.0)


def test_a_tiled_that_hangs_holds_up_neither_the_run_engine_nor_the_end(tmp_path: Path) -> None:
    hang = threading.Event()
    catalogue = Catalogue(tmp_path / "catalogue", connect=lambda folder, readable: hang.wait(DEADLINE_S))
    for uid in ("u", "v"):
        feed(catalogue.callback, [("start", {"uid": uid}), ("stop", {"uid": f"{uid}-stop", "run_start": uid})])
    assert catalogue.status().pending == 2
    assert catalogue.close(0.0).pending == 2
    feed(catalogue.callback, [("start", {"uid": "w"}), ("stop", {"uid": "w-stop", "run_start": "w"})])
    assert "the catalogue is closed" in catalogue.status().last_error
    hang.set()


def test_a_document_of_no_known_run_is_remarked_and_harmless(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "catalogue")
    catalogue.callback("event", {"descriptor": "nobody", "uid": "e"})
    catalogue.callback("start", {})
    assert catalogue.status() == (0, 0, "a start document of no known run")
    assert not (tmp_path / "catalogue").exists()


HANG = """
import sys, threading
from lab.records.catalogue import Catalogue
catalogue = Catalogue(sys.argv[1], connect=lambda folder, readable: threading.Event().wait())
catalogue.callback("start", {"uid": "u"})
catalogue.callback("stop", {"uid": "s", "run_start": "u"})
catalogue.close(0.0)
"""

FORGET = """
import sys
from pathlib import Path
from lab.records.catalogue import Catalogue
catalogue = Catalogue(Path(sys.argv[1]) / "catalogue")
print(len(catalogue))
"""


@pytest.mark.parametrize("code", [HANG, FORGET])
def test_a_process_ends_whatever_tiled_does(tmp_path: Path, code: str) -> None:
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=DEADLINE_S, stdout=subprocess.DEVNULL)
