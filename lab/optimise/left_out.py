"""Can a model be trusted: what it says of each sample when it has not been told of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from lab.optimise.gaussian import Posterior
from lab.optimise.polytope import Array
from lab.optimise.scaling import Scale

WITHIN = 1.959963984540054
"""Standard deviations on either side that hold 95 % of a normal distribution."""

FEWEST = 5
"""Below so many samples, nothing is said of a model's worth."""

LITTLE = 1e-12
"""Of a spread relative to the size of the numbers: they are all alike."""

UNIT = Scale()
"""Of a model whose unit is the outcome's."""


@dataclass(frozen=True)
class LeftOut:
    """What was measured, and what a model made of all other samples expected there.

    Parameters
    ----------
    measured, expected : ndarray, shape (n,)
        Unit of the outcome.
    deviation : ndarray, shape (n,)
        Standard deviation of what could be measured there: of the process and of the noise together, above 0.
    """

    measured: Array
    expected: Array
    deviation: Array

    def __len__(self) -> int:
        return len(self.measured)

    @cached_property
    def standardised(self) -> Array:
        """Residuals in units of their own standard deviation, shape (n,)."""
        return (self.measured - self.expected) / self.deviation

    @property
    def coverage(self) -> float:
        """Share of the samples inside their band of 95 %."""
        return float((np.abs(self.standardised) <= WITHIN).mean()) if len(self) else float("nan")

    @property
    def r2(self) -> float:
        """Share of the outcomes' variance that is foretold: 1 is all, 0 as much as their mean foretells, below it is worse; NaN when all are alike."""
        if len(self) < 2:
            return float("nan")
        off = self.measured - self.measured.mean()
        if not float(np.abs(off).max()) > LITTLE * float(np.abs(self.measured).max()):
            return float("nan")
        scale = float(np.abs(off).max())
        return 1.0 - float((((self.measured - self.expected) / scale) ** 2).sum()) / float(((off / scale) ** 2).sum())

    @property
    def log_density(self) -> float:
        """Mean logarithm of the density that was foretold for what was measured, in 1 by the unit of the outcome; larger is better."""
        if not len(self):
            return float("nan")
        return float((-0.5 * self.standardised ** 2 - np.log(self.deviation) - 0.5 * np.log(2.0 * np.pi)).mean())

    @property
    def verdict(self) -> str:
        """Whether the model can be trusted, in a sentence."""
        n = len(self)
        if n < FEWEST:
            return f"{n} sample{'s' if n != 1 else ''}: too few to say how far the model can be trusted"
        if np.isnan(self.r2):
            return f"all {n} samples gave the same: there is nothing that a model could foretell"
        told = f"the model predicts left-out samples with R2 {self.r2:.2f}; {100 * self.coverage:.0f} % of {n} are within its 95 % band"
        return f"{told}: {self._advice}"

    @property
    def _advice(self) -> str:
        # With n samples the share inside the band scatters by the square root of 0.95 * 0.05 / n.
        is_too_sure = self.coverage < 0.95 - 2.0 * float(np.sqrt(0.95 * 0.05 / len(self))) - 1.0 / len(self)
        sure = ", and it is surer than it should be" if is_too_sure else ""
        if self.r2 >= 0.7:
            return f"it can be trusted{' between the samples, but not its error bars' if is_too_sure else ''}"
        if self.r2 >= 0.3:
            return f"it is a rough guide{sure}"
        return f"it foretells little or nothing yet{sure}"


@dataclass(frozen=True)
class Foretold:
    """Chances of success, each by a model that has not been told of that sample.

    Parameters
    ----------
    chance : ndarray, shape (n,)
    is_success : ndarray of bool, shape (n,)
    """

    chance: Array
    is_success: Array

    def __len__(self) -> int:
        return len(self.chance)

    @property
    def brier(self) -> float:
        """Mean squared difference of chance and what came; 0 is perfect (Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2)."""
        return float(((self.chance - self.is_success) ** 2).mean()) if len(self) else float("nan")

    @property
    def brier_of_rate(self) -> float:
        """The same of one who always says the overall rate of success."""
        rate = float(self.is_success.mean()) if len(self) else float("nan")
        return rate * (1.0 - rate)

    def reliability(self, n_bins: int = 5) -> list[tuple[float, float, int]]:
        """Mean chance, share of successes and number of samples in equal steps of the chance that have any."""
        step = np.minimum((self.chance * n_bins).astype(int), n_bins - 1)
        return [(float(self.chance[step == k].mean()), float(self.is_success[step == k].mean()), int((step == k).sum()))
                for k in range(n_bins) if (step == k).any()]

    @property
    def verdict(self) -> str:
        """Whether failures were to be foreseen, in a sentence."""
        failed, good = ~self.is_success.astype(bool), self.is_success.astype(bool)
        foreseen, expected = int((self.chance[failed] < 0.5).sum()), int((self.chance[good] >= 0.5).sum())
        ratio = self.brier / self.brier_of_rate if self.brier_of_rate > 0 else 1.0
        better = f"{'better' if ratio < 0.9 else 'hardly better' if ratio < 1.0 else 'no better'} than the overall rate of success"
        return (f"left out, {foreseen} of {int(failed.sum())} failures had a chance of success below a half, and {expected} of {int(good.sum())} "
                f"successes one above; as a forecast, {better} (Brier score {self.brier:.3f} against {self.brier_of_rate:.3f})")


def left_out(posterior: Posterior, scale: Scale = UNIT) -> LeftOut:
    """Each observation of a posterior as the others foretell it, with the same parameters of the kernel.

    On a logarithmic scale a deviation is the one that puts the sample as many of them away from what was expected as it is in the model.
    """
    y = posterior.data.y
    expected, variance = posterior.left_out()
    measured, foreseen, off = scale.from_unit(y), scale.from_unit(expected), y - expected
    is_apart = np.abs(off) > LITTLE
    rate = np.where(is_apart, (measured - foreseen) / np.where(is_apart, off, 1.0), scale.rate(y))
    return LeftOut(measured, foreseen, rate * np.sqrt(variance))


def foretold(success: Posterior) -> Foretold:
    """The same of a model of success, whose observations are 1 and -1."""
    expected, variance = success.left_out()
    return Foretold(ndtr(expected / np.sqrt(variance)), success.data.y > 0.0)
