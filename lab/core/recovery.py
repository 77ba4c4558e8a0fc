"""What is done when a step of a sample fails: rules of campaign.yaml and lab.yaml, the first that fits decides.

Pure decisions: plans carry them out (`plans.life`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lab.core import errors
from lab.core.errors import LabError


class Choice(str, Enum):
    """What can be done about a step that failed."""

    RETRY = "retry"
    REMAKE = "remake"
    FINISH = "finish"
    SKIP = "skip"
    STOP = "stop"


EXPLAINED: Mapping[Choice, str] = MappingProxyType({
    Choice.RETRY: "do the step again with this sample, once the instruments are ready",
    Choice.REMAKE: "put this sample away and make the same point again with a new substrate",
    Choice.FINISH: "take the step as done and go on with the next one",
    Choice.SKIP: "put this sample away; its trial has failed",
    Choice.STOP: "put this sample away, let the others finish, and end the campaign",
})
"""Each choice as the operator reads it."""

_KINDS: dict[str, type[LabError]] = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LabError)}


class Rule(BaseModel):
    """One line of ``recovery.rules``: ``{error: LinkError, step: transfer, do: retry, times: 2}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error: str = "LabError"
    """A class of `lab.core.errors`; those below it in the tree are meant too."""
    step: str = ""
    """A step of the recipe, or ``transfer``; empty: any."""
    instrument: str = ""
    """Whose error: what the message begins with; empty: any."""
    do: Literal["retry", "remake", "finish", "skip", "ask", "stop"]
    times: Annotated[int, Field(ge=1, le=100)] = 1
    """How often this rule may retry or remake, for one sample's step; after that the next rule that fits decides."""
    after: Literal["recover", "nothing"] = "recover"
    """What precedes a retry: ``recover`` clears the errors of the instruments concerned and readies them."""
    wait_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """Wall seconds before a retry."""
    within_s: Annotated[float, Field(gt=0)] | None = None
    """For ``ask``: how long to wait for the answer, wall seconds; then `otherwise` is done. None: for ever."""
    otherwise: Literal["skip", "remake", "stop"] = "skip"

    @field_validator("error")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in _KINDS:
            raise ValueError(f"given {value!r}; allowed: {', '.join(_KINDS)}")
        return value

    def fits(self, error: LabError, step: str) -> bool:
        """Whether the rule is about this error in this step."""
        return (isinstance(error, _KINDS[self.error]) and self.step in ("", step)
                and (not self.instrument or str(error).startswith(self.instrument)))


class Recovery(BaseModel):
    """``recovery`` in campaign.yaml or lab.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[Rule, ...] = ()
    patience_s: Annotated[float, Field(gt=0, le=86400)] = 30.0
    """Wall seconds during which an instrument that does not get ready is tried again, before its error counts."""


DEFAULT_RULES = (
    Rule(error="GapError", do="remake"),
    Rule(error="ConsumableError", do="remake"),
    Rule(error="LinkError", do="retry"),
)
"""What holds when no rule of a file fits: a broken line is tried once more; a sample that came too late, or for which others left too
little of a liquid, is made anew (it begins once that has been refilled); all else is skipped."""


@dataclass(frozen=True)
class Decision:
    """What to do now, by which rule (None: none fits, the sample is skipped)."""

    choice: Choice | Literal["ask"]
    rule: Rule | None = None


class Policy:
    """The rules of a campaign, of its laboratory, and the default ones, in this order.

    Parameters
    ----------
    recoveries : sequence of Recovery
        The first has the first say, and its patience counts.
    """

    def __init__(self, recoveries: Sequence[Recovery]) -> None:
        self.rules = (*(rule for recovery in recoveries for rule in recovery.rules), *DEFAULT_RULES)
        stated = [recovery.patience_s for recovery in recoveries if "patience_s" in recovery.model_fields_set]
        self.patience_s = stated[0] if stated else Recovery().patience_s

    def decide(self, error: LabError, step: str, done: Mapping[Rule, int], *, is_spoilt: bool = False) -> Decision:
        """What to do about an error; nothing fits: the sample is skipped.

        Parameters
        ----------
        error : LabError
        step : str
            Of the recipe, or ``transfer``.
        done : mapping of Rule to int
            How often each rule has been followed for this sample's step.
        is_spoilt : bool
            The step has begun to change the sample, so that it cannot be done again with this one: rules that retry do not fit.
        """
        for rule in self.rules:
            if not rule.fits(error, step) or (is_spoilt and rule.do == "retry"):
                continue
            if rule.do in ("retry", "remake") and done.get(rule, 0) >= rule.times:
                continue
            return Decision("ask" if rule.do == "ask" else Choice(rule.do), rule)
        return Decision(Choice.SKIP)
