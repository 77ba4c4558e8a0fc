"""A whole campaign in a laboratory whose door opens and whose coolant stops, through every real layer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)  # a whole laboratory, also on a busy machine

ROOT = Path(__file__).parent.parent

DOOR_THEN_COOLANT = """
import json, sys, threading, time
from pathlib import Path
from lab.files import load_campaign, load_lab
from lab.home import Home
from lab.progress import Lines
from lab.session import Session

root, home = Path(sys.argv[1]), Home(Path(sys.argv[2]))
config = load_campaign(root / "examples/perovskite.yaml", {"budget.trials": 2, "optimizer.engine": "sobol"})
lab = load_lab(root / "examples/lab.yaml", {"speed": 150, "catalogue": False})
said, seen = [], {}


def until(condition):
    end = time.monotonic() + 150
    while not condition():
        assert time.monotonic() < end, said
        time.sleep(0.01)


def is_ok(name):
    return next(one.is_ok for one in session.interlocks() if one.name == name)


def sees(name, value):
    assert session.simulator.ask({"do": "fault", "instrument": "plc", "kind": "input", "name": name, "value": value})["ok"]


def moves_and_doses():
    account = session.simulator.ask({"do": "account"})
    return [len(account["moves"]), len(account["doses"])]


def is_still():
    before = moves_and_doses()
    time.sleep(0.7)
    return moves_and_doses() == before


def meddle():
    sees("hutch", 0)
    until(lambda: not is_ok("hutch_closed"))
    until(is_still)  # what is under way ends
    before = moves_and_doses()
    time.sleep(0.7)   # long enough for several moves
    seen["done meanwhile"] = [now - then for now, then in zip(moves_and_doses(), before)]
    session.simulator.ask({"do": "clear"})
    until(lambda: is_ok("hutch_closed"))
    until(lambda: moves_and_doses()[0] > before[0])
    sees("coolant", 0.1)


class Watcher(Lines):
    thread = None

    def step(self, campaign, order, station, what):
        super().step(campaign, order, station, what)
        if Watcher.thread is None and station == "synthesiser":
            Watcher.thread = threading.Thread(target=meddle)
            Watcher.thread.start()


with Session(lab, home, say=said.append) as session:
    campaign, end = session.run_campaign(config, Watcher())
    Watcher.thread.join(200)
    seen |= {"status": end.status, "cause": end.cause, "said": said,
             "noted": [one.text for one in session.ledger.events(campaign.id) if one.kind == "interlock"],
             "heaters": [session.devices[name].power.get() for name in ("hotplate_a", "hotplate_b", "hotplate_c")]}
    try:
        session.run_campaign(config, Lines())
    except Exception as error:
        seen["again"] = f"{type(error).__name__}: {error}"
    print(json.dumps(seen))
"""


def test_a_campaign_waits_while_the_door_is_open_goes_on_and_ends_safely_when_the_coolant_stops(tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, "-c", DOOR_THEN_COOLANT, str(ROOT), str(tmp_path / "home")], capture_output=True, text=True, timeout=500)
    assert found.returncode == 0, found.stderr
    seen = json.loads(found.stdout.splitlines()[-1])
    coolant = "the detector's coolant does not flow (interlock coolant_flow: plc.coolant = 0.1 L/min; needed: plc.coolant > 0.8 L/min)"
    assert seen["done meanwhile"] == [0, 0]
    assert seen["noted"] == ["waiting: the hutch door is open (interlock hutch_closed: plc.hutch = 0; needed: plc.hutch == 1)",
                             "interlock hutch_closed is well again: plc.hutch = 1", f"making the instruments safe: {coolant}"]
    assert set(seen["noted"]) <= set(seen["said"])
    assert (seen["status"], seen["cause"]) == ("interrupted", coolant)
    assert seen["heaters"] == [0, 0, 0]
    assert seen["again"].startswith("InterlockError: ") and coolant in seen["again"]
