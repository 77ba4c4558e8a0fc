"""The monitor of the SIMPLON API: a small buffer of the newest frames, each given as a TIFF file."""

from __future__ import annotations

import struct
from collections import deque

import numpy as np

from sim.register import ApiError, Register

_SHORT, _LONG = 3, 4


def tiff(frame: np.ndarray) -> bytes:
    """Encode one frame.

    Parameters
    ----------
    frame : ndarray, shape (rows, columns), uint16 or uint32

    Notes
    -----
    TIFF 6.0 (Adobe, 1992), section 2 and 4: little-endian header, the pixels, one directory with the required fields
    of a greyscale image.
    """
    rows, columns = frame.shape
    pixels = frame.astype(frame.dtype.newbyteorder("<")).tobytes()
    fields = [(256, _LONG, columns), (257, _LONG, rows), (258, _SHORT, 8 * frame.itemsize), (259, _SHORT, 1), (262, _SHORT, 1),
              (273, _LONG, 8), (277, _SHORT, 1), (278, _LONG, rows), (279, _LONG, len(pixels)), (339, _SHORT, 1)]
    directory = struct.pack("<H", len(fields))
    directory += b"".join(struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in fields)
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + directory + struct.pack("<I", 0)


class Monitor:
    """Keeps the newest frames while ``monitor/config/mode`` is enabled.

    Parameters
    ----------
    register : Register
    """

    def __init__(self, register: Register) -> None:
        self._register = register
        self._frames: deque[np.ndarray] = deque()

    def add(self, frame: np.ndarray) -> None:
        """Keep a frame; a full buffer drops its oldest one, or with ``discard_new`` this one."""
        if self._register.text("monitor/config", "mode") != "enabled":
            return
        size = int(self._register.number("monitor/config", "buffer_size"))
        if len(self._frames) >= size:
            self._register.add("monitor/status", "dropped", 1)
            if self._register["monitor/config"]["discard_new"].value:
                return
            self._frames.popleft()
        self._frames.append(frame)
        self._count()

    def clear(self) -> None:
        self._frames.clear()
        self._count()

    def indices(self) -> list[int]:
        """Numbers of the frames in the buffer."""
        return list(range(len(self._frames)))

    def image(self, key: str) -> bytes:
        """``monitor``: the newest frame; ``next``: the oldest, once.

        Raises
        ------
        ApiError
            404 for another key, 408 when there is no frame.
        """
        if key not in ("monitor", "next"):
            raise ApiError(404, f"No image {key}")
        if not self._frames:
            raise ApiError(408, "No image in the buffer")
        frame = self._frames[-1] if key == "monitor" else self._frames.popleft()
        self._count()
        return tiff(frame)

    def _count(self) -> None:
        size = int(self._register.number("monitor/config", "buffer_size"))
        self._register.put("monitor/status", "buffer_free", max(0, size - len(self._frames)))
