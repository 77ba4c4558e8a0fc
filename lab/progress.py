"""What a person sees while a campaign runs: lines on standard error, and a live last line on a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.text import Text

from lab.core.question import Objective
from lab.core.space import Value
from lab.core.trial import Suggestion, Trial, TrialState

if TYPE_CHECKING:
    from lab.campaign import Campaign
    from plans.recipes import Order


INDENT = 7
"""Columns before what goes on a further line."""


def number(value: Value) -> str:
    """A value as people read it: four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def point(values: Any) -> str:
    """``cs 0.131  fa 0.77``."""
    return "  ".join(f"{name} {number(value)}" for name, value in values.items())


def goal(objective: Objective) -> str:
    """``maximize purity``, ``bring emission to 520 nm``."""
    if objective.target is None:
        return f"{objective.goal} {objective.name}"
    return f"bring {objective.name} to {objective.target:g} {objective.unit}".rstrip()


def measured(trial: Trial, name: str, unit: str = "") -> str:
    """``0.83 +- 0.01``."""
    value = trial.outcome.measured.get(name) if trial.outcome is not None else None
    if value is None:
        return "nothing"
    error = f" ± {value.sem:.2g}" if value.sem is not None else ""
    return f"{value.mean:.4g}{error} {unit}".rstrip()


def joined(parts: Sequence[str], width: int | None) -> str:
    """The parts (with markup) on one line; with a `width`, on as few as hold them: a terminal would break a line within a number."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]}   {part}"
        if width is None or Text.from_markup(longer).cell_len <= width:
            lines[-1] = longer
        else:
            lines.append(" " * INDENT + part)
    return "\n".join(lines)


class Lines:
    """Implements `lab.campaign.Reporter`: a line per trial; on a terminal also a last line that says what is done now.

    Parameters
    ----------
    console : rich.console.Console or None
        Standard error when None.
    ending : str
        How people end a campaign.
    """

    def __init__(self, console: Console | None = None, ending: str = "Ctrl-C ends it safely") -> None:
        self._ending = ending
        self.console = console if console is not None else Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._lock = threading.RLock()
        self._now: Status | None = None
        self._doing: dict[str, str] = {}
        self._campaigns: set[str] = set()

    def began(self, campaign: Campaign) -> None:
        config = campaign.config
        self._campaigns.add(campaign.id)
        constraints = f", {'; '.join(config.constraints)}" if config.constraints else ""
        self._print(f"[bold]{config.name}[/]: {' and '.join(map(goal, config.objectives))} over "
                    f"{', '.join(p.name for p in config.parameters)}{constraints}")
        self._print(f"[dim]{config.budget.trials} trials, engine {config.optimizer.engine}, seed {config.optimizer.seed}, "
                    f"campaign {campaign.id}; {self._ending}[/]")
        if self.console.is_terminal and self._now is None:
            self._now = self.console.status("readying the instruments")
            self._now.start()

    def suggested(self, campaign: Campaign, order: Order, suggestion: Suggestion) -> None:
        text = (f"{self._count(campaign, order.trial)}  try   {point(suggestion.values)}   "
                f"[dim]({escape(suggestion.origin)}, {suggestion.seconds:.2f} s)[/]")
        self._print(text)

    def step(self, campaign: Campaign, order: Order, station: str, what: str) -> None:
        with self._lock:
            if what:
                self._doing[station] = f"  {station:<12} {self._count(campaign, order.trial)}  {escape(what)}"
            else:
                self._doing.pop(station, None)
            if self._now is not None:
                self._now.update("\n".join(["in the machine", *(self._doing[name] for name in sorted(self._doing))]))

    def asked(self, campaign: Campaign, question: int) -> None:
        row = campaign.ledger.question(question)
        self._print(f"[bold yellow]?[/] {escape(row.sample)}: {escape(row.step)}: {escape(row.error)}")
        for choice, meaning in row.choices.items():
            self._print(f"    lab answer {question} [bold]{choice:<8}[/] {escape(meaning)}")

    def ended(self, campaign: Campaign, trial: Trial) -> None:
        objectives = campaign.config.objectives
        head = f"{self._count(campaign, trial.index)}  "
        if trial.state is TrialState.COMPLETED:
            told = "  ".join(f"{one.name} [bold]{measured(trial, one.name, one.unit)}[/]" for one in objectives)
            parts = [f"{head}[green]done[/]  {point(trial.point)}", f"->  {told}"]
        else:
            parts = [f"{head}[red]{trial.state.value}[/]  {escape(trial.cause)}"]
        found = campaign.best
        if found is not None:
            parts.append(f"best {'  '.join(measured(found, one.name) for one in objectives)} (trial {found.index + 1})")
        self._print(joined([*parts, busy(campaign)], self.console.width if self.console.is_terminal else None))

    def trouble(self, text: str) -> None:
        self._print(f"[yellow]![/] {escape(text)}")

    def closed(self, campaign: Campaign) -> None:
        if self._now is not None:
            self._now.stop()
            self._now = None

    def _count(self, campaign: Campaign, index: int) -> str:
        """``7/20``, with the campaign's name where several share the cell; trials that use nothing of the budget come on top of it."""
        total = str(campaign.config.budget.trials + sum(not trial.needs_sample for trial in campaign.trials))
        name = f"{campaign.config.name} " if len(self._campaigns) > 1 else ""
        return f"{name}{index + 1:>{len(total)}}/{total}"

    def _print(self, text: str) -> None:
        with self._lock:
            self.console.print(text, soft_wrap=not self.console.is_terminal)  # a terminal would break words


def busy(campaign: Campaign) -> str:
    """``busy synthesiser 71 %, arm 8 %``: share of the laboratory time so far."""
    elapsed = max(campaign.lab_s, 1e-9)
    shares = campaign.ledger.busy_s(campaign.id)
    return "[dim]busy " + ", ".join(f"{name} {100 * s / elapsed:.0f} %" for name, s in shares.items()) + "[/]"
