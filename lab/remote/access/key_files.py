"""Files with secret keys: of a scientist, of the gateway itself. Read only where nobody else could have read or written them.

A key is a pair of Curve25519 (CURVE, ZeroMQ RFC 26), each half 32 bytes, written as 40 characters of Z85 (RFC 32).
"""

from __future__ import annotations

import json
import os
import re
import stat
import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from lab.core.errors import ConfigError
from lab.core.remote import ROLES, Role

LARGEST_FILE = 10_000
"""Bytes; a key file has some 300."""
LONGEST_NAME = 64
DRAFT = re.compile(r"\..+\.[0-9a-f]{8}\.draft", re.ASCII)
"""Names of files that are being written; see `write_secret`."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_ADDRESS = re.compile(r"(?:tcp://)?([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", re.ASCII)
NAMES = f"1 to {LONGEST_NAME} letters, digits, _ . - (no spaces, no slashes), a letter or digit first"


@dataclass(frozen=True)
class KeyFile:
    """What a client needs to enter: who it is, where the door is, and how to know that it is the right one.

    Parameters
    ----------
    name : str
    role : Role
        As it was when the key was made; what counts is the gateway's registry.
    address : str
        ``host:port`` of the gateway.
    server_key, public_key, secret_key : str
        Z85, 40 characters. The secret half is never shown.
    """

    name: str
    role: Role
    address: str
    server_key: str
    public_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class ServerKeys:
    """The gateway's own pair, Z85."""

    public: str
    secret: str = field(repr=False)


def new_pair() -> tuple[str, str]:
    """A public and a secret key, Z85."""
    public, secret = zmq.curve_keypair()
    return public.decode("ascii"), secret.decode("ascii")


def load_key(path: str | Path) -> KeyFile:
    """Read a scientist's key file.

    Raises
    ------
    ConfigError
        When it cannot be read, others than its owner may read or write it, or it is not a key file.
    """
    path = Path(path)
    found = _read_secret(path)
    fields = ("name", "role", "address", "server_key", "public_key", "secret_key")
    texts = {name: _text(path, found, name) for name in fields}
    check_name(texts["name"], str(path), "name")
    if texts["role"] not in ROLES:
        raise ConfigError(str(path), "role", _shown(texts["role"]), ", ".join(ROLES))
    check_address(texts["address"], str(path), "address")
    _check_key(path, "server_key", texts["server_key"])
    _check_pair(path, texts["public_key"], texts["secret_key"])
    return KeyFile(**texts)  # type: ignore[arg-type]  # the role has been checked


def save_key(path: Path, key: KeyFile) -> None:
    """Write a key file for its owner alone, as a whole or not at all; one that stands there is replaced.

    Raises
    ------
    ConfigError
        When it cannot be written.
    """
    write_secret(path, asdict(key))


def load_server_keys(path: Path) -> ServerKeys | None:
    """The gateway's own pair; None when there is none yet.

    Raises
    ------
    ConfigError
        As `load_key`.
    """
    if not os.path.lexists(path):
        return None
    found = _read_secret(path)
    public, secret = _text(path, found, "public_key"), _text(path, found, "secret_key")
    _check_pair(path, public, secret)
    return ServerKeys(public, secret)


def write_secret(path: Path, content: dict[str, Any]) -> None:
    """Write JSON that only its owner may read, as a whole or not at all, and on disk when this returns.

    Raises
    ------
    ConfigError
        When it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}.draft")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(content, file, indent=1)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(str(path), "file", error.strerror or str(error), "a file that can be written") from error


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on disk: a power cut may lose the name of a file whose bytes are there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private(path: Path, largest: int, forbidden: int) -> bytes:
    """Read a file of this user (or root) that has none of the `forbidden` bits in its mode.

    Raises
    ------
    ConfigError
        When it is anything else.
    """
    try:
        # not blocking: else a FIFO in the file's place would hold us for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            _check_status(path, status, forbidden)
            content = file.read(largest + 1)
    except OSError as error:
        raise ConfigError(str(path), "file", error.strerror or str(error), "a file that can be read") from error
    if len(content) > largest:
        raise ConfigError(str(path), "file", f"more than {largest} bytes", "a file written by lab keys")
    return content


def check_name(name: str, file: str = "command line", field: str = "NAME") -> str:
    """The name, when it is one that can stand in a file name, a log and a terminal.

    Raises
    ------
    ConfigError
        When it is not.
    """
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise ConfigError(file, field, _shown(name), NAMES)
    return name


def check_address(address: str, file: str = "command line", field: str = "--address") -> str:
    """``host:port``, without ``tcp://``.

    Raises
    ------
    ConfigError
        When it is something else, or nothing that a client could connect to.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found[2]) <= 65535 or found[1] in ("0.0.0.0", "[::]"):
        raise ConfigError(file, field, _shown(address), "host:port as clients reach it, such as lab.example:60615")
    return f"{found[1]}:{found[2]}"


def is_key(text: str) -> bool:
    """Whether it is a key in Z85: 40 characters that stand for 32 bytes."""
    if len(text) != 40 or not text.isascii():
        return False
    try:
        return len(z85.decode(text.encode("ascii"))) == 32
    except (ValueError, KeyError, struct.error):
        return False  # in this order: its length, a character outside the alphabet, a group above 2**32


def _check_status(path: Path, status: os.stat_result, forbidden: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(str(path), "file", "not a plain file", "a file written by lab keys")
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(str(path), "owner", f"user {status.st_uid}", f"the user who reads it ({os.geteuid()}): somebody else could change it")
    if status.st_mode & forbidden:
        raise ConfigError(str(path), "mode", f"{stat.S_IMODE(status.st_mode):04o}",
                          f"0600, for others must not get at it: chmod 600 {path}")


def _read_secret(path: Path) -> dict[str, Any]:
    content = read_private(path, LARGEST_FILE, 0o077)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), "file", "something that is not JSON", "a file written by lab keys") from error
    if not isinstance(found, dict):
        raise ConfigError(str(path), "file", "something else than a JSON object", "a file written by lab keys")
    return found


def _text(path: Path, found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        raise ConfigError(str(path), name, "no text" if name in found else "nothing", "a file written by lab keys")
    return value


def _check_key(path: Path, name: str, value: str) -> None:
    if not is_key(value):
        raise ConfigError(str(path), name, "something that is no key", "40 characters of Z85, as lab keys writes them")


def _check_pair(path: Path, public: str, secret: str) -> None:
    _check_key(path, "public_key", public)
    _check_key(path, "secret_key", secret)
    if zmq.curve_public(secret.encode("ascii")).decode("ascii") != public:
        raise ConfigError(str(path), "public_key", public, "the public half of its secret_key: the file has been changed")


def _shown(text: str) -> str:
    """Somebody's text as a part of a message: short, and nothing that a terminal would obey."""
    return ascii(text) if len(text) <= 60 else f"{ascii(text[:60])}... ({len(text)} characters)"
