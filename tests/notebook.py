"""Runs the code cells of a notebook in a kernel of its own, as a notebook program would."""

from __future__ import annotations

import json
from pathlib import Path
from queue import Empty
from typing import Any

CELL_S = 120.0


class CellFailed(Exception):
    """A cell ended with an error; the message has its source and the traceback."""


def code_cells(path: Path) -> list[str]:
    """The sources of the code cells."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(path: Path, folder: Path, environment: dict[str, str]) -> list[str]:
    """What each code cell has shown, as text.

    Parameters
    ----------
    path : Path
    folder : Path
        In which the kernel works.
    environment : dict
        Of the kernel.

    Raises
    ------
    CellFailed
        With the first cell that fails, or has not ended after `CELL_S`.
    """
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder), env=environment)
    try:
        return [_run_cell(client, source) for source in code_cells(path)]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _run_cell(client: Any, source: str) -> str:
    shown: list[str] = []

    def take(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            shown.append(content["text"])
        elif message["msg_type"] in ("execute_result", "display_data"):
            shown.append(content["data"].get("text/plain", ""))

    try:
        reply = client.execute_interactive(source, timeout=CELL_S, output_hook=take, allow_stdin=False)
    except (TimeoutError, Empty) as error:
        raise CellFailed(f"{source}\n\nhas not ended after {CELL_S:g} s; so far: {''.join(shown)}") from error
    if reply["content"]["status"] != "ok":
        raise CellFailed(f"{source}\n\n" + "\n".join(reply["content"].get("traceback", [])))
    return "".join(shown)
