"""What a Dectris detector sends on its ZeroMQ stream: the multipart messages of SIMPLON 1.8, stream version 1.

Parts and their order are those of the SIMPLON API Reference, chapter "Stream": global header, images, end of series. Headers are
JSON; an image is one message of four parts (header, description, blob, times), five with an appendix.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass

import h5py
import hdf5plugin
import numpy as np
from lz4.block import compress as lz4_compress

Message = list[bytes]
"""The parts of one ZeroMQ message."""

_MEMORY_NAMES = itertools.count()
"""HDF5 wants a name even for a file that is never on disk."""


class BitshuffleLz4:
    """Compresses frames of one shape and type as Dectris does it: 12 bytes of header, then bitshuffled LZ4 blocks.

    The header is the size of the raw frame (big-endian uint64) and of a raw block (big-endian uint32), in bytes. It is
    byte for byte the chunk of HDF5's bitshuffle filter (https://github.com/kiyo-masui/bitshuffle), which does the work
    here, on a file that lives in memory only. Not thread-safe.

    Parameters
    ----------
    shape : (int, int)
    dtype : dtype
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype) -> None:
        self._file = h5py.File(f"bitshuffle-{next(_MEMORY_NAMES)}", "w", driver="core", backing_store=False)
        self._dataset = self._file.create_dataset("frame", shape=shape, dtype=dtype, chunks=shape,
                                                  **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"))

    def __call__(self, frame: np.ndarray) -> bytes:
        """Compress one frame."""
        self._dataset[...] = frame
        self._dataset.flush()
        return bytes(self._dataset.id.read_direct_chunk((0, 0))[1])

    def close(self) -> None:
        self._file.close()


class Encoder:
    """Turns frames into blobs, in any of the compressions of the API. Not thread-safe."""

    def __init__(self) -> None:
        self._bitshuffle: tuple[tuple[int, ...], np.dtype, BitshuffleLz4] | None = None

    def __call__(self, frame: np.ndarray, compression: str) -> tuple[str, bytes]:
        """Encode one frame.

        Parameters
        ----------
        frame : ndarray, shape (rows, columns), uint16 or uint32, little-endian
        compression : str
            ``bslz4``, ``lz4`` or ``none``.

        Returns
        -------
        (str, bytes)
            Encoding as the description names it, for instance ``bs16-lz4<``, and the blob.
        """
        if compression == "bslz4":
            return f"bs{8 * frame.itemsize}-lz4<", self._compressor(frame)(frame)
        if compression == "lz4":
            return "lz4<", bytes(lz4_compress(np.ascontiguousarray(frame), store_size=False))
        return "<", frame.tobytes()

    def close(self) -> None:
        if self._bitshuffle is not None:
            self._bitshuffle[2].close()
            self._bitshuffle = None

    def _compressor(self, frame: np.ndarray) -> BitshuffleLz4:
        if self._bitshuffle is None or self._bitshuffle[:2] != (frame.shape, frame.dtype):
            self.close()
            rows, columns = frame.shape
            self._bitshuffle = (frame.shape, frame.dtype, BitshuffleLz4((rows, columns), frame.dtype))
        return self._bitshuffle[2]


@dataclass(frozen=True)
class FrameTimes:
    """When a frame was taken, in ns.

    Parameters
    ----------
    start_ns, stop_ns : int
        Since the series was armed, on the wall.
    real_ns : int
        Exposure, in laboratory time.
    """

    start_ns: int
    stop_ns: int
    real_ns: int


def header(series: int, detail: str, config: Mapping[str, object], shape: tuple[int, int], appendix: str) -> Message:
    """Global header of a series.

    Parameters
    ----------
    detail : str
        ``none``; ``basic`` (with the configuration); ``all`` (with flat field, pixel mask and count rate table too).
    config : mapping
        The detector's configuration.
    shape : (int, int)
        Rows, columns.
    """
    parts = [_json({"htype": "dheader-1.0", "series": series, "header_detail": detail})]
    if detail in ("basic", "all"):
        parts.append(_json(config))
    if detail == "all":
        xy = [shape[1], shape[0]]
        parts += [_json({"htype": "dflatfield-1.0", "shape": xy, "type": "float32"}), np.ones(shape, "<f4").tobytes(),
                  _json({"htype": "dpixelmask-1.0", "shape": xy, "type": "uint32"}), np.zeros(shape, "<u4").tobytes(),
                  _json({"htype": "dcountrate_table-1.0", "shape": [2, 2], "type": "float32"}),
                  np.array([[0.0, 1e6], [0.0, 1e6]], "<f4").tobytes()]
    if appendix:
        parts.append(appendix.encode())
    return parts


def image(series: int, number: int, frame: np.ndarray, encoding: str, blob: bytes, times: FrameTimes, appendix: str) -> Message:
    """One frame: its header, its description, the blob, its times. Shapes are given as columns, rows."""
    rows, columns = frame.shape
    parts = [
        _json({"htype": "dimage-1.0", "series": series, "frame": number, "hash": hashlib.md5(blob, usedforsecurity=False).hexdigest()}),
        _json({"htype": "dimage_d-1.0", "shape": [columns, rows], "type": frame.dtype.name, "encoding": encoding, "size": len(blob)}),
        blob,
        _json({"htype": "dconfig-1.0", "start_time": times.start_ns, "stop_time": times.stop_ns, "real_time": times.real_ns}),
    ]
    if appendix:
        parts.append(appendix.encode())
    return parts


def end(series: int) -> Message:
    """End of a series."""
    return [_json({"htype": "dseries_end-1.0", "series": series})]


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Outbox:
    """Messages about to leave, and what may befall them: faults of the data path, each once.

    `MISFORTUNES` lists them.
    """

    MISFORTUNES = ("lose frame", "corrupt frame", "truncate frame", "lose series end")

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._due: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._messages)

    def put(self, message: Message) -> None:
        self._messages.append(message)

    def expect(self, misfortune: str) -> None:
        """Let one of `MISFORTUNES` befall the next message of its kind."""
        self._due.append(misfortune)

    def clear(self) -> None:
        self._messages.clear()

    def take(self) -> list[Message]:
        """All that leave now."""
        messages, self._messages = self._messages, []
        return [left for message in messages if (left := self._befall(message))]

    def _befall(self, message: Message) -> Message:
        kind = _kind(message)
        words = next((words for words in self._due if kind and words.endswith(kind)), "")
        if not words:
            return message
        self._due.remove(words)
        if words.startswith("lose"):
            return []
        blob, middle = message[2], len(message[2]) // 2
        if words.startswith("truncate"):
            return [*message[:2], blob[:middle], *message[3:]]
        return [*message[:2], blob[:middle] + bytes(255 - b for b in blob[middle : middle + 64]) + blob[middle + 64 :], *message[3:]]


def _kind(message: Message) -> str:
    kinds = {"dimage-1.0": "frame", "dseries_end-1.0": "series end"}
    return kinds.get(str(json.loads(message[0]).get("htype")), "")
