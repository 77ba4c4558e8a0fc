"""The audit log as files: lines that are chained by their hashes, a head that says where the chain ends, and what verifies both.

A line is a JSON object in ASCII that ends in ``,"hash":"..."}``; the hash is SHA-256 of the line without that member, which has the hash of the line before
(`prev`) and its number (`n`) in it. The lines go through files of some megabytes, ``0001.jsonl``, ``0002.jsonl``, ... The head, ``head.json``, says the last
number and hash: what shows that lines were cut off at the end.

What the chain cannot show: that somebody with the rights of the laboratory's user wrote all of it anew, head included. Whoever has noted a head elsewhere
(``lab audit --verify`` prints it) can tell that, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.core.errors import LedgerError
from lab.remote.access.words import escaped

GENESIS = "0" * 64
"""`prev` of the first line."""

_FILE = re.compile(r"(\d{4,})\.jsonl", re.ASCII)
_END = re.compile(rb',"hash":"([0-9a-f]{64})"}', re.ASCII)
_END_BYTES = 75
_SLOT_BYTES = 160


@dataclass(frozen=True)
class Link:
    """Where a chain ends: number and hash of its last line."""

    n: int
    hash: str


START = Link(0, GENESIS)


@dataclass
class Verdict:
    """What `verify` found.

    Parameters
    ----------
    head : Link
        The last line of the chain.
    n_files, n_lines : int
    problems : list of str
        What somebody has done to the log; empty when it is whole.
    notes : list of str
        What it has gone through by itself: a line torn by a power cut, a clock set back.
    """

    head: Link = START
    n_files: int = 0
    n_lines: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def chained(members: dict[str, Any], after: Link) -> tuple[bytes, Link]:
    """A line, with its end, and where the chain ends with it.

    Parameters
    ----------
    members : dict
        Plain values; `n` and `prev` are added.
    after : Link
        The end of the chain so far.
    """
    whole = {"n": after.n + 1, **members, "prev": after.hash}
    body = json.dumps(whole, separators=(",", ":"), allow_nan=False).encode("ascii")
    digest = hashlib.sha256(body).hexdigest()
    return b'%b,"hash":"%b"}\n' % (body[:-1], digest.encode("ascii")), Link(after.n + 1, digest)


def files_of(folder: Path) -> list[Path]:
    """The log's files, the oldest first."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _FILE.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def file_number(path: Path) -> int:
    return int(path.name.partition(".")[0])


def lines_of(path: Path) -> tuple[list[bytes], bytes]:
    """The whole lines of a file, without their ends, and what stands after the last one.

    Raises
    ------
    LedgerError
        When it cannot be read.
    """
    try:
        whole, end, torn = path.read_bytes().rpartition(b"\n")
    except OSError as error:
        raise LedgerError(f"audit: {path}: cannot be read: {error.strerror}") from error
    return (whole.split(b"\n") if end else []), torn


def parse(line: bytes) -> tuple[dict[str, Any], Link, bool] | None:
    """Members of a line, number and hash that it claims, and whether its hash is right; None when it is no line of a log."""
    end = _END.fullmatch(line[-_END_BYTES:])
    if end is None:
        return None
    body = line[:-_END_BYTES] + b"}"
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(members, dict) or type(members.get("n")) is not int or not isinstance(members.get("prev"), str):
        return None
    claimed = end[1].decode("ascii")
    return members, Link(members["n"], claimed), hashlib.sha256(body).hexdigest() == claimed


def entries(folder: Path) -> Iterator[dict[str, Any]]:
    """The members of every line that can be read, the oldest first; whether they can be believed, `verify` says.

    Raises
    ------
    LedgerError
        When a file cannot be read.
    """
    for path in files_of(folder):
        for line in lines_of(path)[0]:
            found = parse(line)
            if found is not None:
                yield found[0]


# ---------------------------------------------------------------------------------------------------------- head


class Head:
    """Writes ``head.json``: two slots by turns, so that a torn write costs the newest and never both.

    Raises
    ------
    LedgerError
        When it cannot be opened or written.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._turn = folder / "head.json", 0
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LedgerError(f"audit: {self._path}: cannot be opened: {error.strerror}") from error

    def write(self, link: Link) -> None:
        body = json.dumps({"n": link.n, "hash": link.hash})
        text = f"{body} {_sum(body)}"
        slot = f"{text:<{_SLOT_BYTES - 1}}\n".encode("ascii")
        self._turn ^= 1
        try:
            os.pwrite(self._file, slot, self._turn * _SLOT_BYTES)
        except OSError as error:
            raise LedgerError(f"audit: {self._path}: cannot be written: {error.strerror}") from error

    def sync(self) -> None:
        """Have it on disk when this returns."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise LedgerError(f"audit: {self._path}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        os.close(self._file)


def read_head(folder: Path) -> Link | None:
    """Where the chain ended when the head was written; None when there is no head that can be believed.

    Raises
    ------
    LedgerError
        When it is there and cannot be read.
    """
    path = folder / "head.json"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LedgerError(f"audit: {path}: cannot be read: {error.strerror}") from error
    slots = (_slot(content[start:start + _SLOT_BYTES]) for start in (0, _SLOT_BYTES))
    return max((link for link in slots if link is not None), key=lambda link: link.n, default=None)


def _slot(content: bytes) -> Link | None:
    try:
        body, _, checksum = content.decode("ascii").rstrip().rpartition(" ")
        if checksum != _sum(body):
            return None
        found = json.loads(body)
        return Link(int(found["n"]), str(found["hash"]))
    except (ValueError, KeyError, TypeError):
        return None


def _sum(body: str) -> str:
    return hashlib.sha256(body.encode("ascii")).hexdigest()[:16]


# -------------------------------------------------------------------------------------------------------- verify


def verify(folder: Path, is_being_written: bool = False, noted: Link | None = None) -> Verdict:
    """Follow the chain from its first line to its head.

    Parameters
    ----------
    folder : Path
        ``LAB_HOME/audit``.
    is_being_written : bool
        Whether a gateway is at it: then a line may be half written just now.
    noted : Link, optional
        A head that was noted elsewhere, earlier: it must still be in the chain.

    Raises
    ------
    LedgerError
        When a file cannot be read.
    """
    head = read_head(folder)  # before the lines, which only get more meanwhile
    found, last_wall, is_noted_there, at_head = Verdict(), float("-inf"), noted is None or noted == START, head == START
    expected_file = 1
    torn_in = ""
    for path in files_of(folder):
        if torn_in:
            found.problems.append(f"{torn_in}: its last line has no end, and another file follows: it has been changed")
        if file_number(path) != expected_file:
            found.problems.append(f"{path.name}: follows file {expected_file - 1}: files are missing")
        expected_file, found.n_files = file_number(path) + 1, found.n_files + 1
        lines, torn = lines_of(path)
        for number, line in enumerate(lines, 1):
            followed = _follow(found, f"{path.name}, line {number}", line)
            if followed is None:
                continue
            members, link = followed
            is_noted_there, at_head = is_noted_there or link == noted, at_head or link == head
            last_wall = _look_at_clock(found, f"{path.name}, line {number}", members, last_wall)
        torn_in = path.name if torn else ""
        if torn and not is_being_written:
            found.notes.append(f"{path.name}: {len(torn)} bytes after the last whole line: its writer was cut off, nobody was answered")
    _compare_with_head(found, head, at_head, is_being_written)
    if not is_noted_there and noted is not None:
        found.problems.append(f"the head noted elsewhere ({noted.n}:{escaped(noted.hash, 64)}) is not in this chain: it has been written anew")
    return found


def _follow(found: Verdict, where: str, line: bytes) -> tuple[dict[str, Any], Link] | None:
    """Take one line, say what is wrong with it; the chain goes on with what it claims, so that one fault is said once."""
    found.n_lines += 1
    parsed = parse(line)
    if parsed is None:
        found.problems.append(f"{where}: not a line of the log: it has been changed or put in")
        found.head = Link(found.head.n + 1, "")
        return None
    members, link, is_right = parsed
    if not is_right:
        found.problems.append(f"{where} (n {link.n}): it has been changed: its hash is another")
    elif link.n != found.head.n + 1:
        found.problems.append(f"{where} (n {link.n}): follows n {found.head.n}: lines have been removed, put in or moved")
    elif found.head.hash and members["prev"] != found.head.hash:
        found.problems.append(f"{where} (n {link.n}): does not follow the line before it: one of them has been changed")
    if is_right and members.get("method") == "audit" and members.get("outcome") in ("damaged", "torn"):
        said = f"{where} (n {link.n}): the gateway found the log {members['outcome']}: {escaped(members.get('what', ''))}"
        (found.problems if members["outcome"] == "damaged" else found.notes).append(said)
    found.head = link
    return members, link


def _look_at_clock(found: Verdict, where: str, members: dict[str, Any], last: float) -> float:
    wall = members.get("wall")
    if not isinstance(wall, (int, float)):
        return last
    # merged reads carry the time of the first of them, up to a second before their neighbours
    if wall < last - 2.0:
        found.notes.append(f"{where}: the clock was {last - wall:.0f} s ahead before; the order of the lines is right")
    return float(wall)


def _compare_with_head(found: Verdict, head: Link | None, at_head: bool, is_being_written: bool) -> None:
    if head is None:
        if found.n_lines:
            found.problems.append("head.json is missing, or has been changed: lines may have been cut off at the end")
        return
    if not at_head:
        found.problems.append(f"lines have been cut off at the end, or changed: the head is n {head.n}, the last line n {found.head.n}")
    elif found.head.n > head.n and not is_being_written:
        found.notes.append(f"{found.head.n - head.n} lines after the head: their writer was cut off before it wrote the head")
