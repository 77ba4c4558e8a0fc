"""What was measured before this campaign.

Rows of the same question on the same instruments (``is_same``) count as this campaign's own trials. Rows of another one, an earlier campaign
with other precursors or another spectrometer, cannot be compared number by number: their scale and offset are others. A model is made of
them alone, and this campaign's outcome is expected to follow it, up to an offset and a factor that its own outcomes tell, and up to what only this campaign
shows: the own model starts from there (the idea of Kennedy and O'Hagan 2000, doi:10.1093/biomet/87.1.1). A factor near 0 is found for
rows that have nothing to do with the question, a negative one for those that go the other way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np

from lab.core.errors import OptimizerError
from lab.core.question import CampaignConfig, PriorData, Scalar
from lab.core.trial import Measured, Outcome, Trial, TrialState
from lab.optimise.domain import Domain
from lab.optimise.gaussian import Data, ModelFailed, Posterior, Trend, condition
from lab.optimise.likelihood import Prior, fit
from lab.optimise.polytope import Array
from lab.optimise.readings import LARGEST
from lab.optimise.replicates import alike, merged
from lab.optimise.representative import representative
from lab.optimise.scaling import scale_of

MOST = 200
"""Rows of one table of earlier data that a model is made of: it is asked wherever this campaign's own is."""

FEWEST = 3
"""Rows below which earlier data of another question say nothing."""

FACTOR, OFFSET = (1.0, 1.0), (0.0, 1.0)
"""Before anything is measured: mean and standard deviation of the factor of an earlier model, and of the offset; both outcomes in units of
their own standard deviation."""

STATE, FAILED, SEM = "state", "failed", "_sem"
"""The column that says ``failed`` of a row without an outcome, and what ends the name of a column of standard errors."""


@dataclass(frozen=True)
class Earlier:
    """Models of earlier data of another question.

    Parameters
    ----------
    name : str
    models : mapping of outcome name to Posterior
        Over the domain's columns.
    """

    name: str
    models: Mapping[str, Posterior]


@dataclass(frozen=True)
class Known:
    """Everything that was known before the first trial.

    Parameters
    ----------
    same : tuple of Trial
        Completed and failed ones with the index -1.
    others : tuple of Earlier
    remarks : tuple of str
    """

    same: tuple[Trial, ...] = ()
    others: tuple[Earlier, ...] = ()
    remarks: tuple[str, ...] = ()


_known: WeakKeyDictionary[Domain, tuple[CampaignConfig, Known]] = WeakKeyDictionary()


def known_before(campaign: CampaignConfig, domain: Domain, prior: Prior) -> Known:
    """What the campaign's file says was measured before: it depends on the file alone, and is worked out once.

    Raises
    ------
    OptimizerError
        For tables that lack a parameter.
    """
    if not campaign.prior:
        return Known()
    found = _known.get(domain)
    if found is None or found[0] is not campaign:
        found = _known[domain] = (campaign, _read(campaign, domain, prior))
    return found[1]


def _read(campaign: CampaignConfig, domain: Domain, prior: Prior) -> Known:
    same: list[Trial] = []
    others: list[Earlier] = []
    remarks: list[str] = []
    for table in campaign.prior:
        trials, n_left_out = _trials(campaign, domain, table)
        if n_left_out:
            remarks.append(f"{table.name}: {n_left_out} of {len(table.rows)} rows left out")
        if table.is_same:
            same += trials
            continue
        models = {name: model for name in campaign.outcome_names if (model := _model(campaign, domain, trials, name, prior)) is not None}
        if models:
            others.append(Earlier(table.name, models))
        else:
            remarks.append(f"{table.name}: nothing to learn from")
    return Known(tuple(same), tuple(others), tuple(remarks))


def _trials(campaign: CampaignConfig, domain: Domain, table: PriorData) -> tuple[list[Trial], int]:
    """Rows as trials, and how many cannot be used: values that are none of this space, no outcome."""
    fixed = {p.name: p.value for p in domain.space.fixed}
    missing = [name for name in domain.space.names if name not in table.columns and name not in fixed]
    if missing and table.columns:
        raise OptimizerError(f"prior {table.name}: columns: given {', '.join(table.columns)}; allowed: one for each parameter; missing: {', '.join(missing)}")
    found = [_trial(campaign, domain, {**fixed, **row}, table.is_same) for row in table.records()]
    trials = [trial for trial in found if trial is not None]
    return trials, len(found) - len(trials)


def _trial(campaign: CampaignConfig, domain: Domain, row: Mapping[str, Scalar], is_same: bool) -> Trial | None:
    values = {name: row[name] for name in domain.space.names}
    try:
        domain.encode_values(values)
    except ValueError:
        return None
    if str(row.get(STATE, "")).strip().lower() == FAILED:
        return Trial(-1, TrialState.FAILED, values)
    names = campaign.outcome_names
    known = {name: Measured(number, _number(row.get(name + SEM))) for name in names if (number := _number(row.get(name))) is not None}
    if len(known) < len(names) if is_same else not known:
        return None
    details = {one.name: number for one in campaign.context if (number := _number(row.get(one.name))) is not None}
    return Trial(-1, TrialState.COMPLETED, values, outcome=Outcome(known, details))


def _number(value: Scalar | None) -> float | None:
    """A number that can be used; None for anything else, an empty field above all."""
    return None if value is None or isinstance(value, str) or not abs(value) <= LARGEST else float(value)


def _model(campaign: CampaignConfig, domain: Domain, trials: Sequence[Trial], name: str, prior: Prior) -> Posterior | None:
    """A model of the rows that have the outcome; None where there are too few, or all are alike."""
    rows = [(trial.planned, trial.outcome.measured[name]) for trial in trials if trial.outcome is not None and name in trial.outcome.measured]
    raw = np.array([one.mean for _, one in rows])
    if len(raw) < FEWEST or float(np.ptp(raw)) <= 1e-12 * float(np.abs(raw).max()):
        return None
    objective = next((one for one in campaign.objectives if one.name == name), None)
    scale = scale_of(raw, objective)
    X, y = domain.encode_rows([values for values, _ in rows]), scale.to_unit(raw)
    sems = [None if objective is not None and objective.noise == "inferred" else one.sem for _, one in rows]
    is_told = np.array([sem is not None and sem > 0.0 for sem in sems])
    told = np.array([(sem / scale.width) ** 2 if sem is not None else 0.0 for sem in sems])
    data = merged(Data(X, y, told, domain.columns.groups, np.where(is_told, 0.0, 1.0)), alike(X, is_told[:, None]))
    data = data.only(representative(data.X, scale.merit(data.y, objective), MOST))
    try:
        return condition(data, fit(data, prior))
    except ModelFailed:
        return None


class Function(Protocol):
    """One function of the point."""

    def values(self, x: Array) -> Array:
        """Shape (n,), at `x`, shape (n, d)."""
        ...

    def slopes(self, x: Array) -> tuple[float, Array]:
        """Value and gradient at one point, shape (d,)."""
        ...


@dataclass(frozen=True)
class EarlierMean:
    """What a model of earlier data expects, as a function of the point."""

    model: Posterior

    def values(self, x: Array) -> Array:
        """See `Function`."""
        return self.model.means(x[:, :self.model.data.X.shape[1]])

    def slopes(self, x: Array) -> tuple[float, Array]:
        """See `Function`."""
        n = self.model.data.X.shape[1]
        mean, _, by_mean, _ = self.model.slopes(x[:n])
        return mean, np.concatenate([by_mean, np.zeros(len(x) - n)])


@dataclass(frozen=True)
class Offset:
    """1 everywhere."""

    def values(self, x: Array) -> Array:
        """See `Function`."""
        return np.ones(len(x))

    def slopes(self, x: Array) -> tuple[float, Array]:
        """See `Function`."""
        return 1.0, np.zeros(len(x))


@dataclass(frozen=True)
class Together:
    """Several functions as the basis of a trend; see `lab.optimise.gaussian.Basis`."""

    functions: tuple[Function, ...]

    def values(self, x: Array) -> Array:
        """See `Basis`."""
        return np.column_stack([one.values(x) for one in self.functions]) if len(x) else np.zeros((0, len(self.functions)))

    def slopes(self, x: Array) -> tuple[Array, Array]:
        """See `Basis`."""
        found = [one.slopes(x) for one in self.functions]
        return np.array([value for value, _ in found]), np.array([gradient for _, gradient in found])


def trend(others: Sequence[Earlier], name: str, expected: Function | None) -> Trend | None:
    """What is expected of an outcome before anything is measured; None when nothing is.

    Parameters
    ----------
    expected : Function or None
        The prior mean that the campaign's file gives: taken as it is.
    """
    earlier: list[Function] = [EarlierMean(one.models[name]) for one in others if name in one.models]
    functions = [*([] if expected is None else [expected]), *earlier, *([Offset()] if earlier else [])]
    if not functions:
        return None
    weights = [*([] if expected is None else [(1.0, 0.0)]), *[FACTOR] * len(earlier), *([OFFSET] if earlier else [])]
    return Trend(Together(tuple(functions)), np.array([mean for mean, _ in weights]), np.array([deviation for _, deviation in weights]))
