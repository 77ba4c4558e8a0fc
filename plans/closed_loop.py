"""The closed loop as a plan: ask, make, measure, tell, until the budgets are spent; several samples at once, each a lane.

The dispatcher is a lane, too. It begins a sample when its time limits can be kept, asks the optimiser for it a moment before (in a
thread: the RunEngine never waits for a suggestion), and serves several campaigns by their priorities and shares. A sample that fails
costs itself, never the campaign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bluesky.utils import RunEngineControlException

from lab.core.capabilities import Status
from lab.core.clock import WallClock
from lab.core.errors import CommandError, LabError, Outdated
from lab.core.recovery import Choice
from lab.core.sample import GRIPPER, UNKNOWN
from plans.cell import WorkCell
from plans.conductor import Conductor, Thought, Unfinished
from plans.cooling import Cooling
from plans.dispatch import Dispatcher, Progress, next_campaign
from plans.lanes import Lane, LaneHandle, LanesFailed, first_of, lanes, spawn
from plans.life import ARM, Life
from plans.recipes import Order
from plans.resources import Resources
from plans.safe import make_safe, ready
from plans.statuses import Elapsed, Happening
from plans.stubs import Plan

COOLING_ERROR = 0.15
"""Relative error (one standard deviation) of the forecast when a plate will be cool."""

LOOK_AGAIN_S = 1.0
"""Wall seconds between two looks whether what lacks, a liquid or a point to try, has come."""


def closed_loop(cell: WorkCell, conductors: Sequence[Conductor], patience_s: float = 30.0, at_once: int | None = None) -> Plan:
    """Run campaigns to their ends.

    Parameters
    ----------
    cell : WorkCell
    conductors : sequence of Conductor
        Those of one laboratory, that share the work cell.
    patience_s : float
        Wall seconds to wait at the start for every instrument to be ready.
    at_once : int or None
        Most samples in the machine at one time; None: as many as there is room for.

    Notes
    -----
    Nothing in here is replayed: the plan is not rewindable, since a dose that is repeated is a wrong sample.
    However it ends, the instruments are made safe, and `Keeper.trouble` says of each one where that failed.

    Raises
    ------
    plans.life.Stuck
        A sample could not be put away.
    CommandError
        When the gripper holds a sample of which no record knows.
    LedgerError
        When the records cannot be written: nothing is done that could not be told afterwards.
    """
    units = {role: tuple(station.name for station in cell.of(role)) for role in dict.fromkeys(one.role for one in cell.stations)}
    try:
        loop = _Loop(cell, conductors, Dispatcher(units, wait_error=COOLING_ERROR), at_once)
        first = Lane("dispatcher", loop.plan(patience_s), claim=dict.fromkeys((ARM, *cell.exclusions.needed_by(cell.arm.name)), 1))
        yield from lanes(first, resources=Resources({ARM: (ARM,), **units, **cell.exclusions.resources}, prefer=loop.readiness_s), resting=cell.clock.resting)
    except LanesFailed as failure:
        raise failure.causes["dispatcher"] from failure
    finally:
        # A lane, too: what ends the plan must not meet the messages that make safe, and in virtual time somebody has to rest.
        ended = yield from lanes(Lane("make safe", make_safe(cell)), resources=Resources({}), resting=cell.clock.resting)
        result = ended["make safe"]
        _tell(conductors, "not safe", {name: said for name, said in result.items() if not said.startswith("safe")})
        _tell(conductors, "not as it should be left", {name: said for name, said in result.items() if said.startswith("safe, not")})


class _Loop:
    """The dispatcher's lane."""

    def __init__(self, cell: WorkCell, conductors: Sequence[Conductor], dispatcher: Dispatcher, at_once: int | None) -> None:
        self._at_once = at_once
        self._cell, self._conductors, self._dispatcher = cell, conductors, dispatcher
        self._lives: dict[str, Life] = {}
        self._handles: dict[str, LaneHandle] = {}
        self._orders: dict[str, Order] = {}
        self._thought: Thought | None = None
        self._thinks_for: Conductor | None = None
        self._lacking: dict[str, Elapsed] = {}
        self._change = Happening()
        self._plates = {station.name: Cooling(station.device, cell.clock) for station in cell.of("annealer")}

    def plan(self, patience_s: float) -> Plan:
        problems = yield from ready(self._cell.instruments, patience_s, is_after_failure=True)
        _tell(self._conductors, "not ready at the start", problems)
        try:
            yield from self._take_up()
            while (yield from self._turn()):
                pass
        except RunEngineControlException:  # an abort or stop: every lane has been told
            raise
        except Exception:
            for handle in self._handles.values():
                handle.cancel()
            raise
        finally:
            for life in self._lives.values():
                life.may_end.happen()

    # ------------------------------------------------------------------------------------------- the start

    def _take_up(self) -> Plan:
        """Put samples of an earlier session into their slots, one after another; then those that can be finished go on."""
        left = [(conductor, one) for conductor in self._conductors for one in conductor.unfinished]
        is_expected = any(conductor.whereabouts(one.order) in (GRIPPER, UNKNOWN) for conductor, one in left)
        is_holding = self._check_gripper(is_expected=is_expected)
        # The gripper has to be empty for the others, and these have to be out of the way of one that is looked for: it could be taken for it.
        first = {GRIPPER: 0, UNKNOWN: 1 if is_holding else 3}
        home = []
        for conductor, one in sorted(left, key=lambda pair: first.get(pair[0].whereabouts(pair[1].order), 2)):
            if (yield from self._home(conductor, one)):
                home.append((conductor, replace(one, candidates=())))
        for conductor, one in home:
            if one.verdict is not None:
                conductor.remake(one.order, one.verdict)
            elif one.first is not None:
                yield from self._spawn(conductor, one)

    def _home(self, conductor: Conductor, one: Unfinished) -> Plan:
        """Bring one sample to its slot; the operator is asked when it is nowhere. Returns whether it is there."""
        while True:
            cause = yield from self._life(conductor, one).put_away()
            if cause is None:
                return True
            question = conductor.ask(one.order, "resume", cause, {
                Choice.RETRY: "the sample stands in its slot, or at a station: look again",
                Choice.SKIP: "the sample is gone; its trial has failed"}, Choice.SKIP)
            yield from first_of(question.status)
            if question.choice is not Choice.RETRY:
                conductor.failed(one.order, cause)
                return False

    def _check_gripper(self, *, is_expected: bool) -> bool:
        """Whether the gripper holds a sample.

        Raises
        ------
        CommandError
            When nobody expects one there.
        """
        try:
            is_holding = self._cell.arm.is_holding()
        except LabError:
            return False  # `ready` has said what is wrong with the arm; the first sample will fail of it
        if is_holding and not is_expected:
            raise CommandError(f"{self._cell.arm.name}: the gripper holds a sample of which no record knows; take it out, then start again")
        return is_holding

    # ------------------------------------------------------------------------------------------- the loop

    def _turn(self) -> Plan:
        """Begin what may begin, or wait until something changes. Returns whether there is anything left to do."""
        self._take_ended()
        self._take_thought()
        self._lacking = {name: again for name, again in self._lacking.items() if not again.done}
        wanting = [one for one in self._conductors if one.may_begin()]
        timer: Elapsed | None = None
        has_room = self._at_once is None or len(self._lives) < self._at_once
        able = [one for one in wanting if one.id not in self._lacking]
        if able and has_room and self._thought is None:
            conductor = self._choose(able)
            timer = self._when(conductor)
            order = self._orders.get(conductor.id)
            if timer is None and order is None:
                self._thought, self._thinks_for = conductor.next_order(), conductor
            elif timer is None and order is not None:
                yield from self._begin(conductor, order)
                return True
        elif not wanting and not self._handles and self._thought is None:
            return False
        waits: list[Status] = [self._change, *(handle.status for handle in self._handles.values())]
        waits += [one for one in (self._thought, timer) if one is not None]
        waits += self._lacking.values()
        yield from first_of(*waits)
        if timer is not None:
            timer.cancel()
        return True

    def _begin(self, conductor: Conductor, order: Order) -> Plan:
        """Begin an order, if nothing lacks; else the others go on meanwhile. One that was taken back is forgotten: there will be another."""
        self._thinks_for = None
        try:
            begun = conductor.begin(order)
        except Outdated:
            del self._orders[conductor.id]
            return
        if begun is None:
            self._lacking[conductor.id] = Elapsed(WallClock(), LOOK_AGAIN_S)
            return
        del self._orders[conductor.id]
        yield from self._spawn(conductor, Unfinished(*begun))

    def _choose(self, wanting: Sequence[Conductor]) -> Conductor:
        """Whose sample is next: the one that has been thought of already, else by priority and share."""
        if self._thinks_for is not None and self._thinks_for in wanting:
            return self._thinks_for
        chosen = next_campaign({one.id: one.share for one in wanting}, {one.id: one.n_begun for one in wanting},
                               {one.id: one.priority for one in wanting})
        return next(one for one in wanting if one.id == chosen)

    def _when(self, conductor: Conductor) -> Elapsed | None:
        """A timer to the moment when this campaign should be looked at again; None: now."""
        order = self._orders.get(conductor.id)
        active, now_s = [life.progress for life in self._lives.values()], self._cell.clock.now()
        wait_s = self._dispatcher.start_in_s(conductor.route(order), active, now_s, self._cooling(conductor.load_below_c()))
        if wait_s is None:
            return Elapsed(WallClock(), LOOK_AGAIN_S)
        if order is None:
            wait_s -= conductor.ahead_s
        return Elapsed(self._cell.clock, wait_s) if wait_s > 0 else None

    def readiness_s(self, unit: str) -> float:
        """How long a station cannot be used yet: of two plates that are free, the cooler one is taken."""
        plate = self._plates.get(unit)
        return plate.wait_s(min(one.load_below_c() for one in self._conductors)) if plate is not None else 0.0

    def _cooling(self, below_c: float) -> dict[str, float]:
        """How long the plates that stand empty have to cool yet, laboratory seconds."""
        used = {name for life in self._lives.values() for name in (life.progress.unit, life.progress.target)}
        for name in used & self._plates.keys():
            self._plates[name].forget()
        return {name: plate.wait_s(below_c) for name, plate in self._plates.items() if name not in used}

    def _take_thought(self) -> None:
        """Keep the order that has been worked out, until it is time to begin it."""
        if self._thought is None or not self._thought.done:
            return
        thought, conductor, self._thought = self._thought, self._thinks_for, None
        if thought.order is not None and conductor is not None:
            self._orders[conductor.id] = thought.order
        else:
            self._thinks_for = None
            if conductor is not None and conductor.may_begin():  # nobody has proposed a point yet
                self._lacking[conductor.id] = Elapsed(WallClock(), LOOK_AGAIN_S)

    # ------------------------------------------------------------------------------------------- the lanes

    def _spawn(self, conductor: Conductor, one: Unfinished) -> Plan:
        life, sample = self._life(conductor, one), one.order.sample
        self._lives[sample] = life
        first = one.first if one.first is not None else 0
        self._handles[sample] = yield from spawn(Lane(sample, life.plan(), claim=life.stages(first), rank=lambda: self._rank(life)))

    def _life(self, conductor: Conductor, one: Unfinished) -> Life:
        return Life(self._cell, conductor, conductor.route(one.order), one.order, one.journal, self._changed, self._leave_arm_s,
                    first=one.first if one.first is not None else 0, ended_s=one.ended_s, candidates=one.candidates)

    def _rank(self, life: Life) -> float:
        return self._dispatcher.rank(life.progress, [other.progress for other in self._lives.values()], self._cell.clock.now())

    def _leave_arm_s(self, progress: Progress) -> float:
        return self._dispatcher.move_in_s(progress, [life.progress for life in self._lives.values()], self._cell.clock.now())

    def _changed(self) -> None:
        happened, self._change = self._change, Happening()
        happened.happen()

    def _take_ended(self) -> None:
        """Forget lanes that have ended; what nobody foresaw in one of them ends the campaigns."""
        for life in self._lives.values():
            if life.failure is not None:
                raise life.failure
        for sample in [sample for sample, handle in self._handles.items() if handle.done]:
            handle = self._handles.pop(sample)
            self._lives.pop(sample)
            if handle.exception is not None:
                raise handle.exception


def _tell(conductors: Sequence[Conductor], what: str, problems: Mapping[str, str]) -> None:
    for name, said in problems.items():
        for conductor in conductors:
            conductor.trouble(f"{name}: {what}: {said}")
