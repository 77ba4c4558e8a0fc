"""What the laboratory adds to the choice of the next point: what changes cost, what is safe, and what becomes of a plate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Suggestion, Trial
from lab.optimise import schedule
from lab.optimise.costs import Durations, durations_of, order, per_hour, staying
from lab.optimise.domain import Domain, Points
from lab.optimise.polytope import Array
from lab.optimise.safety import SafeSet, safe_set_of
from lab.optimise.terms import Term


@dataclass(frozen=True)
class Circumstances:
    """What is known of the laboratory when a point is chosen; made by `circumstances_of`.

    Parameters
    ----------
    durations : Durations or None
        None: every sample costs the same.
    before : mapping or None
        The values of the sample before; None: there is none.
    safe : SafeSet or None
        None: every sample may be made.
    remarks : tuple of str
    """

    domain: Domain
    durations: Durations | None
    before: Mapping[str, Value] | None
    safe: SafeSet | None
    remarks: tuple[str, ...] = ()

    def after(self, values: Mapping[str, Value]) -> Circumstances:
        """The same, once a sample with these values has been planned."""
        return replace(self, before=values)

    def terms(self) -> list[Term]:
        """What is added to the logarithm of what a sample is worth."""
        costs = [] if self.durations is None else [per_hour(self.durations, self.domain, self.before)]
        return [*costs, *([] if self.safe is None else [self.safe])]

    def doubt(self, waiting: Array) -> list[Term]:
        """What is sought before there is a model of the objectives, in a campaign that may suggest nothing unsafe: to learn of the margins.

        Parameters
        ----------
        waiting : ndarray, shape (w, d)
            Points under way: what they will tell is not sought again.
        """
        return [] if self.safe is None else list(self.safe.doubt(waiting))

    def candidates(self, spread: Points) -> Points:
        """Further places to look at, besides those spread evenly."""
        slow = [] if self.durations is None else [staying(self.durations, self.domain, spread, self.before)]
        return Points.join(spread[:0], *slow, *([] if self.safe is None else [self.safe.candidates(spread)]))

    @property
    def known_safe(self) -> Points:
        """Points that are known to be safe, some of them; none where that is not asked."""
        return self.safe.anchors if self.safe is not None else self.domain.points_of([])

    def is_safe(self, values: Mapping[str, Value]) -> bool:
        """Whether a sample with these values may be made."""
        return self.safe is None or bool(np.isfinite(self.safe.values(self.domain.encode_values(values)[None, :])[0]))

    def refusal(self, spread: Points, error: str) -> str:
        """Why there is no safe suggestion, in words."""
        return "" if self.safe is None else self.safe.refusal(self.domain.encode(self.safe.candidates(spread)), error)

    def nearest(self, points: Sequence[Mapping[str, Value]]) -> int:
        """Place of the point that it costs the least to change to; of equal ones the first."""
        if self.durations is None:
            return 0
        costs = [self.durations.change(self.before, values) for values in points]
        return costs.index(min(costs))

    def change_s(self, values: Mapping[str, Value]) -> float:
        """Laboratory seconds to come from the sample before to these values; 0 where nothing is known of that."""
        return 0.0 if self.durations is None else self.durations.change(self.before, values)

    def thought(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """What is written with a suggestion: the laboratory seconds that it is expected to take, and the probability that it is safe."""
        found = {} if self.durations is None else {"seconds": self.durations.seconds(self.before, values)}
        return found if self.safe is None else found | {"safe": self.safe.checked(values)}

    def ordered(self, suggestions: Sequence[Suggestion]) -> list[Suggestion]:
        """The same suggestions in the order of the least seconds of changes after `before`; given points and references keep their places."""
        if self.durations is None:
            return list(suggestions)
        found: list[Suggestion] = []
        movable: list[Suggestion] = []
        here = self.before
        for suggestion in [*suggestions, None]:
            if suggestion is not None and suggestion.origin not in (schedule.REFERENCE, "given"):
                movable.append(suggestion)
                continue
            found += [movable[k] for k in order(self.durations, [one.values for one in movable], here)]
            movable = []
            if suggestion is not None:
                found.append(suggestion)
                here = suggestion.values
        return found


def circumstances_of(campaign: CampaignConfig, domain: Domain, trials: Sequence[Trial]) -> Circumstances:
    """The laboratory, as the trials show it.

    Raises
    ------
    OptimizerError
        When the campaign asks for safe samples and nothing is known to be safe, or no model can be made of it.
    """
    remark = schedule.remark(campaign, trials)
    return Circumstances(domain, durations_of(campaign, domain, trials), schedule.before(trials), safe_set_of(campaign, domain, trials),
                         (remark,) if remark else ())
