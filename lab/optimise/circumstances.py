"""What the laboratory adds to the choice of the next point: what changes cost, and which points are repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Suggestion, Trial
from lab.optimise import schedule
from lab.optimise.costs import Durations, durations_of, order, per_hour, staying
from lab.optimise.domain import Domain, Points
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
    remarks : tuple of str
    """

    domain: Domain
    durations: Durations | None
    before: Mapping[str, Value] | None
    remarks: tuple[str, ...] = ()

    def after(self, values: Mapping[str, Value]) -> Circumstances:
        """The same, once a sample with these values has been planned."""
        return replace(self, before=values)

    def terms(self) -> list[Term]:
        """What is added to the logarithm of what a sample is worth."""
        return [] if self.durations is None else [per_hour(self.durations, self.domain, self.before)]

    def candidates(self, spread: Points) -> Points:
        """Further places to look at, besides those spread evenly."""
        return spread[:0] if self.durations is None else staying(self.durations, self.domain, spread, self.before)

    def nearest(self, points: Sequence[Mapping[str, Value]]) -> int:
        """Place of the point that it costs the least to change to; of equal ones the first."""
        if self.durations is None:
            return 0
        costs = [self.durations.change(self.before, values) for values in points]
        return costs.index(min(costs))

    def thought(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """What is written with a suggestion: the laboratory seconds that it is expected to take."""
        return {} if self.durations is None else {"seconds": self.durations.seconds(self.before, values)}

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
    """The laboratory, as the trials show it."""
    remark = schedule.remark(campaign, trials)
    return Circumstances(domain, durations_of(campaign, domain, trials), schedule.before(trials), (remark,) if remark else ())
