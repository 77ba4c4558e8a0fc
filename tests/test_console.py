"""The console in a real terminal, as a person at the instruments uses it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

ROOT = Path(__file__).parent.parent
LAB = str(Path(sys.executable).parent / "lab")


class Terminal:
    """Types lines and reads what the screen shows, without its colours."""

    def __init__(self, home: Path, *arguments: str) -> None:
        environment = {**os.environ, "LAB_HOME": str(home), "TERM": "dumb", "IPYTHONDIR": str(home / "ipython"), "COLUMNS": "160"}
        self.child = pexpect.spawn(LAB, ["console", "examples/lab.yaml", *arguments], cwd=ROOT, env=environment, encoding="utf-8",
                                   timeout=150, dimensions=(50, 160))

    def until(self, pattern: str) -> str:
        """What the screen showed up to `pattern`."""
        self.child.expect(pattern)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.child.before + self.child.after)

    def type(self, line: str) -> str:
        """Type a line; returns what is shown until the next prompt."""
        self.child.sendline(line)
        self.child.expect_exact(line)
        return self.until(r"In \[\d+\]: ")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(*arguments: str) -> Terminal:
        opened.append(Terminal(tmp_path / "home", *arguments))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.child.close(force=True)


def test_a_person_moves_measures_runs_a_campaign_and_leaves(terminal: Any) -> None:
    screen = terminal("--speed", "1500")
    opening = screen.until(r"In \[1\]: ")
    assert "8 devices: pump, hotplate_a, hotplate_b, hotplate_c, arm, detector, plc, synthesiser" in opening
    assert 'campaign("examples/perovskite.yaml")' in screen.type("lab.help()")
    assert "()" in screen.type("RE(bps.mv(pump.cs.rate, 2))")
    assert "2.0" in screen.type("pump.cs.rate.get()")
    assert "heater off, since the plan has ended" in screen.type("%mov hotplate_a 60")
    assert "hotplate_a_temperature" in screen.type("RE(bp.count([hotplate_a], num=2))")
    assert re.search(r"arm_state\s+off", screen.type("%wa arm"))
    refused = screen.type("RE(bps.mv(pump.cs.rate, 99))")
    assert "pump_cs.RATE: 99 mL/min is outside 0.01..20 mL/min" in refused
    assert "Traceback" not in refused
    assert "arm: ready" in screen.type("lab.ready()")
    assert re.search(r"ok\s+hutch_closed\s+plc\.hutch = 1 since", screen.type("lab.interlocks()"))
    done = screen.type('campaign("examples/perovskite.yaml", **{"budget.trials": 1, "optimizer.engine": "sobol", "settings.max_gap_s": 1000000})')
    assert "'completed': 1" in done
    assert "bugdet" in screen.type('campaign("examples/perovskite.yaml", **{"bugdet": 1})')
    screen.child.sendline("exit")
    screen.child.expect(pexpect.EOF)
    screen.child.wait()
    assert screen.child.exitstatus == 0


def test_time_does_not_leap_at_the_console() -> None:
    done = subprocess.run([LAB, "console", "examples/lab.yaml", "--speed", "max"], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 2
    assert "command line: --speed: given max; allowed: a number" in done.stderr


def test_an_instrument_offline_is_said_and_the_console_opens(terminal: Any, tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {instrument: hotplate_a, kind: unplug}\n")
    screen = terminal("--faults", str(faults))
    opening = screen.until(r"In \[1\]: ")
    assert "! hotplate_a is offline" in opening
    assert re.search(r"trouble\s+hotplate_a\s+not connected", screen.type("lab.health()"))
    failed = screen.type("RE(bps.mv(hotplate_a, 60))")
    assert "! hotplate_a" in failed
    assert "Traceback" not in failed
    assert "()" in screen.type("RE(bps.mv(pump.cs.rate, 2))")
    screen.child.sendline("exit")
    screen.child.expect(pexpect.EOF)
