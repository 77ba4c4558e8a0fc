"""``lab queue watch``: a live picture on a terminal, a line for each thing that happens elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import typer
from rich.console import Console
from rich.live import Live

from lab.core.errors import RemoteError
from lab.remote.client.documents import GOING, LOOK_S, Document
from lab.remote.client.feed import CONNECTING
from lab.remote.client.line import KeyRefused
from lab.remote.commands.live_view import LiveView
from lab.remote.commands.story import Happening, Story, clock
from lab.terminal import DONE, FAILED

if TYPE_CHECKING:
    from lab.remote.client.feed import Feed
    from lab.remote.client.laboratory import Laboratory

SETTLE_S: Final = 1.0
"""Of silence after the end, for the last documents to come."""
NEXT_S: Final = 0.25
"""Between two looks around, at most."""
CAMPAIGN_S: Final = 3.0
"""Between two looks at a campaign, of which no run has ended meanwhile: they are long."""
DRAWN: Final = ("document", "trial")
"""What the live picture shows by itself."""
DRAW_S: Final = 0.1
"""Between two pictures, at least."""


def watch(lab: Laboratory, target: str | None, as_json: bool) -> int:
    """Tell what happens to an item or a campaign until it has ended; of everything, until Ctrl-C.

    Returns
    -------
    int
        0 when it was completed, else 1.

    Raises
    ------
    RemoteError
        When there is no such item or campaign, or the key is not let in any more.
    """
    wanted = None if target is None else lab._target(target)
    watcher = Watcher(lab, wanted)
    is_live = not as_json and sys.stdout.isatty()
    console = Console(highlight=False)
    picture: AbstractContextManager[Live | None] = Live(LiveView(watcher.story), console=console, auto_refresh=False) if is_live else nullcontext()
    drawn = float("-inf")
    with picture as live:
        for happening in watcher.happenings():
            if happening is not None:
                _tell(happening, as_json, live)
            if live is not None and time.monotonic() - drawn >= DRAW_S:
                live.refresh()
                drawn = time.monotonic()
        if live is not None:
            live.refresh()
    return DONE if watcher.state in ("completed", "done") else FAILED


class Watcher:
    """Follows the stream, and looks at the ledger in between.

    Parameters
    ----------
    lab : Laboratory
    target : mapping or None
        ``{"item": id}``, ``{"campaign": id}``; None: everything.
    """

    def __init__(self, lab: Laboratory, target: Mapping[str, str] | None) -> None:
        self._lab, self._target = lab, target
        self._campaign = None if target is None else target.get("campaign")
        self._looked = float("-inf")
        self._looked_at_campaign = float("-inf")
        self._is_due = True
        self._has_looked = False
        self._trouble = ""
        self.story = Story()
        self.state = ""

    def happenings(self) -> Iterator[Happening | None]:
        """What happens, and None at least every `NEXT_S`, until the end.

        Raises
        ------
        RemoteError
            When the key is not let in any more, or the stream is refused.
        """
        everything = {"documents": {"all": True}, "since": time.time()}
        feed = self._lab.feed(everything if self._target is None else {"documents": dict(self._target)})
        try:
            yield from self._follow(feed)
        finally:
            feed.close()

    def _follow(self, feed: Feed) -> Iterator[Happening | None]:
        silent_since = time.monotonic()
        while True:
            message = feed.next(NEXT_S)
            yield from self.story.take_trouble(self._trouble if feed.trouble in ("", CONNECTING) else feed.trouble)
            if message is not None:
                silent_since = time.monotonic()
                document = Document.of(message.content)
                self._note(document)
                yield from self.story.take(document)
            yield None
            if not feed.trouble and self._is_time(message is not None):
                yield from self._look()
            if message is None and self._has_ended() and time.monotonic() - silent_since >= SETTLE_S:
                return

    def _note(self, document: Document) -> None:
        """Of an item that is a campaign its name is known with its first run."""
        if document.campaign:
            self._campaign = document.campaign
        self._is_due = self._is_due or document.name == "stop"

    def _is_time(self, is_busy: bool) -> bool:
        waited_s = time.monotonic() - self._looked
        return waited_s >= LOOK_S or (self._is_due and not is_busy and waited_s >= NEXT_S)

    def _look(self) -> Iterator[Happening]:
        """What the ledger says; at first it has to say something."""
        try:
            if self._target is not None and "item" in self._target:
                row = self._lab.item(self._target["item"])
                self.state = row["state"]
                self._campaign = self._campaign or row["campaign"] or None
                yield from self.story.take_item(row)
                if self.state == "queued":
                    yield from self.story.take_standstill(self._lab.standing()["queue"]["why"])
            if self._campaign is not None and (self._is_due or self._has_ended() or time.monotonic() - self._looked_at_campaign >= CAMPAIGN_S):
                self._looked_at_campaign = time.monotonic()
                summary = self._lab.campaign(self._campaign)
                if self._target is not None and "campaign" in self._target:
                    self.state = summary["status"]
                yield from self.story.take_campaign(summary)
            self._has_looked, self._trouble = True, ""
        except RemoteError as error:
            if isinstance(error.__cause__, KeyRefused) or not self._has_looked:
                raise
            self._trouble = str(error)  # a service behind the gateway is being started again, for instance
        self._looked, self._is_due = time.monotonic(), False

    def _has_ended(self) -> bool:
        return bool(self.state) and self.state not in GOING


def _tell(happening: Happening, as_json: bool, live: Live | None) -> None:
    if as_json:
        typer.echo(json.dumps({happening.kind: _jsonable(happening.data)}))
    elif happening.line and (live is None or happening.kind not in DRAWN):
        line = f"{clock(happening.when)}  {happening.line}"
        if live is None:
            typer.echo(line)
        else:
            live.console.print(line, markup=False, highlight=False)


def _jsonable(data: Mapping[str, Any]) -> dict[str, Any]:
    """What msgpack can say and JSON cannot: numbers that are none become null."""
    found: dict[str, Any] = json.loads(json.dumps(dict(data), default=str), parse_constant=lambda _: None)
    return found
