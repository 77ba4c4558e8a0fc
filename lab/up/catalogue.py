"""Tiled over HTTP for people and programs that look at data: on the loopback interface, for whoever has its key.

Run as ``python -m lab.up.catalogue --home LAB_HOME``. It is fed from the runs' JSON lines alone, so that whatever happens to it, or to those
who make the runs, it ends up with all of them.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from lab.home import Home
from lab.records.catalogue import Catalogue, connect_by_http, server_on
from lab.up.service import exit_status_of, layout_of_command, log_to_stderr, say_ready

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Wall seconds between two looks for runs that have come to their end."""

CLOSE_S = 10.0
"""Wall seconds, at the end, for the runs that are just being filed; those that are not come next time."""

_TAIL = 65536
"""Bytes at the end of a run's file in which its stop document stands."""


class Feed(threading.Thread):
    """Files every run that has come to its end, once.

    Parameters
    ----------
    runs : Path
        Folder of the runs' JSON lines.
    catalogue : Catalogue
    """

    def __init__(self, runs: Path, catalogue: Catalogue) -> None:
        super().__init__(name="feed", daemon=True)
        self._runs, self._catalogue = runs, catalogue
        self._filed: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        self._filed = {str(uid) for uid, run in self._catalogue.client.items() if "stop" in run.metadata}
        while True:
            self.look()
            if self._ended.wait(LOOK_S):
                return

    def look(self) -> int:
        """File what has come to its end since the last look; how many runs those were."""
        new = [path for path in sorted(self._runs.glob("*.jsonl")) if path.stem not in self._filed and self._has_ended(path)]
        self._catalogue.file(new)
        self._filed.update(path.stem for path in new)
        return len(new)

    def end(self) -> None:
        """Look no more, and file what has been found."""
        self._ended.set()
        status = self._catalogue.close(CLOSE_S)
        if status.pending or status.failed:
            log.warning("%d runs have not been filed (%s); they will be the next time", status.pending + status.failed, status.last_error)

    def _has_ended(self, path: Path) -> bool:
        """Whether its last line is a stop document; files that have not grown are not looked into again."""
        size = path.stat().st_size
        if self._sizes.get(path.stem) == size:
            return False
        self._sizes[path.stem] = size
        with path.open("rb") as file:
            file.seek(max(0, size - _TAIL))
            tail = file.read()
        return tail.endswith(b"\n") and tail[:-1].rpartition(b"\n")[2].startswith(b'["stop"')


class _Server(uvicorn.Server):
    """Calls `on_ready` once it serves, and ends when it is told to by `should_exit`: signals are this module's."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def main() -> int:
    """Serve until SIGTERM."""
    layout = layout_of_command("lab.up.catalogue")
    log_to_stderr()
    for chatterer in ("httpx", "alembic", "tiled"):
        logging.getLogger(chatterer).setLevel(logging.WARNING)
    home = Home(Path(layout.home))
    host, _, port = layout.tiled.removeprefix("http://").rpartition(":")
    feed = Feed(home.runs, Catalogue(home.catalogue, connect=lambda _, __: connect_by_http(layout.tiled, layout.tiled_key)))

    def serves() -> None:
        os.nice(5)  # from now on never in the way of instruments and queue
        feed.start()
        say_ready()

    server = _Server(uvicorn.Config(server_on(home.catalogue, [home.path], layout.tiled_key), host=host, port=int(port),
                                    log_level="warning", access_log=False, timeout_graceful_shutdown=5), serves)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=_end, args=(feed, server), daemon=True).start())
    server.run()
    return 0 if server.started else 1


def _end(feed: Feed, server: _Server) -> None:
    """What is being filed needs the server; then the server goes."""
    feed.end()
    server.should_exit = True


if __name__ == "__main__":
    _status = exit_status_of(main)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(_status)  # everything is filed and closed; to take Tiled's thousand modules apart takes longer than to serve
