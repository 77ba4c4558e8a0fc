"""The SIMPLON bridge: its stream codec, its HDF5 file and its controller against a detector that does what a test has it do."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from firmware_bridges import detector as detector_module
from firmware_bridges.controller import BridgeSettings
from firmware_bridges.detector import DetectorController, build
from firmware_bridges.frame_file import DATASET, DetectorFacts, FrameFile, count, reduce_frame
from firmware_bridges.frames import Frame, SeriesEnd, SeriesStart, decode
from firmware_bridges.simplon import SimplonLine
from lab.core.config import DetectorConfig
from lab.core.errors import CommandError, InstrumentError, LimitError, LinkDown, LinkGarbled, LinkTimeout

DEADLINE_S = 30.0
FACTS = DetectorFacts("EIGER2", "E-02-0001", 2.0, 2.001, 12398.4, (172e-6, 172e-6))
H, W = 48, 64


def compress(pixels: np.ndarray, folder: Path) -> bytes:
    """bitshuffle-LZ4 as the HDF5 project's own filter writes it: an encoder that is not ours."""
    path = folder / f"encoder-{os.urandom(4).hex()}.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", data=pixels[None], chunks=(1, *pixels.shape), **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"))
        blob: bytes = dataset.id.read_direct_chunk((0, 0, 0))[1]
    path.unlink()
    return blob


def image_parts(number: int, pixels: np.ndarray, blob: bytes, series: int = 1, **changes: Any) -> list[bytes]:
    """An image message as in the SIMPLON manual, chapter Stream."""
    bits = 8 * pixels.dtype.itemsize
    characteristics = {"htype": "dimage_d-1.0", "shape": [pixels.shape[1], pixels.shape[0]], "type": pixels.dtype.name,
                       "encoding": f"bs{bits}-lz4<", "size": len(blob), **changes}
    return [json.dumps({"htype": "dimage-1.0", "series": series, "frame": number,
                        "hash": hashlib.md5(blob, usedforsecurity=False).hexdigest()}).encode(),
            json.dumps(characteristics).encode(), blob,
            json.dumps({"htype": "dconfig-1.0", "start_time": 834759834759, "stop_time": 834760834759, "real_time": 1000000000}).encode()]


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, bytes]:
    pixels = np.random.default_rng(0).poisson(20, (H, W)).astype("<u2")
    pixels[0, 0] = 65535  # masked
    return pixels, compress(pixels, tmp_path_factory.mktemp("encoder"))


# ------------------------------------------------------------------------------------------------------- codec


def test_the_start_of_a_series_carries_the_detectors_configuration() -> None:
    parts = [b'{"htype": "dheader-1.0", "series": 7, "header_detail": "basic"}', b'{"count_time": 2.0, "nimages": 1}']
    assert decode(parts) == SeriesStart(7, {"count_time": 2.0, "nimages": 1})
    assert decode([b'{"htype": "dheader-1.0", "series": 7, "header_detail": "none"}']) == SeriesStart(7, {})


def test_the_end_of_a_series_is_read() -> None:
    assert decode([b'{"htype": "dseries_end-1.0", "series": 7}']) == SeriesEnd(7)


def test_an_image_is_read_and_its_shape_turned_to_rows_and_columns(frame: tuple[np.ndarray, bytes]) -> None:
    pixels, blob = frame
    found = decode(image_parts(3, pixels, blob, series=9))
    assert isinstance(found, Frame)
    assert (found.series, found.number, found.shape, found.start_ns) == (9, 3, (H, W), 834759834759)
    np.testing.assert_array_equal(found.pixels(), pixels)


def test_an_appendix_is_allowed(frame: tuple[np.ndarray, bytes]) -> None:
    assert isinstance(decode([*image_parts(0, *frame), b"appendix"]), Frame)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pixels=st.sampled_from(["<u1", "<u2", "<u4"]).flatmap(lambda t: hnp.arrays(t, st.tuples(st.integers(1, 40), st.integers(1, 40)))))
def test_decoding_is_the_inverse_of_the_hdf5_filter(pixels: np.ndarray, tmp_path: Path) -> None:
    found = decode(image_parts(0, pixels, compress(pixels, tmp_path)))
    assert isinstance(found, Frame)
    np.testing.assert_array_equal(found.pixels(), pixels)


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b'{"htype": "dimage-1.0", "series": 1, "frame": 0}', b"[]", b"null"]), max_size=5))
def test_any_parts_are_read_or_refused_but_never_crash(parts: list[bytes]) -> None:
    with pytest.raises(LinkGarbled, match="detector: stream: "):
        decode(parts)


@pytest.mark.parametrize(("changes", "words"), [
    ({"encoding": "lz4<"}, r"encoding: given 'lz4<'; allowed: bs16-lz4<"),
    ({"encoding": "bs32-lz4<"}, "encoding: given 'bs32-lz4<'"),
    ({"encoding": "bs16-lz4>"}, "encoding: given 'bs16-lz4>'"),
    ({"type": "float32"}, "type: given 'float32'; allowed: uint8, uint16, uint32"),
    ({"shape": [64]}, r"shape: given \[64\]"),
    ({"shape": [64, 49]}, "a header announcing 6272 bytes"),
    ({"size": 5}, "size of the blob"),
    ({"htype": "dimage_d-2.0"}, "htype: given 'dimage_d-2.0'; allowed: dimage_d-1.0"),
])
def test_an_image_whose_headers_do_not_fit_is_refused(frame: tuple[np.ndarray, bytes], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(LinkGarbled, match=words):
        decode(image_parts(0, *frame, **changes))


def test_a_blob_damaged_on_its_way_is_refused(frame: tuple[np.ndarray, bytes]) -> None:
    pixels, blob = frame
    parts = image_parts(0, pixels, blob)
    parts[2] = blob[:100] + bytes([blob[100] ^ 1]) + blob[101:]
    with pytest.raises(LinkGarbled, match="hash: given .*allowed: the MD5 of the blob"):
        decode(parts)


def test_an_image_without_its_times_is_refused(frame: tuple[np.ndarray, bytes]) -> None:
    with pytest.raises(LinkGarbled, match="number of parts: given 3; allowed: 4"):
        decode(image_parts(0, *frame)[:3])


def test_a_blob_that_does_not_decompress_is_garbled(frame: tuple[np.ndarray, bytes]) -> None:
    pixels, blob = frame
    broken = blob[:12] + struct.pack(">I", 2**31) + blob[16:]
    found = decode(image_parts(0, pixels, broken))
    assert isinstance(found, Frame)
    with pytest.raises(LinkGarbled, match="frame 0 of series 1 does not decompress"):
        found.pixels()


# --------------------------------------------------------------------------------------------------------- file


def test_frames_in_the_file_are_what_was_sent_and_readable_while_it_is_open(frame: tuple[np.ndarray, bytes], tmp_path: Path) -> None:
    pixels, blob = frame
    file = FrameFile(str(tmp_path / "new" / "a.h5"), FACTS)
    for number in range(3):
        message = decode(image_parts(number, pixels, blob))
        assert isinstance(message, Frame)
        file.append(message)
    file.sync()
    with h5py.File(file.path, "r", locking=False) as reader:
        np.testing.assert_array_equal(reader[DATASET][2], pixels)
        assert (reader[DATASET].shape, reader[DATASET].chunks) == ((3, H, W), (1, H, W))
        assert reader["entry"].attrs["NX_class"] == "NXentry"
        assert reader["entry/data"].attrs["signal"] == "data"
        detector = reader["entry/instrument/detector"]
        assert (detector["count_time"][()], detector["count_time"].attrs["units"]) == (2.0, "s")
        assert detector["x_pixel_size"][()] == 172e-6
        assert list(detector["frame_number"]) == [0, 1, 2]
        assert detector["start_time"][0] == pytest.approx(834.759834759)
        assert reader["entry/instrument/beam/incident_energy"][()] == 12398.4
    file.close()
    file.close()


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"precious")
    with pytest.raises(CommandError, match="exists already; frames are never overwritten"):
        FrameFile(str(tmp_path / "a.h5"), FACTS)
    assert (tmp_path / "a.h5").read_bytes() == b"precious"


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(CommandError, match="given 'a.h5'; allowed: an absolute path"):
        FrameFile("a.h5", FACTS)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("a file, not a folder")
    with pytest.raises(CommandError, match=r"plain/a\.h5 cannot be written: .*(ENOTDIR|EEXIST)"):
        FrameFile(str(tmp_path / "plain" / "a.h5"), FACTS)


def test_a_frame_of_another_shape_is_refused(frame: tuple[np.ndarray, bytes], tmp_path: Path) -> None:
    file = FrameFile(str(tmp_path / "a.h5"), FACTS)
    other = np.zeros((8, 8), "<u2")
    for n, pixels in enumerate((frame[0], other)):
        message = decode(image_parts(n, pixels, compress(pixels, tmp_path)))
        assert isinstance(message, Frame)
        with pytest.raises(CommandError, match=r"frame 1 is \(8, 8\) uint16") if n else contextlib.nullcontext():
            file.append(message)
    file.close()


def test_masked_pixels_are_not_counted() -> None:
    pixels = np.array([[65535, 10], [20, 30]], "<u2")
    assert count(pixels) == (20.0, 30)
    assert count(np.full((2, 2), 65535, "<u2")) == (0.0, 0)


@given(hnp.arrays("<u4", st.tuples(st.integers(1, 200), st.integers(1, 200)), elements=st.integers(0, 2**32 - 1)))
def test_a_thumbnail_has_one_size_and_keeps_the_brightest_pixel(pixels: np.ndarray) -> None:
    thumbnail = reduce_frame(pixels)
    assert (thumbnail.shape, thumbnail.dtype) == ((4096,), np.uint16)
    assert thumbnail.max() == min(int(pixels.max()), 65535)


# ----------------------------------------------------------------------------------------- a scripted detector


class FakeDetector:
    """SIMPLON as in the manual: REST on one port, a PUSH stream on another. A test decides what a trigger sends."""

    def __init__(self, frame: tuple[np.ndarray, bytes]) -> None:
        self.frame = frame
        self.state, self.error, self.series, self.n_sent = "idle", [], 0, 0
        self.config: dict[str, Any] = {
            "description": "EIGER2 fake", "detector_number": "E-02-0001", "eiger_fw_version": "1.8", "x_pixels_in_detector": W,
            "y_pixels_in_detector": H, "bit_depth_image": 16, "count_time": 0.1, "frame_time": 0.1, "nimages": 1, "ntrigger": 1,
            "detector_readout_time": 1e-5, "trigger_mode": "exts", "compression": "lz4", "x_pixel_size": 75e-6, "y_pixel_size": 75e-6,
        }
        self.stream_config: dict[str, Any] = {"mode": "disabled", "header_detail": "all"}
        self.requests: list[str] = []
        self.refusals: dict[str, tuple[int, str]] = {}
        self.on_trigger: Callable[[], None] = self.send_images
        self.header_series = 0
        self.is_announcing = True
        self.released = threading.Event()
        self._news = threading.Condition()
        self._context = zmq.Context()
        self._push = self._context.socket(zmq.PUSH)
        self._push.linger, self._push.sndtimeo = 0, 1000  # a PUSH socket waits for somebody to listen
        self._pushing = threading.Lock()
        self.stream_port = self._push.bind_to_random_port("tcp://127.0.0.1")
        self._start_http(0)

    def _start_http(self, port: int) -> None:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_GET(self) -> None:
                self._answer("GET", None)

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._answer("PUT", json.loads(body)["value"] if body else None)

            def _answer(self, method: str, value: Any) -> None:
                status, reply = fake.handle(method, self.path, value)
                self.send_response(status)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is no news
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}?stream={self.stream_port}"

    def handle(self, method: str, path: str, value: Any) -> tuple[int, bytes]:
        subsystem, api, version, part, key = path.strip("/").split("/")
        assert (api, version) == ("api", "1.8.0")
        with self._news:
            self.requests.append(f"{key}={value}" if method == "PUT" else key)
            self._news.notify_all()
        if key in self.refusals:
            status, words = self.refusals[key]
            return status, words.encode()
        if part == "command":
            return 200, self._command(key)
        store = {"detectorconfig": self.config, "streamconfig": self.stream_config,
                 "detectorstatus": {"state": self.state, "error": self.error}}[subsystem + part]
        if key not in store:
            return 404, b"no such parameter"
        if method == "PUT":
            store[key] = value
            return 200, json.dumps([key]).encode()
        return 200, json.dumps({"value": store[key]}).encode()

    def _command(self, key: str) -> bytes:
        match key:
            case "initialize":
                self.state, self.error = "idle", []
            case "arm":
                self.series, self.n_sent, self.state = self.series + 1, 0, "ready"
                number = self.header_series or self.series
                if self.is_announcing:
                    self.send([json.dumps({"htype": "dheader-1.0", "series": number, "header_detail": "basic"}).encode(), b"{}"])
                return json.dumps({"sequence id": self.series}).encode()
            case "trigger":
                self.state = "acquire"
                self.on_trigger()
                if self.state == "acquire":
                    self.state = "ready"
                return b""
            case "disarm" | "abort" | "cancel":
                self.state = "idle"
                self.released.set()
                self.send([json.dumps({"htype": "dseries_end-1.0", "series": self.series}).encode()])
                return json.dumps({"sequence id": self.series}).encode()
        return b""

    def send_images(self, skip: tuple[int, ...] = (), series: int = 0, n: int | None = None) -> None:
        for _ in range(self.config["nimages"] if n is None else n):
            if self.n_sent not in skip:
                self.send(image_parts(self.n_sent, *self.frame, series=series or self.series))
            self.n_sent += 1

    def send(self, parts: list[bytes]) -> None:
        with self._pushing, contextlib.suppress(zmq.Again):
            self._push.send_multipart(parts)

    def hang(self) -> None:
        """A trigger that never sends anything, until it is aborted."""
        self.released.wait(DEADLINE_S)

    def await_request(self, request: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: request in self.requests, DEADLINE_S), f"{request} not in {self.requests}"

    def unplug(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(DEADLINE_S)

    def plug_in(self) -> None:
        self._start_http(self.port)

    def close(self) -> None:
        self.released.set()
        self.unplug()
        self._context.destroy(linger=0)


class Watched:
    """A controller, and everything it has published."""

    def __init__(self, fake: FakeDetector, speed: float = 1000.0) -> None:
        self.controller: DetectorController = build(BridgeSettings("detector", "LAB:", speed, fake.endpoint, DetectorConfig(kind="detector")))
        self.controller.poll_s = 0.05
        self.values: dict[str, Any] = {}
        self.causes: dict[str, str] = {}
        self._news = threading.Condition()
        self.controller.subscribe(self._hear)
        self.controller.start()

    def _hear(self, key: str, value: object, cause: str) -> None:
        with self._news:
            self.values[key], self.causes[key] = value, cause
            self._news.notify_all()

    def until(self, what: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(what, DEADLINE_S), f"{self.values} {self.causes}"

    def do(self, key: str, value: object = 1) -> None:
        self.controller.execute(key, value)

    def arm(self, path: Path, n_images: int = 1) -> None:
        self.do("N_IMAGES", n_images)
        self.do("FILE", str(path))
        self.do("ARM")


@pytest.fixture
def fake(frame: tuple[np.ndarray, bytes]) -> Iterator[FakeDetector]:
    detector = FakeDetector(frame)
    yield detector
    detector.close()


@pytest.fixture
def watched(fake: FakeDetector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    for name, seconds in (("STATE_S", 0.02), ("QUIET_S", 0.1), ("STREAM_S", 2.0), ("SLACK_S", 5.0)):
        monkeypatch.setattr(detector_module, name, seconds)
    bridge = Watched(fake)
    bridge.until(lambda: bridge.values.get("CONNECTED") is True)
    yield bridge
    bridge.controller.stop()


def frames_in(path: Path) -> int:
    with h5py.File(path, "r", locking=False) as file:
        return int(file[DATASET].shape[0]) if DATASET in file else 0


def test_a_connected_detector_shows_what_it_is(watched: Watched) -> None:
    assert watched.values["IDENTITY"] == "EIGER2 fake, serial E-02-0001, firmware 1.8"
    assert (watched.values["WIDTH"], watched.values["HEIGHT"], watched.values["PIXEL_TYPE"]) == (W, H, "<u2")
    assert (watched.values["STATE"], watched.values["COUNT_TIME_RBV"]) == ("idle", 0.1)


def test_a_trigger_is_done_when_its_frames_are_on_disk(fake: FakeDetector, watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "run" / "a.h5"
    watched.arm(path, n_images=3)
    watched.do("TRIGGER")
    assert frames_in(path) == 3  # while the series is open
    watched.do("TRIGGER")
    assert watched.values["FRAMES_SAVED"] == 6
    pixels = fake.frame[0]
    assert watched.values["MEAN_COUNTS"] == pytest.approx(pixels[pixels != 65535].mean())
    assert watched.values["MAX_COUNTS"] == pixels[pixels != 65535].max()
    np.testing.assert_array_equal(watched.values["THUMBNAIL"], reduce_frame(pixels))
    watched.do("DISARM")
    with h5py.File(path, "r") as file:
        np.testing.assert_array_equal(file[DATASET][5], pixels)
    assert (watched.values["STATE"], watched.values["FILE_RBV"]) == ("idle", str(path))


def test_what_the_bridge_relies_on_is_set_before_each_series(fake: FakeDetector, watched: Watched, tmp_path: Path) -> None:
    watched.arm(tmp_path / "a.h5")
    assert {key: fake.config[key] for key in ("trigger_mode", "compression")} == {"trigger_mode": "ints", "compression": "bslz4"}
    assert fake.config["ntrigger"] >= 1000
    assert fake.stream_config == {"mode": "enabled", "header_detail": "basic"}


def test_the_frame_time_leaves_room_for_the_readout(fake: FakeDetector, watched: Watched) -> None:
    watched.do("COUNT_TIME", 2.0)
    assert fake.config["frame_time"] == pytest.approx(2.00001)
    assert fake.requests.index("count_time=2.0") < fake.requests.index("frame_time=2.00001")
    assert watched.values["COUNT_TIME_RBV"] == 2.0


def test_a_count_time_that_the_detector_changes_is_a_failure(fake: FakeDetector, watched: Watched) -> None:
    original = fake.handle
    fake.handle = lambda method, path, value: original(method, path, 0.5 if path.endswith("count_time") and value else value)  # type: ignore[method-assign]
    with pytest.raises(CommandError, match="COUNT_TIME: given 2 s; the detector took 0.5 s"):
        watched.do("COUNT_TIME", 2.0)


def test_missing_frames_are_named_and_the_others_kept(fake: FakeDetector, watched: Watched, tmp_path: Path) -> None:
    fake.on_trigger = lambda: fake.send_images(skip=(1, 2))
    watched.arm(tmp_path / "a.h5", n_images=5)
    with pytest.raises(CommandError, match=r"frames 1\.\.2 of series 1 never came; the others are in .*a\.h5"):
        watched.do("TRIGGER")
    watched.do("DISARM")
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert list(file["entry/instrument/detector/frame_number"]) == [0, 3, 4]


def test_frames_missing_at_the_end_are_noticed_without_waiting_for_the_deadline(fake: FakeDetector, watched: Watched,
                                                                                tmp_path: Path) -> None:
    fake.on_trigger = lambda: fake.send_images(skip=(2,))
    watched.arm(tmp_path / "a.h5", n_images=3)
    with pytest.raises(CommandError, match="frame 2 of series 1 never came"):
        watched.do("TRIGGER")
    fake.on_trigger = fake.send_images
    watched.do("TRIGGER")  # the series goes on
    assert watched.values["FRAMES_SAVED"] == 5


def test_frames_of_another_series_are_never_saved(fake: FakeDetector, watched: Watched, tmp_path: Path) -> None:
    fake.on_trigger = lambda: fake.send_images(series=99)
    watched.arm(tmp_path / "a.h5")
    with pytest.raises(CommandError, match="frame 0 of series 1 never came.*Frame of series 99 refused, series 1 is armed"):
        watched.do("TRIGGER")
    watched.do("DISARM")
    assert frames_in(tmp_path / "a.h5") == 0


def test_a_header_of_another_series_does_not_announce_ours(fake: FakeDetector, watched: Watched, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_module, "STREAM_S", 0.1)
    fake.header_series = 42
    with pytest.raises(CommandError, match="series 1 is armed, but its header did not come.*SeriesStart of series 42 refused"):
        watched.arm(tmp_path / "a.h5")
    assert fake.state == "idle"
    assert not (tmp_path / "a.h5").exists()
    fake.header_series = 0
    watched.do("ARM")  # the same FILE


def test_a_garbled_message_is_told_with_the_frame_that_is_missing(fake: FakeDetector, watched: Watched, tmp_path: Path) -> None:
    fake.on_trigger = lambda: fake.send([b"not json"])
    watched.arm(tmp_path / "a.h5")
    with pytest.raises(CommandError, match="frame 0 of series 1 never came.*given b'not json'; allowed: a JSON object"):
        watched.do("TRIGGER")


def test_a_frame_of_the_wrong_shape_is_refused(fake: FakeDetector, watched: Watched, tmp_path: Path) -> None:
    fake.frame = (np.zeros((8, 8), "<u2"), compress(np.zeros((8, 8), "<u2"), tmp_path))
    watched.arm(tmp_path / "a.h5")
    with pytest.raises(CommandError, match=r"frame 0 has \(8, 8\) pixels; the detector has \(48, 64\)"):
        watched.do("TRIGGER")


def test_a_detector_in_error_fails_the_trigger_in_its_own_words(fake: FakeDetector, watched: Watched, tmp_path: Path) -> None:
    def fault() -> None:
        fake.state, fake.error = "error", ["High voltage: current limit exceeded"]
        fake.hang()

    fake.on_trigger = fault
    watched.arm(tmp_path / "a.h5")
    with pytest.raises(CommandError, match="TRIGGER: the detector went into error: .*High voltage: current limit exceeded"):
        watched.do("TRIGGER")


def test_reset_initialises_a_detector_in_error(fake: FakeDetector, watched: Watched, tmp_path: Path) -> None:
    fake.state, fake.error = "error", ["High voltage"]
    with pytest.raises(CommandError, match="ARM: the detector is error, not idle: .*High voltage.*; INITIALIZE or RESET it"):
        watched.arm(tmp_path / "a.h5")
    watched.do("RESET")
    assert watched.values["STATE"] == "idle"
    watched.do("ARM")


@pytest.mark.parametrize("channel", ["STOP", "SAFE", "DISARM"])
def test_a_pending_trigger_can_be_ended(fake: FakeDetector, watched: Watched, tmp_path: Path, channel: str) -> None:
    fake.on_trigger = lambda: (fake.send_images(n=2), fake.hang())  # type: ignore[func-returns-value]
    watched.arm(tmp_path / "a.h5", n_images=5)
    errors: list[InstrumentError] = []

    def trigger() -> None:
        try:
            watched.do("TRIGGER")
        except InstrumentError as error:
            errors.append(error)

    thread = threading.Thread(target=trigger)
    thread.start()
    watched.until(lambda: watched.values["FRAMES_SAVED"] == 2)
    watched.do(channel)
    thread.join(DEADLINE_S)
    assert f"TRIGGER was ended by {channel}; 2 frames are in" in str(errors[0])
    assert "abort=None" in fake.requests
    assert frames_in(tmp_path / "a.h5") == 2  # what arrived is kept
    assert fake.state == "idle"


def test_a_trigger_that_sends_nothing_fails_at_its_deadline(fake: FakeDetector, watched: Watched, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_module, "SLACK_S", 0.1)
    fake.on_trigger = fake.hang
    watched.arm(tmp_path / "a.h5")
    with pytest.raises(CommandError, match=r"TRIGGER: not all 1 frames came within 0\.1 s; the detector is acquire; 0 frames"):
        watched.do("TRIGGER")
    assert "abort=None" in fake.requests


def test_a_refused_trigger_fails_in_the_detectors_words(fake: FakeDetector, watched: Watched, tmp_path: Path) -> None:
    watched.arm(tmp_path / "a.h5")
    fake.refusals["trigger"] = (400, "trigger: high voltage is off")
    with pytest.raises(CommandError, match=r"trigger: high voltage is off \(HTTP 400\)"):
        watched.do("TRIGGER")


def test_a_series_that_ends_too_early_fails_the_trigger(fake: FakeDetector, watched: Watched, tmp_path: Path) -> None:
    fake.on_trigger = lambda: (fake._command("abort"), None)[1]  # type: ignore[assignment]
    watched.arm(tmp_path / "a.h5")
    with pytest.raises(CommandError, match="the detector ended series 1 before all its frames came"):
        watched.do("TRIGGER")


def test_a_disk_that_refuses_fails_the_trigger(fake: FakeDetector, watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: FrameFile, frame: Frame) -> None:
        raise CommandError(f"detector: frame {frame.number} cannot be written to {self.path}: No space left on device (ENOSPC)")

    watched.arm(tmp_path / "a.h5")
    monkeypatch.setattr(FrameFile, "append", full)
    with pytest.raises(CommandError, match="No space left on device"):
        watched.do("TRIGGER")


def test_a_path_that_cannot_be_written_fails_arm_and_arms_nothing(fake: FakeDetector, watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(CommandError, match="FILE .*plain/a.h5 cannot be written"):
        watched.arm(tmp_path / "plain" / "a.h5")
    assert "arm=None" not in fake.requests


@pytest.mark.parametrize(("key", "value"), [("COUNT_TIME", 1.0), ("N_IMAGES", 2), ("ARM", 1)])
def test_the_exposure_cannot_be_changed_while_armed(watched: Watched, tmp_path: Path, key: str, value: object) -> None:
    watched.arm(tmp_path / "a.h5")
    with pytest.raises(CommandError, match=f"{key} refused: series 1 is armed; DISARM first"):
        watched.do(key, value)


def test_arming_needs_a_file_of_its_own(watched: Watched, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="ARM: no FILE given"):
        watched.do("ARM")
    watched.arm(tmp_path / "a.h5")
    watched.do("DISARM")
    with pytest.raises(CommandError, match="ARM: no FILE given"):
        watched.do("ARM")


def test_triggering_needs_an_armed_series(watched: Watched) -> None:
    with pytest.raises(CommandError, match="TRIGGER: nothing is armed; ARM first"):
        watched.do("TRIGGER")


def test_what_the_channel_table_forbids_is_not_sent(fake: FakeDetector, watched: Watched) -> None:
    with pytest.raises(LimitError, match="detector.COUNT_TIME: 1e-05 s is outside"):
        watched.do("COUNT_TIME", 1e-5)
    assert not any(r.startswith("count_time=") for r in fake.requests)


def test_a_series_that_nobody_listens_to_is_aborted_on_connecting(fake: FakeDetector) -> None:
    fake.state = "ready"
    bridge = Watched(fake)
    try:
        bridge.until(lambda: bridge.values.get("CONNECTED") is True)
        assert "abort=None" in fake.requests
    finally:
        bridge.controller.stop()


def test_an_unplugged_detector_is_invalid_and_comes_back_by_itself(fake: FakeDetector, watched: Watched) -> None:
    fake.unplug()
    watched.controller._line.close()  # a kept-alive connection outlives the fake's listening socket
    watched.until(lambda: "cannot reach" in watched.causes["STATE"] and watched.values["CONNECTED"] is False)
    fake.plug_in()
    watched.until(lambda: watched.values["CONNECTED"] is True and watched.causes["STATE"] == "")


def test_a_series_lost_with_the_line_is_closed_and_a_trigger_says_so(fake: FakeDetector, watched: Watched, tmp_path: Path) -> None:
    watched.arm(tmp_path / "a.h5")
    fake.unplug()
    watched.controller._line.close()
    watched.until(lambda: watched.values["CONNECTED"] is False)
    fake.state = "idle"  # it was switched off and on
    fake.plug_in()
    watched.until(lambda: watched.values["CONNECTED"] is True)
    with pytest.raises(CommandError, match="TRIGGER: nothing is armed"):
        watched.do("TRIGGER")


def test_a_hundred_frames_are_saved_in_order(fake: FakeDetector, watched: Watched, tmp_path: Path) -> None:
    watched.arm(tmp_path / "a.h5", n_images=100)
    watched.do("TRIGGER")
    watched.do("DISARM")
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert list(file["entry/instrument/detector/frame_number"]) == list(range(100))


def test_the_bridge_leaves_no_thread_and_closes_its_file(fake: FakeDetector, tmp_path: Path) -> None:
    bridge = Watched(fake)
    bridge.until(lambda: bridge.values.get("CONNECTED") is True)
    bridge.arm(tmp_path / "a.h5")
    bridge.controller.stop()
    assert fake.state == "idle"  # made safe
    h5py.File(tmp_path / "a.h5", "r").close()
    assert not [t.name for t in threading.enumerate() if "detector" in t.name]


# ------------------------------------------------------------------------------------------------------------ REST


@pytest.fixture
def line(fake: FakeDetector) -> Iterator[SimplonLine]:
    made = SimplonLine("detector", "127.0.0.1", fake.port)
    yield made
    made.close()


def test_a_value_that_is_not_there_is_refused_in_the_detectors_words(line: SimplonLine) -> None:
    with pytest.raises(CommandError, match=r"no such parameter \(HTTP 404\)"):
        line.get("detector", "config", "nonsense")


def test_an_answer_that_is_not_json_is_garbled(fake: FakeDetector, line: SimplonLine) -> None:
    fake.handle = lambda method, path, value: (200, b"<html>")  # type: ignore[method-assign]
    with pytest.raises(LinkGarbled, match="an answer that is not JSON"):
        line.get("detector", "status", "state")


def test_a_detector_that_does_not_answer_is_given_up_at_the_deadline(fake: FakeDetector, line: SimplonLine) -> None:
    fake.handle = lambda method, path, value: (fake.released.wait(DEADLINE_S), (200, b"{}"))[1]  # type: ignore[method-assign,return-value]
    with pytest.raises(LinkTimeout, match="no answer within 0.05 s"):
        line.get("detector", "status", "state", deadline_s=0.05)


def test_closing_the_line_fails_an_exchange_that_is_under_way(fake: FakeDetector, line: SimplonLine) -> None:
    fake.handle = lambda method, path, value: (line.close(), fake.released.wait(DEADLINE_S), (200, b"{}"))[2]  # type: ignore[method-assign,return-value,func-returns-value]
    with pytest.raises(LinkDown, match="broke off"):
        line.get("detector", "status", "state", deadline_s=DEADLINE_S)


def test_a_connection_that_the_detector_closed_while_idle_is_opened_again(fake: FakeDetector, line: SimplonLine) -> None:
    assert line.get("detector", "status", "state") == "idle"
    fake.unplug()
    fake.plug_in()
    line._http.sock.shutdown(2)
    assert line.get("detector", "status", "state") == "idle"


def test_nobody_there_is_a_link_down(fake: FakeDetector) -> None:
    line = SimplonLine("detector", "127.0.0.1", fake.port)
    fake.unplug()
    with pytest.raises(LinkDown, match=f"cannot reach http://127.0.0.1:{fake.port}"):
        line.get("detector", "status", "state")
    fake.plug_in()


def test_an_endpoint_that_is_not_http_is_refused() -> None:
    with pytest.raises(InstrumentError, match="allowed: http://host:80"):
        build(BridgeSettings("detector", "LAB:", 1.0, "tcp://127.0.0.1:80", DetectorConfig(kind="detector")))
