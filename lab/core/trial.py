"""What the optimiser asks for, what came of it, and the states in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

from lab.core.space import Value


class TrialState(str, Enum):
    """Life of a trial: suggested -> running -> completed | failed | abandoned.

    ``failed``: the laboratory tried, and the sample gave no outcome. ``abandoned``: it was given up without a
    verdict on the point (interrupted, withdrawn). Neither is suggested again.
    """

    SUGGESTED = "suggested"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True)
class Measured:
    """A mean and its standard error (None: not known), in the objective's unit."""

    mean: float
    sem: float | None = None


@dataclass(frozen=True)
class Suggestion:
    """One point to try.

    Parameters
    ----------
    values : mapping of parameter name to value
        Complete, inside the bounds, every constraint met (equalities to 1e-9).
    origin : str
        Which method made it, for instance ``sobol`` or ``botorch``.
    seconds : float
        CPU seconds it took to make.
    thought : mapping of str to JSON values
        What the engine made it from and wishes to remember: the model's parameters, what it expects there, alternatives (docs/decisions/0020).
        It is kept with the trial, and is part of what later suggestions are made from.
    """

    values: Mapping[str, Value]
    origin: str
    seconds: float = 0.0
    thought: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Outcome:
    """What the evaluation made of one sample.

    Parameters
    ----------
    measured : mapping of outcome name to Measured
        Every outcome that the campaign asks for, and what else its evaluation gives: it may be asked for later.
    details : mapping of name to number
        Further results worth keeping (peak positions, widths, chi square), not seen by the optimiser.
    """

    measured: Mapping[str, Measured]
    details: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Trial:
    """One trial as the ledger has it.

    Parameters
    ----------
    index : int
        From 0, in the order of the suggestions.
    planned : mapping
        The suggestion, as it was made.
    executed : mapping
        What was really carried out, parameter by parameter, from the instruments' own counts. Empty until carried out.
        This, not `planned`, enters the model.
    outcome : Outcome or None
        For completed trials.
    cause : str
        Why it failed or was abandoned, in the instrument's words where there are any.
    thought : mapping
        What the engine wrote with the suggestion; empty for a point that somebody gave.
    began_lab_s, ended_lab_s : float or None
        Laboratory time at which its sample was begun, and at which it had its outcome.
    """

    index: int
    state: TrialState
    planned: Mapping[str, Value]
    executed: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    outcome: Outcome | None = None
    cause: str = ""
    origin: str = ""
    sample: str = ""
    thought: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    began_lab_s: float | None = None
    ended_lab_s: float | None = None

    @property
    def needs_sample(self) -> bool:
        """Whether a sample was begun for it, or is going to be: not of a point that was taken back before, nor of a result that was brought."""
        return self.state in (TrialState.SUGGESTED, TrialState.RUNNING) or self.began_lab_s is not None

    @property
    def point(self) -> Mapping[str, Value]:
        """What the model is told: executed where known, else planned."""
        return {**self.planned, **self.executed}
