"""What somebody who watches is told, in the order in which it happens: pure, from documents and from what the ledger says."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lab.remote.client.documents import Document
from lab.remote.commands.queue_tables import plain

N_READINGS: Final = 8
"""Of the live table."""
N_FIELDS: Final = 6
"""Of one reading, at most."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Happening:
    """One thing that happened.

    Parameters
    ----------
    kind : str
        ``document``, ``item``, ``queue``, ``trial``, ``question``, ``campaign`` or ``connection``.
    data : mapping
        For programs.
    line : str
        For people; empty for what they need not be told.
    when : float or None
        Time of day, where it is known; else it is now.
    """

    kind: str
    data: Row
    line: str = ""
    when: float | None = None


@dataclass
class RunView:
    """A run under way."""

    label: str
    n_points: int | None = None
    n_events: int = 0
    streams: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    """By descriptor: the stream's name, and the unit of each field that people are shown."""


@dataclass(frozen=True)
class Reading:
    """One row of the live table."""

    when: float
    run: str
    stream: str
    values: str


class Story:
    """All that is known of what is watched.

    Attributes
    ----------
    item, summary : mapping or None
        As the ledger had them last.
    runs : dict
        Runs under way, by uid.
    readings : deque of Reading
        The last ones.
    """

    def __init__(self) -> None:
        self.item: Row | None = None
        self.summary: Row | None = None
        self.runs: dict[str, RunView] = {}
        self.readings: deque[Reading] = deque(maxlen=N_READINGS)
        self.trouble = ""
        self._standstill = ""
        self._told: set[Any] = set()

    # -------------------------------------------------------------------------------------------------- documents

    def take(self, document: Document) -> Iterator[Happening]:
        """A document came."""
        data = {"run": document.run, "n": document.n, "name": document.name, "doc": document.doc, "campaign": document.campaign, "item": document.item,
                "user": document.user}
        teller: Callable[[Document], str] | None = {"start": self._start, "descriptor": self._descriptor, "event": self._event, "stop": self._stop}.get(document.name)
        when = document.doc.get("time")
        yield Happening("document", data, teller(document) if teller is not None else "", when if isinstance(when, float) else None)

    def _start(self, document: Document) -> str:
        doc = document.doc
        if doc.get("trial") is not None:
            label = f"trial {int(doc['trial']) + 1}"
            what = point(doc.get("planned") or {})
        else:
            label = f"run {doc.get('scan_id', document.run[:8])}"
            what = str(doc.get("plan_name", ""))
        n_points = doc.get("num_points")
        self.runs[document.run] = RunView(plain(label), n_points if isinstance(n_points, int) else None)
        whose = f" of {document.user}" if document.user else ""
        return f"{plain(label)} begins{plain(whose)}: {plain(what)}"

    def _descriptor(self, document: Document) -> str:
        run = self.runs.setdefault(document.run, RunView(document.run[:8]))
        run.streams[document.doc["uid"]] = str(document.doc.get("name", "")), _shown_fields(document.doc)
        return ""

    def _event(self, document: Document) -> str:
        doc = document.doc
        run = self.runs.setdefault(document.run, RunView(document.run[:8]))
        stream, units = run.streams.get(doc.get("descriptor", ""), ("", dict.fromkeys(doc.get("data", {}), "")))
        run.n_events += stream in ("primary", "")
        shown = [f"{name} {number(doc['data'][name])} {unit}".rstrip() for name, unit in units.items() if _is_short(doc.get("data", {}).get(name))]
        values = plain("   ".join(shown[:N_FIELDS]))
        self.readings.append(Reading(float(doc.get("time", 0.0)), run.label, plain(stream), values))
        return f"{run.label}  {plain(stream)} {doc.get('seq_num', '')}: {values}"

    def _stop(self, document: Document) -> str:
        run = self.runs.pop(document.run, RunView(document.run[:8]))
        doc = document.doc
        n = sum(count for count in (doc.get("num_events") or {}).values() if isinstance(count, int))
        reason = f": {plain(doc['reason'])}" if doc.get("reason") else ""
        return f"{run.label} ends: {plain(doc.get('exit_status', ''))}, {n} events{reason}"

    # ------------------------------------------------------------------------------------------- what the ledger says

    def take_item(self, row: Row) -> Iterator[Happening]:
        """An item as it stands in the ledger now."""
        self.item = row
        if self._is_new("item", row["id"], row["state"]):
            cause = f": {plain(row['cause'])}" if row["cause"] else ""
            yield Happening("item", row, f"{row['id']} ({plain(row['name'])} of {plain(row['user'])}) is {row['state']}{cause}")

    def take_standstill(self, why: str) -> Iterator[Happening]:
        """Why the item does not begin, although it is queued (no words: nothing keeps it); said once until it is otherwise."""
        if why and why != self._standstill:
            yield Happening("queue", {"why": why}, f"the queue stands: {plain(why)}")
        self._standstill = why

    def take_campaign(self, summary: Row) -> Iterator[Happening]:
        """A campaign as it stands in the ledger now: trials that have ended, questions that are open, how it is."""
        self.summary = summary
        for trial in summary.get("table", ()):
            if trial["state"] in ("completed", "failed", "abandoned") and self._is_new("trial", summary["campaign"], trial["trial"], trial["state"]):
                yield Happening("trial", {"campaign": summary["campaign"], **trial}, f"trial {trial['trial']} {trial['state']}: {_result(trial)}{self._best()}")
        for question in summary.get("questions", ()):
            if question.get("state") == "open" and self._is_new("question", question["id"]):
                choices = "|".join(question.get("choices", {}))
                yield Happening("question", dict(question), f"? {plain(question.get('sample', ''))}: {plain(question.get('error', ''))}: lab queue answer {question['id']} {plain(choices)}")
        if self._is_new("campaign", summary["campaign"], summary["status"]):
            cause = f": {plain(summary['cause'])}" if summary.get("cause") else ""
            yield Happening("campaign", {key: summary.get(key) for key in ("campaign", "name", "status", "cause", "best")},
                            f"campaign {summary['campaign']} is {summary['status']}{cause}")

    def take_trouble(self, words: str) -> Iterator[Happening]:
        """The connection is lost, or is there again (no words)."""
        if words != self.trouble and not (words and self.trouble):
            yield Happening("connection", {"is_up": not words, "msg": words}, f"! {words}" if words else "connected again")
        self.trouble = words

    def _best(self) -> str:
        best = None if self.summary is None else self.summary.get("best")
        return f"   best {outcomes(best['outcomes'])} (trial {best['trial']})" if best else ""

    def _is_new(self, *what: Any) -> bool:
        if what in self._told:
            return False
        self._told.add(what)
        return True


def number(value: Any) -> str:
    """As people read it: four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def point(values: Row) -> str:
    """``cs 0.131  fa 0.77``."""
    return "  ".join(f"{name} {number(value)}" for name, value in values.items())


def outcomes(given: Mapping[str, Mapping[str, float | None]]) -> str:
    """``purity 0.91 ± 0.011``."""
    def one(value: Mapping[str, float | None]) -> str:
        error = value.get("sem")
        return f"{number(value['mean'])}{f' ± {error:.2g}' if error is not None else ''}"

    return plain("  ".join(f"{name} {one(value)}" for name, value in given.items()))


def clock(when: float | None = None) -> str:
    """``17:02:11``, here."""
    return time.strftime("%H:%M:%S", time.localtime(when))


def _result(trial: Row) -> str:
    values = plain(point({**trial["planned"], **trial["executed"]}))
    return f"{values}  ->  {outcomes(trial['outcomes'])}" if trial["outcomes"] else plain(trial["cause"])


def _shown_fields(descriptor: Row) -> dict[str, str]:
    """Fields that the devices hint at, else all that are numbers or texts; with their units."""
    keys: Mapping[str, Any] = descriptor.get("data_keys") or {}
    hinted = [name for hint in (descriptor.get("hints") or {}).values() if isinstance(hint, Mapping) for name in hint.get("fields", ())]
    names = [name for name in hinted if name in keys] or [name for name, key in keys.items() if not key.get("shape") and not key.get("external")]
    return {name: str(keys[name].get("units") or "") for name in names}


def _is_short(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 40)
