"""Documents on disk: whole lines, torn lines, foreign lines."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count
from hypothesis import given
from hypothesis import strategies as st
from ophyd.sim import SynSignal
from records_runs import documents_of

from lab.core.errors import LedgerError
from lab.records.documents import JsonlWriter, as_written, close_cut_off, read_record, read_run, runs_of


def write(folder: Path, documents: list) -> Path:
    writer = JsonlWriter(folder)
    for name, doc in documents:
        writer(name, doc)
    writer.close()
    return writer.path(documents[0][1]["uid"])


def test_a_run_reads_back_as_it_was_emitted(tmp_path: Path) -> None:
    documents = documents_of(tmp_path / "f.h5", 2, (32, 32), n_events=3, campaign="film-1", sample="film-1-s001")
    path = write(tmp_path / "runs", documents)
    found = read_run(path)
    assert [name for name, _ in found] == [name for name, _ in documents]
    assert found[0][1]["sample"] == "film-1-s001"
    assert found[4][1]["data"] == {"temperature": 99.5, "thumbnail": list(range(16))}
    assert read_record(path).is_closed and read_record(path).torn == b""


def test_the_run_engine_writes_through_it(tmp_path: Path) -> None:
    writer = JsonlWriter(tmp_path)
    engine = RunEngine(context_managers=[])
    engine.subscribe(writer)
    (uid,) = engine(count([SynSignal(name="signal", func=lambda: np.float32(1.5))], num=2), campaign="c")
    names = [name for name, _ in read_run(writer.path(uid))]
    assert names == ["start", "descriptor", "event", "event", "stop"]


def test_interleaved_runs_go_to_their_own_files(tmp_path: Path) -> None:
    first, second = (documents_of(tmp_path / "f.h5", 1, (8, 8)) for _ in range(2))
    writer = JsonlWriter(tmp_path)
    for pair in zip(first, second, strict=True):
        for name, doc in pair:
            writer(name, doc)
    for documents in (first, second):
        assert [d["uid"] for n, d in read_run(writer.path(documents[0][1]["uid"])) if n == "event"] == [
            d["uid"] for n, d in documents if n == "event"]


@pytest.mark.parametrize("cut", [1, 20, 300])
def test_a_torn_last_line_is_left_out_and_said(tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    documents = documents_of(tmp_path / "f.h5", 1, (8, 8))[:2]
    path = write(tmp_path, documents)
    path.write_bytes(path.read_bytes()[:-cut])
    with caplog.at_level(logging.WARNING):
        found = read_run(path)
    assert [name for name, _ in found] == ["start"]
    assert "the last line is torn after" in caplog.text
    assert not read_record(path).is_closed and read_record(path).torn != b""


@given(cut=st.integers(0, 10_000))
def test_a_file_cut_anywhere_gives_the_documents_that_were_whole(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    documents = documents_of(Path("/f.h5"), 1, (8, 8))
    path = write(tmp_path_factory.mktemp("runs"), documents)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    assert read_record(path).documents == [as_written(*d) for d in documents][:whole[:cut].count(b"\n")]


@given(cut=st.integers(1, 10_000))
def test_a_run_that_was_cut_off_anywhere_can_be_closed_and_keeps_its_documents(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    documents = documents_of(Path("/f.h5"), 2, (8, 8), campaign="film-1")
    path = write(tmp_path_factory.mktemp("runs"), documents)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    before = read_record(path)
    closed = close_cut_off(path.parent, "film-1", "power cut", now=lambda: 5.0)
    after = read_record(path)
    if not before.documents or before.is_closed:  # of a run that never began nobody knows whose it is
        assert closed == [] and after == before
        return
    assert closed == [path]
    *kept, (name, stop) = after.documents
    assert kept == before.documents and after.torn == b"" and after.is_closed
    assert (name, stop["exit_status"], stop["reason"], stop["run_start"], stop["time"]) == ("stop", "abort", "power cut", documents[0][1]["uid"], 5.0)
    assert sum(stop["num_events"].values()) == sum(name == "event" for name, _ in kept)


def test_only_the_runs_of_the_campaign_are_closed(tmp_path: Path) -> None:
    """Others may be under way in another process."""
    path = write(tmp_path, documents_of(tmp_path / "f.h5", 1, (8, 8), campaign="film-1")[:-1])
    before = path.read_bytes()
    assert close_cut_off(tmp_path, "another", "power cut") == []
    assert path.read_bytes() == before


def test_a_line_that_is_no_document_names_itself(tmp_path: Path) -> None:
    path = write(tmp_path, documents_of(tmp_path / "f.h5", 1, (8, 8)))
    lines = path.read_bytes().splitlines(keepends=True)
    for wrong in (b"{}\n", b"]\n", b'["event", 3]\n', b"\xff\n", b"\n"):
        path.write_bytes(b"".join([lines[0], wrong, *lines[2:]]))
        with pytest.raises(LedgerError, match="line 2 is not a document"):
            read_run(path)


def test_a_file_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="nobody.jsonl: cannot be read: No such file"):
        read_run(tmp_path / "nobody.jsonl")


def test_a_run_is_written_once(tmp_path: Path) -> None:
    documents = documents_of(tmp_path / "f.h5", 1, (8, 8))
    before = write(tmp_path, documents).read_bytes()
    with pytest.raises(LedgerError, match="start cannot be written: File exists"):
        write(tmp_path, documents)
    assert JsonlWriter(tmp_path).path(documents[0][1]["uid"]).read_bytes() == before


def test_a_document_of_no_open_run_is_refused(tmp_path: Path) -> None:
    writer = JsonlWriter(tmp_path)
    with pytest.raises(LedgerError, match=r"a event of a run that is not open \(uid e\)"):
        writer("event", {"uid": "e", "descriptor": "nobody"})


def test_what_cannot_be_recorded_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    writer = JsonlWriter(tmp_path)
    with pytest.raises(LedgerError, match="start u: a object cannot be recorded"):
        writer("start", {"uid": "u", "thing": object()})
    assert list(tmp_path.iterdir()) == []


def test_numpy_and_paths_become_plain() -> None:
    _, doc = as_written("event", {"a": np.arange(3), "b": np.float32(0.5), "c": np.bool_(True), "d": Path("/x"), "e": {1}, "f": (1, 2),
                                  "g": np.array(["x"])})
    assert doc == {"a": [0, 1, 2], "b": 0.5, "c": True, "d": "/x", "e": [1], "f": [1, 2], "g": ["x"]}


def test_runs_are_found_by_campaign_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    for uid, campaign, time in (("a", "x", 3.0), ("b", "y", 2.0), ("c", "x", 1.0)):
        write(tmp_path, [("start", {"uid": uid, "campaign": campaign, "time": time})])
    (tmp_path / "d.jsonl").write_bytes(b'["start", {"uid')
    assert [path.stem for path in runs_of(tmp_path)] == ["c", "b", "a"]
    assert [path.stem for path in runs_of(tmp_path, "x")] == ["c", "a"]
    assert runs_of(tmp_path / "nowhere") == []


KILLED = """
import sys
from lab.records.documents import JsonlWriter
writer = JsonlWriter(sys.argv[1])
writer("start", {"uid": "u", "time": 0.0})
writer("descriptor", {"uid": "d", "run_start": "u"})
n = 0
while True:
    writer("event", {"uid": str(n), "descriptor": "d", "data": {"x": list(range(500))}})
    print(n, flush=True)
    n += 1
"""


def test_a_killed_writer_leaves_every_document_that_it_was_told_of(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = 20 + len(process.stdout.read().splitlines())
    process.wait(120)
    process.stdout.close()
    events = [json.loads(doc["uid"]) for name, doc in read_run(tmp_path / "u.jsonl") if name == "event"]
    assert events == list(range(len(events))) and len(events) >= told - 1
