"""The tables of the ledger. Every row says when, on the wall (UTC, ISO 8601) and on the laboratory's clock (seconds).

Laboratory seconds count from the origin of the session's clock, and a resumed campaign goes on where it ended: differences
within a campaign mean something, the numbers themselves do not. What is announced and not confirmed keeps the state
``announced`` and no end; the number of the session that announced it tells whether anybody is left to confirm it.

What is younger than version 1 has a default in the database, so that a ledger of version 1 can be brought up to date by adding
columns (`lab.records.migration`). Version 3 has more tables, and the columns of the others as they were. Version 4 keeps what an
optimiser thought, each configuration that a campaign has had, and when a trial became what it was.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, Float, ForeignKey, ForeignKeyConstraint, Index, Integer, MetaData, String, Table, Text

SCHEMA_VERSION = 4
PRODUCT = "labwright-ledger"

metadata = MetaData()


def _when(prefix: str, is_optional: bool = False) -> tuple[Column[str], Column[float]]:
    """Wall and laboratory time of one happening."""
    return (Column(f"{prefix}_wall", String(32), nullable=is_optional), Column(f"{prefix}_lab_s", Float, nullable=is_optional))


def _of_trial() -> tuple[Column[str], Column[int]]:
    return Column("campaign", String(120), nullable=False), Column("trial", Integer, nullable=False)


def _since_2(name: str, kind: Any) -> Column[Any]:
    """A column that version 1 did not have: a text, empty, or a number, 1 by default."""
    return Column(name, kind, nullable=False, server_default="1" if kind is Integer else "")


def _trial_key() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["campaign", "trial"], ["trial.campaign", "trial.trial"])


about = Table(
    "about", metadata,
    Column("product", String(40), primary_key=True),
    Column("schema_version", Integer, nullable=False),
    *_when("created"),
)
"""One row, by which a ledger knows itself."""

campaign = Table(
    "campaign", metadata,
    Column("id", String(120), primary_key=True),
    Column("name", String(80), nullable=False, index=True),
    Column("status", String(16), nullable=False),
    Column("cause", Text, nullable=False, default=""),
    Column("config", Text, nullable=False),
    Column("lab", Text, nullable=False),
    # Host, process and the moment it started: by these a killed campaign is recognised, even when its number is in use again.
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", String(80), nullable=False),
    *_when("started"),
    *_when("ended", is_optional=True),
    _since_2("lab_name", String(80)),
    _since_2("recipe", String(80)),
    _since_2("session", Integer),
    Index("campaign_of_lab", "lab_name", "status"),
)
"""`session` is the number of the session that runs it, or ran it last; `lab_name` is empty when the file names none."""

session = Table(
    "session", metadata,
    Column("campaign", String(120), ForeignKey("campaign.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    *_when("began"),
    *_when("ended", is_optional=True),
)
"""A campaign is run by one session, and by one more each time it is resumed."""

trial = Table(
    "trial", metadata,
    Column("campaign", String(120), ForeignKey("campaign.id"), primary_key=True),
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("planned", JSON, nullable=False),
    Column("executed", JSON, nullable=False),
    Column("origin", Text, nullable=False),
    Column("suggest_s", Float, nullable=False),
    Column("cause", Text, nullable=False, default=""),
    *_when("suggested"),
    *_when("started", is_optional=True),
    *_when("ended", is_optional=True),
    Column("basis", Integer),
    Column("thought", JSON, nullable=False, server_default="{}"),
    Column("revision", Integer, nullable=False, server_default="0"),
)
"""`basis` is the number of the last `change` that the optimiser knew when it suggested the trial; NULL: nobody has said. `revision` is
the configuration under which it was suggested, and `thought` what the optimiser wrote with it: it never changes."""

revision = Table(
    "revision", metadata,
    Column("campaign", String(120), ForeignKey("campaign.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("config", Text, nullable=False),
    Column("by", String(120), nullable=False),
    Column("words", Text, nullable=False),
    *_when("changed"),
)
"""Each configuration that a campaign has had, from 0; the last one is `campaign.config`. `words`: what is other than before."""

change = Table(
    "change", metadata,
    Column("id", Integer, primary_key=True),
    *_of_trial(),
    Column("state", String(16), nullable=False),
    Column("executed", JSON, nullable=False),
    Column("began_lab_s", Float),
    Column("ended_lab_s", Float),
    _trial_key(),
    Index("change_of_campaign", "campaign"),
)
"""What a trial became, each time it changed: by these the optimiser's knowledge at any time can be told (`Trials.known_for`)."""

outcome = Table(
    "outcome", metadata,
    *_of_trial(),
    Column("name", String(80), nullable=False),
    Column("is_measured", Integer, nullable=False),
    Column("mean", Float),
    Column("sem", Float),
    *_when("recorded"),
    _trial_key(),
    Index("outcome_of_trial", "campaign", "trial", "is_measured", "name", unique=True),
)
"""One row per number of an outcome: measured ones (mean and standard error) and details."""

sample = Table(
    "sample", metadata,
    Column("id", String(140), primary_key=True),
    *_of_trial(),
    Column("place", String(80), nullable=False),
    *_when("created"),
    *_when("placed"),
    _since_2("slot", String(80)),
    _since_2("number", Integer),
    Column("state", String(16), nullable=False, server_default="current"),
    _since_2("cause", Text),
    Column("executed", JSON),
    _since_2("holds_slot", Integer),
    _trial_key(),
    Index("samples_of_trial", "campaign", "trial", "number", unique=True),
)
"""Samples of a trial, numbered; the last is the one it stands on. `holds_slot`: nobody has refilled the slot it came from."""

move = Table(
    "move", metadata,
    Column("id", Integer, primary_key=True),
    *_of_trial(),
    Column("sample", String(140), ForeignKey("sample.id"), nullable=False, index=True),
    Column("origin", String(80), nullable=False),
    Column("target", String(80), nullable=False),
    Column("state", String(16), nullable=False),
    Column("place", String(80), nullable=False),
    Column("cause", Text, nullable=False, default=""),
    *_when("announced"),
    *_when("ended", is_optional=True),
    _since_2("session", Integer),
    _trial_key(),
    Index("move_of_campaign", "campaign", "state"),
)

dose = Table(
    "dose", metadata,
    Column("key", String(200), primary_key=True),
    *_of_trial(),
    Column("sample", String(140), ForeignKey("sample.id"), nullable=False),
    Column("volumes_ml", JSON, nullable=False),
    Column("dispensed_ml", JSON),
    Column("state", String(16), nullable=False),
    Column("cause", Text, nullable=False, default=""),
    *_when("announced"),
    *_when("ended", is_optional=True),
    _since_2("session", Integer),
    _trial_key(),
    Index("dose_of_trial", "campaign", "trial"),
    Index("dose_in_state", "state", "campaign"),
)

step = Table(
    "step", metadata,
    Column("id", Integer, primary_key=True),
    *_of_trial(),
    Column("station", String(80), nullable=False),
    Column("what", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("cause", Text, nullable=False, default=""),
    *_when("began"),
    *_when("ended", is_optional=True),
    _since_2("sample", String(140)),
    _since_2("name", String(40)),
    _since_2("session", Integer),
    _trial_key(),
    Index("step_of_campaign", "campaign"),
    Index("step_of_name", "name", "campaign"),
)

run = Table(
    "run", metadata,
    Column("uid", String(80), primary_key=True),
    *_of_trial(),
    *_when("opened"),
    _since_2("sample", String(140)),
    _trial_key(),
    Index("run_of_trial", "campaign", "trial"),
)

event = Table(
    "event", metadata,
    Column("id", Integer, primary_key=True),
    Column("campaign", String(120), ForeignKey("campaign.id"), nullable=False, index=True),
    Column("trial", Integer),
    Column("kind", String(40), nullable=False),
    Column("text", Text, nullable=False),
    *_when("recorded"),
)
"""Failures, notes and operators' decisions, in the order in which they happened."""

question = Table(
    "question", metadata,
    Column("id", Integer, primary_key=True),
    Column("campaign", String(120), ForeignKey("campaign.id"), nullable=False),
    Column("trial", Integer),
    Column("sample", String(140), nullable=False),
    Column("step", String(80), nullable=False),
    Column("error", Text, nullable=False),
    Column("choices", JSON, nullable=False),
    Column("default", String(40), nullable=False),
    Column("session", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("choice", String(40), nullable=False),
    Column("answered_by", String(120), nullable=False),
    *_when("asked"),
    *_when("ended", is_optional=True),
    Index("question_of_campaign", "campaign", "state"),
)
"""What a session asks people; `choices` is a list of [choice, explanation], in the order in which they are offered."""

request = Table(
    "request", metadata,
    Column("id", Integer, primary_key=True),
    Column("campaign", String(120), ForeignKey("campaign.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("by", String(120), nullable=False),
    Column("detail", Text, nullable=False),
    Column("session", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    *_when("requested"),
    *_when("taken", is_optional=True),
    Index("request_of_campaign", "campaign", "state"),
)
"""What people ask of a session from other processes."""

account = Table(
    "account", metadata,
    Column("lab", String(80), primary_key=True),
    Column("account", String(120), primary_key=True),
    Column("unit", String(20), nullable=False),
    Column("capacity", Float),
    Column("low_water", Float),
)
"""Consumables of a laboratory."""

entry = Table(
    "entry", metadata,
    Column("id", Integer, primary_key=True),
    Column("lab", String(80), nullable=False),
    Column("account", String(120), nullable=False),
    Column("amount", Float, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("why", Text, nullable=False),
    Column("by", String(120), nullable=False),
    Column("campaign", String(120), nullable=False),
    Column("trial", Integer),
    Column("dose", String(200), nullable=False),
    Column("recorded_wall", String(32), nullable=False),
    ForeignKeyConstraint(["lab", "account"], ["account.lab", "account.account"]),
    Index("entry_of_account", "lab", "account", "kind"),
    Index("entry_of_dose", "dose"),
)
"""What went into an account (positive) and out of it (negative); the balance is their sum."""

refill = Table(
    "refill", metadata,
    Column("id", Integer, primary_key=True),
    Column("lab", String(80), nullable=False, index=True),
    Column("by", String(120), nullable=False),
    Column("n_freed", Integer, nullable=False),
    Column("recorded_wall", String(32), nullable=False),
)
"""Each time the rack of a laboratory was filled with empty substrates."""

item = Table(
    "item", metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("uid", String(80), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("name", String(120), nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("meta", JSON, nullable=False),
    Column("user", String(120), nullable=False),
    Column("role", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("cause", Text, nullable=False),
    Column("place", Float, nullable=False),
    Column("estimate_s", Float),
    Column("campaign", String(120), nullable=False),
    Column("runs", JSON, nullable=False),
    Column("approved_by", String(120), nullable=False),
    Column("approved_wall", String(32)),
    Column("parent", String(40), nullable=False),
    Column("decided", Text, nullable=False),
    Column("decided_by", String(120), nullable=False),
    Column("decided_wall", String(32)),
    # The worker that began it: when that process is gone and nobody said how it ended, the item was interrupted.
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", String(80), nullable=False),
    Column("submitted_wall", String(32), nullable=False),
    Column("began_wall", String(32)),
    Column("ended_wall", String(32)),
    Index("item_in_state", "state", "place"),
    Index("item_of_user", "user"),
)
"""What people have asked the queue to do. `uid` is the RE Manager's, the latest one; `place` orders what waits in the queue."""

errand = Table(
    "errand", metadata,
    Column("user", String(120), primary_key=True),
    Column("name", String(120), primary_key=True),
    Column("method", String(80), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("items", JSON, nullable=False),
    Column("answer", JSON),
    Column("begun_wall", String(32), nullable=False),
    Column("ended_wall", String(32)),
)
"""Writes to which a client gave a name, so that one whose answer was lost is done once; `answer` is NULL until there is one."""

notice = Table(
    "notice", metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("item", String(40), nullable=False),
    Column("text", Text, nullable=False),
    Column("recorded_wall", String(32), nullable=False),
)
"""What happened to the queue and its services, in words; `item` is empty where it concerns none."""

proposal = Table(
    "proposal", metadata,
    Column("id", Integer, primary_key=True),
    Column("campaign", String(120), ForeignKey("campaign.id"), nullable=False),
    Column("values", JSON, nullable=False),
    Column("by", String(120), nullable=False),
    Column("state", String(16), nullable=False),
    Column("trial", Integer),
    Column("proposed_wall", String(32), nullable=False),
    Column("ended_wall", String(32)),
    Index("proposal_of_campaign", "campaign", "state"),
)
"""Points that programs elsewhere ask a campaign to try (engine ``remote``); `trial` is the one that a taken proposal became."""
