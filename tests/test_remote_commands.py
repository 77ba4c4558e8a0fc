"""``lab keys`` and ``lab audit``, as people at the laboratory use them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.cli import app
from lab.core.clock import ManualClock
from lab.core.errors import ConfigError
from lab.home import Home
from lab.layout import Layout
from lab.remote.access.audit import Audit, Entry
from lab.remote.access.audit_chain import files_of
from lab.remote.access.audit_search import since
from lab.remote.access.keys import KeyRegistry, load_key

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("LAB_HOME", str(short_path / "home"))
    return Home.default()


@pytest.fixture
def lab(capfd: pytest.CaptureFixture[str], home: Home) -> Said:
    """Runs the command in this process: exit status, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            app(list(arguments))
        return int(str(ended.value.code)), *capfd.readouterr()

    return run


def laid_out(home: Home, gateway: str) -> None:
    Layout("demo", "lab.yaml", str(home.path), gateway, "127.0.0.1:1", True, "tcp://127.0.0.1:2", "tcp://127.0.0.1:3", "ipc://x", "", "", {}).save()


# ---------------------------------------------------------------------------------------------------------- lab keys


def test_a_new_key_says_where_it_is_and_what_to_do_with_it(lab: Said, home: Home) -> None:
    status, out, err = lab("keys", "new", "alice", "--role", "scientist", "--address", "lab.example:60615")
    file = home.path / "keys" / "alice.key"
    assert (status, err) == (0, "") and out.startswith(f"{file}\nalice (scientist) enters with it at lab.example:60615.")
    assert load_key(file).name == "alice"


def test_a_new_key_as_json_shows_no_secret(lab: Said, tmp_path: Path, home: Home) -> None:
    file = tmp_path / "a.key"
    status, out, _ = lab("keys", "new", "alice", "--role", "operator", "--address", "lab.example:1", "--out", str(file), "--json")
    made, key = json.loads(out), load_key(file)
    assert status == 0 and made == {"name": "alice", "role": "operator", "address": "lab.example:1", "file": str(file), "public_key": key.public_key}


@pytest.mark.parametrize(("gateway", "address"), [("tcp://10.1.2.3:5", "10.1.2.3:5"), ("tcp://0.0.0.0:5", f"{socket.getfqdn()}:5"), ("tcp://*:5", f"{socket.getfqdn()}:5")])
def test_a_new_key_knows_where_the_laboratory_listens(lab: Said, home: Home, gateway: str, address: str) -> None:
    laid_out(home, gateway)
    lab("keys", "new", "alice", "--role", "scientist")
    assert load_key(home.path / "keys" / "alice.key").address == address


def test_before_the_laboratory_was_ever_up_the_address_is_asked_for(lab: Said) -> None:
    status, _, err = lab("keys", "new", "alice", "--role", "scientist")
    assert status == 2 and "--address: given none, and this laboratory has never been up" in err


@pytest.mark.parametrize(("arguments", "words"), [(("new", "a/b", "--role", "scientist"), "NAME: given 'a/b'"), (("new", "a", "--role", "boss"), "--role: given 'boss'"),
                                                  (("new", "\x1b[2J", "--role", "admin"), r"NAME: given '\x1b[2J'"), (("revoke", "bob"), "NAME: given 'bob'; allowed: nobody")])
def test_what_is_not_allowed_is_refused_with_status_2(lab: Said, arguments: tuple[str, ...], words: str) -> None:
    status, out, err = lab("keys", *arguments, *(["--address", "lab:1"] if arguments[0] == "new" else []))
    assert (status, out) == (2, "") and words in err and "\x1b" not in err


def test_the_list_shows_whose_keys_are_valid_and_whose_were_revoked(lab: Said, home: Home) -> None:
    registry = KeyRegistry(home, now=ManualClock(1.75e9).now)
    for name in ("alice", "bob"):
        registry.new(name, "scientist", "lab:1")
    registry.revoke("alice", by="root")
    status, out, _ = lab("keys", "list")
    rows = [line.split() for line in out.splitlines()]
    assert status == 0 and rows[1][:2] == ["alice", "scientist"] and rows[1][-2:] == ["by", "root"] and rows[2][-1] == "valid"


def test_the_list_as_json_has_everything_but_secrets(lab: Said, home: Home) -> None:
    path = KeyRegistry(home, now=ManualClock(5.0).now).new("alice", "admin", "lab:1", by="root")
    _, out, _ = lab("keys", "list", "--json")
    assert json.loads(out) == [{"name": "alice", "role": "admin", "is_valid": True, "public_key": load_key(path).public_key, "created": 5.0, "by": "root",
                                "revoked": None, "revoked_by": ""}]


def test_without_keys_the_list_says_how_to_make_one(lab: Said) -> None:
    assert lab("keys", "list")[:2] == (0, "no keys yet: lab keys new NAME --role observer|scientist|operator|admin\n")


def test_a_revocation_is_said(lab: Said, home: Home) -> None:
    KeyRegistry(home).new("alice", "scientist", "lab:1")
    status, out, _ = lab("keys", "revoke", "alice")
    assert status == 0 and "alice: the key (scientist) is revoked; its connections end at once" in out
    assert not KeyRegistry(home).list()[0].is_valid


# --------------------------------------------------------------------------------------------------------- lab audit


@pytest.fixture
def logged(home: Home) -> Path:
    """Three days of a laboratory."""
    clock = ManualClock(1.75e9)
    log = Audit(home, now=clock.now)
    for name, method, what, outcome in (("alice", "queue_item_add", "film 12ab", "done"), ("bob", "queue_start", "", "refused: your key's role is scientist"),
                                        ("alice", "lab_campaign_submit", "perovskite 77cd", "done")):
        log.record(Entry(name, "scientist", "k" * 40, method, what, outcome))
        clock.advance(86400.0)
    log.record(Entry("", "", "x" * 40, "connect", "", "unknown key"))
    log.close()
    return log.folder


@pytest.mark.parametrize(("arguments", "n"), [([], 5), (["--who", "alice"], 2), (["--method", "queue_*"], 2), (["--method", "queue_start"], 1),
                                              (["--outcome", "REFUSED"], 1), (["--outcome", "unknown key"], 1), (["--who", "alice", "--method", "queue_*"], 1),
                                              (["--since", "2025-06-17T12:00+00:00"], 2), (["--limit", "2"], 2), (["--who", "nobody"], 0)])
def test_the_log_is_searched(lab: Said, logged: Path, arguments: list[str], n: int) -> None:
    status, out, err = lab("audit", "--json", *arguments)
    assert (status, err, len(json.loads(out))) == (0, "", n)


def test_the_log_is_shown_as_a_table(lab: Said, logged: Path) -> None:
    status, out, _ = lab("audit")
    lines = out.splitlines()
    assert status == 0 and lines[0].split() == ["n", "when", "who", "role", "method", "what", "outcome", "times"]
    assert "queue_item_add" in out and "film 12ab" in out and "key xxxxxxxx" in out


def test_a_table_that_leaves_lines_out_says_so(lab: Said, logged: Path) -> None:
    assert "the last 2 of 5; more with --limit" in lab("audit", "--limit", "2")[1]


def test_nothing_that_fits_is_said(lab: Said, logged: Path) -> None:
    assert lab("audit", "--who", "nobody")[:2] == (0, "nothing on record that fits\n")


def test_a_whole_log_is_verified_and_its_head_printed(lab: Said, logged: Path) -> None:
    status, out, _ = lab("audit", "--verify")
    assert status == 0 and "5 lines in 1 files: the chain is whole" in out and "head 5:" in out


def test_a_changed_log_fails_with_its_line(lab: Said, logged: Path) -> None:
    file = files_of(logged)[0]
    file.write_bytes(file.read_bytes().replace(b'"who":"bob"', b'"who":"eve"'))
    status, out, _ = lab("audit", "--verify")
    assert status == 1 and "audit: 0001.jsonl, line 3 (n 3): it has been changed" in out and "1 problems" in out


def test_a_verification_as_json(lab: Said, logged: Path) -> None:
    found = json.loads(lab("audit", "--verify", "--json")[1])
    assert found["whole"] is True and found["problems"] == [] and found["head"].startswith("5:")


def test_a_head_noted_earlier_is_looked_for(lab: Said, logged: Path, home: Home) -> None:
    noted = json.loads(lab("audit", "--verify", "--json")[1])["head"]
    Audit(home).close()
    assert lab("audit", "--verify", "--expect", noted)[0] == 0
    status, out, _ = lab("audit", "--verify", "--expect", f"5:{'0' * 64}")
    assert status == 1 and "is not in this chain: it has been written anew" in out


@pytest.mark.parametrize("given", ["", "5", "x:y", f"5:{'g' * 64}", "\x1b:1"])
def test_what_is_no_head_is_refused(lab: Said, logged: Path, given: str) -> None:
    status, _, err = lab("audit", "--verify", "--expect", given)
    assert status == 2 and "allowed: N:HASH" in err and "\x1b" not in err


def test_a_log_removed_whole_does_not_verify(lab: Said, home: Home) -> None:
    laid_out(home, "tcp://127.0.0.1:5")
    status, out, _ = lab("audit", "--verify")
    assert status == 1 and "there is no log, though this laboratory has been up" in out


def test_without_a_laboratory_there_is_no_log(lab: Said) -> None:
    assert [lab("audit", *arguments)[0] for arguments in ([], ["--verify"])] == [2, 2]


def test_nothing_in_a_log_that_somebody_has_changed_reaches_the_terminal_as_it_is(lab: Said, logged: Path) -> None:
    file = files_of(logged)[0]
    with file.open("ab") as content:
        for text in (b"\x1b]0;owned\x07", b"[red]x[/red]", b"\\u001b[2J", b"\xe2\x80\xaeevil", b"\\u009b2J"):
            content.write(b'{"n":9,"wall":1e99,"who":"%b","role":["%b"],"method":"%b","what":"%b","outcome":{"%b":1},"count":"%b","prev":"","hash":"%b"}\n'
                          % (*[text] * 6, b"0" * 64))
    for arguments in ([], ["--json"], ["--verify"]):
        _, out, err = lab("audit", *arguments)
        assert (out + err).isascii() and (out + err).replace("\n", "").isprintable()
    assert "[red]x[/red]" in lab("audit")[1]


@pytest.mark.parametrize(("given", "found"), [("30s", 970.0), ("10m", 400.0), ("1970-01-01T01:00+00:00", 3600.0)])
def test_times_are_read_as_people_write_them(given: str, found: float) -> None:
    assert since(given, now=1000.0) == found


@pytest.mark.parametrize("given", ["", "yesterday", "5", "9999999h", "2026-13-01", "\x1b[2J"])
def test_what_is_no_time_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="--since: given .*allowed: 2h, 30m, 7d"):
        since(given)
