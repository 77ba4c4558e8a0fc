"""A campaign while it runs: the only mutable state of it. Everything that matters is in the ledger, and read from there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Protocol, cast

from lab.core.best import best_trial
from lab.core.clock import Clock
from lab.core.errors import ConsumableError, LabError, LedgerError, NotBegun, Outdated
from lab.core.journal import Journal
from lab.core.question import CampaignConfig
from lab.core.recovery import Choice, Policy
from lab.core.space import ChoiceParameter, Parameter, RangeParameter, Space, Value
from lab.core.trial import Outcome, Suggestion, Trial, TrialState
from lab.current import Current
from lab.ends import End, spent
from lab.optimise.stopping import verdict
from lab.questions import Question, Watch
from lab.recommended import recommended
from lab.records.documents import RunReferences
from lab.records.ledger import Ledger
from lab.records.rows import Known
from lab.translation import Translation
from plans.conductor import Unfinished
from plans.expectation import Expectation
from plans.forecast import Route
from plans.recipes import Carried, Order, Recipe, doses_of
from plans.statuses import Happening

log = logging.getLogger(__name__)

Document = tuple[str, dict[str, Any]]
Evaluate = Callable[[Sequence[Document], CampaignConfig], Outcome]


class Reporter(Protocol):
    """Whoever tells people what happens, as it happens."""

    def began(self, campaign: Campaign) -> None: ...

    def suggested(self, campaign: Campaign, order: Order, suggestion: Suggestion) -> None: ...

    def step(self, campaign: Campaign, order: Order, station: str, what: str) -> None: ...

    def ended(self, campaign: Campaign, trial: Trial) -> None: ...

    def asked(self, campaign: Campaign, question: int) -> None: ...

    def trouble(self, text: str) -> None: ...

    def closed(self, campaign: Campaign) -> None: ...


class Told:
    """A journal that also tells the reporter which station does what.

    Everything else is the ledger's own (`lab.core.journal.Journal`).
    """

    def __init__(self, journal: Journal, tell: Callable[[str, str], None]) -> None:
        self._journal, self._tell = journal, tell
        self._stations: dict[int, str] = {}

    def step_began(self, station: str, what: str, name: str = "") -> int:
        self._tell(station, what)
        number = self._journal.step_began(station, what, name)
        self._stations[number] = station
        return number

    def step_ended(self, step: int, cause: str = "") -> None:
        self._journal.step_ended(step, cause)
        self._tell(self._stations.pop(step), "")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


class Collector:
    """Keeps the documents of runs that are being made, several at once, for the evaluation; subscribe it to the RunEngine."""

    def __init__(self) -> None:
        self._documents: dict[str, list[Document]] = {}
        self._run_of: dict[str, str] = {}
        self._references = RunReferences()

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        run = self._references.run_of(name, doc)
        if run is None:
            return
        if name == "start" and "sample" in doc:
            self._documents[run] = []
            self._run_of[str(doc["sample"])] = run
        if run in self._documents:
            self._documents[run].append((name, dict(doc)))
        if name == "stop":
            self._references.forget(run)

    def take(self, sample: str) -> list[Document]:
        """The documents of a sample's run so far; they are forgotten here."""
        return self._documents.pop(self._run_of.pop(sample, ""), [])


class Thought(Happening):
    """The next order, worked out in a thread (`plans.conductor.Thought`)."""

    order: Order | None = None


def middle(space: Space) -> dict[str, Value]:
    """A point in the middle of the bounds, constraints aside: good enough to tell how long a sample will take."""
    return {p.name: _middle(p) for p in space.parameters}


def _middle(parameter: Parameter) -> Value:
    if isinstance(parameter, RangeParameter):
        return (parameter.low + parameter.high) / 2
    return parameter.values[len(parameter.values) // 2] if isinstance(parameter, ChoiceParameter) else parameter.value


def _with_sample(order: Order, sample: str, slot: str, n_former: int) -> Order:
    """The order of a sample that is on record: its documents name it, too."""
    return replace(order, sample=sample, place=slot, key=sample, n_former=n_former, metadata={**order.metadata, "sample": sample})


class Campaign:
    """Implements `plans.conductor.Conductor`: what the closed loop asks, answered from ledger and optimiser.

    Parameters
    ----------
    current : Current
        Its configuration and optimiser; without one, the points are those that programs elsewhere propose in the ledger.
    lab : str
        Name of the laboratory, whose stock and slots it uses.
    ledger : Ledger
    campaign_id : str
        Open in the ledger.
    translation : Translation
    policy : Policy
        What is done when a step fails.
    evaluate : callable
        Documents of a run, and the configuration now -> Outcome; raises SampleError.
    collector : Collector
    rack : sequence of str
        Places with substrates, in the order of use.
    clock : Clock
        Laboratory time.
    reporter : Reporter
    """

    def __init__(
        self,
        current: Current,
        lab: str,
        ledger: Ledger,
        campaign_id: str,
        translation: Translation,
        policy: Policy,
        evaluate: Evaluate,
        collector: Collector,
        rack: Sequence[str],
        clock: Clock,
        reporter: Reporter,
    ) -> None:
        self._current, config = current, current.config
        self.lab, self.id, self.clock, self.policy = lab, campaign_id, clock, policy
        self.ledger = ledger
        self.recipe: Recipe = translation.recipe
        self.priority, self.share = config.priority, config.share
        self.unfinished: Sequence[Unfinished] = ()
        self._translation, self._evaluate = translation, evaluate
        self._collector, self._rack, self._reporter = collector, tuple(rack), reporter
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="thinking")
        self._speed: float | str = clock.speed if clock.speed < float("inf") else "max"
        self._expectation = Expectation(self.recipe, self._order(-1, middle(config.space)), ledger.durations(lab, self.recipe.name, self._speed))
        self._journals: dict[str, Journal] = {}
        self._thinking_wall_s = 0.0
        self._questions = Watch(ledger)
        self._stopped, self._shortage = "", ""
        self._idle_since: float | None = None
        self._has_failed = False
        self._told_of: set[int] = set()
        self.n_begun = 0
        """Samples begun in this session, for its share of the work cell."""
        self.began_lab_s, self.began_wall_s = ledger.campaign(campaign_id).started_lab_s, time.monotonic()
        sessions = ledger.sessions(campaign_id)
        self._idle_s = sum(later.began_lab_s - former.ended_lab_s for former, later in zip(sessions, sessions[1:], strict=False)
                           if former.ended_lab_s is not None)
        self.unexpected: Exception | None = None
        self.end: End | None = None
        self.recommended: Mapping[str, Any] | None = None
        """What it recommends (`lab.recommended`), once it is done or has failed."""

    # ------------------------------------------------------------------------------------- what the dispatcher asks

    @property
    def ahead_s(self) -> float:
        """How long a suggestion takes, laboratory seconds: so much earlier it is asked for."""
        return self._thinking_wall_s * self.clock.speed if self.clock.speed < float("inf") else 0.0

    @property
    def config(self) -> CampaignConfig:
        """As it is now: people may change it under way."""
        return self._current.config

    def may_begin(self) -> bool:
        self._look()
        return not self._stopped and self.unexpected is None and not self._spent(self.trials)

    def next_order(self) -> Thought:
        thought = Thought()

        def work() -> None:
            if self.end is None:
                thought.order = self._next_order()

        self._in_thread("suggest", work, thought)
        return thought

    def begin(self, order: Order) -> tuple[Order, Journal] | None:
        trial = self.ledger.trial(self.id, order.trial)
        if trial.state is TrialState.ABANDONED:
            self._reporter.ended(self, trial)
            raise Outdated(f"trial {order.trial + 1} has been taken back")
        short, journal = self._lacking(order), None
        if not short:
            try:
                journal = self.ledger.start_trial(self.id, order.trial, self._rack)
            except ConsumableError as error:
                short = str(error)
        if short != self._shortage:
            self._shortage = short
            self.trouble(f"waiting: {short}" if short else "refilled: going on")
        if journal is None:
            return None
        self.n_begun += 1
        *former, sample = [row for row in self.ledger.samples(self.id) if row.trial == order.trial]
        begun = _with_sample(order, sample.id, sample.slot, len(former))
        return begun, self.told(begun, journal)

    def route(self, order: Order | None) -> Route:
        return self._expectation.route(order)

    def load_below_c(self) -> float:
        return float(self._translation.fixed.get("load_below_c", 60.0))

    # ------------------------------------------------------------------------------------------ what a sample's life asks

    def carried(self, order: Order, carried: Carried) -> None:
        self._journals[order.sample].executed(self._translation.executed(carried))

    def measured(self, order: Order) -> Happening:
        done = Happening()
        self._in_thread("evaluate", lambda: self._record_outcome(order), done)
        return done

    def failed(self, order: Order, error: LabError) -> None:
        trial = self.ledger.trial(self.id, order.trial)
        if trial.state is TrialState.RUNNING:
            state = TrialState.ABANDONED if isinstance(error, NotBegun) else TrialState.FAILED
            self.ledger.fail_trial(self.id, order.trial, str(error), state)
            self._collector.take(order.sample)
            self._reporter.ended(self, self.ledger.trial(self.id, order.trial))
        else:
            self.trouble(f"sample {order.sample}: {error}")

    def remake(self, order: Order, error: LabError) -> None:
        self._collector.take(order.sample)
        self.ledger.requeue_trial(self.id, order.trial, str(error))
        self._reporter.trouble(f"sample {order.sample}: {error}; trial {order.trial + 1} is made again")

    def stop(self, cause: str) -> None:
        """No further sample is begun; those in the machine are finished."""
        self._stopped = self._stopped or cause

    def ask(self, order: Order, step: str, error: LabError, choices: Mapping[Choice, str], otherwise: Choice) -> Question:
        number = self.ledger.ask(self.id, order.trial, order.sample, step, str(error), {c.value: text for c, text in choices.items()}, otherwise.value)
        self._reporter.asked(self, number)
        return self._questions.add(number)

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
        """Laboratory seconds of all its sessions, without what lay between them."""
        return self.clock.now() - self.began_lab_s - self._idle_s

    def begins(self) -> None:
        """The loop is about to begin."""
        self._reporter.began(self)

    def concluded(self) -> End:
        """How it ended, once no sample is in the machine."""
        if isinstance(self.unexpected, LedgerError):
            return End("interrupted", f"{self.unexpected}; mend it, then: lab resume {self.id}")
        if self.unexpected is not None:  # a mistake of ours, and none of the campaign's: once it is mended, it goes on
            return End("interrupted", f"{type(self.unexpected).__name__}: {self.unexpected}")
        self._look()
        end = self._spent(self.trials)
        if end is not None:
            return end
        if self._stopped:
            return End("failed" if self._has_failed else "done", self._stopped)
        return End("interrupted", f"it came to its end, and then somebody gave it more to do: lab resume {self.id}")

    def close(self, end: End) -> None:
        """Write the end into the ledger; the thread of the optimiser is given back.

        What has been measured is evaluated before; a suggestion that nobody waits for is not worked out any more.
        """
        self.end = end
        try:
            self._thread.shutdown(wait=True)
            self._questions.close()
            self.ledger.close_campaign(self.id, end.status, end.cause)  # type: ignore[arg-type]
            if end.status != "interrupted":
                self.recommended = recommended(self.config, self.trials)
                self.ledger.note(self.id, "recommended", self.recommended["words"])
        finally:
            self._reporter.closed(self)

    def told(self, order: Order, journal: Journal) -> Journal:
        """The journal of an order that begins or goes on; the reporter hears of its steps."""
        heard = cast(Journal, Told(journal, lambda station, what: self._reporter.step(self, order, station, what)))
        self._journals[order.sample] = heard
        return heard

    # ------------------------------------------------------------------------------------- in the thread

    def _next_order(self) -> Order | None:
        while True:  # again only when somebody has changed the campaign meanwhile
            self._look()
            known = self.ledger.known(self.id)
            again = next((t for t in known.trials if t.state is TrialState.SUGGESTED), None)
            if again is not None:
                return self._announced(again.index, Suggestion(again.planned, again.origin))
            try:
                return self._suggested(known)
            except Outdated as error:
                log.info("suggesting again: %s", error)

    def _suggested(self, known: Known) -> Order | None:
        """The optimiser's next point, or one that a program elsewhere proposes."""
        optimizer = self._current.optimizer(known)
        if optimizer is None:
            return self._proposed(known.basis)
        enough = verdict(self.config, known.trials) if self.config.stop is not None else ""
        if enough:
            self.stop(enough)
            return None
        began = time.monotonic()
        try:
            suggestion = optimizer.suggest(known.trials)[0]
        except LabError as error:
            self._stopped, self._has_failed = f"no suggestion: {error}", True
            return None
        self._thinking_wall_s = time.monotonic() - began
        return self._announced(self.ledger.add_suggestion(self.id, suggestion, known), suggestion)

    def _announced(self, index: int, suggestion: Suggestion) -> Order:
        """The order of a suggestion, of which people hear once."""
        order = self._order(index, suggestion.values)
        if index not in self._told_of:
            self._told_of.add(index)
            self._reporter.suggested(self, order, suggestion)
        return order

    def _proposed(self, basis: int) -> Order | None:
        """The next point that a program elsewhere has proposed; None while there is none.

        When nothing has been proposed for too long, and no sample is under way whose outcome that program may be waiting for, the
        campaign ends.
        """
        row = self.ledger.take_proposal(self.id, basis)
        if row is not None and row.trial is not None:
            self._idle_since = None
            return self._announced(row.trial, Suggestion(row.values, f"proposed by {row.by}"))
        now, deadline_s = time.monotonic(), self.config.optimizer.deadline_s
        if self._idle_since is None or any(trial.state is TrialState.RUNNING for trial in self.trials):
            self._idle_since = now
        elif now - self._idle_since >= deadline_s:
            self.stop(f"nothing was proposed for {deadline_s:g} s")
        return None

    def order_of(self, index: int, sample: str, slot: str, n_former: int = 0) -> Order:
        """The order of a sample on record."""
        return _with_sample(self._order(index, self.ledger.trial(self.id, index).planned), sample, slot, n_former)

    def evaluate_now(self, order: Order, documents: Sequence[Document]) -> None:
        """Evaluate a sample whose readings an earlier session has taken."""
        self._conclude(order, documents)

    def _order(self, index: int, values: Mapping[str, Any]) -> Order:
        """An order that has no sample yet: the slot is found when it begins."""
        metadata = {"campaign": self.id, "trial": index, "plan_name": self.config.recipe, "planned": dict(values)}
        return self._translation.order(values, trial=index, sample="", place="", metadata=metadata)

    def _spent(self, trials: Sequence[Trial]) -> End | None:
        """Why no further trial is begun, None when one may be."""
        return spent(self.config.budget, trials, self.lab_s)

    def _look(self) -> None:
        """Take up what people have changed, and say so."""
        for change in self._current.look():
            self._reporter.trouble(f"{change.words}, says {change.by}")

    def _record_outcome(self, order: Order) -> None:
        self._conclude(order, self._collector.take(order.sample))

    def _conclude(self, order: Order, documents: Sequence[Document]) -> None:
        """The outcome of a sample, or why it has none."""
        try:
            self._look()
            outcome = self._evaluate(documents, self.config)
            self.ledger.complete_trial(self.id, order.trial, outcome)
        except LedgerError:
            raise
        except LabError as error:
            self.failed(order, error)
            return
        self._expectation.learn(self.ledger.durations(self.lab, self.recipe.name, self._speed))
        self._reporter.ended(self, self.ledger.trial(self.id, order.trial))

    def _in_thread(self, what: str, work: Callable[[], None], done: Happening) -> None:
        """Run `work` in the thinking thread, then `done` happens; virtual time stands still meanwhile.

        What nobody foresaw (a mistake in a library, a full disk) keeps further samples from being begun, and is raised by
        the session with its traceback.
        """
        busy = ExitStack()
        busy.enter_context(self.clock.working())

        def run() -> None:
            with busy:
                try:
                    if self.unexpected is None:
                        work()
                except Exception as error:  # noqa: BLE001 - kept, ends the campaign, and is raised by the session
                    log.exception("%s failed", what)
                    self.unexpected = error
                finally:
                    done.happen()

        self._thread.submit(run)

    # ------------------------------------------------------------------------------------------- consumables

    def _free_slots(self) -> tuple[str, ...]:
        return self.ledger.free_slots(self.lab, self._rack)

    def _lacking(self, order: Order) -> str:
        """What the order needs and the laboratory has not, in words with what to do; empty when nothing lacks."""
        if not self._free_slots():
            return f"no empty substrate left in the rack; put new ones in, then: lab refill {self.lab} rack"
        stock = {row.account: row for row in self.ledger.stock(self.lab)}
        for liquid, needed_ml in doses_of(order).items():
            row = stock.get(f"liquid:{liquid}")
            if row is not None and row.available < needed_ml:
                return (f"{liquid}: {row.available:.3g} mL left, the next sample needs {needed_ml:.3g} mL; "
                        f"refill it, then: lab refill {self.lab} {liquid}")
        return ""
