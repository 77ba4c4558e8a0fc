"""Tiled, embedded and off the RunEngine's path: for people who look at data, never for the campaign itself.

Tiled may lag or die; the truth is in the documents' JSON lines (`lab.records.documents`). So documents are only collected on
the RunEngine's thread, and a run is inserted as a whole, after its stop document, by a thread of the catalogue's own. What
fails is counted in `Catalogue.status`, and `Catalogue.replay` inserts it later.

Tiled's server runs inside this process, without a socket: nothing listens, nothing has to be stopped, no port can be taken. Its
tables are in SQLite and not in DuckDB, which only one process may open, so that a console can look while a campaign runs.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lab.core.errors import ServiceError
from lab.records.documents import Document, RunReferences, as_written, read_record, runs_of

_log = logging.getLogger(__name__)

OPEN_S = 120.0
"""How long opening may take: importing Tiled and making a catalogue takes 6 s on two idle cores."""


class CatalogueStatus(NamedTuple):
    """How far the catalogue is behind.

    Parameters
    ----------
    pending : int
        Runs waiting to be inserted.
    failed : int
        Runs that could not be inserted; `Catalogue.replay` tries them again.
    last_error : str
        Why, for the latest of them; empty when none.
    """

    pending: int
    failed: int
    last_error: str


class Catalogue:
    """All runs, for people: ``catalogue[-1].primary.read()``.

    Nothing is imported or opened before the first run stops, or somebody looks.

    Parameters
    ----------
    folder : Path
        Tiled's databases; made when needed.
    readable : sequence of Path
        Folders in which the frames may lie, to which the documents point. By default the folder's parent, the laboratory's home.
    connect : callable
        Opens a Tiled client on the folder; for tests.
    """

    def __init__(self, folder: str | Path, readable: Sequence[str | Path] = (),
                 connect: Callable[[Path, Sequence[Path]], Any] | None = None) -> None:
        self.folder = Path(folder).absolute()
        self._readable = [Path(r).absolute() for r in readable] if readable else [self.folder.parent]
        self._connect = connect_in_process if connect is None else connect
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._open_runs: dict[str, list[Document]] = {}
        self._references = RunReferences()
        self._pending = 0
        self._failures: dict[str, str] = {}
        self._last_error, self._is_closed = "", False
        self._client: Any = None
        self._opening = threading.Lock()

    # ------------------------------------------------------------------------------- on the RunEngine's thread

    def callback(self, name: str, doc: Mapping[str, Any]) -> None:
        """Collect a document; subscribe this to the RunEngine. Never blocks, never raises."""
        with self._lock:
            run = self._references.run_of(name, doc) if name != "start" or "uid" in doc else None
            if name == "start" and run is not None:
                self._open_runs[run] = []
            if run is None or run not in self._open_runs:
                self._last_error = f"a {name} document of no known run"
                return
            self._open_runs[run].append((name, dict(doc)))
            if name != "stop":
                return
            documents = self._open_runs.pop(run)
            self._references.forget(run)
        self._submit(run, lambda: self._insert([as_written(*document) for document in documents]))

    # ------------------------------------------------------------------------------------------ for everybody

    def status(self) -> CatalogueStatus:
        """How far it is behind. Never blocks."""
        with self._lock:
            return CatalogueStatus(self._pending, len(self._failures), self._last_error)

    def replay(self, runs_folder: str | Path) -> int:
        """Insert, in the background, the runs on disk that the catalogue does not have; returns how many files it will look at.

        May be repeated: a run that is there stays as it is, one that is there in part is inserted anew. Runs without a stop document
        are left out: they may be under way in another process.
        """
        paths = runs_of(runs_folder)
        self.file(paths)
        return len(paths)

    def file(self, paths: Iterable[Path]) -> None:
        """The same for certain runs on disk."""
        for path in paths:
            self._submit(path.stem, partial(self._insert_file, path))

    def wait(self, deadline_s: float) -> bool:
        """Wait until nothing is pending; whether that came to pass within `deadline_s` wall seconds."""
        with self._idle:
            return self._idle.wait_for(lambda: self._pending == 0, deadline_s)

    @property
    def client(self) -> Any:
        """Tiled's client on all runs. Opens the catalogue when nobody has, which takes some seconds.

        Raises
        ------
        ServiceError
            When Tiled cannot be opened.
        """
        if not self._opening.acquire(timeout=OPEN_S):
            raise ServiceError(f"catalogue {self.folder}: Tiled has not opened within {OPEN_S:g} s; the runs are safe in their JSON lines")
        try:
            if self._client is None:
                self._client = self._connect(self.folder, self._readable)
            return self._client
        except Exception as error:  # noqa: BLE001  Tiled is open to anything below it: databases, HTTP, plug-ins
            raise ServiceError(f"catalogue {self.folder}: Tiled cannot be opened: {_words(error)}; the runs are safe in their JSON "
                               "lines; move the folder away and replay them") from error
        finally:
            self._opening.release()

    def __getitem__(self, key: Any) -> Any:
        """``catalogue[-1]`` is the newest run, ``catalogue[uid]`` a certain one."""
        return self.client[key]

    def __len__(self) -> int:
        # A variation counts anew: Tiled's client repeats its last count for a second, also when runs were inserted since.
        return len(self.client.new_variation())

    def __bool__(self) -> bool:
        return True  # also an empty catalogue; and asking must not open it

    def close(self, deadline_s: float) -> CatalogueStatus:
        """Insert what is pending, for at most `deadline_s` wall seconds, then let go.

        Whatever is not inserted by then shows as pending in the status returned, and is for `replay` another day. Safe to call twice.
        """
        ends = time.monotonic() + deadline_s
        self.wait(deadline_s)
        with self._lock:
            self._is_closed = True
            worker = self._worker
        if worker is not None:
            self._queue.put(None)
            worker.join(max(0.0, ends - time.monotonic()))
        if (worker is None or not worker.is_alive()) and self._client is not None:
            self._client.context.close()
            self._client = None
        return self.status()

    # ------------------------------------------------------------------------------- on the catalogue's thread

    def _submit(self, run: str, work: Callable[[], None]) -> None:
        with self._lock:
            if self._is_closed:
                self._failures[run] = self._last_error = f"run {run}: the catalogue is closed"
                return
            self._pending += 1
            if self._worker is None:
                # A daemon: a Tiled that hangs must not keep the process from ending.
                self._worker = threading.Thread(target=self._work, name="catalogue", daemon=True)
                self._worker.start()
        self._queue.put(lambda: self._try(run, work))

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            with self._lock:
                if self._is_closed:
                    return
            task()

    def _try(self, run: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  whatever happens in Tiled: the campaign goes on, and status() tells
            _log.warning("catalogue: run %s was not inserted: %s", run, _words(error))
            with self._idle:
                self._failures[run] = self._last_error = f"run {run}: {_words(error)}"
        else:
            with self._idle:
                self._failures.pop(run, None)
        finally:
            with self._idle:
                self._pending -= 1
                self._idle.notify_all()

    def _insert_file(self, path: Path) -> None:
        record = read_record(path)
        if record.is_closed:
            self._insert(record.documents)

    def _insert(self, documents: Sequence[Document]) -> None:
        """Insert a whole run, unless it is there."""
        from bluesky_tiled_plugins import TiledWriter

        client, run = self.client, str(documents[0][1]["uid"])
        known = _find(client, run)
        if known is not None:
            if "stop" in known.metadata:
                return
            # Begun by a session that did not come to its end. The frames themselves are not Tiled's, and stay.
            client.delete_contents(run, recursive=True, external_only=False)
        # A writer of its own: one that failed half-way keeps nothing for the next run. Arrays of any size go to files,
        # because SQLite's tables cannot hold them.
        writer = TiledWriter(client, max_array_size=0, patches={"stream_resource": _readable_beside_its_writer})
        for name, doc in documents:
            writer(name, doc)


def connect_in_process(folder: Path, readable: Sequence[Path]) -> Any:
    """A client of a Tiled server that lives in this process and listens nowhere."""
    from tiled.client import from_context
    from tiled.client.context import Context

    warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")  # starlette's, on its way to httpx2
    # No secret: nobody else can reach this server. Tiled asks for a key of letters and digits.
    return from_context(Context.from_app(server_on(folder, readable, "inprocess")))


def connect_by_http(url: str, key: str) -> Any:
    """A client of a Tiled server that others run."""
    from tiled.client import from_uri

    return from_uri(url, api_key=key)


def server_on(folder: Path, readable: Sequence[Path], key: str) -> Any:
    """Tiled's server (an ASGI application) on the databases in `folder`, which are made when there are none.

    Parameters
    ----------
    folder : Path
    readable : sequence of Path
        Folders in which the frames may lie.
    key : str
        Whoever has it may read and write; letters and digits.
    """
    from tiled.catalog import from_uri
    from tiled.config import Authentication
    from tiled.server.app import build_app

    data, database = folder / "data", folder / "catalog.db"
    data.mkdir(parents=True, exist_ok=True)
    tree = from_uri(database, writable_storage=[data, f"sqlite:///{folder / 'tables.db'}"], readable_storage=list(readable),
                    init_if_not_exists=not database.exists(), specs=[{"name": "CatalogOfBlueskyRuns", "version": "3.0"}])
    logging.getLogger("tiled.server.app").setLevel(logging.WARNING)  # else it greets on standard error
    return build_app(tree, authentication=Authentication(single_user_api_key=key))


def _find(client: Any, run: str) -> Any:
    """The run in the catalogue, None when it is not there."""
    try:
        return client[run]
    except KeyError:
        return None


def _readable_beside_its_writer(doc: dict[str, Any]) -> dict[str, Any]:
    """Bridges write HDF5 without SWMR and without locks, so it is to be read in the same way."""
    if doc.get("mimetype") != "application/x-hdf5":
        return doc
    return {**doc, "parameters": {"swmr": False, "locking": False, **doc["parameters"]}}


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:400]}" if text else type(error).__name__
