"""The bench of optimisers: its problems have the optima that they claim, and its runs leave the rows that they should."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize

from benchmarks.optimizer import engines, functions, latency, situations, summary
from benchmarks.optimizer.__main__ import main
from benchmarks.optimizer.chance import Chance
from benchmarks.optimizer.crew import Worker
from benchmarks.optimizer.laboratory import run
from benchmarks.optimizer.pools import TABLES, Table
from benchmarks.optimizer.problem import OUTCOME, Problem
from benchmarks.optimizer.problems import BUILT_IN, find
from benchmarks.optimizer.rows import DEADLINE, ENDED, HOURS, Key, Row, Rows, by_run, is_finished
from benchmarks.optimizer.runs import Plan, missing, run_all, run_one
from benchmarks.optimizer.scores import area
from lab.core.errors import ConfigError, LabError
from lab.core.trial import Suggestion, TrialState

TABLE = Table("inks.csv", ("solvent", "a", "b"), "quality", "maximize", "nobody", texts=("solvent",))


def lowest(response, bounds, n_starts):
    """The lowest value that Nelder-Mead finds from many places."""
    chance = np.random.default_rng(0)
    low, high = np.array(bounds, dtype=float).T
    starts = low + (high - low) * chance.random((n_starts, len(low)))
    best = sorted(starts, key=response)[:8]
    return min(minimize(response, x, method="Nelder-Mead", bounds=bounds, options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 4000}).fun for x in best)


@pytest.fixture
def pool(tmp_path):
    (tmp_path / "inks.csv").write_text("solvent,a,b,quality\nDMF,0,1,1.0\nDMF,0,1,3.0\nDMF,1,0,5.0\nDMSO,0,1,9.0\nDMSO,1,0,4.0\n")
    return TABLE.read(tmp_path)


@pytest.mark.parametrize(("name", "bounds"), [("branin", [(-5, 10), (0, 15)]), ("hartmann6", [(0, 1)] * 6), ("heteroscedastic-hartmann3", [(0, 1)] * 3)])
def test_no_start_leads_below_the_optimum_that_a_problem_states(name, bounds):
    problem = find(name, Path())
    found = lowest(lambda x: problem.truth({f"x{k + 1}": v for k, v in enumerate(x)}), bounds, 3000)
    assert found == pytest.approx(problem.optimum, abs=1e-9)


@pytest.mark.parametrize("x", [(-math.pi, 12.275), (math.pi, 2.275), (3 * math.pi, 2.475)])
def test_branin_is_lowest_at_its_three_minima(x):
    assert functions.branin(*x) == pytest.approx(functions.BRANIN_MINIMUM, abs=1e-12)


def test_ackley_is_zero_at_the_origin():
    assert functions.ackley([0.0] * 6) == pytest.approx(0.0, abs=1e-12)


def test_the_best_film_has_quality_one_and_no_other_solvent_comes_near():
    assert functions.film("DMSO", 4, 0.1, 135) == 1.0
    assert max(g for name, (g, *_) in functions.LIQUIDS.items() if name != "DMSO") == 0.85


def test_no_blend_on_the_simplex_is_better_than_the_stated_one():
    on_simplex = {"type": "eq", "fun": lambda x: x.sum() - 1}
    starts = np.random.default_rng(0).dirichlet(np.ones(5), 15)
    found = max(-minimize(lambda x: -functions.blend(x), x, method="SLSQP", bounds=[(0, 1)] * 5, constraints=on_simplex,
                          options={"ftol": 1e-15, "maxiter": 300}).fun for x in starts)
    assert found == pytest.approx(functions.BLEND_MAXIMUM, abs=1e-9)


def test_49_per_cent_of_the_box_give_no_sample_and_two_minima_do():
    u = (np.arange(400) + 0.5) / 400
    share = np.mean([functions.no_sample(-5 + 15 * a, 15 * b) for a in u for b in u])
    assert share == pytest.approx(0.49, abs=0.002)
    assert [functions.no_sample(*x) for x in ((-math.pi, 12.275), (math.pi, 2.275), (3 * math.pi, 2.475))] == [False, False, True]


@pytest.mark.parametrize("problem", BUILT_IN, ids=lambda p: p.name)
def test_a_problem_is_a_campaign_that_scatters_alike_for_every_engine(problem: Problem):
    values = Chance(problem, 1).suggest([]).values
    assert problem.allowed.problems(values) == []
    assert problem.measure(values, 5, 3) == problem.measure(values, 5, 3)
    assert problem.source and (problem.also or problem.regret(values) > 0)


@pytest.mark.parametrize("problem", BUILT_IN, ids=lambda p: p.name)
def test_a_campaign_file_can_say_every_problem(problem: Problem):
    campaign = problem.campaign("botorch", 0)
    assert campaign.space == problem.allowed
    assert [objective.name for objective in campaign.objectives] == list(problem.goals)
    assert all(getattr(campaign, name) for name in problem.settings)
    assert not any(getattr(problem.campaign("botorch", 0, is_ignoring=True), name) for name in problem.settings)


def test_a_pool_is_said_as_candidates(pool):
    problem = Problem("inks", {**pool.space}, "maximize", pool.response, pool.optimum, 4, "nobody", pool=pool)
    assert problem.campaign("botorch", 0).candidates.records() == list(pool.rows)
    assert problem.campaign("ax", 0).candidates is None


def least_currin(most):
    """Currin's least value where Branin's is at most `most`, from the points of a grid where it is."""
    u = np.linspace(0, 1, 41)
    starts = sorted((functions.currin(a, b), a, b) for a in u for b in u if functions.branin(15 * a - 5, 15 * b) <= most)[:1] or [(9.0, 0.543, 0.152), (9.0, 0.124, 0.818)]
    limit = {"type": "ineq", "fun": lambda z: most - functions.branin(15 * z[0] - 5, 15 * z[1])}
    found = [minimize(lambda z: functions.currin(*z), start[1:], method="SLSQP", bounds=[(0, 1)] * 2, constraints=limit, options={"ftol": 1e-12}) for start in starts]
    return min(result.fun for result in found if limit["fun"](result.x) >= -1e-6)


def test_the_stated_hypervolume_lies_between_those_of_coarse_trade_offs_below_and_above():
    limits = functions.BRANIN_MINIMUM + 1e-6 + (18 - functions.BRANIN_MINIMUM) * np.linspace(0, 1, 33) ** 2
    gained = np.maximum(0, 6 - np.minimum.accumulate([least_currin(most) for most in limits]))
    widths = np.diff(limits)
    assert (widths * gained[:-1]).sum() < functions.BRANIN_CURRIN_HYPERVOLUME < (widths * gained[1:]).sum()
    assert (widths * gained[1:]).sum() - (widths * gained[:-1]).sum() < 3


def test_the_area_that_points_dominate_counts_no_part_twice_and_none_beyond_the_reference():
    assert area([(1, 3), (2, 2), (2, 4), (5, 0), (3, 1)], (4, 4)) == 3 * 1 + 2 * 1 + 1 * 1
    assert area([(4, 0), (0, 4)], (4, 4)) == 0


def test_the_drift_begins_at_zero_is_the_same_for_every_engine_and_comes_near_two():
    assert situations.drifting(3, 0.0) == 0.0
    assert situations.drifting(3, 7.5) == situations.drifting(3, 7.5)
    assert all(1.0 <= abs(situations.drifting(seed, 40.0)) <= 3.0 for seed in range(20))


def test_a_quarter_of_the_box_bears_the_pressure_and_the_best_of_it_is_branins_minimum():
    problem = find("safe-branin", Path())
    u = (np.arange(80) + 0.5) / 80
    held = [{"x1": -5 + 15 * a, "x2": 15 * b} for a in u for b in u]
    assert np.mean([not problem.breaks(point) for point in held]) == pytest.approx(0.25, abs=0.01)
    assert [problem.breaks({"x1": x, "x2": y}) for x, y in ((-math.pi, 12.275), (math.pi, 2.275), (3 * math.pi, 2.475))] == [True, False, True]
    assert all(situations._pressure(point) < 2 for seed in range(20) for point in problem.starts(seed))


def test_told_noise_comes_as_the_standard_error_and_untold_noise_does_not():
    told, untold = find("heteroscedastic-hartmann3", Path()), find("noisy-ackley6", Path())
    assert told.measure({"x1": 0.1, "x2": 0.5, "x3": 1.0}, 0, 0).measured[OUTCOME].sem == pytest.approx(0.52)
    assert untold.measure({f"x{k}": 0.0 for k in range(1, 7)}, 0, 0).measured[OUTCOME].sem is None


def test_replicates_of_a_table_are_one_row_with_their_mean(pool):
    assert len(pool.rows) == 4
    assert pool.response({"solvent": "DMF", "a": 0.0, "b": 1.0}) == 2.0
    assert pool.optimum == 9.0 and pool.top == {2}


def test_the_nearest_row_is_one_that_was_not_tried(pool):
    point = {"solvent": "DMSO", "a": 0.1, "b": 0.9}
    assert pool.nearest(point, ())[0] == 2
    assert pool.nearest(point, {2})[0] == 0


def test_rounded_fractions_are_scaled_to_their_total(tmp_path):
    (tmp_path / "inks.csv").write_text("a,b,quality\n33.3,66.6,1\n50,50,2\n")
    pool = dataclasses.replace(TABLE, inputs=("a", "b"), texts=(), total=1.0).read(tmp_path)
    assert [sum(row.values()) for row in pool.rows] == pytest.approx([1.0, 1.0], abs=1e-11)
    assert pool.space["constraints"] == ["a + b == 1"]


def test_a_table_that_is_not_there_says_how_to_name_its_folder(tmp_path):
    with pytest.raises(ConfigError, match="give its folder with --data"):
        find("pool-p3ht", tmp_path)


def test_a_pool_gives_each_row_once_and_says_when_a_point_was_moved(pool):
    problem = Problem("inks", {**pool.space}, "maximize", pool.response, pool.optimum, 4, "nobody", pool=pool)
    rows = list(run(problem, Stubborn({"solvent": "DMSO", "a": 0.0, "b": 1.0}), Key("inks", "stubborn", "1", 0)))
    assert len({row.parameters for row in rows}) == 4
    assert [("moved to the nearest untried row" in row.note) for row in rows] == [False, True, True, True]
    assert [row.found for row in rows] == [1.0] * 4


class Stubborn:
    """Suggests one point for ever."""

    has_pools = False

    def __init__(self, values) -> None:
        self._values = values

    def suggest(self, trials):
        return Suggestion(self._values, "stubborn")


def campaign_of(name, engine, **changed):
    problem = dataclasses.replace(find(name, Path()), **changed)
    return problem, list(run(problem, engine or Chance(problem, 0), Key(name, "random", "1", 0)))


class Watching(Chance):
    """Chance that keeps what it was shown."""

    def __init__(self, problem) -> None:
        super().__init__(problem, 0)
        self.seen = []

    def suggest(self, trials):
        self.seen.append([trial.state for trial in trials])
        return super().suggest(trials)


def test_four_samples_are_under_way_at_a_time_and_end_in_their_own_order():
    engine = Watching(find("delayed-hartmann6", Path()))
    _, rows = campaign_of("delayed-hartmann6", engine, n_trials=12)
    assert [states.count(TrialState.RUNNING) for states in engine.seen] == [0, 1, 2] + [3] * 9
    ended = [row.trial for row in rows]
    assert sorted(ended) == list(range(12)) and ended != list(range(12))
    assert all(before.hours <= after.hours for before, after in zip(rows, rows[1:], strict=False))


def test_slow_changes_use_up_the_hours_and_the_run_is_complete_without_its_last_trials():
    problem, rows = campaign_of("switching-hartmann3", None, hours=5.0)
    assert rows[-1].note == f"{HOURS} 5 laboratory hours" and rows[-1].regret == rows[-2].regret
    assert is_finished(rows, problem.n_trials) and len(rows) < problem.n_trials
    assert all(row.hours <= 5.0 for row in rows)


def test_a_degree_takes_a_minute():
    before, after = {"temperature": 100.0, "a": 0, "b": 0}, {"temperature": 70.0, "a": 1, "b": 1}
    chance = np.random.default_rng(0)
    assert situations.heating(None, after, chance) == 900
    assert situations.heating(before, after, chance) == 900 + 30 * 60


def test_a_campaign_with_a_limit_begins_with_the_points_that_are_known_to_keep_it_and_counts_those_that_do_not():
    problem, rows = campaign_of("safe-branin", None)
    assert [row.note for row in rows[:4]] == ["given"] * 3 + ["random"]
    broken = [problem.breaks(json.loads(row.parameters)) for row in rows]
    assert [row.violations for row in rows] == list(np.cumsum(broken)) and sum(broken) > 10


def test_several_objectives_are_scored_by_their_hypervolume():
    problem, rows = campaign_of("branin-currin", None)
    assert all(row.regret == pytest.approx(problem.optimum - row.best) for row in rows)
    assert rows[-1].best >= rows[0].best and set(json.loads(rows[0].measured)) == {"y", "z"}


class Sure(Chance):
    """Recommends one point."""

    def recommend(self, trials):
        return {"x1": 0.114589, "x2": 0.555649, "x3": 0.852547}


def test_where_the_truth_drifts_the_recommended_point_counts_and_not_the_luckiest_reading():
    problem = find("drifting-hartmann3", Path())
    _, rows = campaign_of("drifting-hartmann3", Sure(problem, 0))
    assert [row.regret is None for row in rows[:6]] == [True] * 4 + [False] * 2
    assert rows[-1].regret == pytest.approx(0, abs=1e-8)


def test_an_engine_that_ignores_is_told_neither_of_samples_under_way_nor_of_hours():
    problem = dataclasses.replace(find("delayed-hartmann6", Path()), n_trials=6)
    ours = engines.make(engines.IGNORING, problem, 0)
    told = []
    ours._optimizer = type("Recorder", (), {"suggest": lambda self, trials: told.append(trials) or [Chance(problem, len(told)).suggest([])]})()
    list(run(problem, ours, Key(problem.name, engines.IGNORING, "1", 0)))
    assert all(trial.state is TrialState.COMPLETED and trial.began_lab_s is None for trials in told for trial in trials)
    assert max(len(trials) for trials in told) >= 1


def test_a_run_writes_a_row_for_each_trial_and_the_same_ones_again():
    problem, key = find("failing-branin", Path()), Key("failing-branin", "sobol", "1", 3)
    first, second = ([dataclasses.replace(row, cpu_s=None) for row in run(problem, engines.make("sobol", problem, 3), key)] for _ in range(2))
    assert first == second
    assert [row.trial for row in first] == list(range(30))
    assert first[-1].failures == sum(row.state == "failed" for row in first) > 0
    assert all((row.measured == "") == (row.state == "failed") for row in first)


def test_a_point_outside_the_space_ends_the_run():
    with pytest.raises(LabError, match="suggested what branin does not allow: x1: 11"):
        next(run(find("branin", Path()), Stubborn({"x1": 11.0, "x2": 0.0}), Key("branin", "stubborn", "1", 0)))


def test_peers_that_cannot_be_run_say_why(monkeypatch):
    monkeypatch.setattr("benchmarks.optimizer.engines.importlib.util.find_spec", lambda name: None)
    branin, simplex, mixed, drifting = (find(name, Path()) for name in ("branin", "simplex", "mixed", "drifting-hartmann3"))
    assert engines.obstacle("baybe", branin) == "baybe is not installed (pip install '.[bench]')"
    assert engines.obstacle("ax", branin) == "ax-platform is not installed (pip install '.[bench]')"
    monkeypatch.setattr("benchmarks.optimizer.engines.importlib.util.find_spec", lambda name: object())
    assert engines.obstacle("optuna", simplex) == "cannot say a + b + c + d + e == 1"
    assert engines.obstacle("xopt", mixed) == "cannot say solvent: DMF, DMSO, NMP, GBL, ACN"
    assert engines.obstacle("bofire", drifting) == "it recommends nothing"
    assert engines.obstacle("xopt", drifting) == engines.obstacle("ax", drifting) == ""


def test_our_own_engines_say_what_they_cannot():
    branin, safe = find("branin", Path()), find("safe-branin", Path())
    assert engines.obstacle(engines.IGNORING, branin) == "there is nothing to ignore"
    assert "given ax with safety; allowed: botorch" in engines.obstacle("labwright-ax", safe)
    assert engines.obstacle("botorch", safe) == engines.obstacle(engines.IGNORING, safe) == ""


PLAYED = [("optuna", "safe-branin"), ("ax", "branin-currin"), ("baybe", "failing-branin"), ("xopt", "drifting-hartmann3"), ("bofire", "simplex"),
          ("blop", "failing-branin"), ("gpcam", "switching-hartmann3")]


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="the extra bench is not installed: importing a peer takes seconds")
@pytest.mark.parametrize(("name", "on"), PLAYED)
def test_a_peer_plays_eight_trials_and_plays_them_again(name, on):
    problem = dataclasses.replace(find(on, Path()), n_trials=8)
    if engines.obstacle(name, problem):
        pytest.skip(engines.obstacle(name, problem))
    first, second = ([row.parameters for row in run(problem, engines.make(name, problem, 3), Key(on, name, "1", 3))] for _ in range(2))
    assert first == second and len(first) == 8


def row(trial=0, seed=0, state="completed", note="", **more):
    return Row(**{"problem": "branin", "engine": "sobol", "version": "1", "seed": seed, "trial": trial, "state": state, "parameters": '{"x1": 1.5}',
                  "measured": '{"y": 0.30000000000000004}', "best": 1e-17, "regret": None, "found": None, "failures": 0, "violations": 0,
                  "hours": 1.0 / 3, "cpu_s": 0.25, "note": note, **more})


def test_rows_are_read_as_they_were_written_and_a_line_cut_off_is_none(tmp_path):
    rows = Rows(tmp_path / "rows.csv")
    rows.add(row(note='a, "b"'))
    with (tmp_path / "rows.csv").open("a") as stream:
        stream.write("branin,sobol,1,0,1,comp")
    assert Rows(tmp_path / "rows.csv").read() == [row(note='a, "b"')]


def test_a_file_of_other_columns_is_not_written_to(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n")
    with pytest.raises(ConfigError, match="given a,b; allowed: problem,engine"):
        Rows(tmp_path / "rows.csv")


def test_runs_that_broke_off_begin_again_and_those_that_met_the_deadline_do_not(tmp_path):
    problem = dataclasses.replace(find("branin", Path()), n_trials=2)
    rows = Rows(tmp_path / "rows.csv")
    for given in (row(0, seed=0), row(1, seed=0), row(0, seed=1), row(0, seed=2), row(1, seed=2, state="", note=f"{ENDED}ValueError"),
                  row(0, seed=3, state="", note=f"{DEADLINE} of 5 s"), row(0, seed=5), row(1, seed=5, state="", note=f"{HOURS} 20 laboratory hours")):
        rows.add(given)
    todo = missing(rows, [(problem, Key("branin", "sobol", "1", seed)) for seed in range(6)])
    assert [key.seed for _, key in todo] == [1, 2, 4]
    assert {given.seed for given in rows.read()} == {0, 3, 5}


@pytest.fixture
def worker(tmp_path):
    worker = Worker("random", tmp_path)
    yield worker
    worker.close()


def test_a_run_that_passes_its_deadline_ends_with_a_row_that_says_so(tmp_path, worker):
    rows = Rows(tmp_path / "rows.csv")
    said = run_one(worker, 0.001, rows, Key("branin", "random", "1", 0))
    assert said == "0 trials; ended: deadline of 0.001 s CPU"
    assert is_finished(by_run(rows.read())[Key("branin", "random", "1", 0)], 30)


def test_a_run_that_breaks_down_says_why_and_the_next_one_goes_on(tmp_path, worker):
    rows = Rows(tmp_path / "rows.csv")
    assert run_one(worker, 60.0, rows, Key("pool-p3ht", "random", "1", 0)).startswith("0 trials; ended: ConfigError: ")
    assert run_one(worker, 60.0, rows, Key("branin", "random", "1", 0)) == "30 trials"
    assert not is_finished(by_run(rows.read())[Key("pool-p3ht", "random", "1", 0)], 50)


def test_the_ratio_is_to_the_best_peer_and_ties_are_not_won(tmp_path):
    given = [row(engine="botorch", regret=1e-7), row(engine="labwright-ax", regret=0.0), row(engine="ax", regret=3e-5), row(engine="sobol", regret=0.0)]
    results = summary.collect(given)
    assert summary.best_peers(results)["branin"].engine == "ax"
    ratio = next(figure for figure in summary.figures(results) if "over ax's" in figure.name)
    assert ratio.value == 1.0 and ratio.most == 1.5


def seeds(engine, regrets, **more):
    return [row(engine=engine, seed=k, regret=regret, **more) for k, regret in enumerate(regrets)]


def test_engines_whose_seeds_cannot_be_told_apart_are_tied_and_too_few_seeds_are_no_tie():
    chance = np.random.default_rng(0)
    alike = summary.collect(seeds("botorch", 1.05 * chance.random(12) + 0.01) + seeds("ax", chance.random(12)))
    apart = summary.collect(seeds("botorch", chance.random(12) + 1) + seeds("ax", chance.random(12)))
    few = summary.collect(seeds("botorch", [0.2, 0.35, 0.4]) + seeds("ax", [0.1, 0.3, 0.35]))
    assert [summary.is_best_or_tied(*results) for results in (alike, apart, few)] == [True, False, False]
    best = next(figure for figure in summary.figures(apart) if "best or tied" in figure.name and "problems" in figure.name)
    assert best.value == 0 and best.note == "behind on branin"


def test_an_engine_is_also_held_against_itself_ignoring_the_feature():
    results = summary.collect(seeds("botorch", [0.1, 0.2], problem="delayed-hartmann6") + seeds(engines.IGNORING, [0.3, 0.5], problem="delayed-hartmann6"))
    ratio = next(figure for figure in summary.figures(results) if "ignoring it" in figure.name)
    assert ratio.value == pytest.approx(0.15 / 0.4) and ratio.most == 1.0


def test_the_share_of_samples_beyond_the_limit_is_held_against_one_in_twenty():
    results = summary.collect([row(k, problem="safe-branin", engine="botorch", regret=0.1, violations=k // 10) for k in range(30)])
    share = next(figure for figure in summary.figures(results) if "beyond the limit" in figure.name)
    assert share.value == pytest.approx(100 * 2 / 30) and share.most == 5 and share.note == "2 of 30"


def test_rows_of_an_earlier_version_are_left_out_of_the_summary():
    results = summary.collect([row(regret=5.0), row(seed=1, regret=5.0), row(version="2", regret=1.0)])
    assert [(r.version, r.n_seeds) for r in results] == [("2", 1)]


def test_a_run_without_a_single_sample_counts_as_an_infinite_regret():
    results = summary.collect([row(seed=0, regret=1.0), row(seed=1, regret=2.0), row(seed=2, regret=None)])
    assert list(summary.quartiles(results[0].regret)) == [2.0, 2.0, math.inf]


def test_unknown_names_are_refused_with_those_that_exist(capsys):
    assert main(["--problems", "brain"]) == 2
    assert "no problem brain; allowed: branin, " in capsys.readouterr().err


def test_the_short_form_runs_two_seeds_draws_them_and_runs_nothing_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.optimizer.engines.importlib.util.find_spec", lambda name: None)
    short = ["--problems", "switching-hartmann3", "--engines", "random,blop", "--seeds", "2", "--folder", str(tmp_path)]
    assert main(short) == 0
    assert {row.seed for row in Rows(tmp_path / "rows.csv").read()} == {0, 1}
    assert (tmp_path / "regret.png").stat().st_size > 1000
    capsys.readouterr()
    assert main(short) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 runs, 2 of them on file")
    assert "not run: blop: blop is not installed (pip install '.[bench]') (switching-hartmann3)" in said


def test_after_its_minutes_the_bench_begins_no_further_run(tmp_path):
    rows, said = Rows(tmp_path / "rows.csv"), []
    problem = find("branin", Path())
    assert run_all(Plan(tmp_path, 5.0, most_s=0.0), rows, [(problem, Key("branin", "random", "1", 0))], said.append) == 0
    assert said == [] and rows.read() == []


def test_two_engines_that_find_nothing_of_a_pool_are_tied():
    results = summary.collect([row(problem="pool-p3ht", engine="botorch", regret=1.0, found=0.0), row(problem="pool-p3ht", engine="ax", regret=1.0, found=0.0)])
    assert next(figure.value for figure in summary.figures(results) if "over ax's" in figure.name) == 1.0


def test_the_time_of_a_suggestion_is_held_against_its_target():
    found, = latency.figures("sobol", [(latency.SIMPLEX, 5, 50.0)])
    assert found.name == "sobol: a suggestion, simplex-4, after 5 trials"
    assert found.most == 50.0 and found.value > 0.0


def test_every_table_names_where_it_was_published():
    assert all("doi 10." in table.source for table in TABLES.values())


@pytest.mark.parametrize("name", engines.NAMES)
def test_what_an_engine_imports_exists(name, monkeypatch):
    asked = []
    monkeypatch.setattr(importlib, "import_module", lambda module: asked.append(module) or SimpleNamespace(load=lambda: None))
    engines.load(name)
    assert all(importlib.util.find_spec(module) is not None for module in asked)
