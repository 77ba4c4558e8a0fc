"""The worker of the RE Manager: the laboratory's only session, in an IPython kernel, from the opening of the environment to its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from multiprocessing import util
from typing import Any

from lab.console import furnish, namespace
from lab.home import Home
from lab.layout import Layout
from lab.presence import serving
from lab.session import Session
from lab.up.service import configuration, layout_of

log = logging.getLogger(__name__)

INSTRUMENTS_S = 30.0
"""Wall seconds to wait for the instruments' service."""

LOOK_S = 0.1
"""Between two looks."""

LAST = 100
"""Of what multiprocessing does at the end of a process, what has the highest number comes first."""


def open_worker() -> dict[str, Any]:
    """Open the session of the laboratory that is up; returns the names of the kernel: devices, plans, ``RE``, and those of a console.

    The session is closed, its instruments made safe, when the environment is closed; what kills this process leaves that to the
    instruments' service.

    Raises
    ------
    ConfigError
        When no laboratory has been up in ``LAB_HOME``.
    ServiceError
        When its instruments are not running.
    """
    from lab.remote.worker.engine import RecordedRunEngine
    from lab.remote.worker.worker_plans import make_plans

    home = Home.default()
    layout = layout_of(home)
    lab = configuration(layout)
    _await_instruments(layout)
    session = Session(lab, home, say=_say, is_console=True, attached=layout, kernel=_kernel(),
                      make_engine=lambda opened: RecordedRunEngine(opened.ledger, opened.home))
    _close_at_the_end(session)
    session.start()
    for handler in logging.getLogger().handlers:  # the log is in a file; the console stream is for people
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.WARNING)
    shell = _shell()
    if shell is not None:
        furnish(shell, session)
    names = namespace(session)
    return {**names, "run_campaign": names["campaign"], **make_plans(session)}  # the plan of the queue is called campaign, too


def _await_instruments(layout: Layout) -> None:
    """All services start side by side, and the instruments take longest; when they do not come, the session says so."""
    ends = time.monotonic() + INSTRUMENTS_S
    while serving(layout) is None and time.monotonic() < ends:
        time.sleep(LOOK_S)


def _kernel() -> str:
    """Connection file of the kernel; empty where this process is none."""
    from ipykernel.connect import get_connection_file
    from ipykernel.kernelapp import IPKernelApp

    return str(get_connection_file()) if IPKernelApp.initialized() else ""


def _say(text: str) -> None:
    """On the console stream."""
    print(text, flush=True)  # noqa: T201


def _close_at_the_end(session: Session) -> None:
    """Close the session when the kernel is told to end, before the RE Manager believes that the environment is closed."""
    once, is_closed = threading.Lock(), threading.Event()

    def close() -> None:
        with once:  # whoever comes second waits: the process must not end in the middle
            if not is_closed.is_set():
                is_closed.set()
                session.close()

    util.Finalize(None, close, exitpriority=LAST)
    shell = _shell()
    if shell is not None:
        shell.kernel.do_shutdown = _before(close, shell.kernel.do_shutdown)


def _shell() -> Any:
    from IPython.core.getipython import get_ipython

    found = get_ipython()
    return found if found is not None and hasattr(found, "kernel") else None


def _before(first: Callable[[], None], then: Callable[..., Any]) -> Callable[..., Any]:
    def both(*given: Any, **named: Any) -> Any:
        first()
        return then(*given, **named)

    return both
