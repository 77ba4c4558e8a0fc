"""What the commands of ``lab queue`` share: the laboratory that is meant, and how it is told what was done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.terminal import BAD_INPUT, errors_in_words

if TYPE_CHECKING:
    from lab.remote.client.laboratory import Laboratory

Context = typer.Context
CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="id, the unique beginning of one, or a name (its newest)")]


@contextmanager
def laboratory_of(context: Context) -> Iterator[Laboratory]:
    """The laboratory that is meant; its refusals in words: 2 when what was given has to be changed, else 1."""
    with errors_in_words():
        from lab.remote.client.laboratory import Refused, connect
        from lab.remote.commands.queue_tables import plain, problem_lines

        address, key = context.obj
        with connect(address, key, status_polling_period=0.2) as lab:
            try:
                yield lab
            except Refused as error:
                lines = [plain(line) for line in str(error).splitlines()]
                lines += [line for line in problem_lines(error.problems) if not any(line in said for said in lines)]
                typer.echo("\n".join(lines if error.problems else [f"lab: {lines[0]}", *lines[1:]]), err=True)
                raise typer.Exit(BAD_INPUT if error.problems else 1) from error


def say(answer: Mapping[str, Any], words: str) -> None:
    """What was done; and what the laboratory has to say about it."""
    from lab.remote.commands.queue_tables import plain

    said = plain(answer.get("msg") or "")
    typer.echo(f"{words}{': ' if said else ''}{said}")
