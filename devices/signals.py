"""Signals over Channel Access that never hide a failure (classic Ophyd over pyepics).

- A *reading* in INVALID alarm, or from a bridge that is gone, raises; it is never a default.
- A *command* (`Command`: setpoint or action) fails its status with the words that the bridge left in ``X:ERR``: a put-callback tells a client
  of no failure, so ``X:ERR`` is fetched over the network after each completion, in ophyd's dispatcher thread (blocking
  calls are forbidden in pyepics' own callback thread).
- A channel has one put on its way at a time. A second one would hold up its whole circuit in the server (rsrv's
  write_notify_action waits for the first), a STOP on another channel included; so it waits here, or is refused.
- When the bridge dies, commands that wait for it fail at once with LinkDown.

Every timeout is given explicitly; ophyd ignores its defaults in places (ophyd #925, #966, #1242).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import ExitStack
from typing import Any

import numpy as np
from ophyd import EpicsSignal, EpicsSignalRO  # before epics

from epics import ca  # isort: skip
from epics.ca import CASeverityException, ChannelAccessException, ChannelAccessGetFailure  # isort: skip

from devices import timekeeping
from devices.statuses import OperationStatus
from lab.core.channels import ERROR_SUFFIX, Channel
from lab.core.errors import CommandError, InstrumentError, LimitError, LinkDown, LinkTimeout, from_words

CONNECT_S = 2.0
"""Longest wait for a PV to appear."""

READ_S = 2.0
"""Longest wait for the network to answer a get."""

ANSWER_S = 10.0
"""Longest wait for the error text of a command that the bridge has finished with: on a busy machine `READ_S` is not always enough."""

COMMAND_S = 15.0
"""Deadline of a command that takes no physical time: several retries of the bridge on a bad line."""

_INVALID = 3

_CIRCUIT_DIED = (ChannelAccessException, ChannelAccessGetFailure, CASeverityException)
"""What pyepics raises when a bridge goes while it is asked; the three have no base of their own."""


class _Failing:
    """What readings and commands share: how they say that there is no valid value."""

    name: str
    parent: Any
    has_been_connected = False

    def _checked(self, info: dict[str, Any]) -> Any:
        if info.get("severity") == _INVALID:
            raise InstrumentError(f"{self.name}: no valid reading: {_cause(self.parent)}")
        return info["value"]


class Reading(_Failing, EpicsSignalRO):
    """A read-only channel, monitored.

    Parameters
    ----------
    read_pv : str
    is_text : bool
        A long string: a waveform of UTF-8 bytes.
    string : bool
        Read an enum by the name of its state.
    """

    def __init__(self, read_pv: str, *, is_text: bool = False, **kwargs: Any) -> None:
        self._is_text = is_text
        kwargs.setdefault("auto_monitor", True)
        super().__init__(read_pv, timeout=READ_S, connection_timeout=CONNECT_S, **kwargs)

    def get(self, *, use_monitor: bool | None = None, connection_timeout: float = CONNECT_S, **_: Any) -> Any:
        """The value.

        Parameters
        ----------
        use_monitor : bool, optional
            False fetches it over the network instead of taking the last monitored one; in virtual time that is the default.

        Raises
        ------
        LinkDown
            The bridge is not there.
        LinkTimeout
            The bridge does not answer.
        InstrumentError
            The channel is INVALID; with the bridge's cause.
        """
        return self._value_of(_fetch(self, self._read_pv, use_monitor, connection_timeout))

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = super().describe()
        if self._is_text:
            found[self.name].update(dtype="string", shape=[])
        return found

    def _value_of(self, info: dict[str, Any]) -> Any:
        value = self._checked(info)
        return text_of(value) if self._is_text else value

    def _pv_connected(self, pvname: str, conn: bool, pv: Any) -> None:
        _forget_value(pv, conn)
        self.has_been_connected |= conn
        super()._pv_connected(pvname, conn, pv)

    def _read_changed(self, value: Any = None, **kwargs: Any) -> None:
        # Subscribers get text as text, too.
        if self._is_text:
            value = text_of(value)
            kwargs.pop("char_value", None)
        super()._read_changed(value=value, **kwargs)


class Command(_Failing, EpicsSignal):
    """A writable channel: its status says whether the command was carried out.

    Parameters
    ----------
    read_pv : str
        What reading it returns: the readback. For an action or a channel without one, the written channel itself.
    write_pv : str, optional
        The channel; `read_pv` when left out.
    deadline_s : float
        Wall seconds a put may take unless ``set`` is given a timeout.
    is_exclusive : bool
        Refuse a command while the bridge carries one out, rather than sending it afterwards: a second dose, a move after a STOP.
    """

    def __init__(self, read_pv: str, write_pv: str | None = None, *, deadline_s: float = COMMAND_S, is_text: bool = False,
                 is_exclusive: bool = False, **kwargs: Any) -> None:
        self._deadline_s = deadline_s
        self._is_text = is_text
        self._is_exclusive = is_exclusive
        self._turns = threading.Lock()
        self._sent: OperationStatus | None = None
        self._asked: dict[OperationStatus, ExitStack] = {}
        self._waiting: deque[tuple[OperationStatus, Any]] = deque()
        self.channel: Channel | None = None
        """The row of the channel table; when a device sets it, values are refused before they are sent."""
        kwargs.setdefault("auto_monitor", True)
        super().__init__(read_pv, write_pv, put_complete=True, timeout=READ_S, write_timeout=deadline_s,
                         connection_timeout=CONNECT_S, **kwargs)
        self._error_pv = self.cl.get_pv(self.setpoint_pvname + ERROR_SUFFIX, auto_monitor=False)
        self._error_pv._reference_count += 1

    def get(self, *, use_monitor: bool | None = None, connection_timeout: float = CONNECT_S, **_: Any) -> Any:
        """The readback; raises as `Reading.get` does."""
        value = self._checked(_fetch(self, self._read_pv, use_monitor, connection_timeout))
        return text_of(value) if self._is_text else value

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = super().describe()
        if self._is_text:
            found[self.name].update(dtype="string", shape=[])
        return found

    def set(self, value: Any = 1, *, timeout: float | None = None, settle_time: float | None = None) -> OperationStatus:
        """Send a command.

        Parameters
        ----------
        value : object
            Any value will do for an action.
        timeout : float, optional
            Wall seconds.

        Returns
        -------
        OperationStatus
            Fails with LimitError (nothing was sent to the instrument), CommandError (in the instrument's words),
            or a LinkError.
        """
        deadline_s = self._deadline_s if timeout is None else timeout
        status = OperationStatus(self, f"{self.name} = {value!r}", deadline_s)
        try:
            self.check_value(value)
            _connect(self, CONNECT_S)
            if not self._error_pv.wait_for_connection(timeout=CONNECT_S):
                raise self._gone()
            has_turn = self._take_turn(status, value)
        except InstrumentError as error:
            status.fail(error)
            return status
        if has_turn:
            self._send(status, value)
        return status

    def put(self, value: Any, *args: Any, wait: bool = True, timeout: float | None = None, **kwargs: Any) -> None:
        """Send a command and wait for it; raises what ``set`` fails with."""
        self.set(value, timeout=timeout).wait()

    def check_value(self, value: Any) -> None:
        """Refuse what the channel table forbids (once the device has set `channel`).

        Raises
        ------
        LimitError
        """
        if self.channel is not None:
            self.channel.check(value, self.parent.name if self.parent is not None else self.name)
        elif value is None:
            raise LimitError(f"{self.name}: given None; allowed: a value")

    def wait_for_connection(self, timeout: float = CONNECT_S) -> None:
        """Wait for the channel, its readback and its error text.

        Raises
        ------
        TimeoutError
        """
        super().wait_for_connection(timeout=timeout)
        if not self._error_pv.wait_for_connection(timeout=timeout):
            raise TimeoutError(f"{self._error_pv.pvname} could not connect within {timeout:g} s")

    def destroy(self) -> None:
        self.cl.release_pvs(self._error_pv)
        super().destroy()

    # A command takes its turn, is sent and completed by the bridge; then it is asked how it went, the next one has its turn, and
    # the status reports. In this order, so that whoever hears of the end can give the next command.

    def _take_turn(self, status: OperationStatus, value: Any) -> bool:
        with self._turns:
            if self._sent is None:
                self._sent = status
                return True
            if self._is_exclusive:
                raise CommandError(f"{self.name}: refused: the last one is still going on")
            self._waiting.append((status, value))
            return False

    def _send(self, status: OperationStatus, value: Any) -> None:
        asked = self._asked[status] = ExitStack()
        asked.enter_context(timekeeping.clock().asking())
        try:
            sent = self._write_pv.put(self._to_wire(value), use_complete=True, timeout=CONNECT_S,  # else ten years, for a circuit that has just died
                                      callback=lambda **_: self._completed(status))
        except _CIRCUIT_DIED as error:
            self._report(status, LinkDown(f"{self.name}: could not be sent: {error}"))
        else:
            if sent is None:
                self._report(status, LinkDown(f"{self.name}: could not be sent: the bridge is gone"))

    def _completed(self, status: OperationStatus) -> None:
        """In ophyd's get_put thread: the bridge has finished with the command, or is gone."""
        try:
            error = self._how_it_went()
        except LinkTimeout:
            # Ask again elsewhere: in this thread the completions of all other commands would wait for the answer.
            self.cl.get_dispatcher().schedule_utility_task(self._insist, status, time.monotonic() + ANSWER_S)
        else:
            self._report(status, error)

    def _insist(self, status: OperationStatus, ends: float) -> None:
        while True:
            try:
                error = self._how_it_went()
            except LinkTimeout as silence:
                if time.monotonic() < ends and not status.done:
                    continue
                error = silence
            self._report(status, error)
            return

    @property
    def asked(self) -> bool:
        """Whether the bridge has a command of this channel under way."""
        return bool(self._asked)

    def _has_answered(self, status: OperationStatus) -> None:
        """No process carries the command out any more."""
        asked = self._asked.pop(status, None)
        if asked is not None:
            asked.close()

    def _how_it_went(self) -> InstrumentError | None:
        """What the bridge says of the command that it has finished with; None when all is well.

        Raises
        ------
        LinkTimeout
            When it does not say.
        """
        if self._destroyed or not (self._write_pv.connected and self._error_pv.connected):
            return self._gone()
        raw = _over_the_network(self._error_pv)
        if raw is None:
            raise LinkTimeout(f"{self.name}: the bridge has finished with it, but does not answer for {self._error_pv.pvname}; "
                              "what the instrument did is not known")
        words = text_of(raw)
        if not words and self._read_pv is not self._write_pv:
            # The readback's monitor may come after the completion; whoever reads next shall see what was set.
            _over_the_network(self._read_pv)
        return from_words(words) if words else None

    def _report(self, status: OperationStatus, error: InstrumentError | None) -> None:
        with timekeeping.clock().working():
            self._next_turn(status)
            if error is None:
                status.succeed()
            else:
                status.fail(error)
            self._has_answered(status)

    def _next_turn(self, status: OperationStatus) -> None:
        while True:
            with self._turns:
                if self._sent is not status:
                    return  # the bridge has died meanwhile, and with it all turns
                following = self._waiting.popleft() if self._waiting else None
                self._sent = following[0] if following is not None else None
            if following is None:
                return
            status, value = following
            if not status.done:
                self._send(status, value)
                return

    def _pv_connected(self, pvname: str, conn: bool, pv: Any) -> None:
        _forget_value(pv, conn)
        self.has_been_connected |= conn
        super()._pv_connected(pvname, conn, pv)
        if not conn:
            with self._turns:
                pending = [status for status, _ in self._waiting]
                if self._sent is not None:
                    pending.append(self._sent)
                self._sent = None
                self._waiting.clear()
            for status in pending:
                status.fail(self._gone())
                self._has_answered(status)

    def _gone(self) -> LinkDown:
        return LinkDown(f"{self.name}: the bridge that serves {self.setpoint_pvname} is gone; what the instrument did is not known")

    def _to_wire(self, value: Any) -> Any:
        if self._is_text:
            return np.frombuffer(str(value).encode() + b"\0", dtype=np.uint8)
        return int(value) if isinstance(value, bool) else value


def text_of(raw: Any) -> str:
    """The text in a waveform of UTF-8 bytes, up to its first NUL."""
    if isinstance(raw, str):
        return raw
    data = np.atleast_1d(np.asarray(raw)).astype(np.uint8).tobytes()
    return data.partition(b"\0")[0].decode(errors="replace")


def _forget_value(pv: Any, is_connected: bool) -> None:
    """After a disconnection pyepics would serve the last monitored value until the first new one: forget it."""
    if not is_connected:
        pv._args["value"] = None


def _connect(signal: Any, timeout_s: float) -> None:
    """Wait for a channel that has not appeared yet. One that is gone is not waited for: its coming back takes libca some seconds."""
    if signal.connected:
        return
    try:
        if signal.has_been_connected:
            raise TimeoutError(f"{signal.pvname} is gone")
        signal.wait_for_connection(timeout=timeout_s)
    except TimeoutError as error:
        raise LinkDown(f"{signal.name}: no bridge serves {signal.pvname}; start it, or see its log") from error


def _over_the_network(pv: Any) -> Any:
    """A PV's value asked anew; None when the bridge does not answer. A circuit that has just died raises, or keeps silent."""
    try:
        value = pv.get(timeout=READ_S, use_monitor=False)
    except _CIRCUIT_DIED:
        return None
    if value is None:
        _forget_question(pv)
    return value


def _forget_question(pv: Any) -> None:
    """Let the next get ask anew: pyepics takes a question for open until its answer comes, and one that was lost would be waited for for ever."""
    entry = ca.get_cache(pv.pvname)
    if entry is not None:
        with entry.lock:
            entry.get_results.clear()


def _fetch(signal: Any, pv: Any, use_monitor: bool | None, timeout_s: float) -> dict[str, Any]:
    """Value and alarm severity of a PV."""
    _connect(signal, timeout_s)
    try:
        info: dict[str, Any] | None = pv.get_with_metadata(
            timeout=READ_S, form="time", as_string=False, use_monitor=not timekeeping.is_virtual() if use_monitor is None else use_monitor)
    except _CIRCUIT_DIED as error:
        raise LinkDown(f"{signal.name}: the bridge that serves {pv.pvname} is gone: {error}") from error
    if info is None:
        _forget_question(pv)
        if not pv.connected:  # its circuit died while the answer was waited for
            raise LinkDown(f"{signal.name}: the bridge that serves {pv.pvname} is gone")
        raise LinkTimeout(f"{signal.name}: the bridge did not answer for {pv.pvname} within {READ_S:g} s")
    if signal.enum_strs and signal.as_string:
        info["value"] = signal.enum_strs[int(info["value"])]
    return info


def _cause(device: Any) -> str:
    """The cause that the bridge of a signal's device gives, asked of the nearest ancestor that knows."""
    while device is not None:
        cause = getattr(device, "cause", None)
        if callable(cause):
            return str(cause())
        device = device.parent
    return "no cause given"


