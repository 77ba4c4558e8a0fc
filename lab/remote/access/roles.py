"""What each role may ask for: every method that exists, who answers it, and the least role that may call it.

A method that is not in `METHODS` does not exist for clients, whatever the RE Manager may understand. The steward and its desks narrow
further: whose items, campaigns and data (`may_see`), which plans, devices and ranges (lab.yaml, ``remote.roles``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lab.core.remote import Role, is_at_least

Target = Literal["manager", "steward", "gateway"]


@dataclass(frozen=True)
class Method:
    """One method.

    Parameters
    ----------
    target : {"manager", "steward", "gateway"}
        Who answers: the RE Manager (reads only, passed through), the steward (the only one that changes anything), or the gateway itself.
    least : Role or None
        Of whom it is answered; None: of nobody.
    is_write : bool
        Whether it changes anything. Then its entry is on disk in the audit log before it is answered, and a client never sends it twice by itself.
    """

    target: Target
    least: Role | None
    is_write: bool


def _reads(target: Target, least: Role | None, *names: str) -> dict[str, Method]:
    return {name: Method(target, least, False) for name in names}


def _writes(least: Role | None, *names: str) -> dict[str, Method]:
    return {name: Method("steward", least, True) for name in names}


METHODS: dict[str, Method] = {
    # ---- the RE Manager's own, to look
    **_reads("manager", "observer", "ping", "status", "queue_get", "queue_item_get", "re_runs", "re_metadata", "lock_info"),
    **_reads("steward", "observer", "plans_allowed", "devices_allowed", "history_get"),
    **_reads("manager", "operator", "plans_existing", "devices_existing"),  # what no role has narrowed
    # config_get hands out the connection to the worker's kernel, and tasks are those of scripts and functions
    **_reads("manager", "admin", "config_get", "permissions_get", "task_status", "task_result"),
    # ---- the RE Manager's own, to change; all go through the steward
    **_writes("scientist", "queue_item_add", "queue_item_add_batch", "queue_item_update", "queue_item_remove", "queue_item_remove_batch",
              "queue_item_move", "queue_item_move_batch"),
    **_writes("operator", "queue_item_execute", "queue_clear", "queue_start", "queue_stop", "queue_stop_cancel", "queue_autostart",
              "queue_mode_set", "environment_open", "environment_close", "environment_destroy", "re_pause", "re_resume", "re_stop",
              "re_abort", "re_halt"),
    **_writes("admin", "environment_update", "script_upload", "function_execute", "permissions_reload", "permissions_set", "history_clear",
              "lock", "unlock", "kernel_interrupt", "manager_stop"),
    # they exist to break the manager for its own tests
    **_writes(None, "manager_kill", "manager_test"),
    # ---- ours, to look
    **_reads("gateway", "observer", "lab_whoami"),
    **_reads("steward", "observer", "lab_status", "lab_item", "lab_items", "lab_plans", "lab_campaigns", "lab_campaign", "lab_data"),
    **_reads("steward", "scientist", "lab_proposal", "lab_request"),
    # ---- ours, to change
    **_writes("scientist", "lab_campaign_submit", "lab_answer", "lab_campaign_pause", "lab_campaign_continue", "lab_campaign_stop",
              "lab_campaign_budget", "lab_propose", "lab_campaign_change", "lab_campaign_attach", "lab_campaign_veto", "lab_campaign_edit"),
    **_writes("operator", "lab_approve", "lab_reject", "lab_retry", "lab_dismiss"),
}

LONGEST_METHOD = max(map(len, METHODS))


def may(role: Role, method: str) -> bool:
    """Whether a role may call a method; False for what does not exist."""
    found = METHODS.get(method)
    return found is not None and found.least is not None and is_at_least(role, found.least)


def refusal(role: Role, method: str) -> str | None:
    """Why a role may not call a method, in words; None when it may.

    The method's name is the client's: what no method is called is shown short and escaped.
    """
    if may(role, method):
        return None
    found = METHODS.get(method)
    if found is None:
        return f"there is no method {ascii(method[:LONGEST_METHOD])}{'...' if len(method) > LONGEST_METHOD else ''}"
    if found.least is None:
        return f"{method}: not through this door, for no role"
    return f"{method}: your key's role is {role}; allowed: {found.least} and above. Ask who runs the laboratory for such a key"


def may_see(documents: Literal["none", "own", "all"], name: str, owner: str) -> bool:
    """Whether somebody sees the documents and data of an owner.

    Parameters
    ----------
    documents : {"none", "own", "all"}
        Of the role (`RemoteConfig.documents`).
    name : str
        Whose key it is.
    owner : str
        User of the start document; empty when it names nobody (``lab run`` at the laboratory itself): then only ``all`` see it.
    """
    return documents == "all" or (documents == "own" and bool(owner) and name == owner)
