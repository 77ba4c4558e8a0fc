"""Questions that a session asks people, and their answers: from the console, another process, or a remote client.

A question has one answer: the first. When the session that asked is gone, nobody waits for one, and the question reads
as withdrawn; the session that resumes the campaign asks anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from lab.core.errors import LedgerError
from lab.records import schema
from lab.records.answers import add_event, campaign_by_id, rows_of
from lab.records.part import Part
from lab.records.rows import QuestionRow


class Questions(Part):
    """What sessions ask, and what people answer."""

    def ask(self, campaign: str, trial: int | None, sample: str, step: str, error: str, choices: Mapping[str, str], default: str) -> int:
        """Put a question; returns its number.

        Parameters
        ----------
        trial, sample, step
            What it is about.
        error : str
            What happened, in the instrument's words.
        choices : mapping of str to str
            What can be done, each with a line of explanation, in the order in which they are offered.
        default : str
            One of them, or empty: what will be done when nobody answers.

        Raises
        ------
        LedgerError
            Without choices, when the default is none of them, or when the campaign does not run.
        """
        offered = {str(choice): str(text) for choice, text in choices.items()}
        if not offered or (default and default not in offered):
            raise LedgerError(f"{campaign}: question about {sample}: default: given {default!r}; allowed: one of the choices "
                              f"({', '.join(offered) or 'there are none'})")
        with self._store.write() as connection:
            owner = self._check_open(connection, campaign, "ask")
            number = connection.execute(insert(schema.question).values(
                campaign=campaign, trial=trial, sample=sample, step=step, error=error, choices=offered, default=default,
                session=owner.session, state="open", choice="", answered_by="", **self._store.stamp("asked"))).inserted_primary_key
            if number is None:
                raise LedgerError("question: the database gave no number to the new row")
            add_event(connection, self._store, campaign, trial, "question",
                      f"question {number[0]}: {sample}: {step}: {error}; choices: {', '.join(offered)}")
        return int(number[0])

    def answer(self, question: int, choice: str, by: str) -> QuestionRow:
        """Answer a question; the first answer counts.

        Raises
        ------
        LedgerError
            When the choice is not offered, somebody has answered already (it says who), or the question is withdrawn.
        """
        table = schema.question
        with self._store.write() as connection:
            connection.execute(select(table.c.id).where(table.c.id == question).with_for_update()).all()  # one at a time: the first counts
            row = _question(connection, question)
            if row.state == "answered":
                raise LedgerError(f"question {question}: was answered already: {row.choice}, by {row.answered_by} on {row.ended_wall}")
            if row.state == "withdrawn":
                raise LedgerError(f"question {question}: is withdrawn: the session that asked waits no more; {row.campaign} asks anew when it is "
                                  "resumed")
            if choice not in row.choices:
                raise LedgerError(f"question {question}: given {choice!r}; allowed: {', '.join(row.choices)}")
            owner = campaign_by_id(connection, row.campaign)
            connection.execute(update(table).where(table.c.id == question).values(
                state="answered", choice=choice, answered_by=by, **self._stamp(connection, owner, "ended")))
            add_event(connection, self._store, row.campaign, row.trial, "answer", f"question {question}: {choice}, says {by}",
                      self._stamp(connection, owner, "recorded"))
            return _question(connection, question)

    def withdraw(self, question: int, cause: str) -> None:
        """Nobody waits for the answer any longer (the sample was given up, the time is over). One that has an answer stays as it is."""
        table = schema.question
        with self._store.write() as connection:
            row = _question(connection, question)
            changed = connection.execute(update(table).where(table.c.id == question, table.c.state == "open").values(
                state="withdrawn", **self._store.stamp("ended")))
            if changed.rowcount == 1:
                add_event(connection, self._store, row.campaign, row.trial, "question", f"question {question} is withdrawn: {cause}")

    def question(self, question: int) -> QuestionRow:
        """One question as it stands.

        Raises
        ------
        LedgerError
            When there is none of that number.
        """
        with self._store.read() as connection:
            return _question(connection, question)

    def open_questions(self, campaign: str | None = None) -> list[QuestionRow]:
        """Questions that somebody waits for, of one campaign or of all, the oldest first."""
        return [row for row in self.questions(campaign) if row.state == "open"]

    def questions(self, campaign: str | None = None) -> list[QuestionRow]:
        """All questions of one campaign or of all, the oldest first."""
        table = schema.question
        where: Any = table.c.id > 0 if campaign is None else table.c.campaign == campaign
        with self._store.read() as connection:
            return rows_of(connection, QuestionRow, table, where, [table.c.id], "open", "withdrawn")


def _question(connection: Connection, number: int) -> QuestionRow:
    table = schema.question
    found = rows_of(connection, QuestionRow, table, table.c.id == number, [table.c.id], "open", "withdrawn")
    if not found:
        last = connection.execute(select(table.c.id).where(table.c.state == "open").order_by(table.c.id)).scalars().all()
        raise LedgerError(f"question {number}: is not in the ledger; open: {', '.join(map(str, last)) or 'none'}")
    return found[0]
