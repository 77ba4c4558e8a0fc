"""The gateway process between honest clients and what stands behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gateway_stand_ins import Behind


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    made = Behind(tmp_path_factory.mktemp("gateway"))
    yield made
    made.close()


def test_a_read_is_answered_by_the_manager(behind: Behind) -> None:
    with behind.client(behind.key("alice")) as client:
        assert client.ask("status")["heard"] == "status"
        assert client.ask("queue_get")["heard"] == "queue_get"
    assert behind.manager.seen[-2:] == [{"method": "status", "params": {}}, {"method": "queue_get", "params": {}}]


def test_a_change_goes_to_the_steward_with_the_name_and_role_of_the_key(behind: Behind) -> None:
    alice = behind.key("alice")
    n_seen = len(behind.manager.seen)
    with behind.client(alice) as client:
        answer = client.ask("queue_item_add", {"item": {"name": "count"}, "user": "alice", "user_group": "scientist"})
    assert answer["success"]
    assert behind.steward.seen[-1] == {"who": {"name": "alice", "role": "scientist", "key": alice.public_key},
                                       "method": "queue_item_add", "params": {"item": {"name": "count"}}}
    assert len(behind.manager.seen) == n_seen


def test_the_gateway_says_who_somebody_is(behind: Behind) -> None:
    with behind.client(behind.key("alice")) as client:
        answer = client.ask("lab_whoami")
    assert answer | {"version": ""} == {"success": True, "msg": "", "name": "alice", "role": "scientist", "lab": "demo", "version": ""}
