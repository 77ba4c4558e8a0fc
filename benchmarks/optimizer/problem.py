"""A problem: a campaign as a laboratory would write it, and what a sample of it would give."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.optimizer.pools import TOP_SHARE, Pool
from lab.core.question import CampaignConfig
from lab.core.space import ChoiceParameter, LinearConstraint, RangeParameter, Space, Value
from lab.core.trial import Measured, Outcome

Values = Mapping[str, Value]
Chosen = RangeParameter | ChoiceParameter
OUTCOME = "y"
HOUR_S = 3600.0


def never(values: Values) -> bool:
    """No point fails."""
    return False


def exact(values: Values) -> float:
    """No measurement scatters."""
    return 0.0


def steady(seed: int, hours: float) -> float:
    """Nothing drifts."""
    return 0.0


def unknown(seed: int) -> tuple[Values, ...]:
    """Nothing is known before."""
    return ()


def an_hour(before: Values | None, values: Values, chance: np.random.Generator) -> float:
    """Every sample takes an hour."""
    return HOUR_S


@dataclass(frozen=True)
class Problem:
    """A campaign and the truth behind it.

    Parameters
    ----------
    name : str
    space : dict
        ``parameters`` and ``constraints`` as in a campaign file.
    goal : str
        Of the outcome ``y``: ``maximize`` or ``minimize``.
    truth : callable
        The true ``y`` at a point.
    optimum : float
        The best true ``y``; of several objectives the largest hypervolume.
    n_trials : int
    source : str
        Where formula and optimum are from.
    noise : callable
        Standard deviation of one measurement of ``y`` at a point.
    is_told : bool
        Whether the measurement comes with that deviation as its standard error.
    fails : callable
        Whether a point gives no sample.
    pool : Pool or None
        When only the rows of a table can be tried.
    others : mapping of name to callable
        Further true outcomes, measured exactly.
    also : mapping of name to goal
        Those of `others` that are objectives.
    reference : mapping of name to number
        Of several objectives: the reference point, told to every engine.
    limit : str
        What no sample shall do, as in a campaign's ``outcome_constraints``; empty: there is no limit. How often it was is counted.
    starts : callable
        Of the seed: the points with which every engine begins.
    settings : mapping
        What a campaign file says of that which the problem is about, and an engine may ignore.
    n_at_once : int
        So many samples are under way at a time.
    duration_s : callable
        Of the point before (None: of the first sample), the point, and a generator: laboratory seconds of a sample.
    hours : float or None
        Laboratory hours, after which no sample is begun.
    drift : callable
        Of the seed and the laboratory hours since the start: what is added to ``y`` by then.
    is_recommended : bool
        Whether the regret is that of the point which the engine recommends, not of the best measured one.
    """

    name: str
    space: dict[str, Any]
    goal: str
    truth: Callable[[Values], float]
    optimum: float
    n_trials: int
    source: str
    noise: Callable[[Values], float] = exact
    is_told: bool = True
    fails: Callable[[Values], bool] = never
    pool: Pool | None = field(default=None, repr=False)
    others: Mapping[str, Callable[[Values], float]] = field(default_factory=dict)
    also: Mapping[str, str] = field(default_factory=dict)
    reference: Mapping[str, float] = field(default_factory=dict)
    limit: str = ""
    starts: Callable[[int], tuple[Values, ...]] = unknown
    settings: Mapping[str, Any] = field(default_factory=dict)
    n_at_once: int = 1
    duration_s: Callable[[Values | None, Values, np.random.Generator], float] = an_hour
    hours: float | None = None
    drift: Callable[[int, float], float] = steady
    is_recommended: bool = False

    @property
    def goals(self) -> dict[str, str]:
        """The objectives' names and goals."""
        return {OUTCOME: self.goal, **self.also}

    @property
    def has_feature(self) -> bool:
        """Whether it is about something that an engine may also ignore."""
        return bool(self.settings) or self.n_at_once > 1 or self.pool is not None

    @cached_property
    def outcome_limit(self) -> LinearConstraint | None:
        """`limit`, parsed."""
        return LinearConstraint.parse(self.limit, list(self.others)) if self.limit else None

    @cached_property
    def allowed(self) -> Space:
        """Parameters and constraints. A pool's rows are not among them."""
        return self._judged.space

    @cached_property
    def parameters(self) -> tuple[Chosen, ...]:
        """Those of `allowed`; the bench has no fixed ones."""
        return tuple(p for p in self.allowed.parameters if isinstance(p, (RangeParameter, ChoiceParameter)))

    @property
    def ranges(self) -> tuple[RangeParameter, ...]:
        return self.allowed.ranges

    @property
    def constraints(self) -> tuple[LinearConstraint, ...]:
        """Those of `allowed`, all of them linear."""
        return self.allowed.constraints

    @cached_property
    def _judged(self) -> CampaignConfig:
        return self._config("sobol", 0, {})

    @property
    def judge(self) -> CampaignConfig:
        """The campaign by which trials are compared: one objective and the outcome limit."""
        return self._judged

    def campaign(self, engine: str, seed: int, is_ignoring: bool = False) -> CampaignConfig:
        """The campaign for one of Labwright's engines, all else at its defaults.

        Parameters
        ----------
        engine : str
        seed : int
        is_ignoring : bool
            Without what the problem is about: no drift, no durations, no safety, no share of a pool that is wanted.

        Raises
        ------
        pydantic.ValidationError
            When a campaign file cannot say it with that engine.
        """
        more: dict[str, Any] = {} if is_ignoring else dict(self.settings)
        if self.also:
            more["objectives"] = [{"name": name, "goal": goal, "reference": self.reference.get(name)} for name, goal in self.goals.items()]
        if self.pool is not None and engine == "botorch":
            if not is_ignoring:
                more["optimizer"] = {"top": TOP_SHARE}
            more["candidates"] = {"columns": list(self.pool.rows[0]), "rows": [list(row.values()) for row in self.pool.rows]}
        return self._config(engine, seed, more)

    def _config(self, engine: str, seed: int, more: Mapping[str, Any]) -> CampaignConfig:
        optimizer: dict[str, Any] = {"engine": engine, "seed": seed}
        more = dict(more)
        optimizer |= more.pop("optimizer", {})
        starts = self.starts(seed)
        if starts:
            optimizer["initial"] = len(starts)
        if starts and engine == "botorch":
            optimizer["points"] = [dict(point) for point in starts]
        limited = {"outcome_constraints": [self.limit]} if self.limit else {}
        return CampaignConfig.model_validate({
            "name": self.name, "recipe": "none", **self.space,
            "objectives": [{"name": OUTCOME, "goal": self.goal, "noise": "measured" if self.is_told else "inferred"}],
            "budget": {"trials": self.n_trials, "failures": self.n_trials}, "optimizer": optimizer, **limited, **more})

    def measure(self, values: Values, seed: int, trial: int, hours: float = 0.0) -> Outcome | None:
        """One sample's outcome; None where a point gives none. The scatter depends on seed and trial alone, not on the engine.

        Parameters
        ----------
        values : mapping
        seed, trial : int
        hours : float
            Laboratory hours since the start, for the drift.
        """
        if self.fails(values):
            return None
        scatter = self.chance(seed, trial).standard_normal()
        deviation = self.noise(values)
        mean = self.truth(values) + deviation * scatter + self.drift(seed, hours)
        further = {name: Measured(response(values), 0.0 if self.is_told else None) for name, response in self.others.items()}
        return Outcome({OUTCOME: Measured(mean, deviation if self.is_told else None), **further})

    def chance(self, seed: int, trial: int, *more: int) -> np.random.Generator:
        """What is random in one trial, the same for every engine; `more` tells one draw from another."""
        return np.random.default_rng([zlib.crc32(self.name.encode()), seed, trial, *more])

    def regret(self, values: Values) -> float:
        """How far the true ``y`` at a point is from the optimum; 0 or more."""
        return max(0.0, (self.optimum - self.truth(values)) * (1.0 if self.goal == "maximize" else -1.0))

    def breaks(self, values: Values) -> bool:
        """Whether a point's true outcome is beyond the limit."""
        limit = self.outcome_limit
        return limit is not None and not limit.is_met({name: response(values) for name, response in self.others.items()})
