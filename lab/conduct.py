"""Campaigns on a running laboratory: begun or resumed, paused and stopped by people, brought to their ends.

Imports Ophyd by way of the plans: see `lab.session`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bluesky.utils import RequestAbort, RequestStop, RunEngineInterrupted, TransitionError

from lab import interrupts
from lab.campaign import Campaign, Collector, End, Reporter
from lab.core.errors import CampaignError, LabError, LedgerError, ScheduleError, ServiceError
from lab.core.question import CampaignConfig
from lab.core.recovery import Policy
from lab.current import Current
from lab.instruments import geometry_of, work_cell
from lab.optimise import Optimizer, make_optimizer
from lab.priors import with_priors
from lab.records.documents import close_cut_off, runs_of
from lab.records.evaluate import evaluate
from lab.records.requests import WITHOUT_ACKNOWLEDGING
from lab.resumption import unfinished
from lab.stocking import open_accounts
from lab.translation import Translation
from plans.closed_loop import closed_loop
from plans.life import Stuck
from plans.stubs import Plan

if TYPE_CHECKING:
    from lab.session import Session

log = logging.getLogger(__name__)

LOOK_S = 0.3
"""Wall seconds between two looks for what people ask of running campaigns."""

CUT_OFF = "the session ended before the run did"
"""The reason in the stop document of such a run."""

FINISHING = "already finishing: instruments are being made safe; please wait"


class Conduct:
    """Campaigns that are run together in one session.

    Parameters
    ----------
    session : Session
        Started.
    reporter : Reporter
    go_on : callable or None
        Has the paused RunEngine go on, where that is somebody else's to do; None: `run` does it.
    """

    def __init__(self, session: Session, reporter: Reporter, go_on: Callable[[], None] | None = None) -> None:
        self._session, self._reporter = session, reporter
        self._collector = Collector()
        self._campaigns: list[Campaign] = []
        self._interrupts: list[str] = []
        self._go_on = threading.Event()
        self._resume = go_on if go_on is not None else self._go_on.set
        self._is_over = threading.Event()

    def begin(self, config: CampaignConfig, file: str = "campaign") -> Campaign:
        """A new campaign, open in the ledger.

        Raises
        ------
        ConfigError
            Before anything moves (see `lab.validation`).
        CampaignError
            When samples of another campaign are in the way.
        """
        lab, ledger = self._session.lab, self._session.ledger
        if not self._campaigns:
            open_accounts(ledger, lab, is_new_world=self._session.is_new_world)
        self.check_clear()
        config = with_priors(config, ledger, file)
        translation = Translation(config, lab, file)
        optimizer = _optimizer(config)
        campaign = ledger.open_campaign(config.name, config.model_dump_json(), lab.model_dump_json())
        return self._campaign(campaign, Current(ledger, campaign, 0, config, optimizer, _optimizer), translation)

    def resume(self, campaign_id: str) -> Campaign:
        """A campaign that has ended before its budget was spent, open again; what its last session left in the machine is looked through."""
        ledger = self._session.ledger
        row = ledger.campaign(campaign_id)
        ledger.reopen_campaign(row.id)
        last = ledger.revisions(row.id)[-1]
        config = CampaignConfig.model_validate_json(last.config)
        current = Current(ledger, row.id, last.number, config, _optimizer(config), _optimizer)
        campaign = self._campaign(row.id, current, Translation(config, self._session.lab, row.id))
        self._close_runs(row.id)
        campaign.unfinished = unfinished(campaign, self._session.documents, self._stations)
        return campaign

    def check_clear(self) -> None:
        """Refuse to begin while samples of campaigns that nobody runs stand where new ones would be put.

        Raises
        ------
        CampaignError
        """
        left = self._session.ledger.left_in_machine(self._session.lab.name, [campaign.id for campaign in self._campaigns])
        if left:
            where = ", ".join(f"{sample} ({place})" for sample, place in left.items())
            raise CampaignError(f"samples of an interrupted campaign are in the machine: {where}; resume it first, with these or alone, or take "
                                f"them out and say so: lab removed {' '.join(left)}")

    def _close_runs(self, campaign_id: str) -> None:
        """Runs that the last session left open get their stop document; Tiled takes up what it has missed."""
        folder = self._session.documents.folder
        for path in close_cut_off(folder, campaign_id, CUT_OFF):
            log.info("closed %s: %s", path.name, CUT_OFF)
        if self._session.lab.catalogue:
            self._session.catalogue.file(runs_of(folder, campaign_id))

    @property
    def _stations(self) -> tuple[str, ...]:
        lab = self._session.lab
        return tuple(place for place in lab.places if lab.stations[place.partition(".")[0]].role != "rack")

    def _campaign(self, campaign_id: str, current: Current, translation: Translation) -> Campaign:
        session = self._session
        geometry, frames = geometry_of(session.lab), session.home.frames(campaign_id)
        rack = tuple(place for place in session.lab.places if place not in self._stations)
        campaign = Campaign(current, session.lab.name, session.ledger, campaign_id, translation,
                            Policy((current.config.recovery, session.lab.recovery)),
                            lambda documents, config: evaluate(documents, config, geometry, frames),
                            self._collector, rack, session.clock, self._reporter)
        self._campaigns.append(campaign)
        return campaign

    def give_up(self, cause: str) -> None:
        """What has been begun cannot be run after all."""
        for campaign in self._campaigns:
            campaign.close(End("interrupted", cause))

    # ------------------------------------------------------------------------------------------------ running

    def run(self) -> list[tuple[Campaign, End]]:
        """Run what has been begun and resumed, to its end, in this thread.

        Ctrl-C (SIGINT), SIGTERM and SIGHUP end it as ``interrupted``: the plan makes the instruments safe and parks the arm.
        """
        end: End | None = End("interrupted", "the session ended")
        with self._interruptible():
            asking, loop = self._begin_all()
            try:
                end = self._run(loop)
            except (Stuck, LabError) as error:
                end = self._end_of(error)
            except Exception as error:  # a mistake of ours: on record, raised with its traceback, and no reason to lose the campaign
                end = self._end_of(error)
                raise
            finally:
                self._is_over.set()
                asking.join()
                self._end_all(end)
        self._raise_unexpected()
        return [(campaign, campaign.end) for campaign in self._campaigns if campaign.end is not None]

    def plan(self) -> Plan:
        """The same as a plan, which somebody else runs: the queue, to whom an abort or a stop of it belongs, and each pause.

        Raises
        ------
        CampaignError
            When a campaign has failed; its cause says why.
        LabError
            When it cannot go on; mended, it can be resumed.
        """
        end: End | None = End("interrupted", "the session ended")
        _, loop = self._begin_all()
        try:
            yield from loop
            end = None
        except BaseException as error:  # an abort and a stop are none of Exception; all of them go on their way
            end = self._end_of(error)
            raise
        finally:
            # Nobody waits for the thread that takes requests: it may be waiting for the RunEngine, in whose thread this is.
            self._is_over.set()
            self._end_all(end)
        self._raise_unexpected()
        for campaign in self._campaigns:
            if campaign.end is not None and campaign.end.status == "failed":
                raise CampaignError(f"{campaign.id}: failed: {campaign.end.cause}")

    def _begin_all(self) -> tuple[threading.Thread, Plan]:
        """From now on people can ask something of the campaigns; returns who takes it, and the loop as a plan."""
        session, campaigns = self._session, self._campaigns
        folders = [session.home.frames(campaign.id) for campaign in campaigns]
        cell = replace(work_cell(session.lab, session.devices, session.clock, folders[0].parent), exclusions=session.lab.exclusions,
                       check=self._check_interlocks)
        session.ended_by, session.running[:] = "", [campaign.id for campaign in campaigns]
        for campaign in campaigns:
            campaign.begins()
        session.warm_up([campaign.config for campaign in campaigns])
        self._token = session.RE.subscribe(self._collector)
        asking = threading.Thread(target=self._take_requests, name="requests", daemon=True)
        asking.start()
        return asking, closed_loop(cell, campaigns, max(campaign.policy.patience_s for campaign in campaigns), session.lab.at_once)

    def _end_all(self, end: End | None) -> None:
        session = self._session
        session.RE.unsubscribe(self._token)
        session.running.clear()
        with ExitStack() as closing:  # one that cannot be written keeps no other from its end
            for campaign in self._campaigns:
                closing.callback(_close, campaign, end)

    def _raise_unexpected(self) -> None:
        for campaign in self._campaigns:
            if campaign.unexpected is not None:
                raise campaign.unexpected

    def _end_of(self, error: BaseException) -> End:
        """What an error that ended the loop means for the campaigns."""
        if isinstance(error, ScheduleError):
            return End("failed", str(error))
        if isinstance(error, (Stuck, LabError)):
            return End("interrupted", f"{error}; mend it, then: lab resume {' '.join(campaign.id for campaign in self._campaigns)}")
        if isinstance(error, Exception) and not isinstance(error, (RequestStop, RequestAbort)):
            return End("interrupted", f"{type(error).__name__}: {error}")
        said = self._session.loss or self._session.ended_by
        return End("interrupted", said if said else f"{'stopped' if isinstance(error, RequestStop) else 'aborted'} in the queue")

    def _check_interlocks(self, devices: Sequence[Any]) -> None:
        """Raise InterlockError while an interlock forbids that one of these devices begins something."""
        guards = self._session.guards
        if guards is not None:
            guards.interlocks.check([name for device in devices for name in guards.instruments_of(device)])

    def _run(self, plan: Any) -> End | None:
        """Run the plan, through pauses; returns the end that came from outside, None when the plan came to its own."""
        engine = self._session.RE
        if self._interrupts or self._session.loss:
            return self._interrupted()
        go_on: Callable[[], Any] = lambda: engine(plan)  # noqa: E731 - the plan first, its resumption later
        while True:
            try:
                go_on()
            except RunEngineInterrupted:
                while engine.state == "paused" and not self._go_on.wait(LOOK_S):
                    pass
                while engine.state not in ("paused", "idle"):  # being aborted by another thread
                    self._is_over.wait(LOOK_S)
                if engine.state == "idle":
                    return self._interrupted()
                self._go_on.clear()
                go_on = engine.resume
            else:
                return None

    def _interrupted(self) -> End:
        said = self._session.loss or self._session.ended_by
        if said:
            return End("interrupted", said)
        return End("interrupted", self._interrupts[0] if self._interrupts else "aborted at the console")

    # ------------------------------------------------------------------------------------------ what people ask

    def _take_requests(self) -> None:
        """In a thread: what other processes ask of these campaigns, by way of the ledger."""
        while not self._is_over.wait(LOOK_S):
            try:
                for campaign in self._campaigns:
                    for request in self._session.ledger.take_requests(campaign.id):
                        self._obey(campaign, request.kind, request.by, request.detail)
            except LabError:  # the ledger may be locked for a moment: the campaign ends of one that stays so
                log.exception("requests cannot be taken")

    def _obey(self, campaign: Campaign, kind: str, by: str, detail: str) -> None:
        engine = self._session.RE
        if kind == "pause":
            campaign.trouble(f"paused by {by}: what is under way is finished, nothing further begins; to go on: lab continue {campaign.id}")
            try:
                engine.request_pause(defer=False)
            except TransitionError:
                log.info("a pause was asked for while %s", engine.state)
        elif kind == "continue":
            campaign.trouble(f"going on, by {by}")
            if detail != WITHOUT_ACKNOWLEDGING:
                self._session.acknowledge()
            try:
                self._resume()
            except ServiceError as error:
                campaign.trouble(f"cannot go on: {error}")
        elif kind == "stop":
            campaign.trouble(f"stopped by {by}: samples in the machine are finished, no further one begins")
            campaign.stop(f"stopped by {by}")

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Signals abort the plan, once; its clean-up runs.

        The RunEngine's own handler (it pauses, at a console) stands back meanwhile.
        """
        engine = self._session.RE

        def finish() -> None:
            while not self._is_over.is_set():
                try:
                    engine.abort(self._interrupts[0])
                except TransitionError:  # the plan has not begun yet, or is over
                    self._is_over.wait(0.05)
                else:
                    return

        def tell() -> None:
            """Apart from the abort, which no ledger may hold up."""
            try:
                for campaign in self._campaigns:
                    campaign.trouble("interrupted: finishing safely (heaters off, pumps stopped, arm parked); please wait")
            except LedgerError:
                log.exception("the interruption cannot be noted")

        def interrupt(name: str) -> None:
            if self._interrupts:
                threading.Thread(target=self._session.say, args=(FINISHING,), daemon=True).start()
                return
            self._interrupts.append(f"{name} from the operator")
            threading.Thread(target=tell, name="tell of the interrupt", daemon=True).start()
            threading.Thread(target=finish, name="interrupt", daemon=True).start()

        managers, engine.context_managers = engine.context_managers, []
        try:
            with interrupts.handled(interrupt):
                yield
        finally:
            self._is_over.set()
            engine.context_managers = managers


def _optimizer(config: CampaignConfig) -> Optimizer | None:
    """Who chooses the points; None: a program elsewhere, that proposes them."""
    return None if config.optimizer.engine == "remote" else make_optimizer(config)


def _close(campaign: Campaign, end: End | None) -> None:
    """Close a campaign with the end that came from outside, or else with its own."""
    campaign.close(end if end is not None else campaign.concluded())
