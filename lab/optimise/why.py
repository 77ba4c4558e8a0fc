"""Why this point: what an engine wrote with a suggestion, in words for a person."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from lab.core.best import best_trial
from lab.core.question import CampaignConfig
from lab.core.space import Value
from lab.core.trial import Trial, TrialState

MOST_NAMED = 6
"""Parameters of another choice that are told: those that differ most from the choice."""

NOTHING = 1e-12
"""Below this, a fraction is what rounding has left of none."""

NOT_ON_RECORD = "why this point is not on record"


def why(campaign: CampaignConfig, trial: Trial, best: Trial | None) -> str:
    """Why a trial's point was suggested.

    Parameters
    ----------
    best : Trial or None
        The best that was known when it was begun (`bests_before`).

    Examples
    --------
    ``sought purity above 0.88; expected purity 0.91 ± 0.03 (best so far 0.88), chance of success 93 %, expected improvement 0.021; second choice cs 0.2: 0.8 times as good``
    """
    thought = trial.thought
    if not thought:
        return _of_origin(trial.origin)
    told = [_expected(campaign, trial, best), _chance(thought), _improvement(campaign, thought), *_circumstances(thought)]
    remarks = [text for text in _texts(thought.get("remarks")) if text]
    parts = [_aim(thought), ", ".join(part for part in told if part), *_alternatives(thought, trial), *remarks]
    return "; ".join(part for part in parts if part) or _of_origin(trial.origin)


def bests_before(campaign: CampaignConfig, trials: Sequence[Trial]) -> list[Trial | None]:
    """For each trial, the best that had been measured when it was begun; by the order of trials where their times are not on record."""
    done = [t for t in trials if t.state is TrialState.COMPLETED]
    is_timed = all(t.ended_lab_s is not None and t.began_lab_s is not None for t in done)
    ends = sorted((t.ended_lab_s if is_timed and t.ended_lab_s is not None else t.index, t.index, t) for t in done)
    begins = sorted((_began(t) if is_timed else t.index - 0.5, k) for k, t in enumerate(trials))
    found: list[Trial | None] = [None] * len(trials)
    best, n_known = None, 0
    for began, k in begins:
        while n_known < len(ends) and ends[n_known][0] <= began:
            best = best_trial(campaign, [*([] if best is None else [best]), ends[n_known][2]]) or best
            n_known += 1
        found[k] = best
    return found


def _began(trial: Trial) -> float:
    return math.inf if trial.began_lab_s is None else trial.began_lab_s


def expected_of(thought: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation that were expected of each outcome; what is no pair of numbers is left out."""
    given = thought.get("expected")
    if not isinstance(given, Mapping):
        return {}
    return {name: (float(pair[0]), float(pair[1])) for name, pair in given.items()
            if isinstance(pair, Sequence) and len(pair) == 2 and all(_is_number(one) for one in pair)}


def _of_origin(origin: str) -> str:
    method, _, more = origin.partition(" (")
    if method == "sobol":
        return "evenly spread over the space" + (f" ({more}" if more else ": the model begins with such points")
    if method == "given":
        return "given by the campaign's file"
    if method == "reference":
        return "the reference sample, by which drift is seen"
    if origin.startswith("remote: "):
        return f"proposed from afar by {origin.removeprefix('remote: ')}"
    if more == "measured elsewhere)":
        return f"measured elsewhere, brought by {method}"
    return NOT_ON_RECORD if method in ("", "ax", "botorch") else f"asked for by {origin}"


def _expected(campaign: CampaignConfig, trial: Trial, best: Trial | None) -> str:
    found = []
    for name, (mean, deviation) in expected_of(trial.thought).items():
        so_far = None if best is None or best.outcome is None or len(campaign.objectives) > 1 or name != campaign.objective.name \
            else best.outcome.measured.get(name)
        found.append(f"{name} {mean:.4g} ± {deviation:.2g}" + (f" (best so far {so_far.mean:.4g})" if so_far is not None else ""))
    return f"expected {', '.join(found)}" if found else ""


def _aim(thought: Mapping[str, Any]) -> str:
    aim = thought.get("aim")
    return f"sought {aim}" if isinstance(aim, str) and aim else ""


def _circumstances(thought: Mapping[str, Any]) -> list[str]:
    """What it costs, how safe it is, and how much is left to find, where the campaign asks."""
    seconds, safe, found = thought.get("seconds"), thought.get("safe"), []
    if _is_number(seconds):
        found.append(f"takes some {seconds / 60:.0f} min")
    if _is_number(safe):
        found.append(f"safe with a probability of {100 * safe:.3g} %")
    sure = thought.get("confidence")
    if isinstance(sure, Mapping) and _is_number(sure.get("probability")) and _is_number(sure.get("within")):
        found.append(f"the recommended point was within {sure['within']:g} of the best with a probability of {100 * sure['probability']:.0f} %")
    return found


def _chance(thought: Mapping[str, Any]) -> str:
    chance = thought.get("success")
    return f"chance of success {100 * float(chance):.0f} %" if _is_number(chance) else ""


def _improvement(campaign: CampaignConfig, thought: Mapping[str, Any]) -> str:
    improvement = thought.get("improvement")
    unit = campaign.objective.unit if len(campaign.objectives) == 1 else ""
    return f"expected improvement {float(improvement):.2g} {unit}".rstrip() if _is_number(improvement) else ""


def _alternatives(thought: Mapping[str, Any], trial: Trial) -> list[str]:
    """The second choice, and how much less it was worth: acquisition values are logarithms."""
    others, own = thought.get("alternatives"), thought.get("acquisition")
    if not isinstance(others, Sequence) or not others or not isinstance(others[0], Mapping):
        return []
    second, worth = others[0].get("values"), others[0].get("acquisition")
    if not isinstance(second, Mapping):
        return []
    words = f"second choice {_different(second, trial.planned)}"
    if _is_number(own) and _is_number(worth):
        share = math.exp(min(worth - own, 0.0))
        words += f": {share:.2g} times as good" if share < 0.995 else ": just as good"
    return [words]


def _different(values: Mapping[str, Value], chosen: Mapping[str, Value]) -> str:
    """Parameters that differ from the choice."""
    names = [name for name in values if values[name] != chosen.get(name)][:MOST_NAMED]
    return ", ".join(f"{name} {_short(values[name])}" for name in names or values)


def _short(value: Value) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) >= NOTHING else "0"


def _texts(given: object) -> list[str]:
    return [str(one) for one in given] if isinstance(given, list | tuple) else []


def _is_number(given: object) -> TypeGuard[float]:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
