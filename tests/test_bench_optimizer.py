"""The bench of optimisers: its problems have the optima that they claim, and its runs leave the rows that they should."""

from __future__ import annotations

import dataclasses
import math
import threading
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from benchmarks.optimizer import engines, functions, latency, problems, summary
from benchmarks.optimizer.__main__ import main
from benchmarks.optimizer.one import run
from benchmarks.optimizer.pools import TABLES, Table
from benchmarks.optimizer.problems import ANALYTIC, OUTCOME, Problem, find
from benchmarks.optimizer.rows import DEADLINE, ENDED, Key, Row, Rows, by_run, is_finished
from benchmarks.optimizer.runs import Plan, missing, run_one
from lab.core.errors import ConfigError, LabError
from lab.core.trial import Suggestion

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


@pytest.mark.parametrize("problem", ANALYTIC, ids=lambda p: p.name)
def test_a_problem_is_a_campaign_that_scatters_alike_for_every_engine(problem: Problem):
    values = engines.Chance(problem, 1).suggest([]).values
    assert problem.campaign("sobol", 0).space.problems(values) == []
    assert problem.measure(values, 5, 3) == problem.measure(values, 5, 3)
    assert problem.source and problem.regret(values) > 0


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


def test_a_run_writes_a_row_for_each_trial_and_the_same_ones_again():
    problem, key = find("failing-branin", Path()), Key("failing-branin", "sobol", "1", 3)
    first, second = ([dataclasses.replace(row, cpu_s=None) for row in run(problem, engines.make("sobol", problem, 3), key)] for _ in range(2))
    assert first == second
    assert [row.trial for row in first] == list(range(30))
    assert first[-1].failures == sum(row.state == "failed" for row in first) > 0
    assert all((row.value is None) == (row.state == "failed") for row in first)


def test_a_point_outside_the_space_ends_the_run():
    with pytest.raises(LabError, match="suggested what branin does not allow: x1: 11"):
        next(run(find("branin", Path()), Stubborn({"x1": 11.0, "x2": 0.0}), Key("branin", "stubborn", "1", 0)))


def test_peers_that_cannot_be_run_say_why(monkeypatch):
    monkeypatch.setattr("benchmarks.optimizer.engines.importlib.util.find_spec", lambda name: None)
    branin, simplex = find("branin", Path()), find("simplex", Path())
    assert engines.obstacle("baybe", branin) == "baybe is not installed (pip install '.[bench]')"
    assert engines.obstacle("xopt", branin) == "its adapter is not written yet"
    monkeypatch.setattr("benchmarks.optimizer.engines.importlib.util.find_spec", lambda name: object())
    assert engines.obstacle("optuna", simplex) == "cannot say a + b + c + d + e == 1"


def row(trial=0, seed=0, state="completed", note="", **more):
    return Row(**{"problem": "branin", "engine": "sobol", "version": "1", "seed": seed, "trial": trial, "state": state, "parameters": '{"x1": 1.5}',
                  "value": 0.1 + 0.2, "best": 1e-17, "regret": None, "found": None, "failures": 0, "cpu_s": 0.25, "note": note, **more})


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
                  row(0, seed=3, state="", note=f"{DEADLINE} of 5 s")):
        rows.add(given)
    todo = missing(rows, [(problem, Key("branin", "sobol", "1", seed)) for seed in range(5)])
    assert [key.seed for _, key in todo] == [1, 2, 4]
    assert {given.seed for given in rows.read()} == {0, 3}


def test_a_run_that_passes_its_deadline_ends_with_a_row_that_says_so(tmp_path):
    rows = Rows(tmp_path / "rows.csv")
    said = run_one(Plan(tmp_path, deadline_s=0.01), rows, Key("branin", "sobol", "1", 0), threading.Event())
    assert said == "0 trials; ended: deadline of 0.01 s"
    assert is_finished(by_run(rows.read())[Key("branin", "sobol", "1", 0)], 30)


def test_the_ratio_is_to_the_best_peer_and_ties_are_not_won(tmp_path):
    given = [row(engine="botorch", regret=1e-7), row(engine="ax", regret=3e-5), row(engine="sobol", regret=0.5)]
    results = summary.collect(given)
    assert summary.best_peers(results, "botorch")["branin"].engine == "ax"
    ratio = next(figure for figure in summary.figures(results) if "over ax's" in figure.name)
    assert ratio.value == 1.0 and ratio.most == 1.5


def test_rows_of_an_earlier_version_are_left_out_of_the_summary():
    results = summary.collect([row(regret=5.0), row(seed=1, regret=5.0), row(version="2", regret=1.0)])
    assert [(r.version, r.n_seeds) for r in results] == [("2", 1)]


def test_a_run_without_a_single_sample_counts_as_an_infinite_regret():
    results = summary.collect([row(seed=0, regret=1.0), row(seed=1, regret=2.0), row(seed=2, regret=None)])
    assert list(summary.quartiles(results[0].regret)) == [2.0, 2.0, math.inf]


def test_unknown_names_are_refused_with_those_that_exist(capsys):
    assert main(["--problems", "brain"]) == 2
    assert "no problem brain; allowed: branin, " in capsys.readouterr().err


def test_the_short_form_runs_two_seeds_draws_them_and_runs_nothing_again(tmp_path, capsys):
    short = ["--problems", "branin,branin-currin", "--engines", "sobol,blop", "--seeds", "2", "--jobs", "2", "--folder", str(tmp_path)]
    assert main(short) == 0
    assert len(Rows(tmp_path / "rows.csv").read()) == 60
    assert (tmp_path / "regret.png").stat().st_size > 1000
    capsys.readouterr()
    assert main(short) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 runs, 2 of them on file")
    assert "campaigns have one so far" in said and "its adapter is not written yet" in said


def test_two_engines_that_find_nothing_of_a_pool_are_tied():
    results = summary.collect([row(problem="pool-p3ht", engine="botorch", regret=1.0, found=0.0), row(problem="pool-p3ht", engine="ax", regret=1.0, found=0.0)])
    assert next(figure.value for figure in summary.figures(results) if "over ax's" in figure.name) == 1.0


def test_the_time_of_a_suggestion_is_held_against_its_target():
    found, = latency.figures("sobol", [(latency.SIMPLEX, 5, 50.0)])
    assert found.name == "sobol: a suggestion, simplex-4, after 5 trials"
    assert found.most == 50.0 and found.value > 0.0


def test_every_table_names_where_it_was_published():
    assert all("doi 10." in table.source for table in TABLES.values())
    assert set(problems.NOT_YET) == {"branin-currin"}
