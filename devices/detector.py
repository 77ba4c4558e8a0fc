"""The area detector: frames stay in its bridge's HDF5 files; the documents say where."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from event_model import compose_stream_resource
from ophyd import Component, Kind

from devices.instrument import BridgedDevice
from devices.signals import Command, Reading
from devices.statuses import OperationStatus, Steps, follow
from lab.core.channels import DETECTOR, by_name, narrow
from lab.core.clock import deadline_s
from lab.core.config import DetectorConfig
from lab.core.errors import CommandError, InstrumentError

DATASET = "/entry/data/data"
"""Where the bridge puts the frames, shape (n, rows, columns), one frame to a chunk."""

ARM_S, DISARM_S, INITIALIZE_S = 60.0, 60.0, 180.0
"""Nets under arming, disarming and initialising, wall seconds; the bridge's own deadlines come first."""

EXPOSURE_SLACK_S = 60.0
"""Added to the duration of an exposure for the net under a trigger, wall seconds."""

Document = tuple[str, dict[str, Any]]


class Detector(BridgedDevice):
    """A SIMPLON detector behind its bridge; implements `lab.core.capabilities.Detector`.

    ``stage`` opens the file given by `set_file` and arms; each ``trigger`` adds its frames to the file and is one index of
    its StreamDatum documents; ``unstage`` disarms and closes the file.

    Parameters
    ----------
    prefix : str
        PV prefix with its colon: ``f"{lab.prefix}{name}:"``.
    name : str
    speed : float
        Laboratory seconds per wall second; for deadlines.
    config : DetectorConfig, optional
        The detector's part of lab.yaml: its limits are checked before anything is sent.
    """

    state = Component(Reading, "STATE", is_text=True, kind=Kind.omitted)
    count_time = Component(Command, "COUNT_TIME_RBV", write_pv="COUNT_TIME", kind=Kind.normal)
    n_images = Component(Command, "N_IMAGES_RBV", write_pv="N_IMAGES", kind=Kind.config)
    file = Component(Command, "FILE_RBV", write_pv="FILE", is_text=True, kind=Kind.omitted)
    frames_saved = Component(Reading, "FRAMES_SAVED", kind=Kind.omitted)
    width = Component(Reading, "WIDTH", kind=Kind.config)
    height = Component(Reading, "HEIGHT", kind=Kind.config)
    pixel_type = Component(Reading, "PIXEL_TYPE", is_text=True, kind=Kind.omitted)
    mean_counts = Component(Reading, "MEAN_COUNTS", kind=Kind.hinted)
    max_counts = Component(Reading, "MAX_COUNTS", kind=Kind.normal)
    thumbnail = Component(Reading, "THUMBNAIL", kind=Kind.omitted)
    initialize = Component(Command, "INITIALIZE", deadline_s=INITIALIZE_S, kind=Kind.omitted)
    arm_series = Component(Command, "ARM", deadline_s=ARM_S, kind=Kind.omitted)
    take_frames = Component(Command, "TRIGGER", kind=Kind.omitted)
    disarm = Component(Command, "DISARM", deadline_s=DISARM_S, kind=Kind.omitted)
    abort = Component(Command, "STOP", deadline_s=DISARM_S, kind=Kind.omitted)

    def __init__(self, prefix: str, *, name: str, speed: float, config: DetectorConfig | None = None, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self._speed = speed
        self._next_path = ""
        self.folder: Path | None = None
        """Where series go for which nobody gave a file; None: a file must be given."""
        self._series: _Series | None = None
        self._lock = threading.Lock()
        limits = config.limits if config is not None else {}
        rows = by_name(narrow(DETECTOR, limits, f"instruments.{name}.limits"))
        self.count_time.channel, self.n_images.channel, self.file.channel = rows["COUNT_TIME"], rows["N_IMAGES"], rows["FILE"]

    # ---------------------------------------------------------------------------------------------------- exposing

    def set_exposure(self, count_time_s: float, n_images: int) -> OperationStatus:
        """Exposure of one frame, laboratory seconds, and frames per trigger; while not staged."""
        status = OperationStatus(self, f"{self.name}: expose {n_images} x {count_time_s:g} s", 60.0)
        return follow(status, self._exposure_steps(count_time_s, n_images))

    def _exposure_steps(self, count_time_s: float, n_images: int) -> Steps:
        yield self.count_time.set(count_time_s)
        yield self.n_images.set(n_images)

    def set_file(self, path: str) -> None:
        """Where the next staged series is written: an absolute path that does not exist yet."""
        self._next_path = path

    def stage(self) -> list[Any]:
        """Arm a series and open its file.

        Raises
        ------
        InstrumentError
            Why the bridge or the detector refused; the device is not staged then.
        """
        if not self._next_path and self.folder is not None:
            self._next_path = str(self.folder / f"{uuid4()}.h5")
        if not self._next_path:
            raise CommandError(f"{self.name}: stage: no file given; call set_file with a new absolute path first")
        staged: list[Any] = super().stage()
        try:
            self.file.set(self._next_path).wait()
            self.arm_series.set().wait()
            self._series = _Series(self._image_key, self._next_path, self._shape(), int(self.n_images.get(use_monitor=False)))
        except InstrumentError:
            super().unstage()
            raise
        self._next_path = ""
        return staged

    def trigger(self) -> OperationStatus:
        """Take the frames of one trigger; done when they are in the file."""
        series = self._series
        n = series.n_images if series is not None else 1
        net_s = deadline_s(1.2 * n * float(self.count_time.get()), self._speed, EXPOSURE_SLACK_S)
        status = OperationStatus(self, f"{self.name}: trigger {n} frames", net_s + 1.0)
        if series is None:
            status.fail(CommandError(f"{self.name}: trigger: not staged; stage it first"))
            return status
        return follow(status, self._trigger_steps(series, net_s))

    def _trigger_steps(self, series: _Series, net_s: float) -> Steps:
        if series.is_spoilt:
            raise CommandError(f"{self.name}: an earlier trigger of {series.path} failed, so that its frames cannot be counted off; "
                               "unstage and stage with a new file")
        series.is_spoilt = True
        yield self.take_frames.set(timeout=net_s)
        series.is_spoilt = False
        with self._lock:
            series.n_triggers += 1

    def unstage(self) -> list[Any]:
        """Disarm and close the file."""
        series, self._series = self._series, None
        unstaged: list[Any] = super().unstage()
        if series is not None:
            self.disarm.set().wait()
        return unstaged

    def stop(self, *, success: bool = False) -> None:
        """Abort the exposure; a trigger that is pending fails."""
        if self._series is not None:
            self._series.is_spoilt = True
            self.abort.set()
        super().stop(success=success)

    # --------------------------------------------------------------------------------------------------- documents

    @property
    def _image_key(self) -> str:
        return f"{self.name}_image"

    def _shape(self) -> tuple[int, int]:
        return (int(self.height.get()), int(self.width.get()))

    def describe(self) -> dict[str, Any]:
        """The scalars, and the image: n_images frames per event, kept outside the documents."""
        described: dict[str, Any] = super().describe()
        n = self._series.n_images if self._series is not None else int(self.n_images.get())
        described[self._image_key] = {
            "source": f"PV:{self.prefix}TRIGGER", "dtype": "array", "dtype_numpy": str(self.pixel_type.get()),
            "shape": [n, *self._shape()], "dims": ["frame", "row", "column"], "units": "counts", "external": "STREAM:",
        }
        return described

    def get_index(self) -> int:
        """Triggers of this staging whose frames are in the file."""
        return self._series.n_triggers if self._series is not None else 0

    def collect_asset_docs(self, index: int | None = None) -> Iterator[Document]:
        """StreamResource once per file, StreamDatum for triggers that have not been told of yet (up to `index`)."""
        series = self._series
        if series is not None:
            with self._lock:
                documents = series.documents(index)
            yield from documents

    # ------------------------------------------------------------------------------------------------------ health

    def recover(self) -> OperationStatus:
        """Initialise the detector when it is in error or has not been; done when it can be armed."""
        status = OperationStatus(self, f"{self.name}: recover", INITIALIZE_S + 10.0)
        return follow(status, self._recovering())

    def _recovering(self) -> Steps:
        yield self.reset_errors.set(timeout=INITIALIZE_S)
        state = self.state.get(use_monitor=False)
        if state not in ("idle", "ready", "acquire"):
            raise CommandError(f"{self.name}: is {state} after recovery: {self.cause()}")

    def make_safe(self) -> OperationStatus:
        """Stop the exposure, disarm."""
        if self._series is not None:
            self._series.is_spoilt = True
        return super().make_safe()

    def state_in_words(self) -> str:
        """SIMPLON's word for it."""
        return str(self.state.get(use_monitor=False))

    def fault(self) -> str:
        """Why the detector cannot be used as it is."""
        return self.cause() if self.state_in_words() == "error" else ""


class _Series:
    """What has to be remembered of a staging for the documents."""

    def __init__(self, image_key: str, path: str, shape: tuple[int, int], n_images: int) -> None:
        self.path, self.n_images = path, n_images
        self.n_triggers = 0
        self.is_spoilt = False
        self._n_told = 0
        resource, self._compose_datum = compose_stream_resource(
            mimetype="application/x-hdf5", uri="file://localhost" + quote(path), data_key=image_key,
            parameters={"dataset": DATASET, "chunk_shape": (1, *shape), "swmr": False})
        self._untold: deque[Document] = deque([("stream_resource", dict(resource))])

    def documents(self, index: int | None) -> list[Document]:
        end = self.n_triggers if index is None else min(index, self.n_triggers)
        if end <= self._n_told:
            return []
        datum = self._compose_datum(indices={"start": self._n_told, "stop": end})
        self._n_told = end
        documents = [*self._untold, ("stream_datum", dict(datum))]
        self._untold.clear()
        return documents
