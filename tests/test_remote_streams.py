"""Streams: each document once and in order, to those who may see it, whatever breaks in between."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from lab.core.clock import ManualClock
from lab.core.remote import RemoteConfig, Role
from lab.records.documents import JsonlWriter, close_cut_off
from lab.remote.access.who import Who
from lab.remote.gateway import run_files
from lab.remote.gateway import streams as streams_module
from lab.remote.gateway.info import Console, Info, harmless
from lab.remote.gateway.run_files import RunFiles
from lab.remote.gateway.streams import Streams

ALL: dict[str, Any] = {"documents": {"all": True}}


def who(role: Role = "operator", name: str = "olga", key: str = "") -> Who:
    return Who(name, role, key or f"key of {name}")


class Reader:
    """A client: subscribes, keeps what comes, knows what it has."""

    def __init__(self, name: str = "reader") -> None:
        self.name = name
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.have: dict[str, int] = {}
        self.room = 10**9

    def send(self, frames: list[bytes]) -> bool:
        if self.room <= 0:
            return False
        self.room -= 1
        topic, content = frames[0].decode(), msgpack.unpackb(frames[1])
        if topic == "document":
            assert content["n"] == self.have.get(content["run"], 0), "a document is missing, or came twice, or too early"
            self.have[content["run"]] = content["n"] + 1
        self.messages.append((topic, content))
        return True

    def of(self, topic: str) -> list[dict[str, Any]]:
        return [content for found, content in self.messages if found == topic]

    def names(self, run: str | None = None) -> list[str]:
        return [content["name"] for content in self.of("document") if run in (None, content["run"])]


class Bench:
    """Streams over a folder of runs, and the hands that turn them."""

    def __init__(self, folder: Path, remote: RemoteConfig | None = None, info: Info | None = None) -> None:
        self.folder, self.clock = folder, ManualClock(0.0)
        self.remote = RemoteConfig() if remote is None else remote
        self.info = info
        self.streams: Streams[Reader] = self.started()

    def started(self) -> Streams[Reader]:
        return Streams(self.folder, self.remote, self.info, self.clock.now)

    def subscribe(self, reader: Reader, wish: dict[str, Any], someone: Who | None = None, credit: int = 1000) -> str | None:
        return self.streams.control(reader, who() if someone is None else someone, {"subscribe": {**wish, "have": reader.have}, "credit": credit}, "msgpack")

    def say(self, reader: Reader, message: dict[str, Any]) -> str | None:
        return self.streams.control(reader, who(), message, "msgpack")

    def pump(self, turns: int = 1) -> bool:
        is_more = False
        for _ in range(turns):
            self.clock.advance(0.051)  # a little more than one look
            is_more = self.streams.pump(lambda reader, frames: reader.send(frames), self.clock.now())
        return is_more


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def writer(runs: Path) -> Iterator[JsonlWriter]:
    found = JsonlWriter(runs, fsync=False)
    yield found
    found.close()


@pytest.fixture
def bench(runs: Path) -> Bench:
    return Bench(runs)


def start(writer: JsonlWriter, uid: str = "r1", wall: float = 100.0, **of: str) -> None:
    writer("start", {"uid": uid, "time": wall, **of})


def event(writer: JsonlWriter, uid: str = "r1", n: int = 1, **data: Any) -> None:
    writer("event_page", {"uid": f"{uid}-e{n}", "run_start": uid, "seq_num": [n], "data": data})


def stop(writer: JsonlWriter, uid: str = "r1") -> None:
    writer("stop", {"uid": f"{uid}-stop", "run_start": uid, "exit_status": "success"})


# --------------------------------------------------------------------------------------------------- documents


def test_documents_come_as_they_are_written(bench: Bench, writer: JsonlWriter) -> None:
    reader = Reader()
    assert bench.subscribe(reader, ALL) is None
    start(writer, campaign="c-1", item="i-1", user="alice")
    bench.pump()
    assert reader.of("document") == [{"run": "r1", "n": 0, "name": "start", "campaign": "c-1", "item": "i-1", "user": "alice",
                                      "doc": {"uid": "r1", "time": 100.0, "campaign": "c-1", "item": "i-1", "user": "alice"}}]
    event(writer, x=[1.5])
    bench.pump()
    stop(writer)
    bench.pump()
    assert reader.names() == ["start", "event_page", "stop"]


def test_a_document_waits_no_longer_than_one_look(bench: Bench, writer: JsonlWriter) -> None:
    reader = Reader()
    bench.subscribe(reader, ALL)
    start(writer)
    bench.pump(turns=1)
    assert reader.names() == ["start"] and streams_module.LOOK_S == 0.05


def test_a_run_that_begins_after_a_long_quiet_comes_at_the_next_look(bench: Bench, writer: JsonlWriter) -> None:
    reader = Reader()
    bench.subscribe(reader, ALL)
    start(writer, "r1")
    bench.pump(20)
    start(writer, "r2")
    bench.pump()
    assert list(reader.have) == ["r1", "r2"]


def test_a_line_that_is_not_whole_yet_is_not_sent(bench: Bench, writer: JsonlWriter, runs: Path) -> None:
    reader = Reader()
    bench.subscribe(reader, ALL)
    start(writer)
    with (runs / "r1.jsonl").open("ab", buffering=0) as file:
        file.write(b'["event_page", {"a"')
        bench.pump(2)
        assert reader.names() == ["start"]
        file.write(b": 1}]\n")
    bench.pump()
    assert reader.names() == ["start", "event_page"]


def test_a_run_whose_start_is_torn_comes_when_it_is_whole(bench: Bench, runs: Path) -> None:
    runs.mkdir()
    reader = Reader()
    bench.subscribe(reader, ALL)
    with (runs / "r1.jsonl").open("ab", buffering=0) as file:
        file.write(b'["start", {"uid": "r1"')
        bench.pump(3)
        assert reader.names() == []
        file.write(b"}]\n")
    bench.pump()
    assert reader.names() == ["start"]


def test_the_stop_document_that_a_resume_writes_over_a_torn_line_comes(bench: Bench, writer: JsonlWriter, runs: Path) -> None:
    reader = Reader()
    bench.subscribe(reader, ALL)
    start(writer, campaign="c-1")
    with (runs / "r1.jsonl").open("ab") as file:
        file.write(b'["event_page", {' + b'"long": 1, ' * 100)
    bench.pump(2)
    close_cut_off(runs, "c-1", "cut off", lambda: 5.0)
    bench.pump()
    assert reader.names() == ["start", "stop"]


def test_a_reader_who_comes_late_gets_an_open_run_from_its_start(bench: Bench, writer: JsonlWriter) -> None:
    start(writer)
    event(writer)
    reader = Reader()
    bench.subscribe(reader, {**ALL, "since": 1e9})
    bench.pump()
    assert reader.names() == ["start", "event_page"]


def test_of_runs_that_have_stopped_those_since_a_time_come(bench: Bench, writer: JsonlWriter) -> None:
    for uid, wall in (("old", 100.0), ("new", 200.0)):
        start(writer, uid, wall)
        stop(writer, uid)
    reader = Reader()
    bench.subscribe(reader, {**ALL, "since": 150.0})
    bench.pump()
    assert list(reader.have) == ["new"]


def test_a_run_that_begins_after_the_clock_went_back_comes_all_the_same(bench: Bench, writer: JsonlWriter) -> None:
    reader = Reader()
    bench.pump()
    bench.subscribe(reader, {**ALL, "since": 1000.0})
    start(writer, "r1", wall=5.0)
    stop(writer, "r1")
    bench.pump()
    assert reader.names() == ["start", "stop"]


@pytest.mark.parametrize("wish", [{"item": "i-1"}, {"campaign": "c-1"}])
def test_an_item_or_a_campaign_can_be_followed_alone(bench: Bench, writer: JsonlWriter, wish: dict[str, str]) -> None:
    start(writer, "r1", campaign="c-1", item="i-1")
    start(writer, "r2", campaign="c-2", item="i-2")
    start(writer, "r3")
    reader = Reader()
    bench.subscribe(reader, {"documents": wish, "since": 1e9})
    bench.pump()
    assert list(reader.have) == ["r1"]


@pytest.mark.parametrize(("role", "name", "sees"), [("scientist", "alice", ["r1"]), ("scientist", "bob", ["r2"]), ("scientist", "", []),
                                                    ("operator", "olga", ["r1", "r2", "r3"]), ("admin", "root", ["r1", "r2", "r3"])])
def test_each_role_sees_its_documents(bench: Bench, writer: JsonlWriter, role: Role, name: str, sees: list[str]) -> None:
    start(writer, "r1", user="alice")
    start(writer, "r2", user="bob")
    start(writer, "r3")
    reader = Reader()
    bench.subscribe(reader, ALL, who(role, name))
    bench.pump()
    assert sorted(reader.have) == sees


@pytest.mark.parametrize("wish", [{"item": "i-2"}, {"campaign": "c-2"}, {"all": True}])
def test_naming_the_item_of_another_shows_a_scientist_nothing(bench: Bench, writer: JsonlWriter, wish: dict[str, Any]) -> None:
    start(writer, "r2", user="bob", item="i-2", campaign="c-2")
    reader = Reader()
    reader.have = {"r2": 0}
    bench.subscribe(reader, {"documents": wish}, who("scientist", "alice"))
    bench.pump(2)
    assert reader.messages == []


def test_an_observer_is_refused_documents_in_words(bench: Bench) -> None:
    words = bench.subscribe(Reader(), ALL, who("observer", "otto"))
    assert words is not None and "your key's role is observer, which sees none" in words and len(bench.streams) == 0


def test_lab_yaml_can_let_observers_see(runs: Path, writer: JsonlWriter) -> None:
    bench = Bench(runs, RemoteConfig.model_validate({"roles": {"observer": {"documents": "all"}}}))
    start(writer)
    reader = Reader()
    assert bench.subscribe(reader, ALL, who("observer", "otto")) is None
    bench.pump()
    assert reader.names() == ["start"]


def test_two_encodings_of_one_document_are_the_same(bench: Bench, writer: JsonlWriter) -> None:
    start(writer, note="film é")
    found: dict[str, bytes] = {}
    for encoding in ("json", "msgpack"):
        bench.streams.control(Reader(encoding), who(), {"subscribe": ALL, "credit": 9}, encoding)  # type: ignore[arg-type]
    bench.clock.advance(1.0)
    bench.streams.pump(lambda reader, frames: found.update({reader.name: frames[1]}) is None, bench.clock.now())
    assert json.loads(found["json"]) == msgpack.unpackb(found["msgpack"])


# --------------------------------------------------------------------------------------------------- credit, room, life


def test_credit_bounds_what_is_sent(bench: Bench, writer: JsonlWriter) -> None:
    start(writer)
    for n in range(20):
        event(writer, n=n)
    reader = Reader()
    bench.subscribe(reader, ALL, credit=3)
    bench.pump(5)
    assert len(reader.messages) == 3
    bench.say(reader, {"credit": 4})
    bench.pump(5)
    assert len(reader.messages) == 7


def test_a_reader_without_room_loses_nothing_and_holds_up_nobody(bench: Bench, writer: JsonlWriter) -> None:
    slow, quick = Reader("slow"), Reader("quick")
    for reader in (slow, quick):
        bench.subscribe(reader, ALL)
    slow.room = 1
    start(writer)
    for n in range(50):
        event(writer, n=n)
    stop(writer)
    bench.pump(3)
    assert (len(slow.messages), len(quick.messages)) == (1, 52)
    slow.room = 1000
    bench.pump(2)
    assert slow.messages == quick.messages


def test_the_last_document_comes_also_to_who_had_read_all_just_before(bench: Bench, writer: JsonlWriter) -> None:
    """The file is not looked at any more once somebody has read its stop document."""
    second, first = Reader("second"), Reader("first")
    for reader in (second, first):  # served in this order
        bench.subscribe(reader, ALL)
    start(writer)

    def send(reader: Reader, frames: list[bytes]) -> bool:
        if reader is first and not first.messages:
            assert second.names() == ["start"]
            stop(writer)
        return reader.send(frames)

    bench.clock.advance(1.0)
    bench.streams.pump(send, bench.clock.now())
    assert first.names() == ["start", "stop"]
    bench.pump(2)
    assert second.names() == ["start", "stop"]


def test_a_run_that_nobody_reads_is_found_to_have_stopped(bench: Bench, writer: JsonlWriter) -> None:
    start(writer)
    bench.pump()
    stop(writer)
    bench.pump(60)
    [run] = bench.streams._files.runs
    assert run.is_stopped and not bench.streams._files._open


def test_a_large_backlog_comes_in_turns(bench: Bench, writer: JsonlWriter) -> None:
    start(writer)
    for n in range(499):
        event(writer, n=n)
    readers = [Reader(str(n)) for n in range(3)]
    for reader in readers:
        bench.subscribe(reader, ALL)
    assert bench.pump() is True
    assert [len(reader.messages) for reader in readers] == [100] * 3
    bench.pump(5)
    assert [len(reader.messages) for reader in readers] == [500] * 3 and bench.pump() is False


def test_what_takes_too_long_goes_on_in_the_next_turn_with_the_others(runs: Path, writer: JsonlWriter) -> None:
    bench = Bench(runs)
    start(writer)
    readers = [Reader(str(n)) for n in range(3)]
    for reader in readers:
        bench.subscribe(reader, ALL)
    served: list[str] = []

    def slow(reader: Reader, frames: list[bytes]) -> bool:
        served.append(reader.name)
        bench.clock.advance(0.1)
        return reader.send(frames)

    bench.clock.advance(1.0)
    for _ in range(3):
        bench.streams.pump(slow, bench.clock.now())
    assert served == ["0", "1", "2"]


def test_a_gone_reader_is_forgotten(bench: Bench, writer: JsonlWriter) -> None:
    reader = Reader()
    bench.subscribe(reader, ALL)
    bench.streams.gone(reader)
    bench.streams.gone(reader)
    start(writer)
    bench.pump()
    assert reader.messages == [] and len(bench.streams) == 0


def test_who_says_nothing_for_a_minute_is_told_the_end(bench: Bench) -> None:
    silent, alive = Reader("silent"), Reader("alive")
    for reader in (silent, alive):
        bench.subscribe(reader, ALL)
    bench.clock.advance(50.0)
    assert bench.say(alive, {"alive": True}) is None
    bench.clock.advance(20.0)
    bench.pump()
    assert len(bench.streams) == 1 and alive.messages == []
    assert silent.of("end") == [{"success": False, "msg": "nothing was heard of you for 60 s; subscribe again, with what you have"}]


def test_who_speaks_without_a_subscription_is_told_to_subscribe(bench: Bench) -> None:
    assert "subscribe, with what you have" in str(bench.say(Reader(), {"alive": True}))


def test_a_second_subscription_takes_the_place_of_the_first(bench: Bench, writer: JsonlWriter) -> None:
    start(writer, "r1", item="i-1")
    start(writer, "r2", item="i-2")
    reader = Reader()
    bench.subscribe(reader, {"documents": {"item": "i-1"}})
    bench.subscribe(reader, {"documents": {"item": "i-2"}})
    bench.pump()
    assert list(reader.have) == ["r2"] and len(bench.streams) == 1


def test_a_subscription_can_be_ended(bench: Bench) -> None:
    reader = Reader()
    bench.subscribe(reader, ALL)
    assert bench.say(reader, {"unsubscribe": True}) is None and len(bench.streams) == 0


def test_a_key_has_so_many_subscriptions(runs: Path) -> None:
    bench = Bench(runs, RemoteConfig.model_validate({"traffic": {"subscriptions": 2}}))
    readers = [Reader(str(n)) for n in range(3)]
    assert [bench.subscribe(reader, ALL) for reader in readers[:2]] == [None, None]
    assert "this key has 2 subscriptions; allowed: 2" in str(bench.subscribe(readers[2], ALL))
    assert bench.subscribe(readers[0], ALL) is None
    assert bench.subscribe(readers[2], ALL, who(name="somebody else")) is None


# --------------------------------------------------------------------------------------------------- after a break


def test_a_reader_that_comes_back_gets_the_rest(bench: Bench, writer: JsonlWriter) -> None:
    reader = Reader()
    bench.subscribe(reader, ALL)
    start(writer)
    event(writer, n=1)
    bench.pump()
    bench.streams.gone(reader)
    event(writer, n=2)
    stop(writer)
    start(writer, "r2")
    bench.subscribe(reader, ALL)
    bench.pump()
    assert reader.names("r1") == ["start", "event_page", "event_page", "stop"] and reader.names("r2") == ["start"]


def test_a_gateway_that_comes_back_sends_the_rest(bench: Bench, writer: JsonlWriter) -> None:
    reader = Reader()
    bench.subscribe(reader, ALL)
    start(writer)
    bench.pump()
    stop(writer)
    bench.streams = bench.started()
    bench.subscribe(reader, ALL)
    bench.pump()
    assert reader.names() == ["start", "stop"]


def test_a_reader_whose_clock_goes_before_misses_no_run_of_a_break(bench: Bench, writer: JsonlWriter) -> None:
    wish = {**ALL, "since": 1000.0}
    reader = Reader()
    start(writer, "r0", wall=100.0)
    stop(writer, "r0")
    bench.pump()
    bench.subscribe(reader, wish)
    start(writer, "r1", wall=500.0)
    bench.pump()
    bench.streams.gone(reader)
    stop(writer, "r1")
    start(writer, "r2", wall=600.0)
    stop(writer, "r2")
    bench.pump(2)
    bench.subscribe(reader, wish)
    bench.pump()
    assert reader.have == {"r1": 2, "r2": 2}


def test_who_has_all_of_a_run_gets_nothing_of_it(bench: Bench, writer: JsonlWriter) -> None:
    start(writer)
    stop(writer)
    reader = Reader()
    reader.have = {"r1": 2}
    bench.subscribe(reader, ALL)
    bench.pump(3)
    assert reader.messages == []


def test_who_has_all_but_a_line_that_is_being_written_gets_that_line(bench: Bench, writer: JsonlWriter, runs: Path) -> None:
    start(writer)
    reader = Reader()
    reader.have = {"r1": 1}
    with (runs / "r1.jsonl").open("ab", buffering=0) as file:
        file.write(b'["event_page", {"a"')
        bench.subscribe(reader, ALL)
        bench.pump(2)
        file.write(b": 1}]\n")
    bench.pump()
    assert [content["doc"] for content in reader.of("document")] == [{"a": 1}]


def test_who_has_more_of_a_run_than_there_is_goes_on_behind_it(bench: Bench, writer: JsonlWriter) -> None:
    """A power cut has taken a document that had been sent: the next ones count on from there."""
    start(writer)
    reader = Reader()
    reader.have = {"r1": 2}
    bench.subscribe(reader, ALL)
    bench.pump(2)
    event(writer, n=1)
    event(writer, n=2)
    bench.pump(2)
    assert [content["n"] for content in reader.of("document")] == [2]


# --------------------------------------------------------------------------------------------------- hostile


@pytest.mark.parametrize("message", [
    {}, {"subscribe": {}}, {"subscribe": []}, {"subscribe": {"documents": {}}}, {"subscribe": {"documents": {"all": 1}}},
    {"subscribe": {"documents": {"all": True, "item": "x"}}}, {"subscribe": {"documents": {"item": ""}}}, {"subscribe": {"documents": {"item": "x" * 201}}},
    {"subscribe": {"documents": {"path": "../../etc/passwd"}}}, {"subscribe": {"documents": ["all"]}}, {"subscribe": {"status": 1}},
    {"subscribe": {"\x1b[2J": True}}, {"subscribe": {**ALL, "have": []}}, {"subscribe": {**ALL, "have": {"r": -1}}}, {"subscribe": {**ALL, "have": {"r": True}}},
    {"subscribe": {**ALL, "have": {"x" * 300: 1}}}, {"subscribe": {**ALL, "since": "now"}}, {"subscribe": {**ALL, "since": float("nan")}},
    {"subscribe": ALL, "credit": -1}, {"subscribe": ALL, "credit": 1e9}, {"subscribe": ALL, "credit": True}, {"subscribe": ALL, "credit": 10**7},
    {"subscribe": ALL, "alive": True}, {"credit": 0}, {"credit": "9"}, {"other": 1}, {"credit": 1, "other": 1},
])
def test_what_is_no_control_of_a_stream_is_refused_and_changes_nothing(bench: Bench, writer: JsonlWriter, message: dict[str, Any]) -> None:
    start(writer)
    reader = Reader()
    bench.subscribe(reader, ALL, credit=1)
    words = bench.say(reader, message)
    assert words is not None and "allowed" in words + " allowed" and words.isprintable() and len(words) < 300
    bench.pump()
    assert reader.names() == ["start"] and len(bench.streams) == 1


def test_credit_does_not_add_up_without_end(bench: Bench) -> None:
    reader = Reader()
    bench.subscribe(reader, ALL, credit=100_000)
    bench.say(reader, {"credit": 100_000})
    assert bench.streams._readers[reader].credit == 100_000


@pytest.mark.parametrize("run", ["../../../etc/passwd", "/etc/passwd", "..", "\x00", ""])
def test_what_a_client_claims_to_have_is_never_a_path(bench: Bench, writer: JsonlWriter, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start(writer)
    opened: list[str] = []
    open_file = run_files.os.open
    monkeypatch.setattr(run_files.os, "open", lambda path, *rest: (opened.append(str(path)), open_file(path, *rest))[1])
    reader = Reader()
    reader.have = {run: 3}
    bench.subscribe(reader, ALL)
    bench.pump(2)
    assert set(opened) == {str(bench.folder / "r1.jsonl")}


def test_a_line_that_somebody_has_spoilt_is_left_out_and_the_rest_comes(bench: Bench, writer: JsonlWriter, runs: Path) -> None:
    start(writer)
    with (runs / "r1.jsonl").open("ab") as file:
        file.write(b"spoilt\n[1, 2]\n" + b'["event_page", ' + b"[" * 5000 + b"]" * 5000 + b"]\n")
    event(writer)
    found: list[int] = []
    bench.streams.control(Reader(), who(), {"subscribe": ALL, "credit": 9}, "msgpack")
    bench.clock.advance(1.0)
    bench.streams.pump(lambda reader, frames: found.append(msgpack.unpackb(frames[1])["n"]) is None, bench.clock.now())
    assert found == [0, 4]


@pytest.mark.parametrize("content", [b"", b"\n", b"no\n", b'["event", {}]\n', b'["stop", {}]\n', b"[" * 9000 + b"\n", b"\xff\xfe\n"])
def test_a_file_that_is_no_run_is_left_out(bench: Bench, runs: Path, content: bytes) -> None:
    runs.mkdir()
    (runs / "r0.jsonl").write_bytes(content)
    (runs / "r1.jsonl").write_bytes(b'["start", {"uid": "r1"}]\n')
    (runs / "folder.jsonl").mkdir()
    reader = Reader()
    bench.subscribe(reader, {"documents": {"item": "x"}})
    bench.subscribe(reader, ALL, who("scientist", "alice"))
    bench.pump(3)
    assert reader.messages == []
    assert not any(run.user for run in bench.streams._files.runs)


def test_numbers_and_texts_that_msgpack_does_not_know_come_as_near_ones(bench: Bench, writer: JsonlWriter) -> None:
    reader = Reader()
    bench.subscribe(reader, ALL)
    start(writer, big=10**30, minus=-2**70, top=2**64 - 1, text="a\ud800b")  # type: ignore[arg-type]
    bench.pump()
    doc = reader.of("document")[0]["doc"]
    assert (doc["big"], doc["minus"], doc["top"], doc["text"]) == (1e30, -float(2**70), 2**64 - 1, "a?b")


def test_a_document_larger_than_a_chunk_comes_whole(bench: Bench, writer: JsonlWriter) -> None:
    reader = Reader()
    bench.subscribe(reader, ALL)
    start(writer)
    event(writer, n=1, frame=["x" * 3_000_000])
    event(writer, n=2)
    bench.pump(2)
    assert len(reader.of("document")[1]["doc"]["data"]["frame"][0]) == 3_000_000 and len(reader.names()) == 3


def test_a_run_whose_file_is_taken_away_holds_up_no_other(bench: Bench, writer: JsonlWriter, runs: Path) -> None:
    reader = Reader()
    start(writer, "r1")
    bench.pump()
    bench.subscribe(reader, ALL)
    (runs / "r1.jsonl").unlink()
    start(writer, "r2")
    bench.pump(3)
    assert list(reader.have) == ["r2"]


def test_many_old_runs_are_taken_in_a_few_at_a_time_the_oldest_first(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.mkdir()
    for n in range(35):
        (runs / f"r{n:02d}.jsonl").write_bytes(b'["start", {"uid": "r", "time": 1}]\n["stop", {}]\n')
    monkeypatch.setattr(run_files, "AT_ONCE", 10)
    files = RunFiles(runs)
    assert [len(files.look(float(n))) for n in range(5)] == [10, 10, 10, 5, 0]
    assert {run.is_stopped for run in files.runs} == {True}


def test_what_is_kept_of_lines_is_bounded(runs: Path, writer: JsonlWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "KEPT_BYTES", 5000)
    bench = Bench(runs)
    for uid in range(30):
        start(writer, f"r{uid}", text="x" * 1000)
    reader = Reader()
    bench.subscribe(reader, ALL)
    bench.pump(3)
    assert len(reader.messages) == 30 and bench.streams._files._kept <= 6000


# --------------------------------------------------------------------------------------------------- any interleaving


class Interleaved(RuleBasedStateMachine):
    """Writers append, readers grant credit, stop reading, break off and come back, gateways are killed: each document comes once, in order."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.bench = Bench(self.folder)
        self.written: dict[str, list[bytes]] = {}
        self.torn: dict[str, bytes] = {}
        self.users: dict[str, str] = {}
        self.stopped: set[str] = set()
        self.readers = {"olga": Reader("olga"), "alice": Reader("alice"), "bob": Reader("bob")}
        self.connected: set[str] = set()

    def _append(self, run: str, content: bytes) -> None:
        with (self.folder / f"{run}.jsonl").open("ab", buffering=0) as file:
            file.write(content)

    def _open_runs(self) -> list[str]:
        return sorted(set(self.written) - self.stopped)

    @rule(user=st.sampled_from(["alice", "bob", ""]), size=st.sampled_from([0, 10, 70_000]))
    def a_run_begins(self, user: str, size: int) -> None:
        run = f"r{len(self.written)}"
        line = json.dumps(["start", {"uid": run, "time": 1.0, "user": user, "pad": "x" * size}]).encode() + b"\n"
        self.written[run], self.users[run] = [line], user
        self._append(run, line)

    @precondition(lambda self: self._open_runs())
    @rule(data=st.data(), n=st.integers(1, 130), is_torn=st.booleans())
    def a_run_goes_on(self, data: st.DataObject, n: int, is_torn: bool) -> None:
        run = data.draw(st.sampled_from(self._open_runs()))
        content = b""
        for _ in range(n):
            line = json.dumps(["event", {"seq": len(self.written[run])}]).encode() + b"\n"
            self.written[run].append(line)
            content += line
        content = self.torn.pop(run, b"") + content  # its writer goes on in the middle of the line
        if is_torn:
            cut = data.draw(st.integers(1, len(self.written[run][-1]) - 1))
            content, self.torn[run] = content[:-cut], content[-cut:]
        self._append(run, content)

    @precondition(lambda self: self._open_runs())
    @rule(data=st.data())
    def a_run_stops(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self._open_runs()))
        line = b'["stop", {}]\n'
        self._append(run, self.torn.pop(run, b"") + line)
        self.written[run].append(line)
        self.stopped.add(run)

    @rule(name=st.sampled_from(["olga", "alice", "bob"]), credit=st.integers(1, 200))
    def a_reader_comes(self, name: str, credit: int) -> None:
        someone = who("operator" if name == "olga" else "scientist", name)
        assert self.bench.subscribe(self.readers[name], {**ALL, "since": 0.0}, someone, credit) is None
        self.connected.add(name)

    @precondition(lambda self: self.connected)
    @rule(data=st.data(), credit=st.integers(1, 200))
    def a_reader_grants_credit(self, data: st.DataObject, credit: int) -> None:
        reader = self.readers[data.draw(st.sampled_from(sorted(self.connected)))]
        assert self.bench.say(reader, {"credit": credit}) is None

    @rule(name=st.sampled_from(["olga", "alice", "bob"]), room=st.sampled_from([0, 1, 7, 10**9]))
    def a_reader_has_room(self, name: str, room: int) -> None:
        self.readers[name].room = room

    @rule(name=st.sampled_from(["olga", "alice", "bob"]))
    def a_reader_breaks_off(self, name: str) -> None:
        self.bench.streams.gone(self.readers[name])
        self.connected.discard(name)

    @rule()
    def the_gateway_is_killed(self) -> None:
        self.bench.streams = self.bench.started()
        self.connected.clear()

    @rule(turns=st.integers(1, 3))
    def time_goes_on(self, turns: int) -> None:
        self.bench.pump(turns)

    @rule()
    def much_time_goes_on(self) -> None:
        for name in sorted(self.connected):
            self.bench.say(self.readers[name], {"alive": True})
        self.bench.clock.advance(40.0)
        self.bench.pump()

    @invariant()
    def nobody_has_what_is_not_theirs(self) -> None:
        for name, reader in self.readers.items():
            assert all(name == "olga" or self.users[run] == name for run in reader.have)

    def teardown(self) -> None:
        try:
            self.everything_comes()
        finally:
            shutil.rmtree(self.folder)

    def everything_comes(self) -> None:
        for name, reader in self.readers.items():
            reader.room = 10**9
            self.a_reader_comes(name, 100_000)
        for _ in range(200):
            if not self.bench.pump() and not self.bench.pump(2):
                break
        for name, reader in self.readers.items():
            for run, lines in self.written.items():
                whole = lines[: len(lines) - 1] if run in self.torn else lines
                expected = len(whole) if name == "olga" or self.users[run] == name else 0
                assert reader.have.get(run, 0) == expected, (name, run)
                docs = [[content["name"], content["doc"]] for content in reader.of("document") if content["run"] == run]
                assert docs == [json.loads(line) for line in whole[:expected]]


@pytest.mark.hypothesis
def test_any_interleaving_delivers_each_document_once_and_in_order(tmp_path_factory: pytest.TempPathFactory) -> None:
    run_state_machine_as_test(lambda: Interleaved(tmp_path_factory.mktemp("runs")))


# --------------------------------------------------------------------------------------------------- status, console


@pytest.fixture
def publisher() -> Iterator[tuple[zmq.Socket[bytes], str]]:
    """What the RE Manager publishes with (bluesky_queueserver.manager.output_streaming)."""
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.LINGER, 0)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    yield socket, f"tcp://127.0.0.1:{port}"
    socket.close()
    context.term()


@pytest.fixture
def info(publisher: tuple[zmq.Socket[bytes], str]) -> Iterator[Info]:
    socket, address = publisher
    found = Info(address)
    for _ in range(2):
        assert socket.poll(10_000), "nobody has subscribed"
        socket.recv()
    yield found
    found.close()


def publish(publisher: tuple[zmq.Socket[bytes], str], info: Info, topic: bytes, content: bytes) -> None:
    publisher[0].send_multipart([topic, content])
    assert info._socket.poll(10_000)
    info.take()


def test_the_status_comes_as_the_re_manager_has_published_it_the_latest_only(runs: Path, publisher: Any, info: Info) -> None:
    bench, reader = Bench(runs, info=info), Reader()
    bench.subscribe(reader, {"status": True}, who("observer", "otto"))
    for n in range(3):
        publish(publisher, info, b"QS_Info", json.dumps({"time": 1.0, "msg": {"status": {"items_in_queue": n}, "other": 1}}).encode())
    bench.pump(3)
    assert reader.messages == [("status", {"time": 1.0, "msg": {"status": {"items_in_queue": 2}}})]


def test_who_comes_later_gets_the_status_at_once(runs: Path, publisher: Any, info: Info) -> None:
    publish(publisher, info, b"QS_Info", b'{"time": 1, "msg": {"status": {}}}')
    bench, reader = Bench(runs, info=info), Reader()
    bench.subscribe(reader, {"status": True})
    bench.pump()
    assert len(reader.of("status")) == 1


def test_the_console_comes_to_those_who_see_all_documents(runs: Path, publisher: Any, info: Info) -> None:
    bench, reader = Bench(runs, info=info), Reader()
    publish(publisher, info, b"QS_Console", b'{"time": 0, "msg": "before"}')
    bench.subscribe(reader, {"console": True})
    publish(publisher, info, b"QS_Console", b'{"time": 1.5, "msg": "a line\\n"}')
    bench.pump()
    assert reader.messages == [("console", {"time": 1.5, "msg": "a line\n"})]


@pytest.mark.parametrize("role", ["observer", "scientist"])
def test_the_console_alone_is_refused_to_others_in_words(runs: Path, info: Info, role: Role) -> None:
    words = Bench(runs, info=info).subscribe(Reader(), {"console": True}, who(role, "alice"))
    assert f"console: your key's role is {role}" in str(words)


def test_the_console_beside_something_else_says_once_why_there_is_none(runs: Path, publisher: Any, info: Info) -> None:
    bench, reader = Bench(runs, info=info), Reader()
    assert bench.subscribe(reader, {"console": True, "status": True}, who("scientist", "alice")) is None
    publish(publisher, info, b"QS_Console", b'{"time": 1.5, "msg": "secret"}')
    bench.pump(3)
    assert len(reader.messages) == 1 and "your key's role is scientist" in reader.of("console")[0]["msg"]


def test_a_slow_reader_of_the_console_is_told_how_much_was_left_out() -> None:
    console = Console()
    for n in range(5000):
        console.add(float(n), f"{n}\n")
    number, text = console.after(10)  # type: ignore[misc]
    assert (number, text["msg"]) == (3000, "[2990 lines were not read in time, and are left out]\n")
    assert console.after(3000) == (3001, {"time": 3000.0, "msg": "3000\n"}) and console.after(5000) is None


def test_what_is_kept_of_the_console_is_bounded_in_bytes() -> None:
    console = Console()
    for _ in range(100):
        console.add(0.0, "x" * 10**6)
    assert console._n_bytes <= 1_000_000 and console.last == 100


@pytest.mark.parametrize(("text", "shown"), [("a\tb\r\n", "a\tb\r\n"), ("\x1b[31mred\x1b[0m é", "\x1b[31mred\x1b[0m é"), ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
                                             ("\x1b[2J", "\\x1b[2J"), ("\x9b2J", "\\x9b2J"), ("\u202eevil", "\\u202eevil"), ("\x1b", "\\x1b"), ("\x00\x7f", "\\x00\\x7f")])
def test_the_console_makes_a_terminal_do_nothing_but_colours_and_lines(text: str, shown: str) -> None:
    assert harmless(text) == shown


@pytest.mark.parametrize("content", [b"no JSON", b"[]", b"{}", b'{"time": "x", "msg": 3}', b'{"msg": {"status": 3}}', b"[" * 9999, b"\xff"])
@pytest.mark.parametrize("topic", [b"QS_Console", b"QS_Info"])
def test_what_was_published_and_is_nothing_is_left_out(publisher: Any, info: Info, topic: bytes, content: bytes) -> None:
    publish(publisher, info, topic, content)
    assert info.status is None and info.console.last == 0
