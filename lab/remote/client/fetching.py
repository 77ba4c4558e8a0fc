"""Data from a laboratory, in pieces, checked as a whole."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lab.core.errors import ConfigError, RemoteError

if TYPE_CHECKING:
    import pandas

    from lab.remote.client.asking import Asking

SUFFIXES: Final = {"csv": ".csv", "parquet": ".parquet", "hdf5": ".h5", "html": ".html"}


def fetch(lab: Asking, target: Mapping[str, str], form: str) -> bytes:
    """The whole of it.

    Parameters
    ----------
    lab : Laboratory
    target : mapping
        ``{"item": id}`` or ``{"campaign": id}``.
    form : str
        Of `SUFFIXES`.

    Raises
    ------
    RemoteError
        When what came is not what was promised: it changed meanwhile, twice.
    """
    for _ in range(2):
        content = _fetch(lab, target, form)
        if content is not None:
            return content
    raise RemoteError(f"data of {next(iter(target.values()))}: it changes while it is fetched; ask again when its runs have ended")


def frame(lab: Asking, target: Mapping[str, str]) -> pandas.DataFrame:
    """As a table."""
    import pandas

    found: pandas.DataFrame = pandas.read_parquet(io.BytesIO(fetch(lab, target, "parquet")))
    return found


def save(lab: Asking, given: str, form: str, out: Path | None = None) -> Path:
    """Into a file, as a whole or not at all.

    Raises
    ------
    ConfigError
        When it cannot be written.
    """
    target = lab._target(given)
    path = out if out is not None else Path(next(iter(target.values())) + SUFFIXES[form])
    content = fetch(lab, target, form)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigError("command line", "--out", str(path), error.strerror or "a file that can be written") from error
    return path


def _fetch(lab: Asking, target: Mapping[str, str], form: str) -> bytes | None:
    """The pieces, one after the other; None when they are not of one whole."""
    content, total, digest = b"", 1, ""
    while len(content) < total:
        piece: dict[str, Any] = lab.send_request(method="lab_data", params={**target, "format": form, "offset": len(content)})
        if content and (piece["total"], piece["sha256"]) != (total, digest):
            return None
        total, digest = int(piece["total"]), str(piece["sha256"])
        more = base64.b64decode(piece["data"])
        if not more and len(content) < total:
            raise RemoteError("data: a piece without anything in it")
        content += more
    return content if hashlib.sha256(content).hexdigest() == digest else None
