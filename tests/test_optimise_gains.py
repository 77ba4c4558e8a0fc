"""Expected improvements on a logarithmic scale: against quadrature, and where arithmetic is hard."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.integrate import quad

from lab.optimise.desirability import DesirabilityGain, Ramp, log_composite, normal_draws
from lab.optimise.gains import Merit, Near, Up
from lab.optimise.hypervolume import HypervolumeGain

MERITS: dict[str, Merit] = {"up": Up(), "down": Up(-1.0), "near": Near(0.4)}


def density(y: float, mean: float, deviation: float) -> float:
    return float(np.exp(-0.5 * ((y - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi)))


def by_quadrature(merit: Merit, mean: float, deviation: float, low: float, high: float) -> float:
    def integrand(y: float) -> float:
        return max(min(float(merit.of(np.array(y))), high) - low, 0.0) * density(y, mean, deviation)

    corners = sorted({y for level in (low, min(high, 50.0)) for y in (level, -level, 0.4 + level, 0.4 - level)} | {mean})
    ends = [mean - 9 * deviation, *(c for c in corners if abs(c - mean) < 9 * deviation), mean + 9 * deviation]
    return sum(quad(integrand, a, b, epsabs=0.0, epsrel=1e-10)[0] for a, b in zip(ends, ends[1:], strict=False))


def central(function: object, at: np.ndarray, k: int, step: float) -> np.ndarray:
    change = np.zeros_like(at)
    change[k] = step
    return (function(at + change) - function(at - change)) / (2 * step)  # type: ignore[operator]


@pytest.mark.parametrize("kind", MERITS)
@pytest.mark.parametrize(("low", "high"), [(-0.7, np.inf), (-0.7, -0.2), (-0.7, -0.69999)])
def test_an_expected_gain_is_the_integral_over_what_may_come(kind: str, low: float, high: float) -> None:
    for mean, deviation in product((-2.0, 0.1, 0.4, 1.5), (0.3, 1.0)):
        value = MERITS[kind].log_gain(np.array(mean), np.array(deviation ** 2), np.array(low), np.array(high))[0]
        assert np.exp(value) == pytest.approx(by_quadrature(MERITS[kind], mean, deviation, low, high), rel=1e-8)


@pytest.mark.parametrize("kind", MERITS)
def test_gains_are_finite_and_their_derivatives_right_however_far_and_narrow_they_are(kind: str) -> None:
    merit = MERITS[kind]
    for mean, deviation, low, high in product((-30.0, -0.3, 0.41, 5.0), (1e-3, 0.2, 10.0), (-0.7, -1e-4), (np.inf, -1e-5)):
        variance = deviation ** 2
        value, by_mean, by_variance = (float(a) for a in merit.log_gain(np.array(mean), np.array(variance), np.array(low), np.array(high)))

        def at(theta: np.ndarray, low: float = low, high: float = high) -> np.ndarray:
            return merit.log_gain(theta[0], theta[1], np.array(low), np.array(high))[0]

        here = np.array([mean, variance])
        assert np.isfinite(value)
        assert by_mean == pytest.approx(float(central(at, here, 0, 1e-6 * deviation)), rel=1e-4, abs=1e-4 / deviation)
        assert by_variance == pytest.approx(float(central(at, here, 1, 1e-6 * variance)), rel=1e-4, abs=1e-4 / variance)


def test_two_levels_next_to_each_other_do_not_cancel() -> None:
    # A gain between levels that nearly touch is their distance times the probability of coming so far.
    for merit in (Up(), Near(0.0)):
        wide = merit.log_gain(np.array(-3.0), np.array(1.0), np.array(-0.5), np.array(-0.5 + 1e-6))[0]
        narrow = merit.log_gain(np.array(-3.0), np.array(1.0), np.array(-0.5), np.array(-0.5 + 1e-12))[0]
        assert wide - narrow == pytest.approx(np.log(1e6), abs=1e-3)


def test_a_merit_above_the_best_there_is_cannot_be_gained() -> None:
    assert Near(0.0).log_gain(np.array(0.1), np.array(1.0), np.array(0.0), np.array(np.inf))[0] == -np.inf


def boxes_of_two() -> tuple[np.ndarray, np.ndarray]:
    """Not dominated by (-0.2, -0.9) and (-0.6, -0.3), above (-1, -1)."""
    inf = np.inf
    return np.array([[-0.2, -1.0], [-0.6, -0.9], [-1.0, -0.3]]), np.array([[inf, -0.9], [inf, -0.3], [inf, inf]])


def test_the_expected_hypervolume_improvement_is_that_of_many_draws() -> None:
    lower, upper = boxes_of_two()
    merits = (Up(-1.0), Near(0.4))
    means, variances = np.array([[0.3, 1.5], [0.1, 1.2]]), np.array([[0.2, 0.5], [0.3, 0.1]])
    z = np.random.default_rng(0).standard_normal((2, 2, 400_000))
    found = np.exp(HypervolumeGain(merits, lower, upper)(means, variances)[0])
    for k in range(2):
        drawn = np.array([merit.of(means[j, k] + np.sqrt(variances[j, k]) * z[j, k]) for j, merit in enumerate(merits)]).T
        gains = sum(np.maximum(np.minimum(drawn, high) - low, 0.0).prod(axis=1) for low, high in zip(lower, upper, strict=True))
        assert found[k] == pytest.approx(gains.mean(), abs=4 * gains.std() / np.sqrt(len(gains)))


def test_the_gradient_of_the_hypervolume_improvement_is_right_near_and_far() -> None:
    gain = HypervolumeGain((Up(-1.0), Near(0.4)), *boxes_of_two())
    means, variances = np.array([[0.3, 40.0], [0.1, 15.0]]), np.array([[0.2, 0.5], [0.3, 0.1]])
    value, by_mean, by_variance = gain(means, variances)
    assert np.isfinite(value).all()
    for j in range(2):
        assert by_mean[j] == pytest.approx(central(lambda m: gain(m, variances)[0], means, j, 1e-5), rel=1e-5)
        assert by_variance[j] == pytest.approx(central(lambda v: gain(means, v)[0], variances, j, 1e-5), rel=1e-4)


RAMPS = (Ramp(best=1.0, reach=-2.0), Ramp(best=-1.0, reach=1.5, weight=2.0), Ramp(best=0.2, reach=0.7, is_target=True))


def exact_desirability(y: np.ndarray) -> np.ndarray:
    parts = [np.clip((y[0] + 1.0) / 2.0, 0, 1), np.clip((0.5 - y[1]) / 1.5, 0, 1) ** 2, np.clip(1 - np.abs(y[2] - 0.2) / 0.7, 0, 1)]
    return np.prod(parts, axis=0) ** 0.25


def test_the_rounded_desirability_is_the_exact_one_but_for_its_corners() -> None:
    y = np.random.default_rng(1).uniform(-0.9, 0.4, (3, 200))
    inside = exact_desirability(y) > 0.2
    assert np.exp(log_composite(RAMPS, y)[0])[inside] == pytest.approx(exact_desirability(y)[inside], abs=0.04)


def test_the_expected_gain_of_desirability_is_that_of_many_draws() -> None:
    means, variances = np.array([[0.2], [-0.3], [0.1]]), np.array([[0.1], [0.05], [0.02]])
    z = np.random.default_rng(2).standard_normal((3, 1, 200_000))
    drawn = np.maximum(exact_desirability(means[:, :, None] + np.sqrt(variances)[:, :, None] * z) - 0.4, 0.0).mean()
    found = DesirabilityGain(RAMPS, 0.4, normal_draws(3, 0))(means, variances)[0]
    assert np.exp(found[0]) == pytest.approx(drawn, rel=0.1)


@pytest.mark.parametrize("best", [None, 0.4, 0.99])
def test_the_gradient_of_the_gain_of_desirability_is_right_and_there_is_always_one(best: float | None) -> None:
    gain = DesirabilityGain(RAMPS, best, normal_draws(3, 0))
    means, variances = np.array([[0.2, 9.0, -9.0], [-0.3, 9.0, 9.0], [0.1, 9.0, -9.0]]), np.full((3, 3), 0.05)
    value, by_mean, by_variance = gain(means, variances)
    assert np.isfinite(value).all()
    assert (np.abs(by_mean[1:]) > 0).all()
    for j in range(3):
        assert by_mean[j] == pytest.approx(central(lambda m: gain(m, variances)[0], means, j, 1e-6), rel=1e-4, abs=1e-4)
        assert by_variance[j] == pytest.approx(central(lambda v: gain(means, v)[0], variances, j, 1e-7), rel=1e-3, abs=1e-3)


def test_the_draws_are_the_same_for_the_same_seed_and_evenly_spread() -> None:
    draws = normal_draws(3, 7)
    assert (normal_draws.__wrapped__(3, 7) == draws).all()
    assert np.abs(draws.mean(axis=0)).max() < 0.05
    assert draws.std(axis=0) == pytest.approx(1.0, abs=0.05)
