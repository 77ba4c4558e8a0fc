"""What the steward answers about plans: which there are, what they take, for whom. See `lab.remote.steward` for the form of handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from lab.remote.access.who import Who
from lab.remote.registry.plan_checks import Plans
from lab.remote.registry.plan_schema import described, devices_allowed, plans_allowed
from lab.remote.steward.re_manager import ManagerGone, ManagerRefused

if TYPE_CHECKING:
    from lab.remote.steward.service import Steward

Answer = dict[str, Any]


def _plans_allowed(steward: Steward, who: Who, params: Answer) -> Answer:
    return {"success": True, "msg": "", "plans_allowed": plans_allowed(_plans(steward), who.role),
            "plans_allowed_uid": _uid(steward, "plans_allowed_uid")}


def _devices_allowed(steward: Steward, who: Who, params: Answer) -> Answer:
    return {"success": True, "msg": "", "devices_allowed": devices_allowed(steward.lab, who.role),
            "devices_allowed_uid": _uid(steward, "devices_allowed_uid")}


def _lab_plans(steward: Steward, who: Who, params: Answer) -> Answer:
    return {"success": True, "msg": "", "plans": described(_plans(steward), who.role)}


def _plans(steward: Steward) -> Plans:
    return cast(Plans, steward.plans)


def _uid(steward: Steward, name: str) -> str:
    """The RE Manager's mark of its lists, by which the official clients know that theirs are old; ours change only when its do."""
    try:
        return str(steward.manager.status().get(name, ""))
    except (ManagerGone, ManagerRefused):
        return ""


METHODS_HERE: dict[str, Callable[[Steward, Who, Answer], Answer]] = {
    "plans_allowed": _plans_allowed, "devices_allowed": _devices_allowed, "lab_plans": _lab_plans}
