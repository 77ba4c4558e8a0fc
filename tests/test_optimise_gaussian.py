"""Gaussian processes, their likelihood and what is asked of them, against closed forms and differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import norm

from lab.optimise.gaussian import Data, Kernel, ModelFailed, Posterior, condition, factor
from lab.optimise.improvement import Above, Improvement, log_h
from lab.optimise.likelihood import Density, Prior, fit
from lab.optimise.polytope import Array
from lab.optimise.terms import Acquisition, OfOutcome

KERNEL = Kernel(np.array([0.4, 0.9]), 1.3, 1e-3)


def data(n: int = 12, told: float = 0.0, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    X = rng.random((n, 3))
    y = np.sin(5 * X[:, 0]) + X[:, 1] ** 2 - X[:, 2]
    return Data(X, (y - y.mean()) / y.std(), np.full(n, told), np.array([0, 1, 1]))


def differences(function: object, at: Array, step: float = 1e-6) -> Array:
    assert callable(function)
    return np.array([(function(at + step * e) - function(at - step * e)) / (2 * step) for e in np.eye(len(at))])


def posterior(n: int = 12) -> Posterior:
    return condition(data(n), KERNEL)


# ------------------------------------------------------------------------------------------------------- the process


def test_exact_outcomes_are_gone_through() -> None:
    process = condition(data(), Kernel(KERNEL.scales, 1.3, 1e-9))
    mean, variance = process.predict(process.data.X)
    assert mean == pytest.approx(process.data.y, abs=1e-5)
    assert variance.max() < 1e-6


def test_mean_and_variance_are_those_of_the_textbook() -> None:
    given, x = data(), np.random.default_rng(1).random((5, 3))

    def k(a: Array, b: Array) -> Array:
        r = np.sqrt((((a[:, None, :] - b[None, :, :]) / KERNEL.scales[given.groups]) ** 2).sum(axis=2))
        return np.asarray(1.3 * (1 + np.sqrt(5) * r + 5 / 3 * r ** 2) * np.exp(-np.sqrt(5) * r))

    K = k(given.X, given.X) + 1e-3 * np.eye(12)
    mean, variance = condition(given, KERNEL).predict(x)
    assert mean == pytest.approx(k(x, given.X) @ np.linalg.solve(K, given.y))
    assert variance == pytest.approx(np.diag(k(x, x) - k(x, given.X) @ np.linalg.solve(K, k(given.X, x))))


def test_the_noise_that_is_told_holds_for_its_own_outcome() -> None:
    one = Data(np.array([[0.2], [0.8]]), np.array([1.0, -1.0]), np.array([0.0, 4.0]), np.array([0]))
    mean, variance = condition(one, Kernel(np.array([0.05]), 1.0, 1e-6)).predict(one.X)
    assert mean == pytest.approx([1.0, -0.2], abs=1e-3)
    assert variance == pytest.approx([0.0, 0.8], abs=1e-3)


def test_the_gradients_of_mean_and_variance_are_those_of_differences() -> None:
    process, x = posterior(), np.array([0.3, 0.6, 0.1])
    mean, variance, by_mean, by_variance = process.slopes(x)
    assert (mean, variance) == pytest.approx([float(v[0]) for v in process.predict(x[None, :])])
    assert by_mean == pytest.approx(differences(lambda at: process.predict(at[None, :])[0][0], x), rel=1e-5)
    assert by_variance == pytest.approx(differences(lambda at: process.predict(at[None, :])[1][0], x), rel=1e-5)


def test_samples_under_way_leave_the_mean_and_shrink_the_variance() -> None:
    process, x = posterior(), np.array([[0.9, 0.9, 0.1]])
    around = np.random.default_rng(2).random((20, 3))
    expecting = process.expecting(x)
    assert expecting.predict(around)[0] == pytest.approx(process.predict(around)[0], abs=1e-8)
    assert (expecting.predict(around)[1] <= process.predict(around)[1] + 1e-9).all()
    assert expecting.predict(x)[1][0] < 0.1 * process.predict(x)[1][0]


def test_a_matrix_that_is_almost_singular_is_factored_and_says_with_what() -> None:
    L, added = factor(np.ones((4, 4)))
    assert 0 < added <= 1e-4
    np.testing.assert_allclose(L @ L.T, np.ones((4, 4)), atol=1e-3)


def test_a_matrix_that_is_no_covariance_is_refused_in_words() -> None:
    with pytest.raises(ModelFailed, match="covariance matrix of 2 points is not positive definite"):
        factor(np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ModelFailed, match="not finite"):
        factor(np.full((2, 2), np.nan))


# ---------------------------------------------------------------------------------------------------- its parameters


@pytest.mark.parametrize("told", [0.0, 0.04])
def test_the_gradient_of_the_likelihood_is_that_of_differences(told: float) -> None:
    density = Density(data(15, told), Prior())
    theta = np.array([0.1, -0.4, 0.2, -3.0])
    assert density(theta)[1] == pytest.approx(differences(lambda at: density(at)[0], theta), rel=1e-5, abs=1e-6)


def test_the_likelihood_is_that_of_the_normal_distribution() -> None:
    given, theta = data(8, 0.02), np.log(np.array([0.4, 0.9, 1.3, 1e-3]))
    process = condition(given, KERNEL)
    K = process._factor @ process._factor.T
    mean, width = Prior().moments(2)
    expected = 0.5 * given.y @ np.linalg.solve(K, given.y) + 0.5 * np.linalg.slogdet(K)[1] + 0.5 * (((theta - mean) / width) ** 2).sum()
    assert Density(given, Prior())(theta)[0] == pytest.approx(expected)


def test_an_input_without_effect_gets_a_long_scale_and_exact_outcomes_little_noise() -> None:
    rng = np.random.default_rng(3)
    X = rng.random((150, 2))
    y = np.sin(6 * X[:, 0])
    found = fit(Data(X, (y - y.mean()) / y.std(), np.zeros(150), np.array([0, 1])), Prior())
    assert found.scales[1] > 10 * found.scales[0]
    assert found.noise < 1e-3


def test_noise_that_was_not_told_is_learned() -> None:
    rng = np.random.default_rng(4)
    X = rng.random((150, 1))
    y = np.sin(6 * X[:, 0]) + 0.5 * rng.standard_normal(150)
    given = Data(X, y, np.zeros(150), np.array([0]))
    assert fit(given, Prior()).noise == pytest.approx(0.25, rel=0.4)
    assert fit(Data(X, y, np.full(150, 0.25), np.array([0])), Prior()).noise < 0.05


def test_the_number_of_evaluations_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    inner = Density.__call__

    def counted(self: Density, theta: Array) -> tuple[float, Array]:
        sizes.append(self._n)
        return inner(self, theta)

    monkeypatch.setattr(Density, "__call__", counted)
    fit(data(300), Prior())
    assert sizes.count(300) <= 16
    assert len(sizes) <= 2 * 48 + 16


# ----------------------------------------------------------------------------------------------- what a sample is worth


def test_the_logarithm_of_the_expected_improvement_is_right_near_and_far() -> None:
    z = np.array([-5.0, -1.001, -1.0, -0.5, 0.0, 3.0])
    h = norm.pdf(z) + z * ndtr(z)
    value, slope, rest = log_h(z)
    assert value == pytest.approx(np.log(h), rel=1e-9)
    assert slope == pytest.approx(ndtr(z) / h, rel=1e-7)
    assert rest == pytest.approx(norm.pdf(z) / h, rel=1e-7)
    # By arithmetic with 60 digits.
    assert log_h(np.array([-30.0, -1001.0]))[0] == pytest.approx([-457.724653760598, -501015.23645108583], rel=1e-12)
    assert np.isfinite(log_h(np.array([-1e6, 1e6]))).all()


def test_the_gradient_of_an_acquisition_function_is_that_of_differences() -> None:
    process = posterior()
    acquisition = Acquisition([OfOutcome(process, Improvement(0.8)), OfOutcome(process, Above(0.2, -1.0)), OfOutcome(process, Above(0.0, noise=0.1, caution=10.0))])
    for x in np.random.default_rng(5).random((5, 3)):
        value, gradient = acquisition.slope(x)
        assert value == pytest.approx(acquisition.values(x[None, :])[0])
        assert gradient == pytest.approx(differences(lambda at: acquisition.values(at[None, :])[0], x), rel=1e-4, abs=1e-6)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("mean", [-1e6, 0.0, 1e6])
def test_a_limit_out_of_all_reach_has_a_finite_slope(mean: float) -> None:
    value, by_mean, by_variance = Above(0.5, noise=0.0)(np.array([mean]), np.array([1e-14]))
    assert np.isfinite([by_mean, by_variance]).all() and (np.isfinite(value) | (value == -np.inf)).all()
    assert (by_mean > 0.0) == (mean < 0.5)


def test_where_it_is_not_enough_a_cautious_probability_falls_more_steeply() -> None:
    mean, variance = np.array([1.0, -1.0]), np.ones(2)
    plain, cautious = Above(0.0)(mean, variance)[0], Above(0.0, caution=10.0, enough=0.5)(mean, variance)[0]
    assert cautious[0] == plain[0]
    assert cautious[1] == pytest.approx(plain[1] + 10.0 * (plain[1] - np.log(0.5)))
