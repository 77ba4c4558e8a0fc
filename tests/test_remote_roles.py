"""What each role may call."""

from __future__ import annotations

import inspect
import re

import pytest
from bluesky_queueserver.manager.manager import RunEngineManager

from lab.core.remote import ROLES, Role
from lab.remote.access.roles import METHODS, may, may_see, refusal

OBSERVER_READS = {"ping", "status", "queue_get", "history_get", "plans_allowed", "devices_allowed", "lab_whoami", "lab_status"}


def test_every_method_of_the_re_manager_has_its_role() -> None:
    theirs = set(re.findall(r'"([a-z_]+)": "_\1_handler"', inspect.getsource(RunEngineManager)))
    assert len(theirs) > 45 and theirs <= set(METHODS)


def test_whatever_else_has_a_role_is_ours() -> None:
    theirs = set(re.findall(r'"([a-z_]+)": "_\1_handler"', inspect.getsource(RunEngineManager)))
    assert all(name.startswith("lab_") for name in set(METHODS) - theirs)


def test_nothing_that_writes_goes_past_the_steward() -> None:
    assert {method.target for method in METHODS.values() if method.is_write} == {"steward"}


def test_an_observer_writes_nothing() -> None:
    assert not [name for name, method in METHODS.items() if method.is_write and may("observer", name)]
    assert all(may("observer", name) for name in OBSERVER_READS)


def test_each_role_has_the_rights_of_those_below_it() -> None:
    rights = [{name for name in METHODS if may(role, name)} for role in ROLES]
    assert all(less < more for less, more in zip(rights, rights[1:], strict=False))


@pytest.mark.parametrize("name", ["script_upload", "function_execute", "permissions_set", "permissions_reload", "permissions_get", "config_get",
                                  "lock", "unlock", "kernel_interrupt", "manager_stop", "environment_update", "task_result"])
def test_code_permissions_and_locks_are_for_admins_alone(name: str) -> None:
    assert [role for role in ROLES if may(role, name)] == ["admin"]


@pytest.mark.parametrize("name", ["manager_kill", "manager_test"])
def test_what_only_breaks_the_manager_is_for_nobody(name: str) -> None:
    assert not any(may(role, name) for role in ROLES)
    assert "for no role" in str(refusal("admin", name))


def test_a_refusal_says_the_role_given_and_the_role_allowed() -> None:
    assert refusal("observer", "queue_item_add") == ("queue_item_add: your key's role is observer; allowed: scientist and above. "
                                                     "Ask who runs the laboratory for such a key")


def test_who_may_is_not_refused() -> None:
    assert refusal("scientist", "queue_item_add") is None


@pytest.mark.parametrize("name", ["__class__", "os.system", "\x1b]0;owned\x07", "x" * 100_000, "", "queue_item_add\n", "QUEUE_GET"])
@pytest.mark.parametrize("role", ROLES)
def test_what_is_no_method_is_refused_in_short_and_printable_words(role: Role, name: str) -> None:
    words = str(refusal(role, name))
    assert not may(role, name)
    assert words.startswith("there is no method") and words.isprintable() and len(words) < 100


@pytest.mark.parametrize(("documents", "owner", "sees"), [("all", "bob", True), ("all", "", True), ("own", "alice", True), ("own", "bob", False),
                                                          ("own", "", False), ("none", "alice", False)])
def test_own_documents_are_those_that_name_the_key(documents: str, owner: str, sees: bool) -> None:
    assert may_see(documents, "alice", owner) is sees  # type: ignore[arg-type]


def test_who_has_no_name_owns_nothing() -> None:
    assert not may_see("own", "", "")
