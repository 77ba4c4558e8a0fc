"""One lease for a laboratory: its holder is named, and it ends with the process that holds it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import lease as lease_module
from lab.core.errors import LeaseError
from lab.home import Home
from lab.layout import services_folder
from lab.lease import RECORD, Lease, abandoned, holder

TAKER = """
import os, sys, time
from pathlib import Path
from lab.home import Home
from lab.lease import Lease
lease = Lease.take(Home(Path(sys.argv[1])), "alice", "console")
if sys.argv[2:] == ["forks"] and os.fork() == 0:
    print("child", flush=True)
    sys.stdin.readline()
    os._exit(0)
if not sys.argv[2:]:
    print("taken", flush=True)
time.sleep(60)
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@contextmanager
def taken_elsewhere(home: Home, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease."""
    other = subprocess.Popen([sys.executable, "-c", TAKER, str(home.path), *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdin is not None
    with other.stdout, other.stdin:
        try:
            assert other.stdout.readline().strip() == ("child" if more else "taken")
            yield other
        finally:
            other.kill()
            other.wait(60)


def test_nobody_holds_the_lease_of_a_laboratory_at_rest(home: Home) -> None:
    assert holder(home) is None
    assert abandoned(home) is None


def test_the_holder_is_known_with_what_for_and_since_when(home: Home) -> None:
    with Lease.take(home, "alice", "campaign perovskite") as lease:
        found = holder(home)
        assert found == lease.holder
        assert (found.who, found.what, found.pid) == ("alice", "campaign perovskite", os.getpid())
        assert found.words.startswith(f"alice (campaign perovskite; process {os.getpid()} on ")


def test_who_wants_a_lease_that_is_held_is_told_by_whom(home: Home) -> None:
    with Lease.take(home, "alice", "console"), pytest.raises(LeaseError, match=r"controlled by alice \(console; process \d+ on .*, since .*wait for its end"):
        Lease.take(home, "bob", "console")


def test_a_released_lease_is_free(home: Home) -> None:
    lease = Lease.take(home, "alice", "console")
    lease.release()
    lease.release()
    assert holder(home) is None
    assert not lease.is_held
    with Lease.take(home, "bob", "console"):
        assert not (found := holder(home)) or found.who == "bob"


def test_a_lease_ends_with_its_process_which_is_told_until_somebody_takes_it(home: Home) -> None:
    with taken_elsewhere(home) as other:
        assert (found := holder(home)) is not None and found.pid == other.pid
        with pytest.raises(LeaseError, match="controlled by alice"):
            Lease.take(home, "bob", "console")
        assert abandoned(home) is None
    assert holder(home) is None
    assert (gone := abandoned(home)) is not None and gone.who == "alice"
    with Lease.take(home, "bob", "console"):
        assert abandoned(home) is None


def test_a_child_that_the_holder_has_forked_does_not_keep_the_lease(home: Home) -> None:
    with taken_elsewhere(home, "forks") as other:
        other.kill()
        other.wait(60)
        Lease.take(home, "bob", "console").release()


def test_a_lease_is_waited_for_when_asked(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Lease.take(home, "alice", "console")
    monkeypatch.setattr(lease_module.time, "sleep", lambda s: first.release())
    with Lease.take(home, "bob", "item i-1", patience_s=60.0) as second:
        assert holder(home) == second.holder


def test_a_record_that_cannot_be_read_is_said(home: Home) -> None:
    services_folder(home).mkdir()
    (services_folder(home) / RECORD).write_text("{")
    with pytest.raises(LeaseError, match=r"control\.json: cannot be read: .*remove it when nobody controls the laboratory"):
        holder(home)


def test_what_the_lease_stands_in_is_for_its_owner_alone(home: Home) -> None:
    with Lease.take(home, "alice", "console"):
        assert services_folder(home).stat().st_mode & 0o077 == 0
        assert all(file.stat().st_mode & 0o077 == 0 for file in services_folder(home).iterdir())
