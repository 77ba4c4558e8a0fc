"""Brightness of a film -> the one property that a table world hides in it."""

from __future__ import annotations

import math

import numpy as np

from lab.core.brightness import value_of
from lab.core.trial import Measured
from lab.records.frames import FrameSum


def brightness(frames: FrameSum, exposure_s: float, full_scale: tuple[float, float]) -> tuple[Measured, dict[str, float]]:
    """The property, linear in the mean counts per pixel and second.

    Parameters
    ----------
    frames : FrameSum
    exposure_s : float
        Of one frame, laboratory seconds.
    full_scale : (float, float)
        The property at no light, and at `lab.core.brightness.COUNTS_FULL`.

    Returns
    -------
    Measured
        Its standard error is that of counting (Poisson), or what the scatter between the frames says if that is larger.
        No counts at all is a measurement too: its error is that of one count.
    dict
        Details: ``rate`` (counts per pixel and second), ``counting_sem``, ``scatter_sem`` (nan for one frame), ``n_frames``.
    """
    exposed = frames.n_pixels * frames.n_frames * exposure_s
    rate = frames.total / exposed
    slope = value_of(1.0, full_scale) - value_of(0.0, full_scale)  # property per count per pixel and second
    counting = slope * math.sqrt(max(frames.total, 1.0)) / exposed
    scatter = math.nan
    if frames.n_frames > 1:
        scatter = slope * float(np.std(frames.means, ddof=1)) / exposure_s / math.sqrt(frames.n_frames)
    sem = max(counting, scatter) if math.isfinite(scatter) else counting
    details = {"rate": rate, "counting_sem": counting, "scatter_sem": scatter, "n_frames": float(frames.n_frames)}
    return Measured(value_of(rate, full_scale), sem), details
