"""The tables of the ledger. Every row says when, on the wall (UTC, ISO 8601) and on the laboratory's clock (seconds).

Laboratory seconds count from the origin of the session's clock: differences within a session mean something, the
numbers themselves do not. What is announced and not confirmed keeps the state ``announced`` and no end.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, ForeignKey, ForeignKeyConstraint, Index, Integer, MetaData, String, Table, Text

SCHEMA_VERSION = 1
PRODUCT = "labwright-ledger"

metadata = MetaData()


def _when(prefix: str, is_optional: bool = False) -> tuple[Column[str], Column[float]]:
    """Wall and laboratory time of one happening."""
    return (Column(f"{prefix}_wall", String(32), nullable=is_optional), Column(f"{prefix}_lab_s", Float, nullable=is_optional))


def _of_trial() -> tuple[Column[str], Column[int]]:
    return Column("campaign", String(120), nullable=False), Column("trial", Integer, nullable=False)


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
)

trial = Table(
    "trial", metadata,
    Column("campaign", String(120), ForeignKey("campaign.id"), primary_key=True),
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("planned", JSON, nullable=False),
    Column("executed", JSON, nullable=False),
    Column("origin", String(40), nullable=False),
    Column("suggest_s", Float, nullable=False),
    Column("cause", Text, nullable=False, default=""),
    *_when("suggested"),
    *_when("started", is_optional=True),
    *_when("ended", is_optional=True),
)

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
    _trial_key(),
    Index("sample_of_trial", "campaign", "trial", unique=True),
)

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
    _trial_key(),
    Index("dose_of_trial", "campaign", "trial"),
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
    _trial_key(),
    Index("step_of_campaign", "campaign"),
)

run = Table(
    "run", metadata,
    Column("uid", String(80), primary_key=True),
    *_of_trial(),
    *_when("opened"),
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
