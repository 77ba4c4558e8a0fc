"""A controller's channels as EPICS records (softioc), one IOC per process.

Every writable channel is a *blocking* record: a put with callback completes when the command has been carried out.
Commands run in worker threads, one for each writable channel at most, so that a STOP never waits behind a DISPENSE.
``X:ERR`` is set before the record of ``X`` completes; both go through the same queue of the IOC, so it also arrives first.

No DRVL/DRVH: they would clamp a value in silence. `Channel.check` refuses it in words instead.

Import this module in the process that serves the IOC only, and after EPICS_CA_SERVER_PORT is in the environment:
softioc starts EPICS at import.
"""

from __future__ import annotations

import ctypes
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from softioc import alarm, builder, softioc
from softioc.imports import dbCore

from firmware_bridges.controller import Controller
from lab.core.channels import ERROR_LENGTH, ERROR_SUFFIX, Channel
from lab.core.errors import InstrumentError, to_words

log = logging.getLogger(__name__)


class Ioc:
    """Serves one controller.

    Parameters
    ----------
    prefix : str
        Everything before the channel key, for instance ``LAB:pump:``.
    controller : Controller
        Not started yet.
    """

    def __init__(self, prefix: str, controller: Controller) -> None:
        self._prefix = prefix
        self._controller = controller
        self._readings: dict[str, Any] = {}
        self._errors: dict[str, Any] = {}

    def start(self) -> None:
        """Create the records, start EPICS, publish everything known. Once per process."""
        for key, channel in self._controller.channels.items():
            if channel.is_writable:
                self._errors[key] = builder.longStringIn(self._prefix + key + ERROR_SUFFIX, length=ERROR_LENGTH)
                _write_record(self._prefix + key, channel, self._on_put(key, channel))
            else:
                self._readings[key] = _read_record(self._prefix + key, channel)
        builder.LoadDatabase()
        _leave_memory_unlocked()
        softioc.iocInit(_Workers(len(self._errors)), enable_pva=False)
        self._controller.subscribe(self._on_news)

    def _on_put(self, key: str, channel: Channel) -> Callable[[Any], None]:
        def carry_out(raw: Any) -> None:
            words = f"CommandError: {key}: the bridge failed in a way nobody foresaw; see its log"
            try:
                self._controller.execute(key, _from_record(raw, channel))
                words = ""
            except InstrumentError as error:
                words = to_words(error)
                log.warning("%s%s: %s", self._prefix, key, words)
            finally:
                self._errors[key].set(_cut(words, ERROR_LENGTH))

        return carry_out

    def _on_news(self, key: str, value: object, cause: str) -> None:
        record, channel = self._readings[key], self._controller.channels[key]
        if cause:
            if value is not None:
                record.set(_to_record(value, channel), severity=alarm.INVALID_ALARM, alarm=alarm.COMM_ALARM)
            else:
                record.set_alarm(alarm.INVALID_ALARM, alarm.COMM_ALARM)
        else:
            record.set(_to_record(value, channel), severity=alarm.NO_ALARM, alarm=alarm.NO_ALARM)


class _Workers:
    """softioc's dispatcher: each put is carried out in a thread of its own, kept for the next one.

    Not a ThreadPoolExecutor, because the interpreter waits for that one's threads at exit, and one of them may be
    waiting for a pump.
    """

    def __init__(self, n: int) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[..., Any], Sequence[Any], Callable[..., Any] | None, Sequence[Any]]] = queue.SimpleQueue()
        for i in range(n):
            threading.Thread(target=self._work, name=f"command {i}", daemon=True).start()

    def __call__(self, func: Callable[..., Any], func_args: Sequence[Any] = (), completion: Callable[..., Any] | None = None,
                 completion_args: Sequence[Any] = ()) -> None:
        self._jobs.put((func, func_args, completion, completion_args))

    def _work(self) -> None:
        while True:
            func, func_args, completion, completion_args = self._jobs.get()
            try:
                func(*func_args)
            except Exception:  # noqa: BLE001 - a defect in a command must neither kill the worker nor hang the client for ever
                log.exception("defect while carrying out a command")
            finally:
                if completion is not None:
                    completion(*completion_args)


def _read_record(name: str, channel: Channel) -> Any:
    number = {"EGU": channel.unit[:15], "DESC": channel.doc[:40]}
    if channel.type == "float":
        return builder.aIn(name, PREC=channel.precision, LOPR=channel.low, HOPR=channel.high, **number)
    if channel.type == "int":
        return builder.longIn(name, LOPR=channel.low, HOPR=channel.high, **number)
    if channel.type == "bool":
        return builder.boolIn(name, ZNAM="no", ONAM="yes", DESC=channel.doc[:40])
    if channel.type == "enum":
        return builder.mbbIn(name, *channel.choices, DESC=channel.doc[:40])
    if channel.type == "text":
        return builder.longStringIn(name, length=channel.length, DESC=channel.doc[:40])
    datatype = "uint16" if channel.type == "image" else "float64"
    return builder.WaveformIn(name, datatype=datatype, length=channel.length, **number)


def _write_record(name: str, channel: Channel, on_put: Callable[[Any], None]) -> Any:
    common: Mapping[str, Any] = {"on_update": on_put, "always_update": True, "blocking": True, "DESC": channel.doc[:40]}
    if channel.type == "float":
        return builder.aOut(name, initial_value=0.0, EGU=channel.unit[:15], PREC=channel.precision, LOPR=channel.low,
                            HOPR=channel.high, **common)
    if channel.type == "int":
        return builder.longOut(name, initial_value=0, EGU=channel.unit[:15], LOPR=_whole(channel.low), HOPR=_whole(channel.high), **common)
    if channel.type in ("bool", "action"):
        return builder.boolOut(name, initial_value=0, ZNAM="no", ONAM="yes", **common)
    if channel.type == "enum":
        return builder.mbbOut(name, *channel.choices, initial_value=0, **common)
    if channel.type == "text":
        return builder.longStringOut(name, length=channel.length, **common)
    return builder.WaveformOut(name, initial_value=[0.0] * channel.length, length=channel.length, EGU=channel.unit[:15], **common)


def _from_record(raw: Any, channel: Channel) -> object:
    if channel.type == "enum":
        return channel.choices[int(raw)] if int(raw) < len(channel.choices) else int(raw)
    if channel.type in ("bool", "action"):
        return bool(raw)
    if channel.type == "vector":
        return tuple(float(element) for element in raw)
    return raw


def _to_record(value: object, channel: Channel) -> Any:
    if channel.type == "enum":
        return channel.choices.index(str(value))
    if channel.type == "text":
        return _cut(str(value), channel.length)
    if channel.type in ("bool", "int"):
        return int(value)  # type: ignore[call-overload]
    return value


def _cut(text: str, length: int) -> str:
    """As much of a text as fits into a waveform of `length` bytes with its final NUL."""
    raw = text.encode()
    return text if len(raw) < length else raw[: length - 4].decode(errors="ignore") + "..."


def _whole(limit: float | None) -> int | None:
    return None if limit is None else int(limit)


def _leave_memory_unlocked() -> None:
    """Have iocInit not lock this process into memory.

    Where it may (as root, or with CAP_IPC_LOCK) EPICS calls mlockall, which makes the whole stack of each of some 40 threads
    resident: 330 MB a bridge instead of 70. A bridge has no real-time duty that paging could spoil.
    Source: EPICS 7 release notes, "dbThreadRealtimeLock".
    """
    ctypes.c_int.in_dll(dbCore, "dbThreadRealtimeLock").value = 0
