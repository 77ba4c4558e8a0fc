"""What the models' parameters were at the last suggestion, as its thought keeps them, and what is made of them at the next.

The most probable parameters move little from one outcome to the next. Of the same data they are taken over as they stand; of a
few more, they are followed from where they were; and each time that there are three tenths more, they are sought from several starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.core.trial import Trial
from lab.optimise.gaussian import Data, Kernel
from lab.optimise.likelihood import LOWEST, Prior, fit_best, follow

GROWTH = 1.3
"""So many times the observations of the last search, and the parameters are sought anew."""


@dataclass(frozen=True)
class Remembered:
    """Parameters of a model and where they are from.

    Parameters
    ----------
    digest : str
        Of the data that they were found from.
    n_sought : int
        Observations at the last search from several starts.
    is_log : bool
        Whether they are of the outcomes' logarithms.
    """

    kernel: Kernel
    digest: str
    n_sought: int
    is_log: bool = False

    def as_json(self) -> dict[str, Any]:
        """As a thought keeps it; every bit of the numbers is kept."""
        return {"scales": self.kernel.scales.tolist(), "amplitude": float(self.kernel.amplitude), "noise": float(self.kernel.noise),
                "is_smooth": self.kernel.is_smooth, "digest": self.digest, "n_sought": self.n_sought, "is_log": self.is_log}


def recall(data: Data, prior: Prior, record: object, logarithms: Data | None = None) -> Remembered:
    """The most probable parameters for `data`, or for the logarithms of the same outcomes where these are more probable.

    Parameters
    ----------
    logarithms : Data or None
        None: there are none, or they are not to be thought of.
    record : object
        What `Remembered.as_json` wrote at an earlier suggestion. Anything else counts as none: a thought of another version, or of
        a model with other columns.

    Raises
    ------
    ModelFailed
        When there are none.
    """
    known, n = _read(record, data.n_scales), len(data.y)
    if known is not None and known.is_log and logarithms is None:  # an outcome came that has no logarithm
        known = None
    scales = [data] if logarithms is None else [data, logarithms]
    if known is not None:
        if known.is_log:
            scales.reverse()
        digest = digest_of(scales[0], prior)
        if known.digest == digest:
            return known
        if n < GROWTH * known.n_sought:
            return Remembered(follow(scales[0], prior, known.kernel), digest, known.n_sought, known.is_log)
    kernel, which = fit_best(scales, prior, None if known is None else known.kernel)
    return Remembered(kernel, digest_of(scales[which], prior), n, scales[which] is logarithms)


def last_kernels(trials: Sequence[Trial]) -> Mapping[str, Any] | None:
    """The models' parameters at the last suggestion that came from models, by outcome; None when there was none."""
    return next((t.thought["kernels"] for t in reversed(trials) if "kernels" in t.thought), None)


def digest_of(data: Data, prior: Prior) -> str:
    """What tells these data from others, to the last bit."""
    found = hashlib.blake2b(repr((prior, data.within)).encode(), digest_size=8)
    before, common = data.before() if data.trend is not None else (np.zeros(0), np.zeros(0))
    for part in (data.X, data.y, data.told, data.shares, data.groups, before, common):
        found.update(np.ascontiguousarray(part).tobytes())
    return found.hexdigest()


def _read(record: object, n_scales: int) -> Remembered | None:
    if not isinstance(record, Mapping):
        return None
    scales, rest = record.get("scales"), [record.get("amplitude"), record.get("noise"), record.get("n_sought")]
    if not isinstance(scales, list) or len(scales) != n_scales:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and np.isfinite(v) and v >= np.exp(LOWEST).min() * 0.5 for v in [*scales, *rest]):
        return None
    kernel = Kernel(np.array(scales, dtype=float), float(record["amplitude"]), float(record["noise"]), record.get("is_smooth") is True)
    return Remembered(kernel, str(record.get("digest", "")), int(record["n_sought"]), record.get("is_log") is True)
