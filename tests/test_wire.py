"""What may come through the door: the parser alone, on its examples and on whatever hypothesis and the generator of `tests.fuzz_wire` think of."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.remote import Traffic
from lab.remote.access.claims import false_claim, without_claims
from lab.remote.access.who import Who
from lab.remote.gateway import wire
from lab.remote.gateway.packed import PackedError, scan
from tests import fuzz_wire

TRAFFIC = Traffic()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    lambda within: st.lists(within, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8), within, max_size=4),
    max_leaves=20,
)
PARAMS = st.dictionaries(st.text("abcdefgh_", min_size=1, max_size=8), VALUES, max_size=5)
ENCODINGS = st.sampled_from(["json", "msgpack"])


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(PARAMS, ENCODINGS)
def test_what_is_asked_arrives_as_it_was_asked(params: dict[str, Any], encoding: wire.Encoding) -> None:
    heard = wire.parse([b"", wire.encode({"method": "queue_item_add", "params": params}, encoding)], TRAFFIC)
    if depth_of(params) >= TRAFFIC.depth:
        assert isinstance(heard, wire.Refusal)
    else:
        assert heard == wire.Request("queue_item_add", params, encoding)


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_are_answered_for(frames: list[bytes]) -> None:
    fuzz_wire.judge(frames)


@given(st.binary(max_size=40).map(lambda data: b"\x81\xa1x" + data))
def test_any_msgpack_is_read_as_others_read_it(payload: bytes) -> None:
    fuzz_wire.judge([payload])


@given(VALUES)
def test_the_scan_lets_through_what_json_can_say(value: Any) -> None:
    scan(msgpack.packb(value), 100, 1000)


def test_thousands_of_inputs_of_the_generator_are_answered_for() -> None:
    became = fuzz_wire.run(5_000, seed=20)
    assert became["request"] > 100
    assert became["control"] > 50
    assert len(became) > 15


def test_what_the_generator_makes_depends_on_its_seed_alone() -> None:
    first, again, other = (fuzz_wire.inputs(seed) for seed in (3, 3, 4))
    assert [next(first) for _ in range(50)] == [next(again) for _ in range(50)] != [next(other) for _ in range(50)]


def test_a_control_is_one_frame_without_an_empty_one() -> None:
    assert wire.parse([b'{"credit": 5}'], TRAFFIC) == wire.StreamControl({"credit": 5}, "json")


def test_params_may_be_left_out() -> None:
    assert wire.parse([b"", b' {"method": "status"}'], TRAFFIC) == wire.Request("status", {}, "json")


@pytest.mark.parametrize("frames", [[], [b"", b"{}", b"{}"], [b"\0", b"{}"], [b"", b""], [b"", b"[]"], [b""], [b"", b"\x93\x01\x02\x03"]], ids=repr)
def test_what_cannot_be_answered_has_no_encoding(frames: list[bytes]) -> None:
    heard = wire.parse(frames, TRAFFIC)
    assert isinstance(heard, wire.Refusal)
    assert heard.encoding is None


def test_commas_within_a_text_are_no_values() -> None:
    script = "f(" + "a, " * 30_000 + '"\\\\", [])'
    heard = wire.parse([b"", json.dumps({"method": "script_upload", "params": {"script": script}}).encode()], TRAFFIC)
    assert isinstance(heard, wire.Request)
    assert heard.params["script"] == script


def test_more_values_than_allowed_are_refused_before_they_are_made() -> None:
    for payload in (b'{"method": "x", "params": {"x": [' + b"0," * 30_000 + b"0]}}", msgpack.packb({"method": "x", "params": {"x": [0] * 30_000}})):
        heard = wire.parse([b"", payload], TRAFFIC)
        assert isinstance(heard, wire.Refusal)
        assert "more than 20000 values" in heard.words


@pytest.mark.parametrize(("data", "words"), [
    (b"\xdd\x7f\xff\xff\xff", "more than there is"), (b"\xc7\x01\x05x", "extension type"), (b"\xc4\x01x", "raw bytes"), (b"\xc1", "raw bytes"),
    (b"\x92\x01", "more than there is"),
    (b"\x01\x02", "more than one message"), (b"", "too soon"), (b"\xcb\x00", "too soon"), (b"\xda\x00", "too soon"), (b"\x91" * 30 + b"\x01", "within one another"),
], ids=lambda value: value if isinstance(value, str) else value.hex()[:12])
def test_the_scan_says_what_is_wrong(data: bytes, words: str) -> None:
    with pytest.raises(PackedError, match=words):
        scan(data, 24, 100)


def test_answers_from_behind_go_out_in_the_encoding_of_who_asked() -> None:
    assert wire.translate(b'{"x": 1}', "json") == b'{"x": 1}'
    assert msgpack.unpackb(wire.translate(b'{"x": 1}', "msgpack")) == {"x": 1}


WHO = Who("alice", "scientist", "x" * 40)


@pytest.mark.parametrize("params", [
    {}, {"user": "alice", "user_group": "scientist"}, {"user": "Queue Server API User", "user_group": "primary"}, {"item": {"user": "alice"}}, {"item": "uid", "items": 5},
], ids=repr)
def test_what_the_key_says_or_nothing_is_no_false_claim(params: dict[str, Any]) -> None:
    assert false_claim(params, WHO) is None


@pytest.mark.parametrize(("params", "field"), [
    ({"user": "bob"}, "user"), ({"user": ["alice"]}, "user"), ({"user": None}, "user"), ({"user_group": "admin"}, "user_group"),
    ({"item": {"user": "bob"}}, "item.user"), ({"items": [{}, {"user_group": "root"}]}, "items.1.user_group"),
], ids=repr)
def test_who_names_another_is_told_where(params: dict[str, Any], field: str) -> None:
    words = false_claim(params, WHO)
    assert words is not None
    assert words.startswith(f"{field}: ")
    assert "bob" not in words


def test_claims_are_not_passed_on() -> None:
    assert without_claims({"user": "alice", "user_group": "scientist", "uid": "1"}) == {"uid": "1"}


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_depth_counts_empty_lists_and_maps_too(encoding: wire.Encoding) -> None:
    for innermost in ([], {}):
        value: Any = innermost
        for _ in range(TRAFFIC.depth - 3):
            value = [value]
        allowed, too_deep = ({"method": "status", "params": {"x": one}} for one in (value, [value]))
        assert isinstance(wire.parse([b"", wire.encode(allowed, encoding)], TRAFFIC), wire.Request)
        assert isinstance(wire.parse([b"", wire.encode(too_deep, encoding)], TRAFFIC), wire.Refusal)
