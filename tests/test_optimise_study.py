"""What the trials say to the models: noise, replicates, context, time, and what is remembered between suggestions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig, Objective
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise import make_optimizer
from lab.optimise.domain import Domain
from lab.optimise.doubt import ImprovementInDoubt, improvement_over
from lab.optimise.drift import SLIGHT
from lab.optimise.gaussian import Data, Kernel, condition
from lab.optimise.improvement import Improvement
from lab.optimise.likelihood import Density, Prior, fit
from lab.optimise.memory import recall
from lab.optimise.polytope import Array
from lab.optimise.replicates import alike, merged
from lab.optimise.representative import representative
from lab.optimise.scaling import scale_of
from lab.optimise.study import Study, study_of
from lab.optimise.terms import OfOutcome


def campaign(**more: Any) -> CampaignConfig:
    return CampaignConfig.model_validate({
        "name": "test", "recipe": "none", "parameters": [{"name": "a", "type": "range", "bounds": [0, 1]}, {"name": "b", "type": "range", "bounds": [0, 1]}],
        "objectives": [{"name": "y", "goal": "maximize"}], "budget": {"trials": 100}, "optimizer": {"engine": "botorch", "initial": 4}, **more})


def hill(a: float, b: float) -> float:
    return -(a - 0.3) ** 2 - (b - 0.6) ** 2


def done(index: int, a: float, b: float, mean: float | None = None, sem: float | None = None, details: Mapping[str, float] | None = None,
         at_s: float | None = None) -> Trial:
    return Trial(index, TrialState.COMPLETED, {"a": a, "b": b}, outcome=Outcome({"y": Measured(hill(a, b) if mean is None else mean, sem)}, details or {}),
                 ended_lab_s=at_s)


def trials_of(n: int, seed: int = 0, sem: float | None = None) -> list[Trial]:
    return [done(k, float(a), float(b), sem=sem) for k, (a, b) in enumerate(np.random.default_rng(seed).random((n, 2)))]


def study(config: CampaignConfig, trials: Sequence[Trial]) -> Study:
    return study_of(config, Domain(config.space), trials)


@pytest.fixture(autouse=True)
def on_one_thread() -> Iterator[None]:
    """As an engine does its arithmetic: on more, small matrices wait for each other."""
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        yield


# ----------------------------------------------------------------------------------------------------------- noise


def test_told_errors_hold_for_their_own_trials_and_the_others_share_a_learned_one() -> None:
    trials = [*trials_of(6, sem=0.01), *trials_of(6, seed=1)]
    found = study(campaign(), trials)
    assert found["y"].is_told.tolist() == [True] * 6 + [False] * 6
    assert found["y"].told[:6] == pytest.approx((0.01 / found["y"].scale.width) ** 2)
    model = found.models()
    assert model.outcomes["y"].data.shares.tolist() == [0.0] * 6 + [1.0] * 6
    assert model.remarks == ("noise inferred: 6 of 12 trials have no standard error",)


def test_an_objective_whose_noise_is_to_be_inferred_is_told_none() -> None:
    found = study(campaign(objectives=[{"name": "y", "goal": "maximize", "noise": "inferred"}]), trials_of(6, sem=0.01))
    assert not found["y"].is_told.any()
    assert found.remarks == ()


def test_scatter_among_trials_without_errors_does_not_blur_those_with_exact_ones() -> None:
    rng = np.random.default_rng(3)
    exact = [done(k, x, 0.5, mean=np.sin(6 * x), sem=0.0) for k, x in enumerate(np.linspace(0, 0.45, 8))]
    rough = [done(8 + k, x, 0.5, mean=np.sin(6 * x) + 0.4 * rng.standard_normal()) for k, x in enumerate(np.linspace(0.55, 1, 20))]
    models = study(campaign(), [*exact, *rough]).models()
    _, deviation = models.natural("y", np.array([[exact[3].planned["a"], 0.5], [rough[10].planned["a"], 0.5]], dtype=float))
    assert deviation[0] < 0.01
    assert deviation[1] > 0.05


@pytest.mark.parametrize("told", [0.0, 0.05])
def test_replicates_as_one_observation_have_the_likelihood_of_the_single_ones(told: float) -> None:
    rng = np.random.default_rng(0)
    X = np.repeat(rng.random((5, 2)), [1, 3, 2, 1, 4], axis=0)
    y = np.sin(4 * X[:, 0]) + 0.01 * rng.standard_normal(11)
    single = Data(X, y, np.full(11, told), np.array([0, 1]), np.zeros(11) if told else None)
    one = merged(single, alike(X, np.full((11, 1), told > 0)))
    assert len(one.y) == 5
    thetas = [np.array([0.1, -0.4, 0.2, -3.0]), np.array([-0.5, 0.3, 0.0, -1.0])]
    differences = [Density(one, Prior())(theta)[0] - Density(single, Prior())(theta)[0] for theta in thetas]
    assert differences[0] == pytest.approx(differences[1], abs=1e-8)
    kernel = Kernel(np.array([0.4, 0.9]), 1.3, 0.1)
    x = rng.random((4, 2))
    for mine, theirs in zip(condition(one, kernel).predict(x), condition(single, kernel).predict(x), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-9)


def test_replicates_that_scatter_more_than_they_were_told_to_count_for_less() -> None:
    X = np.zeros((2, 1))
    one = merged(Data(X, np.array([1.0, -1.0]), np.full(2, 0.01), np.array([0]), np.zeros(2)), alike(X, np.ones((2, 1), dtype=bool)))
    assert one.y.tolist() == [0.0]
    assert one.told == pytest.approx([1.0])


def test_the_gradient_of_the_likelihood_with_replicates_and_told_errors_is_that_of_differences() -> None:
    rng = np.random.default_rng(1)
    data = Data(rng.random((6, 2)), rng.standard_normal(6), np.array([0.1, 0, 0, 0.2, 0, 0]), np.array([0, 1]),
                np.array([0, 1, 0.5, 0, 0.25, 1]), (4.0, 0.3))
    theta = np.array([0.1, -0.4, 0.2, -2.0])
    for is_smooth in (False, True):
        density = Density(data, Prior(), is_smooth)
        found = [(density(theta + 1e-6 * e)[0] - density(theta - 1e-6 * e)[0]) / 2e-6 for e in np.eye(4)]
        assert density(theta)[1] == pytest.approx(found, rel=1e-5, abs=1e-6)


# ------------------------------------------------------------------------------------------------------ smoothness


def test_the_outcomes_decide_how_smooth_the_model_is() -> None:
    x = np.linspace(0, 1, 25)[:, None]
    smooth, rough = np.sin(7 * x[:, 0]), np.abs(np.sin(7 * x[:, 0]))
    found = [fit(Data(x, (y - y.mean()) / y.std(), np.full(25, 1e-8), np.array([0]), np.zeros(25)), Prior(may_be_smooth=True)) for y in (smooth, rough)]
    assert [kernel.is_smooth for kernel in found] == [True, False]


# -------------------------------------------------------------------------------------------- what is not chosen


CONTEXT = {"context": [{"name": "humidity", "bounds": [0, 100], "unit": "%"}]}


def test_what_is_measured_and_not_chosen_is_a_column_and_the_last_reading_is_where_the_next_is_sought() -> None:
    trials = [done(k, 0.1 * k, 0.5, mean=0.01 * k, details={"humidity": 10.0 * k}) for k in range(8)]
    found = study(campaign(**CONTEXT), trials)
    assert found.X[:, 2] == pytest.approx(0.1 * np.arange(8))
    assert found.here.tolist() == pytest.approx([0.7])
    now = study(campaign(context=[{**CONTEXT["context"][0], "now": 35}]), trials)
    assert now.here.tolist() == [0.35]
    assert now.models().of("y").predict(np.array([[0.2, 0.5]]))[0].shape == (1,)


def test_a_trial_without_its_reading_is_left_out_of_the_model_and_the_origin_says_so() -> None:
    config = campaign(**CONTEXT)
    trials = [done(k, float(a), float(b), sem=0.0, details={} if k == 2 else {"humidity": 50.0 + k}) for k, (a, b) in enumerate(np.random.default_rng(0).random((7, 2)))]
    assert len(study(config, trials).X) == 6
    suggestion, = make_optimizer(config).suggest(trials)
    assert suggestion.origin == "botorch (1 trial without humidity left out)"
    assert suggestion.thought["remarks"] == ["1 trial without humidity left out"]


def test_the_best_setting_may_depend_on_what_is_measured() -> None:
    rng = np.random.default_rng(0)
    trials = [done(k, float(a), 0.5, mean=-(float(a) - h) ** 2, sem=0.0, details={"humidity": 100.0 * h}) for k, (a, h) in enumerate(rng.random((30, 2)))]
    for now in (20.0, 80.0):
        models = study(campaign(context=[{**CONTEXT["context"][0], "now": now}]), trials).models()
        x = np.column_stack([np.linspace(0, 1, 51), np.full(51, 0.5)])
        assert x[models.of("y").means(x).argmax(), 0] == pytest.approx(now / 100, abs=0.06)


def test_a_drift_is_seen_in_time_and_taken_out_of_the_comparison_of_points() -> None:
    rng = np.random.default_rng(1)
    points = rng.random((24, 2))
    trials = [done(k, float(a), float(b), mean=hill(a, b) - 0.05 * k, sem=1e-3, at_s=3600.0 * (k + 1)) for k, (a, b) in enumerate(points)]
    drifting, ignoring = study(campaign(drift={}), trials).models(), study(campaign(), trials).models()
    x = rng.random((200, 2))
    truth = np.array([hill(*row) for row in x]) - 0.05 * 24
    assert np.abs(drifting.natural("y", x)[0] - truth).mean() < 0.5 * np.abs(ignoring.natural("y", x)[0] - truth).mean()


def test_the_scale_of_time_changes_by_factors_of_two() -> None:
    def last(n: int) -> float:
        found = study(campaign(drift={}), [done(k, 0.1, 0.5, at_s=3600.0 * k) for k in range(n)])
        return float(found.here[0])

    assert [last(n) / SLIGHT for n in (4, 5, 8, 9)] == pytest.approx([1.0, 5 / 8, 1.0, 9 / 16])


def test_drift_without_times_on_record_is_remarked() -> None:
    assert "no laboratory times are on record: drift is not seen" in study(campaign(drift={}), trials_of(4)).remarks


# --------------------------------------------------------------------------------------- what is remembered


def test_the_same_outcomes_are_not_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    config = campaign()
    trials = trials_of(20, sem=0.0)
    first, = make_optimizer(config).suggest(trials)
    thought = json.loads(json.dumps(dict(first.thought)))
    under_way = [*trials, Trial(20, TrialState.RUNNING, first.values, thought=thought)]
    evaluations = []
    inner = Density.__call__

    def counted(self: Density, theta: Array) -> tuple[float, Array]:
        evaluations.append(1)
        return inner(self, theta)

    monkeypatch.setattr(Density, "__call__", counted)
    second, = make_optimizer(config).suggest(under_way)
    assert evaluations == []
    assert second.thought["kernels"] == thought["kernels"]


def test_a_few_more_outcomes_take_a_few_steps_and_many_more_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    sought, followed = [], []

    def search(scales: Sequence[Data], prior: Prior, start: Kernel | None) -> tuple[Kernel, int]:
        sought.append(len(scales[0].y))
        return Kernel(np.ones(2), 1.0, 0.1), 0

    def follow(data: Data, prior: Prior, start: Kernel) -> Kernel:
        followed.append(len(data.y))
        return start

    monkeypatch.setattr("lab.optimise.memory.fit_best", search)
    monkeypatch.setattr("lab.optimise.memory.follow", follow)
    data = study(campaign(), trials_of(40)).models().outcomes["y"].data
    sought.clear()
    record: object = None
    for n in range(10, 41):
        record = recall(data.only(np.arange(n)), Prior(), record).as_json()
    assert sought == [10, 13, 17, 23, 30, 39]
    assert sorted([*sought, *followed]) == list(range(10, 41))


@pytest.mark.parametrize("record", [None, "text", {"scales": "x"}, {"scales": [1.0]}, {"scales": [1.0, -1.0], "amplitude": 1.0, "noise": 0.1, "n_sought": 5},
                                    {"scales": [1.0, 1.0], "amplitude": None, "noise": 0.1, "n_sought": 5}])
def test_a_record_that_cannot_be_used_counts_as_none(record: object) -> None:
    data = study(campaign(), trials_of(8)).models().outcomes["y"].data
    assert recall(data, Prior(), record).n_sought == 8


def test_following_finds_about_what_a_search_finds() -> None:
    data = study(campaign(), trials_of(26, sem=0.0)).models().outcomes["y"].data
    record: object = None
    for n in range(22, 27):
        record = recall(data.only(np.arange(n)), Prior(), record).as_json()
    followed, sought = recall(data, Prior(), record).kernel, fit(data, Prior())
    density = Density(data, Prior())
    values = [density(np.log(np.concatenate([k.scales, [k.amplitude, k.noise]])))[0] for k in (followed, sought)]
    assert values[0] == pytest.approx(values[1], abs=1.0)


# ------------------------------------------------------------------------------------------------------ odd outcomes


def test_the_worst_outcomes_are_drawn_in_and_keep_their_order() -> None:
    raw = np.array([1.0, 2.0, 3.0, 4.0, 5.0, -100.0, -1e100, 50.0])
    scale = scale_of(raw, Objective(name="y", goal="maximize"))
    y = scale.to_unit(raw)
    assert np.argsort(y).tolist() == np.argsort(raw).tolist()
    assert y.min() > -3.0
    assert scale.to_unit(np.array([50.0]))[0] == y[-1]


def test_of_a_target_what_is_far_on_either_side_is_drawn_in() -> None:
    raw = np.array([519.0, 520.0, 521.0, 522.0, 518.0, 900.0, 100.0])
    y = scale_of(raw, Objective(name="y", goal="target", target=520)).to_unit(raw)
    assert np.ptp(y) < 6.0
    assert np.argsort(y).tolist() == np.argsort(raw).tolist()


@pytest.mark.parametrize("outcomes", [[0.0] * 6, [1e150, -1e150] * 3, [1e-300, 2e-300] * 3, [7.0]])
def test_constant_huge_tiny_and_single_outcomes_have_a_scale(outcomes: list[float]) -> None:
    raw = np.array(outcomes)
    y = scale_of(raw, Objective(name="y", goal="maximize")).to_unit(raw)
    assert np.isfinite(y).all()
    assert np.abs(y).max() < 10.0


def test_an_outcome_that_is_no_number_is_refused_in_words() -> None:
    with pytest.raises(OptimizerError, match=r"trial 0: y: given nan; allowed: a finite number up to 1e\+150"):
        study(campaign(), [done(0, 0.1, 0.1, mean=float("nan"))])


def test_of_ten_thousand_trials_those_around_the_best_are_kept_whatever_they_gave() -> None:
    rng = np.random.default_rng(0)
    X = rng.random((10_000, 3))
    merit = -((X - 0.5) ** 2).sum(axis=1) + 0.1 * rng.standard_normal(10_000)
    used = representative(X, merit, 500)
    assert len(used) == 500
    assert np.isin(np.argsort(-merit)[:25], used).all()
    assert merit[used].min() < np.quantile(merit, 0.1)


# ------------------------------------------------------------------------------------------------ the best in doubt


def noisy_process(told: float = 0.1) -> Any:
    rng = np.random.default_rng(0)
    X = rng.random((12, 2))
    y = np.sin(5 * X[:, 0]) + X[:, 1]
    return condition(Data(X, (y - y.mean()) / y.std(), np.full(12, told), np.array([0, 1]), np.zeros(12)), Kernel(np.array([0.4, 0.9]), 1.3, 1e-3))


def test_the_improvement_over_a_best_that_is_in_doubt_is_that_of_draws() -> None:
    process = noisy_process()
    term = improvement_over(process, process.data.X, Improvement(0.5))
    assert isinstance(term, ImprovementInDoubt)
    x = np.array([[0.35, 0.95], [0.2, 0.8], [0.3, 1.0]])
    mean, covariance = process.joint(np.vstack([x, term.process.points]))
    drawn = np.random.default_rng(1).multivariate_normal(mean, covariance, size=200_000)
    expected = np.maximum(drawn[:, :3] - drawn[:, 3:].max(axis=1)[:, None], 0.0).mean(axis=0)
    assert term.values(x) == pytest.approx(np.log(expected), abs=0.5)


def test_a_measured_point_is_no_improvement_over_itself() -> None:
    process = noisy_process()
    term = improvement_over(process, process.data.X, Improvement(0.5))
    best = process.data.X[[process.means(process.data.X).argmax()]]
    assert term.values(best)[0] < term.values(np.array([[0.3, 1.0]]))[0] - 3.0


def test_the_gradient_of_the_improvement_in_doubt_is_that_of_differences() -> None:
    process = noisy_process()
    process = condition(replace(process.data, told=np.linspace(0.02, 0.3, 12)), process.kernel)
    term = improvement_over(process, process.data.X, Improvement(0.5, -1.0))
    for x in np.random.default_rng(2).random((4, 2)):
        value, gradient = term.slope(x)
        assert value == pytest.approx(term.values(x[None, :])[0])
        found = [(term.values((x + 1e-6 * e)[None, :])[0] - term.values((x - 1e-6 * e)[None, :])[0]) / 2e-6 for e in np.eye(2)]
        assert gradient == pytest.approx(found, rel=1e-4, abs=1e-4)


def test_exact_outcomes_leave_no_doubt_about_the_best() -> None:
    process = noisy_process(told=1e-8)
    assert isinstance(improvement_over(process, process.data.X, Improvement(0.5)), OfOutcome)
