"""What is known before the first sample: earlier data of the same question or of another, and a prior mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from lab.core.config import LabConfig
from lab.core.errors import OptimizerError
from lab.core.expected import is_code
from lab.core.question import CampaignConfig
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise import make_optimizer
from lab.optimise.domain import Domain
from lab.optimise.study import Models, study_of
from lab.remote.registry.campaign_checks import check_config

COLUMNS = ["a", "s", "y"]


def campaign(**more: Any) -> CampaignConfig:
    return CampaignConfig.model_validate({
        "name": "test", "recipe": "none", "parameters": [{"name": "a", "type": "range", "bounds": [0, 10]}, {"name": "s", "type": "choice", "values": ["u", "v"]}],
        "objectives": [{"name": "y", "goal": "maximize"}], "budget": {"trials": 100}, "optimizer": {"engine": "botorch", "initial": 4}, **more})


def truth(a: float, s: str) -> float:
    return float(np.sin(0.7 * a) + (0.5 if s == "v" else 0.0))


def rows(n: int, factor: float = 1.0, offset: float = 0.0, seed: int = 0) -> list[list[Any]]:
    rng = np.random.default_rng(seed)
    return [[float(a), s, offset + factor * truth(float(a), s)] for a, s in zip(rng.uniform(0, 10, n), rng.choice(["u", "v"], n).tolist(), strict=True)]


def prior(table: Sequence[Sequence[Any]], columns: Sequence[str] = COLUMNS, is_same: bool = False) -> dict[str, Any]:
    return {"prior": [{"name": "old", "columns": list(columns), "rows": [list(row) for row in table], "is_same": is_same}]}


def done(index: int, a: float, s: str, mean: float | None = None) -> Trial:
    return Trial(index, TrialState.COMPLETED, {"a": a, "s": s}, outcome=Outcome({"y": Measured(truth(a, s) if mean is None else mean, 0.0)}))


OWN = [done(0, 1.0, "u"), done(1, 6.0, "v"), done(2, 9.0, "u")]


def models(config: CampaignConfig, trials: Sequence[Trial]) -> Models:
    return study_of(config, Domain(config.space), trials).models()


def error(config: CampaignConfig, trials: Sequence[Trial]) -> float:
    """Mean error of what is expected over the space, in the outcome's unit."""
    places = [{"a": a, "s": s} for a in np.linspace(0, 10, 41).tolist() for s in ("u", "v")]
    found = models(config, trials)
    mean, _ = found.natural("y", found.study.domain.encode_rows(places))
    return float(np.abs(mean - [truth(float(p["a"]), str(p["s"])) for p in places]).mean())


@pytest.fixture(autouse=True)
def on_one_thread() -> Iterator[None]:
    """As an engine does its arithmetic: on more, small matrices wait for each other."""
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        yield


# ------------------------------------------------------------------------------------------------- the same question


def test_rows_of_the_same_question_count_as_trials_of_this_campaign() -> None:
    config = campaign(**prior(rows(20), is_same=True))
    assert len(study_of(config, Domain(config.space), OWN).X) == 23
    assert error(config, OWN) < 0.1 * error(campaign(), OWN)


def test_with_rows_of_the_same_question_the_first_sample_is_the_models() -> None:
    suggestion, = make_optimizer(campaign(**prior(rows(20), is_same=True))).suggest([])
    assert suggestion.origin.startswith("botorch")
    assert suggestion.values["s"] == "v"
    assert min(abs(float(suggestion.values["a"]) - best) for best in (2.24, 11.2)) < 0.7 or float(suggestion.values["a"]) == 10.0


def test_rows_that_failed_teach_where_samples_fail() -> None:
    table = [[*row, ""] for row in rows(10)] + [[a, "u", "", "failed"] for a in (4.0, 4.5, 5.0)]
    config = campaign(**prior(table, [*COLUMNS, "state"], is_same=True))
    found = study_of(config, Domain(config.space), OWN)
    assert len(found.failed) == 3
    chance = found.models().success_at(found.domain.encode_rows([{"a": 4.5, "s": "u"}, {"a": 9.0, "s": "u"}]))
    assert chance is not None
    assert chance[0] < 0.5 < chance[1]


def test_rows_that_cannot_be_used_are_left_out_and_counted() -> None:
    table = [*rows(8), [3.0, "w", 1.0], [3.0, "u", ""], [3.0, "u", float("inf")]]
    config = campaign(**prior(table, is_same=True))
    found = study_of(config, Domain(config.space), OWN)
    assert len(found.X) == 11
    assert found.remarks[0] == "old: 3 of 11 rows left out"


def test_standard_errors_of_rows_are_read() -> None:
    table = [[*row, 0.25] for row in rows(8)]
    config = campaign(**prior(table, [*COLUMNS, "y_sem"], is_same=True))
    found = study_of(config, Domain(config.space), [])
    assert found["y"].told == pytest.approx((0.25 / found["y"].scale.width) ** 2)


def test_a_table_without_a_parameter_or_without_an_outcome_is_refused_in_words() -> None:
    for columns in (["a", "y"], ["a", "s"]):
        with pytest.raises(ValueError, match=rf"prior.0.columns: given {', '.join(columns)}; allowed: a, s, and y"):
            campaign(**prior([[1.0, 2.0]], columns))


# --------------------------------------------------------------------------------------------------- another question


def test_what_another_question_says_does_not_depend_on_its_scale_and_offset() -> None:
    found = [models(campaign(**prior(rows(30, factor, offset))), OWN).natural("y", np.array([[0.3, 1.0, 0.0], [0.8, 0.0, 1.0]]))[0]
             for factor, offset in ((1.0, 0.0), (40.0, -700.0))]
    assert found[0] == pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize("factor", [3.0, -2.0])
def test_earlier_data_that_are_alike_or_opposite_tell_much_with_few_own_samples(factor: float) -> None:
    assert error(campaign(**prior(rows(30, factor, 5.0))), OWN) < 0.35 * error(campaign(), OWN)


def test_earlier_data_that_have_nothing_to_do_with_the_question_do_little_harm() -> None:
    rng = np.random.default_rng(4)
    table = [[row[0], row[1], float(np.cos(3.1 * row[0]) * 9 + rng.standard_normal())] for row in rows(40)]
    own = [done(k, float(a), s) for k, (a, s) in enumerate(zip(np.linspace(0, 10, 14), "uv" * 7, strict=True))]
    assert error(campaign(**prior(table)), own) < 1.5 * error(campaign(), own) + 0.02


def test_own_exact_outcomes_overrule_earlier_ones() -> None:
    config = campaign(**prior(rows(30, -1.0)))
    own = [done(k, float(a), s) for k, (a, s) in enumerate(zip(np.linspace(0, 10, 20), "uv" * 10, strict=True))]
    found = models(config, own)
    mean, deviation = found.natural("y", found.study.domain.encode_rows([t.planned for t in own]))
    assert mean == pytest.approx([truth(float(t.planned["a"]), str(t.planned["s"])) for t in own], abs=1e-2)
    assert deviation.max() < 0.02


def test_the_gradients_of_a_model_that_follows_earlier_data_are_those_of_differences() -> None:
    model, x = models(campaign(**prior(rows(30, 3.0, 5.0))), OWN).of("y"), np.array([0.41, 1.0, 0.0])
    mean, variance, by_mean, by_variance = model.slopes(x)
    assert (mean, variance) == pytest.approx([float(v[0]) for v in model.predict(x[None, :])])
    step = 1e-6 * np.eye(3)
    assert by_mean == pytest.approx((model.means(x + step) - model.means(x - step)) / 2e-6, rel=1e-4, abs=1e-5)
    assert by_variance == pytest.approx((model.predict(x + step)[1] - model.predict(x - step)[1]) / 2e-6, rel=1e-4, abs=1e-5)


def test_the_first_samples_are_where_earlier_data_are_good_and_few() -> None:
    engine = make_optimizer(campaign(**prior(rows(30, 3.0, 5.0))))
    first, = engine.suggest([])
    assert first.origin == "sobol (where earlier data are good)"
    assert truth(float(first.values["a"]), str(first.values["s"])) > 1.3
    assert engine.suggest(OWN[:2])[0].origin.startswith("botorch")


def test_an_earlier_table_with_nothing_in_it_is_remarked() -> None:
    found = study_of(config := campaign(**prior([[1.0, "u", 2.0]] * 3)), Domain(config.space), OWN)
    assert found.remarks == ("old: nothing to learn from",)
    assert found.trends == {}


# ---------------------------------------------------------------------------------------------------------- prior mean


def test_a_prior_mean_is_expected_where_nothing_has_been_measured() -> None:
    far = {"parameters": [{"name": "a", "type": "range", "bounds": [0, 1000]}, {"name": "s", "type": "choice", "values": ["u", "v"]}]}
    own = [done(k, float(a), "u", mean=2.0 * a + 1.0) for k, a in enumerate((1.0, 2.0, 4.0))]
    found = models(campaign(**far, prior_mean={"y": "2 * a"}), own)
    mean, _ = found.natural("y", found.study.domain.encode_rows([{"a": 900.0, "s": "v"}]))
    assert mean[0] == pytest.approx(1801.0, abs=3.0)


def test_a_prior_mean_may_be_a_function_and_has_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "expected_of_films.py").write_text("def quality(values):\n    return values['a'] ** 2 + (3 if values['s'] == 'v' else 0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = models(campaign(prior_mean={"y": "expected_of_films:quality"}), OWN).of("y")
    x = np.array([0.52, 0.0, 1.0])
    step = 1e-5 * np.eye(3)[:1]
    assert model.slopes(x)[2][0] == pytest.approx(((model.means(x + step) - model.means(x - step)) / 2e-5)[0], rel=1e-4)


@pytest.mark.parametrize(("body", "words"), [("raise KeyError('b')", "raised KeyError: 'b', at {'a'"), ("return float('nan')", "returned nan at {'a'"),
                                             ("return 'much'", "raised ValueError")])
def test_a_function_that_fails_is_told_in_words(body: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = tmp_path.name
    (tmp_path / f"{name}.py").write_text(f"def quality(values):\n    {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OptimizerError, match=f"prior_mean.y: {name}:quality {words}"):
        models(campaign(prior_mean={"y": f"{name}:quality"}), OWN)


def test_a_module_or_function_that_is_not_there_is_told_in_words() -> None:
    for text in ("no_such_module_here:f", "math:no_such_function"):
        with pytest.raises(OptimizerError, match=rf"prior_mean.y: given {text}: \w+Error"):
            models(campaign(prior_mean={"y": text}), OWN)


def test_an_expression_that_is_no_number_somewhere_is_told_in_words() -> None:
    with pytest.raises(OptimizerError, match=r"prior_mean.y: given 'log\(a - 5\)': it is no finite number at a = 1"):
        models(campaign(prior_mean={"y": "log(a - 5)"}), OWN)


def test_what_is_wrong_with_an_expression_is_known_without_running_it() -> None:
    with pytest.raises(ValueError, match=r"prior_mean.y: given '2 \* s'"):
        campaign(prior_mean={"y": "2 * s"})
    with pytest.raises(ValueError, match="prior_mean: given z; allowed: y"):
        campaign(prior_mean={"z": "2 * a"})
    assert is_code("my.module:expected")
    assert not is_code("exp(-a / 60)")


def test_who_sends_a_campaign_has_no_python_code_run_and_no_file_read() -> None:
    given = campaign().model_dump(mode="json", exclude_unset=True)
    sent = {**given, "prior_mean": {"y": "os:remove"}, "prior": [{"name": "old", "file": "/etc/passwd"}]}
    assert [(one.field, one.given) for one in check_config(LabConfig.model_construct(instruments={}), sent)] == [
        ("prior_mean.y", "'os:remove'"), ("prior.0.file", "'/etc/passwd'")]
