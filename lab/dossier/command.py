"""``lab report``: the words on the terminal, the page in a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.core.errors import ConfigError
from lab.home import Home

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lab.dossier.content import Dossier
    from lab.records.ledger import Ledger


def report(ledger: Ledger, campaign: str, out: Path | None, home: Home, *, is_page_wanted: bool = True) -> tuple[Dossier, Path | None]:
    """Tell everything of a campaign.

    Parameters
    ----------
    campaign : str
        Id, unique beginning of one, or a name (then its newest).
    out : Path or None
        Where the page is written; None: ``LAB_HOME/reports/ID.html``.
    is_page_wanted : bool
        False: only where `out` says.

    Returns
    -------
    Dossier, and Path or None
        Where the page is.

    Raises
    ------
    LedgerError
        When there is no such campaign.
    ConfigError
        When the file cannot be written.
    """
    if out is not None:
        check_out(out)
    from lab.dossier.content import dossier_of

    found = dossier_of(ledger, campaign)
    if out is None and not is_page_wanted:
        return found, None
    from lab.dossier.page import page

    path = home.reports / f"{found.row.id}.html" if out is None else out
    _write(path, page(found), is_own=out is None)
    return found, path


def check_out(out: Path) -> None:
    """Refuse a file that cannot be written, before anything else is done.

    Raises
    ------
    ConfigError
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError("command line", "--out", str(out), "a file that ends in .html")
    if not out.absolute().parent.is_dir():
        raise ConfigError("command line", "--out", str(out), "a file in a folder that exists")


def screen(told: Iterable[tuple[str, str]]) -> RenderableType:
    """Headings and sentences, side by side."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for heading, text in told:
        table.add_row(heading, Text(text))
    return table


def _write(path: Path, text: str, *, is_own: bool) -> None:
    """The file appears whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if is_own:
            path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        field = "LAB_HOME" if is_own else "--out"
        raise ConfigError("command line", field, f"{path}, which cannot be written: {error.strerror}", "a file in a folder that is writable") from error


def as_json(dossier: Dossier) -> dict[str, Any]:
    """The numbers behind it; see docs/files.md."""
    from lab.dossier.numbers import as_json as numbers

    return numbers(dossier)
