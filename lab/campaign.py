"""A campaign while it runs: the only mutable state of it. Everything that matters is in the ledger, and read from there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, cast

from ophyd.status import Status

from lab.core.best import best_trial
from lab.core.clock import Clock
from lab.core.config import CampaignConfig
from lab.core.errors import LabError, LedgerError, NotBegun
from lab.core.journal import Journal
from lab.core.trial import Outcome, Suggestion, Trial, TrialState
from lab.optimise import Optimizer
from lab.records.ledger import Ledger
from lab.translation import Translation
from plans.recipes import Carried, Order

log = logging.getLogger(__name__)

Document = tuple[str, dict[str, Any]]
Evaluate = Callable[[Sequence[Document]], Outcome]


class Reporter(Protocol):
    """Whoever tells people what happens, as it happens."""

    def began(self, campaign: Campaign) -> None: ...

    def suggested(self, campaign: Campaign, order: Order, suggestion: Suggestion) -> None: ...

    def step(self, campaign: Campaign, order: Order, station: str, what: str) -> None: ...

    def ended(self, campaign: Campaign, trial: Trial) -> None: ...

    def trouble(self, text: str) -> None: ...

    def closed(self, campaign: Campaign) -> None: ...


@dataclass(frozen=True)
class End:
    """How a campaign ended: ``done``, ``failed`` or ``interrupted``, and why."""

    status: str
    cause: str


class Told:
    """A journal that also tells the reporter which station does what.

    Everything else is the ledger's own (`lab.core.journal.Journal`).
    """

    def __init__(self, journal: Journal, tell: Callable[[str, str], None]) -> None:
        self._journal, self._tell = journal, tell

    def step_began(self, station: str, what: str, name: str = "") -> int:
        self._tell(station, what)
        return self._journal.step_began(station, what, name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


class Collector:
    """Keeps the documents of runs that are being made, for the evaluation; subscribe it to the RunEngine."""

    def __init__(self) -> None:
        self._documents: dict[str, list[Document]] = {}
        self._sample_of: dict[str, str] = {}
        self._current = ""

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            self._current = str(doc.get("sample", doc["uid"]))
            self._documents[self._current] = []
        if self._current in self._documents:
            self._documents[self._current].append((name, dict(doc)))

    def take(self, sample: str) -> list[Document]:
        """The documents of a sample's run so far; they are forgotten here."""
        return self._documents.pop(sample, [])


class Campaign:
    """Implements `plans.closed_loop.Conductor`: what the closed loop asks, answered from ledger and optimiser.

    Parameters
    ----------
    config : CampaignConfig
    ledger : Ledger
    campaign_id : str
        Open in the ledger.
    optimizer : Optimizer
    translation : Translation
    evaluate : callable
        Documents of a run -> Outcome; raises SampleError.
    collector : Collector
    rack : sequence of str
        Places with empty substrates, in the order of use.
    clock : Clock
        Laboratory time.
    reporter : Reporter
    """

    def __init__(
        self,
        config: CampaignConfig,
        ledger: Ledger,
        campaign_id: str,
        optimizer: Optimizer,
        translation: Translation,
        evaluate: Evaluate,
        collector: Collector,
        rack: Sequence[str],
        clock: Clock,
        reporter: Reporter,
    ) -> None:
        self.config, self.id, self.clock = config, campaign_id, clock
        self.ledger = ledger
        self._optimizer, self._translation, self._evaluate = optimizer, translation, evaluate
        self._collector, self._rack, self._reporter = collector, tuple(rack), reporter
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="thinking")
        self.began_lab_s, self.began_wall_s = clock.now(), time.monotonic()
        self.order: tuple[Order, Journal] | None = None
        self.end: End | None = None
        self.unexpected: Exception | None = None

    # ------------------------------------------------------------------------- what the closed loop asks

    def next_order(self) -> Status:
        return self._in_thread("suggest", self._make_order)

    def measured(self, order: Order) -> Status:
        return self._in_thread("evaluate", lambda: self._record_outcome(order))

    def carried(self, order: Order, carried: Carried) -> None:
        executed = self._translation.executed(carried)
        if self.order is not None:
            self.order[1].executed(executed)

    def failed(self, order: Order, error: LabError) -> None:
        trial = self.ledger.trial(self.id, order.trial)
        if trial.state is TrialState.RUNNING:
            state = TrialState.ABANDONED if isinstance(error, NotBegun) else TrialState.FAILED
            self.ledger.fail_trial(self.id, order.trial, str(error), state)
            self._collector.take(order.sample)
            self._reporter.ended(self, self.ledger.trial(self.id, order.trial))
        else:
            self.trouble(f"sample {order.sample}: {error}")

    def trouble(self, what: str) -> None:
        self.ledger.note(self.id, "trouble", what)
        self._reporter.trouble(what)

    def whereabouts(self, order: Order) -> str:
        return self.ledger.where(order.sample)

    # ----------------------------------------------------------------------------------- what people ask

    @property
    def trials(self) -> list[Trial]:
        return self.ledger.trials(self.id)

    @property
    def best(self) -> Trial | None:
        """The best completed trial that keeps the outcome constraints."""
        return best_trial(self.config, self.trials)

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self.began_wall_s

    @property
    def lab_s(self) -> float:
        return self.clock.now() - self.began_lab_s

    def close(self, end: End) -> None:
        """Write the end into the ledger; the thread of the optimiser is given back."""
        self.end = end
        try:
            self.ledger.close_campaign(self.id, end.status, end.cause)  # type: ignore[arg-type]
        finally:
            self._thread.shutdown(wait=True, cancel_futures=True)
            self._reporter.closed(self)

    # ------------------------------------------------------------------------------------- in the thread

    def _make_order(self) -> None:
        self.order = None
        trials = self.trials
        self.end = self._budget_spent(trials)
        if self.end is not None:
            return
        try:
            suggestion = self._optimizer.suggest(trials)[0]
        except LabError as error:
            self.end = End("failed", f"no suggestion: {error}")
            return
        index = self.ledger.add_suggestion(self.id, suggestion)
        place = self._rack[index]
        journal = self.ledger.start_trial(self.id, index, place)
        metadata = {"campaign": self.id, "trial": index, "sample": journal.sample, "plan_name": self.config.recipe,
                    "planned": dict(suggestion.values)}
        order = self._translation.order(suggestion.values, trial=index, sample=journal.sample, place=place, metadata=metadata)
        told = Told(journal, lambda station, what: self._reporter.step(self, order, station, what))
        self.order = (order, cast(Journal, told))
        self._reporter.suggested(self, order, suggestion)

    def _budget_spent(self, trials: Sequence[Trial]) -> End | None:
        budget = self.config.budget
        causes = [t.cause for t in trials if t.state in (TrialState.FAILED, TrialState.ABANDONED)]
        if len(causes) >= budget.failures:
            return End("failed", f"failure budget spent: {len(causes)} samples failed, the last one with: {causes[-1]}")
        spent = ""
        if len(trials) >= budget.trials:
            spent = f"{budget.trials} trials"
        elif budget.hours is not None and self.lab_s >= budget.hours * 3600:
            spent = f"{budget.hours:g} laboratory hours"
        elif len(trials) >= len(self._rack):
            spent = f"no empty substrate left in the rack of {len(self._rack)}"
        if not spent:
            return None
        if not any(t.state is TrialState.COMPLETED for t in trials):
            return End("failed", f"no trial gave an outcome ({spent})")
        return End("done", spent)

    def _record_outcome(self, order: Order) -> None:
        try:
            outcome = self._evaluate(self._collector.take(order.sample))
            self.ledger.complete_trial(self.id, order.trial, outcome)
        except LedgerError:
            raise
        except LabError as error:
            self.failed(order, error)
            return
        self._reporter.ended(self, self.ledger.trial(self.id, order.trial))

    def _in_thread(self, what: str, work: Callable[[], None]) -> Status:
        """Run `work` in the thinking thread; the status always succeeds.

        What nobody foresaw (a mistake in a library, a full disk) ends the campaign at its next order, and is raised by
        the session with its traceback.
        """
        status = Status(timeout=None)

        def run() -> None:
            try:
                if self.unexpected is None:
                    work()
            except Exception as error:  # noqa: BLE001 - kept, ends the campaign, and is raised by the session
                log.exception("%s failed", what)
                self.unexpected = error
                self.order = None
                self.end = End("failed", f"{what}: {type(error).__name__}: {error}")
            finally:
                status.set_finished()

        self._thread.submit(run)
        return status
