"""``python -m tests.fuzz_wire``: the gateway's parser against a million messages that nobody would send by mistake. Part of ``make fuzz``.

Messages are grown from honest ones by a seeded generator: bits flipped, pieces cut out, doubled and put together, tokens and headers
thrown in that are known to hurt, in JSON, msgpack and frames. Whatever comes, the parser answers in one of three ways, and what it lets
through means the same to everybody who reads it later. The seed is printed; ``--seed`` repeats a run, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgpack

from lab.core.remote import Traffic
from lab.remote.access.audit import Entry, what_of
from lab.remote.access.claims import false_claim, without_claims
from lab.remote.access.roles import refusal
from lab.remote.access.who import Who
from lab.remote.gateway import wire

TRAFFIC = Traffic(message_bytes=4000, depth=8)
"""Narrow, so that many inputs reach the bounds."""

WHO = Who("alice", "scientist", "x" * 40)

HONEST: list[dict[str, Any]] = [
    {"method": "status"},
    {"method": "status", "params": {}},
    {"method": "queue_item_add", "params": {"item": {"name": "count", "args": [["detector"]], "kwargs": {"num": 5, "delay_s": 0.5}, "item_type": "plan"},
                                            "user": "alice", "user_group": "scientist", "pos": "back", "request": "a" * 32}},
    {"method": "queue_item_add_batch", "params": {"items": [{"name": "film", "kwargs": {"cs": 0.2, "fa": 0.8, "solvent": "DMF"}}] * 3}},
    {"method": "lab_campaign_submit", "params": {"config": {"name": "perovskite-stability", "parameters": [{"name": "cs", "bounds": [0, 1]}]}}},
    {"method": "lab_propose", "params": {"campaign": "c", "values": {"temperature": 120.5, "n": -3, "ok": True, "none": None, "µ": "Größe 🧪"}}},
    {"subscribe": {"status": True, "documents": {"item": "i-0123456789"}, "have": {"7c1d0a6e": 12}}, "credit": 1000},
    {"credit": 10}, {"alive": True},
]

TOKENS = [
    b"NaN", b"-Infinity", b"1e999", b"-0.0", b"9223372036854775808", b"1" * 41, b"0" * 50, b'"\\ud800"', b'"\\u0000"', b"\\", b'"', b"{", b"}", b"[", b"]",
    b"[" * 9, b'{"a":' * 9, b"[" * 2000, b',"a":1,"a":2', b'"user":"bob",', b'"user_group":"admin",', b'"params":', b'"method":"__import__",', b"\xff", b"\xc0\x80",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x00", b"\xdd\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xdc\xff\xff", b"\xc7\x05\x01", b"\xd4\x00\x00", b"\xd6\xff\x00\x00\x00\x00",
    b"\xc4\x01\x00", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xca\x7f\x80\x00\x00", b"\xcf" + b"\xff" * 8, b"\x91" * 9,
    b"\x81\xa1a" * 9, b"\xa4user\xa3bob", b"\xc1", b"/" * 40 + b"../../etc/passwd", b"__class__", b" " * 17, b"," * 300, b"\n",
]


def inputs(seed: int) -> Iterator[list[bytes]]:
    """Frames of messages, without end."""
    dice = random.Random(seed)
    honest = [json.dumps(one).encode() for one in HONEST] + [json.dumps(one, ensure_ascii=False).encode() for one in HONEST]
    honest += [msgpack.packb(one) for one in HONEST] * 2
    seeds = [*honest, b"", b"{}", b"\x80", b"[]"]
    while True:
        payload = dice.choice(seeds) if dice.randrange(3) else _grown(dice)
        for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3, 5, 8))):
            payload = _changed(payload, dice, honest)
        yield _framed(payload, dice)


LEAVES: list[Any] = [None, True, False, 0, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 0.1, -0.0, 5e-324, 1.8e308, math.inf, math.nan, "", "a", "µ",
                     "\ud83e\uddea", "\ud800", "\0", "x" * 300, "../..", "user", "admin", "alice"]
KEYS = ["user", "user_group", "item", "items", "name", "config", "kwargs", "x", "", "µ", "\ud800", "__class__", "uid"]


def _grown(dice: random.Random) -> bytes:
    """A message of honest form with anything in it."""
    params = _tree(dice, 0)
    message = {"method": dice.choice(("status", "queue_item_add", "lab_propose", "__init__", "")), "params": params} if dice.randrange(5) else params
    if dice.randrange(2):
        return json.dumps(message, ensure_ascii=bool(dice.randrange(2))).encode(errors="surrogatepass")
    try:
        packed: bytes = msgpack.packb(message, unicode_errors="surrogatepass")
    except OverflowError:
        return b"\xdf\x00\x00\x00\x01"
    return packed


def _tree(dice: random.Random, depth: int) -> Any:
    if depth > 9 or dice.randrange(12) < depth:
        return dice.choice(LEAVES)
    n = dice.randrange(4)
    if dice.randrange(3):
        return {dice.choice(KEYS): _tree(dice, depth + 1) for _ in range(n)}
    return [_tree(dice, depth + 1) for _ in range(n)]


def _changed(payload: bytes, dice: random.Random, honest: list[bytes]) -> bytes:
    at = dice.randrange(len(payload) + 1)
    way = dice.randrange(8)
    if way == 0 and payload:
        at = min(at, len(payload) - 1)
        return payload[:at] + bytes([payload[at] ^ (1 << dice.randrange(8))]) + payload[at + 1:]
    if way == 1:
        return payload[:at] + dice.randbytes(dice.randrange(1, 5)) + payload[at:]
    if way == 2:
        return payload[:at] + payload[at + dice.randrange(1, 9):]
    if way == 3:
        return payload[:at]
    if way == 4:
        until = min(len(payload), at + dice.randrange(1, 60))
        return payload[:until] + payload[at:until] * dice.choice((1, 1, 2, 40)) + payload[until:]
    if way == 5:
        other = dice.choice(honest)
        return payload[:at] + other[dice.randrange(len(other)):]
    return payload[:at] + dice.choice(TOKENS) + payload[at + (dice.randrange(6) if way == 6 else 0):]


def _framed(payload: bytes, dice: random.Random) -> list[bytes]:
    way = dice.randrange(20)
    if way < 14:
        return [b"", payload]
    if way < 18:
        return [payload]
    return dice.choice(([], [b""], [payload, payload], [b"", payload, b""], [b"\0", payload], [b"", b"", payload]))


def judge(frames: list[bytes]) -> str:
    """What became of a message; an AssertionError, or any other, is a find."""
    heard = wire.parse(frames, TRAFFIC)
    if isinstance(heard, wire.Refusal):
        assert heard.words.isprintable() and heard.words.isascii() and len(heard.words) < 200, heard
        if heard.encoding is not None:
            assert wire.encode({"success": False, "msg": heard.words}, heard.encoding)
        return f"refused: {''.join(letter for letter in heard.words if not letter.isdigit())}"
    values = heard.params if isinstance(heard, wire.Request) else heard.message
    assert len(frames[-1]) <= TRAFFIC.message_bytes
    _check_values(values, 1)
    written = json.dumps(values, allow_nan=False)
    assert json.loads(written) == values
    again = wire.parse([b"", json.dumps({"method": "x", "params": {}} if isinstance(heard, wire.StreamControl) else
                                        {"method": heard.method, "params": values}).encode()], Traffic())
    assert isinstance(again, wire.Request)
    _agree_with_others(frames[-1], heard)
    if isinstance(heard, wire.StreamControl):
        return "control"
    _go_on(heard)
    return "request"


def _check_values(value: Any, depth: int) -> None:
    assert depth <= TRAFFIC.depth
    if isinstance(value, dict):
        for key, within in value.items():
            assert type(key) is str and "\0" not in key and key.encode() is not None
            _check_values(within, depth + 1) if isinstance(within, (dict, list)) else _check_values(within, depth)
    elif isinstance(value, list):
        for within in value:
            _check_values(within, depth + 1) if isinstance(within, (dict, list)) else _check_values(within, depth)
    elif isinstance(value, float):
        assert math.isfinite(value)
    elif isinstance(value, str):
        assert "\0" not in value and value.encode() is not None
    else:
        assert value is None or isinstance(value, bool) or (type(value) is int and -(2**63) <= value < 2**63)


def _agree_with_others(payload: bytes, heard: wire.Request | wire.StreamControl) -> None:
    """Another reader of the same bytes sees the same."""
    other = json.loads(payload) if heard.encoding == "json" else msgpack.unpackb(payload)
    if isinstance(heard, wire.Request):
        assert other["method"] == heard.method and other.get("params", {}) == heard.params
    else:
        assert other == heard.message


def _go_on(request: wire.Request) -> None:
    """What the gateway does with it before it passes it on."""
    false_claim(request.params, WHO)
    json.dumps(without_claims(request.params))
    entry = Entry(WHO.name, WHO.role, WHO.key, request.method, what_of(request.params), refusal(WHO.role, request.method) or "done").cleaned()
    assert all(text.isascii() and text.isprintable() for text in (entry.method, entry.what, entry.outcome))


def run(n: int, seed: int) -> Counter[str]:
    """Judge `n` inputs; what became of how many."""
    became: Counter[str] = Counter()
    source = inputs(seed)
    for number in range(n):
        frames = next(source)
        try:
            became[judge(frames)] += 1
        except Exception as error:  # whatever it is: a find, said with what made it
            raise AssertionError(f"seed {seed}, input {number}: {frames!r}") from error
    return became


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else time.time_ns() % 2**32
    print(f"the gateway's parser: {given.inputs} inputs, seed {seed}", flush=True)
    began = time.monotonic()
    became = run(given.inputs, seed)
    for what, n in became.most_common():
        print(f"{n:9d} {what}")
    print(f"{given.inputs} inputs in {time.monotonic() - began:.0f} s, none of which it did not answer for")
    return 0


if __name__ == "__main__":
    sys.exit(main())
