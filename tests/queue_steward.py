"""The steward of tests of the queue: it takes the plans of queue_worker, whatever their parameters; ``python -m tests.queue_steward --home H``."""

from __future__ import annotations

import sys
from typing import Any

from lab.core.clock import WallClock
from lab.core.config import LabConfig
from lab.core.digest import digest_of
from lab.home import Home
from lab.records.ledger import Ledger
from lab.remote.access.who import Who
from lab.remote.registry.plan_checks import Checked
from lab.remote.registry.refusals import refuse
from lab.remote.steward.handlers import METHODS_HERE
from lab.remote.steward.service import serve
from lab.up.service import configuration, layout_of_command, log_to_stderr

NAMES = {"work": ("number", "seconds"), "fail": ("number",), "hold": ("number", "gate"), "broken": ("number",)}
DEFAULTS = {"work": {"seconds": 0.0}}


class AnyPlans:
    """What queue_worker can do."""

    def __init__(self, lab: LabConfig) -> None:
        self.lab = lab

    def bind(self, name: Any, args: Any, kwargs: Any, role: Any) -> dict[str, Any]:
        return {**dict(zip(NAMES.get(name, ()), args or [], strict=False)), **(kwargs or {})}

    def check(self, name: Any, parameters: Any, who: Who) -> Checked:
        if name not in NAMES:
            raise refuse("plan", "name", name, f"one of {', '.join(NAMES)}")
        if not isinstance(parameters.get("number"), int):
            raise refuse(name, "number", parameters.get("number"), "a whole number")
        values = {**DEFAULTS.get(name, {}), **parameters}
        return Checked(name, values, digest_of(name, values), values.get("seconds"))


def main() -> int:
    layout = layout_of_command("tests.queue_steward")
    log_to_stderr()
    lab = configuration(layout)
    clock = WallClock()
    with Ledger(Home(layout.folder.parent).ledger, clock) as ledger:
        serve(layout, lab, ledger, AnyPlans(lab), METHODS_HERE, clock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
