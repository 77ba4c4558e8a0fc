"""The SIMPLON bridge against an Eiger simulator that others wrote: tickit-devices (Diamond Light Source).

tickit pins other versions of what we use and therefore lives in an environment of its own, ``.venv-tickit``. Where it and the
SIMPLON API Reference 1.8 disagree, the manual decides; each such place is named in its test.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

import h5py
import hdf5plugin  # noqa: F401  registers the filter for reading back
import pytest

from firmware_bridges.controller import BridgeSettings
from firmware_bridges.detector import DetectorController, build
from firmware_bridges.frame_file import DATASET
from lab.core.config import DetectorConfig
from lab.core.errors import CommandError

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv-tickit" / "bin" / "python"
LISTENING = ROOT / "tests" / "outside" / "tickit_listening.py"
REQUIREMENTS = "tests/outside/tickit-requirements.txt"
HOW = f"python3 -m venv .venv-tickit && .venv-tickit/bin/python -m pip install -r {REQUIREMENTS}"

START_S = 30.0
SHAPE = (4362, 4148)
"""Rows, columns of tickit's Eiger X 16M."""


@dataclass(frozen=True)
class Eiger:
    port: int
    stream_port: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}?stream={self.stream_port}"

    def put(self, path: str) -> object:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=200)
        try:
            connection.request("PUT", f"/detector/api/1.8.0/command/{path}")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


def _free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    try:
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def eiger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Eiger]:
    if not PYTHON.exists():
        pytest.fail(f"tickit-devices is not installed; run in {ROOT.name}/: {HOW}")
    folder = tmp_path_factory.mktemp("tickit")
    http_port, stream_port, cbor_port = _free_ports(3)
    template = Template((ROOT / "tests" / "outside" / "eiger.yaml").read_text())
    (folder / "eiger.yaml").write_text(template.substitute(http_port=http_port, stream_port=stream_port, cbor_port=cbor_port))
    with (folder / "tickit.log").open("wb") as log:
        process = subprocess.Popen([PYTHON, LISTENING, "all", "eiger.yaml"], cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_S
        while not all(map(_is_listening, (http_port, stream_port))):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "tickit.log").read_text()
            time.sleep(0.05)
        yield Eiger(http_port, stream_port)
    finally:
        process.terminate()
        process.wait(60)


class Watched:
    """A controller, and everything it has published."""

    def __init__(self, eiger: Eiger) -> None:
        self.controller: DetectorController = build(BridgeSettings("eiger", "LAB:", 1.0, eiger.endpoint, DetectorConfig(kind="detector")))
        self.values: dict[str, object] = {}
        self._news = threading.Condition()
        self.controller.subscribe(self._hear)
        self.controller.start()

    def _hear(self, key: str, value: object, cause: str) -> None:
        with self._news:
            self.values[key] = value
            self._news.notify_all()

    def until(self, what: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(what, 20), self.values

    def do(self, key: str, value: object = 1) -> None:
        self.controller.execute(key, value)


@pytest.fixture(scope="module")
def bridge(eiger: Eiger) -> Iterator[Watched]:
    watched = Watched(eiger)
    watched.until(lambda: watched.values.get("CONNECTED") is True)
    yield watched
    watched.controller.stop()


def test_the_bridge_reads_what_tickits_eiger_is(bridge: Watched) -> None:
    assert bridge.values["IDENTITY"] == "Simulated Eiger X 16M Detector, serial EIGERSIM001, firmware 1.8.0"
    assert (bridge.values["HEIGHT"], bridge.values["WIDTH"], bridge.values["PIXEL_TYPE"]) == (*SHAPE, "<u2")


def test_an_uninitialised_detector_cannot_be_armed_and_reset_initialises_it(bridge: Watched, tmp_path: Path) -> None:
    assert bridge.values["STATE"] == "na"
    bridge.do("FILE", str(tmp_path / "a.h5"))
    with pytest.raises(CommandError, match="the detector is na, not idle; INITIALIZE or RESET it"):
        bridge.do("ARM")
    bridge.do("RESET")
    assert bridge.values["STATE"] == "idle"


def test_the_exposure_is_set_and_read_back(bridge: Watched) -> None:
    bridge.do("COUNT_TIME", 0.05)
    bridge.do("N_IMAGES", 2)
    assert (bridge.values["COUNT_TIME_RBV"], bridge.values["N_IMAGES_RBV"]) == (0.05, 2)


def test_a_series_whose_number_is_not_the_one_arm_answered_is_refused(bridge: Watched, tmp_path: Path,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """tickit answers every ``arm`` with sequence id 2. In the manual it is the number of the series, which the stream then carries,

    so the bridge refuses tickit's first series, whose stream carries the number 1.
    """
    monkeypatch.setattr("firmware_bridges.detector.STREAM_S", 2.0)
    bridge.do("FILE", str(tmp_path / "a.h5"))
    with pytest.raises(CommandError, match="series 2 is armed, but its header did not come.*SeriesStart of series 1 refused"):
        bridge.do("ARM")


def test_two_triggers_of_two_frames_are_saved_and_readable(bridge: Watched, tmp_path: Path) -> None:
    """tickit's second series: the number that it answers happens to be the right one."""
    path = tmp_path / "a.h5"
    bridge.do("FILE", str(path))
    bridge.do("ARM")
    for n_frames in (2, 4):
        bridge.do("TRIGGER")
        assert bridge.values["FRAMES_SAVED"] == n_frames
        with h5py.File(path, "r", locking=False) as file:
            assert file[DATASET].shape == (n_frames, *SHAPE)
    assert bridge.values["STATE"] == "ready"
    bridge.do("DISARM")
    with h5py.File(path, "r") as file:
        frame = file[DATASET][3]
        assert list(file["entry/instrument/detector/frame_number"]) == [0, 1, 2, 3]
    # A frame of a real Eiger, compressed by it. Masked pixels hold 65535.
    good = frame[frame != 65535]
    assert bridge.values["MAX_COUNTS"] == good.max()
    assert bridge.values["MEAN_COUNTS"] == pytest.approx(good.mean())
    assert bridge.values["STATE"] == "idle"


def test_a_parameter_that_tickit_does_not_have_is_refused(bridge: Watched) -> None:
    with pytest.raises(CommandError, match="HTTP 404"):
        bridge.controller._line.get("detector", "config", "nonsense")
