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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import numpy as np

from lab.core.clock import Clock
from lab.core.config import Geometry
from sim import stream
from sim.monitor import Monitor
from sim.register import ApiError
from sim.simplon_parameters import READOUT_S, power_on, settle, stream_config, stream_status
from sim.stream import FrameTimes, Message, Outbox

VERSION = "1.8.0"

INITIALIZE_S = 2.0
"""How long initialize takes, laboratory seconds."""

CONFIG, STATUS = "detector/config", "detector/status"


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
    """The frames of one trigger. Times are laboratory seconds."""

    frames: Iterator[np.ndarray]
    n: int
    begin_s: float
    count_time_s: float
    frame_time_s: float
    ticket: int
    n_done: int = 0
    pixels: np.ndarray | None = None
    is_cancelled: bool = False

    @property
    def frame_begin_s(self) -> float:
        return self.begin_s + self.n_done * self.frame_time_s

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

    failures: Sequence[str] = ("high voltage", *Outbox.MISFORTUNES)
    """``high voltage`` brings the error state; the others befall the next message of their kind on the stream."""

    def __init__(self, geometry: Geometry, physics: Clock, wall: Clock, scene: Scene) -> None:
        self._geometry, self._physics, self._wall, self._scene = geometry, physics, wall, scene
        self._lock = threading.RLock()
        self._encoder = stream.Encoder()
        self._outbox = Outbox()
        self._series = self._last_ticket = 0
        self._commands: dict[str, Callable[[object], Reply]] = {
            "detector/initialize": self._initialize, "detector/arm": self._arm, "detector/trigger": self._trigger,
            "detector/disarm": self._disarm, "detector/cancel": self._cancel, "detector/abort": self._disarm,
            "detector/check_connection": self._nothing, "detector/hv_reset": self._hv_reset,
            "stream/initialize": self._stream_initialize, "monitor/initialize": self._monitor_clear,
            "monitor/clear": self._monitor_clear, "filewriter/initialize": self._nothing, "filewriter/clear": self._nothing,
            "system/restart": self._restart,
        }
        self._power_on()

    def _power_on(self) -> None:
        self._register = power_on(self._geometry)
        self._monitor = Monitor(self._register)
        self._outbox.clear()
        self._open_tickets: set[int] = set()
        self._initialized_at_s: float | None = None
        self._exposure: _Exposure | None = None
        self._n_triggers_left = self._n_frames = 0
        self._armed_at_s = 0.0

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
                return self._route(method, [part for part in path.partition("?")[0].split("/") if part], body)
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
            return Reply(200, self._monitor.image(key), "application/tiff") if key else _reply(self._monitor.indices())
        table = f"{subsystem}/{task}"
        if not self._register.has(table, key):
            raise ApiError(404, f"No parameter /{'/'.join(parts)}")
        if method == "PUT":
            return self._put(table, key, body)
        if (table, key) == (STATUS, "time"):
            self._register.put(STATUS, "time", datetime.now(UTC).isoformat())
        return _reply(self._register.describe(table, key))

    def _put(self, table: str, key: str, body: bytes) -> Reply:
        if table == CONFIG and self._state != "idle":
            raise ApiError(400, f"Parameter {key} cannot be set while the detector is in state {self._state}, only in idle")
        before = self._register.values(table)
        self._register.take(table, key, _value(body))
        if table == CONFIG:
            return _reply(settle(self._register, key, before, self._scene.bit_depth))
        if (table, key) == ("stream/config", "mode"):
            self._register.put("stream/status", "state", "ready" if self._is_streaming else "disabled")
        return _reply([key])

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
        self._register.put(STATUS, "error", [])
        self._initialized_at_s = self._physics.now() + INITIALIZE_S
        return Reply(200, ticket=self._ticket())

    def _finish_initialize(self) -> None:
        if self._initialized_at_s is not None and self._physics.now() >= self._initialized_at_s:
            self._initialized_at_s = None
            self._to("idle")
            self._open_tickets.clear()

    def _arm(self, argument: object) -> Reply:
        self._needs("arm", "idle")
        self._to("configure")
        self._series += 1
        self._n_frames = 0
        self._n_triggers_left = int(self._register.number(CONFIG, "ntrigger"))
        self._armed_at_s = self._wall.now()
        self._register.put(CONFIG, "data_collection_date", datetime.now(UTC).isoformat())
        if self._is_streaming:
            self._register.put("stream/status", "state", "acquire")
            self._outbox.put(stream.header(self._series, self._register.text("stream/config", "header_detail"),
                                           self._register.values(CONFIG), self._geometry.shape,
                                           self._register.text("stream/config", "header_appendix")))
        self._to("ready")
        return _reply({"sequence id": self._series})

    def _trigger(self, argument: object) -> Reply:
        self._needs("trigger", "ready")
        mode = self._register.text(CONFIG, "trigger_mode")
        count_time_s, frame_time_s = (self._register.number(CONFIG, key) for key in ("count_time", "frame_time"))
        n = int(self._register.number(CONFIG, "nimages"))
        if mode == "inte" and isinstance(argument, (int, float)) and argument > 0:
            count_time_s, frame_time_s, n = float(argument), float(argument) + READOUT_S, 1
        elif mode not in ("ints", "inte"):
            raise ApiError(400, f"In trigger mode {mode} the detector waits for its trigger input")
        self._n_triggers_left -= 1
        self._to("acquire")
        begin_s = self._physics.now() + self._register.number(CONFIG, "trigger_start_delay")
        self._exposure = _Exposure(self._scene.expose(count_time_s, n), n, begin_s, count_time_s, frame_time_s, self._ticket())
        return Reply(200, ticket=self._exposure.ticket)

    def _disarm(self, argument: object) -> Reply:
        self._needs("disarm", "idle", "ready", "acquire")
        self._end_series()
        return _reply({"sequence id": self._series})

    def _cancel(self, argument: object) -> Reply:
        """Stop after the frame that is being taken."""
        self._needs("cancel", "idle", "ready", "acquire")
        if self._exposure is not None:
            self._exposure.is_cancelled = True
        else:
            self._end_series()
        return _reply({"sequence id": self._series})

    def _nothing(self, argument: object) -> Reply:
        return Reply(200)

    def _hv_reset(self, argument: object) -> Reply:
        self._register.put(STATUS, "high_voltage/state", "READY")
        return Reply(200)

    def _stream_initialize(self, argument: object) -> Reply:
        self._register["stream/config"].update(stream_config())
        self._register["stream/status"].update(stream_status())
        return Reply(200)

    def _restart(self, argument: object) -> Reply:
        self.power_cycle()
        return Reply(200)

    def _monitor_clear(self, argument: object) -> Reply:
        self._monitor.clear()
        return Reply(200)

    # ------------------------------------------------------------------------------------------------ states

    @property
    def _is_streaming(self) -> bool:
        return self._register.text("stream/config", "mode") == "enabled"

    @property
    def _state(self) -> str:
        return self._register.text(STATUS, "state")

    def _to(self, state: str) -> None:
        self._register.put(STATUS, "state", state)

    def _needs(self, command: str, *states: str) -> None:
        if self._state not in states:
            raise ApiError(400, f"Command {command} is not allowed in state {self._state}, only in {', '.join(states)}")

    def _ticket(self) -> int:
        self._last_ticket += 1
        self._open_tickets.add(self._last_ticket)
        return self._last_ticket

    def _end_series(self) -> None:
        """Leave ready or acquire for idle; a trigger that is under way answers."""
        was_armed = self._state in ("ready", "acquire")
        self._exposure = None
        self._open_tickets.clear()
        if was_armed:
            self._to("idle")
            if self._is_streaming:
                self._register.put("stream/status", "state", "ready")
                self._outbox.put(stream.end(self._series))

    # ---------------------------------------------------------------------------------------------- exposure

    def step(self) -> list[Message]:
        """Bring everything up to the clocks' time; return what goes out on the stream, at most one frame at a time."""
        with self._lock:
            self._finish_initialize()
            exposure = self._exposure
            compression = self._register.text(CONFIG, "compression")
            if exposure is None or self._physics.now() < exposure.frame_begin_s:
                return self._outbox.take()
        # Making and encoding a frame takes milliseconds, and requests are to be answered meanwhile.
        if exposure.pixels is None:
            exposure.pixels = next(exposure.frames)
        if self._physics.now() >= exposure.frame_end_s:
            encoding, blob = self._encoder(exposure.pixels, compression)
            with self._lock:
                if exposure is self._exposure:
                    self._finish_frame(exposure, exposure.pixels, encoding, blob)
        with self._lock:
            return self._outbox.take()

    def wait_s(self) -> float:
        """Wall seconds until `step` has something to do, 0 when it is late; infinite when nothing is under way."""
        return self._physics.wall_s(self.due_s())

    def due_s(self) -> float:
        """The same in laboratory seconds."""
        with self._lock:
            if self._outbox:
                return 0.0
            exposure = self._exposure
            if exposure is not None:
                at_s = exposure.frame_begin_s if exposure.pixels is None else exposure.frame_end_s
            elif self._initialized_at_s is not None:
                at_s = self._initialized_at_s
            else:
                return float("inf")
            return max(0.0, at_s - self._physics.now())

    def _finish_frame(self, exposure: _Exposure, pixels: np.ndarray, encoding: str, blob: bytes) -> None:
        if self._is_streaming:
            stop_ns = int((self._wall.now() - self._armed_at_s) * 1e9)
            start_ns = max(0, stop_ns - int(self._physics.wall_s(exposure.count_time_s) * 1e9))
            times = FrameTimes(start_ns, stop_ns, round(exposure.count_time_s * 1e9))
            appendix = self._register.text("stream/config", "image_appendix")
            self._outbox.put(stream.image(self._series, self._n_frames, pixels, encoding, blob, times, appendix))
        self._monitor.add(pixels)
        self._n_frames += 1
        exposure.n_done += 1
        exposure.pixels = None
        if exposure.n_done < exposure.n and not exposure.is_cancelled:
            return
        if self._n_triggers_left <= 0 or exposure.is_cancelled:
            self._end_series()
        else:
            self._exposure = None
            self._open_tickets.discard(exposure.ticket)
            self._to("ready")

    def dropped(self) -> None:
        """Note that a message found nobody on the stream."""
        with self._lock:
            self._register.add("stream/status", "dropped", 1)

    # ------------------------------------------------------------------------------------------------ faults

    def power_cycle(self) -> None:
        """Power off and on again: everything as delivered, state na."""
        with self._lock:
            self._power_on()

    def fail(self, words: str) -> None:
        """Go wrong in the way that `words` name (one of `failures`)."""
        with self._lock:
            if words in Outbox.MISFORTUNES:
                self._outbox.expect(words)
                return
            self._end_series()
            self._initialized_at_s = None
            self._register.put(STATUS, "high_voltage/state", "ERROR")
            self._register.put(STATUS, "error", ["High voltage: current limit exceeded"])
            self._to("error")

    def close(self) -> None:
        """Let go of the encoder's memory. `step` must not be called any more."""
        self._encoder.close()


def _reply(value: object) -> Reply:
    return Reply(200, json.dumps(value).encode())


def _value(body: bytes) -> object:
    """The value of a PUT's body.

    Raises
    ------
    ApiError
        400 when it is no JSON object.
    """
    try:
        content = json.loads(body)
    except ValueError as error:
        raise ApiError(400, 'The body is no JSON; allowed: {"value": …}') from error
    if not isinstance(content, dict):
        raise ApiError(400, 'The body is no JSON object; allowed: {"value": …}')
    return content.get("value")
