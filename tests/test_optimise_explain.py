"""What is told of a model: against refitting, closed forms, and functions whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from lab.core.question import CampaignConfig
from lab.core.space import ChoiceParameter, LinearConstraint, Parameter, RangeParameter, Space
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise.cloud import of_values, spread
from lab.optimise.dependence import average, map_of, moved, through, triangle_of
from lab.optimise.domain import Domain
from lab.optimise.explain import explain
from lab.optimise.gaussian import Data, Kernel, Posterior, condition
from lab.optimise.left_out import Foretold, LeftOut, foretold, left_out
from lab.optimise.polytope import Array
from lab.optimise.scaling import Scale
from lab.optimise.sensitivity import Effect, sensitivities
from lab.optimise.why import bests_before, why

BOX = Domain(Space((RangeParameter("a", 0, 2), RangeParameter("b", 0, 2), RangeParameter("c", 0, 2))))
FRACTIONS = (RangeParameter("cs", 0, 1), RangeParameter("fa", 0, 1), RangeParameter("ma", 0, 1))
MIXTURE = Domain(Space((*FRACTIONS, RangeParameter("hot", 60, 180)), (LinearConstraint.parse("cs + fa + ma == 1", ["cs", "fa", "ma"]),)))

CAMPAIGN = CampaignConfig.model_validate({
    "name": "line", "recipe": "thin_film", "parameters": [{"name": "x", "type": "range", "bounds": [0, 1]}],
    "objectives": [{"name": "y", "goal": "maximize", "unit": "mV"}], "budget": {"trials": 9}, "optimizer": {"engine": "botorch"}})


class Known:
    """A function of model coordinates that is known exactly."""

    def __init__(self, function: object) -> None:
        assert callable(function)
        self._function = function

    def means(self, x: Array) -> Array:
        return np.asarray(self._function(x), dtype=float)

    def predict(self, x: Array) -> tuple[Array, Array]:
        return self.means(x), np.zeros(len(x))

    def joint(self, x: Array) -> tuple[Array, Array]:
        return self.means(x), np.zeros((len(x), len(x)))


def posterior(n: int = 25, noise: float = 0.01, told: float = 0.0, seed: int = 0) -> Posterior:
    rng = np.random.default_rng(seed)
    X = rng.random((n, 3))
    y = np.sin(5 * X[:, 0]) + X[:, 1] + np.sqrt(noise + told) * rng.standard_normal(n)
    return condition(Data(X, y, np.full(n, told), np.array([0, 1, 2])), Kernel(np.array([0.5, 1.5, 5.0]), 1.0, noise))


def by_name(effects: tuple[Effect, ...]) -> dict[str, Effect]:
    return {one.name: one for one in effects}


# ------------------------------------------------------------------------------------------------------ left out


def test_a_sample_left_out_is_foretold_as_by_a_model_made_without_it() -> None:
    whole = posterior(told=0.02)
    mean, variance = whole.left_out()
    for k in range(len(mean)):
        others = condition(whole.data.only(np.arange(len(mean)) != k), whole.kernel)
        expected, spread_of = others.predict(whole.data.X[k:k + 1])
        assert mean[k] == pytest.approx(expected[0], abs=1e-9)
        assert variance[k] == pytest.approx(spread_of[0] + whole.kernel.noise + 0.02, rel=1e-7)


def test_the_log_density_of_left_out_samples_is_that_of_the_normal_distribution() -> None:
    found = left_out(posterior(), Scale(5.0, 3.0))
    assert found.log_density == pytest.approx(norm.logpdf(found.measured, found.expected, found.deviation).mean())


def test_a_model_that_foretells_well_is_said_to() -> None:
    found = left_out(posterior(40))
    assert found.r2 > 0.9 and found.coverage >= 0.85
    assert found.verdict.startswith(f"the model predicts left-out samples with R2 {found.r2:.2f}; ") and "it can be trusted" in found.verdict


def test_a_model_of_noise_alone_is_said_to_foretell_nothing() -> None:
    rng = np.random.default_rng(3)
    noise = Data(rng.random((30, 2)), rng.standard_normal(30), np.zeros(30), np.array([0, 1]))
    found = left_out(condition(noise, Kernel(np.array([0.3, 0.3]), 0.5, 0.5)))
    assert found.r2 < 0.3 and "it foretells little or nothing yet" in found.verdict


def test_error_bars_that_are_too_short_are_named() -> None:
    measured = np.linspace(0.0, 1.0, 40)
    found = LeftOut(measured, measured + 0.02 * (-1.0) ** np.arange(40), np.full(40, 0.001))
    assert found.coverage == 0.0 and found.verdict.endswith("it can be trusted between the samples, but not its error bars")


@pytest.mark.parametrize(("measured", "words"), [
    ([], "0 samples: too few"), ([1.0], "1 sample: too few"), ([2.0] * 6, "all 6 samples gave the same")])
def test_too_few_or_constant_samples_are_said_in_words(measured: list[float], words: str) -> None:
    given = np.array(measured)
    assert LeftOut(given, given, np.ones(len(given))).verdict.startswith(words)


def test_failures_left_out_are_foretold_where_they_are_together() -> None:
    X = np.linspace(0, 1, 20)[:, None]
    y = np.where(X[:, 0] > 0.6, -1.0, 1.0)
    found = foretold(condition(Data(X, y, np.zeros(20), np.array([0])), Kernel(np.array([0.3]), 1.0, 0.05)))
    assert found.brier < 0.5 * found.brier_of_rate
    assert "better than the overall rate of success (" in found.verdict and "no better" not in found.verdict
    assert sum(n for _, _, n in found.reliability()) == 20


def test_a_forecast_that_knows_nothing_is_no_better_than_the_rate() -> None:
    assert "no better than the overall rate" in Foretold(np.array([0.2, 0.9, 0.2, 0.9]), np.array([True, False, True, False])).verdict


# ------------------------------------------------------------------------------------------------- sensitivities


def ishigami(x: Array) -> Array:
    at = np.pi * (2.0 * x - 1.0)
    return np.asarray(np.sin(at[:, 0]) + 7.0 * np.sin(at[:, 1]) ** 2 + 0.1 * at[:, 2] ** 4 * np.sin(at[:, 0]))


def test_sobol_indices_are_those_of_ishigamis_function() -> None:
    # Ishigami and Homma 1990; the values are analytic (a = 7, b = 0.1).
    found = sensitivities(Known(ishigami), BOX, 1)
    effects = by_name(found.effects)
    assert found.kind == "sobol"
    assert [effects[name].first for name in "abc"] == pytest.approx([0.3139, 0.4424, 0.0], abs=0.05)
    assert [effects[name].whole for name in "abc"] == pytest.approx([0.5576, 0.4424, 0.2437], abs=0.05)
    assert all(0.0 < one.whole_error < 0.08 for one in found.effects)
    assert found.words.startswith("share of the variance over the whole space, interactions included (total Sobol indices): a 5")


def test_a_model_of_ishigamis_function_has_its_indices() -> None:
    X = spread(BOX, 256, seed=9).x
    y = ishigami(X)
    model = condition(Data(X, (y - y.mean()) / y.std(), np.zeros(256), np.arange(3)), Kernel(np.array([0.35, 0.25, 0.5]), 2.0, 1e-6))
    effects = by_name(sensitivities(model, BOX, 256).effects)
    assert [effects[name].whole for name in "abc"] == pytest.approx([0.5576, 0.4424, 0.2437], abs=0.06)


def test_what_a_model_does_not_know_widens_the_error() -> None:
    few, many = (by_name(sensitivities(posterior(n), BOX, n).effects)["a"].whole_error for n in (8, 60))
    assert few > 1.5 * many


def test_a_model_that_knows_everything_is_explained_without_trouble() -> None:
    line, X = Domain(Space((RangeParameter("a", 0, 1),))), np.linspace(0, 1, 200)[:, None]
    model = condition(Data(X, np.sin(6 * X[:, 0]), np.zeros(200), np.array([0])), Kernel(np.array([0.5]), 1.0, 1e-6))
    assert sensitivities(model, line, 200).effects[0].whole == pytest.approx(1.0, abs=0.05)


def test_nothing_matters_in_a_model_that_expects_the_same_everywhere() -> None:
    for domain in (BOX, MIXTURE):
        found = sensitivities(Known(lambda x: np.zeros(len(x))), domain, 5)
        assert found.effects == () and found.words == "by the model, no parameter makes a difference"


def test_shares_on_a_simplex_sum_to_one_and_name_what_matters() -> None:
    found = sensitivities(Known(lambda x: x[:, 3]), MIXTURE, 10)
    effects = by_name(found.effects)
    assert found.kind == "shapley" and "Shapley" in found.words
    assert sum(one.whole for one in found.effects) == pytest.approx(1.0)
    assert effects["hot"].whole > 0.9 and effects["hot"].first > 0.9


def test_fractions_that_matter_alike_have_like_shares() -> None:
    effects = by_name(sensitivities(Known(lambda x: x[:, 0] * x[:, 1] * x[:, 2]), MIXTURE, 10).effects)
    assert [effects[name].whole for name in ("cs", "fa", "ma")] == pytest.approx([1 / 3] * 3, abs=0.06)


def test_many_parameters_under_constraints_have_shares_that_sum_to_one() -> None:
    ranges: tuple[Parameter, ...] = tuple(RangeParameter(f"p{k}", 0, 1) for k in range(9))
    domain = Domain(Space(ranges, (LinearConstraint.parse("p0 + p1 <= 1", ["p0", "p1"]),)))
    found = sensitivities(Known(lambda x: 2.0 * x[:, 8] + x[:, 0]), domain, 10)
    assert found.effects[0].name == "p8" and sum(one.whole for one in found.effects) == pytest.approx(1.0)


def test_a_choice_in_a_pool_has_its_share() -> None:
    domain = Domain(Space((RangeParameter("t", 0, 1), ChoiceParameter("solvent", ("DMF", "DMSO", "GBL")))))
    rng = np.random.default_rng(0)
    pool = of_values(domain, [{"t": float(rng.random()), "solvent": str(rng.choice(["DMF", "DMSO", "GBL"]))} for _ in range(200)])
    found = sensitivities(Known(lambda x: 3.0 * x[:, 1] + 0.1 * x[:, 0]), domain, 10, pool)
    assert found.kind == "shapley" and found.effects[0].name == "solvent" and found.effects[0].whole > 0.9


# --------------------------------------------------------------------------------------------- partial dependence


def test_the_average_over_the_others_of_an_additive_function_is_its_own_part() -> None:
    curve = average(Known(lambda x: np.sin(3 * x[:, 0]) + 2 * x[:, 1]), spread(BOX, 256), "a")
    part = np.sin(1.5 * np.array(curve.values, dtype=float))
    assert np.array(curve.mean) - curve.mean[0] == pytest.approx(part - part[0], abs=1e-9)
    assert len(curve.values) == 21 and (curve.values[0], curve.values[-1]) == (0, 2)


def test_the_band_of_an_average_is_narrower_than_that_of_its_points() -> None:
    model = posterior(12)
    cloud = spread(BOX, 64)
    curve = average(model, cloud, "a")
    _, variance = model.predict(cloud.x)
    assert 0.0 < float(np.mean(curve.deviation)) < float(np.sqrt(variance.mean()))


def test_on_a_simplex_the_other_fractions_give_way_in_proportion() -> None:
    start = {"cs": 0.2, "fa": 0.6, "ma": 0.2, "hot": 100.0}
    there = moved(MIXTURE, start, {"cs": 0.6})
    assert there == {"cs": 0.6, "fa": pytest.approx(0.3), "ma": pytest.approx(0.1), "hot": 100.0}
    corner = moved(MIXTURE, {"cs": 1.0, "fa": 0.0, "ma": 0.0, "hot": 100.0}, {"cs": 0.5})
    assert corner == {"cs": 0.5, "fa": pytest.approx(0.25), "ma": pytest.approx(0.25), "hot": 100.0}


def test_what_a_constraint_forbids_is_left_out_of_a_curve() -> None:
    domain = Domain(Space((RangeParameter("a", 0, 1), RangeParameter("b", 0, 1)), (LinearConstraint.parse("a + b <= 1", ["a", "b"]),)))
    curve = through(Known(lambda x: x[:, 0]), domain, {"a": 0.1, "b": 0.5}, "a")
    assert max(float(v) for v in curve.values) == pytest.approx(0.5)
    found = map_of(Known(lambda x: x[:, 0]), domain, {"a": 0.1, "b": 0.5}, ("a", "b"))
    assert all(float(a) + float(b) <= 1 + 1e-9 for a, b in found.at) and len(found.at) == 21 * 22 / 2


def test_a_triangle_shares_the_sum_and_holds_all_else() -> None:
    found = triangle_of(Known(lambda x: x[:, 0]), MIXTURE, {"cs": 0.2, "fa": 0.6, "ma": 0.2, "hot": 100.0}, ("cs", "fa", "ma"))
    assert len(found.at) == 25 * 26 / 2 and dict(found.others) == {"hot": 100.0}
    assert found.mean == pytest.approx([float(one[0]) for one in found.at])


def test_choices_and_whole_numbers_are_gone_through_one_by_one() -> None:
    domain = Domain(Space((RangeParameter("n", 1, 4, is_integer=True), RangeParameter("t", 1, 100, is_log=True), ChoiceParameter("s", ("x", "y")))))
    point = {"n": 2, "t": 10.0, "s": "x"}
    model = Known(lambda x: x[:, 0])
    assert through(model, domain, point, "n").values == (1, 2, 3, 4) and through(model, domain, point, "s").values == ("x", "y")
    assert through(model, domain, point, "t").values[10] == pytest.approx(10.0)


# --------------------------------------------------------------------------------------------------- why this point


@pytest.mark.parametrize(("origin", "words"), [
    ("sobol", "evenly spread over the space: the model begins with such points"),
    ("sobol (model failed: it is flat)", "evenly spread over the space (model failed: it is flat)"),
    ("given", "given by the campaign's file"), ("reference", "the reference sample, by which drift is seen"),
    ("remote: alice", "proposed from afar by alice"), ("anna", "asked for by anna"),
    ("anna (measured elsewhere)", "measured elsewhere, brought by anna"),
    ("ax (noise inferred)", "why this point is not on record"), ("", "why this point is not on record")])
def test_a_point_without_a_thought_is_told_by_its_origin(origin: str, words: str) -> None:
    assert why(CAMPAIGN, Trial(0, TrialState.SUGGESTED, {"x": 0.5}, origin=origin), None) == words


def test_a_thought_is_told_against_what_was_the_best_then() -> None:
    thought = {"expected": {"y": [0.91, 0.03]}, "success": 0.93, "acquisition": -1.0, "improvement": 0.021,
               "alternatives": [{"values": {"x": 0.2}, "acquisition": -1.25}], "remarks": ["model of 1000 of 1200 trials"]}
    best = Trial(0, TrialState.COMPLETED, {"x": 0.5}, outcome=Outcome({"y": Measured(0.88)}))
    assert why(CAMPAIGN, Trial(1, TrialState.SUGGESTED, {"x": 0.7}, thought=thought), best) == (
        "expected y 0.91 ± 0.03 (best so far 0.88), chance of success 93 %, expected improvement 0.021 mV; second choice x 0.2: 0.78 times as good; "
        "model of 1000 of 1200 trials")


def test_what_a_sample_costs_how_safe_it_is_and_how_sure_the_best_one_is_are_told() -> None:
    thought = {"aim": "y above 0.88", "seconds": 720.0, "safe": 0.97, "confidence": {"within": 0.02, "probability": 0.93}}
    assert why(CAMPAIGN, Trial(1, TrialState.SUGGESTED, {"x": 0.7}, thought=thought), None) == (
        "sought y above 0.88; takes some 12 min, safe with a probability of 97 %, "
        "the recommended point was within 0.02 of the best with a probability of 93 %")


@pytest.mark.parametrize("thought", [{"expected": "lots"}, {"expected": {"y": [None, 1]}, "alternatives": [3], "remarks": 4}, {"success": True}])
def test_a_thought_of_another_version_is_told_as_far_as_it_is_understood(thought: dict[str, object]) -> None:
    assert why(CAMPAIGN, Trial(0, TrialState.SUGGESTED, {"x": 0.5}, origin="botorch", thought=thought), None) == "why this point is not on record"


def test_the_best_then_is_what_had_been_measured_when_the_trial_was_begun() -> None:
    def trial(index: int, began: float, ended: float | None, y: float) -> Trial:
        state = TrialState.RUNNING if ended is None else TrialState.COMPLETED
        outcome = None if ended is None else Outcome({"y": Measured(y)})
        return Trial(index, state, {"x": 0.1 * index}, outcome=outcome, began_lab_s=began, ended_lab_s=ended)

    trials = [trial(0, 0.0, 10.0, 1.0), trial(1, 1.0, 30.0, 3.0), trial(2, 11.0, 20.0, 2.0), trial(3, 25.0, None, 0.0), trial(4, 30.0, None, 0.0)]
    assert [None if one is None else one.index for one in bests_before(CAMPAIGN, trials)] == [None, None, 0, 2, 1]


def test_without_times_the_best_then_goes_by_the_order_of_the_trials() -> None:
    trials = [Trial(k, TrialState.COMPLETED, {"x": 0.1 * k}, outcome=Outcome({"y": Measured(y)})) for k, y in enumerate((1.0, 3.0, 2.0))]
    assert [None if one is None else one.index for one in bests_before(CAMPAIGN, trials)] == [None, 0, 1]


# ------------------------------------------------------------------------------------------------------- altogether


def test_a_pool_is_explained_over_its_candidates() -> None:
    rng = np.random.default_rng(0)
    rows = [[float(a), float(b)] for a, b in rng.random((40, 2))]
    campaign = CampaignConfig.model_validate({
        "name": "pool", "recipe": "thin_film", "parameters": [{"name": name, "type": "range", "bounds": [0, 1]} for name in "ab"],
        "objectives": [{"name": "y", "goal": "maximize"}], "budget": {"trials": 9}, "optimizer": {"engine": "botorch"},
        "candidates": {"columns": ["a", "b"], "rows": rows}})
    trials = [Trial(k, TrialState.COMPLETED, {"a": a, "b": b}, outcome=Outcome({"y": Measured(3.0 * a)})) for k, (a, b) in enumerate(rows[:12])]
    found = explain(campaign, trials)
    (told,) = found.outcomes
    assert told.sensitivities.kind == "shapley" and told.sensitivities.effects[0].name == "a" and told.trials == tuple(range(12))


def test_three_candidates_are_too_few_to_say_what_matters() -> None:
    pool = of_values(BOX, [{"a": 0.1 * k, "b": 0.2, "c": 0.3} for k in range(3)])
    assert sensitivities(posterior(), BOX, 25, pool).words == "the candidates are too few to say what matters"


def test_what_is_measured_and_not_chosen_has_a_curve_as_far_as_it_was_seen() -> None:
    campaign = CampaignConfig.model_validate({**CAMPAIGN.model_dump(exclude_defaults=True), "context": [{"name": "humidity", "bounds": [0, 100]}],
                                              "drift": {"every": 5}})
    trials = [Trial(k, TrialState.COMPLETED, {"x": 0.1 * k}, {"x": 0.1 * k, "humidity": 30.0 + (5 * k) % 7}, began_lab_s=3600.0 * k, ended_lab_s=3600.0 * (k + 1),
                    outcome=Outcome({"y": Measured(0.1 * k + 0.2 * k)})) for k in range(8)]
    (told,) = explain(campaign, trials).outcomes
    humidity, time = told.beyond
    assert (humidity.name, min(humidity.values), max(humidity.values)) == ("humidity", pytest.approx(30.0), pytest.approx(36.0))
    assert (time.name, time.values[0], time.values[-1]) == ("laboratory time, h", pytest.approx(1.0), pytest.approx(9.0))


def test_constraints_that_cannot_be_met_are_told_in_words() -> None:
    campaign = CampaignConfig.model_construct(**{**dict(CAMPAIGN), "constraints": ("x >= 2",)})
    trials = [Trial(k, TrialState.COMPLETED, {"x": 0.1 * k}, outcome=Outcome({"y": Measured(0.1 * k)})) for k in range(4)]
    assert "constraints" in explain(campaign, trials).problem


def test_a_trial_that_the_question_no_longer_allows_is_named() -> None:
    trials = [Trial(k, TrialState.COMPLETED, {"z": 0.1 * k}, outcome=Outcome({"y": Measured(0.1 * k)})) for k in range(4)]
    assert explain(CAMPAIGN, trials, {"x": 0.5}).problem == "trial 0: x: is missing"


def test_what_is_too_bad_to_matter_is_counted() -> None:
    trials = [Trial(k, TrialState.COMPLETED, {"x": 0.1 * k}, outcome=Outcome({"y": Measured(-100.0 if k == 3 else 0.1 * k)})) for k in range(9)]
    (told,) = explain(CAMPAIGN, trials).outcomes
    assert told.n_drawn_in == 1
