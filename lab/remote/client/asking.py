"""What a laboratory answers beyond the official methods, each as a call: items, approval, campaigns, points of one's own, data."""

from __future__ import annotations

import re
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lab.core.errors import RemoteError
from lab.files import parse_sets
from lab.remote.client.documents import GOING

if TYPE_CHECKING:
    import pandas

ITEM_ID: Final = re.compile(r"i-\d+-[0-9a-f]+")
ASK_AGAIN_S: Final = 0.5
"""Between two questions after something that takes minutes."""

Answer = dict[str, Any]


@dataclass(frozen=True)
class Tried:
    """What became of a point that was proposed.

    Parameters
    ----------
    proposal, trial : int
        Its numbers; the campaign's trials count from 1.
    state : str
        ``completed``, ``failed`` or ``abandoned``.
    values : mapping of str to number or text
        What was really carried out.
    outcomes : mapping of str to mapping
        ``{name: {"mean", "sem"}}``; empty unless completed.
    cause : str
        Why it is not completed.
    """

    proposal: int
    trial: int
    state: str
    values: Mapping[str, Any]
    outcomes: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    cause: str = ""


class Asking:
    """Methods of `lab.remote.client.laboratory.Laboratory`. All of them raise what its `send_request` raises."""

    @abstractmethod
    def send_request(self, *, method: str, params: Mapping[str, Any] | None = None) -> Answer: ...

    def standing(self) -> Answer:
        """How the laboratory stands: ``queue`` with ``is_on`` and ``why`` nothing begins, ``running``, ``waiting``, ``interrupted``, ``lease``, ``alarms``."""
        found = self.send_request(method="lab_status")
        return {name: value for name, value in found.items() if name not in ("success", "msg")}

    # ------------------------------------------------------------------------------------------------------- items

    def items(self, states: Sequence[str] = (), user: str = "", limit: int | None = None) -> list[Answer]:
        """Items of the queue as the laboratory's ledger has them, also those that have ended.

        Parameters
        ----------
        states : sequence of str
            Of ``waiting, queued, running, completed, failed, stopped, aborted, removed, rejected, interrupted``; empty: all.
        user : str
            Only theirs.
        limit : int, optional
            Only the latest so many.
        """
        params = {"states": list(states), "user": user, "limit": limit}
        found: list[Answer] = self.send_request(method="lab_items", params={k: v for k, v in params.items() if v})["items"]
        return found

    def item(self, item: str) -> Answer:
        """One item, by its id or its uid."""
        found: Answer = self.send_request(method="lab_item", params={"item": item})["item"]
        return found

    def approve(self, item: str, digest: str) -> Answer:
        """An operator's word for an item that waits, as it was when it had this digest."""
        return self.send_request(method="lab_approve", params={"item": item, "digest": digest})

    def reject(self, item: str, why: str) -> Answer:
        """An operator's word against an item that waits."""
        return self.send_request(method="lab_reject", params={"item": item, "why": why})

    def retry(self, item: str) -> Answer:
        """Make an item again that ended badly; a campaign is resumed."""
        return self.send_request(method="lab_retry", params={"item": item})

    def dismiss(self, item: str) -> Answer:
        """Leave an item as it is that ended badly."""
        return self.send_request(method="lab_dismiss", params={"item": item})

    # --------------------------------------------------------------------------------------------------- campaigns

    def submit(self, campaign: str | Path | Mapping[str, Any], assignments: Sequence[str] = ()) -> Answer:
        """Queue a campaign; it is yours, and is rehearsed before it enters the queue.

        Parameters
        ----------
        campaign : path or mapping
            A campaign.yaml, or what stands in one. Its field ``lab`` is left out: it is this laboratory.
        assignments : sequence of str
            ``key=value`` laid over it: ``budget.trials=8``.

        Raises
        ------
        ConfigError
            When it is no campaign.
        """
        return self.send_request(method="lab_campaign_submit", params={"config": _config(campaign, assignments)})

    def begun(self, item: str, deadline_s: float) -> str:
        """The id of the campaign that an item is, once it has begun; waits for it.

        Raises
        ------
        RemoteError
            When the item has ended, and no campaign was begun.
        TimeoutError
            When it has not begun within `deadline_s` seconds of the wall: others are before it, or the queue stands. It may be asked for again.
        """
        end = time.monotonic() + deadline_s
        while True:
            row = self.item(item)
            if row["campaign"]:
                return str(row["campaign"])
            if row["state"] not in GOING:
                raise RemoteError(f"{row['id']} is {row['state']}, and has begun no campaign{': ' if row['cause'] else ''}{row['cause']}")
            if time.monotonic() >= end:
                raise TimeoutError(f"{row['id']} has not begun within {deadline_s:g} s; it is {row['state']}: {self.standing()['queue']['why'] or 'see lab queue list'}")
            time.sleep(min(ASK_AGAIN_S, max(0.0, end - time.monotonic())))

    def campaigns(self) -> list[Answer]:
        """Campaigns that you may see, the oldest first."""
        found: list[Answer] = self.send_request(method="lab_campaigns")["campaigns"]
        return found

    def campaign(self, campaign: str) -> Answer:
        """One campaign, by its id, the unique beginning of one, or its name: trials (``table``), ``samples``, ``best``, ``questions``."""
        found: Answer = self.send_request(method="lab_campaign", params={"campaign": campaign})["campaign"]
        return found

    def answer(self, question: int, choice: str) -> Answer:
        """Answer a question of a campaign; the first answer counts."""
        return self.send_request(method="lab_answer", params={"question": question, "choice": choice})

    def campaign_pause(self, campaign: str) -> Answer:
        """Ask a campaign to pause: what is under way ends, nothing further begins."""
        return self.send_request(method="lab_campaign_pause", params={"campaign": campaign})

    def campaign_continue(self, campaign: str) -> Answer:
        """Ask a campaign to go on after a pause."""
        return self.send_request(method="lab_campaign_continue", params={"campaign": campaign})

    def campaign_stop(self, campaign: str) -> Answer:
        """Ask a campaign to end after the samples in the machine."""
        return self.send_request(method="lab_campaign_stop", params={"campaign": campaign})

    def budget(self, campaign: str, *, trials: int | None = None, failures: int | None = None, hours: float | None = None) -> Answer:
        """Change what a campaign may still use, also while it runs; what is not given stays."""
        given = {"trials": trials, "failures": failures, "hours": hours}
        return self.send_request(method="lab_campaign_budget", params={"campaign": campaign, **{k: v for k, v in given.items() if v is not None}})

    def change(self, campaign: str, changes: Mapping[str, Any]) -> Answer:
        """Change what a campaign asks, also while it runs.

        Parameters
        ----------
        changes : mapping of str to value
            As `lab change` takes them: ``{"cs": [0, 0.5], "constraints+": "cs + fa <= 0.8", "minimize": "peak_width", "trials": 40}``.
        """
        return self.send_request(method="lab_campaign_change", params={"campaign": campaign, "changes": dict(changes)})

    # ------------------------------------------------------------------------------------------- points of one's own

    def attach(self, campaign: str, values: Mapping[str, Any], measured: Mapping[str, Any] | None = None) -> int:
        """Have a campaign try a point before anything else is suggested; returns the number of its trial.

        Parameters
        ----------
        measured : mapping, optional
            What was found of it elsewhere, ``{outcome: {"mean": m, "sem": s}}``: the campaign learns from it, and tries nothing.
        """
        params = {"campaign": campaign, "values": dict(values), **({} if measured is None else {"measured": dict(measured)})}
        return int(self.send_request(method="lab_campaign_attach", params=params)["trial"])

    def veto(self, campaign: str, trial: int, why: str = "") -> Answer:
        """Take back a suggestion that has not begun."""
        return self.send_request(method="lab_campaign_veto", params={"campaign": campaign, "trial": trial, "why": why})

    def edit(self, campaign: str, trial: int, values: Mapping[str, Any]) -> int:
        """Have another point tried in place of a suggestion that has not begun; returns the number of the new trial."""
        return int(self.send_request(method="lab_campaign_edit", params={"campaign": campaign, "trial": trial, "values": dict(values)})["trial"])

    def propose(self, campaign: str, values: Mapping[str, Any]) -> int:
        """Ask a campaign with ``optimizer: {engine: remote}`` to try a point; returns the proposal's number, for `outcome`."""
        return int(self.send_request(method="lab_propose", params={"campaign": campaign, "values": dict(values)})["proposal"])

    def outcome(self, proposal: int, deadline_s: float) -> Tried:
        """What came of a proposed point; waits for it.

        Raises
        ------
        TimeoutError
            When it has no outcome within `deadline_s` seconds of the wall. It may be asked for again later.
        """
        end = time.monotonic() + deadline_s
        while True:
            found = self.send_request(method="lab_proposal", params={"proposal": proposal})["proposal"]
            if found["state"] not in ("waiting", "taken", "running"):
                return Tried(proposal, found.get("trial") or 0, found["state"], found.get("values") or {}, found.get("outcomes") or {}, found.get("cause") or "")
            if time.monotonic() >= end:
                raise TimeoutError(f"proposal {proposal}: no outcome within {deadline_s:g} s; it is {found['state']}")
            time.sleep(min(ASK_AGAIN_S, max(0.0, end - time.monotonic())))

    # -------------------------------------------------------------------------------------------------------- data

    def data(self, target: str | None = None, *, item: str | None = None, campaign: str | None = None) -> pandas.DataFrame:
        """The data of an item or a campaign as a table: a row for each trial of a campaign, for each event of another plan's runs.

        Parameters
        ----------
        target : str, optional
            An item's id, or a campaign; in place of `item` or `campaign`.
        """
        from lab.remote.client.fetching import frame

        return frame(self, self._target(target, item, campaign))

    def _target(self, target: str | None = None, item: str | None = None, campaign: str | None = None) -> dict[str, str]:
        """``{"item": id}`` or ``{"campaign": id}``; of a campaign that is given by its name, the id."""
        given = [one for one in (target, item, campaign) if one is not None]
        if len(given) != 1:
            raise RemoteError("which data: one item, or one campaign")
        if item is not None or (target is not None and ITEM_ID.fullmatch(target)):
            return {"item": given[0]}
        return {"campaign": str(self.campaign(given[0])["campaign"])}




def _config(campaign: str | Path | Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """The fields that were set, with the tables that a file names, validated here already: what is wrong is said with the file's name."""
    from lab.core.question import CampaignConfig
    from lab.files import load_campaign, parse

    sets = parse_sets(assignments)
    config = parse(CampaignConfig, campaign, "campaign", sets) if isinstance(campaign, Mapping) else load_campaign(Path(campaign), sets)
    return config.model_dump(mode="json", exclude={"lab"}, exclude_unset=True)
