"""A plan whose instruments are guarded by interlocks: looked at before each message that begins something."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

from bluesky.utils import Msg, RunEngineControlException, ensure_generator

from lab.core.errors import InterlockError
from plans.stubs import Plan

BEGINS = frozenset({"set", "trigger", "kickoff"})
"""Messages that have an instrument begin something. Stopping, reading and waiting are always allowed."""


class Guarding(Protocol):
    """The interlocks, as `guarded` needs them (implemented by `devices.interlocks`)."""

    def check(self, instruments: Iterable[str]) -> None:
        """Raise InterlockError when one of the instruments must not begin anything."""
        ...

    def waits(self, instruments: Iterable[str]) -> Sequence[Callable[[], Awaitable[None]]]:
        """What to wait for before one of these moves: violated interlocks that suspend."""
        ...


def guarded(plan: Any, interlocks: Guarding, instruments_of: Callable[[Any], tuple[str, ...]]) -> Plan:
    """Run a plan; before each of its messages that begins something, wait while an interlock suspends and refuse while one blocks.

    The refusal is an InterlockError, raised in the plan at that message, which is not sent. A plan that is being aborted or stopped is
    refused what it would else wait for: nobody may ever mend it (the simulator is gone, the door stays open), and it has to come to its end.

    Parameters
    ----------
    plan : generator of messages
    interlocks : Guarding
    instruments_of : callable
        Names of the instruments that the object of a message belongs to; none for what is not guarded.
    """
    plan = ensure_generator(plan)
    step, given, is_ending = plan.send, None, False
    while True:
        try:
            msg = step(given)
        except StopIteration as end:
            return end.value
        step, given = plan.send, None
        try:
            if msg.command in BEGINS and (names := instruments_of(msg.obj)):
                yield from _permission(interlocks, names, is_ending)
            given = yield msg
        except GeneratorExit:
            plan.close()
            raise
        except BaseException as error:  # noqa: BLE001 - whatever the RunEngine throws in is the plan's own business
            step, given = plan.throw, error
            is_ending = is_ending or isinstance(error, (RunEngineControlException, asyncio.CancelledError))


def _permission(interlocks: Guarding, instruments: tuple[str, ...], is_ending: bool) -> Plan:
    """Wait for what suspends, then raise for what blocks.

    Raises
    ------
    InterlockError
    """
    while waits := interlocks.waits(instruments):
        if is_ending:
            interlocks.check(instruments)
            raise InterlockError(f"{', '.join(instruments)}: must not begin: an interlock has plans wait, and this one is ending")
        yield Msg("wait_for", None, list(waits))
    interlocks.check(instruments)


