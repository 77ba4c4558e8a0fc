"""Items of the queue: what people asked for, who approved it, which worker began it, and what became of it.

The RE Manager holds the order in which items run; that one has run, or has not, is said here alone. A worker begins an item by
claiming it, in one transaction, once; whatever the RE Manager puts back into its queue afterwards cannot be claimed again.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from typing import Any, get_args

from sqlalchemy import Connection, Row, String, cast, func, insert, select, update

from lab.core.errors import LedgerError
from lab.records import schema
from lab.records.part import Part
from lab.records.process import Process
from lab.records.queue_rows import ITEM_ENDS, ITEM_STATES, Errand, ItemEnd, ItemRow, ItemState, NewItem
from lab.records.store import iso

RETRIED = "retried as "
DISMISSED = "dismissed"

_GAP = 1.0
"""Between the places of neighbours, at first."""

_DECIDABLE: tuple[ItemState, ...] = ("interrupted", "failed", "stopped", "aborted")

item_table = schema.item


class Items(Part):
    """What people have asked the queue to do."""

    def add_items(self, items: Sequence[NewItem], *, before: str = "", errand: Errand | None = None) -> list[ItemRow]:
        """Record items before they enter the queue: all of them, or none.

        Parameters
        ----------
        items : sequence of NewItem
            In the order in which they are to run.
        before : str
            Id of the queued item before which they have their place; empty: behind all others.
        errand : Errand, optional
            The client's write by which they came: it knows them from now on.

        Raises
        ------
        LedgerError
            When `before` is not queued, or one is to make again what cannot be (`decide_item`).
        """
        with self._store.write() as connection:
            places = _places(connection, before, len(items))
            ids = [self._add(connection, new, place) for new, place in zip(items, places, strict=True)]
            if errand is not None:
                table = schema.errand
                connection.execute(update(table).where(table.c.user == errand.user, table.c.name == errand.name).values(items=ids))
            return [_row(_by_id(connection, identity)) for identity in ids]

    def add_item(self, item: NewItem, *, before: str = "", errand: Errand | None = None) -> ItemRow:
        """Record one item; see `add_items`."""
        return self.add_items([item], before=before, errand=errand)[0]

    def claim_item(self, item: str, digest: str, process: Process | None = None) -> ItemRow:
        """Begin an item, in the name of a worker.

        Parameters
        ----------
        digest : str
            Of the plan and the parameters that are about to run.
        process : Process, optional
            The worker; the calling process by default.

        Raises
        ------
        LedgerError
            Unless it is queued, and has this digest: it has begun before, was removed, waits for approval, or was changed since.
        """
        me = self._me if process is None else process
        with self._store.write() as connection:
            row = _by_id(connection, item, is_locked=True)
            state, cause = _true_state(row)
            if state != "queued":
                raise LedgerError(f"item {item}: cannot begin: it is {state}{f' ({cause})' if cause else ''}; allowed: queued, and each item begins once")
            if row.digest != digest:
                raise LedgerError(f"item {item}: cannot begin: its plan or parameters are not the ones that were checked "
                                  f"(digest {digest[:12]}, on record {row.digest[:12]})")
            connection.execute(update(item_table).where(item_table.c.id == item).values(
                state="running", host=me.host, pid=me.pid, process_started=me.started, began_wall=iso(self._store.wall())))
            return _row(_by_id(connection, item))

    def end_item(self, item: str, state: ItemEnd, cause: str = "", runs: Sequence[str] = (), campaign: str = "") -> None:
        """Say how an item ended that had begun.

        Parameters
        ----------
        state : {"completed", "failed", "stopped", "aborted", "interrupted"}
        cause : str
            Why, unless it is completed.
        runs : sequence of str
            Uids of its runs; those that are on record already (`add_item_run`) stay.
        campaign : str
            The campaign which it ran; empty: none, or the one that is on record already.

        Raises
        ------
        LedgerError
            When it does not run, or for another state.
        """
        if state not in get_args(ItemEnd):
            raise LedgerError(f"item {item}: end: given {state!r}; allowed: {', '.join(ITEM_ENDS)}")
        values: dict[str, Any] = {"state": state, "cause": cause, "ended_wall": iso(self._store.wall())} | ({"campaign": campaign} if campaign else {})
        with self._store.write() as connection:
            row = _by_id(connection, item, is_locked=True)
            if row.state != "running":
                _refuse_unless(row, ("running",), f"end as {state}")
            connection.execute(update(item_table).where(item_table.c.id == row.id).values(runs=list(dict.fromkeys([*row.runs, *runs])), **values))

    def set_item_campaign(self, item: str, campaign: str) -> None:
        """Say which campaign an item runs, as soon as it has a name."""
        self._turn(item, ("running",), "name its campaign", {"campaign": campaign})

    def add_item_run(self, item: str, uid: str) -> None:
        """Keep the uid of a run as soon as it is open: an item that is interrupted has its data, too."""
        with self._store.write() as connection:
            row = _by_id(connection, item, is_locked=True)
            if row.state != "running":
                _refuse_unless(row, ("running",), "open a run")
            connection.execute(update(item_table).where(item_table.c.id == row.id).values(runs=[*row.runs, uid]))

    def turn_item_away(self, item: str, cause: str) -> None:
        """Fail an item that was queued and could not begin: the worker refused it, and nothing was done."""
        self._turn(item, ("queued",), "be turned away", {"state": "failed", "cause": cause, "ended_wall": iso(self._store.wall())})

    def finish_instruction(self, item: str) -> None:
        """An instruction is not claimed by a worker: the RE Manager has followed it, and it is in its queue no more."""
        self._turn(item, ("queued",), "be followed", {"state": "completed", "ended_wall": iso(self._store.wall())})

    def settle_lost_items(self) -> list[ItemRow]:
        """Items that ran in a worker which is gone: what they read as so far, interrupted, is written down, each once.

        Returns
        -------
        list of ItemRow
            Those of which it was not on record.
        """
        with self._store.read() as connection:
            running = connection.execute(select(item_table).where(item_table.c.state == "running")).all()
        found = [_row(row) for row in running if _true_state(row)[0] == "interrupted"]
        settled = []
        for item in found:
            with self._store.write() as connection:
                changed = connection.execute(update(item_table).where(item_table.c.id == item.id, item_table.c.state == "running").values(
                    state="interrupted", cause=item.cause, ended_wall=iso(self._store.wall())))
            if changed.rowcount == 1:
                settled.append(self.item(item.id))
        return settled

    def approve_item(self, item: str, digest: str, by: str) -> ItemRow:
        """An operator's word for an item that waits; it is queued behind the others.

        Raises
        ------
        LedgerError
            When it does not wait, or was changed since the operator saw it (`digest`).
        """
        with self._store.write() as connection:
            row = _by_id(connection, item, is_locked=True)
            _refuse_unless(row, ("waiting",), "be approved")
            if row.digest != digest:
                raise LedgerError(f"item {item}: cannot be approved: given digest {digest[:12]}; allowed: {row.digest[:12]}: it was changed since; look at it again")
            connection.execute(update(item_table).where(item_table.c.id == item).values(
                state="queued", approved_by=by, approved_wall=iso(self._store.wall()), place=_places(connection, "", 1)[0]))
            return _row(_by_id(connection, item))

    def reject_item(self, item: str, by: str, why: str = "") -> None:
        """An operator's word against an item that waits."""
        cause = f"rejected by {by}" + (f": {why}" if why else "")
        self._turn(item, ("waiting",), "be rejected", {"state": "rejected", "cause": cause, "ended_wall": iso(self._store.wall())})

    def remove_item(self, item: str, cause: str) -> None:
        """Take back an item that has not begun."""
        self._turn(item, ("waiting", "queued"), "be removed", {"state": "removed", "cause": cause, "ended_wall": iso(self._store.wall())})

    def change_item(self, item: str, new: NewItem) -> ItemRow:
        """Give an item that has not begun another plan, other parameters, and so another digest; an earlier approval ends with it."""
        values: dict[str, Any] = {
            "name": new.name, "parameters": dict(new.parameters), "digest": new.digest, "estimate_s": new.estimate_s,
            "campaign": new.campaign, "kind": new.kind, "meta": dict(new.meta), "state": "waiting" if new.is_waiting else "queued", "approved_by": "", "approved_wall": None}
        self._turn(item, ("waiting", "queued"), "be changed", values)
        return self.item(item)

    def decide_item(self, item: str, decided: str, by: str) -> None:
        """Say what becomes of an item that ended badly; one that is made again is decided by the new one (``NewItem.parent``).

        Raises
        ------
        LedgerError
            When it has not ended badly, or somebody has decided.
        """
        with self._store.write() as connection:
            self._decide(connection, item, decided, by)

    def set_item_uid(self, item: str, uid: str) -> None:
        """Keep the uid that the RE Manager has given it."""
        with self._store.write() as connection:
            connection.execute(update(item_table).where(item_table.c.id == item, item_table.c.uid != uid).values(uid=uid))

    def order_items(self, ids: Sequence[str]) -> None:
        """Keep the order in which queued items stand in the RE Manager's queue."""
        with self._store.write() as connection:
            places = {row.id: row.place for row in connection.execute(select(item_table.c.id, item_table.c.place).where(item_table.c.state == "queued"))}
            known = [identity for identity in ids if identity in places]
            if all(places[first] < places[second] for first, second in zip(known, known[1:], strict=False)):
                return
            for identity, place in zip(known, sorted(places[identity] for identity in known), strict=True):
                connection.execute(update(item_table).where(item_table.c.id == identity).values(place=place))

    def item(self, item: str) -> ItemRow:
        """One item, by its id, or by the uid that the RE Manager gave it last.

        Raises
        ------
        LedgerError
            When there is none.
        """
        with self._store.read() as connection:
            return _row(_by_id(connection, item))

    def items(self, states: Collection[str] = (), user: str = "", limit: int | None = None) -> list[ItemRow]:
        """Items in the order of their submission; those that are queued, in the order of the queue, when nothing else is asked for.

        Parameters
        ----------
        states : collection of str
            Only those in one of these; empty: in any.
        user : str
            Only theirs; empty: everybody's.
        limit : int, optional
            Only the latest so many.
        """
        odd = sorted(set(states) - set(ITEM_STATES))
        if odd:
            raise LedgerError(f"items: state: given {odd[0]!r}; allowed: {', '.join(ITEM_STATES)}")
        query = select(item_table).order_by(item_table.c.number.desc())
        if states:
            stored = set(states) | ({"running"} if "interrupted" in states else set())
            query = query.where(item_table.c.state.in_(sorted(stored)))
        if user:
            query = query.where(item_table.c.user == user)
        found: list[ItemRow] = []
        with self._store.read() as connection:
            for row in connection.execute(query):
                if limit is not None and len(found) >= limit:
                    break
                if not states or _true_state(row)[0] in states:
                    found.append(_row(row))
        if set(states) == {"queued"}:
            return sorted(found, key=lambda item: (item.place, item.number))
        return found[::-1]

    def pending_of(self, user: str) -> tuple[int, int]:
        """How many items of somebody are queued or wait for approval, and how many characters their parameters have, as JSON."""
        size = func.coalesce(func.sum(func.length(cast(item_table.c.parameters, String))), 0)
        query = select(func.count(), size).where(item_table.c.user == user, item_table.c.state.in_(("queued", "waiting")))
        with self._store.read() as connection:
            n, characters = connection.execute(query).one()
        return int(n), int(characters)

    def _add(self, connection: Connection, new: NewItem, place: float) -> str:
        number = (connection.execute(select(func.max(item_table.c.number))).scalar() or 0) + 1  # the transaction keeps other writers out
        identity = f"i-{number:05d}-{secrets.token_hex(2)}"
        if new.parent:
            self._decide(connection, new.parent, f"{RETRIED}{identity}", new.by if new.by else new.user)
        connection.execute(insert(item_table).values(
            number=number, id=identity, uid="", kind=new.kind, name=new.name, parameters=dict(new.parameters), digest=new.digest,
            meta=dict(new.meta), user=new.user, role=new.role, state="waiting" if new.is_waiting else "queued", cause="", place=place, estimate_s=new.estimate_s, campaign=new.campaign,
            runs=[], approved_by="", parent=new.parent, decided="", decided_by="", host="", pid=0, process_started="",
            submitted_wall=iso(self._store.wall())))
        return identity

    def _decide(self, connection: Connection, item: str, decided: str, by: str) -> None:
        row = _by_id(connection, item, is_locked=True)
        _refuse_unless(row, _DECIDABLE, "be decided upon")
        if row.decided:
            raise LedgerError(f"item {item}: was {row.decided} by {row.decided_by} already")
        state, cause = _true_state(row)
        connection.execute(update(item_table).where(item_table.c.id == row.id).values(
            state=state, cause=cause, decided=decided, decided_by=by, decided_wall=iso(self._store.wall()),
            ended_wall=iso(self._store.wall()) if row.ended_wall is None else row.ended_wall))

    def _turn(self, item: str, allowed: tuple[ItemState, ...], what: str, values: dict[str, Any]) -> None:
        with self._store.write() as connection:
            row = _by_id(connection, item, is_locked=True)
            if row.state not in allowed:
                _refuse_unless(row, allowed, what)
            connection.execute(update(item_table).where(item_table.c.id == row.id).values(**values))


def _refuse_unless(row: Row[Any], allowed: tuple[ItemState, ...], what: str) -> None:
    state, cause = _true_state(row)
    if state not in allowed:
        raise LedgerError(f"item {row.id}: cannot {what}: it is {state}{f' ({cause})' if cause else ''}; allowed: {', '.join(allowed)}")


def _by_id(connection: Connection, item: str, *, is_locked: bool = False) -> Row[Any]:
    query = select(item_table).where((item_table.c.id == item) | ((item_table.c.uid == item) & (item_table.c.uid != "")))
    row = connection.execute(query.with_for_update() if is_locked else query).first()
    if row is None:
        raise LedgerError(f"item {item}: is not in the ledger")
    return row


def _true_state(row: Row[Any]) -> tuple[ItemState, str]:
    """State and cause; an item whose worker is gone without a word is interrupted."""
    if row.state == "running" and Process(row.host, row.pid, row.process_started).is_gone():
        return "interrupted", f"the worker (process {row.pid} on {row.host}) died while it ran"
    return row.state, row.cause


def _row(row: Row[Any]) -> ItemRow:
    state, cause = _true_state(row)
    return ItemRow(**{**row._asdict(), "state": state, "cause": cause, "runs": tuple(row.runs)})


def _places(connection: Connection, before: str, n: int) -> list[float]:
    """Places for `n` items before another one, or behind all."""
    queued = item_table.c.state == "queued"
    if not before:
        last = connection.execute(select(func.max(item_table.c.place)).where(queued)).scalar()
        return [(0.0 if last is None else last) + _GAP * (i + 1) for i in range(n)]
    row = _by_id(connection, before)
    _refuse_unless(row, ("queued",), "have others before it")
    behind = connection.execute(select(func.max(item_table.c.place)).where(queued, item_table.c.place < row.place)).scalar()
    if behind is None:
        return [row.place - _GAP * (n - i) for i in range(n)]
    step = (row.place - behind) / (n + 1)
    if behind + step == behind or row.place - step == row.place:
        _spread(connection)
        return _places(connection, before, n)
    return [behind + step * (i + 1) for i in range(n)]


def _spread(connection: Connection) -> None:
    """Give those that are queued whole numbers for places, when halving what was between two has come to an end."""
    query = select(item_table.c.id).where(item_table.c.state == "queued").order_by(item_table.c.place, item_table.c.number)
    for place, row in enumerate(connection.execute(query).all()):
        connection.execute(update(item_table).where(item_table.c.id == row.id).values(place=_GAP * place))
