"""A whole laboratory for a benchmark: its session, in a folder that goes away."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.files import load_lab
from lab.home import Home
from lab.session import Session

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


@contextmanager
def laboratory(**overrides: Any) -> Iterator[Session]:
    """The session of examples/lab.yaml with fields changed."""
    lab = load_lab(EXAMPLES / "lab.yaml", {name.replace("__", "."): value for name, value in overrides.items()})
    with tempfile.TemporaryDirectory() as folder, Session(lab, Home(Path(folder)), say=print) as session:
        yield session
