"""What the steward's look says of an RE Manager that was away."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.core.clock import ManualClock
from lab.core.remote import RemoteConfig
from lab.layout import Layout
from lab.remote.steward.recovery import SILENT_S, Watch


@pytest.mark.parametrize(("waited_s", "said"), [
    (SILENT_S / 2, []), (2 * SILENT_S, ["the RE Manager has not answered for 3 s; it is started again by itself", "the RE Manager answers again"])])
def test_a_silence_that_a_look_has_waited_through_is_told_with_its_end(tmp_path: Path, waited_s: float, said: list[str]) -> None:
    told: list[str] = []
    manager: Any = SimpleNamespace(longest_wait_s=lambda: waited_s)
    nobody: Any = None
    layout = Layout("demo", "lab.yaml", str(tmp_path), "tcp://127.0.0.1:0", "127.0.0.1:1", True, "ipc://a", "ipc://b", "ipc://c", "", "", {})
    watch = Watch(layout, RemoteConfig(), nobody, manager, nobody, ManualClock(0.0), lambda: "now", lambda kind, text, item: told.append(text))
    watch._hear()
    assert told == said
