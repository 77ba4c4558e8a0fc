"""The audit log: what is written, what a kill leaves behind, and that nobody changes it unnoticed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.core.clock import ManualClock
from lab.core.errors import LedgerError
from lab.home import Home
from lab.remote.access import audit as audit_module
from lab.remote.access.audit import Audit, Entry, is_being_written, what_of
from lab.remote.access.audit_chain import START, Link, chained, entries, files_of, read_head, verify

ADD = Entry("alice", "scientist", "k" * 40, "queue_item_add", "film 12ab", "done")
LOOK = Entry("bob", "observer", "b" * 40, "status", "", "done")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def audit(home: Home, clock: ManualClock) -> Iterator[Audit]:
    log = Audit(home, now=clock.now, clock=clock.now)
    yield log
    log.close()


def rows(log: Audit | Path) -> list[dict[str, Any]]:
    return [row for row in entries(log if isinstance(log, Path) else log.folder) if row["method"] != "audit"]


def own(log: Audit | Path) -> list[str]:
    return [row["outcome"] for row in entries(log if isinstance(log, Path) else log.folder) if row["method"] == "audit"]


# --------------------------------------------------------------------------------------------------- what is written


def test_a_write_is_a_line_that_says_who_asked_for_what_and_what_came_of_it(audit: Audit) -> None:
    audit.record(ADD)
    [row] = rows(audit)
    assert row == {"n": 2, "wall": 1000.0, "who": "alice", "role": "scientist", "key": "kkkkkkkk", "method": "queue_item_add",
                   "what": "film 12ab", "outcome": "done", "count": 1, "prev": row["prev"]}


def test_a_write_is_on_disk_when_commit_returns(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_size), sync(file)))
    audit.record(ADD)
    assert synced == [files_of(audit.folder)[0].stat().st_size]


def test_writes_that_come_together_cost_one_fsync(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for _ in range(50):
        audit.add(ADD)
    audit.commit()
    assert len(synced) == 1 and len(rows(audit)) == 50


def test_equal_writes_are_never_merged(audit: Audit) -> None:
    audit.record(ADD)
    audit.record(ADD)
    assert [row["count"] for row in rows(audit)] == [1, 1]


def test_reads_within_a_second_are_one_line_with_their_count(audit: Audit, clock: ManualClock) -> None:
    for _ in range(1000):
        audit.note(LOOK)
        audit.tick()
    assert rows(audit) == []
    clock.advance(1.0)
    audit.tick()
    assert [(row["method"], row["count"], row["wall"]) for row in rows(audit)] == [("status", 1000, 1000.0)]


def test_reads_of_different_keys_methods_and_outcomes_are_kept_apart(audit: Audit, clock: ManualClock) -> None:
    other = [Entry("bob", "observer", "c" * 40, "status", "", "done"), Entry("bob", "observer", "b" * 40, "queue_get", "", "done"),
             Entry("bob", "observer", "b" * 40, "status", "", "refused: too fast")]
    for entry in (LOOK, *other, LOOK):
        audit.note(entry)
    clock.advance(1.0)
    audit.tick()
    assert sorted(row["count"] for row in rows(audit)) == [1, 1, 1, 2]


def test_strangers_with_ever_new_keys_are_one_line(audit: Audit, clock: ManualClock) -> None:
    for n in range(5000):
        audit.note(Entry("", "", f"{n:040d}", "connect", f"from port {n}", "unknown key"))
    clock.advance(1.0)
    audit.tick()
    assert [(row["outcome"], row["count"]) for row in rows(audit)] == [("unknown key", 5000)]


def test_what_waits_to_be_written_is_bounded(audit: Audit, clock: ManualClock) -> None:
    for n in range(3000):
        audit.note(Entry("bob", "observer", "b" * 40, "status", "", f"refused {n}"))
    clock.advance(1.0)
    audit.tick()
    assert len(rows(audit)) == 1000 and own(audit)[-1] == "overflow"
    assert sum(row["count"] for row in entries(audit.folder)) == 3001  # with the line that it was opened


def test_closing_writes_what_was_not_due_yet(audit: Audit) -> None:
    audit.note(LOOK)
    audit.close()
    audit.close()
    assert len(rows(audit)) == 1


def test_files_follow_one_another_when_they_get_large(home: Home) -> None:
    log = Audit(home, file_bytes=1000)
    for _ in range(20):
        log.record(ADD)
    log.close()
    found = verify(log.folder)
    assert found.n_files > 4 and found.problems == [] and found.head.n == found.n_lines == 21
    assert max(path.stat().st_size for path in files_of(log.folder)) < 1500


def test_the_log_goes_on_in_the_next_process(home: Home) -> None:
    for _ in range(3):
        log = Audit(home)
        log.record(ADD)
        log.close()
    assert own(log) == ["opened"] * 3
    assert verify(log.folder).problems == verify(log.folder).notes == []


def test_nobody_else_can_read_the_log(audit: Audit) -> None:
    assert audit.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in audit.folder.iterdir()} == {0o600}


def test_two_gateways_cannot_write_one_log(home: Home, audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "LOCK_WITHIN_S", 0.0)
    with pytest.raises(LedgerError, match="another process writes it"):
        Audit(home)


def test_whether_it_is_being_written_can_be_told(home: Home) -> None:
    assert not is_being_written(home)
    log = Audit(home)
    assert is_being_written(home)
    log.close()
    assert not is_being_written(home)


def test_a_clock_that_goes_back_is_noted_and_breaks_nothing(audit: Audit, clock: ManualClock) -> None:
    audit.record(ADD)
    audit._now = lambda: 10.0
    audit.record(ADD)
    found = verify(audit.folder)
    assert found.problems == [] and "the clock was 990 s ahead before" in found.notes[0]


# --------------------------------------------------------------------------------------------------- hostile texts

NASTY = ["\x1b]0;owned\x07", "a\nb\r", "x" * 10_000, "\u202eevil", "\x00", "\ud800", "é" * 500, "[red]", '"}', "\x9b2J"]


@pytest.mark.parametrize("text", NASTY)
def test_no_text_of_a_client_can_break_a_line_or_a_terminal(audit: Audit, text: str) -> None:
    audit.record(Entry(text, text, text, text, text, text))
    content = files_of(audit.folder)[0].read_text("ascii")
    assert content.count("\n") == 2 and content.replace("\n", "").isprintable() and len(content) < 2000
    row = list(entries(audit.folder))[-1]
    assert row["method"] == "?" and all(str(value).isprintable() and str(value).isascii() for value in row.values())
    assert verify(audit.folder).problems == []


@pytest.mark.parametrize("text", NASTY)
def test_what_a_request_is_about_is_short_whatever_it_says(text: str) -> None:
    said = what_of({"item": {"name": text, "kwargs": {text: text}}, "uid": text, "user": text, "config": {"name": text}})
    assert len(said) < 250 and said.isprintable() and said.isascii()


def test_what_a_request_is_about_has_names_ids_and_a_digest_of_everything() -> None:
    first, second = ({"item": {"name": "film", "kwargs": {"cs": cs}}, "campaign": "c-1"} for cs in (0.1, 0.2))
    assert what_of(first).split()[:2] == ["film", "c-1"] == what_of(second).split()[:2]
    assert what_of(first).split()[2] != what_of(second).split()[2]


# --------------------------------------------------------------------------------------------------- a kill, a full disk


def test_a_line_torn_by_a_kill_is_recognised_said_and_the_chain_goes_on(home: Home) -> None:
    log = Audit(home)
    log.record(ADD)
    log.close()
    file = files_of(log.folder)[0]
    with file.open("ab") as content:
        content.write(chained({"wall": 1.0, "who": "x"}, log.end)[0][:50])
    found = verify(log.folder)
    assert found.problems == [] and "50 bytes after the last whole line" in found.notes[0]
    again = Audit(home)
    again.record(ADD)
    again.close()
    assert own(log) == ["opened", "torn", "opened"]
    found = verify(log.folder)
    assert found.problems == [] and len(found.notes) == 1 and "torn: 50 bytes of a line" in found.notes[0]


def test_a_head_that_lags_behind_is_no_truncation(home: Home) -> None:
    log = Audit(home)
    log.record(ADD)
    log.close()
    old = (log.folder / "head.json").read_bytes()
    again = Audit(home)
    again.record(ADD)
    again.close()
    (log.folder / "head.json").write_bytes(old)
    found = verify(log.folder)
    assert found.problems == [] and "2 lines after the head" in found.notes[0]


def test_a_torn_head_costs_its_newest_slot_alone(audit: Audit) -> None:
    audit.record(ADD)
    audit.record(ADD)
    head = audit.folder / "head.json"
    whole = head.read_bytes()
    found = read_head(audit.folder)
    assert found == audit.end
    newest = 0 if f'"n": {audit.end.n}' in whole[:100].decode() else 160
    head.write_bytes(whole[:newest] + b"\x00" * 160 + whole[newest + 160:])
    lagging = read_head(audit.folder)
    assert lagging is not None and lagging.n == audit.end.n - 1


_KILLED = """
import os, sys, signal
from lab.home import Home
from pathlib import Path
from lab.remote.access.audit import Audit, Entry
log = Audit(Home(Path(sys.argv[1])))
write = os.write
def half(file, content):
    write(file, bytes(content)[:len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
log.record(Entry("alice", "scientist", "k", "queue_start", "first", "done"))
log.note(Entry("alice", "scientist", "k", "status", "", "done"))
os.write = half
log.record(Entry("alice", "scientist", "k", "queue_start", "second", "done"))
"""


def test_kill_9_in_the_middle_of_a_line_loses_nothing_that_was_answered(home: Home) -> None:
    ended = subprocess.run([sys.executable, "-c", _KILLED, str(home.path)], timeout=200, check=False)
    assert ended.returncode == -9
    log = Audit(home)
    log.close()
    assert [row["what"] for row in rows(log)] == ["first"] and own(log) == ["opened", "torn", "opened"]
    assert verify(log.folder).problems == []


def test_what_cannot_be_written_is_refused_and_leaves_half_a_line_nowhere(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(file: int, content: bytes) -> int:
        write(file, bytes(content)[:30])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(LedgerError, match="No space left on device; nothing is changed that cannot be audited"):
            audit.record(ADD)
    audit.record(LOOK)
    assert own(audit) == ["opened", "lost"] and [row["who"] for row in rows(audit)] == ["bob"]
    assert verify(audit.folder).problems == []


# --------------------------------------------------------------------------------------------------- somebody changes it


@pytest.mark.parametrize("do", ["remove", "cut", "lengthen", "replace"])
def test_a_file_changed_under_the_writer_is_noticed_and_lines_do_not_go_nowhere(audit: Audit, do: str) -> None:
    audit.record(ADD)
    file = files_of(audit.folder)[0]
    if do == "remove":
        file.unlink()
    elif do == "cut":
        os.truncate(file, 10)
    elif do == "lengthen":
        file.write_bytes(file.read_bytes() + b"more\n")
    else:
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
    audit.record(LOOK)
    assert rows(audit)[-1]["who"] == "bob" and own(audit)[-1] == "damaged"
    assert any("0001.jsonl was moved away, cut or written by somebody else" in problem for problem in verify(audit.folder).problems)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of two files and 12 lines."""
    home = Home(tmp_path_factory.mktemp("whole"))
    log = Audit(home, now=ManualClock(5.0).now, file_bytes=2000)
    for n in range(11):
        log.record(Entry("alice", "scientist", "k", "queue_item_add", f"film {n}", "done"))
    log.close()
    assert verify(log.folder).problems == verify(log.folder).notes == [] and len(files_of(log.folder)) == 2
    return log.folder


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


def changed(whole: Path, scratch: Path, lines: list[list[bytes]]) -> Path:
    """The log with other lines in its two files."""
    for number, content in enumerate(lines, 1):
        (scratch / f"{number:04d}.jsonl").write_bytes(b"".join(content))
    (scratch / "head.json").write_bytes((whole / "head.json").read_bytes())
    return scratch


def lines_of(whole: Path) -> list[list[bytes]]:
    return [path.read_bytes().splitlines(keepends=True) for path in files_of(whole)]


@given(data=st.data())
def test_any_edit_of_any_bytes_is_found(whole: Path, scratch: Path, data: st.DataObject) -> None:
    lines = lines_of(whole)
    which = data.draw(st.sampled_from([0, 1]))
    content = b"".join(lines[which])
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, min(len(content), start + 500)))
    other = data.draw(st.binary(max_size=20) | st.sampled_from([b"\n", b" ", content[start:stop].upper(), content[start:stop] * 2]))
    if content[:start] + other + content[stop:] == content:
        return
    lines[which] = [content[:start] + other + content[stop:]]
    found = verify(changed(whole, scratch, lines))
    assert found.problems or (which == 1 and start == len(content) and found.notes)  # bytes after the end: a torn line


@given(data=st.data())
def test_any_removal_doubling_or_reordering_of_lines_is_found(whole: Path, scratch: Path, data: st.DataObject) -> None:
    lines = lines_of(whole)
    flat = [line for file in lines for line in file]
    order = data.draw(st.permutations(range(len(flat))) | st.lists(st.integers(0, len(flat) - 1), max_size=15))
    if order == list(range(len(flat))):
        return
    cut = data.draw(st.integers(0, len(order)))
    picked = [flat[n] for n in order]
    assert verify(changed(whole, scratch, [picked[:cut], picked[cut:]])).problems


@given(n_left=st.integers(0, 11))
def test_any_truncation_is_found(whole: Path, scratch: Path, n_left: int) -> None:
    flat = [line for file in lines_of(whole) for line in file][:n_left]
    found = verify(changed(whole, scratch, [flat, []]))
    assert len(found.problems) == 1 and f"the head is n 12, the last line n {n_left}" in found.problems[0]


@given(n=st.integers(1, 12), value=st.text(max_size=8))
def test_a_line_written_anew_with_its_own_right_hash_is_found(whole: Path, scratch: Path, n: int, value: str) -> None:
    lines = lines_of(whole)
    flat = [line for file in lines for line in file]
    members = json.loads(flat[n - 1])
    if members["what"] == value:
        return
    prev, _ = members.pop("prev"), members.pop("hash")
    del members["n"]
    flat[n - 1] = chained({**members, "what": value}, Link(n - 1, prev))[0]
    assert verify(changed(whole, scratch, [flat, []])).problems


def test_one_edit_is_said_once_with_its_line(whole: Path, scratch: Path) -> None:
    lines = lines_of(whole)
    lines[0][3] = lines[0][3].replace(b"film 2", b"film 9")
    assert verify(changed(whole, scratch, lines)).problems == ["0001.jsonl, line 4 (n 4): it has been changed: its hash is another"]


def test_a_removed_line_is_said_where_it_was(whole: Path, scratch: Path) -> None:
    lines = lines_of(whole)
    del lines[0][3]
    assert verify(changed(whole, scratch, lines)).problems == ["0001.jsonl, line 4 (n 5): follows n 3: lines have been removed, put in or moved"]


def test_a_removed_file_is_found(whole: Path, scratch: Path) -> None:
    folder = changed(whole, scratch, lines_of(whole))
    (folder / "0001.jsonl").unlink()
    assert "0002.jsonl: follows file 0: files are missing" in verify(folder).problems


def test_a_removed_head_is_found(whole: Path, scratch: Path) -> None:
    folder = changed(whole, scratch, lines_of(whole))
    (folder / "head.json").unlink()
    assert "head.json is missing" in verify(folder).problems[0]


def test_a_log_removed_whole_but_for_its_head_is_found(whole: Path, scratch: Path) -> None:
    folder = changed(whole, scratch, [[], []])
    assert verify(folder).problems == ["lines have been cut off at the end, or changed: the head is n 12, the last line n 0"]


def test_a_chain_written_anew_is_told_by_a_head_that_was_noted(whole: Path, tmp_path: Path) -> None:
    noted = read_head(whole)
    log = Audit(Home(tmp_path))
    for n in range(20):
        log.record(Entry("mallory", "admin", "k", "queue_item_add", f"film {n}", "done"))
    log.close()
    assert verify(log.folder).problems == []
    assert "is not in this chain: it has been written anew" in verify(log.folder, noted=noted).problems[0]
    assert verify(whole, noted=noted).problems == verify(whole, noted=START).problems == []


@pytest.mark.parametrize("n_left", [0, 3, 11])
def test_a_truncation_still_shows_after_the_gateway_has_gone_on(whole: Path, tmp_path: Path, n_left: int) -> None:
    home = Home(tmp_path)
    folder = tmp_path / "audit"
    folder.mkdir(mode=0o700)
    changed(whole, folder, [[line for file in lines_of(whole) for line in file][:n_left]])
    log = Audit(home)
    log.record(ADD)
    log.close()
    problems = verify(folder).problems
    assert "follows n" in problems[0] and f"damaged: the head was n 12 {read_head(whole).hash[:12]}, the last line n {n_left}" in problems[1]  # type: ignore[union-attr]


def test_lines_exchanged_behind_an_old_head_show_after_the_gateway_has_gone_on(whole: Path, tmp_path: Path) -> None:
    """Cut three lines off, forge five that chain: only the head tells, and opening the log writes a new one."""
    folder = tmp_path / "audit"
    folder.mkdir(mode=0o700)
    flat = [line for file in lines_of(whole) for line in file][:9]
    end = Link(9, json.loads(flat[-1])["hash"])
    for _ in range(5):
        line, end = chained({"wall": 5.0, "method": "status", "outcome": "done"}, end)
        flat.append(line)
    changed(whole, folder, [flat])
    Audit(Home(tmp_path)).close()
    assert any("the gateway found the log damaged" in problem for problem in verify(folder).problems)
