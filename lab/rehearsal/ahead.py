"""A campaign looked at before anything moves: what `lab plan` tells, and what `lab run` refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lab.core.config import LabConfig
from lab.core.errors import ConfigError, ScheduleError
from lab.core.question import CampaignConfig
from lab.core.recovery import Policy
from lab.core.space import Value
from lab.home import Home
from lab.optimise.feasible import extent
from lab.rehearsal import checks
from lab.rehearsal.checks import Case
from lab.rehearsal.conductor import Shown
from lab.rehearsal.findings import Refusals
from lab.rehearsal.known import Known, look_up
from lab.rehearsal.needs import Need, Span, doses_over, needs_of
from lab.translation import Translation
from plans.expectation import Expectation
from plans.forecast import TRANSFER
from plans.recipes import Order

N_REPEATED = 100
"""So many samples are rehearsed in all, about: a campaign of 50 twice."""

MOST_REPETITIONS, FEWEST_REPETITIONS = 8, 2

N_SERIAL = 8
"""So many samples, one at a time, tell how long all would take that way."""


@dataclass(frozen=True)
class Ahead:
    """What is known of a campaign before it begins.

    Parameters
    ----------
    case : Case
    known : Known
        What is on record.
    extents : mapping of range parameter to (least, greatest)
        With all constraints kept.
    orders : tuple of Order
        Of the points that are looked at; all samples of the budget for a rehearsal.
    """

    case: Case
    known: Known
    extents: Mapping[str, Span]
    orders: tuple[Order, ...]

    @cached_property
    def doses(self) -> dict[str, Span]:
        """Smallest and largest dose of each liquid, mL."""
        return doses_over(self.case.campaign, self.case.translation, self.extents)

    @cached_property
    def needs(self) -> tuple[Need, ...]:
        """Consumables, for the orders in their sequence."""
        return needs_of(self.case.lab, self.known, self.doses, self.orders)

    @cached_property
    def policy(self) -> Policy:
        return Policy((self.case.campaign.recovery, self.case.lab.recovery))

    @cached_property
    def gap_problems(self) -> list[ConfigError]:
        """Limits between two steps that cannot be kept."""
        expectation = Expectation(self.case.translation.recipe, self.orders[0], self.known.durations)
        distinct = {tuple(sorted(order.settings.items())): order for order in self.orders}
        routes = [expectation.route(None), *(expectation.route(order) for order in list(distinct.values())[:3])]
        return checks.gaps(self.case, routes, self.extents, len(self.known.durations.get(TRANSFER, ())))

    @cached_property
    def problems(self) -> list[ConfigError]:
        """All that makes the campaign impossible, as far as it shows without a rehearsal."""
        return [*checks.limits(self.case, self.doses), *self.gap_problems, *checks.stock(self.case, self.needs)]

    @cached_property
    def warnings(self) -> list[str]:
        """What somebody will have to do on the way."""
        lab, n = self.case.lab.name, len(self.orders)
        found = []
        for need in self.needs:
            later = [refill for refill in need.refills if refill.sample > 0]
            if later:
                found.append(f"{need.account}: {checks.in_words(need.stock, need.unit)} left, enough for {later[0].sample} of {n} samples; "
                             f"{checks.refill_words(lab, need.account)}")
        return found


def look_ahead(lab: LabConfig, campaign: CampaignConfig, *, lab_file: str, campaign_file: str, home: Home, n_samples: int | None = None,
               keeps_world: bool = False) -> Ahead:
    """Everything that can be known without a rehearsal.

    Parameters
    ----------
    lab, campaign : LabConfig, CampaignConfig
        Checked (`lab.validation.prepare`).
    lab_file, campaign_file : str
        Named in messages.
    home : Home
        With the ledger, if there is one.
    n_samples : int or None
        How many points are looked at; None: the campaign's budget.
    keeps_world : bool
        A simulated laboratory goes on with the world that it has, as one that is up does.

    Raises
    ------
    LedgerError
        When there is a ledger that cannot be read.
    OptimizerError
        When the space has not as many points.
    """
    translation = Translation(campaign, lab, campaign_file)
    case = Case(lab, campaign, translation, lab_file, campaign_file)
    known = look_up(home, lab, campaign.recipe, keeps_world=keeps_world)
    n = n_samples if n_samples is not None else campaign.budget.trials
    return Ahead(case, known, extent(campaign.space), tuple(_orders(campaign, translation, n)))


def quick_check(lab: LabConfig, campaign: CampaignConfig, *, lab_file: str, campaign_file: str, home: Home) -> list[str]:
    """What `lab run` asks before it starts anything. Returns what somebody will have to do on the way, in words.

    Raises
    ------
    ConfigError
        When the campaign cannot be done: limits, time limits between steps, nothing in stock for the first sample.
    """
    ahead = look_ahead(lab, campaign, lab_file=lab_file, campaign_file=campaign_file, home=home)
    raise_first(ahead.problems)
    return ahead.warnings


def raise_first(problems: Sequence[ConfigError]) -> None:
    """Raise these as one error, if there are any."""
    if problems:
        first, *others = problems
        raise ConfigError(first.file, first.field, first.given, first.allowed, others)


@dataclass(frozen=True)
class Rehearsed:
    """What rehearsals have shown.

    Parameters
    ----------
    shown : tuple of Shown
        One per repetition; empty when a rehearsal would be for nothing.
    alone : Shown or None
        The first samples, one at a time.
    problems : tuple of ConfigError
        Values that instruments would refuse.
    """

    shown: tuple[Shown, ...] = ()
    alone: Shown | None = None
    problems: tuple[ConfigError, ...] = ()


def n_repetitions(n_samples: int) -> int:
    """How often a campaign of so many samples is rehearsed."""
    return max(FEWEST_REPETITIONS, min(MOST_REPETITIONS, N_REPEATED // max(1, n_samples)))


def rehearse(ahead: Ahead, repetitions: int | None = None) -> Rehearsed:
    """Make all samples of a campaign, several times, in virtual time.

    Parameters
    ----------
    ahead : Ahead
    repetitions : int or None
        How often; by default according to the number of samples.
    """
    if ahead.gap_problems:
        return Rehearsed()
    from lab.rehearsal.stage import Stage

    case, refusals = ahead.case, Refusals(ahead.case)
    n = repetitions if repetitions is not None else n_repetitions(len(ahead.orders))
    seeds = np.random.SeedSequence(case.campaign.optimizer.seed).spawn(n + 1)

    def stage(orders: Sequence[Order], hours: float | None) -> Stage:
        return Stage(case.lab, case.translation.recipe, ahead.policy, orders, ahead.known.free or ahead_rack(case.lab), ahead.known.durations,
                     hours, float(case.translation.fixed.get("load_below_c", 60.0)))

    try:
        whole = stage(ahead.orders, case.campaign.budget.hours)
        shown = tuple(whole.rehearse(np.random.default_rng(seed), refusals, case.lab.at_once) for seed in seeds[:n])
        alone = stage(ahead.orders[:N_SERIAL], None).rehearse(np.random.default_rng(seeds[n]), Refusals(case), 1)
    except ScheduleError as error:
        return Rehearsed(problems=(_unkept(case, error),))
    told = {one.field.removeprefix("doses of ") for one in ahead.problems if one.field.startswith("doses of ")}
    return Rehearsed(shown, alone, tuple(refusals.problems(n, told)))


def _unkept(case: Case, error: ScheduleError) -> ConfigError:
    """A time limit that turned out on the way to be too short."""
    setting = next((step.max_gap for step in case.translation.recipe.steps if step.max_gap), "")
    return ConfigError(case.campaign_file, f"settings.{setting}", str(case.translation.fixed.get(setting, "")), f"a gap that can be kept: {error}")


def ahead_rack(lab: LabConfig) -> tuple[str, ...]:
    """All slots of the rack, in the order of use."""
    return tuple(place for place in lab.places if lab.stations[place.partition(".")[0]].role == "rack")


def _orders(campaign: CampaignConfig, translation: Translation, n: int) -> Iterable[Order]:
    """The first `n` points of the campaign's quasi-random sequence, with which its optimiser begins, too; or those that it gives itself."""
    for trial, values in enumerate(_points(campaign, n)):
        yield translation.order(values, trial=trial, sample="", place="", metadata={"trial": trial, "plan_name": campaign.recipe})


def _points(campaign: CampaignConfig, n: int) -> list[Mapping[str, Value]]:
    if campaign.optimizer.points:
        return list(campaign.optimizer.points[:n])
    from lab.optimise.sobol import SobolOptimizer

    return [suggestion.values for suggestion in SobolOptimizer(campaign).suggest([], n)]
