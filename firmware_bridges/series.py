"""A series that is armed: its frames, checked one after another, on their way from the stream to the file."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import zmq

from firmware_bridges.frame_file import FrameFile
from firmware_bridges.frames import Frame, SeriesEnd, SeriesStart, StreamMessage, decode
from lab.core.errors import CommandError, InstrumentError, LinkGarbled

log = logging.getLogger(__name__)

_N_REMARKS = 5


class Series:
    """Frames of one armed series.

    `hear` runs in the stream's thread, everything else in those of the commands. The header can overtake the answer to
    ``arm``: until `begin` tells the series' number, messages are kept and not judged.

    Parameters
    ----------
    name : str
        The instrument's name; messages start with it.
    shape : (int, int)
        Rows, columns of its frames.
    file : FrameFile
        Open; closed by `close`.
    on_saved : callable
        Called in the stream's thread with each frame and the number of frames in the file.
    """

    def __init__(self, name: str, shape: tuple[int, int], file: FrameFile, on_saved: Callable[[Frame, int], None]) -> None:
        self.name, self.shape, self.file = name, shape, file
        self.number: int | None = None
        self.last_frame: Frame | None = None
        self.last_arrival_s = time.monotonic()
        self._on_saved = on_saved
        self._changed = threading.Condition()
        self._early: list[StreamMessage] = []
        self._next_number = 0
        self._is_announced = self._is_ended = self._is_closed = False
        self._failure: InstrumentError | None = None
        self._stopped_by = ""
        self._missing: list[str] = []
        self._remarks: list[str] = []

    # ----------------------------------------------------------------------------------------- the stream's thread

    def hear(self, message: StreamMessage) -> None:
        """Take a message of the stream: save it, or remark why not."""
        with self._changed:
            if self.number is None:
                self._early.append(message)
            elif not self._is_closed:
                self._judge(message, self.number)
                self._changed.notify_all()

    def remark(self, words: str) -> None:
        """Something odd on the stream; it is told with the failure that may follow from it."""
        log.warning("%s: stream: %s", self.name, words)
        with self._changed:
            self._remarks = [*self._remarks, words][-_N_REMARKS:]

    def _judge(self, message: StreamMessage, number: int) -> None:
        if message.series != number:
            self.remark(f"{type(message).__name__} of series {message.series} refused, series {number} is armed")
        elif isinstance(message, SeriesStart):
            self._is_announced = True
        elif isinstance(message, SeriesEnd):
            self._is_ended = True
        else:
            self._take(message)

    def _take(self, frame: Frame) -> None:
        if frame.number < self._next_number:
            self.remark(f"frame {frame.number} refused, it came before")
            return
        if frame.shape != self.shape:
            self._fail(CommandError(f"{self.name}: frame {frame.number} has {frame.shape} pixels; the detector has {self.shape}"))
            return
        if frame.number > self._next_number:
            self._miss(self._next_number, frame.number)
        try:
            self.file.append(frame)
        except InstrumentError as error:
            self._fail(error)
            return
        self._next_number = frame.number + 1
        self.last_frame, self.last_arrival_s = frame, time.monotonic()
        self._on_saved(frame, self.file.n_frames)

    def _miss(self, first: int, end: int) -> None:
        words = f"frame {first}" if end == first + 1 else f"frames {first}..{end - 1}"
        self._missing.append(words)
        log.warning("%s: series %d: %s missing", self.name, self.number, words)

    def _fail(self, error: InstrumentError) -> None:
        self._failure = self._failure or error
        log.error("%s: series %d: %s", self.name, self.number, error)

    # ----------------------------------------------------------------------------------------------- the commands

    def begin(self, number: int) -> None:
        """The detector has armed and given the series its number."""
        with self._changed:
            self.number = number
            for message in self._early:
                self._judge(message, number)
            self._early.clear()

    def await_start(self, deadline_s: float) -> bool:
        """Whether the stream has announced the series in time: it is connected, and it is enabled."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_announced, deadline_s)

    def expect(self, n_images: int) -> int:
        """A trigger begins; returns the frame number at which it will be complete."""
        with self._changed:
            self._missing.clear()
            self._remarks.clear()
            self.last_arrival_s = time.monotonic()
            return self._next_number + n_images

    def await_frames(self, end: int, deadline_s: float) -> bool:
        """Wait until all frames before number `end` have come; False at the deadline.

        Raises
        ------
        CommandError
            Stopped, ended too early, or a frame could not be saved.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._next_number >= end or self._is_over, deadline_s)
            if self._stopped_by:
                raise CommandError(f"{self.name}: TRIGGER was ended by {self._stopped_by}; {self.file.n_frames} frames are in {self.file.path}")
            if self._failure is not None:
                raise self._failure
            if self._next_number < end and self._is_ended:
                raise CommandError(f"{self.name}: the detector ended series {self.number} before all its frames came{self.odd}")
            return self._next_number >= end

    def check_complete(self, end: int) -> None:
        """All frames of a trigger are in the file, none is missing.

        Raises
        ------
        CommandError
            Naming the missing ones; what arrived is kept.
        """
        with self._changed:
            if self._next_number < end:
                self._miss(self._next_number, end)
                self._next_number = end
            if self._missing:
                raise CommandError(f"{self.name}: {', '.join(self._missing)} of series {self.number} never came; the others are "
                                   f"in {self.file.path}{self.odd}")

    def sync(self) -> None:
        """Bring what has arrived to the disk."""
        with self._changed:
            if not self._is_closed:
                self.file.sync()

    def stop(self, who: str) -> None:
        """A pending trigger fails; said by whom."""
        with self._changed:
            self._stopped_by = self._stopped_by or who
            self._changed.notify_all()

    def close(self) -> None:
        """Close the file; later frames are dropped."""
        with self._changed:
            self._is_closed = True
            self.file.close()

    @property
    def is_stopped(self) -> bool:
        """Whether somebody has ended it."""
        return bool(self._stopped_by)

    @property
    def _is_over(self) -> bool:
        return bool(self._stopped_by) or self._failure is not None or self._is_ended

    @property
    def odd(self) -> str:
        """Remarks on the stream since the trigger began, for a message."""
        return f" ({'; '.join(self._remarks)})" if self._remarks else ""


class Stream:
    """The receiving end of the detector's ZeroMQ stream, in a thread of its own. ZeroMQ reconnects by itself.

    Parameters
    ----------
    name, address : str
        The instrument's name; ``tcp://host:9999``.
    on_message : callable
    on_garbled : callable
        Called with what could not be understood.
    """

    def __init__(self, name: str, address: str, on_message: Callable[[StreamMessage], None],
                 on_garbled: Callable[[LinkGarbled], None]) -> None:
        self.address = address
        self._on_message, self._on_garbled = on_message, on_garbled
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name} stream", daemon=True)

    def start(self) -> None:
        """Begin to connect and receive."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. May be called again."""
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.PULL) as puller:
            puller.linger = 0
            puller.reconnect_ivl, puller.reconnect_ivl_max = 10, 2000
            puller.connect(self.address)
            while not self._is_stopping.is_set():
                if not puller.poll(200):
                    continue
                try:
                    message = decode(puller.recv_multipart())
                except LinkGarbled as error:
                    self._on_garbled(error)
                else:
                    self._on_message(message)
