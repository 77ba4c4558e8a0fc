"""A laboratory's queue with real processes: Redis, the RE Manager with its worker, the steward; started, asked, and killed at will."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import yaml
import zmq

from lab.core.clock import WallClock
from lab.core.config import LabConfig
from lab.core.errors import ServiceError
from lab.home import Home
from lab.layout import Layout, write_for_owner
from lab.records.ledger import Ledger
from lab.records.queue_rows import ItemRow
from lab.services import free_ports
from lab.up import queue, redis

DEADLINE_S = 150.0
"""Wall seconds for whatever has to come; long, for a slow machine: only a test that fails waits for it."""

READS = ("status", "queue_get", "history_get", "ping")
"""What the RE Manager may be asked again and again."""

COMMANDS = {"redis": "lab.up.redis", "queue": "lab.up.queue", "steward": "tests.queue_steward"}
ALICE, BOB, OSCAR, ADA = (("alice", "scientist"), ("bob", "scientist"), ("oscar", "operator"), ("ada", "admin"))


class QueueLaboratory:
    """The services of a queue, in a folder of their own.

    Parameters
    ----------
    remote : mapping
        What lab.yaml says under ``remote``.
    """

    def __init__(self, remote: Mapping[str, Any] | None = None) -> None:
        self.home = Home(Path(tempfile.mkdtemp(prefix="lab-q-")))  # short: sockets have short names
        self.home.prepare()
        folder = self.home.path / "services"
        self.layout = Layout(
            lab="queue test", lab_file="lab.yaml", home=str(self.home.path), gateway="tcp://127.0.0.1:1", redis=f"127.0.0.1:{free_ports(1)[0]}",
            is_own_redis=True, queue_control=f"ipc://{folder / queue.CONTROL}", queue_info=f"ipc://{folder / queue.INFO}",
            steward=f"ipc://{folder / 'steward.sock'}", tiled="", tiled_key="", ca_ports={}, redis_password=secrets.token_hex(8))
        self.layout.save()
        (self.home.path / "go").mkdir()
        self.configure(remote or {})
        redis.write_configuration(self.layout)
        queue.write_configuration(self.layout)
        file = folder / queue.CONFIGURATION
        configuration = yaml.safe_load(file.read_text())
        configuration["startup"]["startup_module"] = "tests.queue_worker"
        configuration["worker"] = {"use_ipython_kernel": False}
        write_for_owner(file, yaml.safe_dump(configuration))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ledger = Ledger(self.home.ledger, WallClock())
        self._context: zmq.Context[Any] = zmq.Context()

    def configure(self, remote: Mapping[str, Any]) -> None:
        """What lab.yaml says, from the next start of the steward on."""
        base = yaml.safe_load((Path(__file__).parent.parent / "examples" / "lab.yaml").read_text())
        write_for_owner(self.layout.config_file, LabConfig.model_validate({**base, "remote": dict(remote)}).model_dump_json())

    # ------------------------------------------------------------------------------------------------ processes

    def start(self, *names: str) -> Self:
        """Start services, without waiting for them."""
        environment = {**os.environ, "LAB_HOME": str(self.home.path), "PYTHONPATH": str(Path(__file__).parent.parent)}
        for name in names or COMMANDS:
            with (self.home.path / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen([sys.executable, "-m", COMMANDS[name], "--home", "."], cwd=self.home.path, stdin=subprocess.DEVNULL,
                                                        stdout=log, stderr=log, env=environment, start_new_session=True)
        return self

    def restore(self) -> None:
        """Start again what is not running, as the supervisor of a laboratory does."""
        dead = [name for name in COMMANDS if name in self.processes and self.processes[name].poll() is not None]
        if dead:
            self.start(*dead)

    def kill(self, *names: str) -> None:
        """As the kernel does when there is no memory left: at once, all of them, then wait for their ends."""
        for name in names:
            self.processes[name].kill()
        for name in names:
            self.processes[name].wait(DEADLINE_S)
        if "queue" in names:
            self.until(lambda: not self._strays(), "the RE Manager's processes end with it")

    def _strays(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter(["cmdline", "environ", "pid"]):
            environment = process.info["environ"] or {}
            if environment.get("LAB_HOME") == str(self.home.path) and process.status() != psutil.STATUS_ZOMBIE and \
                    COMMANDS["queue"] in (process.info["cmdline"] or []):
                found.append(process)
        return found

    def kill_worker(self) -> int:
        pid = self.worker_pid()
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_manager(self) -> None:
        """The process that answers; its watchdog, and the worker, go on."""
        worker = self.worker_pid() if self.layout.worker_file.exists() else 0
        for child in psutil.Process(self.processes["queue"].pid).children():
            if child.pid != worker and child.status() != psutil.STATUS_ZOMBIE:
                os.kill(child.pid, signal.SIGKILL)

    def worker_pid(self) -> int:
        return int(json.loads(self.layout.worker_file.read_text())["pid"])

    def close(self) -> None:
        """End everything."""
        for name, process in self.processes.items():
            if process.poll() is None:
                if name == "steward":
                    process.terminate()
                else:
                    process.kill()
                process.wait(DEADLINE_S)
        if "queue" in self.processes:
            self.until(lambda: not self._strays(), "the RE Manager's processes end with it")
        self.ledger.close()
        self._context.destroy(linger=0)
        shutil.rmtree(self.home.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------ asking

    def ask(self, who: tuple[str, str], method: str, deadline_s: float = DEADLINE_S, **params: Any) -> dict[str, Any]:
        """A request, as the gateway passes it on."""
        line = self.send(who, method, **params)
        try:
            assert line.poll(int(deadline_s * 1000)), f"{method}: no answer within {deadline_s:g} s\n{self.log('steward')}"
            answer: dict[str, Any] = json.loads(line.recv_multipart()[-1])
            return answer
        finally:
            line.close(linger=0)

    def send(self, who: tuple[str, str], method: str, **params: Any) -> zmq.Socket[bytes]:
        """A request of which nobody may ever hear the answer."""
        line = self._context.socket(zmq.DEALER)
        line.connect(self.layout.steward)
        line.send_multipart([b"1", b"", json.dumps({"who": {"name": who[0], "role": who[1], "key": "k"}, "method": method, "params": params}).encode()])
        return line

    def add(self, who: tuple[str, str], name: str, number: int, **more: Any) -> str:
        """Queue a plan; the id of its item."""
        params = {key: more.pop(key) for key in ("pos", "before_uid", "after_uid", "request") if key in more}
        answer = self.ask(who, "queue_item_add", item={"item_type": "plan", "name": name, "kwargs": {"number": number, **more}}, **params)
        assert answer["success"], answer
        return str(answer["lab"]["item"])

    def manager(self, method: str, **params: Any) -> dict[str, Any]:
        """What the RE Manager itself says; what changes nothing is asked again when it dies, and is started again by itself, or Redis is away."""
        if method not in READS:
            return queue.ask(self.layout, method, DEADLINE_S, **params)
        ends = time.monotonic() + DEADLINE_S
        while True:
            try:
                answer = queue.ask(self.layout, method, **params)
                if answer.get("success", True) or time.monotonic() > ends:
                    return answer
            except ServiceError:
                if time.monotonic() > ends:
                    raise
            time.sleep(0.05)

    def status(self) -> dict[str, Any]:
        return self.ask(OSCAR, "lab_status")

    # ------------------------------------------------------------------------------------------------ waiting and looking

    def until(self, is_so: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
        """Wait for it, in wall time."""
        ends = time.monotonic() + deadline_s
        while True:
            found = is_so()
            if found:
                return found
            assert time.monotonic() < ends, f"not within {deadline_s:g} s: {what}\n{self.log('steward')}\n{self.log('queue')}"
            time.sleep(0.02)

    def until_state(self, item: str, *states: str) -> ItemRow:
        return self.until(lambda: (row := self.ledger.item(item)).state in states and row, f"item {item} becomes {states}; it is {self.ledger.item(item)}")  # type: ignore[no-any-return]

    def until_begun(self, item: str) -> None:
        """It runs, in the world and on record."""
        self.until(lambda: self.ledger.item(item).runs and self.ledger.item(item).parameters["number"] in self.done(), f"{item} begins")

    def until_ready(self) -> None:
        """Everything answers, and the worker is there."""
        self.until(lambda: self.layout.worker_file.exists() and (s := self.status())["queue"]["environment"] == "idle" and s, "the worker is ready")

    def until_idle(self) -> None:
        """The RE Manager has taken note of everything that has ended."""
        self.until(lambda: (s := self.manager("status"))["manager_state"] == "idle" and not s["running_item_uid"], "the RE Manager is idle")

    def go(self, gate: str) -> None:
        (self.home.path / "go" / gate).touch()

    def done(self, what: str = "began") -> list[int]:
        """What really happened: the numbers of plans that began, or ended."""
        try:
            lines = (self.home.path / "done.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [number for kind, number, _, _ in map(json.loads, lines) if kind == what]

    def log(self, name: str) -> str:
        file = self.home.path / f"{name}.log"
        return f"--- {name}\n" + "\n".join(file.read_text().splitlines()[-25:]) if file.exists() else ""
