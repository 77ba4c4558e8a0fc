"""Bridge of a Dectris detector: SIMPLON 1.8 over HTTP for control, its ZeroMQ stream for frames, HDF5 for keeping them.

A trigger is complete when its frames are on the disk, not when the detector says that it has taken them. Frames go from the
stream into the file as they came; only the last one of a trigger is decompressed, for its counts and the thumbnail (and
a few per second while a long trigger runs).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from firmware_bridges.controller import BridgeSettings, Controller
from firmware_bridges.frame_file import DetectorFacts, FrameFile, check_path, count, reduce_frame
from firmware_bridges.frames import Frame, SeriesEnd, StreamMessage
from firmware_bridges.link import Endpoint
from firmware_bridges.series import Series, Stream
from firmware_bridges.simplon import REPLY_S, SimplonLine, remaining_s
from firmware_bridges.waits import NEVER, STANDING_S, Wait
from lab.core.channels import DETECTOR, narrow
from lab.core.clock import deadline_s
from lab.core.errors import CommandError, InstrumentError, LinkDown, LinkError, LinkGarbled

log = logging.getLogger(__name__)

HTTP_PORT, STREAM_PORT = 80, 9999

N_TRIGGERS = 10_000
"""Triggers a series may have (detector/config/ntrigger); a staged run needs fewer."""

INITIALIZE_S, ARM_S = 120.0, 30.0
"""Longest initialise and arm on the wall: a large detector loads its calibration."""

STREAM_S = 5.0
"""Longest time from the answer to ``arm`` to the header on the stream, wall seconds."""

SLACK_S = 10.0
"""Added to the duration of an exposure for its deadline, wall seconds."""

STATE_S = 0.25
"""How often the detector's state is looked at while a trigger is pending, wall seconds."""

QUIET_S = 1.0
"""A detector that is ready again and has sent nothing for so long has sent everything, wall seconds."""

GLANCE_S = 0.001
"""The same in virtual time, when it has leapt."""

PREVIEW_S = 0.2
"""Thumbnails at most this often while a trigger runs, wall seconds."""

_ARMED = ("ready", "acquire")


class DetectorController(Controller):
    """A SIMPLON detector behind the channel table DETECTOR."""

    def __init__(self, settings: BridgeSettings, poll_s: float = 0.5) -> None:
        table = narrow(DETECTOR, settings.config.limits, f"instruments.{settings.name}.limits")
        super().__init__(settings.name, {"": table}, poll_s)
        endpoint = Endpoint.parse(settings.endpoint)
        port = endpoint.port or HTTP_PORT
        self._speed = settings.speed
        self._line = SimplonLine(settings.name, endpoint.host, port)
        self._trigger_line = SimplonLine(settings.name, endpoint.host, port)
        self._stream = Stream(settings.name, f"tcp://{endpoint.host}:{endpoint.options.get('stream', STREAM_PORT)}",
                              self._hear, self._garbled)
        self._is_streaming = False
        self._busy = threading.Lock()
        self._series: Series | None = None
        self._path = ""
        self._facts = DetectorFacts("", "", 0.0, 0.0, None, (0.0, 0.0))
        self._readout_s = 0.0
        self._n_images = 1
        self._next_preview_s = 0.0
        self._previewed: Frame | None = None
        self.commands |= {
            "INITIALIZE": lambda _: self._initialize(),
            "COUNT_TIME": self._set_count_time,
            "N_IMAGES": self._set_n_images,
            "FILE": self._set_file,
            "ARM": lambda _: self._arm(),
            "TRIGGER": lambda _: self._trigger(),
            "DISARM": lambda _: self._end("DISARM"),
            "STOP": lambda _: self._end("STOP"),
        }

    # ------------------------------------------------------------------------------------------------- connection

    def _connect(self) -> None:
        state = self._read_state()
        if not self._is_streaming:
            self._stream.start()
            self._is_streaming = True
        if self._series is not None and state not in _ARMED:
            log.warning("%s: series %d has ended while the line was down; detector is %s", self.name, self._series.number or 0, state)
            self._drop_series("the loss of the line")
        elif self._series is None and state in _ARMED:
            log.warning("%s: is %s with a series that nobody listens to; aborting it", self.name, state)
            self._line.command("abort", ARM_S)
        self._read_identity()
        self._read_exposure()
        for key, value in (("FRAMES_SAVED", 0), ("FILE_RBV", ""), ("MEAN_COUNTS", 0.0), ("MAX_COUNTS", 0), ("THUMBNAIL", [0] * 4096)):
            known = self.value(key)
            self.publish(key, value if known is None else known)

    def _disconnect(self) -> None:
        self._stream.stop()
        self._line.close()
        self._trigger_line.close()
        try:
            self._drop_series("the end of the bridge")
        except InstrumentError as error:
            log.error("%s: %s", self.name, error)

    def _poll(self) -> None:
        self._read_state()

    def _read_state(self) -> str:
        state = str(self._line.get("detector", "status", "state"))
        self.publish("STATE", state)
        return state

    def _read_identity(self) -> None:
        description, serial = (str(self._config(key)) for key in ("description", "detector_number"))
        firmware = self._config_or("eiger_fw_version", "") or self._config_or("software_version", "unknown")
        self.publish("IDENTITY", f"{description}, serial {serial}, firmware {firmware}")
        self.publish("WIDTH", self._whole("x_pixels_in_detector"))
        self.publish("HEIGHT", self._whole("y_pixels_in_detector"))

    def _read_exposure(self) -> None:
        count_time_s, frame_time_s = self._number("count_time"), self._number("frame_time")
        energy_ev = self._config_or("photon_energy", None)
        pixel = [self._config_or(key, 0.0) for key in ("x_pixel_size", "y_pixel_size")]
        self._n_images = self._whole("nimages")
        # The detector chooses 8, 16 or 32 bits by itself: the shorter the frame time, the fewer.
        self.publish("PIXEL_TYPE", np.dtype(f"u{self._whole('bit_depth_image') // 8}").newbyteorder("<").str)
        self._readout_s = float(self._config_or("detector_readout_time", 0.0))  # type: ignore[arg-type]
        self._facts = DetectorFacts(
            str(self._config("description")), str(self._config("detector_number")), count_time_s, frame_time_s,
            float(energy_ev) if isinstance(energy_ev, int | float) else None,
            (float(pixel[0]), float(pixel[1])))  # type: ignore[arg-type]
        self.publish("COUNT_TIME_RBV", count_time_s)
        self.publish("N_IMAGES_RBV", self._n_images)

    def _set_up(self) -> None:
        """What this bridge relies on, before each series: an initialised detector has its own defaults, and people have web pages."""
        for subsystem, key, value in (("detector", "trigger_mode", "ints"), ("detector", "ntrigger", N_TRIGGERS),
                                      ("detector", "compression", "bslz4"), ("stream", "mode", "enabled"),
                                      ("stream", "header_detail", "basic")):
            self._line.configure(subsystem, key, value)

    def _config(self, key: str) -> object:
        return self._line.get("detector", "config", key)

    def _config_or(self, key: str, default: object) -> object:
        """A value that not every model has."""
        try:
            return self._config(key)
        except CommandError as error:
            log.debug("%s", error)
            return default

    def _number(self, key: str) -> float:
        value = self._config(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise LinkGarbled(f"{self.name}: {key}: a number expected", reply=repr(value).encode())
        return float(value)

    def _whole(self, key: str) -> int:
        return int(self._number(key))

    # ----------------------------------------------------------------------------------------------------- stream

    def _hear(self, message: StreamMessage) -> None:
        series = self._series
        if series is not None:
            series.hear(message)
        elif not isinstance(message, SeriesEnd):  # the end comes after the file was closed
            log.warning("%s: stream: %s of series %d dropped, nothing is armed", self.name, type(message).__name__, message.series)

    def _garbled(self, error: LinkGarbled) -> None:
        self.note(error)
        series = self._series
        if series is not None:
            series.remark(str(error))

    def _on_saved(self, frame: Frame, n_frames: int) -> None:
        self.publish("FRAMES_SAVED", n_frames)
        if time.monotonic() >= self._next_preview_s:
            try:
                self._preview(frame)
            except LinkGarbled as error:
                self._garbled(error)

    def _preview(self, frame: Frame) -> None:
        pixels = frame.pixels()
        mean, largest = count(pixels)
        self.publish("MEAN_COUNTS", mean)
        self.publish("MAX_COUNTS", min(largest, 2**31 - 1))
        self.publish("THUMBNAIL", reduce_frame(pixels))
        self._previewed = frame
        self._next_preview_s = time.monotonic() + PREVIEW_S

    # --------------------------------------------------------------------------------------------------- commands

    def _initialize(self) -> None:
        with self._alone("INITIALIZE"):
            self._drop_series("INITIALIZE")
            self._await_initialized()
            state = self._read_state()
            if state != "idle":
                raise CommandError(f"{self.name}: is {state} after initialize{self._error_words(state)}")
            self._read_exposure()

    def _await_initialized(self) -> None:
        deadline = time.monotonic() + INITIALIZE_S
        try:
            self._trigger_line.begin("initialize")
            with self.waits.waiting() as wait:
                while not self._trigger_line.is_answered(GLANCE_S if self.waits.is_virtual else STATE_S) and time.monotonic() < deadline:
                    self._look("initialize", wait)
            self._trigger_line.finish(remaining_s(deadline))
        finally:
            self._trigger_line.give_up()

    def _look(self, physical: str, wait: Wait) -> str:
        """The detector's state; in the `physical` one, physics is still at it."""
        epoch = self.waits.epoch
        state = self._read_state()
        wait.not_yet(epoch if state == physical else NEVER)
        return state

    def _set_count_time(self, value: object) -> None:
        count_time_s = float(value)  # type: ignore[arg-type]
        with self._alone("COUNT_TIME"):
            self._refuse_while_armed("COUNT_TIME")
            # In this order: a frame time that is shorter than the count time would shorten the count time again.
            self._line.configure("detector", "count_time", count_time_s)
            self._line.configure("detector", "frame_time", count_time_s + self._readout_s)
            self._read_exposure()
            taken_s = self._facts.count_time_s
            if abs(taken_s - count_time_s) > max(1e-6, 1e-3 * count_time_s):
                raise CommandError(f"{self.name}: COUNT_TIME: given {count_time_s:g} s; the detector took {taken_s:g} s")

    def _set_n_images(self, value: object) -> None:
        with self._alone("N_IMAGES"):
            self._refuse_while_armed("N_IMAGES")
            self._line.configure("detector", "nimages", int(value))  # type: ignore[call-overload]
            self._read_exposure()

    def _set_file(self, value: object) -> None:
        with self._alone("FILE"):
            self._path = check_path(str(value))

    def _arm(self) -> None:
        with self._alone("ARM"):
            self._refuse_while_armed("ARM")
            if not self._path:
                raise CommandError(f"{self.name}: ARM: no FILE given for this series; write FILE first")
            self._check_ready_to_arm()
            shape = (int(self.value("HEIGHT")), int(self.value("WIDTH")))  # type: ignore[call-overload]
            file = FrameFile(self._path, self._facts)
            self._series = Series(self.name, shape, file, self._on_saved)
            try:
                self._begin(self._series)
            except InstrumentError:
                self._drop_series("ARM")
                file.remove()
                raise
            self._path = ""

    def _check_ready_to_arm(self) -> None:
        state = self._read_state()
        if state in _ARMED:  # somebody else's series: it would send frames into ours
            self._line.command("abort", ARM_S)
            state = self._read_state()
        if state != "idle":
            raise CommandError(f"{self.name}: ARM: the detector is {state}, not idle{self._error_words(state)}; INITIALIZE or RESET it")

    def _begin(self, series: Series) -> None:
        self._set_up()
        series.begin(self._line.arm(ARM_S))
        if not series.await_start(STREAM_S):
            self._line.command("disarm", ARM_S)
            raise CommandError(f"{self.name}: ARM: series {series.number} is armed, but its header did not come over "
                               f"{self._stream.address} within {STREAM_S:g} s{series.odd}; check the stream's port and stream/config/mode")
        self.publish("FILE_RBV", series.file.path)
        self.publish("FRAMES_SAVED", 0)
        self._read_state()

    def _trigger(self) -> None:
        with self._alone("TRIGGER"):
            series = self._series
            if series is None:
                raise CommandError(f"{self.name}: TRIGGER: nothing is armed; ARM first")
            end = series.expect(self._n_images)
            try:
                self._trigger_line.begin("trigger")
                with self.waits.waiting() as wait:
                    self._await_trigger(series, end, wait)
            except InstrumentError:
                self._abandon(series)
                raise
            finally:
                self._trigger_line.give_up()
            self._preview_last(series)
            series.sync()
            self._read_state()
            series.check_complete(end)

    def _await_trigger(self, series: Series, end: int, wait: Wait) -> None:
        """Wait for the frames and for the answer to ``trigger``; returns early when no more frames will come."""
        within_s = deadline_s(self._n_images * self._facts.frame_time_s, self._speed, SLACK_S)
        deadline = time.monotonic() + within_s
        is_answered = False
        acquired_s = time.monotonic()
        epoch = NEVER
        while not self._await_frames(series, end, epoch, min(STATE_S, remaining_s(deadline))):
            if not is_answered and self._trigger_line.is_answered():
                self._trigger_line.finish(REPLY_S)
                is_answered = True
            epoch = self.waits.epoch
            state = self._look("acquire", wait)
            if state == "error":
                raise CommandError(f"{self.name}: TRIGGER: the detector went into error{self._error_words(state)}")
            now = time.monotonic()
            if state == "acquire":
                acquired_s = now
            if is_answered and now > max(series.last_arrival_s, acquired_s) + QUIET_S:
                return
            if now > deadline:
                raise CommandError(f"{self.name}: TRIGGER: not all {self._n_images} frames came within {within_s:.3g} s; "
                                   f"the detector is {state}; {series.file.n_frames} frames are in {series.file.path}{series.odd}")
        if not is_answered:
            self._trigger_line.finish(remaining_s(deadline))

    def _await_frames(self, series: Series, end: int, epoch: int, longest_s: float) -> bool:
        """Whether the frames have come; in virtual time, which leapt last at `epoch`, answered as soon as it leaps again."""
        if not self.waits.is_virtual:
            return series.await_frames(end, longest_s)
        ends = time.monotonic() + min(longest_s, STANDING_S)
        while not series.await_frames(end, GLANCE_S):
            if self.waits.epoch != epoch or time.monotonic() >= ends:
                return False
        return True

    def _preview_last(self, series: Series) -> None:
        if series.last_frame is not None and series.last_frame is not self._previewed:
            self._preview(series.last_frame)

    def _abandon(self, series: Series) -> None:
        """After a failed trigger: abort, and close the file with what has arrived, unless somebody else is doing so."""
        if series.is_stopped:
            return
        try:
            self._line.command("abort", ARM_S)
            self._read_state()
        except InstrumentError as error:
            log.error("%s: abort after a failed trigger: %s", self.name, error)
        self._drop_series("a failed trigger")

    def _end(self, who: str) -> None:
        """Disarm or abort, and close the file. A pending trigger fails."""
        series = self._series
        if series is not None:
            series.stop(who)
        try:
            state = self._read_state()
            if state in _ARMED:
                self._line.command("disarm" if who == "DISARM" and state == "ready" else "abort", ARM_S)
                self._read_state()
        finally:
            if not self._busy.acquire(timeout=REPLY_S):
                raise CommandError(f"{self.name}: {who}: another command did not end within {REPLY_S:g} s")
            try:
                self._drop_series(who)
            finally:
                self._busy.release()

    def _drop_series(self, who: str) -> None:
        series, self._series = self._series, None
        if series is not None:
            series.stop(who)
            series.close()

    def _make_safe(self) -> None:
        self._end("SAFE")

    def _reset(self) -> None:
        """A detector in error is initialised again: SIMPLON has no other reset."""
        if not self.is_connected:
            self.poll_soon()
            raise LinkDown(f"{self.name}: not connected: {self.value('LAST_ERROR')}")
        if self._read_state() in ("error", "na"):
            self._initialize()

    def _refuse_while_armed(self, what: str) -> None:
        if self._series is not None:
            raise CommandError(f"{self.name}: {what} refused: series {self._series.number} is armed; DISARM first")

    def _error_words(self, state: str) -> str:
        """What the detector says is wrong (detector/status/error), for a message."""
        if state != "error":
            return ""
        try:
            return f": {self._line.get('detector', 'status', 'error')}"
        except (CommandError, LinkError) as error:
            return f" (it does not say why: {error})"

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise CommandError(f"{self.name}: {what} refused: another command is pending; STOP it first")
        try:
            yield
        finally:
            self._busy.release()


def build(settings: BridgeSettings) -> DetectorController:
    """The controller for an endpoint ``http://host:80?stream=9999``.

    Raises
    ------
    InstrumentError
        When the endpoint is not an HTTP one.
    """
    if not settings.endpoint.startswith("http://"):
        raise InstrumentError(f"{settings.name}: endpoint: given {settings.endpoint!r}; allowed: http://host:80?stream=9999")
    return DetectorController(settings)
