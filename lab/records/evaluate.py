"""From the documents of a run to the outcome of its sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lab.core.config import Geometry
from lab.core.errors import SampleError
from lab.core.question import CampaignConfig
from lab.core.trial import Measured, Outcome
from lab.records.documents import Document
from lab.records.frames import FrameSum, frame_sum

PHASE_OUTCOMES = ("perovskite_fraction", "lattice_parameter", "peak_width", "crystallite_size", "total_intensity")
"""What ``kind: phases`` delivers: a share, angstrom, degrees of 2 theta (FWHM), nm, counts per pixel and second times degrees."""


def delivered(kind: str, campaign: CampaignConfig) -> tuple[str, ...]:
    """Outcomes that an evaluation of `kind` delivers to this campaign; it can ask for no other."""
    return (campaign.objective.name,) if kind == "brightness" else PHASE_OUTCOMES


def warm_up(geometry: Geometry) -> None:
    """Import and prepare what the first evaluation would else wait for (some seconds).

    Raises
    ------
    ConfigError
        When the geometry does not let the detector see the lines.
    """
    from lab.records import line_fit, powder

    row, column = np.indices(geometry.shape)
    powder.window_deg(geometry)
    radius_mm = np.hypot(row - geometry.beam_center_px[0], column - geometry.beam_center_px[1]) * geometry.pixel_um * 1e-3
    two_theta_deg = np.degrees(np.arctan2(radius_mm, geometry.distance_mm))
    counts = np.full(geometry.shape, 10.0)
    for spacing_angstrom in (6.28, 6.979):
        center_deg = powder.angle_deg(spacing_angstrom, geometry.wavelength_angstrom)
        counts += 50.0 * line_fit.pseudo_voigt(two_theta_deg, center_deg, 0.1, 0.15)
    line_fit.fit(powder.integrate(counts, np.zeros(geometry.shape, bool), geometry), geometry.wavelength_angstrom)


def evaluate(documents: Sequence[Document], campaign: CampaignConfig, geometry: Geometry, folder: Path | None = None) -> Outcome:
    """What the frames of a run say.

    Parameters
    ----------
    documents : sequence of (name, document)
        Of one run, at least up to the last stream datum.
    campaign : CampaignConfig
        Decides the kind of evaluation, and which outcomes are wanted.
    geometry : Geometry
        Of the detector.
    folder : Path or None
        Where frames are looked for that are not where the documents say (see `lab.records.frames.frame_sum`).

    Returns
    -------
    Outcome
        `measured` has every outcome that can be told, the wanted ones first and each of those with its standard error: a campaign
        may ask for another one later. `details` has what is found beside.

    Raises
    ------
    SampleError
        When there are no frames, no counts, no peaks, or a wanted outcome cannot be told; the message says what was seen.
    ConfigError
        When the geometry does not let the detector see the lines.
    """
    frames = frame_sum(documents, folder)
    exposure_s = _exposure_s(frames, campaign)
    if campaign.evaluate.kind == "brightness":
        found, details = _brightness(frames, exposure_s, campaign)
    else:
        found, details = _phases(frames, exposure_s, geometry)
    return _select(found, details, campaign.outcome_names)


def _select(found: Mapping[str, Measured], details: Mapping[str, float], names: Sequence[str]) -> Outcome:
    """Everything that was found, the wanted outcomes first; these have to be there."""
    for name in names:
        if name not in found:
            raise SampleError(f"{name} cannot be told of this sample; what can: {', '.join(found)}")
        mean, sem = found[name].mean, found[name].sem
        if not math.isfinite(mean) or sem is None or not math.isfinite(sem):
            raise SampleError(f"{name}: the evaluation gives {mean} with standard error {sem}")
    more = {name: one for name, one in found.items() if math.isfinite(one.mean) and (one.sem is None or math.isfinite(one.sem))}
    return Outcome({**{name: found[name] for name in names}, **more}, {k: v for k, v in details.items() if math.isfinite(v)})


def _exposure_s(frames: FrameSum, campaign: CampaignConfig) -> float:
    """Of one frame, laboratory seconds: the detector's own word, else the campaign's setting."""
    told = frames.exposure_s if frames.exposure_s is not None else campaign.settings.get("count_time_s")
    if isinstance(told, str) or told is None or not (math.isfinite(told) and told > 0.0):
        raise SampleError(f"the exposure is not known: the HDF5 file and the setting count_time_s say {told!r}")
    return float(told)


def _brightness(frames: FrameSum, exposure_s: float, campaign: CampaignConfig) -> tuple[dict[str, Measured], dict[str, float]]:
    from lab.records.brightness import brightness

    if campaign.evaluate.full_scale is None:
        raise SampleError("evaluate.full_scale is missing in the campaign; allowed: [value at no light, value at full scale]")
    measured, details = brightness(frames, exposure_s, campaign.evaluate.full_scale)
    return {campaign.objective.name: measured}, details


def _phases(frames: FrameSum, exposure_s: float, geometry: Geometry) -> tuple[dict[str, Measured], dict[str, float]]:
    from lab.records.phases import film
    from lab.records.powder import integrate

    if frames.total <= 0.0:
        raise SampleError(f"no counts at all in {frames.n_frames} frames of {exposure_s:g} s: shutter, beam or exposure?")
    found, details = film(integrate(frames.counts, frames.is_masked, geometry), geometry.wavelength_angstrom,
                          frames.n_frames * exposure_s)
    return found, {**details, "n_frames": float(frames.n_frames), "mean_counts": float(frames.means.mean())}
