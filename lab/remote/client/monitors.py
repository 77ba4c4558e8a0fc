"""The official client's monitors of console and status, over the gateway's stream in place of the RE Manager's open PUB socket."""

from __future__ import annotations

import logging
import time
from typing import Any

from bluesky_queueserver_api.console_monitor import ConsoleMonitor_ZMQ_Threads
from bluesky_queueserver_api.system_info_monitor import SystemInfoMonitor_ZMQ_Threads

from lab.core.errors import RemoteError
from lab.remote.client.feed import Feed
from lab.remote.client.requests import Requests

_log = logging.getLogger(__name__)


class Receiver:
    """Stands in for `bluesky_queueserver.ReceiveConsoleOutput` and `ReceiveSystemInfo`.

    Parameters
    ----------
    requests : Requests
    topic : str
        ``console`` or ``status``.
    timeout_s : float
        Of `recv`.
    """

    def __init__(self, requests: Requests, topic: str, timeout_s: float) -> None:
        self._requests, self._topic, self._timeout_s = requests, topic, timeout_s
        self._feed: Feed | None = None

    def subscribe(self) -> None:
        self._subscribed()

    def unsubscribe(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()

    def recv(self) -> Any:
        """The next message.

        Raises
        ------
        TimeoutError
            When there was none: the monitors know no other error, and another one would end their thread for good.
        """
        feed = self._subscribed()
        try:
            message = feed.next(self._timeout_s)
        except RemoteError as error:
            _log.warning("%s", error)
            self.unsubscribe()
            time.sleep(self._timeout_s)  # it would be refused at once, again and again
            raise TimeoutError(str(error)) from error
        if message is None or message.topic != self._topic:
            raise TimeoutError("nothing came")
        return message.content

    def _subscribed(self) -> Feed:
        if self._feed is None:
            self._feed = Feed(self._requests, {self._topic: True})
        return self._feed


class ConsoleMonitor(ConsoleMonitor_ZMQ_Threads):
    """What the worker prints."""

    def __init__(self, requests: Requests, **options: Any) -> None:
        self._requests = requests
        super().__init__(zmq_info_addr=None, zmq_encoding="msgpack", **options)

    def _monitor_init(self) -> None:
        self._rco = Receiver(self._requests, "console", self._monitor_poll_timeout)


class SystemInfoMonitor(SystemInfoMonitor_ZMQ_Threads):
    """The status of the RE Manager, whenever it changes."""

    def __init__(self, requests: Requests, **options: Any) -> None:
        self._requests = requests
        super().__init__(zmq_info_addr=None, zmq_encoding="msgpack", **options)

    def _monitor_init(self) -> None:
        self._rco = Receiver(self._requests, "status", self._monitor_poll_timeout)
