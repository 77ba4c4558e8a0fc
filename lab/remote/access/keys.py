"""Who may enter: the registry of public keys, ``LAB_HOME/keys/registry.json``.

Written as a whole by one process at a time (flock on ``registry.lock``), read by the gateway, which looks at the file's inode, times
and size several times a second. A registry that cannot be believed (half written, changed by hand into something else, open to others) is
not read: what was read last goes on to hold, nobody new enters, and `KeyRegistry.problem` says so. A registry that has gone lets nobody in.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lab.core.errors import ConfigError
from lab.core.remote import ROLES, Role
from lab.home import Home
from lab.remote.access.key_files import (
    DRAFT,
    KeyFile,
    ServerKeys,
    check_address,
    check_name,
    is_key,
    load_key,
    load_server_keys,
    new_pair,
    read_private,
    save_key,
    write_secret,
)

__all__ = ["Key", "KeyFile", "KeyRegistry", "ServerKeys", "ensure_owner", "load_key"]

LARGEST_REGISTRY = 16_000_000
LOCK_WITHIN_S = 10.0
_LOCK_AGAIN_S = 0.01


@dataclass(frozen=True)
class Key:
    """One entry of the registry; it stays there after it has been revoked.

    Parameters
    ----------
    name : str
        Whose it is. At most one key of a name is valid at a time.
    role : Role
    public : str
        Z85.
    created : float
        Time of day, seconds.
    by : str
        Who made it.
    revoked : float or None
        Time of day, seconds.
    revoked_by : str
    """

    name: str
    role: Role
    public: str
    created: float
    by: str
    revoked: float | None = None
    revoked_by: str = ""

    @property
    def is_valid(self) -> bool:
        return self.revoked is None


class KeyRegistry:
    """The keys of a laboratory. Not thread-safe; any number of processes may have one.

    Parameters
    ----------
    home : Home
    now : callable
        Time of day, seconds.

    Attributes
    ----------
    problem : str
        Why the registry as it stands on disk cannot be believed; empty when it can.
    """

    def __init__(self, home: Home, now: Callable[[], float] = time.time) -> None:
        self.folder = home.path / "keys"
        self.file = self.folder / "registry.json"
        self.problem = ""
        self._now = now
        self._stamp: tuple[int, ...] | None = None
        self._of: dict[str, Key] = {}

    # ------------------------------------------------------------------------------------------- for the gateway

    def by_public(self, public: str) -> Key | None:
        """The valid key with this public half; None when there is none, or it has been revoked."""
        found = self.known(public)
        return found if found is not None and found.is_valid else None

    def known(self, public: str) -> Key | None:
        """The key with this public half, revoked or not, to say in words whose it was."""
        self._look()
        return self._of.get(public)

    def revoked_since(self, publics: Collection[str]) -> list[str]:
        """Which of these public keys, with which connections are open, may no longer enter.

        It costs one stat of a file while nothing has changed.
        """
        self._look()
        return [public for public in publics if public not in self._of or not self._of[public].is_valid]

    def server_keys(self) -> ServerKeys:
        """The gateway's own pair, made when there is none yet.

        Raises
        ------
        ConfigError
            When it cannot be read or written, or others may read it.
        """
        file = self.folder / "server.secret"
        with self._locked():
            found = load_server_keys(file)
            if found is None:
                found = ServerKeys(*new_pair())
                write_secret(file, {"public_key": found.public, "secret_key": found.secret})
            return found

    # -------------------------------------------------------------------------------------------- for its owner

    def list(self) -> list[Key]:
        """All keys, the oldest first, revoked ones too.

        Raises
        ------
        ConfigError
            When the registry cannot be believed.
        """
        return list(self._read())

    def new(self, name: str, role: Role, address: str, out: Path | None = None, by: str = "") -> Path:
        """Make a key pair, enter its public half, and write the key file to hand over.

        Parameters
        ----------
        name : str
        role : Role
        address : str
            ``host:port`` at which clients reach the gateway.
        out : Path, optional
            Default: ``LAB_HOME/keys/NAME.key``.
        by : str
            Who makes it; default: the user of this process.

        Returns
        -------
        Path
            The key file, readable for its owner alone.

        Raises
        ------
        ConfigError
            When name, role or address are not allowed, the name has a valid key already, a file is in the way, or one cannot be written.
        """
        check_name(name)
        if role not in ROLES:
            raise ConfigError("command line", "--role", ascii(role), ", ".join(ROLES))
        address = check_address(address)
        server = self.server_keys()
        path = self.folder / f"{name}.key" if out is None else out
        with self._locked():
            keys = self._read()
            _check_is_free(name, keys)
            self._check_out(path, keys)
            public, secret = new_pair()
            save_key(path, KeyFile(name, role, address, server.public, public, secret))
            self._write((*keys, Key(name, role, public, self._now(), by or user())))
        return path

    def revoke(self, name: str, by: str = "") -> Key:
        """Let a key enter no longer; the gateway ends its connections within a fraction of a second.

        Its key file in ``LAB_HOME/keys``, if it is still there, is deleted.

        Raises
        ------
        ConfigError
            When the name has no valid key, or the registry cannot be read or written.
        """
        with self._locked():
            keys = self._read()
            found = next((key for key in keys if key.name == name and key.is_valid), None)
            if found is None:
                names = sorted(key.name for key in keys if key.is_valid)
                raise ConfigError("command line", "NAME", ascii(name), ", ".join(names) if names else "nobody: no key is valid (lab keys list)")
            revoked = replace(found, revoked=self._now(), revoked_by=by or user())
            self._write(tuple(revoked if key is found else key for key in keys))
            path = self.folder / f"{name}.key"
            if self._is_left_over(path, self._read()):
                path.unlink()
        return revoked

    def move(self, path: Path, address: str) -> None:
        """Tell a key file where the gateway is now.

        Raises
        ------
        ConfigError
            When the file or the address is not right, or it cannot be written.
        """
        key, address = load_key(path), check_address(address)
        if key.address != address:
            with self._locked():
                save_key(path, replace(key, address=address))

    # --------------------------------------------------------------------------------------------------- parts

    def _look(self) -> None:
        """Read the registry again when its file has changed."""
        try:
            status = self.file.stat()
        except FileNotFoundError:
            self._take((), None)
            return
        except OSError as error:
            self._stamp, self.problem = None, f"{self.file}: {error.strerror}; what was read last goes on to hold"
            return
        # ctime too: chmod changes whether it can be believed
        stamp = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
        if stamp == self._stamp:
            return
        try:
            self._take(self._read(), stamp)
        except ConfigError as error:
            self._stamp, self.problem = stamp, f"{error}; what was read last goes on to hold"

    def _take(self, keys: tuple[Key, ...], stamp: tuple[int, ...] | None) -> None:
        self._stamp, self.problem = stamp, ""
        self._of = {key.public: key for key in keys}

    def _read(self) -> tuple[Key, ...]:
        if not os.path.lexists(self.file):
            return ()
        # others may not even read it: it says who has which role
        content = read_private(self.file, LARGEST_REGISTRY, 0o077)
        try:
            rows = json.loads(content)["keys"]
            if not isinstance(rows, list):
                raise TypeError("keys is no list")
            keys = tuple(_key(row) for row in rows)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(str(self.file), "file", "something that is no registry of keys, or half of one",
                              "what lab keys wrote: take it from a backup, or move it away and make new keys") from error
        _check_are_apart(keys, self.file)
        return keys

    def _write(self, keys: tuple[Key, ...]) -> None:
        write_secret(self.file, {"keys": [asdict(key) for key in keys]})

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let no other process change the registry meanwhile; the kernel frees the lock of one that dies."""
        self._prepare()
        path = self.folder / "registry.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigError(str(path), "file", error.strerror or str(error), "a file that can be written") from error
        try:
            _lock(descriptor, path)
            self._clear_drafts()
            yield
        finally:
            os.close(descriptor)

    def _clear_drafts(self) -> None:
        """Delete what a process that was killed while it wrote has left: there may be a secret in it."""
        for path in self.folder.iterdir():
            if DRAFT.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _prepare(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            status = self.folder.stat()
        except OSError as error:
            raise ConfigError("LAB_HOME", str(self.folder), error.strerror or str(error), "a folder that can be made") from error
        if status.st_mode & 0o022 or status.st_uid not in (os.geteuid(), 0):
            raise ConfigError("LAB_HOME", str(self.folder), "a folder into which others may write",
                              f"one of this user alone: chmod 700 {self.folder}")

    def _check_out(self, path: Path, keys: tuple[Key, ...]) -> None:
        if os.path.lexists(path) and not self._is_left_over(path, keys):
            raise ConfigError("command line", "--out", str(path), "a file that does not exist yet")
        if not path.parent.is_dir():
            raise ConfigError("command line", "--out", str(path), "a file in a folder that exists")

    def _is_left_over(self, path: Path, keys: tuple[Key, ...]) -> bool:
        """Whether it is a key file of this laboratory that opens nothing: of a revoked key, or of one that was never entered."""
        try:
            found = load_key(path)
        except ConfigError:
            return False  # not ours to judge: it is left alone, and said to be in the way
        server = load_server_keys(self.folder / "server.secret")
        is_ours = server is not None and server.public == found.server_key
        return is_ours and not any(key.public == found.public_key and key.is_valid for key in keys)


def ensure_owner(home: Home, address: str) -> Path:
    """The admin key file of the user who runs the laboratory, made at first, with the address at which the gateway is now.

    Whoever can read and write LAB_HOME is the laboratory's master anyhow; the key lets them say so through the door, too. A name whose key
    has been taken elsewhere (``lab keys new --out``) is left alone; then the key's name has a number.

    Raises
    ------
    ConfigError
        When keys cannot be read or written.
    """
    registry = KeyRegistry(home)
    address = check_address(address)
    valid = {key.name.casefold(): key for key in registry.list() if key.is_valid}
    own = user()
    for number in range(1, len(valid) + 2):
        name = own if number == 1 else f"{own}-{number}"
        path = registry.folder / f"{name}.key"
        key = valid.get(name.casefold())
        if key is None:
            return registry.new(name, "admin", address)
        if path.exists() and load_key(path).public_key == key.public:
            registry.move(path, address)
            return path
    raise ConfigError(str(registry.file), "keys", f"every name that begins with {own} taken", "one that is free: lab keys list")


def user() -> str:
    """Name of the user of this process, by its number and never by the environment; ``owner`` where that is no name for a key."""
    try:
        return check_name(pwd.getpwuid(os.geteuid()).pw_name)
    except (KeyError, ConfigError):
        return "owner"


def _key(row: Any) -> Key:
    """One entry as it was written; raises TypeError or ValueError for anything else."""
    key = Key(**row)
    texts = (key.name, key.role, key.public, key.by, key.revoked_by)
    if not all(isinstance(text, str) for text in texts) or key.role not in ROLES or not is_key(key.public):
        raise ValueError("not an entry")
    times = [key.created] if key.revoked is None else [key.created, key.revoked]
    if not all(isinstance(wall, (int, float)) and not isinstance(wall, bool) for wall in times):
        raise ValueError("not an entry")
    try:
        check_name(key.name)
    except ConfigError as error:
        raise ValueError("not a name") from error
    return key


def _check_are_apart(keys: tuple[Key, ...], file: Path) -> None:
    """Two entries with one public key, or two valid ones with one name, would leave it open who somebody is."""
    names = [key.name.casefold() for key in keys if key.is_valid]
    if len({key.public for key in keys}) < len(keys) or len(set(names)) < len(names):
        raise ConfigError(str(file), "keys", "a key or a name twice", "each once: take the file from a backup")


def _check_is_free(name: str, keys: tuple[Key, ...]) -> None:
    taken = next((key for key in keys if key.is_valid and key.name.casefold() == name.casefold()), None)
    if taken is not None:
        raise ConfigError("command line", "NAME", f"{name}, which has a valid key ({taken.name}, {taken.role})",
                          f"another name, or first: lab keys revoke {taken.name}")


def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_WITHIN_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise ConfigError("LAB_HOME", str(path), f"a lock that another process has held for {LOCK_WITHIN_S:.0f} s",
                                  "one lab keys at a time: try again") from error
            time.sleep(_LOCK_AGAIN_S)
