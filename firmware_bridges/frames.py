"""The SIMPLON stream, sans-IO: multipart messages in, headers, frames and series ends out, each one checked.

Source: DECTRIS *SIMPLON API Reference* 1.8, chapter "Stream" (legacy stream). One multipart message is

- start of a series: ``{"htype": "dheader-1.0", "series", "header_detail"}``, with detail ``basic`` followed by the detector's
  configuration as one JSON part (and an appendix, if one was configured);
- an image: ``{"htype": "dimage-1.0", "series", "frame", "hash"}`` (MD5 of the blob), ``{"htype": "dimage_d-1.0", "shape": [x, y], "type",
  "encoding", "size"}``, the blob, ``{"htype": "dconfig-1.0", "start_time", "stop_time", "real_time"}`` in nanoseconds
  (and an appendix);
- end of a series: ``{"htype": "dseries_end-1.0", "series"}``.

A blob of encoding ``bs16-lz4<`` begins with 12 bytes: uncompressed size (big-endian uint64) and block size in bytes (big-endian
uint32). That is byte for byte what HDF5's bitshuffle filter 32008 stores in a chunk, so a frame goes to disk as it came.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from dectris.compression import decompress

from lab.core.errors import LinkGarbled

PIXEL_TYPES: dict[str, np.dtype] = {"uint8": np.dtype("<u1"), "uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
"""``type`` of dimage_d-1.0 -> pixels in memory (``<`` of the encoding: little-endian)."""

_ENCODING = re.compile(r"bs(8|16|32)-lz4<")
_MD5 = re.compile(r"[0-9a-f]{32}")
_BLOB_HEADER = struct.Struct(">QI")


@dataclass(frozen=True)
class SeriesStart:
    """A series was armed; `config` is the detector's own configuration (empty for header_detail ``none``)."""

    series: int
    config: Mapping[str, object]


@dataclass(frozen=True)
class SeriesEnd:
    """A series has ended: all triggers done, or disarmed, or aborted."""

    series: int


@dataclass(frozen=True)
class Frame:
    """One image, still compressed.

    Parameters
    ----------
    series, number : int
        Series id; frame number from 0 over all triggers of the series.
    shape : (int, int)
        Rows, columns.
    pixel : numpy.dtype
        Type of a pixel.
    blob : bytes
        The compressed image, its 12-byte header included.
    start_ns, stop_ns, real_ns : int
        Start and end of the exposure since the beginning of the series, and its duration, ns.
    """

    series: int
    number: int
    shape: tuple[int, int]
    pixel: np.dtype
    blob: bytes
    start_ns: int
    stop_ns: int
    real_ns: int

    def pixels(self) -> np.ndarray:
        """The image, shape (rows, columns).

        Raises
        ------
        LinkGarbled
            When the blob does not decompress to as many bytes as it says.
        """
        try:
            raw = decompress(self.blob, "bslz4", elem_size=self.pixel.itemsize)
        except (ValueError, RuntimeError) as error:
            raise LinkGarbled(f"detector: frame {self.number} of series {self.series} does not decompress: {error}",
                              reply=self.blob[:16]) from error
        return np.frombuffer(raw, self.pixel).reshape(self.shape)


StreamMessage = SeriesStart | Frame | SeriesEnd


def decode(parts: Sequence[bytes]) -> StreamMessage:
    """One multipart message of the stream.

    Raises
    ------
    LinkGarbled
        When a part is missing, is not JSON where JSON has to be, or does not fit the others; with the part that is wrong.
    """
    head = _json(parts, 0)
    match head.get("htype"):
        case "dheader-1.0":
            detail = head.get("header_detail")
            if detail not in ("none", "basic", "all"):
                raise _garbled("header_detail", detail, "none, basic or all", parts)
            return SeriesStart(_integer(head, "series", parts), {} if detail == "none" else _json(parts, 1))
        case "dimage-1.0":
            return _frame(head, parts)
        case "dseries_end-1.0":
            return SeriesEnd(_integer(head, "series", parts))
        case other:
            raise _garbled("htype", other, "dheader-1.0, dimage-1.0 or dseries_end-1.0", parts)


def _frame(head: Mapping[str, object], parts: Sequence[bytes]) -> Frame:
    if len(parts) not in (4, 5):
        raise _garbled("number of parts", len(parts), "4, or 5 with an appendix", parts)
    image, times = _json(parts, 1), _json(parts, 3)
    for header, htype in ((image, "dimage_d-1.0"), (times, "dconfig-1.0")):
        if header.get("htype") != htype:
            raise _garbled("htype", header.get("htype"), htype, parts)
    blob = bytes(parts[2])
    pixel = PIXEL_TYPES.get(str(image.get("type")))
    if pixel is None:
        raise _garbled("type", image.get("type"), ", ".join(PIXEL_TYPES), parts)
    shape = image.get("shape")
    if not (isinstance(shape, list) and len(shape) == 2 and all(isinstance(s, int) and s > 0 for s in shape)):
        raise _garbled("shape", shape, "[x, y], two positive integers", parts)
    start_ns, stop_ns, real_ns = (_integer(times, key, parts) for key in ("start_time", "stop_time", "real_time"))
    frame = Frame(_integer(head, "series", parts), _integer(head, "frame", parts), (shape[1], shape[0]), pixel, blob,
                  start_ns, stop_ns, real_ns)
    _check_blob(frame, image, head.get("hash"), parts)
    return frame


def _check_blob(frame: Frame, image: Mapping[str, object], announced: object, parts: Sequence[bytes]) -> None:
    encoding = re.fullmatch(_ENCODING, str(image.get("encoding")))
    if encoding is None or int(encoding[1]) != 8 * frame.pixel.itemsize:
        raise _garbled("encoding", image.get("encoding"), f"bs{8 * frame.pixel.itemsize}-lz4< (detector/config/compression bslz4)", parts)
    if len(frame.blob) != image.get("size"):
        raise _garbled("size of the blob", len(frame.blob), f"{image.get('size')} bytes as announced", parts)
    expected = frame.shape[0] * frame.shape[1] * frame.pixel.itemsize
    if len(frame.blob) < _BLOB_HEADER.size or _BLOB_HEADER.unpack_from(frame.blob)[0] != expected:
        raise _garbled("blob", frame.blob[:12].hex(), f"a header announcing {expected} bytes", parts)
    # Neither LZ4 nor ZeroMQ notices a flipped bit. A hash that is no MD5 (switched off) is not checked.
    if _MD5.fullmatch(str(announced)) and hashlib.md5(frame.blob, usedforsecurity=False).hexdigest() != announced:
        raise _garbled("hash", announced, "the MD5 of the blob; it was damaged on its way", parts)


def _json(parts: Sequence[bytes], index: int) -> dict[str, object]:
    if index >= len(parts):
        raise _garbled("number of parts", len(parts), f"at least {index + 1}", parts)
    try:
        value = json.loads(bytes(parts[index]))
    except ValueError as error:
        raise _garbled(f"part {index}", bytes(parts[index][:40]), "a JSON object", parts) from error
    if not isinstance(value, dict):
        raise _garbled(f"part {index}", value, "a JSON object", parts)
    return value


def _integer(header: Mapping[str, object], key: str, parts: Sequence[bytes]) -> int:
    value = header.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _garbled(key, value, "a whole number, 0 or more", parts)
    return value


def _garbled(what: str, given: object, allowed: str, parts: Sequence[bytes]) -> LinkGarbled:
    return LinkGarbled(f"detector: stream: {what}: given {given!r}; allowed: {allowed}", reply=bytes(parts[0][:200]) if parts else b"")
