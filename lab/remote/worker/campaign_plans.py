"""Campaigns as plans of the worker, so that they are items of the queue like any other.

A campaign begins with its plan and is closed when the plan ends: done, failed, or interrupted and to be resumed, by an item
``resume_campaign`` or, once the laboratory is down, by ``lab resume``.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from lab.core.errors import ConfigError, LabError, ServiceError
from lab.core.question import CampaignConfig
from lab.files import parse
from lab.layout import Layout
from lab.progress import Lines
from lab.validation import prepare

if TYPE_CHECKING:
    from lab.campaign import Campaign
    from lab.conduct import Conduct
    from lab.session import Session
    from plans.stubs import Plan

log = logging.getLogger(__name__)

GO_ON_S = 10.0
"""Wall seconds in which the RE Manager has to take up a paused plan again."""

LOOK_S = 0.2
"""Between two attempts."""


def campaign_plan(session: Session, config: Mapping[str, Any], file: str = "campaign") -> Plan:
    """Run a campaign, given as campaign.yaml has it, to its budget.

    Parameters
    ----------
    session : Session
        The worker's.
    config : mapping
        What campaign.yaml says.
    file : str
        Its name in messages.

    Raises
    ------
    ConfigError
        Before anything moves (see `lab.validation`).
    CampaignError
        When it has failed.
    """
    asked = parse(CampaignConfig, config, file)
    if prepare(session.lab, asked, lab_file=session.lab.name, campaign_file=file) != session.lab:
        raise ConfigError(file, "liquids", str(dict(asked.liquids)), f"the liquids that {session.lab.name} came up with (lab.yaml, instruments)")
    yield from _conducted(session, lambda conduct: conduct.begin(asked, file))


def resume_plan(session: Session, campaign: str) -> Plan:
    """Take up a campaign that was interrupted, and run it to its budget.

    Parameters
    ----------
    campaign : str
        Its id, or what else `Ledger.campaign` finds it by.

    Raises
    ------
    LedgerError
        When there is none, or one that cannot be resumed.
    CampaignError
        When it has failed.
    """
    row = session.ledger.campaign(campaign)
    yield from _conducted(session, lambda conduct: conduct.resume(row.id))


def _conducted(session: Session, begin: Callable[[Conduct], Campaign]) -> Plan:
    from lab.conduct import Conduct

    if session.guards is not None:
        session.guards.check_start()
    # Lines for the console stream: in a kernel, rich would send pictures of them to whoever is attached.
    screen = Console(file=sys.stdout, highlight=False, soft_wrap=True, force_jupyter=False, force_terminal=False)
    conduct = Conduct(session, Lines(screen, "lab pause, lab stop"), lambda: go_on(session))
    try:
        campaign = begin(conduct)
        conduct.check_clear()
        item = getattr(session.RE, "item", None)
        if item is not None:
            session.ledger.set_item_campaign(item, campaign.id)
    except LabError as error:
        conduct.give_up(str(error))
        raise
    yield from conduct.plan()


def go_on(session: Session) -> None:
    """Ask the RE Manager to resume the plan that is paused; does nothing while none is.

    Raises
    ------
    ServiceError
        When it has not done so in time.
    """
    from lab.up.queue import ask

    layout = Layout.load(session.home)
    if layout is None:
        raise ServiceError(f"{session.home.path}: no laboratory is up there")
    ends, said = time.monotonic() + GO_ON_S, ""
    while session.RE.state in ("pausing", "paused"):
        if time.monotonic() > ends:
            raise ServiceError(f"queue: the RE Manager does not go on with the paused plan: {said}")
        try:
            answer = ask(layout, "re_resume")
        except ServiceError as error:  # it may be on its way back
            said = str(error)
        else:
            if answer["success"]:
                return
            said = str(answer["msg"])
        time.sleep(LOOK_S)
