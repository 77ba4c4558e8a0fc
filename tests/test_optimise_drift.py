"""A laboratory that changes with time, in the models."""

from __future__ import annotations

import numpy as np
import pytest

from lab.core.question import CampaignConfig
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise.domain import Domain
from lab.optimise.drift import N_PIECES, SLIGHT, Path, drifting
from lab.optimise.gaussian import Trend
from lab.optimise.study import Models, study_of


def drifted(n: int) -> Models:
    """Models of ``a`` + a drift of 0.2 an hour, every third sample being the same point."""
    config = CampaignConfig.model_validate({
        "name": "test", "recipe": "none", "parameters": [{"name": "a", "type": "range", "bounds": [0, 1]}], "objectives": [{"name": "y", "goal": "maximize"}],
        "budget": {"trials": 100}, "optimizer": {"engine": "botorch"}, "drift": {"reference": {"a": 0.5}, "every": 3}})
    points = [0.5 if k % 3 == 0 else (0.618 * k) % 1.0 for k in range(n)]
    trials = [Trial(k, TrialState.COMPLETED, {"a": a}, outcome=Outcome({"y": Measured(a + 0.2 * k, 0.01)}), began_lab_s=3600.0 * k, ended_lab_s=3600.0 * k + 3600)
              for k, a in enumerate(points)]
    return study_of(config, Domain(config.space), trials).models()


def test_the_path_is_added_to_the_outcome_of_every_point_alike() -> None:
    models = drifted(16)
    x = np.linspace(0, 1, 11)[:, None]
    early, late = (models.outcomes["y"].means(np.hstack([x, np.full((11, 1), share * SLIGHT)])) for share in (0.2, 0.9))
    assert np.ptp(late - early) < 0.02 * abs((late - early).mean())


def test_points_are_compared_as_they_would_be_now() -> None:
    models = drifted(16)
    found = models.natural("y", np.array([[0.0], [1.0]]))[0]
    assert found[1] - found[0] == pytest.approx(1.0, abs=0.1)
    assert found[0] == pytest.approx(0.2 * 16, abs=0.4)


def test_each_piece_of_the_path_has_its_gradient() -> None:
    x = np.array([0.3, 0.37 * SLIGHT])
    values, gradients = Path(1).slopes(x)
    around = [(Path(1).values((x + step)[None, :])[0] - Path(1).values((x - step)[None, :])[0]) / 2e-9 for step in 1e-9 * np.eye(2)]
    assert values.tolist() == Path(1).values(x[None, :])[0].tolist()
    assert gradients == pytest.approx(np.transpose(around))


def test_a_trend_that_is_known_before_stays_beside_the_path() -> None:
    known = Trend(Path(0), np.full(N_PIECES, 2.0), np.zeros(N_PIECES))
    x = np.array([[0.5 * SLIGHT, 0.2 * SLIGHT], [SLIGHT, 0.9 * SLIGHT]])
    both = drifting(known, 1)
    assert both.at(x)[0].tolist() == known.at(x)[0].tolist()
    assert both.at(x)[1].shape == (2, 2 * N_PIECES)
    assert both.basis.slopes(x[0])[1].shape == (2 * N_PIECES, 2)
