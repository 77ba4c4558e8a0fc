"""libca in this process: of several that start it at once one brings the CA repeater, and what it prints goes to the log."""

from __future__ import annotations

import fcntl
import importlib
import logging
import os
import socket
import time

from lab.services import LOOPBACK

REPEATER_PORT = 5065
"""Where the CA repeater listens unless EPICS_CA_REPEATER_PORT says otherwise (UDP)."""

REPEATER_S = 1.0
"""Longest wait for the repeater, wall seconds: without one, clients only notice later that an IOC is back."""

log = logging.getLogger(__name__)


def start() -> None:
    """Start libca, after the EPICS_CA_* variables are set and before the first channel.

    With its first channel libca looks whether the port of the repeater is free, and if so begins a thread that listens there. Where two processes find
    it free, the later one's thread ends at once, and libca's watchdog (taskwd) goes on looking at what is left of it: six
    seconds later it writes "Thread ... suspended", with arbitrary bytes for the name, over the operator's screen (EPICS 7.0.10,
    caStartRepeaterIfNotInstalled and caRepeaterThread). So one process at a time does it.
    """
    ca = importlib.import_module("epics.ca")
    with open(__file__, "rb") as turn:  # a file that all of them have, and none need write
        fcntl.flock(turn, fcntl.LOCK_EX)
        ca.clear_channel(ca.create_channel("labwright:repeater", auto_cb=False))
        port = int(os.environ.get("EPICS_CA_REPEATER_PORT", REPEATER_PORT))
        if not await_repeater(port, REPEATER_S):
            log.warning("no CA repeater answers on UDP port %d", port)
    # libca prints every lost connection over the operator's screen; the devices say it in words.
    ca.replace_printf_handler(lambda text: log.debug("libca: %s", text))


def await_repeater(port: int, within_s: float) -> bool:
    """Whether a CA repeater of this machine answers on a port: to an empty datagram, it confirms (Channel Access protocol)."""
    deadline = time.monotonic() + within_s
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.02)
        while time.monotonic() < deadline:
            client.sendto(b"", (LOOPBACK, port))
            try:
                client.recv(64)
            except TimeoutError:
                continue
            return True
    return False
