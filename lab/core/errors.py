"""One tree of errors, cut by what the caller does next.

::

    LabError
    |-- ConfigError        fix the file named in the message, then start again     (exit status 2)
    |-- InstrumentError    this sample is lost; the campaign goes on
    |   |-- LinkError          the line: wait until the bridge has reconnected
    |   |   |-- LinkDown           nobody at the other end (unplugged, refused, closed)
    |   |   |-- LinkTimeout        no complete reply before the deadline
    |   |   `-- LinkGarbled        a reply that is not what the protocol allows
    |   |-- CommandError       the instrument refused or failed, in its own words
    |   |   `-- EmptyPlace         the gripper closed on nothing: that place is free, the sample somewhere else
    |   |-- LimitError         a value outside the limits; nothing was sent
    |   |-- InterlockError     an interlock is violated, nothing was sent: wait until its condition holds again, then go on
    |   `-- NotBegun           nothing was done: the sample says nothing of its point, only of the laboratory
    |-- SampleError        this sample cannot give what was asked (no film, no peaks)
    |   `-- GapError           a step came later than the recipe allows: the sample is spoilt, its point is not to blame
    |-- ConsumableError    a liquid or the substrates do not suffice: refill, then go on
    |-- CampaignError      the campaign has failed; its cause says why (raised where a campaign is one plan among others)
    |-- ScheduleError      the recipe's time limits cannot be kept in this laboratory: change one or the other
    |-- OptimizerError     no suggestion can be made; the message says why
    |-- LedgerError        the record of the campaign cannot be read or written: stop
    |   `-- Outdated           somebody else has changed meanwhile what this was made from: look again, and decide anew
    |-- LeaseError         somebody else controls the laboratory: wait for their end, or ask them
    |-- RemoteError        the laboratory at the far end refused, or gave no answer: the message says which, and what was done
    `-- ServiceError       a process of the laboratory did not start or died: see its log
"""

from __future__ import annotations

from collections.abc import Sequence


class LabError(Exception):
    """Everything that Labwright raises on purpose."""


class ConfigError(LabError):
    """A lab file, campaign file, table or command-line value is wrong.

    Parameters
    ----------
    file : str
        The file (or ``command line``) that has to be changed.
    field : str
        Dotted path of the field, for instance ``parameters.2.bounds``.
    given, allowed : str
        What stands there, and what may stand there.
    others : sequence of ConfigError
        Further errors found at the same time; all are shown, a line each.
    """

    def __init__(self, file: str, field: str, given: str, allowed: str, others: Sequence[ConfigError] = ()) -> None:
        self.file, self.field, self.given, self.allowed, self.others = file, field, given, allowed, tuple(others)
        lines = [f"{file}: {field}: given {given}; allowed: {allowed}", *(str(other) for other in others)]
        super().__init__("\n".join(lines))


class InstrumentError(LabError):
    """Something went wrong at an instrument; the message starts with its name."""


class LinkError(InstrumentError):
    """The line to the instrument failed. Carries the bytes that were exchanged.

    Parameters
    ----------
    message : str
        Who, what, and what to do next.
    request, reply : bytes
        What was sent and what had come back when it failed.
    """

    def __init__(self, message: str, request: bytes = b"", reply: bytes = b"") -> None:
        self.request, self.reply = request, reply
        detail = f" (sent {request!r}, got {reply!r})" if request or reply else ""
        super().__init__(message + detail)


class LinkDown(LinkError):
    """Nobody at the other end."""


class LinkTimeout(LinkError):
    """No complete reply before the deadline."""


class LinkGarbled(LinkError):
    """A reply that the protocol does not allow (framing, checksum, type)."""


class CommandError(InstrumentError):
    """The instrument refused a command or failed while carrying it out."""


class EmptyPlace(CommandError):
    """No sample stands where one was to be taken."""


class NotBegun(InstrumentError):
    """A sample was not begun, since an instrument is not ready or another sample may be in the way."""


class LimitError(InstrumentError):
    """A value outside the limits. Nothing was sent to the instrument."""


class InterlockError(InstrumentError):
    """An interlock of lab.yaml forbids it now. Nothing was sent to the instrument; the message has the interlock's reason."""


class SampleError(LabError):
    """The sample gives no result: no film, no peaks, no counts."""


class GapError(SampleError):
    """More time than the recipe allows went by between two steps."""


class ConsumableError(LabError):
    """Less is left of a liquid, of the substrates or of the rack's slots than is needed. Nothing was done."""


class CampaignError(LabError):
    """A campaign has failed: its budget of failures is spent, or nothing more can be suggested."""


class ScheduleError(LabError):
    """A route whose time limits can never be kept, or that no station can serve."""


class OptimizerError(LabError):
    """The optimiser cannot make a suggestion."""


class LedgerError(LabError):
    """The ledger cannot be read or written."""


class Outdated(LedgerError):
    """The campaign or the trial is not what it was when this was decided. Nothing was written."""


class RemoteError(LabError):
    """The laboratory at the other end of a connection refused a request, or did not answer it."""


class LeaseError(LabError):
    """Somebody else controls the laboratory; the message names them. Nothing was done."""


class ServiceError(LabError):
    """A process of the laboratory did not start, or died."""


_SPOKEN: dict[str, type[InstrumentError]] = {
    kind.__name__: kind for kind in (InstrumentError, LinkError, LinkDown, LinkTimeout, LinkGarbled, CommandError, LimitError)
}


def to_words(error: InstrumentError) -> str:
    """An instrument's error as one line of text: its class and its message, for the ``X:ERR`` channels."""
    return f"{type(error).__name__}: {error}"


def from_words(words: str) -> InstrumentError:
    """The error that `to_words` wrote down; text of any other origin becomes a CommandError."""
    name, _, message = words.partition(": ")
    if name in _SPOKEN and message:
        return _SPOKEN[name](message)
    return CommandError(words)
