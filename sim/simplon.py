"""A Dectris detector with the SIMPLON 1.8 API, as a state machine: requests in, replies and stream messages out.

Sans-IO: HTTP and ZeroMQ are in `sim.detector`. States and commands after the SIMPLON API Reference, chapter "Detector
Subsystem": na -> initialize -> idle -> (arm: configure) ready -> (trigger) acquire -> ready or, after the last trigger, idle;
cancel, abort and disarm lead to idle; in error only initialize helps.

Exposures take laboratory time. A command that takes time (initialize, trigger) answers when it is over, as the
real one does: `Simplon.request` returns a reply with a `ticket`, to be sent once `Simplon.is_over` says so.

`request` may be called from any thread, `step` from one.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import numpy as np

from lab.core.clock import Clock
from lab.core.config import Geometry
from sim import simplon_parameters as tables
from sim import stream
from sim.simplon_parameters import EV_ANGSTROM, READOUT_S, ApiError, Table
from sim.stream import FrameTimes, Message
from sim.tiff import tiff

VERSION = "1.8.0"

INITIALIZE_S = 2.0
"""How long initialize takes, laboratory seconds."""


class Scene(Protocol):
    """What the detector needs of the world."""

    def expose(self, count_time_s: float, n: int) -> Iterator[np.ndarray]: ...

    def bit_depth(self, count_time_s: float) -> int: ...


@dataclass(frozen=True)
class Reply:
    """An answer to one HTTP request.

    Parameters
    ----------
    status : int
    body : bytes
    content_type : str
    ticket : int or None
        The reply is to be held back until `Simplon.is_over` of this ticket.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    ticket: int | None = None


@dataclass
class _Exposure:
    """The frames of one trigger."""

    frames: Iterator[np.ndarray]
    n: int
    begin_s: float
    count_time_s: float
    frame_time_s: float
    ticket: int
    done: int = 0
    pixels: np.ndarray | None = None
    is_cancelled: bool = False

    @property
    def frame_begin_s(self) -> float:
        return self.begin_s + self.done * self.frame_time_s

    @property
    def frame_end_s(self) -> float:
        return self.frame_begin_s + self.count_time_s


class Simplon:
    """One detector.

    Parameters
    ----------
    geometry : Geometry
        Pixels, and what stands in the configuration.
    physics, wall : Clock
        Exposures run on the first, time stamps on the second.
    scene : Scene
        What is exposed.
    """

    failures: Sequence[str] = ("high voltage", "lose frame", "corrupt frame", "truncate frame", "lose series end")
    """``high voltage`` brings the error state; the others befall the next message of their kind on the stream."""

    def __init__(self, geometry: Geometry, physics: Clock, wall: Clock, scene: Scene) -> None:
        self._geometry, self._physics, self._wall, self._scene = geometry, physics, wall, scene
        self._lock = threading.RLock()
        self._encoder = stream.Encoder()
        self._series = self._last_ticket = 0
        self._misfortunes: list[str] = []
        self._commands: dict[str, Callable[[object], Reply]] = {
            "detector/initialize": self._initialize, "detector/arm": self._arm, "detector/trigger": self._trigger,
            "detector/disarm": self._disarm, "detector/cancel": self._cancel, "detector/abort": self._abort,
            "detector/check_connection": self._nothing, "detector/hv_reset": self._hv_reset,
            "stream/initialize": self._stream_initialize, "monitor/initialize": self._monitor_clear,
            "monitor/clear": self._monitor_clear, "filewriter/initialize": self._nothing, "filewriter/clear": self._nothing,
            "system/restart": self._restart,
        }
        self._start()

    def _start(self) -> None:
        """State after power on."""
        self._tables: dict[str, Table] = {
            "detector/config": tables.detector_config(self._geometry), "detector/status": tables.detector_status(),
            "stream/config": tables.stream_config(), "stream/status": tables.stream_status(),
            "monitor/config": tables.monitor_config(), "monitor/status": tables.monitor_status(),
            "filewriter/config": tables.filewriter_config(), "filewriter/status": tables.filewriter_status(),
            "system/config": {}, "system/status": {},
        }
        self._open_tickets: set[int] = set()
        self._initialized_at_s: float | None = None
        self._exposure: _Exposure | None = None
        self._triggers_left = self._frames_sent = 0
        self._armed_at_s = 0.0
        self._outbox: list[Message] = []
        self._monitored: deque[np.ndarray] = deque()
        self._config = self._tables["detector/config"]
        self._status = self._tables["detector/status"]

    # ---------------------------------------------------------------------------------------------- requests

    def request(self, method: str, path: str, body: bytes = b"") -> Reply:
        """Answer one HTTP request.

        Parameters
        ----------
        method : str
            ``GET`` or ``PUT``; anything else is answered 405.
        path : str
            For instance ``/detector/api/1.8.0/config/count_time``.
        body : bytes
            JSON, ``{"value": …}``.
        """
        with self._lock:
            self._finish_initialize()
            try:
                return self._route(method, [part for part in path.split("?")[0].split("/") if part], body)
            except ApiError as error:
                return Reply(error.status, error.text.encode(), "text/plain")

    def is_over(self, ticket: int) -> bool:
        """Whether the reply with this ticket may be sent."""
        with self._lock:
            self._finish_initialize()
            return ticket not in self._open_tickets

    def _route(self, method: str, parts: list[str], body: bytes) -> Reply:
        if method not in ("GET", "PUT"):
            raise ApiError(405, f"Method {method} is not allowed")
        if len(parts) == 3 and parts[1:] == ["api", "version"]:
            return _reply({"value": VERSION, "value_type": "string"})
        if len(parts) < 4 or parts[1:3] != ["api", VERSION]:
            raise ApiError(404, f"No resource /{'/'.join(parts)}; the API version is {VERSION}")
        subsystem, task, key = parts[0], parts[3], "/".join(parts[4:])
        if task == "command":
            return self._command(method, f"{subsystem}/{key}", body)
        if subsystem == "monitor" and task == "images" and method == "GET":
            return self._image(key)
        table = self._tables.get(f"{subsystem}/{task}")
        if table is None or (key not in table and key not in ("", "keys")):
            raise ApiError(404, f"No parameter /{'/'.join(parts)}")
        if method == "PUT":
            return self._put(subsystem, task, key, body)
        if key in ("", "keys"):
            return _reply(list(table))
        if (subsystem, task, key) == ("detector", "status", "time"):
            table[key].value = datetime.now(UTC).isoformat()
        return _reply(table[key].describe())

    def _put(self, subsystem: str, task: str, key: str, body: bytes) -> Reply:
        if task == "status" or key in ("", "keys"):
            raise ApiError(400, f"{key or task} is read only")
        state = self._status["state"].value
        if subsystem == "detector" and state != "idle":
            raise ApiError(400, f"Parameter {key} cannot be set while the detector is in state {state}, only in idle")
        self._tables[f"{subsystem}/{task}"][key].take(key, _value(body))
        if subsystem == "detector":
            return _reply(self._settle(key))
        if (subsystem, key) == ("stream", "mode"):
            self._tables["stream/status"]["state"].value = "ready" if self._tables["stream/config"]["mode"].value == "enabled" else "disabled"
        return _reply([key])

    def _settle(self, key: str) -> list[str]:
        """Bring in line what depends on `key`; returns the keys of all parameters that have changed."""
        before = {name: row.value for name, row in self._config.items()}
        if key == "count_time":
            self._set("frame_time", max(self._get("frame_time"), self._get("count_time") + READOUT_S))
        elif key == "frame_time":
            self._set("count_time", min(self._get("count_time"), self._get("frame_time") - READOUT_S))
        elif key == "wavelength":
            self._set("photon_energy", EV_ANGSTROM / self._get("wavelength"))
        elif key == "photon_energy":
            self._set("wavelength", EV_ANGSTROM / self._get("photon_energy"))
        if key in ("wavelength", "photon_energy"):
            self._set("threshold_energy", self._get("photon_energy") / 2.0)
        self._set("frame_count_time", self._get("count_time"))
        bits = self._scene.bit_depth(self._get("count_time"))
        self._config["bit_depth_image"].value = bits
        return sorted({key} | {name for name, row in self._config.items() if row.value != before[name]})

    def _get(self, key: str) -> float:
        value = self._config[key].value
        return float(value) if isinstance(value, (int, float)) else float("nan")

    def _set(self, key: str, value: float) -> None:
        self._config[key].value = value

    # ---------------------------------------------------------------------------------------------- commands

    def _command(self, method: str, name: str, body: bytes) -> Reply:
        command = self._commands.get(name)
        if command is None:
            raise ApiError(404, f"No command {name}")
        if method != "PUT":
            raise ApiError(405, f"Command {name} takes PUT")
        return command(_value(body) if body.strip() else None)

    def _initialize(self, argument: object) -> Reply:
        self._end_series()
        self._to("initialize")
        self._status["error"].value = []
        self._initialized_at_s = self._physics.now() + INITIALIZE_S
        return Reply(200, ticket=self._ticket())

    def _finish_initialize(self) -> None:
        if self._initialized_at_s is not None and self._physics.now() >= self._initialized_at_s:
            self._initialized_at_s = None
            self._to("idle")
            self._open_tickets.clear()

    def _arm(self, argument: object) -> Reply:
        self._needs("idle", "arm")
        self._to("configure")
        self._series += 1
        self._frames_sent = 0
        self._triggers_left = int(self._get("ntrigger"))
        self._armed_at_s = self._wall.now()
        self._config["data_collection_date"].value = datetime.now(UTC).isoformat()
        stream_config = self._tables["stream/config"]
        if self._is_streaming:
            self._tables["stream/status"]["state"].value = "acquire"
            self._outbox.append(stream.header(self._series, str(stream_config["header_detail"].value),
                                              {key: row.value for key, row in self._config.items()}, self._geometry.shape,
                                              str(stream_config["header_appendix"].value)))
        self._to("ready")
        return _reply({"sequence id": self._series})

    def _trigger(self, argument: object) -> Reply:
        self._needs("ready", "trigger")
        mode = self._config["trigger_mode"].value
        count_time_s, n = self._get("count_time"), int(self._get("nimages"))
        frame_time_s = self._get("frame_time")
        if mode == "inte" and isinstance(argument, (int, float)) and argument > 0:
            count_time_s, n = float(argument), 1
            frame_time_s = count_time_s + READOUT_S
        elif mode not in ("ints", "inte"):
            raise ApiError(400, f"In trigger mode {mode} the detector waits for its trigger input")
        self._triggers_left -= 1
        self._to("acquire")
        begin_s = self._physics.now() + self._get("trigger_start_delay")
        self._exposure = _Exposure(self._scene.expose(count_time_s, n), n, begin_s, count_time_s, frame_time_s, self._ticket())
        return Reply(200, ticket=self._exposure.ticket)

    def _disarm(self, argument: object) -> Reply:
        self._needs_life("disarm")
        self._end_series()
        return _reply({"sequence id": self._series})

    def _cancel(self, argument: object) -> Reply:
        """Stop after the frame that is being taken."""
        self._needs_life("cancel")
        if self._exposure is not None:
            self._exposure.is_cancelled = True
        else:
            self._end_series()
        return _reply({"sequence id": self._series})

    def _abort(self, argument: object) -> Reply:
        return self._disarm(argument)

    def _nothing(self, argument: object) -> Reply:
        return Reply(200)

    def _hv_reset(self, argument: object) -> Reply:
        self._status["high_voltage/state"].value = "READY"
        return Reply(200)

    def _stream_initialize(self, argument: object) -> Reply:
        self._tables["stream/config"] = tables.stream_config()
        self._tables["stream/status"] = tables.stream_status()
        return Reply(200)

    def _restart(self, argument: object) -> Reply:
        self.power_cycle()
        return Reply(200)

    def _monitor_clear(self, argument: object) -> Reply:
        self._monitored.clear()
        return Reply(200)

    def _image(self, key: str) -> Reply:
        """``images``: how many there are; ``monitor``: the newest; ``next``: the oldest, once."""
        if key == "":
            return _reply(list(range(len(self._monitored))))
        if key not in ("monitor", "next"):
            raise ApiError(404, f"No image {key}")
        if not self._monitored:
            raise ApiError(408, "No image in the buffer")
        frame = self._monitored[-1] if key == "monitor" else self._monitored.popleft()
        return Reply(200, tiff(frame), "application/tiff")

    # ------------------------------------------------------------------------------------------------ states

    @property
    def _is_streaming(self) -> bool:
        return self._tables["stream/config"]["mode"].value == "enabled"

    def _to(self, state: str) -> None:
        self._status["state"].value = state

    def _needs(self, state: str, command: str) -> None:
        now = self._status["state"].value
        if now != state:
            raise ApiError(400, f"Command {command} is not allowed in state {now}, only in {state}")

    def _needs_life(self, command: str) -> None:
        now = self._status["state"].value
        if now in ("na", "initialize", "error"):
            raise ApiError(400, f"Command {command} is not allowed in state {now}")

    def _ticket(self) -> int:
        self._last_ticket += 1
        self._open_tickets.add(self._last_ticket)
        return self._last_ticket

    def _end_series(self) -> None:
        """Leave ready or acquire for idle; a trigger that is under way answers."""
        was_armed = self._status["state"].value in ("ready", "acquire")
        self._exposure = None
        self._open_tickets.clear()
        if was_armed:
            self._to("idle")
            if self._is_streaming:
                self._tables["stream/status"]["state"].value = "ready"
                self._outbox.append(stream.end(self._series))

    # ---------------------------------------------------------------------------------------------- exposure

    def step(self) -> list[Message]:
        """Bring everything up to the clocks' time; return what goes out on the stream, at most one frame at a time."""
        with self._lock:
            self._finish_initialize()
            exposure = self._exposure
            if exposure is None or self._physics.now() < exposure.frame_begin_s:
                return self._sent()
        # Making and encoding a frame takes milliseconds, and requests are to be answered meanwhile.
        if exposure.pixels is None:
            exposure.pixels = next(exposure.frames)
        if self._physics.now() < exposure.frame_end_s:
            return []
        encoding, blob = self._encoder(exposure.pixels, str(self._config["compression"].value))
        with self._lock:
            if exposure is self._exposure:
                self._frame_is_over(exposure, exposure.pixels, encoding, blob)
            return self._sent()

    def wait_s(self) -> float:
        """Wall seconds until `step` has something to do, 0 when it is late; infinite when nothing is under way."""
        with self._lock:
            if self._outbox:
                return 0.0
            exposure, now_s = self._exposure, self._physics.now()
            if exposure is not None:
                due_s = exposure.frame_begin_s if exposure.pixels is None else exposure.frame_end_s
                return max(0.0, self._physics.wall_s(due_s - now_s))
            if self._initialized_at_s is not None:
                return max(0.0, self._physics.wall_s(self._initialized_at_s - now_s))
            return float("inf")

    def _frame_is_over(self, exposure: _Exposure, pixels: np.ndarray, encoding: str, blob: bytes) -> None:
        stop_ns = int((self._wall.now() - self._armed_at_s) * 1e9)
        start_ns = max(0, stop_ns - int(self._physics.wall_s(exposure.count_time_s) * 1e9))
        if self._is_streaming:
            times = FrameTimes(start_ns, stop_ns, int(exposure.count_time_s * 1e9))
            appendix = str(self._tables["stream/config"]["image_appendix"].value)
            self._outbox.append(stream.image(self._series, self._frames_sent, pixels, encoding, blob, times, appendix))
        self._monitor(pixels)
        self._frames_sent += 1
        exposure.done += 1
        exposure.pixels = None
        if exposure.done < exposure.n and not exposure.is_cancelled:
            return
        if self._triggers_left <= 0 or exposure.is_cancelled:
            self._end_series()
        else:
            self._exposure = None
            self._open_tickets.discard(exposure.ticket)
            self._to("ready")

    def _monitor(self, pixels: np.ndarray) -> None:
        config, status = self._tables["monitor/config"], self._tables["monitor/status"]
        if config["mode"].value != "enabled":
            return
        size = int(str(config["buffer_size"].value))
        if len(self._monitored) >= size:
            status["dropped"].value = int(str(status["dropped"].value)) + 1
            if config["discard_new"].value:
                return
            self._monitored.popleft()
        self._monitored.append(pixels)
        status["buffer_free"].value = size - len(self._monitored)

    def dropped(self) -> None:
        """Note that a message found nobody on the stream."""
        with self._lock:
            row = self._tables["stream/status"]["dropped"]
            row.value = int(str(row.value)) + 1

    # ------------------------------------------------------------------------------------------------ faults

    def power_cycle(self) -> None:
        """Power off and on again: everything as delivered, state na."""
        with self._lock:
            self._start()

    def fail(self, words: str) -> None:
        """Go wrong in the way that `words` name (one of `failures`)."""
        with self._lock:
            if words != "high voltage":
                self._misfortunes.append(words)
                return
            self._end_series()
            self._status["high_voltage/state"].value = "ERROR"
            self._status["error"].value = ["High voltage: current limit exceeded"]
            self._initialized_at_s = None
            self._to("error")

    def close(self) -> None:
        """Let go of the encoder's memory. `step` must not be called any more."""
        self._encoder.close()

    def _sent(self) -> list[Message]:
        """Empty the outbox, what was to befall its messages done to them."""
        messages, self._outbox = self._outbox, []
        if not self._misfortunes:
            return messages
        return [sent for message in messages if (sent := self._befall(message)) is not None]

    def _befall(self, message: Message) -> Message | None:
        kind = "frame" if len(message) >= 4 and b"dimage-1.0" in message[0] else "series end" if b"dseries_end" in message[0] else ""
        words = next((w for w in self._misfortunes if kind and w.endswith(kind)), "")
        if not words:
            return message
        self._misfortunes.remove(words)
        if words.startswith("lose"):
            return None
        blob = message[2]
        if words.startswith("truncate"):
            return [*message[:2], blob[: len(blob) // 2], *message[3:]]
        middle = len(blob) // 2
        return [*message[:2], blob[:middle] + bytes(255 - b for b in blob[middle : middle + 64]) + blob[middle + 64 :], *message[3:]]


def _reply(value: object) -> Reply:
    return Reply(200, json.dumps(value).encode())


def _value(body: bytes) -> object:
    """The value of a PUT's body.

    Raises
    ------
    ApiError
        400 when it is no JSON object with a value.
    """
    try:
        content = json.loads(body)
    except ValueError as error:
        raise ApiError(400, 'The body is no JSON; allowed: {"value": …}') from error
    if not isinstance(content, dict):
        raise ApiError(400, 'The body is no JSON object; allowed: {"value": …}')
    return content.get("value")
