"""A laboratory from afar: the official client of bluesky-queueserver, with one's own key, and what this laboratory knows besides.

::

    from lab.remote.client.laboratory import connect

    lab = connect("lab.example:60615", key="alice.key")
    lab.item_add(BPlan("count", ["hotplate_a"], num=3))       # bluesky_queueserver_api, all of it
    for document in lab.watch(campaign="perovskite"):
        print(document.name, document.doc)
    lab.data(campaign="perovskite")                           # a pandas DataFrame
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bluesky_queueserver_api.comm_base import RequestFailedError, RequestTimeoutError
from bluesky_queueserver_api.zmq import REManagerAPI

from lab.core.errors import ConfigError, RemoteError
from lab.home import Home
from lab.remote.access.key_files import KeyFile, check_address, load_key
from lab.remote.access.keys import user
from lab.remote.client.asking import Asking
from lab.remote.client.feed import Feed
from lab.remote.client.monitors import ConsoleMonitor, SystemInfoMonitor
from lab.remote.client.requests import Requests

if TYPE_CHECKING:
    from lab.remote.client.documents import Document

PAUSE_S: Final = 60.0
"""For a plan to come to rest where it may be paused."""


class Refused(RequestFailedError, RemoteError):
    """The laboratory answered, and did not do it.

    Parameters
    ----------
    request : Mapping
        ``{"method", "params"}``.
    response : Mapping
        ``{"success": False, "msg"}``, and where it is about what was given ``problems``.

    Attributes
    ----------
    problems : list of dict
        ``{"field", "given", "allowed"}``, all that were found; empty when it is about something else.
    """

    def __init__(self, request: Mapping[str, Any], response: Mapping[str, Any]) -> None:
        super().__init__(request, response)
        found = response.get("problems") if isinstance(response, Mapping) else None
        self.problems: list[dict[str, Any]] = [problem for problem in found or () if isinstance(problem, Mapping)]  # type: ignore[misc]

    def __str__(self) -> str:
        words = self.response.get("msg") if isinstance(self.response, Mapping) else ""
        return str(words or f"{self.request['method']}: refused without words")


class NoAnswer(RequestTimeoutError, RemoteError):
    """Nobody was reached, the key is not known there, or an answer was lost. `__cause__` tells which, the words what to do."""

    def __init__(self, message: str, request: Mapping[str, Any]) -> None:
        super().__init__(message, request)
        self._message = message

    def __str__(self) -> str:
        return self._message


def connect(address: str | None = None, key: str | Path | None = None, **options: Any) -> Laboratory:
    """Open a laboratory: nothing is sent before the first request.

    Parameters
    ----------
    address : str or None
        ``host:port`` of the gateway; None: ``LAB_ADDRESS``, else what the key file says.
    key : path or None
        The key file you were given; None: ``LAB_KEY``, else your own at this machine's laboratory (``LAB_HOME/keys/YOU.key``).
    **options
        Of `bluesky_queueserver_api.zmq.REManagerAPI`: ``zmq_encoding``, ``request_fail_exceptions``, ``status_polling_period``, ...

    Returns
    -------
    Laboratory

    Raises
    ------
    ConfigError
        When there is no key file, or it cannot be used, or the address is none.
    """
    found, where = _key(key)
    given = address if address is not None else os.environ.get("LAB_ADDRESS")
    return Laboratory(where if given is None else check_address(given, "command line", "address"), found, **options)


class Laboratory(Asking, REManagerAPI):
    """See `connect`. All of `bluesky_queueserver_api.zmq.REManagerAPI`; who you are is told by your key, so `user` and `user_group` are not sent.

    Requests survive a restart of the laboratory's gateway; a request that changes something is done once, also when its answer was lost.
    Errors are those of the official client, and in the words of the laboratory: ``RequestFailedError`` (`Refused`) when it was not
    done, ``RequestTimeoutError`` (`NoAnswer`) when there was no answer.

    Parameters
    ----------
    address : str
        ``host:port``.
    key : KeyFile
    """

    RequestFailedError = Refused

    def __init__(self, address: str, key: KeyFile, **options: Any) -> None:
        self.address, self.key = address, key
        super().__init__(zmq_control_addr=address, zmq_info_addr=address, **options)
        self._pass_user_info = False

    # ------------------------------------------------------------------------------------------ the official client

    def _create_client(self, *, zmq_encoding: str = "json", **_: Any) -> Requests:
        return Requests(self.address, self.key, zmq_encoding)

    def _init_console_monitor(self) -> None:
        self._console_monitor = ConsoleMonitor(self._client, poll_timeout=self._console_monitor_poll_timeout,
                                               max_msgs=self._console_monitor_max_msgs, max_lines=self._console_monitor_max_lines)

    def _init_system_info_monitor(self) -> None:
        self._system_info_monitor = SystemInfoMonitor(self._client, poll_timeout=self._system_info_monitor_poll_timeout,
                                                      max_msgs=self._system_info_monitor_max_msgs)

    def send_request(self, *, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Any request by its name: ``lab.send_request(method="lab_status")``.

        Raises
        ------
        Refused
            When the answer is that it was not done.
        NoAnswer
            When there was none.
        """
        request = {"method": method, "params": params}
        try:
            response: dict[str, Any] = self._client.send_message(method=method, params=params)
        except RemoteError as error:
            raise NoAnswer(str(error), request) from error
        self._check_response(request=request, response=response)
        return response

    def whoami(self) -> dict[str, Any]:
        """Whom the laboratory takes you for: ``name``, ``role``, ``lab``, ``version``."""
        return self.send_request(method="lab_whoami")

    def abort(self) -> dict[str, Any]:
        """End what runs, now: paused first where it is not, as the RE Manager asks for.

        Raises
        ------
        TimeoutError
            When it cannot be paused within `PAUSE_S`.
        """
        if self.status(reload=True)["manager_state"] in ("executing_queue", "starting_queue"):
            self.re_pause(option="immediate")
            self.wait_for_idle_or_paused(timeout=PAUSE_S)
        if self.status(reload=True)["manager_state"] == "idle":
            return {"success": True, "msg": "nothing runs"}
        answer: dict[str, Any] = self.re_abort()
        return answer

    def watch(self, target: str | None = None, *, item: str | None = None, campaign: str | None = None,
              have: Mapping[str, int] | None = None) -> Iterator[Document]:
        """Documents as they come, from the first one of each run; nothing is lost in between, and nothing comes twice.

        Parameters
        ----------
        target, item, campaign : str, optional
            Whose; none: of everything that you may see, from now on and for ever. Else it ends when the item or the campaign has ended.
        have : mapping of str to int, optional
            By run, how many documents are here already (``document.n + 1``); they are not told again.
        """
        from lab.remote.client.documents import documents

        wanted = None if target is item is campaign is None else self._target(target, item, campaign)
        return documents(self, wanted, have)

    def feed(self, subscription: Mapping[str, Any], have: Mapping[str, int] | None = None) -> Feed:
        """A stream of the laboratory; the caller closes it."""
        return Feed(self._client, subscription, have)

    def __enter__(self) -> Laboratory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _key(given: str | Path | None) -> tuple[KeyFile, str]:
    """The key file to use, and where its laboratory is."""
    named = given if given is not None else os.environ.get("LAB_KEY")
    if named is not None:
        key = load_key(named)
        return key, key.address
    home = Home.default()
    own = home.path / "keys" / f"{user()}.key"
    if not own.exists():
        raise ConfigError("command line", "key", "none", "the key file that the laboratory has made for you: export LAB_KEY=FILE "
                                                         f"(at the laboratory itself: LAB_HOME={home.path} has none; lab up makes one)")
    key = load_key(own)
    return key, key.address  # lab up writes it anew where the address has changed
