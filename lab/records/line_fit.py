"""The fit of the leading lines of a powder pattern (lmfit): areas, positions and widths with honest standard errors.

Areas and background enter linearly. So the search runs over positions and widths alone, the linear part solved exactly
at each step (variable projection, Golub and Pereyra 1973, doi:10.1137/0710036), and only its end is fitted in all
parameters, for the full covariance.

Errors are Poisson's. The weights come from the model, not from the counts: dividing by counted variances pulls a fit
towards low counts. Where chi square says that the model does not hold, the errors grow by its square root.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import lmfit
import numpy as np

from lab.core.errors import SampleError
from lab.records.powder import (
    PEROVSKITE,
    SATELLITE_ANGSTROM,
    SECONDARY_SLACK,
    SPACING_ANGSTROM,
    SPACING_RANGE,
    Pattern,
    angle_deg,
)

N_BACKGROUND = 5
"""Chebyshev terms: scattering of the air and of what has not crystallised is smooth on the scale of a line."""
SEEN = 5.0
"""Sigmas from which a line tells its own width and position, and from which there are peaks at all."""
GAUSS_START_DEG, LORENTZ_START_DEG = 0.10, 0.17
"""Widths of lines too weak to tell: those of a laboratory diffractometer, and of crystallites 30 nm large."""
GAUSS_RANGE_DEG, LORENTZ_RANGE_DEG = (0.02, 0.4), (0.005, 1.2)
PHASES = tuple(SPACING_ANGSTROM)


def total_width(gauss: float, lorentz: float) -> float:
    """Full width at half maximum of a pseudo-Voigt, from those of its two parts (see `pseudo_voigt`)."""
    fifth = (gauss**5 + 2.69269 * gauss**4 * lorentz + 2.42843 * gauss**3 * lorentz**2 + 4.47163 * gauss**2 * lorentz**3
             + 0.07842 * gauss * lorentz**4 + lorentz**5)
    return fifth**0.2


def pseudo_voigt(x: np.ndarray, center: float, gauss: float, lorentz: float) -> np.ndarray:
    """A line of unit area; `gauss` is the instrument's width (FWHM), `lorentz` the crystallites'.

    Thompson, Cox and Hastings 1987, doi:10.1107/S0021889887087090: width and mixing of the pseudo-Voigt from the two parts.
    """
    width = total_width(gauss, lorentz)
    ratio = lorentz / width
    mixing = ratio * (1.36603 + ratio * (-0.47719 + ratio * 0.11116))
    square = ((x - center) / width) ** 2
    round_part = math.sqrt(4.0 * math.log(2.0) / math.pi) * np.exp(-4.0 * math.log(2.0) * square)
    return np.asarray((mixing * 2.0 / math.pi / (1.0 + 4.0 * square) + (1.0 - mixing) * round_part) / width)


@dataclass(frozen=True)
class Fitted:
    """What the fit found.

    Parameters
    ----------
    values : mapping of parameter name to a number with its correlated error (``uncertainties.UFloat``)
        ``area_PHASE`` (mean counts per pixel integrated over 2 theta, deg), ``d_PHASE`` (angstrom), ``lorentz_PHASE`` and ``gauss``
        (deg). A parameter that the pattern does not determine was held and has no error.
    is_seen : mapping of phase to whether its line stands out of the noise
    redchi : float
        Chi square per degree of freedom.
    inflation : float
        By what errors are to be multiplied because the model does not hold perfectly, >= 1.
    background : float
        Mean over the window, counts per pixel.
    """

    values: Mapping[str, object]
    is_seen: Mapping[str, bool]
    redchi: float
    inflation: float
    background: float


class _Model:
    """Lines and background on the bins of one pattern."""

    def __init__(self, pattern: Pattern, wavelength_angstrom: float) -> None:
        x = pattern.two_theta_deg
        self.x, self.counts, self.n_pixels, self.wavelength = x, pattern.counts, pattern.n_pixels, wavelength_angstrom
        self.background = np.polynomial.chebyshev.chebvander(2.0 * (x - x[0]) / (x[-1] - x[0]) - 1.0, N_BACKGROUND - 1)
        self.sigma = np.sqrt(0.5 * (self.counts + self.counts.mean()) / self.n_pixels)

    def columns(self, values: Mapping[str, float]) -> np.ndarray:
        """What enters linearly, shape (n, 5 + N_BACKGROUND): four leading lines of unit area, the satellite, background."""
        gauss = values["gauss"]
        lines = [pseudo_voigt(self.x, angle_deg(values[f"d_{phase}"], self.wavelength), gauss, values[f"lorentz_{phase}"])
                 for phase in PHASES]
        satellite = SATELLITE_ANGSTROM * values["d_delta_cs"] / SPACING_ANGSTROM["delta_cs"]
        lines.append(pseudo_voigt(self.x, angle_deg(satellite, self.wavelength), gauss, values["lorentz_delta_cs"]))
        return np.concatenate([np.stack(lines, axis=1), self.background], axis=1)

    def solve(self, values: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """The best linear coefficients at these positions and widths, and the model there."""
        columns = self.columns(values)
        coefficients, *_ = np.linalg.lstsq(columns / self.sigma[:, None], self.counts / self.sigma, rcond=None)
        return coefficients, columns @ coefficients

    def significance(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sigmas by which each leading line stands out."""
        weighted = self.columns(values) / self.sigma[:, None]
        errors = np.sqrt(np.diag(np.linalg.pinv(weighted.T @ weighted)))
        coefficients, _ = self.solve(values)
        return {phase: float(coefficients[k] / errors[k]) for k, phase in enumerate(PHASES)}

    def reweigh(self, values: Mapping[str, float]) -> None:
        """Take the variances from the model."""
        _, model = self.solve(values)
        self.sigma = np.sqrt(np.maximum(model, 0.02 * self.counts.mean()) / self.n_pixels)


def fit(pattern: Pattern, wavelength_angstrom: float) -> Fitted:
    """Fit the leading lines.

    Raises
    ------
    SampleError
        When there are no counts, no peaks, or the fit does not come to an end; the message tells what was seen.
    """
    if not np.isfinite(pattern.counts).all():
        raise SampleError("the integrated pattern holds numbers that are not finite")
    if pattern.counts.sum() <= 0.0:
        raise SampleError(f"no counts between {pattern.two_theta_deg[0]:.2f} and {pattern.two_theta_deg[-1]:.2f} deg: shutter, beam or exposure?")
    model = _Model(pattern, wavelength_angstrom)
    parameters = _parameters()
    _search(model, parameters)  # the perovskite's position, all widths alike
    model.reweigh(parameters.valuesdict())
    seen = _release_one_by_one(model, parameters)
    return _finish(model, parameters, seen)


def _release_one_by_one(model: _Model, parameters: lmfit.Parameters) -> dict[str, bool]:
    """Let each line that is seen find its own position and width, the strongest first.

    Not all at once: the flanks of a strong line of the wrong width would pass for a weak line beside it.
    """
    seen = dict.fromkeys(PHASES, False)
    for _ in PHASES:
        sigmas = model.significance(parameters.valuesdict())
        strongest = max((phase for phase in PHASES if not seen[phase]), key=lambda phase: sigmas[phase])
        if sigmas[strongest] < SEEN:
            break
        seen[strongest] = True
        _release(parameters, seen)
        _search(model, parameters)
        model.reweigh(parameters.valuesdict())
    if not any(seen.values()):
        raise _no_peaks(model, parameters)
    return seen


def _parameters() -> lmfit.Parameters:
    parameters = lmfit.Parameters()
    parameters.add("gauss", GAUSS_START_DEG, min=GAUSS_RANGE_DEG[0], max=GAUSS_RANGE_DEG[1], vary=False)
    for phase, spacing in SPACING_ANGSTROM.items():
        low, high = SPACING_RANGE.get(phase, (spacing * (1 - SECONDARY_SLACK), spacing * (1 + SECONDARY_SLACK)))
        parameters.add(f"d_{phase}", spacing, min=low, max=high, vary=phase == PEROVSKITE)
        parameters.add(f"lorentz_{phase}", LORENTZ_START_DEG, min=LORENTZ_RANGE_DEG[0], max=LORENTZ_RANGE_DEG[1], vary=False)
    return parameters


def _release(parameters: lmfit.Parameters, seen: Mapping[str, bool]) -> None:
    """Let every line that is seen find its own position and width; hold the others where they are expected."""
    for phase, is_seen in seen.items():
        parameters[f"d_{phase}"].set(vary=is_seen)
        parameters[f"lorentz_{phase}"].set(vary=is_seen)
        if not is_seen:
            parameters[f"d_{phase}"].set(value=SPACING_ANGSTROM[phase])
    parameters["gauss"].set(vary=any(seen.values()))


def _search(model: _Model, parameters: lmfit.Parameters) -> None:
    """Find positions and widths; leaves them in `parameters`, those that ran into a bound held there."""

    def residual(trial: lmfit.Parameters) -> np.ndarray:
        _, curve = model.solve(trial.valuesdict())
        return np.asarray((curve - model.counts) / model.sigma)

    if not any(p.vary for p in parameters.values()):
        return
    # Loose: the final fit goes on from here.
    found = lmfit.minimize(residual, parameters, method="leastsq", scale_covar=False, max_nfev=2000, ftol=1e-5, xtol=1e-5)
    for name, parameter in found.params.items():
        span = parameter.max - parameter.min
        is_at_bound = min(parameter.value - parameter.min, parameter.max - parameter.value) < 1e-3 * span
        parameters[name].set(value=parameter.value, vary=parameter.vary and not is_at_bound)


def _no_peaks(model: _Model, parameters: lmfit.Parameters) -> SampleError:
    coefficients, _ = model.solve(parameters.valuesdict())
    sigmas = model.significance(parameters.valuesdict())
    strongest = max(sigmas, key=lambda phase: sigmas[phase])
    return SampleError(f"no peaks: of perovskite, PbI2, delta-FAPbI3 and delta-CsPbI3 the strongest line is {strongest}'s with "
                       f"{sigmas[strongest]:.1f} sigma (needed: {SEEN:g}) over {coefficients[len(PHASES) + 1]:.3g} counts per pixel of "
                       "background; is there a film on the stage, and is it exposed long enough?")


def _finish(model: _Model, parameters: lmfit.Parameters, seen: Mapping[str, bool]) -> Fitted:
    """Fit everything at once from where the search ended, for the covariance."""
    coefficients, _ = model.solve(parameters.valuesdict())
    names = [*(f"area_{phase}" for phase in PHASES), "area_satellite", *(f"background_{k}" for k in range(N_BACKGROUND))]
    for name, value in zip(names, coefficients, strict=True):
        parameters.add(name, float(value))

    def residual(trial: lmfit.Parameters) -> np.ndarray:
        values = trial.valuesdict()
        linear = np.array([values[name] for name in names])
        return np.asarray((model.columns(values) @ linear - model.counts) / model.sigma)

    result = lmfit.minimize(residual, parameters, method="leastsq", scale_covar=False, max_nfev=4000)
    if not result.success or getattr(result, "covar", None) is None or getattr(result, "uvars", None) is None:
        raise SampleError(f"the fit of the powder pattern failed: {result.message}; reduced chi square {result.redchi:.3g}")
    fixed = {name: p.value for name, p in result.params.items() if not p.vary}
    return Fitted({**fixed, **result.uvars}, seen, float(result.redchi), math.sqrt(max(1.0, float(result.redchi))),
                  float(model.background.mean(axis=0) @ np.array([result.params[n].value for n in names[5:]])))
