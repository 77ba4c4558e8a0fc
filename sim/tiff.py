"""A frame as a TIFF file: one uncompressed greyscale image, as the SIMPLON monitor gives it."""

from __future__ import annotations

import struct

import numpy as np

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
