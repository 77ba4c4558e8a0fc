"""A laboratory that is up, for a benchmark, with keys for many clients; and those clients, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.core.remote import Role
from lab.home import Home
from lab.layout import Layout
from lab.remote.access.key_files import KeyFile, load_key
from lab.remote.access.keys import KeyRegistry

ROOT = Path(__file__).parent.parent
LAB = str(Path(sys.executable).parent / "lab")


@dataclass(frozen=True)
class Up:
    """A laboratory that is up.

    Parameters
    ----------
    home : Path
    layout : Layout
    key : KeyFile
        Of its owner.
    """

    home: Path
    layout: Layout
    key: KeyFile

    def new_key(self, name: str, role: Role) -> Path:
        """The key file of a new client."""
        return KeyRegistry(Home(self.home)).new(name, role, self.key.address, self.home / f"{name}.key")


@contextmanager
def up() -> Iterator[Up]:
    """The laboratory of examples/lab.yaml, up in a folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        home = Path(folder)
        environment = _environment(home)
        subprocess.run([LAB, "up", "examples/lab.yaml", "--listen", "127.0.0.1:0"], env=environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=300)
        try:
            layout = Layout.load(Home(home))
            (own,) = (home / "keys").glob("*.key")
            if layout is None:
                raise SystemExit("lab up has left no layout")
            yield Up(home, layout, load_key(own))
        finally:
            subprocess.run([LAB, "down", "--now"], env=environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=300)


class Crowd:
    """Many clients, in a process of their own that gives way to all others: in life they are other machines.

    Parameters
    ----------
    laboratory : Up
    n_clients, n_keys : int
        Connections, and the keys among which they are shared.
    """

    def __init__(self, laboratory: Up, n_clients: int, n_keys: int) -> None:
        keys = [str(laboratory.new_key(f"client-{number}", "operator")) for number in range(n_keys)]
        self._process = subprocess.Popen([sys.executable, "-m", "benchmarks.crowd"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        if self._process.stdin is None or self._process.stdout is None:
            raise SystemExit("the clients have no pipes")
        self._questions, self._answers = self._process.stdin, self._process.stdout
        self.ask({"keys": keys, "n_clients": n_clients})

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """One command, and its answer."""
        self._questions.write(json.dumps(message) + "\n")
        self._questions.flush()
        line = self._answers.readline()
        if not line:
            raise SystemExit("the clients have died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._questions.close()
        self._process.wait(30)
        self._answers.close()


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "LAB_HOME": str(home), "COLUMNS": "200"}
