"""The live picture of ``lab queue watch``: progress, what is measured now, results as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lab.records.cells import state_cell, table_of
from lab.remote.commands.queue_tables import parameters_of, plain, takes
from lab.remote.commands.story import Story, clock, outcomes, point

N_TRIALS: Final = 10
"""Results shown, the newest last."""
BAR: Final = 40


class LiveView:
    """Draws a story; asked for again whenever something happened.

    Parameters
    ----------
    story : Story
    """

    def __init__(self, story: Story) -> None:
        self._story = story

    def __rich__(self) -> RenderableType:
        return Group(*self._parts())

    def _parts(self) -> Iterator[RenderableType]:
        yield from self._head()
        yield from self._progress()
        yield from self._results()
        yield from self._readings()
        if self._story.trouble:
            yield Text(f"! {self._story.trouble}", "yellow")

    def _head(self) -> Iterator[RenderableType]:
        item, summary = self._story.item, self._story.summary
        if item is not None:
            time = f"   takes {takes(item['estimate_s'])} of laboratory time" if item["estimate_s"] is not None else ""
            yield Text.assemble((item["id"], "bold"), f"  {plain(item['name'])} of {plain(item['user'])}  ", state_cell(item["state"]), f"  {parameters_of(item)}{time}")
        if summary is not None:
            yield Text.assemble((plain(summary["campaign"]), "bold"), "  ", state_cell(summary["status"]), f"  {plain(summary.get('cause') or '')}")
        if item is summary is None:
            yield Text("everything that you may see; Ctrl-C ends", "dim")

    def _progress(self) -> Iterator[RenderableType]:
        done, total = self._trials()
        if total:
            yield _bar("trials", done, total)
        for run in self._story.runs.values():
            if run.n_points:
                yield _bar(run.label, run.n_events, run.n_points)

    def _trials(self) -> tuple[int, int]:
        summary = self._story.summary
        if summary is None:
            return 0, 0
        budget: Any = summary.get("budget") or {}
        if not budget and self._story.item is not None:
            config = self._story.item["parameters"].get("config")
            budget = config.get("budget", {}) if isinstance(config, dict) else {}
        counted = summary["trials"]
        return sum(counted.get(state, 0) for state in ("completed", "failed", "abandoned")), int(budget.get("trials") or 0)

    def _results(self) -> Iterator[RenderableType]:
        summary = self._story.summary
        if summary is None:
            return
        ended = [trial for trial in summary.get("table", ()) if trial["state"] in ("completed", "failed", "abandoned")]
        if ended:
            table = table_of("trial", "state", "tried", "result")
            for trial in ended[-N_TRIALS:]:
                table.add_row(str(trial["trial"]), state_cell(trial["state"]), Text(plain(point({**trial["planned"], **trial["executed"]}))),
                              Text(outcomes(trial["outcomes"]) if trial["outcomes"] else plain(trial["cause"])))
            yield table
        best = summary.get("best")
        if best:
            yield Text.assemble("best  ", (outcomes(best["outcomes"]), "bold"), f"  trial {best['trial']}: {plain(point({**best['planned'], **best['executed']}))}")

    def _readings(self) -> Iterator[RenderableType]:
        if self._story.readings:
            table = table_of("time", "run", "stream")
            table.add_column("readings", no_wrap=True, overflow="ellipsis")
            for reading in self._story.readings:
                table.add_row(clock(reading.when), Text(reading.run), Text(reading.stream), Text(reading.values))
            yield table


def _bar(label: str, done: int, total: int) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    row.add_row(Text(label), ProgressBar(total=total, completed=min(done, total), width=BAR), Text(f"{done}/{total}"))
    return row
