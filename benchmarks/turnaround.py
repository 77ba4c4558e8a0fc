"""Between one trial's last reading and the next trial's first command: evaluation, ledger, documents, order.

Left out: the optimiser (see benchmarks.suggestion), and the arm's trip back to the rack, which is the same trial's own.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from bluesky.utils import Msg

from benchmarks.bench_laboratory import EXAMPLES, laboratory
from benchmarks.figures import Figure, show
from lab.core.capabilities import ArmMove, Pick
from lab.files import load_campaign
from lab.progress import Lines
from plans.stubs import Action

TRIALS = 12


class Watch(Lines):
    """Times messages of the RunEngine and the suggestions; prints nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[tuple[float, Msg]] = []
        self.suggestion_s: list[float] = []

    def __call__(self, message: Msg) -> None:
        self.messages.append((time.perf_counter(), message))

    def suggested(self, campaign: Any, order: Any, suggestion: Any) -> None:
        self.suggestion_s.append(suggestion.seconds)

    def _print(self, text: str) -> None:
        pass


def turnarounds(watch: Watch, stage: str) -> list[float]:
    """Seconds from the last reading of each trial to the first command of the next one, without trip and suggestion."""
    found: list[float] = []
    reading = trip = None
    spent_on_trip, is_placing = 0.0, False
    suggestions = iter(watch.suggestion_s[1:])
    is_between = False
    for when, message in watch.messages:
        if message.command == "save":
            reading, spent_on_trip, is_between, trip, is_placing = when, 0.0, True, None, False
        elif not is_between or reading is None:
            continue
        elif message.command == "set" and message.args[0] == Pick(stage):
            trip = when
        elif trip is not None and message.command == "set":
            is_placing = True
        elif trip is not None and is_placing and not message.command.startswith("wait"):  # it comes once the sample is placed
            spent_on_trip, trip = when - trip, None
        elif trip is None and _is_command(message) and spent_on_trip:
            suggestion_s = next(suggestions, None)
            if suggestion_s is None:
                break  # after the last trial come the commands that make everything safe
            found.append(when - reading - spent_on_trip - suggestion_s)
            is_between = False
    return found


def _is_command(message: Msg) -> bool:
    """Whether a message tells an instrument to do something."""
    is_move = message.command == "set" and isinstance(message.args[0], ArmMove)
    return is_move or (message.command == "trigger" and isinstance(message.obj, Action) and message.obj.name not in ("think", "evaluate"))


def main() -> None:
    config = load_campaign(EXAMPLES / "perovskite.yaml", {"budget.trials": TRIALS, "optimizer.engine": "sobol", "settings.max_gap_s": 100000})
    watch = Watch()
    with laboratory(speed=2000, at_once=1) as session:  # overlapping samples have no such moment
        session.RE.msg_hook = watch
        session.run_campaign(config, watch)
        session.RE.msg_hook = None
    gaps = turnarounds(watch, "stage")
    show([
        Figure("last reading to next first command, without the optimiser, median", 1e3 * statistics.median(gaps), "ms", most=100.0),
        Figure("the same, largest", 1e3 * max(gaps), "ms", most=100.0, note=f"of {len(gaps)}; the first one imports what the evaluation needs"),
    ])


if __name__ == "__main__":
    main()
