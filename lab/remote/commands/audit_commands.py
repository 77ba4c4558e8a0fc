"""``lab audit``: who asked the gateway for what, and whether the log is as it was written. For the user whose LAB_HOME it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lab.core.errors import ConfigError
from lab.terminal import FAILED, errors_in_words, show

if TYPE_CHECKING:
    from lab.home import Home
    from lab.remote.access.audit_chain import Link, Verdict

app = typer.Typer()


@app.command()
def audit(
    who: Annotated[str, typer.Option("--who", metavar="NAME", help="requests of this key")] = "",
    method: Annotated[str, typer.Option("--method", help="its name, or a pattern: 'queue_*'")] = "",
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="2h, 7d, 2026-10-05, 2026-10-05T14:00")] = None,
    outcome: Annotated[str, typer.Option("--outcome", help="a part of what came of it: done, refused, revoked, ...")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="the last so many lines")] = 200,
    verify: Annotated[bool, typer.Option("--verify", help="whether anything was changed, removed, moved or cut off; then exit status 1")] = False,
    expect: Annotated[str | None, typer.Option("--expect", metavar="N:HASH", help="with --verify: a head noted earlier must still be there")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output")] = False,
) -> None:
    """Who asked for what through the gateway, from afar or here, and what came of it."""
    with errors_in_words():
        from lab.home import Home
        from lab.remote.access import audit_search

        home = Home.default()
        if expect is not None and not verify:
            raise ConfigError("command line", "--expect", "a head alone", "--verify with it")
        if verify:
            noted = None if expect is None else audit_search.head(expect)
            found = _verified(home, noted)
            typer.echo(json.dumps(audit_search.as_data(found)) if as_json else audit_search.verdict_in_words(found))
            if found.problems:
                raise typer.Exit(FAILED)
            return
        from lab.remote.access.audit import folder_of
        from lab.remote.access.audit_chain import entries

        _must_be_there(home)
        search = audit_search.Search(who, method, outcome, float("-inf") if since is None else audit_search.since(since))
        rows, n_found = audit_search.newest(entries(folder_of(home)), search, limit)
        show(rows, lambda data: audit_search.render(data, n_found), as_json)


def _verified(home: Home, noted: Link | None) -> Verdict:
    from lab.layout import Layout
    from lab.remote.access.audit import folder_of, is_being_written
    from lab.remote.access.audit_chain import Verdict, files_of, read_head, verify

    folder = folder_of(home)
    if not files_of(folder) and read_head(folder) is None:
        if Layout.load(home) is None:
            _must_be_there(home)
        return Verdict(problems=[f"{folder}: there is no log, though this laboratory has been up: it was removed, or its gateway has never run"])
    return verify(folder, is_being_written(home), noted)


def _must_be_there(home: Home) -> None:
    from lab.remote.access.audit import folder_of

    if not folder_of(home).is_dir():
        raise ConfigError("LAB_HOME", str(home.path), "no audit log there", "the home of a laboratory that has been up (lab up)")

