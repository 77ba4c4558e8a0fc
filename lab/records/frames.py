"""The frames that the documents of a run point to: HDF5 files, read back and summed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import h5py
import hdf5plugin  # noqa: F401  registers the bitshuffle-LZ4 filter with HDF5
import numpy as np

from lab.core.errors import SampleError
from lab.records.documents import Document

HDF5 = "application/x-hdf5"

COUNT_TIME = "/entry/instrument/detector/count_time"
"""Exposure of a frame in seconds, where NeXus puts it (NXdetector)."""

MAX_MASKED = 0.2
"""Largest share of pixels without a valid count. Module gaps of large Eigers take 8 %."""


@dataclass(frozen=True)
class FrameSum:
    """All frames of a run.

    Parameters
    ----------
    counts : ndarray, shape (rows, columns), float64
        Sum over the frames; 0 where masked.
    is_masked : ndarray, shape (rows, columns), bool
        Pixels that held no valid count in at least one frame.
    means : ndarray, shape (n,)
        Mean counts per unmasked pixel of each frame.
    exposure_s : float or None
        Of one frame, laboratory seconds, as the file has it; None when it does not tell.
    """

    counts: np.ndarray
    is_masked: np.ndarray
    means: np.ndarray
    exposure_s: float | None

    @property
    def n_frames(self) -> int:
        return len(self.means)

    @property
    def n_pixels(self) -> int:
        """Unmasked ones."""
        return int(self.counts.size - np.count_nonzero(self.is_masked))

    @property
    def total(self) -> float:
        """Counts in all unmasked pixels of all frames."""
        return float(self.counts.sum())


@dataclass(frozen=True)
class _Reference:
    """Rows `begin` to `end` of a dataset."""

    path: Path
    dataset: str
    begin: int
    end: int


def frame_sum(documents: Sequence[Document], folder: Path | None = None) -> FrameSum:
    """Read and sum the frames of a run.

    Parameters
    ----------
    documents : sequence of (name, document)
    folder : Path or None
        Where files are looked for that are not where the documents say: the laboratory's home may have moved, disk and all.

    Raises
    ------
    SampleError
        When the documents name no frames, or the frames cannot be read, are not alike, or are mostly masked.
    """
    references = _references(documents, folder)
    if not references:
        raise SampleError("no frames: the run's documents point to no HDF5 frames; was the detector triggered?")
    counts: np.ndarray | None = None
    is_masked: np.ndarray | None = None
    frames: list[np.ndarray] = []
    exposure_s: float | None = None
    for reference in references:
        exposure_s, found = _read(reference)
        for frame in found:
            if counts is None or is_masked is None:
                counts, is_masked = np.zeros(frame.shape), np.zeros(frame.shape, bool)
            if frame.shape != counts.shape:
                raise SampleError(f"frames of {frame.shape} and {counts.shape} pixels in one run")
            counts += frame
            # What the pixel mask excludes, and what overflowed, holds the largest value (SIMPLON 1.8, pixel_mask_applied).
            if frame.dtype.kind == "u":
                is_masked |= frame == np.iinfo(frame.dtype).max
            frames.append(frame)
    if counts is None or is_masked is None:
        raise SampleError("no frames: the run's documents point to no row of the file")
    n_masked = int(np.count_nonzero(is_masked))
    if n_masked > MAX_MASKED * counts.size:
        raise SampleError(f"{n_masked} of {counts.size} pixels are masked or overflowed; expose shorter, or look at the detector's mask")
    counts[is_masked] = 0.0
    means = np.array([frame.mean(where=~is_masked, dtype=float) for frame in frames])
    return FrameSum(counts, is_masked, means, exposure_s)


def _references(documents: Sequence[Document], folder: Path | None) -> list[_Reference]:
    """Which rows of which datasets the run's stream datums point to, in their order."""
    resources: dict[str, Mapping[str, Any]] = {}
    shapes: dict[tuple[str, str], Sequence[int]] = {}
    found = []
    for name, doc in documents:
        if name == "descriptor":
            for key, data_key in doc["data_keys"].items():
                shapes[doc["uid"], key] = data_key.get("shape", ())
        elif name == "stream_resource" and doc.get("mimetype") == HDF5:
            resources[doc["uid"]] = doc
        elif name == "stream_datum" and doc["stream_resource"] in resources:
            resource = resources[doc["stream_resource"]]
            # A data key of shape (n, rows, columns) has n rows of the dataset for each index.
            shape = shapes.get((doc["descriptor"], resource["data_key"]), ())
            n = int(shape[0]) if len(shape) == 3 else 1
            indices = doc["indices"]
            path = Path(unquote(urlparse(resource["uri"]).path))
            if folder is not None and not path.exists() and (folder / path.name).exists():
                path = folder / path.name
            found.append(_Reference(path, resource["parameters"]["dataset"], indices["start"] * n, indices["stop"] * n))
    return found


def _read(reference: _Reference) -> tuple[float | None, list[np.ndarray]]:
    where = f"{reference.path}: {reference.dataset}"
    try:
        # No lock: the bridge may still hold the file open; it has flushed what the documents point to.
        with h5py.File(reference.path, "r", locking=False) as file:
            dataset = file[reference.dataset]
            if dataset.shape[0] < reference.end:
                raise SampleError(f"frames: {where} has {dataset.shape[0]} frames; the documents point to {reference.end}")
            exposure_s = float(file[COUNT_TIME][()]) if COUNT_TIME in file else None
            return exposure_s, [dataset[row] for row in range(reference.begin, reference.end)]
    except (OSError, KeyError) as error:
        raise SampleError(f"frames: {where} cannot be read: {error}") from error
