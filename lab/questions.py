"""Questions to the operator: put by a campaign, answered in the ledger by whoever may, seen by the campaign within a moment."""

from __future__ import annotations

import logging
import threading

from lab.core.errors import LedgerError
from lab.core.recovery import Choice
from lab.records.ledger import Ledger
from plans.statuses import Happening

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""Wall seconds between two looks at the ledger while a question is open."""


class Question:
    """One open question; implements `plans.conductor.Question`.

    Parameters
    ----------
    ledger : Ledger
    number : int
        In the ledger.
    """

    def __init__(self, ledger: Ledger, number: int) -> None:
        self._ledger, self.number = ledger, number
        self.status = Happening()
        self.choice: Choice | None = None

    def look(self) -> bool:
        """Whether it has been answered."""
        row = self._ledger.question(self.number)
        if row.choice and not self.status.done:
            self.choice = Choice(row.choice)
            self.status.happen()
        return self.status.done

    def withdraw(self, instead: Choice) -> None:
        """Nobody answered in time: the answer is `instead`, given by the policy; one that came at the last moment counts."""
        try:
            self._ledger.answer(self.number, instead.value, "policy (no answer in time)")
        except LedgerError:
            if not self.look():
                raise
        else:
            self.look()


class Watch:
    """Looks for answers as long as questions are open."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._open: list[Question] = []
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, number: int) -> Question:
        """Watch the question of this number."""
        question = Question(self._ledger, number)
        with self._lock:
            self._open.append(question)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="questions", daemon=True)
                self._thread.start()
        return question

    def close(self) -> None:
        """No more looks."""
        self._is_over.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_S):
            with self._lock:
                asked = list(self._open)
            answered = [question for question in asked if self._is_answered(question)]
            with self._lock:
                self._open = [question for question in self._open if question not in answered]
                if not self._open:
                    self._thread = None
                    return

    @staticmethod
    def _is_answered(question: Question) -> bool:
        try:
            return question.look()
        except LedgerError:  # the campaign ends of it at its next entry; until then nobody knows of an answer
            log.exception("question %d cannot be looked up", question.number)
            return False
