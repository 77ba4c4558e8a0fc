"""Opening the ledger's database, and transactions on it whose failures are LedgerErrors in words.

SQLite runs in WAL mode with ``synchronous=FULL``: a commit has reached the disk when it returns (sqlite.org/pragma.html,
"synchronous"; in WAL mode NORMAL would lose the last commits at a power cut). Write transactions start with
``BEGIN IMMEDIATE``, because a deferred one that turns from reading to writing fails at once when another process
writes, busy timeout or not (sqlite.org/rescode.html, SQLITE_BUSY_SNAPSHOT).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

from lab.core.clock import Clock
from lab.core.errors import LedgerError
from lab.records.migration import READABLE, migrate
from lab.records.schema import PRODUCT, SCHEMA_VERSION, about, metadata


def utc_now() -> datetime:
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """UTC with microseconds: sorts as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Store:
    """A database that is a ledger.

    Parameters
    ----------
    url_or_path : str or Path
        A file (made when it does not exist), or a SQLAlchemy URL such as ``postgresql+psycopg://user@host/lab``.
    clock : Clock
        Laboratory time.
    wall : callable
        Time of day, UTC.
    busy_timeout_s : float
        How long another process may hold the ledger before a transaction gives up.

    Raises
    ------
    LedgerError
        When it cannot be opened, is not a ledger, or is one of a newer version.
    """

    def __init__(self, url_or_path: str | Path, clock: Clock, wall: Callable[[], datetime], busy_timeout_s: float) -> None:
        self.clock, self.wall, self.busy_timeout_s = clock, wall, busy_timeout_s
        url = _url(url_or_path)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.name = url.database if self.is_sqlite and url.database else url.render_as_string(hide_password=True)
        self._is_closed = False
        self._engine = self._connect(url)
        self._readers = self._engine.execution_options(is_reading=True)
        try:
            self._know()
        except LedgerError:
            self.close()
            raise

    def close(self) -> None:
        """Give the file back. Safe to call twice."""
        self._is_closed = True
        self._engine.dispose()

    def stamp(self, prefix: str) -> dict[str, str | float]:
        """Now, for the columns ``PREFIX_wall`` and ``PREFIX_lab_s``."""
        return {f"{prefix}_wall": iso(self.wall()), f"{prefix}_lab_s": float(self.clock.now())}

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is on disk when the block has ended, or not there at all."""
        with self._words(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view; never blocked by a writer, and never blocking one."""
        with self._words(), self._readers.begin() as connection:
            yield connection

    @contextmanager
    def _words(self) -> Iterator[None]:
        if self._is_closed:
            raise LedgerError(f"ledger {self.name}: is closed")
        try:
            yield
        except OperationalError as error:
            if "locked" in str(error.orig) or "busy" in str(error.orig):
                raise LedgerError(f"ledger {self.name}: another process has held it for longer than {self.busy_timeout_s:g} s; "
                                  "find out which one, then try again") from error
            step = "; look at the free space of its disk" if "disk" in str(error.orig) else ""
            raise LedgerError(f"ledger {self.name}: {error.orig}{step}") from error
        except SQLAlchemyError as error:
            found = str(getattr(error, "orig", None) or error)
            step = "; move the file away and a new one is made" if "not a database" in found else ""
            raise LedgerError(f"ledger {self.name}: {found}{step}") from error

    def _connect(self, url: URL) -> Engine:
        try:
            if not self.is_sqlite:
                return create_engine(url, pool_pre_ping=True)
            engine = create_engine(url, connect_args={"timeout": self.busy_timeout_s})
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise LedgerError(f"ledger {self.name}: {error}; allowed: a file, or a SQLAlchemy URL whose driver is installed") from error
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _know(self) -> None:
        """Make the tables in an empty database; refuse one that is not a ledger of this version."""
        if self.is_sqlite:
            self._refuse_impossible_file(Path(self.name))
        with self.read() as connection:
            tables = set(inspect(connection).get_table_names())
        with self._words():
            if not tables:
                with self._engine.begin() as connection:
                    self._make(connection)
            elif about.name not in tables:
                raise LedgerError(f"ledger {self.name}: is a database, but not a ledger (it has the tables {', '.join(sorted(tables)[:5])})")
        with self.read() as connection:
            row = connection.execute(select(about)).first()
        if row is None or row.product != PRODUCT:
            raise LedgerError(f"ledger {self.name}: is a database, but not a ledger of Labwright")
        if row.schema_version in READABLE:
            with self._words(), self._engine.begin() as connection:
                migrate(connection, self.name)
        elif row.schema_version != SCHEMA_VERSION:
            raise LedgerError(f"ledger {self.name}: has schema version {row.schema_version}; this Labwright reads {SCHEMA_VERSION}; "
                              "use the Labwright that wrote it, or another LAB_HOME")

    def _make(self, connection: Connection) -> None:
        metadata.create_all(connection)
        # Two processes may find the same empty file; the one that comes second finds the row.
        if connection.execute(select(about.c.product)).first() is None:
            connection.execute(insert(about).values(product=PRODUCT, schema_version=SCHEMA_VERSION, **self.stamp("created")))

    def _refuse_impossible_file(self, path: Path) -> None:
        if path.is_dir():
            raise LedgerError(f"ledger {path}: is a directory; allowed: a file")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"ledger {path}: its directory cannot be made: {error.strerror}") from error


def _url(url_or_path: str | Path) -> URL:
    if isinstance(url_or_path, str) and "://" in url_or_path:
        try:
            return make_url(url_or_path)
        except ArgumentError as error:
            raise LedgerError(f"ledger: given {url_or_path!r}; allowed: a file, or a SQLAlchemy URL") from error
    # Not through make_url: a path may hold characters that mean something in a URL.
    return URL.create("sqlite", database=str(Path(url_or_path).absolute()))


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not by the driver
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    is_reading = connection.get_execution_options().get("is_reading", False)
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")
