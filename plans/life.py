"""One sample's life as a lane: from its slot through the steps of its recipe, and back; whatever goes wrong on the way.

The lane holds the stations it stands on and the arm while it moves. What fails is decided by the campaign's policy: do the step
again, make the sample anew, skip it, ask, or end the campaign. However it ends, the sample is put away before its stations
are free for others, or the lane fails with `Stuck`: nothing may be carried into what may still stand there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bluesky.utils import FailedStatus, Msg, RunEngineControlException

from lab.core.capabilities import Pick, Place
from lab.core.clock import WallClock
from lab.core.errors import EmptyPlace, GapError, InstrumentError, InterlockError, LabError, LedgerError, NotBegun
from lab.core.journal import Journal
from lab.core.recovery import EXPLAINED, Choice, Rule
from lab.core.sample import GRIPPER, REMOVED, UNKNOWN
from plans.cell import Station, WorkCell
from plans.conductor import Keeper
from plans.dispatch import RACK, Progress
from plans.forecast import TRANSFER, Route
from plans.lanes import acquire, claim, first_of, release
from plans.recipes import Carried, Order, Recipe, Task
from plans.safe import ready
from plans.situation import Now
from plans.statuses import Elapsed, Happening
from plans.stubs import Plan, cause_of, half_transfer, hold, pause, raise_end, start, step, transfer

ARM = "arm"
"""The resource that is the arm; stations are resources by their role."""

EVALUATE = "evaluate"
"""The group of the status behind which a sample's evaluation runs."""

AGAIN_S = 1.0
"""Wall seconds between two attempts to put a sample away."""


class Stuck(Exception):
    """A sample cannot be put away: the campaign ends, and is resumed when the cause is mended."""


class _Lost(Exception):
    """The sample cannot be finished; what is to be done about it."""

    def __init__(self, choice: Choice, cause: LabError) -> None:
        super().__init__(str(cause))
        self.choice, self.cause = choice, cause


class Life:
    """One sample, from its slot and back.

    Parameters
    ----------
    cell : WorkCell
    keeper : Keeper
    route : Route
        What the dispatcher expects of it.
    order : Order
    journal : Journal
        Told before and after each move and dose.
    changed : callable
        Called whenever `progress` has changed.
    leave_arm_s : callable
        Progress -> how long this sample should leave the arm to others whose time limit runs, laboratory seconds.
    first : int
        Index of the step to begin with: what a resumed sample has behind it is not done again.
    ended_s : float or None
        Laboratory time at which the step before had ended.
    candidates : sequence of str
        Where a resumed sample can be, if nobody knows; most likely places first.
    """

    def __init__(self, cell: WorkCell, keeper: Keeper, route: Route, order: Order, journal: Journal, changed: Callable[[], None],
                 leave_arm_s: Callable[[Progress], float] = lambda progress: 0.0, first: int = 0, ended_s: float | None = None, candidates: Sequence[str] = ()) -> None:
        self._cell, self._keeper, self.order, self._journal, self._changed = cell, keeper, order, journal, changed
        self._recipe: Recipe = keeper.recipe
        self._leave_arm_s = leave_arm_s
        self._arm = (ARM, *cell.exclusions.needed_by(cell.arm.name))
        self._first, self._ended_s, self._candidates = first, ended_s, tuple(candidates)
        self.progress = Progress(order.sample, route, first - 1, "waiting", cell.clock.now() if ended_s is None else ended_s)
        self._station: Station | None = None
        self._next: Station | None = None
        self._has_arm = False
        self.failure: Exception | None = None
        """What ends the campaign: the sample cannot be put away (`Stuck`), the records cannot be written, a mistake of ours."""
        self.may_end = Happening()
        """The campaign has ended: nobody can meet the sample any longer, wherever it stands."""

    def plan(self) -> Plan:
        """The whole life. After a `failure` the lane keeps what its sample may block until it `may_end`."""
        try:
            yield from self._run()
        except RunEngineControlException:
            raise
        except Exception as error:  # noqa: BLE001 - raised by the dispatcher, which is told here
            self.failure = error
            self._changed()
            yield from first_of(self.may_end)

    def _run(self) -> Plan:
        """One run with the streams of the steps; then the sample is put away."""
        lost: _Lost | None = None
        uid = yield Msg("open_run", None, **self.order.metadata)
        self._journal.run_opened(uid)
        exit_status = "fail"
        try:
            for index in range(self._first, len(self._recipe.steps)):
                yield from self._step(index)
            exit_status = "success"
        except _Lost as error:
            lost = error
        finally:
            yield Msg("close_run", None, exit_status=exit_status, reason=str(lost) if lost is not None else "")
        if lost is not None:
            self._book(lost)
        yield from self.put_away()
        yield Msg("wait", None, group=EVALUATE)

    def stages(self, index: int = 0) -> tuple[dict[str, int], ...]:
        """What the lane holds at most, stage by stage, from step `index` on: a station; both stations and the arm; the next station; ..."""
        found: list[dict[str, int]] = []
        roles = [one.role for one in self._recipe.steps[index:]]
        for before, role in zip([None, *roles], roles, strict=False):
            moving = Counter([role, *self._arm] + ([before] if before is not None else []))
            found += [dict(moving), {role: 1} | dict.fromkeys(self._excluded(*self._cell.of(role)), 1)]
        return (*found, dict(Counter([*self._arm, *roles[-1:]])))

    def _excluded(self, *stations: Station) -> tuple[str, ...]:
        """What has to be held while something moves at these stations, beside them."""
        return self._cell.exclusions.needed_by(*(station.name for station in stations))

    # ------------------------------------------------------------------------------------------------ steps

    def _step(self, index: int) -> Plan:
        """One step with all that the policy does about its failures.

        Raises
        ------
        _Lost
            When the sample is given up.
        """
        step_, done = self._recipe.steps[index], Counter[Rule]()
        done.update({rule: self.order.n_former for rule in self._keeper.policy.rules if rule.do == "remake"})
        while True:
            doing, task = TRANSFER, None
            try:
                self._check_gap(index)
                yield from self._reach(index)
                doing, task = step_.name, self._task()
                yield from self._carry_out(index, task)
                break
            except (FailedStatus, LabError) as error:
                raise_end(error)
                cause = cause_of(error)
                if isinstance(cause, LedgerError):
                    raise cause from error
                choice = yield from self._choose(cause, doing, done, is_spoilt=task is not None and task.is_spoilt)
                if choice is Choice.FINISH:
                    if task is None:  # on its way to a station that it does not need any longer
                        yield from self.put_away()
                    break
                if choice is not Choice.RETRY:
                    raise _Lost(choice, cause) from error
        self._ended_s = self._cell.clock.now()
        if step_.is_last_reading:
            yield from start("evaluate", lambda: self._keeper.measured(self.order), EVALUATE)

    def _reach(self, index: int) -> Plan:
        """Get a station of the step's role, prepare it, and bring the sample there. May be called again after a failure."""
        role = self._recipe.steps[index].role
        if self._station is not None and self._station.role == role:
            return
        if self._station is None and self._next is None and not self._has_arm:
            yield from claim(*self.stages(index))
        if self._next is None:
            self._is(index - 1, "waiting")
            granted = yield from acquire(role)
            self._next = self._cell.station(granted[role])
        yield from self._prepare(index, self._next)
        yield from self._take_arm(index - 1)
        yield from self._ready([self._next.device, self._cell.arm])
        self._check_gap(index)
        self._is(index - 1, "moving")
        yield from self.bring(self._next.name)
        former, self._station, self._next = self._station, self._next, None
        yield from self._let_go(former)

    def _prepare(self, index: int, station: Station) -> Plan:
        step_ = self._recipe.steps[index]
        yield from self._ready([station.device])
        if step_.prepare is not None:
            self._is(index - 1, "preparing")
            with step(self._journal, station.name, f"prepare for {step_.name}", f"prepare {step_.name}"):
                yield from step_.prepare(Task(self._cell, station, self.order, self._journal, self._report))

    def _carry_out(self, index: int, task: Task) -> Plan:
        step_ = self._recipe.steps[index]
        self._check_gap(index)
        yield from self._allowed([task.station.device])
        alone = self._excluded(task.station)
        if alone:
            yield from acquire(*alone)
        self._is(index, "working")
        try:
            with step(self._journal, task.station.name, step_.describe(self.order), step_.name):
                yield from step_.plan(task)
        finally:
            if alone:
                yield from release(*alone)

    def _check_gap(self, index: int) -> None:
        """Whether the step still comes in time.

        Raises
        ------
        GapError
            When it does not: what is still to come would be done for nothing.
        """
        step_, now_s = self._recipe.steps[index], self._cell.clock.now()
        if not step_.max_gap or self._ended_s is None or index == 0:
            return
        gap_s, allowed_s = now_s - self._ended_s, float(self.order.settings[step_.max_gap])
        if gap_s > allowed_s:
            raise GapError(f"{gap_s:.0f} s have gone by since {self._recipe.steps[index - 1].name}, and {step_.name} has not "
                           f"begun; allowed: {allowed_s:g} s ({step_.max_gap})")

    # ------------------------------------------------------------------------------------------------ moves

    def bring(self, target: str) -> Plan:
        """Take the sample to `target` from wherever it is; the lane holds the arm, and where nobody knows, it is looked for.

        Raises
        ------
        EmptyPlace
            It is nowhere.
        """
        place = self._keeper.whereabouts(self.order)
        if place == target:
            return
        if place == UNKNOWN:
            yield from self._find(target)
        else:
            yield from transfer(self._cell, self._journal, place, target)

    def _find(self, target: str) -> Plan:
        """Look for the sample where it can be: in the gripper, at the stations that this lane holds, in its slot."""
        arm, journal = self._cell.arm, self._journal
        if arm.is_holding():
            with step(journal, ARM, f"{GRIPPER} -> {target}", TRANSFER):
                yield from half_transfer(self._cell, journal, Place(target), UNKNOWN, target)
            return
        held = [station.name for station in (self._station, self._next) if station is not None]
        candidates = list(dict.fromkeys([*held, *self._candidates, self.order.place]))
        for place in candidates:
            try:
                with step(journal, ARM, f"look for the sample at {place}", "look"):
                    yield from half_transfer(self._cell, journal, Pick(place), UNKNOWN, GRIPPER)
            except (FailedStatus, LabError) as error:
                if not isinstance(cause_of(error), EmptyPlace):
                    raise
            else:
                yield from transfer(self._cell, journal, GRIPPER, target)
                return
        raise EmptyPlace(f"{arm.name}: the gripper found no sample at {', '.join(candidates)}")

    def put_away(self) -> Plan:
        """Take the sample to its slot, and give back what the lane holds.

        Returns
        -------
        EmptyPlace or None
            Why nobody knows where it is: it has been looked for in vain, and stands at no place where another could meet it.

        Raises
        ------
        Stuck
            When it could not be within the policy's patience; what it may block has not been given back.
        """
        deadline = time.monotonic() + self._keeper.policy.patience_s
        nowhere: EmptyPlace | None = None
        while True:
            place = self._keeper.whereabouts(self.order)
            try:
                if place not in (self.order.place, REMOVED):
                    yield from self._take_arm(self.progress.step)
                    yield from self._ready([self._cell.arm])
                    self._is(len(self._recipe.steps) - 1, "moving", is_home=True)
                    yield from self.bring(self.order.place)
                break
            except (FailedStatus, LabError) as error:
                raise_end(error)
                cause = cause_of(error)
                if isinstance(cause, LedgerError):
                    raise cause from error
                if isinstance(cause, EmptyPlace) and place == UNKNOWN:
                    self._keeper.trouble(f"sample {self.order.sample}: nobody knows where it is: {cause}")
                    nowhere = cause
                    break
                if time.monotonic() > deadline:
                    raise Stuck(f"sample {self.order.sample} is in the way at {self._keeper.whereabouts(self.order)}: {cause}") from error
                yield from self._recover()
                yield from pause(AGAIN_S)
        left, self._station, self._next = (self._station, self._next), None, None
        self._is_out()
        yield from self._let_go(*left)
        return nowhere

    # -------------------------------------------------------------------------------------------- decisions

    def _choose(self, cause: LabError, doing: str, done: Counter[Rule], *, is_spoilt: bool) -> Plan:
        """What to do about a failure: by the rules, or by the operator; instruments are readied for a retry."""
        decision = self._keeper.policy.decide(cause, doing, done, is_spoilt=is_spoilt)
        if decision.rule is not None:
            done[decision.rule] += 1
        choice = decision.choice
        if choice == "ask" and decision.rule is not None:
            choice = yield from self._ask(cause, doing, decision.rule, is_spoilt)
        if choice is Choice.RETRY:
            self._keeper.trouble(f"sample {self.order.sample}: {doing}: {cause}; trying again")
            if decision.rule is not None and decision.rule.wait_s:
                yield from pause(decision.rule.wait_s)
        if decision.rule is None or decision.rule.after == "recover":
            yield from self._recover()
        return choice

    def _ask(self, cause: LabError, doing: str, rule: Rule, is_spoilt: bool) -> Plan:
        """Park the sample, so that others may use its station, and wait for the operator."""
        yield from self._recover()
        yield from self.put_away()
        choices = {choice: EXPLAINED[choice] for choice in Choice if not (is_spoilt and choice is Choice.RETRY)}
        question = self._keeper.ask(self.order, doing, cause, choices, Choice(rule.otherwise))
        patience = [Elapsed(WallClock(), rule.within_s)] if rule.within_s is not None else []
        try:
            yield from first_of(question.status, *patience)
        finally:
            for one in patience:
                one.cancel()
        if question.choice is None:
            question.withdraw(Choice(rule.otherwise))
        return question.choice if question.choice is not None else Choice(rule.otherwise)

    def _book(self, lost: _Lost) -> None:
        """Tell the campaign what becomes of the trial."""
        if lost.choice is Choice.REMAKE:
            self._keeper.remake(self.order, lost.cause)
            return
        self._keeper.failed(self.order, lost.cause)
        if lost.choice is Choice.STOP:
            self._keeper.stop(str(lost.cause))

    # ----------------------------------------------------------------------------------------- common parts

    def _ready(self, devices: Sequence[Any]) -> Plan:
        """Wait for instruments that are not ready, also those that went while nobody asked them.

        Raises
        ------
        NotBegun
            When one is not within the policy's patience, and nothing has been done to the sample yet.
        InstrumentError
            The same, later.
        """
        yield from self._allowed(devices)
        problems = yield from ready(devices, self._keeper.policy.patience_s)
        if problems:
            said = "; ".join(f"{name} is not ready: {problem}" for name, problem in problems.items())
            is_untouched = self._station is None and self._first == 0 and self._keeper.whereabouts(self.order) == self.order.place
            raise NotBegun(f"not begun: {said}") if is_untouched else InstrumentError(said)

    def _allowed(self, devices: Sequence[Any]) -> Plan:
        """Wait as long as an interlock forbids that one of these begins something: the sample loses nothing but time."""
        said = ""
        while True:
            try:
                self._cell.check(devices)
            except InterlockError as error:
                if str(error) != said:
                    said = str(error)
                    self._keeper.trouble(f"sample {self.order.sample} waits: {said}")
                yield from pause(AGAIN_S)
            else:
                return

    def _recover(self) -> Plan:
        """Ready the instruments that this lane holds, as far as they let themselves."""
        held: list[Any] = [one.device for one in (self._station, self._next) if one is not None]
        held += [self._cell.arm] if self._has_arm else []
        problems = yield from ready(held, self._keeper.policy.patience_s, is_after_failure=True)
        for name, said in problems.items():
            self._keeper.trouble(f"{name}: not ready after a failure: {said}")

    def _take_arm(self, done: int) -> Plan:
        if not self._has_arm:
            self._is(done, "waiting")
            while (wait_s := self._leave_arm_s(self.progress)) > 0:
                yield from hold(self._cell.clock, wait_s)
            yield from acquire(*self._arm)
            self._has_arm = True

    def _let_go(self, *stations: Station | None) -> Plan:
        """Give back stations that the sample has left, and the arm."""
        units = [station.name for station in stations if station is not None]
        if self._has_arm:
            units += self._arm
            self._has_arm = False
        if units:
            yield from release(*units)

    def _task(self) -> Task:
        if self._station is None:
            raise NotBegun(f"{self.order.sample}: stands at no station")
        return Task(self._cell, self._station, self.order, self._journal, self._report)

    def _report(self, carried: Carried) -> None:
        self._keeper.carried(self.order, carried)

    def _is(self, done: int, now: Now, *, is_home: bool = False) -> None:
        """Tell the dispatcher what this sample does now; a sample that waits has done so since its last step ended."""
        since_s = self._cell.clock.now()
        if now == "waiting" and self._ended_s is not None:
            since_s = self._ended_s
        self.progress = replace(self.progress, step=done, now=now, since_s=since_s,
                                unit=self._station.name if self._station is not None else RACK,
                                target=self._next.name if self._next is not None and not is_home else RACK)
        self._changed()

    def _is_out(self) -> None:
        """Tell the dispatcher that this sample is in nobody's way: as one whose way home is over."""
        now_s = self._cell.clock.now() - self.progress.route.transfer_s
        self.progress = replace(self.progress, step=len(self._recipe.steps) - 1, now="moving", since_s=now_s, unit=RACK, target=RACK)
        self._changed()
