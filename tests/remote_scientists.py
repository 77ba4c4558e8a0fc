"""``python -m tests.remote_scientists``: what README.md tells remote scientists to type, typed, against a laboratory that is up.

Brings the laboratory of examples/lab.yaml up in a folder of its own, makes the key that the page speaks of, runs the page's commands as they
stand in one shell, then the example in Python, and takes the laboratory down again. .ci/run does this.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
DEADLINE_S = 180.0


def commands() -> list[str]:
    """The five lines of the page."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## For remote scientists")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return [line for line in block.splitlines() if line.strip()]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        home, desk = Path(folder) / "home", Path(folder) / "desk"
        desk.mkdir()
        at_lab = {**os.environ, "LAB_HOME": str(home), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        for name in ("LAB_KEY", "LAB_ADDRESS"):
            at_lab.pop(name, None)
        far_away = {**at_lab, "LAB_HOME": str(Path(folder) / "nothing-here"), "LAB_KEY": str(desk / "alice.key"), "MPLBACKEND": "agg"}
        _do(["lab", "up", "examples/lab.yaml", "--listen", "127.0.0.1:0"], at_lab, ROOT)
        try:
            _do(["lab", "keys", "new", "alice", "--role", "scientist", "--out", str(desk / "alice.key")], at_lab, ROOT)
            shutil.copytree(ROOT / "examples", desk / "examples")
            _do(["bash", "-euxc", "\n".join(commands())], {**far_away, "LAB_KEY": ""}, desk)
            _do([sys.executable, str(ROOT / "examples" / "remote_first_plan.py")], far_away, desk)
        finally:
            _do(["lab", "down", "--now"], at_lab, ROOT)
    return 0


def _do(command: list[str], environment: dict[str, str], folder: Path) -> None:
    print(f"$ {' '.join(command)}", flush=True)
    subprocess.run(command, env=environment, cwd=folder, check=True, timeout=DEADLINE_S)


if __name__ == "__main__":
    sys.exit(main())
