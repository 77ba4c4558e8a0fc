"""Powder patterns of a campaign's samples as one table: what a model is trained on, where frames are too large to be handed out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from lab.core.config import DetectorConfig, Geometry, LabConfig
from lab.core.errors import ConfigError, SampleError
from lab.core.question import CampaignConfig
from lab.records.documents import Document
from lab.records.tables import Column, Table

if TYPE_CHECKING:
    from lab.records.powder import Pattern

MOST_FRAMES = 50
"""Of one sample, that are read at once."""


def geometry_of(lab_json: str) -> Geometry | None:
    """Of the first detector of the laboratory as it was; None where there is none, or another version wrote it."""
    try:
        lab = LabConfig.model_validate_json(lab_json)
    except ValidationError:
        return None
    return next((one.geometry for one in lab.instruments.values() if isinstance(one, DetectorConfig)), None)


def pattern_table(runs: Mapping[int, Sequence[Document]], config: CampaignConfig, lab_json: str, frames: Path | None) -> Table | None:
    """The azimuthal means of the frames of each trial; None where the campaign is about something else than powder patterns.

    Parameters
    ----------
    runs : mapping of trial to the documents of its run
    config : CampaignConfig
    lab_json : str
        The laboratory as it was.
    frames : Path or None
        Where frames are that are not where the documents say.
    """
    geometry = geometry_of(lab_json)
    if config.evaluate.kind != "phases" or geometry is None or not runs:
        return None
    found = {trial: pattern for trial, documents in runs.items() if (pattern := _pattern(documents, geometry, frames)) is not None}
    if not found:
        return None
    return Table("patterns", (
        Column("trial", tuple(trial + 1 for trial in found), "", "number, from 1"),
        Column("two_theta", tuple(one.two_theta_deg.tolist() for one in found.values()), "deg", "where the pixels of a bin are, on the mean"),
        Column("counts", tuple(one.counts.tolist() for one in found.values()), "counts/pixel", "azimuthal mean, summed over the frames"),
        Column("n_pixels", tuple(one.n_pixels.tolist() for one in found.values()), "",
               "pixels of a bin: the variance of counts is its expectation divided by this")),
        {"wavelength_angstrom": geometry.wavelength_angstrom, "distance_mm": geometry.distance_mm, "pixel_um": geometry.pixel_um})


def _pattern(documents: Sequence[Document], geometry: Geometry, frames: Path | None) -> Pattern | None:
    """None where there are no frames, too many, or frames of something else."""
    from lab.records.frames import frame_sum

    if not 0 < _n_frames(documents) <= MOST_FRAMES:
        return None
    try:
        whole = frame_sum(documents, frames)
        from lab.records.powder import integrate  # some seconds, the first time

        return integrate(whole.counts, whole.is_masked, geometry)
    except (SampleError, ConfigError):
        return None


def _n_frames(documents: Sequence[Document]) -> int:
    """Frames that the documents point to."""
    shapes = {(doc["uid"], key): data_key.get("shape", ()) for name, doc in documents if name == "descriptor"
              for key, data_key in doc["data_keys"].items()}
    keys = {doc["uid"]: doc["data_key"] for name, doc in documents if name == "stream_resource"}
    n = 0
    for name, doc in documents:
        if name == "stream_datum":
            shape = shapes.get((doc["descriptor"], keys.get(doc["stream_resource"], "")), ())
            n += (doc["indices"]["stop"] - doc["indices"]["start"]) * (int(shape[0]) if len(shape) == 3 else 1)
    return n
