"""What an optimiser suggests, given what the ledger holds. The traps of other optimisers are named where they are tested."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.core.best import best_trial
from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Measured, Outcome, Suggestion, Trial, TrialState
from lab.optimise import Optimizer, make_optimizer
from lab.optimise.success import log_success

FILM = {
    "parameters": [{"name": n, "type": "range", "bounds": [0, 1]} for n in ("cs", "fa", "ma")]
    + [{"name": "t", "type": "range", "bounds": [60, 180]}],
    "constraints": ["cs + fa + ma == 1"],
}
MIXED = {
    "parameters": [
        {"name": "x", "type": "range", "bounds": [0, 1]}, {"name": "y", "type": "range", "bounds": [0, 1]},
        {"name": "n", "type": "integer", "bounds": [1, 9]}, {"name": "k", "type": "range", "bounds": [0.001, 10], "scale": "log"},
        {"name": "solvent", "type": "choice", "values": ["DMF", "DMSO", "NMP"]},
        {"name": "spin", "type": "choice", "values": [1000, 2000, 4000], "is_ordered": True}],
    "constraints": ["x + 2*y <= 1.5", "x + 0.05*n >= 0.3"],
}
LINE = {"parameters": [{"name": "x", "type": "range", "bounds": [0, 10]}]}
SMALL = {"parameters": [{"name": "n", "type": "integer", "bounds": [1, 3]}, {"name": "s", "type": "choice", "values": ["a", "b"]}]}
MODELS = ("ax", "botorch")
ENGINES = (*MODELS, "sobol")
ROOT = Path(__file__).parents[1]


def campaign(space: Mapping[str, Any], engine: str = "ax", goal: str = "maximize", initial: int = 4, seed: int = 1, noise: str = "measured",
             limits: Sequence[str] = ()) -> CampaignConfig:
    return CampaignConfig.model_validate({
        "name": "test", "recipe": "none", "objectives": [{"name": "y", "goal": goal, "noise": noise}], "budget": {"trials": 100},
        "outcome_constraints": list(limits), "optimizer": {"engine": engine, "initial": initial, "seed": seed}, **space})


def purity(v: Mapping[str, Value]) -> float:
    return float(np.exp(-((v["cs"] - 0.15) / 0.2) ** 2 - ((v["fa"] - 0.75) / 0.3) ** 2 - ((v["t"] - 140) / 30) ** 2))


def merit(v: Mapping[str, Value]) -> float:
    return float({"DMF": 0.2, "DMSO": 1.0, "NMP": 0.5}[v["solvent"]] - (v["x"] - 0.4) ** 2 - (v["n"] - 5) ** 2 / 50 - np.log10(v["k"]) ** 2 / 9)


def completed(index: int, values: Mapping[str, Value], mean: float, sem: float | None = 0.01, **others: float) -> Trial:
    measured = {"y": Measured(mean, sem), **{name: Measured(value, sem) for name, value in others.items()}}
    return Trial(index, TrialState.COMPLETED, values, outcome=Outcome(measured))


def history(config: CampaignConfig, response: Any, n: int, sem: float | None = 0.01) -> list[Trial]:
    """`n` completed Sobol trials."""
    sobol = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"engine": "sobol"})})
    return [completed(i, s.values, response(s.values), sem) for i, s in enumerate(make_optimizer(sobol).suggest([], n))]


def distance(config: CampaignConfig, a: Mapping[str, Value], b: Mapping[str, Value]) -> float:
    """Largest difference of any range parameter, relative to its bounds."""
    return max(abs(float(a[p.name]) - float(b[p.name])) / (p.high - p.low) for p in config.space.ranges)


def values_of(suggestions: Sequence[Suggestion]) -> list[dict[str, Value]]:
    return [dict(s.values) for s in suggestions]


# ------------------------------------------------------------------------------------------------- every suggestion


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("space", "response"), [(FILM, purity), (MIXED, merit)])
def test_every_suggestion_of_a_campaign_is_allowed_and_new(engine: str, space: Mapping[str, Any], response: Any) -> None:
    config = campaign(space, engine)
    optimizer = make_optimizer(config)
    trials: list[Trial] = []
    for index in range(7):
        suggestion, = optimizer.suggest(trials)
        assert config.space.problems(suggestion.values) == []
        assert all(dict(suggestion.values) != dict(t.planned) for t in trials)
        trials.append(completed(index, suggestion.values, response(suggestion.values)))
        assert suggestion.origin == (engine if engine in MODELS and index >= 4 else "sobol")


@pytest.mark.parametrize("engine", MODELS)
def test_fractions_sum_to_one_and_stay_in_bounds_in_every_suggestion(engine: str) -> None:
    config = campaign(FILM, engine)
    for suggestion in make_optimizer(config).suggest(history(config, purity, 6), 4):
        v = suggestion.values
        assert abs(v["cs"] + v["fa"] + v["ma"] - 1.0) <= 1e-9
        assert all(0.0 <= v[n] <= 1.0 for n in ("cs", "fa", "ma"))


@pytest.mark.parametrize("engine", ENGINES)
def test_several_points_at_once_are_different(engine: str) -> None:
    config = campaign(FILM, engine)
    suggestions = make_optimizer(config).suggest(history(config, purity, 6), 5)
    assert len(suggestions) == 5
    for i, one in enumerate(suggestions):
        assert all(distance(config, one.values, other.values) > 1e-3 for other in suggestions[:i])


@pytest.mark.parametrize("engine", MODELS)
def test_a_batch_across_the_end_of_the_initial_points_has_both_kinds(engine: str) -> None:
    # Ax's client returns 1 trial of 4 here.
    config = campaign(FILM, engine, initial=4)
    suggestions = make_optimizer(config).suggest(history(config, purity, 2), 4)
    assert [s.origin for s in suggestions] == ["sobol", "sobol", engine, engine]


def test_the_initial_points_of_ax_are_the_sobol_points() -> None:
    one_by_one: list[Trial] = []
    optimizer = make_optimizer(campaign(FILM))
    for index in range(4):
        suggestion, = optimizer.suggest(one_by_one)
        one_by_one.append(Trial(index, TrialState.SUGGESTED, suggestion.values))
    at_once = make_optimizer(campaign(FILM, "sobol")).suggest([], 4)
    assert [dict(t.planned) for t in one_by_one] == values_of(at_once)


# --------------------------------------------------------------------------------------------- a function of the ledger


@pytest.mark.parametrize("engine", MODELS)
def test_suggestions_do_not_depend_on_what_was_asked_before(engine: str) -> None:
    config = campaign(FILM, engine)
    trials = history(config, purity, 7)
    used, fresh = make_optimizer(config), make_optimizer(config)
    for n in (0, 3, 6):
        used.suggest(trials[:n])
    expected = values_of(used.suggest(trials, 2))
    assert values_of(fresh.suggest(trials, 2)) == expected
    with ThreadPoolExecutor(1) as another_thread:
        assert values_of(another_thread.submit(used.suggest, trials, 2).result(timeout=200)) == expected


IN_ANOTHER_PROCESS = """
import json, sys
from lab.core.question import CampaignConfig
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise import make_optimizer
found = []
for one in json.load(sys.stdin):
    trials = [Trial(i, TrialState.COMPLETED, v, outcome=Outcome({"y": Measured(y, 0.01)})) for i, (v, y) in enumerate(one["trials"])]
    suggestions = make_optimizer(CampaignConfig.model_validate_json(one["campaign"])).suggest(trials, 2)
    found.append([{k: v.hex() if isinstance(v, float) else v for k, v in s.values.items()} for s in suggestions])
print(json.dumps(found))
"""


def exact(values: Mapping[str, Value]) -> dict[str, Any]:
    return {k: v.hex() if isinstance(v, float) else v for k, v in values.items()}


@pytest.mark.parametrize("engine", MODELS)
def test_another_process_makes_the_same_suggestions_to_the_last_bit(engine: str) -> None:
    given, here = [], []
    for space, response in ((FILM, purity), (MIXED, merit)):
        config = campaign(space, engine)
        trials = history(config, response, 8)
        here.append([exact(s.values) for s in make_optimizer(config).suggest(trials, 2)])
        given.append({"campaign": config.model_dump_json(), "trials": [[dict(t.planned), response(t.planned)] for t in trials]})
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "77"}
    there = subprocess.run([sys.executable, "-c", IN_ANOTHER_PROCESS], input=json.dumps(given), capture_output=True, text=True, check=True,
                           timeout=200, env=environment, cwd=ROOT)
    assert json.loads(there.stdout) == here
    assert there.stderr == ""


@pytest.mark.parametrize("engine", MODELS)
def test_any_seed_that_the_campaign_file_allows_works(engine: str) -> None:
    config = campaign(FILM, engine, seed=2**80)
    assert make_optimizer(config).suggest(history(config, purity, 5))[0].origin == engine


def test_another_seed_gives_other_suggestions() -> None:
    first, second = (make_optimizer(campaign(FILM, seed=seed)).suggest([], 1)[0] for seed in (1, 2))
    assert dict(first.values) != dict(second.values)


def test_the_package_is_imported_without_torch_and_ax() -> None:
    code = "import sys, lab.optimise; print([m for m in ('torch', 'ax', 'botorch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200,
                          cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_a_suggestion_leaves_no_trace_in_the_process() -> None:
    config = campaign(FILM)
    trials = history(config, purity, 5)
    make_optimizer(config).suggest(trials)
    import torch

    def state() -> tuple[Any, ...]:
        ax = logging.getLogger("ax")
        return (torch.get_default_dtype(), torch.get_num_threads(), torch.random.get_rng_state().tolist(), np.random.get_state()[1].tolist(),
                list(warnings.filters), list(ax.handlers), ax.propagate, logging.root.manager.disable)

    before = state()
    make_optimizer(config).suggest(trials)
    assert state() == before


@pytest.mark.parametrize("engine", MODELS)
def test_a_suggestion_prints_nothing(engine: str, capfd: pytest.CaptureFixture[str]) -> None:
    config = campaign(MIXED, engine)
    make_optimizer(config).suggest(history(config, merit, 6))
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""


# ----------------------------------------------------------------------------------- failed, abandoned and pending trials


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.ABANDONED, TrialState.RUNNING, TrialState.SUGGESTED])
def test_a_point_that_gave_no_outcome_is_not_suggested_again(engine: str, state: TrialState) -> None:
    # Ax's client suggests a failed point again and again.
    config = campaign(FILM, engine)
    trials = history(config, purity, 6)
    optimizer = make_optimizer(config)
    for index in range(6, 8):
        suggestion, = optimizer.suggest(trials)
        assert all(distance(config, suggestion.values, t.planned) > 1e-3 for t in trials)
        trials.append(Trial(index, state, suggestion.values))


@pytest.mark.parametrize("engine", MODELS)
def test_the_model_moves_away_from_where_everything_fails(engine: str) -> None:
    config = campaign(LINE, engine)
    trials = [completed(i, {"x": x}, x) for i, x in enumerate([0.5, 2.0, 4.0, 5.5])]
    trials += [Trial(4, TrialState.FAILED, {"x": 7.0}), Trial(5, TrialState.FAILED, {"x": 7.2})]
    suggestion, = make_optimizer(config).suggest(trials)
    assert abs(float(suggestion.values["x"]) - 7.1) > 0.5


@pytest.mark.parametrize("engine", MODELS)
def test_one_failure_does_not_close_the_best_region(engine: str) -> None:
    # A cable came loose at the optimum: its surroundings stay worth a sample.
    config = campaign(LINE, engine)
    trials = [completed(i, {"x": x}, -(x - 6.0) ** 2) for i, x in enumerate([0.0, 2.0, 4.5, 7.5, 10.0])]
    trials.append(Trial(5, TrialState.FAILED, {"x": 6.0}))
    suggestion, = make_optimizer(config).suggest(trials)
    assert 1e-3 * 10 < abs(float(suggestion.values["x"]) - 6.0) < 1.5


def test_the_chance_of_success_falls_near_failures_and_rises_near_completed_trials() -> None:
    x = np.array([[0.5], [0.52], [0.9]])
    one = log_success(x, np.array([[0.9]]), np.array([[0.5]]))
    assert one[0] < one[1] < one[2] <= 0.0
    assert (log_success(x, np.array([[0.9], [0.5]]), np.array([[0.5]]))[:2] > one[:2]).all()
    assert (log_success(x, np.array([[0.9]]), np.zeros((0, 1))) == 0.0).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_neither_the_plan_nor_the_execution_of_a_failed_trial_is_suggested_again(engine: str) -> None:
    config = campaign(SMALL, engine, initial=1)
    failed = [Trial(0, TrialState.FAILED, {"n": 1, "s": "a"}, executed={"n": 2, "s": "a"})]
    rest = {(v["n"], v["s"]) for v in values_of(make_optimizer(config).suggest(failed, 4))}
    assert rest == {(1, "b"), (2, "b"), (3, "a"), (3, "b")}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_space_that_is_used_up_says_so(engine: str) -> None:
    config = campaign(SMALL, engine, initial=2)
    optimizer = make_optimizer(config)
    trials: list[Trial] = []
    for index in range(6):
        suggestion, = optimizer.suggest(trials)
        trials.append(completed(index, suggestion.values, float(index)) if index % 2 else Trial(index, TrialState.FAILED, suggestion.values))
    assert len({(t.planned["n"], t.planned["s"]) for t in trials}) == 6
    with pytest.raises(OptimizerError, match="all 6 points of the space have been tried"):
        optimizer.suggest(trials)


@pytest.mark.parametrize("engine", MODELS)
def test_asking_while_all_initial_trials_are_pending_works(engine: str) -> None:
    # Ax's client raises DataRequiredError here.
    config = campaign(FILM, engine, initial=3)
    pending = [Trial(t.index, TrialState.RUNNING, t.planned) for t in history(config, purity, 3)]
    suggestion, = make_optimizer(config).suggest(pending)
    assert config.space.problems(suggestion.values) == []
    assert suggestion.origin == "sobol (too few outcomes for a model yet)"


def test_failed_initial_trials_are_replaced_by_further_sobol_points() -> None:
    config = campaign(FILM, initial=3)
    trials = [replace(t, state=TrialState.FAILED, outcome=None) for t in history(config, purity, 2)]
    assert [s.origin for s in make_optimizer(config).suggest(trials, 4)] == ["sobol"] * 3 + ["sobol (too few outcomes for a model yet)"]


@pytest.mark.parametrize("engine", MODELS)
def test_the_model_knows_the_pending_trials(engine: str) -> None:
    config = campaign(FILM, engine)
    trials = history(config, purity, 8)
    optimizer = make_optimizer(config)
    first, = optimizer.suggest(trials)
    second, = optimizer.suggest([*trials, Trial(8, TrialState.RUNNING, first.values)])
    assert distance(config, first.values, second.values) > 0.02


# ------------------------------------------------------------------------------------------------ what the model is told


@pytest.mark.parametrize("engine", MODELS)
def test_the_executed_point_enters_the_model_not_the_planned_one(engine: str) -> None:
    # The best outcome was planned at 2 and executed at 7: the model looks around 7.
    config = campaign(LINE, engine)
    trials = [completed(i, {"x": x}, y) for i, (x, y) in enumerate([(0.0, 0.0), (4.5, 0.1), (9.9, 0.1), (5.8, 0.5), (8.2, 0.5)])]
    swapped = replace(completed(5, {"x": 2.0}, 1.0), executed={"x": 7.0})
    suggestion, = make_optimizer(config).suggest([*trials, swapped])
    assert abs(float(suggestion.values["x"]) - 7.0) < 1.5


def test_an_executed_point_slightly_out_of_bounds_is_not_left_out() -> None:
    # Ax leaves such a point out of what the acquisition function compares with, without a word.
    from lab.optimise.domain import Domain
    from lab.optimise.evidence import gather

    config = campaign(FILM)
    trials = history(config, purity, 6)
    trials[2] = replace(trials[2], executed={**trials[2].planned, "t": 181.5, "cs": -0.004})
    evidence = gather(config, Domain(config.space), trials)
    assert len(evidence.X) == 6
    assert evidence.X[2].min() == pytest.approx(-0.004)
    assert evidence.X[2].max() == pytest.approx(1.0125)


def test_the_acquisition_function_sees_every_completed_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.optimise import ax

    ax.load()
    from lab.optimise import surrogate

    seen: list[int] = []
    inner = surrogate._best

    def spy(question: Any, evidence: Any, acquisition: Any, n: int) -> Any:
        seen.append(len(acquisition.X_observed))
        return inner(question, evidence, acquisition, n)

    monkeypatch.setattr(surrogate, "_best", spy)
    config = campaign(FILM)
    trials = history(config, purity, 6)
    trials[2] = replace(trials[2], executed={**trials[2].planned, "t": 185.0, "cs": -0.01})
    make_optimizer(config).suggest(trials)
    assert seen == [6]


@pytest.mark.parametrize("sems", [[None] * 6, [0.01, None, 0.02, 0.01, None, 0.01]])
@pytest.mark.parametrize("engine", MODELS)
def test_missing_standard_errors_are_inferred_and_the_origin_says_so(engine: str, sems: list[float | None]) -> None:
    # Ax's client raises InputDataError for ever after mixing them.
    config = campaign(FILM, engine)
    trials = [completed(t.index, t.planned, purity(t.planned), sem) for t, sem in zip(history(config, purity, 6), sems, strict=True)]
    suggestion, = make_optimizer(config).suggest(trials)
    assert suggestion.origin == f"{engine} (noise inferred: {sems.count(None)} of 6 trials have no standard error)"


@pytest.mark.parametrize("engine", MODELS)
def test_inferred_noise_ignores_standard_errors(engine: str) -> None:
    config = campaign(FILM, engine, noise="inferred")
    trials = history(config, purity, 6)
    without = [completed(t.index, t.planned, purity(t.planned), None) for t in trials]
    first, second = make_optimizer(config).suggest(trials)[0], make_optimizer(config).suggest(without)[0]
    assert dict(first.values) == dict(second.values)
    assert first.origin == second.origin == engine


@pytest.mark.parametrize("engine", MODELS)
def test_a_trusted_outlier_is_followed_and_an_uncertain_one_is_not(engine: str) -> None:
    config = campaign(LINE, engine)
    line = [(0.0, 0.0), (2.0, 0.1), (4.0, 0.9), (6.0, 0.3), (8.0, 0.4), (10.0, 0.5)]
    sure, unsure = (make_optimizer(config).suggest([completed(i, {"x": x}, y, sem) for i, (x, y) in enumerate(line)])[0] for sem in (0.001, 1.0))
    assert abs(float(sure.values["x"]) - 4.0) < 1.5
    assert dict(sure.values) != dict(unsure.values)


@pytest.mark.parametrize("engine", MODELS)
def test_how_bad_the_worst_sample_was_does_not_blind_the_model(engine: str) -> None:
    config = campaign(LINE, engine)
    line = [(0.0, 0.0), (2.0, 0.1), (4.0, 0.9), (6.0, 0.8), (8.0, 0.4), (10.0, -1e6)]
    suggestion, = make_optimizer(config).suggest([completed(i, {"x": x}, y) for i, (x, y) in enumerate(line)])
    assert 3.0 < float(suggestion.values["x"]) < 7.0


@pytest.mark.parametrize("given", [float("nan"), float("inf"), -float("inf"), 1e200])
@pytest.mark.parametrize("engine", MODELS)
def test_an_outcome_that_is_not_a_usable_number_is_refused_with_its_trial(engine: str, given: float) -> None:
    config = campaign(FILM, engine)
    trials = history(config, purity, 6)
    trials[3] = completed(3, trials[3].planned, given)
    with pytest.raises(OptimizerError, match=r"trial 3: y: given .*; allowed: a finite number"):
        make_optimizer(config).suggest(trials)


@pytest.mark.parametrize("sem", [float("nan"), -0.1, float("inf")])
@pytest.mark.parametrize("engine", MODELS)
def test_a_standard_error_that_is_none_is_refused_with_its_trial(engine: str, sem: float) -> None:
    config = campaign(FILM, engine)
    trials = history(config, purity, 6)
    trials[3] = completed(3, trials[3].planned, 0.5, sem)
    with pytest.raises(OptimizerError, match=r"trial 3: standard error of y: given"):
        make_optimizer(config).suggest(trials)


@pytest.mark.parametrize("engine", MODELS)
def test_a_completed_trial_without_the_objective_is_refused(engine: str) -> None:
    config = campaign(FILM, engine)
    trials = history(config, purity, 6)
    trials[1] = replace(trials[1], outcome=Outcome({"z": Measured(1.0)}))
    with pytest.raises(OptimizerError, match="trial 1: is completed and has no outcome y"):
        make_optimizer(config).suggest(trials)


@pytest.mark.parametrize("engine", MODELS)
def test_a_trial_of_another_space_is_refused(engine: str) -> None:
    config = campaign(SMALL, engine)
    with pytest.raises(OptimizerError, match="trial 0: s: given 'c'; allowed: a, b"):
        make_optimizer(config).suggest([completed(0, {"n": 1, "s": "c"}, 1.0)])
    with pytest.raises(OptimizerError, match="trial 0: s: is missing"):
        make_optimizer(config).suggest([completed(0, {"n": 1}, 1.0)])


@pytest.mark.parametrize("n", [0, -1])
@pytest.mark.parametrize("engine", ENGINES)
def test_asking_for_no_point_is_refused(engine: str, n: int) -> None:
    with pytest.raises(OptimizerError, match=f"given n = {n}; allowed: 1 or more"):
        make_optimizer(campaign(LINE, engine)).suggest([], n)


# --------------------------------------------------------------------------------------------------- awkward evidence


@pytest.mark.parametrize("means", [[1.0] * 6, [0.0] * 6, [1e140, -1e140, 0.0, 1e139, 1.0, 2.0], [1e-300] * 3 + [2e-300] * 3,
                                   [1.0, 1.0, 1.0, 1.0, 1.0, 1e9]])
@pytest.mark.parametrize("noise", ["measured", "inferred"])
@pytest.mark.parametrize("engine", MODELS)
def test_constant_huge_and_tiny_outcomes_give_sound_suggestions(engine: str, means: list[float], noise: str) -> None:
    config = campaign(FILM, engine, noise=noise)
    trials = [completed(t.index, t.planned, y) for t, y in zip(history(config, purity, 6), means, strict=True)]
    suggestion, = make_optimizer(config).suggest(trials)
    assert suggestion.origin == engine
    assert config.space.problems(suggestion.values) == []


@pytest.mark.parametrize("engine", MODELS)
def test_repeated_points_with_contradicting_outcomes_do_no_harm(engine: str) -> None:
    config = campaign(FILM, engine)
    point = history(config, purity, 1)[0].planned
    trials = [completed(i, point, float(i), 0.0) for i in range(6)]
    suggestion, = make_optimizer(config).suggest(trials)
    assert config.space.problems(suggestion.values) == []
    assert suggestion.origin == engine


def test_a_model_that_fails_is_replaced_by_sobol_and_the_origin_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.optimise import ax

    ax.load()
    from lab.optimise import surrogate

    def broken(*_: Any) -> Any:
        raise RuntimeError("matrix is not positive definite\nand more")

    monkeypatch.setattr(surrogate, "_generate", broken)
    config = campaign(FILM)
    suggestion, = make_optimizer(config).suggest(history(config, purity, 6))
    assert suggestion.origin == "sobol (model failed: RuntimeError: matrix is not positive definite)"
    assert config.space.problems(suggestion.values) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_campaign_whose_constraints_cannot_be_met_is_refused_at_once(engine: str) -> None:
    with pytest.raises(ValueError, match=r"cs \+ fa \+ ma == 4: cannot be met"):
        make_optimizer(campaign({**FILM, "constraints": ["cs + fa + ma == 4"]}, engine))


# ------------------------------------------------------------------------------------------------------ finding the best


def run(config: CampaignConfig, response: Any, n: int, limit: Any = None) -> list[Trial]:
    optimizer: Optimizer = make_optimizer(config)
    trials: list[Trial] = []
    for index in range(n):
        suggestion, = optimizer.suggest(trials)
        assert config.space.problems(suggestion.values) == []
        others = {} if limit is None else {"thickness": limit(suggestion.values)}
        trials.append(completed(index, suggestion.values, response(suggestion.values), **others))
    return trials


@pytest.mark.parametrize("engine", MODELS)
def test_the_model_finds_the_best_film_on_the_simplex(engine: str) -> None:
    config = campaign(FILM, engine, initial=6, seed=7)
    best = best_trial(config, run(config, purity, 15))
    assert best is not None
    assert purity(best.planned) > 0.95


@pytest.mark.parametrize("engine", MODELS)
def test_the_model_finds_the_best_of_choices_whole_numbers_and_logarithmic_scales(engine: str) -> None:
    config = campaign(MIXED, engine, initial=6, seed=3)
    best = best_trial(config, run(config, merit, 18))
    assert best is not None
    assert best.planned["solvent"] == "DMSO"
    assert merit(best.planned) > 0.9


@pytest.mark.parametrize("engine", MODELS)
def test_minimising_is_maximising_the_opposite(engine: str) -> None:
    up, down = campaign(LINE, engine, "maximize"), campaign(LINE, engine, "minimize")
    trials = [completed(i, {"x": x}, -(x - 3) ** 2) for i, x in enumerate([1.0, 5.0, 8.0, 9.5, 2.0])]
    mirrored = [completed(t.index, t.planned, (float(t.planned["x"]) - 3) ** 2) for t in trials]
    higher, lower = make_optimizer(up).suggest(trials)[0], make_optimizer(down).suggest(mirrored)[0]
    assert higher.values["x"] == pytest.approx(lower.values["x"], abs=0.01)


@pytest.mark.parametrize("engine", MODELS)
def test_an_outcome_constraint_keeps_the_search_where_it_is_met(engine: str) -> None:
    # The objective grows with x; the thickness is enough only below 6.
    config = campaign(LINE, engine, limits=["thickness >= 200"])
    trials = run(config, lambda v: float(v["x"]), 11, limit=lambda v: 320.0 - 20.0 * v["x"])
    best = best_trial(config, trials)
    assert best is not None
    assert 5.5 < float(best.planned["x"]) <= 6.0


@pytest.mark.parametrize("engine", MODELS)
def test_a_search_without_a_single_feasible_trial_looks_for_one(engine: str) -> None:
    config = campaign(LINE, engine, limits=["thickness >= 200"])
    trials = [completed(i, {"x": x}, x, thickness=320.0 - 20.0 * x) for i, x in enumerate([7.0, 8.0, 9.0, 10.0])]
    suggestion, = make_optimizer(config).suggest(trials)
    assert float(suggestion.values["x"]) < 6.0
    assert best_trial(config, trials) is None


def test_the_best_trial_ignores_failed_ones_and_those_beyond_a_limit() -> None:
    config = campaign(LINE, goal="minimize", limits=["thickness >= 200"])
    trials = [completed(0, {"x": 1.0}, 1.0, thickness=100.0), completed(1, {"x": 2.0}, 2.0, thickness=250.0),
              completed(2, {"x": 3.0}, 2.0, thickness=250.0), completed(3, {"x": 4.0}, float("nan"), thickness=250.0),
              replace(completed(4, {"x": 5.0}, 0.0, thickness=250.0), state=TrialState.FAILED),
              Trial(5, TrialState.RUNNING, {"x": 6.0})]
    best = best_trial(config, trials)
    assert best is not None
    assert best.index == 1
    assert best_trial(config, []) is None
