"""What the steward's line to the RE Manager says of how long it had to wait."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import zmq

from lab.remote.steward.re_manager import ManagerGone, REManager

BUSY_S = 0.3


def test_a_wait_for_an_answer_is_told_once_and_one_in_vain_is_raised(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/m.sock"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def serve() -> None:
        with context.socket(zmq.REP) as door:
            door.linger = 0
            door.bind(address)
            door.recv()
            time.sleep(BUSY_S)
            door.send(b"{}")
            door.recv()
            door.send(b"{}")
            door.recv()

    thread = threading.Thread(target=serve)
    thread.start()
    manager = REManager(address)
    try:
        manager.status(60)
        assert manager.longest_wait_s() >= BUSY_S
        assert manager.longest_wait_s() == 0.0
        manager.status(60)
        with pytest.raises(ManagerGone, match=r"has not answered within 0\.05 s \(status\)"):
            manager.status(0.05)
        assert manager.longest_wait_s() > 0.0
    finally:
        manager.close()
        thread.join()
        context.term()
