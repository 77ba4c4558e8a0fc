"""What a rehearsal tells, as data: `lab plan --json` prints it, the table shows it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist, fmean, median
from typing import Any

import numpy as np

from lab.core.errors import ConfigError, GapError
from lab.rehearsal.ahead import Ahead, Rehearsed
from lab.rehearsal.checks import refill_words, units_of
from lab.rehearsal.conductor import Bar, Shown
from lab.rehearsal.needs import Need
from plans.dispatch import Dispatcher
from plans.expectation import Expectation

BATCH = 10
"""So many samples after each other are compared between repetitions."""

RISK = 0.03
"""A time limit that is missed more often is at risk: the dispatcher begins a sample when its limits are kept in 97 % of its scenarios."""

TINY_S = 1e-3

Data = dict[str, Any]


def report_of(ahead: Ahead, rehearsed: Rehearsed) -> Data:
    """Everything that is known of a campaign before it begins; JSON-ready, times in laboratory seconds.

    Parameters
    ----------
    ahead : Ahead
    rehearsed : Rehearsed
        Without repetitions when nothing could be rehearsed: then what they would tell is None or empty.
    """
    case, shown = ahead.case, rehearsed.shown
    problems = [*ahead.problems, *rehearsed.problems]
    data: Data = {
        "campaign": case.campaign.name, "laboratory": case.lab.name, "recipe": case.campaign.recipe, "possible": not problems,
        "problems": [_problem(one) for one in problems], "warnings": list(ahead.warnings),
        "samples": _samples(ahead, shown), "repetitions": len(shown), "seed": case.campaign.optimizer.seed,
        "makespan_s": None, "one_at_a_time_s": None, "speed_up": None, "steps": {}, "stations": {}, "bottleneck": None,
        "gaps": [], "interlocks": list(_interlocks(ahead)), "consumables": [_consumable(one, ahead, shown) for one in ahead.needs],
        "operator": [*_refills(ahead, shown), *_asked(ahead)], "budget": _budget(ahead, shown),
    }
    if shown:
        data.update(_course(ahead, rehearsed))
    return data


def _problem(error: ConfigError) -> Data:
    return {"file": error.file, "field": error.field, "given": error.given, "allowed": error.allowed}


# ----------------------------------------------------------------------------------------------- the course


def _course(ahead: Ahead, rehearsed: Rehearsed) -> Data:
    """What only a rehearsal can tell."""
    shown = rehearsed.shown
    alone_s = None
    if rehearsed.alone is not None and rehearsed.alone.orders:
        alone_s = makespan_s(rehearsed.alone) / len(rehearsed.alone.orders) * median(len(one.orders) for one in shown)
    return {
        "makespan_s": makespan(shown), "one_at_a_time_s": alone_s,
        "speed_up": None if alone_s is None else alone_s / median(makespan_s(one) for one in shown),
        "steps": _steps(ahead, shown), "stations": _stations(ahead, shown), "bottleneck": _bottleneck(ahead), "gaps": _gaps(ahead, shown),
    }


def makespan_s(shown: Shown) -> float:
    """From the begin of the first step to the end of the last."""
    return max(bar.end_s for bar in shown.bars) - min(bar.begin_s for bar in shown.bars) if shown.bars else 0.0


def makespan(shown: Sequence[Shown]) -> dict[str, float]:
    """Median, and where nine of ten further repetitions would lie.

    A few repetitions tell little of their scatter, but each is made of batches of samples that scatter nearly independently: the variances
    of all batches between the repetitions are added up, which gives as many times the degrees of freedom. The interval is
    Student's prediction interval for one further repetition.
    """
    middle, n = median(makespan_s(one) for one in shown), len(shown)
    if n < 2 or not all(one.begun_s for one in shown):
        return {"median": middle, "low": middle, "high": middle}
    from scipy.stats import t

    firsts = range(0, max(1, min(len(one.begun_s) for one in shown) - BATCH // 2), BATCH)
    marks = np.array([[*(one.begun_s[first] for first in firsts), makespan_s(one)] for one in shown])
    variances = np.diff(marks, axis=1).var(axis=0, ddof=1)
    half = float(t.ppf(0.95, len(variances) * (n - 1)) * np.sqrt(variances.sum() * (1 + 1 / n)))
    return {"median": middle, "low": max(0.0, middle - half), "high": middle + half}


def _steps(ahead: Ahead, shown: Sequence[Shown]) -> Data:
    """Each step's duration, in the order in which they first happen."""
    found: dict[str, list[float]] = defaultdict(list)
    where: dict[str, str] = {}
    for bar in sorted((bar for one in shown for bar in one.bars), key=lambda bar: bar.begin_s):
        found[bar.step].append(bar.end_s - bar.begin_s)
        where.setdefault(bar.step, bar.station)
    roles = {step.name: step.role for step in ahead.case.translation.recipe.steps}
    n = sum(len(one.orders) for one in shown)
    return {step: {"at": roles.get(step.removeprefix("prepare "), where[step]), "per_sample": len(values) / n, "median_s": median(values),
                   "low_s": float(np.quantile(values, 0.05)), "high_s": float(np.quantile(values, 0.95)),
                   "recorded": len(ahead.known.durations.get(step, ()))} for step, values in found.items()}


def _stations(ahead: Ahead, shown: Sequence[Shown]) -> Data:
    """How much each station works, as `lab show` tells it afterwards; the mean of the repetitions."""
    names = [*ahead.case.lab.stations, "arm"]
    found = {}
    for name in names:
        rows = [use for one in shown if (use := _use([bar for bar in one.bars if bar.station == name], makespan_s(one))) is not None]
        if rows:
            found[name] = {key: fmean(row[key] for row in rows) for key in rows[0]}
    return found


def _use(bars: Sequence[Bar], whole_s: float) -> dict[str, float] | None:
    if not bars:
        return None
    busy_s = sum(bar.end_s - bar.begin_s for bar in bars)
    between_s = max(bar.end_s for bar in bars) - min(bar.begin_s for bar in bars)
    return {"busy_s": busy_s, "utilisation": busy_s / whole_s if whole_s > 0 else 0.0, "idle_s": max(0.0, between_s - busy_s)}


def _bottleneck(ahead: Ahead) -> Data:
    units = units_of(ahead.case.lab)
    expectation = Expectation(ahead.case.translation.recipe, ahead.orders[0], ahead.known.durations)
    role = Dispatcher(units).stations.bottleneck([expectation.route(order) for order in ahead.orders[:10]])
    return {"role": role, "stations": list(units[role])}


def _gaps(ahead: Ahead, shown: Sequence[Shown]) -> list[Data]:
    """Each limited time between two steps: whether it is kept, and how often not."""
    rows = []
    for step in ahead.case.translation.recipe.steps:
        gaps = [gap for one in shown for gap in one.gaps if gap.step == step.name]
        if not gaps:
            continue
        missed = sum(isinstance(error, GapError) for one in shown for _, error in one.failures)
        n = len(gaps) + missed
        chance = max(missed / n, fmean(_tail([gap.took_s for gap in gaps], gap.allowed_s) for gap in gaps))
        allowed_s = min(gap.allowed_s for gap in gaps)
        rows.append({"step": step.name, "setting": step.max_gap, "allowed_s": allowed_s, "median_s": median(gap.took_s for gap in gaps),
                     "longest_s": max(gap.took_s for gap in gaps), "n": n, "missed": missed, "chance_of_missing": chance,
                     "kept": chance <= RISK})
    return rows


def _tail(values: Sequence[float], limit: float) -> float:
    """The chance of more than `limit`, where values are log-normal: a few hundred samples do not show what is rare."""
    logs = np.log(np.maximum(values, TINY_S))
    spread = float(logs.std())
    if spread < 1e-9:
        return float(max(values) > limit)
    return 1.0 - NormalDist(float(logs.mean()), spread).cdf(float(np.log(max(limit, TINY_S))))


# ------------------------------------------------------------------------------------- samples, budget, stock


def _samples(ahead: Ahead, shown: Sequence[Shown]) -> Data:
    planned = len(ahead.orders)
    made = int(median(one.n_done for one in shown)) if shown else 0
    remade = fmean(len(one.failures) for one in shown) if shown else 0.0
    return {"planned": planned, "made": made, "remaining": max(0, planned - made), "lost": remade}


def _budget(ahead: Ahead, shown: Sequence[Shown]) -> Data:
    hours = ahead.case.campaign.budget.hours
    left = None
    if hours is not None and shown:
        left = hours - median(makespan_s(one) for one in shown) / 3600
    return {"trials": ahead.case.campaign.budget.trials, "hours": hours, "hours_left": left}


def _begins_s(sample: int, shown: Sequence[Shown]) -> float | None:
    """When a sample is begun, in the middle of the repetitions; None when it never is."""
    times = [one.begun_s[sample] for one in shown if len(one.begun_s) > sample]
    return median(times) if times else None


def _consumable(need: Need, ahead: Ahead, shown: Sequence[Shown]) -> Data:
    first = need.refills[0].sample if need.refills else None
    return {"account": need.account, "unit": need.unit, "per_sample": {"least": need.least, "typical": need.typical, "most": need.most},
            "needed": need.total, "stock": need.stock, "on_record": need.is_on_record, "capacity": need.capacity, "enough_for": first,
            "runs_out_s": None if first is None else _begins_s(first, shown)}


def _refills(ahead: Ahead, shown: Sequence[Shown]) -> Iterator[Data]:
    """What has to be refilled when."""
    refills = sorted((refill for need in ahead.needs for refill in need.refills), key=lambda refill: refill.sample)
    for refill in refills:
        yield {"kind": "refill", "what": refill.account, "after_samples": refill.sample, "after_s": _begins_s(refill.sample, shown),
               "words": refill_words(ahead.case.lab.name, refill.account)}


def _asked(ahead: Ahead) -> Iterator[Data]:
    """Rules that ask the operator when something fails, and interlocks that wait for him."""
    for rule in ahead.policy.rules:
        if rule.do == "ask":
            where = " ".join(part for part in (f"in {rule.step}" if rule.step else "", f"of {rule.instrument}" if rule.instrument else "") if part)
            waits = f"within {rule.within_s:g} s, then {rule.otherwise}" if rule.within_s is not None else "waits for the answer"
            yield {"kind": "question", "what": rule.error, "after_samples": None, "after_s": None,
                   "words": f"on {rule.error} {where}".rstrip() + f": what to do about the sample ({waits})"}
    for name, interlock in ahead.case.lab.interlocks.items():
        if interlock.action == "make_safe" and interlock.then == "wait":
            yield {"kind": "acknowledgement", "what": name, "after_samples": None, "after_s": None,
                   "words": f"when interlock {name} trips ({interlock.reason}): acknowledge it"}


def _interlocks(ahead: Ahead) -> Iterator[Data]:
    """Interlocks over instruments that the recipe uses; how they are now, only the running laboratory knows."""
    lab = ahead.case.lab
    used = {lab.instrument_at(station) for station in lab.stations} | {name for name, one in lab.instruments.items() if one.kind == "arm"}
    used |= set(lab.stations)
    for name, one in lab.interlocks.items():
        about = one.exclusive if one.exclusive else one.guards
        guarded: Mapping[str, None] = dict.fromkeys(each for each in (about if about else sorted(used & set(lab.instruments))) if each in used)
        if guarded:
            needs = one.require if one.require else f"only one of {', '.join(one.exclusive)} moves"
            yield {"name": name, "needs": needs, "reason": one.reason, "action": one.action, "guards": list(guarded)}
