"""The simulated Dectris detector: SIMPLON 1.8 as a state machine on manual clocks, then over HTTP and ZeroMQ."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import socket
import struct
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import h5py
import hdf5plugin
import numpy as np
import pytest
import zmq
from dectris.compression import decompress
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.core.clock import ManualClock, WallClock
from lab.core.config import Geometry
from sim.detector import STREAM_HIGH_WATER, DetectorServer
from sim.faults import Fault, FaultError
from sim.monitor import tiff
from sim.register import ApiError, Parameter
from sim.simplon import INITIALIZE_S, Reply, Simplon
from sim.stream import Encoder, Message

DEADLINE_S = 60.0
GEOMETRY = Geometry(shape=(40, 64), beam_center_px=(19.5, 31.5), wavelength_angstrom=1.0, pixel_um=172.0, distance_mm=150.0)


class Gradient:
    """A scene whose every frame is different and known."""

    geometry = GEOMETRY

    def __init__(self) -> None:
        self.exposures: list[tuple[float, int]] = []

    def expose(self, count_time_s: float, n: int) -> Iterator[np.ndarray]:
        self.exposures.append((count_time_s, n))
        for i in range(n):
            yield frame_of(i, np.uint16 if self.bit_depth(count_time_s) == 16 else np.uint32)

    def bit_depth(self, count_time_s: float) -> int:
        return 16 if count_time_s <= 20.0 else 32


def frame_of(number: int, dtype: type = np.uint16) -> np.ndarray:
    return (np.arange(40 * 64).reshape(40, 64) + 1000 * number).astype(dtype)


@dataclass
class Bench:
    physics: ManualClock
    wall: ManualClock
    scene: Gradient
    firmware: Simplon

    def ask(self, method: str, path: str, **body: object) -> Reply:
        subsystem, _, rest = path.partition("/")
        return self.firmware.request(method, f"/{subsystem}/api/1.8.0/{rest}", json.dumps(body).encode() if body else b"")

    def get(self, path: str) -> object:
        reply = self.ask("GET", path)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)

    def value(self, path: str) -> object:
        answer = self.get(path)
        assert isinstance(answer, dict)
        return answer["value"]

    def put(self, path: str, value: object) -> object:
        reply = self.ask("PUT", path, value=value)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)

    def do(self, command: str, **body: object) -> Reply:
        reply = self.ask("PUT", f"detector/command/{command}", **body)
        assert reply.status == 200, reply.body
        return reply

    def advance(self, lab_s: float) -> list[Message]:
        """Let time pass on both clocks; everything that leaves on the stream."""
        self.physics.advance(lab_s)
        self.wall.advance(lab_s)
        messages = self.firmware.step()
        while self.firmware.wait_s() == 0.0:
            messages += self.firmware.step()
        return messages


@pytest.fixture
def cold() -> Iterator[Bench]:
    physics, wall, scene = ManualClock(), ManualClock(), Gradient()
    bench = Bench(physics, wall, scene, Simplon(GEOMETRY, physics, wall, scene))
    yield bench
    bench.firmware.close()


@pytest.fixture
def bench(cold: Bench) -> Bench:
    """Initialised, the stream enabled."""
    cold.do("initialize")
    cold.advance(INITIALIZE_S)
    cold.put("stream/config/mode", "enabled")
    return cold


def heads(messages: list[Message]) -> list[str]:
    return [json.loads(message[0])["htype"] for message in messages]


# ------------------------------------------------------------------------------------------------ register


def test_a_float_is_described_with_its_limits_and_unit(bench: Bench) -> None:
    assert bench.get("detector/config/count_time") == {
        "value": 0.1, "value_type": "float", "access_mode": "rw", "unit": "s", "min": 1e-5, "max": 3600.0}


def test_a_choice_is_described_with_what_is_allowed(bench: Bench) -> None:
    assert bench.get("detector/config/trigger_mode") == {
        "value": "ints", "value_type": "string", "access_mode": "rw", "allowed_values": ["exte", "exts", "inte", "ints"]}


def test_the_geometry_of_the_laboratory_stands_in_the_configuration(bench: Bench) -> None:
    found = {key: bench.value(f"detector/config/{key}") for key in (
        "x_pixels_in_detector", "y_pixels_in_detector", "beam_center_x", "beam_center_y", "x_pixel_size", "detector_distance")}
    assert found == pytest.approx({"x_pixels_in_detector": 64, "y_pixels_in_detector": 40, "beam_center_x": 31.5, "beam_center_y": 19.5,
                                   "x_pixel_size": 172e-6, "detector_distance": 0.15})
    assert bench.value("detector/config/photon_energy") == pytest.approx(12398.42, abs=0.01)


def test_every_listed_key_can_be_read(bench: Bench) -> None:
    for table in ("detector/config", "detector/status", "stream/config", "stream/status", "monitor/config", "monitor/status",
                  "filewriter/config", "filewriter/status"):
        keys = bench.get(f"{table}/keys")
        assert isinstance(keys, list) and keys
        for key in keys:
            answer = bench.get(f"{table}/{key}")
            assert isinstance(answer, dict) and {"value", "value_type", "access_mode"} <= answer.keys()


def test_the_version_is_told_without_one_in_the_path(cold: Bench) -> None:
    assert json.loads(cold.firmware.request("GET", "/detector/api/version").body) == {"value": "1.8.0", "value_type": "string"}


def test_a_put_answers_with_all_keys_that_have_changed(bench: Bench) -> None:
    assert bench.put("detector/config/nimages", 7) == ["nimages"]
    assert bench.put("detector/config/count_time", 30.0) == ["bit_depth_image", "count_time", "frame_count_time", "frame_time"]
    assert bench.value("detector/config/bit_depth_image") == 32
    assert bench.put("detector/config/frame_time", 0.5) == ["bit_depth_image", "count_time", "frame_count_time", "frame_time"]
    assert bench.value("detector/config/count_time") == pytest.approx(0.5, abs=1e-6)
    assert bench.put("detector/config/photon_energy", 8000.0) == ["photon_energy", "threshold_energy", "wavelength"]
    assert bench.value("detector/config/wavelength") == pytest.approx(1.5498, abs=1e-4)


@pytest.mark.parametrize(("method", "path", "body", "status", "message"), [
    ("GET", "/detector/api/1.8.0/config/colour", b"", 404, "No parameter /detector/api/1.8.0/config/colour"),
    ("PUT", "/detector/api/1.8.0/config/colour", b'{"value": 1}', 404, "No parameter"),
    ("PUT", "/detector/api/1.8.0/command/dance", b"", 404, "No command detector/dance"),
    ("GET", "/detector/api/1.8.0/command/arm", b"", 405, "takes PUT"),
    ("GET", "/detector/api/1.6.0/config/nimages", b"", 404, "the API version is 1.8.0"),
    ("GET", "/", b"", 404, "No resource"),
    ("POST", "/detector/api/1.8.0/config/nimages", b"{}", 405, "Method POST is not allowed"),
    ("PUT", "/detector/api/1.8.0/config/description", b'{"value": "x"}', 400, "read only"),
    ("PUT", "/detector/api/1.8.0/status/state", b'{"value": "idle"}', 400, "read only"),
    ("PUT", "/detector/api/1.8.0/config/nimages", b'{"value": 0}', 400, "out of range, min 1, max 1000000"),
    ("PUT", "/detector/api/1.8.0/config/nimages", b'{"value": 1.5}', 400, "is no uint"),
    ("PUT", "/detector/api/1.8.0/config/nimages", b'{"value": true}', 400, "is no uint"),
    ("PUT", "/detector/api/1.8.0/config/count_time", b'{"value": NaN}', 400, "is no float"),
    ("PUT", "/detector/api/1.8.0/config/count_time", b'{"value": 1e9}', 400, "out of range"),
    ("PUT", "/detector/api/1.8.0/config/trigger_mode", b'{"value": "loud"}', 400, "is not one of exte, exts, inte, ints"),
    ("PUT", "/detector/api/1.8.0/config/count_time", b"0.5.1", 400, "The body is no JSON"),
    ("PUT", "/detector/api/1.8.0/config/count_time", b"[1]", 400, "The body is no JSON object"),
    ("PUT", "/filewriter/api/1.8.0/config/mode", b'{"value": "enabled"}', 400, "is not one of disabled"),
])
def test_a_wrong_request_is_refused_in_words(bench: Bench, method: str, path: str, body: bytes, status: int, message: str) -> None:
    reply = bench.firmware.request(method, path, body)
    assert (reply.status, reply.content_type) == (status, "text/plain")
    assert message in reply.body.decode()


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers(), max_size=2)))
def test_whatever_is_put_a_parameter_stays_inside_its_limits(value: object) -> None:
    number, choice = Parameter(5, "uint", low=1, high=9), Parameter("a", "string", allowed=("a", "b"))
    for parameter in (number, choice):
        try:
            parameter.take("it", value)
        except ApiError as error:
            assert error.status == 400
    assert isinstance(number.value, int) and 1 <= number.value <= 9
    assert choice.value in ("a", "b")


@settings(max_examples=300)
@given(st.sampled_from(["GET", "PUT", "PATCH"]), st.text(max_size=60), st.binary(max_size=40))
def test_no_request_whatever_brings_it_down(method: str, path: str, body: bytes) -> None:
    firmware = Simplon(GEOMETRY, ManualClock(), ManualClock(), Gradient())
    assert firmware.request(method, path, body).status in (200, 400, 404, 405)
    assert firmware.request(method, f"/detector/api/1.8.0/config/{path}", body).status in (200, 400, 404, 405)


# -------------------------------------------------------------------------------------------------- states


def test_after_power_on_only_initialize_helps(cold: Bench) -> None:
    assert cold.value("detector/status/state") == "na"
    assert cold.ask("PUT", "detector/command/arm").status == 400
    assert cold.ask("PUT", "detector/config/nimages", value=2).status == 400
    reply = cold.do("initialize")
    assert reply.ticket is not None and not cold.firmware.is_over(reply.ticket)
    assert cold.value("detector/status/state") == "initialize"
    cold.advance(INITIALIZE_S)
    assert cold.firmware.is_over(reply.ticket)
    assert cold.value("detector/status/state") == "idle"


def test_a_series_of_one_trigger(bench: Bench) -> None:
    bench.put("detector/config/nimages", 3)
    bench.put("detector/config/count_time", 2.0)
    assert json.loads(bench.do("arm").body) == {"sequence id": 1}
    assert bench.value("detector/status/state") == "ready"
    assert heads(bench.advance(5.0)) == ["dheader-1.0"]
    reply = bench.do("trigger")
    assert reply.ticket is not None
    assert bench.value("detector/status/state") == "acquire"
    assert bench.advance(1.999) == []
    assert heads(bench.advance(0.002)) == ["dimage-1.0"]
    assert not bench.firmware.is_over(reply.ticket)
    assert heads(bench.advance(4.1)) == ["dimage-1.0", "dimage-1.0", "dseries_end-1.0"]
    assert bench.firmware.is_over(reply.ticket)
    assert bench.value("detector/status/state") == "idle"
    assert bench.scene.exposures == [(2.0, 3)]
    assert json.loads(bench.do("disarm").body) == {"sequence id": 1}
    assert bench.advance(1.0) == []


def test_a_series_of_several_triggers_numbers_its_frames_through(bench: Bench) -> None:
    bench.put("detector/config/ntrigger", 2)
    bench.put("detector/config/nimages", 2)
    bench.do("arm")
    bench.advance(0.0)
    numbers = []
    for _ in range(2):
        bench.do("trigger")
        numbers += [json.loads(m[0])["frame"] for m in bench.advance(1.0) if len(m) == 4]
    assert numbers == [0, 1, 2, 3]
    assert bench.ask("PUT", "detector/command/trigger").status == 400


def test_between_triggers_the_detector_is_ready(bench: Bench) -> None:
    bench.put("detector/config/ntrigger", 2)
    bench.do("arm")
    bench.do("trigger")
    bench.advance(1.0)
    assert bench.value("detector/status/state") == "ready"
    assert heads([*bench.advance(0.0)]) == []
    bench.do("disarm")
    assert heads(bench.advance(0.0)) == ["dseries_end-1.0"]


def test_an_armed_detector_refuses_to_be_configured(bench: Bench) -> None:
    bench.do("arm")
    reply = bench.ask("PUT", "detector/config/count_time", value=1.0)
    assert reply.status == 400 and b"state ready, only in idle" in reply.body
    assert bench.ask("PUT", "detector/command/arm").status == 400


def test_abort_ends_the_exposure_at_once(bench: Bench) -> None:
    bench.put("detector/config/count_time", 100.0)
    bench.do("arm")
    reply = bench.do("trigger")
    bench.advance(50.0)
    assert json.loads(bench.do("abort").body) == {"sequence id": 1}
    assert reply.ticket is not None and bench.firmware.is_over(reply.ticket)
    assert heads(bench.advance(0.0)) == ["dseries_end-1.0"]
    assert bench.value("detector/status/state") == "idle"
    assert bench.advance(1000.0) == []


def test_cancel_waits_for_the_frame_that_is_being_taken(bench: Bench) -> None:
    bench.put("detector/config/nimages", 10)
    bench.put("detector/config/count_time", 1.0)
    bench.do("arm")
    bench.do("trigger")
    bench.advance(1.5)
    bench.do("cancel")
    assert bench.value("detector/status/state") == "acquire"
    assert heads(bench.advance(1.0)) == ["dimage-1.0", "dseries_end-1.0"]
    assert bench.value("detector/status/state") == "idle"


def test_in_mode_inte_the_trigger_brings_its_exposure(bench: Bench) -> None:
    bench.put("detector/config/trigger_mode", "inte")
    bench.do("arm")
    bench.do("trigger", value=0.25)
    bench.advance(0.3)
    assert bench.scene.exposures == [(0.25, 1)]


def test_an_external_mode_waits_for_a_wire_that_is_not_there(bench: Bench) -> None:
    bench.put("detector/config/trigger_mode", "exts")
    bench.do("arm")
    assert b"waits for its trigger input" in bench.ask("PUT", "detector/command/trigger").body


def test_a_high_voltage_error_ends_the_series_until_initialize(bench: Bench) -> None:
    bench.do("arm")
    reply = bench.do("trigger")
    bench.firmware.fail("high voltage")
    assert reply.ticket is not None and bench.firmware.is_over(reply.ticket)
    assert bench.value("detector/status/state") == "error"
    assert bench.value("detector/status/error") == ["High voltage: current limit exceeded"]
    assert bench.ask("PUT", "detector/command/arm").status == 400
    bench.do("initialize")
    bench.advance(INITIALIZE_S)
    assert bench.value("detector/status/state") == "idle"
    assert bench.value("detector/status/error") == []


def test_a_power_cycle_forgets_everything(bench: Bench) -> None:
    bench.put("detector/config/nimages", 5)
    bench.do("arm")
    bench.firmware.power_cycle()
    assert bench.value("detector/status/state") == "na"
    assert bench.value("detector/config/nimages") == 1
    assert bench.value("stream/config/mode") == "disabled"
    assert bench.advance(1.0) == []


# -------------------------------------------------------------------------------------------------- stream


def take(bench: Bench, n: int = 1) -> list[Message]:
    bench.put("detector/config/nimages", n)
    bench.do("arm")
    bench.do("trigger")
    return bench.advance(1000.0)


@pytest.mark.parametrize(("detail", "n_parts"), [("none", 1), ("basic", 2), ("all", 8)])
def test_the_header_tells_as_much_as_asked_for(bench: Bench, detail: str, n_parts: int) -> None:
    bench.put("stream/config/header_detail", detail)
    header = take(bench)[0]
    assert json.loads(header[0]) == {"htype": "dheader-1.0", "series": 1, "header_detail": detail}
    assert len(header) == n_parts
    if n_parts > 1:
        assert json.loads(header[1])["x_pixels_in_detector"] == 64
    if n_parts > 2:
        assert [json.loads(part)["htype"] for part in header[2::2]] == ["dflatfield-1.0", "dpixelmask-1.0", "dcountrate_table-1.0"]
        assert [len(blob) for blob in header[3::2]] == [40 * 64 * 4, 40 * 64 * 4, 16]


def test_a_frame_is_four_parts_and_its_blob_is_what_was_seen(bench: Bench) -> None:
    image = take(bench, 2)[2]
    first, description, blob, times = image
    assert json.loads(first) == {"htype": "dimage-1.0", "series": 1, "frame": 1, "hash": hashlib.md5(blob).hexdigest()}
    assert json.loads(description) == {"htype": "dimage_d-1.0", "shape": [64, 40], "type": "uint16", "encoding": "bs16-lz4<", "size": len(blob)}
    assert struct.unpack(">QI", blob[:12])[0] == 40 * 64 * 2
    raw = np.frombuffer(decompress(blob, "bslz4", elem_size=2), "<u2").reshape(40, 64)
    assert (raw == frame_of(1)).all()
    assert json.loads(times)["htype"] == "dconfig-1.0"
    assert json.loads(times)["real_time"] == 100_000_000


def test_the_blob_is_a_chunk_of_hdf5(bench: Bench) -> None:
    blob = take(bench)[1][2]
    with h5py.File(io.BytesIO(), "w") as file:
        dataset = file.create_dataset("data", (1, 40, 64), "<u2", chunks=(1, 40, 64), **hdf5plugin.Bitshuffle(cname="lz4"))
        dataset.id.write_direct_chunk((0, 0, 0), blob)
        assert (dataset[0] == frame_of(0)).all()


def test_frames_are_stamped_in_the_order_they_were_taken(bench: Bench) -> None:
    bench.put("detector/config/nimages", 2)
    bench.put("detector/config/count_time", 2.0)
    bench.do("arm")
    bench.advance(10.0)
    bench.do("trigger")
    (first,) = (json.loads(m[3]) for m in bench.advance(2.0))
    (second, _) = bench.advance(2.1)
    assert (first["start_time"], first["stop_time"]) == pytest.approx((10e9, 12e9))
    assert json.loads(second[3])["start_time"] >= first["stop_time"]


def test_long_exposures_are_streamed_in_32_bits(bench: Bench) -> None:
    bench.put("detector/config/count_time", 60.0)
    image = take(bench)[1]
    assert json.loads(image[1])["encoding"] == "bs32-lz4<"
    raw = np.frombuffer(decompress(image[2], "bslz4", elem_size=4), "<u4")
    assert (raw == frame_of(0, np.uint32).ravel()).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(["u2", "u4"]), st.sampled_from(["bslz4", "lz4", "none"]), st.integers(0, 2**32 - 1))
def test_decoding_after_encoding_is_the_identity(rows: int, columns: int, dtype: str, compression: str, seed: int) -> None:
    frame = np.random.default_rng(seed).poisson(7.0, (rows, columns)).astype(dtype)
    encoder = Encoder()
    encoding, blob = encoder(frame, compression)
    encoder.close()
    assert encoding == {"bslz4": f"bs{8 * frame.itemsize}-lz4<", "lz4": "lz4<", "none": "<"}[compression]
    if compression == "bslz4":
        blob = decompress(blob, "bslz4", elem_size=frame.itemsize)
    elif compression == "lz4":
        import lz4.block

        blob = lz4.block.decompress(blob, uncompressed_size=frame.nbytes)
    assert (np.frombuffer(blob, frame.dtype).reshape(frame.shape) == frame).all()


def test_appendices_are_last_parts(bench: Bench) -> None:
    bench.put("stream/config/header_appendix", "about the sample")
    bench.put("stream/config/image_appendix", "about the frame")
    header, image, _ = take(bench)
    assert header[-1] == b"about the sample"
    assert len(image) == 5 and image[4] == b"about the frame"


def test_a_disabled_stream_says_nothing(bench: Bench) -> None:
    bench.put("stream/config/mode", "disabled")
    assert take(bench, 2) == []
    assert bench.value("stream/status/state") == "disabled"


@pytest.mark.parametrize(("words", "expected"), [
    ("lose frame", ["dheader-1.0", "dimage-1.0", "dseries_end-1.0"]), ("lose series end", ["dheader-1.0", "dimage-1.0", "dimage-1.0"])])
def test_what_is_lost_on_the_data_path_is_lost_once(bench: Bench, words: str, expected: list[str]) -> None:
    bench.firmware.fail(words)
    assert heads(take(bench, 2)) == expected
    assert heads(take(bench, 1)) == ["dheader-1.0", "dimage-1.0", "dseries_end-1.0"]


@pytest.mark.parametrize("words", ["corrupt frame", "truncate frame"])
def test_a_damaged_frame_does_not_match_its_hash(bench: Bench, words: str) -> None:
    bench.firmware.fail(words)
    _, first, second, _ = take(bench, 2)
    assert json.loads(first[0])["hash"] != hashlib.md5(first[2]).hexdigest()
    assert json.loads(second[0])["hash"] == hashlib.md5(second[2]).hexdigest()


# ------------------------------------------------------------------------------------------------- monitor


def test_the_monitor_gives_its_newest_frames_as_tiff(bench: Bench) -> None:
    bench.put("monitor/config/mode", "enabled")
    bench.put("monitor/config/buffer_size", 2)
    assert bench.ask("GET", "monitor/images/next").status == 408
    take(bench, 3)
    assert bench.get("monitor/images") == [0, 1]
    assert bench.value("monitor/status/dropped") == 1
    assert bench.ask("GET", "monitor/images/next").body == tiff(frame_of(1))
    assert bench.ask("GET", "monitor/images/monitor").body == tiff(frame_of(2))
    assert bench.ask("PUT", "monitor/command/clear").status == 200
    assert bench.get("monitor/images") == []
    assert bench.ask("GET", "monitor/images/9").status == 404


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_the_tiff_is_read_by_others(dtype: type) -> None:
    from PIL import Image

    with Image.open(io.BytesIO(tiff(frame_of(3, dtype)))) as image:
        assert (np.asarray(image).astype(np.int64) == frame_of(3, np.uint32)).all()


# --------------------------------------------------------------------------------------------- the network


class Client:
    """A plain HTTP client that keeps its connection, and a reader of the stream."""

    def __init__(self, endpoint: str) -> None:
        parts = urllib.parse.urlsplit(endpoint)
        assert parts.hostname is not None and parts.port is not None
        self.address = (parts.hostname, parts.port)
        self.stream_port = int(urllib.parse.parse_qs(parts.query)["stream"][0])
        self.http = http.client.HTTPConnection(*self.address, timeout=DEADLINE_S)
        self.context = zmq.Context()
        self.pull = self.context.socket(zmq.PULL)
        self.pull.connect(f"tcp://{parts.hostname}:{self.stream_port}")

    def request(self, method: str, path: str, value: object = None) -> tuple[int, bytes]:
        body = json.dumps({"value": value}).encode() if method == "PUT" else None
        subsystem, _, rest = path.partition("/")
        self.http.request(method, f"/{subsystem}/api/1.8.0/{rest}", body)
        reply = self.http.getresponse()
        return reply.status, reply.read()

    def put(self, path: str, value: object = None) -> None:
        status, body = self.request("PUT", path, value)
        assert status == 200, body

    def state(self) -> str:
        found: str = json.loads(self.request("GET", "detector/status/state")[1])["value"]
        return found

    def receive(self) -> Message:
        assert self.pull.poll(DEADLINE_S * 1000), "nothing on the stream"
        return self.pull.recv_multipart()

    def close(self) -> None:
        self.http.close()
        self.pull.close(linger=0)
        self.context.term()


@dataclass
class Site:
    server: DetectorServer
    client: Client
    physics: ManualClock | WallClock


class FastClock(WallClock):
    """Laboratory time a thousand times as fast as the wall."""

    speed = 1000.0

    def now(self) -> float:
        return 1000.0 * super().now()

    def wall_s(self, lab_s: float) -> float:
        return lab_s / 1000.0


@pytest.fixture
def site() -> Iterator[Site]:
    physics = FastClock()
    server = DetectorServer(Gradient(), physics)
    client = Client(server.start())
    yield Site(server, client, physics)
    client.close()
    server.stop()


def ready(client: Client, n: int = 1) -> None:
    client.put("detector/command/initialize")
    client.put("stream/config/mode", "enabled")
    client.put("detector/config/nimages", n)


def test_a_series_over_the_network(site: Site) -> None:
    ready(site.client, 5)
    site.client.put("detector/command/arm")
    site.client.put("detector/command/trigger")
    messages = [site.client.receive() for _ in range(7)]
    assert heads(messages) == ["dheader-1.0", *["dimage-1.0"] * 5, "dseries_end-1.0"]
    assert [json.loads(m[0])["frame"] for m in messages[1:6]] == list(range(5))
    assert site.client.state() == "idle"


def test_the_trigger_answers_when_the_exposure_is_over(site: Site) -> None:
    ready(site.client)
    site.client.put("detector/config/count_time", 100.0)
    site.client.put("detector/command/arm")
    begin_s = site.physics.now()
    site.client.put("detector/command/trigger")
    assert site.physics.now() - begin_s >= 100.0


def test_another_client_aborts_while_one_waits_for_its_trigger(site: Site) -> None:
    ready(site.client)
    site.client.put("detector/config/count_time", 3600.0)
    site.client.put("detector/config/nimages", 1000)
    site.client.put("detector/command/arm")
    waiting = threading.Thread(target=site.client.put, args=("detector/command/trigger",))
    waiting.start()
    other = Client(f"http://{site.client.address[0]}:{site.client.address[1]}?stream={site.client.stream_port}")
    while other.state() != "acquire":
        pass
    other.put("detector/command/abort")
    waiting.join(DEADLINE_S)
    assert not waiting.is_alive()
    assert other.state() == "idle"
    other.close()


def test_a_stream_nobody_reads_is_dropped_and_hangs_nobody(site: Site) -> None:
    site.client.pull.close(linger=0)
    n = 3 * STREAM_HIGH_WATER
    ready(site.client, n)
    site.client.put("detector/config/frame_time", 0.001)
    site.client.put("detector/command/arm")
    site.client.put("detector/command/trigger")
    dropped = json.loads(site.client.request("GET", "stream/status/dropped")[1])["value"]
    assert dropped >= n
    assert site.client.state() == "idle"


def test_a_stopped_server_leaves_no_thread_and_no_port_behind() -> None:
    before = threading.active_count()
    server = DetectorServer(Gradient(), FastClock())
    client = Client(server.start())
    assert client.state() == "na"
    server.stop()
    server.stop()
    client.close()
    assert threading.active_count() == before
    for port in (client.address[1], client.stream_port):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        server = DetectorServer(Gradient(), FastClock(), port=holder.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            server.start()
        server.stop()


def test_a_body_without_length_is_refused(site: Site) -> None:
    with socket.create_connection(site.client.address, DEADLINE_S) as line:
        line.sendall(b"PUT /detector/api/1.8.0/config/nimages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert line.recv(4096).startswith(b"HTTP/1.1 411 ")


# -------------------------------------------------------------------------------------------------- faults


def fault(kind: str, **more: object) -> Fault:
    return Fault.model_validate({"instrument": "detector", "kind": kind, **more})


def impatient(client: Client) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(*client.address, timeout=0.3)


@pytest.mark.parametrize("kind", ["hang", "drop"])
def test_an_answer_that_never_comes(site: Site, kind: str) -> None:
    assert site.client.state() == "na"
    site.server.inject(fault(kind))
    hurried = impatient(site.client)
    hurried.request("GET", "/detector/api/1.8.0/status/state")
    with pytest.raises(TimeoutError, match="timed out"):
        hurried.getresponse()
    hurried.close()
    site.server.clear_faults()
    assert site.client.state() == "na"


def test_a_late_answer_comes_late(site: Site) -> None:
    site.server.inject(fault("delay", delay_s=0.6))
    hurried = impatient(site.client)
    hurried.request("GET", "/detector/api/1.8.0/status/state")
    with pytest.raises(TimeoutError, match="timed out"):
        hurried.getresponse()
    hurried.close()
    assert site.client.state() == "na"


def test_an_answer_cut_off_in_the_middle_ends_the_connection(site: Site) -> None:
    site.server.inject(fault("truncate", seed=3))
    with pytest.raises((http.client.HTTPException, ConnectionError, ValueError)):  # noqa: PT011 - depends on where it is cut
        site.client.state()
    site.client.http.close()
    assert site.client.state() == "na"


def test_a_garbled_request_is_answered_as_what_it_has_become(site: Site) -> None:
    ready(site.client)
    site.server.inject(fault("corrupt", side="request", seed=1))
    status, _ = site.client.request("PUT", "detector/config/nimages", 5)
    assert status in (200, 400, 404, 405)
    assert site.client.request("PUT", "detector/config/nimages", 5)[0] == 200


def test_an_unplugged_detector_refuses_until_it_is_plugged_in_again(site: Site) -> None:
    ready(site.client)
    site.server.inject(fault("unplug"))
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        while True:
            site.client.state()
    with pytest.raises(ConnectionRefusedError, match="refused"):
        while True:
            with suppress(ConnectionResetError):  # it was still in the queue when the port was closed
                socket.create_connection(site.client.address, DEADLINE_S).close()
    site.server.clear_faults()
    site.client.http.close()
    deadline = threading.Event()
    timer = threading.Timer(DEADLINE_S, deadline.set)
    timer.start()
    state = ""
    while state != "idle" and not deadline.is_set():
        try:
            state = site.client.state()
        except OSError:
            site.client.http.close()
    timer.cancel()
    assert state == "idle"
    site.client.put("detector/command/arm")
    site.client.put("detector/command/disarm")
    assert heads([site.client.receive(), site.client.receive()]) == ["dheader-1.0", "dseries_end-1.0"]


def test_a_cable_pulled_during_an_exposure_hangs_nobody(site: Site) -> None:
    ready(site.client)
    site.client.put("detector/config/count_time", 3600.0)
    site.client.put("detector/config/nimages", 1000)
    site.client.put("detector/command/arm")
    seen: list[Exception] = []

    def trigger() -> None:
        try:
            site.client.put("detector/command/trigger")
        except (OSError, http.client.HTTPException) as error:
            seen.append(error)

    waiting = threading.Thread(target=trigger)
    waiting.start()
    while not site.server.firmware.wait_s() < float("inf"):
        pass
    site.server.inject(fault("hang_up"))
    waiting.join(DEADLINE_S)
    assert not waiting.is_alive()
    assert len(seen) == 1


def test_a_hang_up_closes_connections_and_new_ones_are_taken(site: Site) -> None:
    assert site.client.state() == "na"
    site.server.inject(fault("hang_up"))
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        while True:
            site.client.state()
    site.client.http.close()
    timer = threading.Event()
    for _ in range(500):
        try:
            assert site.client.state() == "na"
            return
        except OSError:
            site.client.http.close()
            timer.wait(0.01)
    pytest.fail("the detector did not come back")


def test_an_injected_error_is_the_detectors_own(site: Site) -> None:
    ready(site.client)
    site.server.inject(fault("error", words="high voltage"))
    assert site.client.state() == "error"
    with pytest.raises(FaultError, match="allowed: high voltage, lose frame, corrupt frame, truncate frame, lose series end"):
        site.server.inject(fault("error", words="flood"))


def test_a_power_cycle_over_the_network_leads_to_na(site: Site) -> None:
    ready(site.client)
    site.server.inject(fault("power_cycle"))
    assert site.client.state() == "na"


def test_the_detector_says_when_something_happens_and_that_it_is_at_it(cold: Bench) -> None:
    assert cold.firmware.due_s() == float("inf")
    cold.do("initialize")
    assert cold.firmware.due_s() == pytest.approx(INITIALIZE_S)
    cold.advance(INITIALIZE_S)
    for key, value in (("count_time", 2.0), ("frame_time", 2.1), ("nimages", 1)):
        cold.put(f"detector/config/{key}", value)
    cold.do("arm")
    cold.do("trigger")
    assert cold.firmware.due_s() == 0.0, "the frame is not made yet"
    cold.firmware.step()
    assert cold.firmware.due_s() == pytest.approx(2.0)
    cold.advance(2.0)
    assert cold.firmware.due_s() == float("inf")
