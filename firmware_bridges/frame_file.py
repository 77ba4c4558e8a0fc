"""The HDF5 file of one series: frames as they came from the detector, NeXus-style metadata beside them.

The file is written in HDF5's oldest layout and without a file lock, so that once `sync` has returned another process can open and
read it while the series goes on. (SWMR would forbid attributes and groups being added after the first frame.)
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from firmware_bridges.frames import Frame
from lab.core.errors import CommandError

DATASET = "/entry/data/data"
"""Frames, shape (n, rows, columns), one frame to a chunk, bitshuffle-LZ4."""

_PER_FRAME = ("start_time", "stop_time", "real_time", "frame_number")


@dataclass(frozen=True)
class DetectorFacts:
    """What the file says of the detector and the exposure.

    Parameters
    ----------
    description, serial : str
    count_time_s, frame_time_s : float
        Laboratory seconds.
    energy_ev : float or None
    pixel_size_m : (float, float)
        x, y.
    """

    description: str
    serial: str
    count_time_s: float
    frame_time_s: float
    energy_ev: float | None
    pixel_size_m: tuple[float, float]


class FrameFile:
    """A file that does not exist yet, opened for one series.

    Parameters
    ----------
    path : str
        Absolute; its folder is created.
    facts : DetectorFacts

    Raises
    ------
    CommandError
        When the path is not absolute, exists, or cannot be written; with the system's words.
    """

    def __init__(self, path: str, facts: DetectorFacts) -> None:
        self.path = check_path(path)
        self.n_frames = 0
        self._dataset: h5py.Dataset | None = None
        self._columns: list[h5py.Dataset] = []
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._file = h5py.File(path, "x", libver="earliest", locking=False)
            self._lay_out(facts)
            self.sync()
        except OSError as error:
            raise CommandError(f"detector: FILE {path} cannot be written: {_words(error)}") from error

    def append(self, frame: Frame) -> None:
        """Write one frame, compressed as it is.

        Raises
        ------
        CommandError
            When the disk refuses, or the frame is not shaped like the ones before it.
        """
        try:
            dataset = self._dataset if self._dataset is not None else self._begin(frame)
            if dataset.shape[1:] != frame.shape or dataset.dtype != frame.pixel:
                raise CommandError(f"detector: frame {frame.number} is {frame.shape} {frame.pixel}; {self.path} holds "
                                   f"{dataset.shape[1:]} {dataset.dtype}")
            n = self.n_frames
            dataset.resize(n + 1, axis=0)
            dataset.id.write_direct_chunk((n, 0, 0), frame.blob)
            for column, value in zip(self._columns, (frame.start_ns * 1e-9, frame.stop_ns * 1e-9, frame.real_ns * 1e-9,
                                                     frame.number), strict=True):
                column.resize(n + 1, axis=0)
                column[n] = value
            self.n_frames = n + 1
        except (OSError, RuntimeError) as error:
            raise CommandError(f"detector: frame {frame.number} cannot be written to {self.path}: {_words(error)}") from error

    def sync(self) -> None:
        """Put everything written so far on the disk.

        Raises
        ------
        CommandError
            When the disk refuses.
        """
        try:
            self._file.flush()
            os.fsync(self._file.id.get_vfd_handle())
        except (OSError, RuntimeError) as error:
            raise CommandError(f"detector: {self.path} cannot be brought to disk: {_words(error)}") from error

    def close(self) -> None:
        """Bring to disk and close. May be called again."""
        if not self._file.id.valid:
            return
        try:
            self.sync()
        finally:
            self._file.close()

    def remove(self) -> None:
        """Close, and delete the file when it holds no frame."""
        self.close()
        if self.n_frames == 0:
            Path(self.path).unlink(missing_ok=True)

    def _lay_out(self, facts: DetectorFacts) -> None:
        entry = _group(self._file, "entry", "NXentry", default="data")
        self._file.attrs["default"] = "entry"
        _group(entry, "data", "NXdata", signal="data")
        detector = _group(_group(entry, "instrument", "NXinstrument"), "detector", "NXdetector")
        _put(detector, {"description": facts.description, "detector_number": facts.serial})
        _put(detector, {"count_time": facts.count_time_s, "frame_time": facts.frame_time_s}, unit="s")
        _put(detector, {"x_pixel_size": facts.pixel_size_m[0], "y_pixel_size": facts.pixel_size_m[1]}, unit="m")
        if facts.energy_ev is not None:
            beam = _group(entry["instrument"], "beam", "NXbeam")
            _put(beam, {"incident_energy": facts.energy_ev}, unit="eV")
        for name in _PER_FRAME:
            is_time = name != "frame_number"
            column = detector.create_dataset(name, shape=(0,), maxshape=(None,), chunks=(1024,), dtype="f8" if is_time else "u4")
            if is_time:
                column.attrs["units"] = "s"
            self._columns.append(column)

    def _begin(self, frame: Frame) -> h5py.Dataset:
        """The dataset is made for the first frame: only then is its pixel type known for certain."""
        self._dataset = self._file.create_dataset(
            DATASET, shape=(0, *frame.shape), maxshape=(None, *frame.shape), chunks=(1, *frame.shape), dtype=frame.pixel,
            **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"))
        self._dataset.attrs["units"] = "counts"
        return self._dataset


def check_path(path: str) -> str:
    """The path, when a series may be written to it.

    Raises
    ------
    CommandError
        Naming what is wrong with it.
    """
    if not os.path.isabs(path):
        raise CommandError(f"detector: FILE: given {path!r}; allowed: an absolute path")
    if os.path.exists(path):
        raise CommandError(f"detector: FILE: {path} exists already; frames are never overwritten, choose another name")
    return path


def _words(error: OSError | RuntimeError) -> str:
    number = getattr(error, "errno", None)
    return f"{os.strerror(number)} ({errno.errorcode.get(number, number)})" if number else str(error)


def _group(parent: h5py.Group, name: str, nx_class: str, **attributes: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    group.attrs.update(attributes)
    return group


def _put(group: h5py.Group, values: Mapping[str, float | str], unit: str = "") -> None:
    for name, value in values.items():
        dataset = group.create_dataset(name, data=value)
        if unit:
            dataset.attrs["units"] = unit


def reduce_frame(pixels: np.ndarray, size: int = 64) -> np.ndarray:
    """A thumbnail: the brightest pixel of each block, so that a thin ring stays visible.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns)
    size : int
        Rows and columns of the thumbnail.

    Returns
    -------
    ndarray, shape (size * size,), uint16
        Row by row; larger counts are cut at 65535. Smaller frames are repeated.
    """
    rows = np.linspace(0, pixels.shape[0], size, endpoint=False).astype(int)
    columns = np.linspace(0, pixels.shape[1], size, endpoint=False).astype(int)
    reduced = np.maximum.reduceat(np.maximum.reduceat(pixels, rows, axis=0), columns, axis=1)
    return np.minimum(reduced, 65535).astype(np.uint16).ravel()


def count(pixels: np.ndarray) -> tuple[float, int]:
    """Mean and largest counts, without masked pixels.

    A pixel that the mask excludes, or that is dead, holds the largest value of its type (SIMPLON 1.8, pixel_mask_applied).
    """
    good = pixels[pixels != np.iinfo(pixels.dtype).max]
    return (float(good.mean()), int(good.max())) if good.size else (0.0, 0)
