"""The real worker under the RE Manager: items run in it, a campaign is paused and goes on, and what a killed worker leaves is resumed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.changes.config import change
from lab.core.clock import WallClock
from lab.core.digest import digest_of
from lab.files import load_campaign, load_lab
from lab.home import Home
from lab.lease import holder
from lab.presence import serving, worker
from lab.records.documents import read_run
from lab.records.ledger import Ledger
from lab.records.queue_rows import ItemRow, NewItem
from lab.remote.registry.plan_checks import Plans
from lab.up.arrangement import arrange
from lab.up.queue import ask

EXAMPLES = Path(__file__).parent.parent / "examples"
DEADLINE_S = 150.0


class Laboratory:
    """Redis, instruments and RE Manager of the example, without steward and gateway: the test is the steward."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lab-w-"))  # short: sockets have short names
        self.home = Home(self.folder)
        lab = load_lab(EXAMPLES / "lab.yaml", {"speed": 300.0, "catalogue": False, "interlocks": {}, "remote.listen": "127.0.0.1:0"})
        self.lab = lab.model_copy(update={"instruments": {name: one for name, one in lab.instruments.items() if name != "plc"}})
        self.layout, _ = arrange(EXAMPLES / "lab.yaml", self.lab, self.home)
        self.ledger = Ledger(self.home.ledger, WallClock())
        self._processes = [self._start(name) for name in ("redis", "instruments", "queue")]

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "LAB_HOME": str(self.folder)}
        with self.layout.log_of(name).open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", f"lab.up.{name}", "--home", str(self.folder)], cwd=self.folder, env=environment,
                                    stdout=log, stderr=log)

    def close(self) -> None:
        self.ledger.close()
        for process in reversed(self._processes):
            process.terminate()
        try:
            for process in reversed(self._processes):
                process.wait(DEADLINE_S)
        finally:
            for process in self._processes:
                process.kill()
                process.wait(DEADLINE_S)
            shutil.rmtree(self.folder)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        return ask(self.layout, method, **params)

    def wait(self, is_so: Callable[[dict[str, Any]], bool]) -> None:
        ends = time.monotonic() + DEADLINE_S
        while not is_so(status := self.ask("status", deadline_s=DEADLINE_S)):
            assert time.monotonic() < ends, (status, self.layout.log_of("queue").read_text()[-2000:])
            time.sleep(0.05)

    def open(self) -> None:
        """Open the environment, once the RE Manager is there."""
        ends = time.monotonic() + DEADLINE_S
        while not Path(self.layout.queue_control.removeprefix("ipc://")).exists() and time.monotonic() < ends:
            time.sleep(0.05)
        self.wait(lambda now: now["manager_state"] == "idle")
        self.ask("environment_open")
        self.wait(lambda now: now["worker_environment_state"] == "idle" or now["manager_state"] == "idle")
        assert self.ask("status")["worker_environment_exists"], self.layout.log_of("queue").read_text()[-2000:]

    def run(self, plan: str, **parameters: Any) -> str:
        """Queue an item as the steward does, and start the queue; returns its id."""
        values = Plans(self.lab).values(plan, parameters, "operator")
        item = self.ledger.add_item(NewItem(plan, values, digest_of(plan, values), "ann", "operator"))
        meta = {"item": item.id, "user": "ann", "digest": item.digest}
        added = self.ask("queue_item_add", item={"item_type": "plan", "name": plan, "kwargs": values, "meta": meta}, user="ann",
                         user_group="operator")
        assert added["success"], added
        assert self.ask("queue_start")["success"]
        return item.id

    def ended(self, item: str) -> ItemRow:
        """The item, once the queue has come to rest."""
        self.wait(lambda now: now["manager_state"] == "idle" and now["re_state"] == "idle")
        return self.ledger.item(item)


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    made = Laboratory()
    try:
        made.open()
        yield made
    finally:
        made.close()


def campaign(**more: Any) -> dict[str, Any]:
    settings = {"settings.max_gap_s": 1000000, "settings.anneal_time_s": 60, "optimizer": {"engine": "sobol"}, "budget": {"trials": 2}, **more}
    config = load_campaign(EXAMPLES / "perovskite.yaml", settings)
    return config.model_dump(mode="json", exclude={"lab", "owner"})


def test_an_item_runs_in_the_worker_and_its_documents_say_whose_it_is(laboratory: Laboratory) -> None:
    item = laboratory.ended(laboratory.run("count", detectors=["hotplate_a"], num=2))
    assert (item.state, len(item.runs)) == ("completed", 1)
    documents = read_run(laboratory.home.runs / f"{item.runs[0]}.jsonl")
    assert (documents[0][1]["item"], documents[0][1]["user"]) == (item.id, "ann")
    assert [name for name, _ in documents] == ["start", "descriptor", "event", "event", "stop"]
    assert holder(laboratory.home) is None


def test_a_campaign_is_an_item_that_people_pause_and_continue_and_whose_budget_they_change(laboratory: Laboratory) -> None:
    item, ledger = laboratory.run("campaign", config=campaign()), laboratory.ledger
    laboratory.wait(lambda now: ledger.item(item).campaign != "")
    name = ledger.item(item).campaign
    ledger.request(name, "pause", "bob")
    laboratory.wait(lambda now: now["manager_state"] == "paused")
    assert (ledger.item(item).state, ledger.campaign(name).status) == ("running", "running")
    change(ledger, name, {"trials": 1}, "bob")
    ledger.request(name, "continue", "bob")
    laboratory.wait(lambda now: now["manager_state"] != "paused")
    assert laboratory.ended(item).state == "completed"
    assert (ledger.campaign(name).status, ledger.campaign(name).cause.split()[1]) == ("done", "trials")


def test_what_a_killed_worker_leaves_is_made_safe_never_run_again_by_itself_and_resumed_when_somebody_says_so(laboratory: Laboratory) -> None:
    item, ledger = laboratory.run("campaign", config=campaign(budget={"trials": 1})), laboratory.ledger
    laboratory.wait(lambda now: bool(ledger.item(item).campaign and ledger.samples(ledger.item(item).campaign)))
    name, process = ledger.item(item).campaign, worker(laboratory.layout)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    laboratory.wait(lambda now: process.process.is_gone())
    assert (ledger.item(item).state, ledger.campaign(name).status) == ("interrupted", "interrupted")
    laboratory.wait(lambda now: "has died" in laboratory.layout.log_of("instruments").read_text())
    assert serving(laboratory.layout) is not None
    laboratory.ask("environment_destroy")
    laboratory.wait(lambda now: now["manager_state"] == "idle" and not now["worker_environment_exists"])
    laboratory.open()
    laboratory.ask("queue_start")  # the manager has put it back to the front
    assert laboratory.ended(item).state == "interrupted"
    laboratory.ask("queue_clear")
    resumed = laboratory.ended(laboratory.run("resume_campaign", campaign=name))
    assert (resumed.state, resumed.campaign) == ("completed", name), resumed.cause
    assert (ledger.campaign(name).status, ledger.campaign(name).cause) == ("done", "1 trials")


def test_a_worker_whose_environment_is_closed_says_that_it_has_gone(laboratory: Laboratory) -> None:
    assert laboratory.ask("environment_close")["success"]
    laboratory.wait(lambda now: not now["worker_environment_exists"])
    assert worker(laboratory.layout) is None and not laboratory.layout.worker_file.exists()
    assert serving(laboratory.layout) is not None
