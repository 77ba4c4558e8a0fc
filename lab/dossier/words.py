"""What a dossier says first, in sentences: on a terminal, and at the head of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lab.core.best import best_trial, front_of
from lab.core.trial import Measured, TrialState
from lab.optimise.why import NOTHING
from lab.records.cells import duration

if TYPE_CHECKING:
    from lab.dossier.content import Dossier, Why

LAST = 3
"""Trials of which a terminal shows why they were suggested."""


def number(value: Any) -> str:
    """Four digits, or the text."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) >= NOTHING else "0"


def point(values: Mapping[str, Any]) -> str:
    """``cs 0.2, fa 0.8``."""
    return ", ".join(f"{name} {number(value)}" for name, value in values.items())


def measured(one: Measured | None) -> str:
    """``0.91 ± 0.02``; empty when there is none."""
    if one is None:
        return ""
    return f"{one.mean:.4g}" + (f" ± {one.sem:.2g}" if one.sem is not None else "")


def head(dossier: Dossier) -> str:
    """What became of the campaign."""
    counts = ", ".join(f"{n} {state.value}" for state in TrialState if (n := sum(t.state is state for t in dossier.trials)))
    status = f"{dossier.row.status}{': ' + dossier.row.cause if dossier.row.cause else ''}"
    return f"{status}; {counts or 'no trials'} in {duration(float(dossier.summary['lab_s']))} of laboratory time"


def question(dossier: Dossier) -> str:
    """What was asked."""
    config = dossier.config
    if config is None:
        return ""
    goals = [f"{one.goal} {one.name}" if one.target is None else f"bring {one.name} to {one.target:g} {one.unit}".rstrip() for one in config.objectives]
    limits = f", with {', '.join(config.outcome_constraints)}" if config.outcome_constraints else ""
    return f"{' and '.join(goals)}{limits}; engine {config.optimizer.engine}, seed {config.optimizer.seed}"


def best(dossier: Dossier) -> str:
    """The best that was measured; of trade-offs, which trials no other one beats."""
    if dossier.config is None:
        return ""
    found = best_trial(dossier.config, dossier.trials)
    if found is None or found.outcome is None:
        return "none: no trial gave an outcome that counts"
    outcomes = ", ".join(f"{name} {measured(found.outcome.measured[name])}" for name in dossier.config.outcome_names if name in found.outcome.measured)
    told = f"{point(found.point)}: {outcomes} (trial {found.index + 1})"
    front = front_of(dossier.config, dossier.trials)
    if len(front) < 2:
        return told
    return f"no other one beats the trials {', '.join(str(t.index + 1) for t in front)} in all objectives; the best compromise: {told}"


def model(dossier: Dossier) -> Iterator[tuple[str, str]]:
    """Whether the models can be trusted and what they say, by heading."""
    found = dossier.explanation
    if found.problem:
        yield "model", f"none: {found.problem}"
    for told in found.outcomes:
        yield f"model of {told.name}", told.left_out.verdict
        yield f"what matters for {told.name}", told.sensitivities.words
    for one in dossier.progress:
        if one.foresight is not None and len(one.foresight) > 1:
            n_inside = round(one.foresight.coverage * len(one.foresight))
            yield f"foresight of {one.name}", (f"{n_inside} of {len(one.foresight)} samples that a model suggested came out within the 95 % band that was "
                                               "written down before they were made")
    if found.success is not None:
        yield "model of success", found.success.verdict
    if found.remarks:
        yield "remarks", "; ".join(found.remarks)


def source(one: Why) -> str:
    """Which method suggested it; what degraded is told with the reasons, where there are any on record."""
    return one.origin.partition(" (")[0] if one.expected else one.origin or "nobody has said"


def lines(dossier: Dossier) -> Iterator[tuple[str, str]]:
    """Everything that a terminal shows, by heading."""
    yield "campaign", dossier.row.id
    yield "ended" if dossier.row.status != "running" else "so far", head(dossier)
    for heading, text in (("question", question(dossier)), ("best measured", best(dossier)), ("recommended", dossier.recommendation.words)):
        if text:
            yield heading, text
    yield from model(dossier)
    for one in dossier.whys[-LAST:]:
        yield f"why trial {one.trial}", f"{one.words} ({source(one)})"
    yield "record", f"sha256 {dossier.digest}"
