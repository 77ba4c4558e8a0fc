"""Who is where: places of the laboratory are shared by all campaigns that run in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from lab.core.errors import LedgerError
from lab.core.sample import GRIPPER, REMOVED, UNKNOWN
from lab.records import schema
from lab.records.answers import campaign_by_id, is_live

NOWHERE = (UNKNOWN, REMOVED)
"""Places that any number of samples may have."""


def companions(connection: Connection, row: Row[Any]) -> list[str]:
    """Ids of this campaign and of all others that run at this moment in its laboratory.

    A laboratory without a name is known to nobody else.
    """
    if not row.lab_name:
        return [row.id]
    table = schema.campaign
    others = connection.execute(select(table).where(
        table.c.lab_name == row.lab_name, table.c.status == "running", table.c.id != row.id)).all()
    return [row.id, *(other.id for other in others if is_live(other))]


def claim_laboratory(connection: Connection, campaign: str) -> None:
    """Until the transaction ends, nobody else gives out places of the laboratory in which this campaign runs.

    SQLite has one writer at a time anyway. To be called before anything else is locked, since all lock in the same order.
    """
    if connection.dialect.name == "sqlite":
        return
    table = schema.campaign
    query = select(table.c.id).where(table.c.id.in_(lab_campaigns(campaign_by_id(connection, campaign))), table.c.status == "running")
    connection.execute(query.order_by(table.c.id).with_for_update(key_share=True)).all()


def holder_of(connection: Connection, campaigns: Sequence[str], place: str) -> str | None:
    """The sample of one of these campaigns that stands at `place`, or is on its way there."""
    if place in NOWHERE:
        return None
    sample, move = schema.sample, schema.move
    standing = connection.execute(select(sample.c.id).where(sample.c.campaign.in_(campaigns), sample.c.place == place)).scalar()
    if standing is not None:
        return str(standing)
    coming = connection.execute(select(move.c.sample).where(
        move.c.campaign.in_(campaigns), move.c.state == "announced", move.c.target == place)).scalar()
    return None if coming is None else str(coming)


def slot_holder_of(connection: Connection, campaigns: Sequence[str], slot: str) -> str | None:
    """The sample of one of these campaigns that began at `slot` and goes back there; None once the slot has been refilled."""
    sample = schema.sample
    found = connection.execute(select(sample.c.id).where(
        sample.c.campaign.in_(campaigns), sample.c.slot == slot, sample.c.holds_slot == 1)).scalar()
    return None if found is None else str(found)


def free_places(connection: Connection, campaigns: Select[tuple[str]], live: Sequence[str], rack: Iterable[str]) -> tuple[str, ...]:
    """Those of `rack` where an untouched substrate stands.

    Parameters
    ----------
    campaigns : select of campaign ids
        All that ever ran in this laboratory: a slot that one of them used holds no empty substrate until it is refilled.
    live : sequence of str
        Those that run now: where their samples are, or are going, nothing else can stand.
    """
    sample, move = schema.sample, schema.move
    used = set(connection.execute(select(sample.c.slot).where(sample.c.campaign.in_(campaigns), sample.c.holds_slot == 1)).scalars())
    used |= set(connection.execute(select(sample.c.place).where(sample.c.campaign.in_(campaigns), sample.c.holds_slot == 1)).scalars())
    used |= set(connection.execute(select(sample.c.place).where(sample.c.campaign.in_(live))).scalars())
    used |= set(connection.execute(select(move.c.target).where(move.c.campaign.in_(live), move.c.state == "announced")).scalars())
    return tuple(place for place in rack if place not in used)


def places_of(connection: Connection, campaign: str, samples: Sequence[Row[Any]]) -> dict[str, str]:
    """Place of each sample of a campaign: `GRIPPER` while this session moves it, `UNKNOWN` when a session died meanwhile."""
    owner = campaign_by_id(connection, campaign)
    move = schema.move
    moving = {row.sample: row.session for row in connection.execute(select(move.c.sample, move.c.session).where(
        move.c.campaign == campaign, move.c.state == "announced"))}
    is_running = bool(moving) and is_live(owner)
    return {row.id: row.place if row.id not in moving else (GRIPPER if is_running and moving[row.id] == owner.session else UNKNOWN)
            for row in samples}


def sample_by_id(connection: Connection, sample: str) -> Row[Any]:
    """The sample's row.

    Raises
    ------
    LedgerError
        When there is none.
    """
    row = connection.execute(select(schema.sample).where(schema.sample.c.id == sample)).first()
    if row is None:
        raise LedgerError(f"sample {sample}: is not in the ledger")
    return row


def lab_campaigns(row: Row[Any]) -> Select[tuple[str]]:
    """Ids of all campaigns that ever ran in the laboratory of this one."""
    table = schema.campaign
    return select(table.c.id).where(table.c.lab_name == row.lab_name if row.lab_name else table.c.id == row.id)
