"""Keys: the registry that several processes share, and the files with the secret halves."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zmq
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from lab.core.errors import ConfigError
from lab.core.remote import ROLES, Role
from lab.home import Home
from lab.remote.access import keys as keys_module
from lab.remote.access.key_files import check_address, check_name, is_key, load_server_keys, new_pair
from lab.remote.access.keys import Key, KeyRegistry, ensure_owner, load_key, user

ADDRESS = "lab.example:60615"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def registry(home: Home) -> KeyRegistry:
    return KeyRegistry(home, now=iter(float(n) for n in range(1000, 100000)).__next__)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def public_of(path: Path) -> str:
    return load_key(path).public_key


# --------------------------------------------------------------------------------------------------- a key's life


def test_a_new_key_file_says_who_where_and_how(registry: KeyRegistry) -> None:
    path = registry.new("alice", "scientist", ADDRESS)
    key = load_key(path)
    assert (key.name, key.role, key.address) == ("alice", "scientist", ADDRESS)
    assert key.server_key == registry.server_keys().public
    assert zmq.curve_public(key.secret_key.encode()).decode() == key.public_key


def test_a_new_key_is_known_by_its_public_half(registry: KeyRegistry) -> None:
    public = public_of(registry.new("alice", "scientist", ADDRESS, by="root"))
    assert registry.by_public(public) == Key("alice", "scientist", public, 1000.0, "root")


def test_nothing_in_the_key_folder_is_open_to_others(registry: KeyRegistry) -> None:
    registry.new("alice", "scientist", ADDRESS)
    assert mode(registry.folder) == 0o700
    assert {mode(path) for path in registry.folder.iterdir()} == {0o600}


def test_no_secret_half_stands_in_the_registry(registry: KeyRegistry) -> None:
    path = registry.new("alice", "scientist", ADDRESS)
    secrets = (load_key(path).secret_key, registry.server_keys().secret)
    assert not any(secret in registry.file.read_text() for secret in secrets)


def test_a_secret_half_is_not_shown_by_accident(registry: KeyRegistry) -> None:
    key, server = load_key(registry.new("alice", "scientist", ADDRESS)), registry.server_keys()
    assert key.secret_key not in repr(key) and server.secret not in repr(server)


def test_the_servers_pair_is_made_once(home: Home) -> None:
    assert KeyRegistry(home).server_keys() == KeyRegistry(home).server_keys()


def test_a_key_file_can_be_written_elsewhere(registry: KeyRegistry, tmp_path: Path) -> None:
    out = tmp_path / "for-alice.key"
    assert registry.new("alice", "scientist", ADDRESS, out) == out
    assert load_key(out).name == "alice" and mode(out) == 0o600


def test_a_revoked_key_enters_no_longer_and_is_remembered(registry: KeyRegistry) -> None:
    public = public_of(registry.new("alice", "scientist", ADDRESS))
    registry.revoke("alice", by="root")
    assert registry.by_public(public) is None
    known = registry.known(public)
    assert known is not None and (known.name, known.revoked, known.revoked_by) == ("alice", 1001.0, "root")


def test_a_revocation_by_another_process_is_seen(home: Home, registry: KeyRegistry) -> None:
    alice, bob = (public_of(registry.new(name, "scientist", ADDRESS)) for name in ("alice", "bob"))
    gateway = KeyRegistry(home)
    assert gateway.revoked_since([alice, bob]) == []
    registry.revoke("alice")
    assert gateway.revoked_since([alice, bob]) == [alice]


def test_a_key_that_was_never_entered_counts_as_revoked(registry: KeyRegistry) -> None:
    assert registry.revoked_since(["never"]) == ["never"]


def test_the_registry_is_not_read_again_while_nothing_has_changed(registry: KeyRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    public = public_of(registry.new("alice", "scientist", ADDRESS))
    assert registry.by_public(public)
    monkeypatch.setattr(registry, "_read", lambda: pytest.fail("read again"))
    assert registry.by_public(public)


def test_a_name_has_one_valid_key_at_a_time(registry: KeyRegistry) -> None:
    registry.new("alice", "scientist", ADDRESS)
    with pytest.raises(ConfigError, match=r"ALICE, which has a valid key \(alice, scientist\).*lab keys revoke alice"):
        registry.new("ALICE", "admin", ADDRESS)


def test_after_a_revocation_the_name_can_have_a_new_key(registry: KeyRegistry) -> None:
    first = public_of(registry.new("alice", "scientist", ADDRESS))
    registry.revoke("alice")
    second = public_of(registry.new("alice", "operator", ADDRESS))
    assert registry.by_public(first) is None and registry.by_public(second) is not None
    assert [key.is_valid for key in registry.list()] == [False, True]


def test_revoking_deletes_the_key_file_that_was_not_handed_over(registry: KeyRegistry) -> None:
    path = registry.new("alice", "scientist", ADDRESS)
    registry.revoke("alice")
    assert not path.exists()


def test_who_has_no_key_cannot_be_revoked(registry: KeyRegistry) -> None:
    registry.new("alice", "scientist", ADDRESS)
    with pytest.raises(ConfigError, match="given 'bob'; allowed: alice"):
        registry.revoke("bob")


def test_a_second_revocation_says_so(registry: KeyRegistry) -> None:
    registry.new("alice", "scientist", ADDRESS)
    registry.revoke("alice")
    with pytest.raises(ConfigError, match="nobody: no key is valid"):
        registry.revoke("alice")


def test_a_clock_that_goes_back_revokes_all_the_same(home: Home) -> None:
    registry = KeyRegistry(home, now=iter([5000.0, 10.0]).__next__)
    public = public_of(registry.new("alice", "scientist", ADDRESS))
    registry.revoke("alice")
    assert registry.by_public(public) is None and registry.revoked_since([public]) == [public]


# ------------------------------------------------------------------------------------------------ names, addresses

BAD_NAMES = ["", "../root", "a/b", "a b", ".hidden", "-v", "alice\n", "alice\x00", "\x1b[2J", "älice", "аlice", "x" * 65, "x" * 10_000, "a\u202eb", "٣"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_no_plain_word_is_refused_in_printable_words(registry: KeyRegistry, name: str) -> None:
    with pytest.raises(ConfigError, match="NAME: given") as refused:
        registry.new(name, "scientist", ADDRESS)
    assert str(refused.value).isprintable() and str(refused.value).isascii() and len(str(refused.value)) < 300
    assert registry.list() == []


def test_a_role_that_does_not_exist_is_refused(registry: KeyRegistry) -> None:
    with pytest.raises(ConfigError, match=f"--role: given 'root'; allowed: {', '.join(ROLES)}"):
        registry.new("alice", "root", ADDRESS)  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["", "lab", "lab:", "lab:0", "lab:70000", "0.0.0.0:60615", "*:60615", "ipc:///tmp/x", "lab:1\n", "a b:1", "[::]:5"])
def test_an_address_that_nobody_can_connect_to_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="host:port as clients reach it"):
        check_address(address)


@pytest.mark.parametrize(("given", "found"), [("tcp://lab.example:1", "lab.example:1"), ("10.0.0.1:60615", "10.0.0.1:60615"), ("[::1]:7", "[::1]:7")])
def test_an_address_is_kept_as_host_and_port(given: str, found: str) -> None:
    assert check_address(given) == found


def test_a_name_of_the_greatest_length_is_a_name() -> None:
    assert check_name("x" * 64) == "x" * 64


@pytest.mark.parametrize("text", ["", "x" * 39, "x" * 41, "\x7f" * 40, "#" * 40, "é" * 40, "\u0663" * 40])
def test_what_is_no_key_is_told(text: str) -> None:
    assert not is_key(text)


def test_a_key_is_told() -> None:
    assert all(map(is_key, new_pair()))


# ------------------------------------------------------------------------------------------------ hostile key files


@pytest.mark.parametrize("bits", [0o604, 0o640, 0o620, 0o602, 0o644, 0o777])
def test_a_key_file_that_others_may_read_or_write_is_refused(registry: KeyRegistry, bits: int) -> None:
    path = registry.new("alice", "scientist", ADDRESS)
    path.chmod(bits)
    with pytest.raises(ConfigError, match=f"mode: given {bits:04o}; allowed: 0600.*chmod 600"):
        load_key(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_file_of_somebody_else_is_refused(registry: KeyRegistry) -> None:
    path = registry.new("alice", "scientist", ADDRESS)
    os.chown(path, 12345, -1)
    with pytest.raises(ConfigError, match="owner: given user 12345"):
        load_key(path)


def test_a_key_file_that_is_a_fifo_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "k", 0o600)
    with pytest.raises(ConfigError, match="not a plain file"):
        load_key(tmp_path / "k")


def test_a_key_file_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a plain file|Is a directory"):
        load_key(tmp_path)


def test_a_missing_key_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.key: file: given No such file"):
        load_key(tmp_path / "none.key")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 9000, b"x" * 10_001, b'{"name": 3}', b"{}"])
def test_a_file_that_is_no_key_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "k"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="allowed: a file written by lab keys"):
        load_key(path)


@pytest.mark.parametrize(("name", "value", "words"), [("role", "god\x1b[2J", r"role: given 'god\\x1b\[2J'"), ("name", "a/b", "name: given 'a/b'"),
                                                      ("address", "nowhere", "address: given"), ("server_key", "short", "server_key: given something that is no key"),
                                                      ("public_key", "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7", "public half of its secret_key")])
def test_a_key_file_that_was_changed_is_refused(registry: KeyRegistry, name: str, value: str, words: str) -> None:
    path = registry.new("alice", "scientist", ADDRESS)
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ConfigError, match=words) as refused:
        load_key(path)
    assert str(refused.value).isprintable()


def test_no_file_is_written_over(registry: KeyRegistry, tmp_path: Path) -> None:
    out = tmp_path / "precious"
    out.write_text("mine")
    with pytest.raises(ConfigError, match="allowed: a file that does not exist yet"):
        registry.new("alice", "scientist", ADDRESS, out)
    assert out.read_text() == "mine" and registry.list() == []


def test_a_link_in_the_place_of_the_key_file_is_not_followed(registry: KeyRegistry, tmp_path: Path) -> None:
    out = tmp_path / "link"
    out.symlink_to(tmp_path / "target")
    with pytest.raises(ConfigError, match="a file that does not exist yet"):
        registry.new("alice", "scientist", ADDRESS, out)
    assert not (tmp_path / "target").exists()


def test_a_key_file_whose_key_was_never_entered_is_replaced(registry: KeyRegistry) -> None:
    path = registry.new("alice", "scientist", ADDRESS)
    before = path.read_bytes()
    registry.file.unlink()  # as when the process was killed between the two files
    registry.new("alice", "scientist", ADDRESS)
    assert path.read_bytes() != before
    assert registry.by_public(public_of(path)) is not None


def test_a_folder_into_which_others_may_write_is_refused(registry: KeyRegistry) -> None:
    registry.new("alice", "scientist", ADDRESS)
    registry.folder.chmod(0o777)
    with pytest.raises(ConfigError, match="a folder into which others may write.*chmod 700"):
        registry.new("bob", "scientist", ADDRESS)


# ------------------------------------------------------------------------------------------------ hostile registry


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b'{"keys": {}}', b'{"keys": [{}]}', b'{"keys": [3]}', b"[" * 5000, b"\xff"])
def test_a_registry_that_is_half_written_lets_nobody_new_in_and_those_known_stay(home: Home, registry: KeyRegistry, damage: bytes) -> None:
    public = public_of(registry.new("alice", "scientist", ADDRESS))
    gateway = KeyRegistry(home)
    assert gateway.by_public(public)
    registry.file.write_bytes(damage)
    assert gateway.by_public(public) is not None and gateway.known("other") is None
    assert "half of one" in gateway.problem
    assert KeyRegistry(home).by_public(public) is None


def test_a_registry_that_is_whole_again_is_believed_again(home: Home, registry: KeyRegistry) -> None:
    public = public_of(registry.new("alice", "scientist", ADDRESS))
    whole = registry.file.read_bytes()
    registry.file.write_bytes(whole[:40])
    gateway = KeyRegistry(home)
    assert gateway.by_public(public) is None and gateway.problem
    registry.file.write_bytes(whole)
    assert gateway.by_public(public) is not None and not gateway.problem


def test_a_registry_that_others_may_write_is_not_believed_until_it_is_closed_again(home: Home, registry: KeyRegistry) -> None:
    public = public_of(registry.new("alice", "scientist", ADDRESS))
    registry.file.chmod(0o666)
    gateway = KeyRegistry(home)
    assert gateway.by_public(public) is None and "chmod 600" in gateway.problem
    registry.file.chmod(0o600)
    assert gateway.by_public(public) is not None and not gateway.problem


def test_a_registry_that_has_gone_lets_nobody_in(home: Home, registry: KeyRegistry) -> None:
    public = public_of(registry.new("alice", "scientist", ADDRESS))
    gateway = KeyRegistry(home)
    assert gateway.by_public(public)
    registry.file.unlink()
    assert gateway.revoked_since([public]) == [public]


def test_a_damaged_registry_is_never_written_over(registry: KeyRegistry) -> None:
    registry.new("alice", "scientist", ADDRESS)
    registry.file.write_bytes(b"{")
    with pytest.raises(ConfigError, match="half of one; allowed: what lab keys wrote"):
        registry.new("bob", "scientist", ADDRESS)
    assert registry.file.read_bytes() == b"{"


@pytest.mark.parametrize("change", [{"name": "a/b"}, {"role": "god"}, {"public": "x"}, {"created": "then"}, {"revoked": True}, {"more": 1}, {"by": None}])
def test_an_entry_that_lab_keys_cannot_have_written_is_not_believed(registry: KeyRegistry, change: dict[str, object]) -> None:
    registry.new("alice", "scientist", ADDRESS)
    row = json.loads(registry.file.read_text())["keys"][0]
    registry.file.write_text(json.dumps({"keys": [{**row, **change}]}))
    with pytest.raises(ConfigError, match="something that is no registry"):
        registry.list()


def test_one_public_key_under_two_names_is_not_believed(registry: KeyRegistry) -> None:
    registry.new("alice", "scientist", ADDRESS)
    row = json.loads(registry.file.read_text())["keys"][0]
    registry.file.write_text(json.dumps({"keys": [row, {**row, "name": "bob", "role": "admin"}]}))
    with pytest.raises(ConfigError, match="a key or a name twice"):
        registry.list()


def test_a_servers_pair_that_others_may_read_is_refused(home: Home, registry: KeyRegistry) -> None:
    registry.server_keys()
    file = registry.folder / "server.secret"
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="mode: given 0644"):
        load_server_keys(file)


# --------------------------------------------------------------------------------------------------- the owner's key


def test_the_owner_gets_an_admin_key_at_first_and_the_same_afterwards(home: Home) -> None:
    path = ensure_owner(home, "tcp://127.0.0.1:60615")
    key = load_key(path)
    assert (path.name, key.role, key.address) == (f"{user()}.key", "admin", "127.0.0.1:60615")
    assert load_key(ensure_owner(home, "127.0.0.1:60615")) == key


def test_the_owners_key_file_follows_the_address(home: Home) -> None:
    first = load_key(ensure_owner(home, "127.0.0.1:1"))
    second = load_key(ensure_owner(home, "127.0.0.1:2"))
    assert (first.secret_key, second.address) == (second.secret_key, "127.0.0.1:2")


def test_an_owner_whose_key_was_revoked_gets_another(home: Home) -> None:
    first = load_key(ensure_owner(home, ADDRESS))
    KeyRegistry(home).revoke(user())
    second = load_key(ensure_owner(home, ADDRESS))
    assert KeyRegistry(home).revoked_since([first.public_key, second.public_key]) == [first.public_key]


def test_an_owner_who_took_the_key_elsewhere_gets_one_with_a_number(home: Home, tmp_path: Path) -> None:
    KeyRegistry(home).new(user(), "admin", ADDRESS, tmp_path / "laptop.key")
    path = ensure_owner(home, ADDRESS)
    assert path.name == f"{user()}-2.key" == ensure_owner(home, ADDRESS).name


def test_the_owners_name_is_not_told_by_the_environment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    before = user()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert user() == before


# --------------------------------------------------------------------------------------------------- several writers


_KILLED = """
import os, sys, signal
from pathlib import Path
from lab.home import Home
from lab.remote.access.keys import KeyRegistry
registry = KeyRegistry(Home(Path(sys.argv[1])))
replace = os.replace
def kill(draft, path):
    if str(path).endswith("registry.json"):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(draft, path)
os.replace = kill
registry.new("bob", "scientist", "lab:1")
"""


def test_a_writer_killed_in_the_middle_leaves_the_registry_whole_and_no_secret_behind(home: Home, registry: KeyRegistry) -> None:
    registry.new("alice", "scientist", ADDRESS)
    ended = subprocess.run([sys.executable, "-c", _KILLED, str(home.path)], timeout=200, check=False)
    assert ended.returncode == -9 and len(list(registry.folder.glob(".*.draft"))) == 1
    assert [key.name for key in registry.list()] == ["alice"]
    registry.new("bob", "scientist", ADDRESS)
    assert [key.name for key in registry.list()] == ["alice", "bob"] and not list(registry.folder.glob(".*.draft"))


def test_writers_at_the_same_time_lose_nothing_of_each_other(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)

    def make(writer: int) -> None:
        registry = KeyRegistry(home)
        for n in range(8):
            registry.new(f"w{writer}-{n}", "scientist", ADDRESS)
            if n % 2:
                registry.revoke(f"w{writer}-{n}")

    with ThreadPoolExecutor(4) as pool:  # flock is of the open file: threads with their own are as processes are
        list(pool.map(make, range(4)))
    keys = KeyRegistry(home).list()
    assert len(keys) == 32 and sorted(key.name for key in keys if key.is_valid) == [f"w{w}-{n}" for w in range(4) for n in range(0, 8, 2)]


def test_a_lock_that_is_never_freed_is_said_after_a_while(home: Home, registry: KeyRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.server_keys()
    monkeypatch.setattr(keys_module, "LOCK_WITHIN_S", 0.0)
    with (registry.folder / "registry.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="a lock that another process has held"):
            registry.new("alice", "scientist", ADDRESS)


class TwoWriters(RuleBasedStateMachine):
    """Two people make and revoke keys while a gateway looks on: at each moment exactly those may enter who should."""

    NAMES = ["alice", "bob", "Alice"]

    def __init__(self, home: Home) -> None:
        super().__init__()
        self.home = home
        self.writers = [KeyRegistry(home), KeyRegistry(home)]
        self.gateway = KeyRegistry(home)
        self.valid: dict[str, tuple[str, str]] = {}  # public -> name, role
        self.gone: set[str] = set()

    @rule(writer=st.integers(0, 1), name=st.sampled_from(NAMES), role=st.sampled_from(ROLES))
    def somebody_makes_a_key(self, writer: int, name: str, role: Role) -> None:
        if any(taken.casefold() == name.casefold() for taken, _ in self.valid.values()):
            with pytest.raises(ConfigError, match="which has a valid key"):
                self.writers[writer].new(name, role, ADDRESS)
            return
        self.valid[public_of(self.writers[writer].new(name, role, ADDRESS))] = (name, role)

    @rule(writer=st.integers(0, 1), name=st.sampled_from(NAMES))
    def somebody_revokes_a_key(self, writer: int, name: str) -> None:
        public = next((public for public, (whose, _) in self.valid.items() if whose == name), None)
        if public is None:
            with pytest.raises(ConfigError, match="NAME: given"):
                self.writers[writer].revoke(name)
            return
        self.writers[writer].revoke(name)
        del self.valid[public]
        self.gone.add(public)

    @rule()
    def the_gateway_is_started_again(self) -> None:
        self.gateway = KeyRegistry(self.home)

    def teardown(self) -> None:
        shutil.rmtree(self.home.path)

    @invariant()
    def those_may_enter_who_should(self) -> None:
        for public, (name, role) in self.valid.items():
            key = self.gateway.by_public(public)
            assert key is not None and (key.name, key.role) == (name, role)
        assert set(self.gateway.revoked_since([*self.valid, *self.gone])) == self.gone


@pytest.mark.hypothesis
def test_two_writers_and_a_gateway_agree_on_who_may_enter(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)
    run_state_machine_as_test(lambda: TwoWriters(Home(tmp_path_factory.mktemp("keys"))))
