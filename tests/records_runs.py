"""Runs as a detector and the RunEngine would make them, for the tests of the records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from event_model import compose_run

DATASET = "/entry/data/data"


def write_frames(path: Path, frames: np.ndarray, count_time_s: float | None = 2.0) -> Path:
    """An HDF5 file as the detector's bridge writes it: shape (n, rows, columns), bitshuffle-LZ4, a frame to a chunk."""
    with h5py.File(path, "x", libver="earliest") as file:
        file.create_dataset(DATASET, data=frames, chunks=(1, *frames.shape[1:]), **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"))
        if count_time_s is not None:
            file["/entry/instrument/detector/count_time"] = count_time_s
    return path


def documents_of(path: Path, n_frames: int, shape: tuple[int, int], n_events: int = 1, **metadata: Any) -> list[tuple[str, dict[str, Any]]]:
    """The documents of a run with `n_events` readings of `n_frames` frames each, a temperature and a thumbnail beside them."""
    run = compose_run(metadata=metadata)
    data_keys = {
        "detector_image": {"source": "PV:IMAGE", "dtype": "array", "shape": [n_frames, *shape], "dtype_numpy": "<u2", "external": "STREAM:"},
        "temperature": {"source": "PV:T", "dtype": "number", "shape": []},
        "thumbnail": {"source": "PV:THUMB", "dtype": "array", "shape": [16], "dtype_numpy": "<u2"},
    }
    descriptor = run.compose_descriptor(name="primary", data_keys=data_keys)
    resource = run.compose_stream_resource(mimetype="application/x-hdf5", uri=f"file://localhost{path}", data_key="detector_image",
                                           parameters={"dataset": DATASET, "chunk_shape": (1, *shape)})
    documents: list[tuple[str, Any]] = [("start", run.start_doc), ("descriptor", descriptor.descriptor_doc),
                                        ("stream_resource", resource.stream_resource_doc)]
    for n in range(n_events):
        documents.append(("stream_datum", resource.compose_stream_datum(
            indices={"start": n, "stop": n + 1}, seq_nums={"start": n + 1, "stop": n + 2}, descriptor=descriptor.descriptor_doc)))
        documents.append(("event", descriptor.compose_event(
            data={"temperature": np.float64(99.5), "thumbnail": np.arange(16, dtype="u2")},
            timestamps={"temperature": 1.0, "thumbnail": 1.0}, filled={}, validate=False)))
    documents.append(("stop", run.compose_stop()))
    return [(name, dict(doc)) for name, doc in documents]
