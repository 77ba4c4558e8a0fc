"""The RE Manager of bluesky-queueserver, with our startup module in its worker's IPython kernel.

Run as ``python -m lab.up.queue --home LAB_HOME``. Its sockets are files in a folder of the owner's; nobody but the steward and the gateway
asks it. Its processes die with this one, whatever happens to it; and on SIGTERM the environment is closed in order first, so that
the worker makes its instruments safe.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import yaml
import zmq

from lab.core.errors import ServiceError
from lab.core.remote import ROLES
from lab.layout import Layout, write_for_owner
from lab.up import redis
from lab.up.service import exit_status_of, layout_of_command, log_to_stderr, say_ready

log = logging.getLogger(__name__)

CONFIGURATION = "queue.yaml"
PERMISSIONS = "permissions.yaml"
PLANS = "plans.yaml"
KERNEL = "kernel.json"
CONTROL, INFO = "queue-control.sock", "queue-info.sock"

STARTUP_MODULE = "lab.remote.worker.startup"

REDIS_S = 30.0
"""Wall seconds to wait for Redis."""

ABORT_S = 30.0
"""Wall seconds for a running plan to come to its end after it has been told to."""

WATCH_S = 5.0
"""Wall seconds between two questions whether the RE Manager is there."""

ASK_AGAIN_S = 0.1
"""The same, as long as it is not."""

SILENT_S = 60.0
"""Wall seconds of silence after which it is started again."""

CLOSE_S = 40.0
"""Wall seconds for the environment to be closed."""

_PR_SET_PDEATHSIG = 1
"""prctl(2)"""


def write_configuration(layout: Layout) -> None:
    """The files that the RE Manager reads.

    Raises
    ------
    ConfigError
        When they cannot be written.
    """
    folder = layout.folder
    # Paths are relative to LAB_HOME, in which services run: the RE Manager's reader would expand a $ in them.
    here = folder.name
    configuration = {
        "network": {"zmq_control_addr": f"ipc://{here}/{CONTROL}", "zmq_info_addr": f"ipc://{here}/{INFO}", "zmq_publish_console": True,
                    "zmq_encoding": "json", "redis_addr": layout.redis_login, "redis_name_prefix": f"lab_{layout.lab}"},
        "startup": {"startup_module": STARTUP_MODULE, "existing_plans_and_devices_path": f"{here}/{PLANS}",
                    "user_group_permissions_path": f"{here}/{PERMISSIONS}",
                    # an IPython of its own: what a person's profile starts has no place in the worker
                    "ipython_dir": f"{here}/ipython"},
        "worker": {"use_ipython_kernel": True, "ipython_kernel_ip": "localhost", "ipython_connection_dir": here,
                   "ipython_connection_file": KERNEL, "ipython_matplotlib": "agg"},
        # QUIET: at a louder level the manager prints the kernel's key on the console stream
        "operation": {"print_console_output": True, "console_logging_level": "QUIET", "update_existing_plans_and_devices": "ENVIRONMENT_OPEN",
                      "user_group_permissions_reload": "ON_STARTUP"},
    }
    (folder / "ipython").mkdir(mode=0o700, exist_ok=True)
    write_for_owner(folder / CONFIGURATION, yaml.safe_dump(configuration, sort_keys=False))
    write_for_owner(folder / PERMISSIONS, yaml.safe_dump(_permissions(), sort_keys=False))


def _permissions() -> dict[str, Any]:
    """Who may do what is decided at the gateway and by the steward; here, functions are for admins."""
    everything = {"allowed_plans": [":.*"], "forbidden_plans": [":^_"], "allowed_devices": [":?.*:depth=2"], "forbidden_devices": [None],
                  "allowed_functions": [None], "forbidden_functions": [":^_"]}
    without = {**everything, "allowed_functions": [], "forbidden_functions": [":.*"]}
    return {"user_groups": {"root": everything, **{role: everything if role == "admin" else without for role in ROLES}}}


def ask(layout: Layout, method: str, deadline_s: float = 5.0, **params: Any) -> dict[str, Any]:
    """One question to the RE Manager.

    Raises
    ------
    ServiceError
        When there is no answer within `deadline_s` wall seconds, or nobody has ever listened.
    """
    if not Path(layout.queue_control.removeprefix("ipc://")).exists():
        raise ServiceError(f"queue: the RE Manager has not been started (log: {layout.log_of('queue')})")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    with context.socket(zmq.REQ) as line:
        line.linger = 0
        line.connect(layout.queue_control)
        line.send(json.dumps({"method": method, "params": params}).encode())
        if not line.poll(int(deadline_s * 1000)):
            raise ServiceError(f"queue: the RE Manager has not answered within {deadline_s:g} s (log: {layout.log_of('queue')})")
        answer: dict[str, Any] = json.loads(line.recv())
        return answer


# ------------------------------------------------------------------------------------------------ the service


def main() -> int:
    """Wait for Redis, then be the RE Manager until SIGTERM."""
    layout = layout_of_command("lab.up.queue")
    log_to_stderr()
    (layout.folder / KERNEL).unlink(missing_ok=True)  # the ports in it may be somebody else's by now
    redis.wait(layout, REDIS_S)
    # SIGTERM is for the thread below. What is forked from here gets it as usual.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    launcher = os.getpid()
    os.register_at_fork(after_in_child=lambda: _begin_child(launcher, layout))
    threading.Thread(target=_end_in_order, args=(layout,), name="end", daemon=True).start()
    threading.Thread(target=_watch, args=(layout,), name="watch", daemon=True).start()
    sys.argv = ["start-re-manager", "--config", str(layout.folder / CONFIGURATION)]
    from bluesky_queueserver.manager.start_manager import start_manager

    return int(start_manager() or 0)


def _begin_child(launcher: int, layout: Layout) -> None:
    """A manager that is started again while Redis is away would end at once, and its watchdog, not yet switched on, would not notice.

    So it waits, as long as that lasts: it ends with the launcher.
    """
    _belong_to(launcher)
    while True:
        try:
            redis.wait(layout, REDIS_S)
            return
        except ServiceError as error:
            log.warning("%s", error)


def _belong_to(launcher: int) -> None:
    """In the manager and in the worker, which are forked from the launcher: die with it. What they fork is their own matter."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if os.getppid() == launcher:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:  # it died in between
            os.kill(os.getpid(), signal.SIGKILL)


def _watch(layout: Layout) -> None:
    """Say when the RE Manager answers; and when it does no more, for long, end: its own watchdog does not notice a manager that never came up.

    While Redis is away it can not answer, and is not ended for it: the plan under way would be, too.
    """
    heard = time.monotonic()
    is_ready, said = False, ""
    while time.monotonic() < heard + SILENT_S:
        try:
            ask(layout, "ping")
        except ServiceError as error:
            if str(error) != said:  # once, though it lasts
                log.warning("%s", error)
            said = str(error)
            if not _has_redis(layout):
                heard = time.monotonic()
            time.sleep(ASK_AGAIN_S)
            continue
        heard, said = time.monotonic(), ""
        if not is_ready:
            is_ready = True
            say_ready()
        time.sleep(WATCH_S)
    log.critical("the RE Manager has been silent for %g s: ending, to be started again", SILENT_S)
    os.kill(os.getpid(), signal.SIGKILL)  # what it has forked dies with it; the instruments' service makes the instruments safe


def _has_redis(layout: Layout) -> bool:
    try:
        return redis.answers(layout)
    except ServiceError:  # somebody else's
        return False


def _end_in_order(layout: Layout) -> None:
    """On SIGTERM: abort what runs, close the environment, stop the manager; then end this process."""
    signal.sigwait({signal.SIGTERM})
    try:
        _close(layout)
        ask(layout, "manager_stop", option="safe_off")
    except ServiceError as error:
        log.error("could not end in order: %s", error)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # start_manager takes it for its end


def _close(layout: Layout) -> None:
    """The environment, after whatever runs there has been ended.

    Raises
    ------
    ServiceError
        When the RE Manager does not answer, or the environment does not close in time.
    """
    status = ask(layout, "status")
    if not status["worker_environment_exists"]:
        return
    if status["manager_state"] != "idle":
        log.warning("a plan is under way: aborting it")
        ask(layout, "queue_autostart", enable=False)
        ask(layout, "re_pause", option="immediate")
        _wait(layout, ABORT_S, lambda now: now["manager_state"] in ("paused", "idle"))
        ask(layout, "re_abort")
        _wait(layout, ABORT_S, lambda now: now["manager_state"] == "idle")
    ask(layout, "environment_close")
    _wait(layout, CLOSE_S, lambda now: not now["worker_environment_exists"])


def _wait(layout: Layout, deadline_s: float, is_so: Any) -> None:
    ends = time.monotonic() + deadline_s
    while not is_so(status := ask(layout, "status")):
        if time.monotonic() > ends:
            raise ServiceError(f"the RE Manager is still {status['manager_state']} after {deadline_s:g} s")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(exit_status_of(main))
