"""Fetching data: what was measured in a campaign or by an item, in pieces, each with the digest of the whole.

Nothing that a client says becomes a path: campaigns and items are looked up in the ledger, which knows the runs. What is handed out is a copy
made at the first piece, so that pieces of a campaign that goes on fit together.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lab.core.errors import ServiceError
from lab.records.queue_rows import ItemRow
from lab.records.table_files import FORMATS, Format, write
from lab.records.tables import Data, campaign_data, item_data
from lab.remote.access.roles import may_see
from lab.remote.access.who import Who
from lab.remote.registry.refusals import PlanRefused, Problem, refuse, shown
from lab.remote.steward.campaigns_on_record import CampaignsOnRecord

if TYPE_CHECKING:
    from lab.remote.steward.service import Steward

PIECE = 512 * 1024
"""Bytes of one answer, before base64."""

MOST_COPIES, MOST_OF_ONE = 24, 4
"""Copies kept, of all and of one key."""

TURN_S = 20.0
"""Wall seconds to wait while others' data are put together."""

IN_MEMORY = 1_000_000
"""Bytes of a copy; larger ones are in a file without a name, which is gone with this process."""

REPORT = "html"
"""The format that is no table: what ``lab report`` tells of a campaign."""

REPORT_S = 40.0
"""Wall seconds in which a report must have been drawn: the gateway waits a minute."""

SUFFIXES = {"csv": ".csv", "parquet": ".parquet", "hdf5": ".h5", REPORT: ".html"}

Key = tuple[str, str, str, str]
"""Whose (key), campaign or item, id, format."""


@dataclass(frozen=True)
class Copy:
    """Data as they were when they were first asked for."""

    file: IO[bytes]
    total: int
    sha256: str

    def piece(self, offset: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(PIECE)


class DataDesk:
    """Hands out data in pieces."""

    def __init__(self) -> None:
        self._copies: OrderedDict[Key, Copy] = OrderedDict()
        self._turn, self._drawing = threading.Lock(), threading.Lock()

    def lab_data(self, steward: Steward, who: Who, params: dict[str, Any]) -> dict[str, Any]:
        """One piece.

        Raises
        ------
        PlanRefused
            When there is no such campaign or item that they may see.
        LedgerError
            When what is on record cannot be read.
        """
        form, offset = params.get("format", "csv"), params.get("offset", 0)
        if not isinstance(form, str) or form not in SUFFIXES:
            raise refuse("lab_data", "format", form, ", ".join(SUFFIXES))
        if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset <= 2**53:
            raise refuse("lab_data", "offset", offset, "a number of bytes")
        kind, identity, campaign, collect = _source(steward, who, params)
        if form == REPORT and not campaign:
            raise refuse("lab_data", "format", form, f"{', '.join(FORMATS)}: a report is of a campaign")
        key = (who.key, kind, identity, form)
        # Drawing takes seconds, in a process of its own: those who want tables do not wait for it.
        drawn = self._drawn(steward, campaign) if form == REPORT and (offset == 0 or key not in self._copies) else None
        _await(self._turn)
        try:
            copy = self._copy(key, offset == 0, lambda: drawn if drawn is not None else _made(collect(form == "hdf5"), form))  # type: ignore[arg-type]
            if offset > copy.total:
                raise refuse("lab_data", "offset", offset, f"0..{copy.total}")
            piece = copy.piece(offset)
        finally:
            self._turn.release()
        return {"success": True, "msg": "", kind: identity, "format": form, "name": f"{identity}{SUFFIXES[form]}", "offset": offset, "total": copy.total,
                "sha256": copy.sha256, "data": base64.b64encode(piece).decode()}

    def _drawn(self, steward: Steward, campaign: str) -> Copy:
        _await(self._drawing)
        try:
            return _report(steward.home.ledger, campaign)
        finally:
            self._drawing.release()

    def _copy(self, key: Key, is_new: bool, make: Callable[[], Copy]) -> Copy:
        copy = self._copies.get(key)
        if copy is None or is_new:
            made = make()
            self._drop(key)
            self._copies[key] = copy = made
            own = [one for one in self._copies if one[0] == key[0]]
            for one in [*own[:-MOST_OF_ONE], *list(self._copies)[:-MOST_COPIES]]:
                self._drop(one)
        else:
            self._copies.move_to_end(key)
        return copy

    def _drop(self, key: Key) -> None:
        copy = self._copies.pop(key, None)
        if copy is not None:
            copy.file.close()


def _await(turn: threading.Lock) -> None:
    if not turn.acquire(timeout=TURN_S):
        raise ServiceError(f"lab_data: others fetch data, too, and {TURN_S:g} s have passed; ask again in a moment")


def _source(steward: Steward, who: Who, params: dict[str, Any]) -> tuple[str, str, str, Callable[[bool], Data]]:
    """What is asked for, looked up in the ledger.

    Returns
    -------
    kind, identity : str
        ``campaign`` or ``item``, and its id.
    campaign : str
        The campaign that it is, or was made for; empty: none.
    collect : callable
        Collects its data, all of them or the table.
    """
    given = {name: params[name] for name in ("campaign", "item") if params.get(name) is not None}
    if len(given) != 1:
        raise PlanRefused("lab_data", [Problem("campaign", f"{len(given)} of campaign and item", "one of campaign and item")])
    records = CampaignsOnRecord(steward.ledger, steward.lab)
    if "campaign" in given:
        campaign = records.find(who, given["campaign"], "lab_data").id
        return "campaign", campaign, campaign, _of_campaign(steward, campaign)
    item = _item(steward, who, given["item"])
    if item.campaign:
        of_item = records.find(who, item.campaign, "lab_data").id
        return "item", item.id, of_item, _of_campaign(steward, of_item)
    about = {"item": item.id, "plan": item.name, "parameters": json.dumps(dict(item.parameters)), "digest": item.digest, "owner": item.user,
             "state": item.state, "cause": item.cause, "laboratory": steward.lab.name, "submitted": item.submitted_wall,
             "began": item.began_wall or "", "ended": item.ended_wall or ""}
    return "item", item.id, "", lambda is_whole: item_data(steward.home.runs, item.runs, about)


def _of_campaign(steward: Steward, campaign: str) -> Callable[[bool], Data]:
    return lambda is_whole: campaign_data(steward.ledger, steward.home.runs, campaign, steward.home.frames(campaign), is_whole=is_whole)


def _item(steward: Steward, who: Who, given: Any) -> ItemRow:
    if not isinstance(given, str) or not 0 < len(given) <= 120:
        raise refuse("lab_data", "item", given, "the id of an item, as lab_items tells it")
    row = steward.ledger.item(given)
    if not may_see(steward.lab.remote.documents(who.role), who.name, row.user):
        raise PlanRefused("lab_data", [Problem("item", shown(given), f"your own items; of {row.user}'s, the role {who.role} sees no data")])
    return row


def _made(data: Data, form: Format) -> Copy:
    file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed when the copy is dropped
    try:
        write(data, form, file)
        return _sealed(file)
    except BaseException:
        file.close()
        raise


def _report(ledger: Path, campaign: str) -> Copy:
    """The page of a campaign, drawn by a process that ends with it."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the copy is dropped
    try:
        done = subprocess.run([sys.executable, "-m", "lab.dossier", str(ledger), campaign], stdin=subprocess.DEVNULL, stdout=file,
                              stderr=subprocess.PIPE, timeout=REPORT_S)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise ServiceError(f"lab_data: the report of {campaign} cannot be made: {said[-1] if said else f'status {done.returncode}'}")
        return _sealed(file)
    except subprocess.TimeoutExpired as error:
        file.close()
        raise ServiceError(f"lab_data: the report of {campaign} is not made within {REPORT_S:g} s; at the laboratory: lab report {campaign}") from error
    except BaseException:
        file.close()
        raise


def _sealed(file: IO[bytes]) -> Copy:
    """What is in a file, from now on unchanged."""
    file.seek(0)
    digest, total = hashlib.sha256(), 0
    while piece := file.read(PIECE):
        digest.update(piece)
        total += len(piece)
    return Copy(file, total, digest.hexdigest())


METHODS_HERE: dict[str, Callable[[Steward, Who, dict[str, Any]], dict[str, Any]]] = {"lab_data": DataDesk().lab_data}
