"""Who may use what: no circle of waiting lanes, no unit twice, nobody for ever; random laboratories and recipes look for a counter-example."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plans.resources import Holder, ResourceError, Resources

Counts = dict[str, int]


def laboratory(**capacities: int) -> Resources:
    return Resources({name: tuple(f"{name}{i}" for i in range(n)) for name, n in capacities.items()})


def taken(resources: Resources, holder: Holder, **wanted: int) -> bool:
    """Whether a request is granted at once."""
    resources.request(holder, wanted)
    return any(one is holder for one, _ in resources.decide())


# --- random laboratories


@dataclass
class Program:
    """What one lane does: at each step it states its claim anew (or not), acquires or releases, and works for a while."""

    claim: list[Counts]
    steps: list[tuple[str, Any, float]]
    rank: float
    is_rank_moving: bool
    starts: float
    held: list[str] = field(default_factory=list)


@st.composite
def staged(draw: st.DrawFn, capacities: Counts) -> Program:
    """A lane that goes through stages, as recipes do: it takes up to what a stage allows, then lets go of what the next one does not."""
    part = st.fixed_dictionaries({name: st.integers(0, n) for name, n in capacities.items()})
    stages = draw(st.lists(part, min_size=1, max_size=5))
    steps: list[tuple[str, Any, float]] = []
    held = dict.fromkeys(capacities, 0)
    for i, stage in enumerate(stages):
        steps.append(("claim", stages[i:], 0.0))
        for _ in range(draw(st.integers(1, 3))):
            more = {name: n for name in capacities if (n := draw(st.integers(0, stage[name] - held[name])))}
            if more:
                steps.append(("acquire", more, draw(st.floats(0.0, 3.0))))
                held = {name: held[name] + more.get(name, 0) for name in held}
        after = stages[i + 1] if i + 1 < len(stages) else dict.fromkeys(capacities, 0)
        keep = {name: draw(st.integers(0, min(held[name], after[name]))) for name in held}
        less = {name: held[name] - keep[name] for name in held if held[name] > keep[name]}
        if less:
            steps.append(("release", less, draw(st.floats(0.0, 2.0))))
        held = keep
    return Program(stages, steps[1:], draw(st.floats(0, 3)), draw(st.booleans()), draw(st.floats(0, 5)))


@st.composite
def unordered(draw: st.DrawFn, capacities: Counts) -> Program:
    """A lane with one claim for its whole life, which takes and gives back as it likes, and may end with its hands full."""
    claim = draw(st.fixed_dictionaries({name: st.integers(0, n) for name, n in capacities.items()}))
    steps: list[tuple[str, Any, float]] = []
    held = dict.fromkeys(capacities, 0)
    for _ in range(draw(st.integers(1, 8))):
        if draw(st.booleans()):
            more = {name: n for name in capacities if (n := draw(st.integers(0, claim[name] - held[name])))}
            steps.append(("acquire", more, draw(st.floats(0.0, 3.0))))
            held = {name: held[name] + more.get(name, 0) for name in held}
        else:
            less = {name: n for name in capacities if (n := draw(st.integers(0, held[name])))}
            steps.append(("release", less, draw(st.floats(0.0, 2.0))))
            held = {name: held[name] - less.get(name, 0) for name in held}
    return Program([claim], steps, draw(st.floats(0, 3)), draw(st.booleans()), draw(st.floats(0, 5)))


@st.composite
def laboratories(draw: st.DrawFn) -> tuple[Counts, int, list[Program]]:
    capacities = draw(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3), min_size=1, max_size=4))
    programs = draw(st.lists(st.one_of(staged(capacities), unordered(capacities)), min_size=1, max_size=7))
    return capacities, draw(st.sampled_from([1, 3, 64])), programs


class Simulation:
    """Runs programs in virtual time, and looks after each decision whether a unit has two owners."""

    def __init__(self, capacities: Counts, patience: int, programs: list[Program]) -> None:
        self.resources = Resources({name: tuple(f"{name}{i}" for i in range(n)) for name, n in capacities.items()}, patience)
        self.programs, self.now_s = programs, 0.0
        self.owner: dict[str, str] = {}
        self.running: dict[Holder, tuple[Program, Any]] = {}
        self.events: list[tuple[float, int, Any]] = []
        self.numbers = itertools.count()
        for program in programs:
            self.after(program.starts, lambda program=program: self.begin(program))

    def after(self, seconds: float, call: Any) -> None:
        heapq.heappush(self.events, (self.now_s + seconds, next(self.numbers), call))

    def run(self) -> None:
        while self.events:
            self.now_s, _, call = heapq.heappop(self.events)
            call()
            for holder, units in self.resources.decide():
                program, steps = self.running[holder]
                for unit in itertools.chain(*units.values()):
                    assert unit not in self.owner, f"{unit} has two owners"
                    self.owner[unit] = holder.name
                    program.held.append(unit)
                self.after(steps[1], lambda holder=holder: self.go_on(holder))

    def begin(self, program: Program) -> None:
        rank: Any = (lambda: (self.now_s * 7) % 3 + program.rank) if program.is_rank_moving else program.rank
        holder = self.resources.enter(f"lane {next(self.numbers)}", program.claim, rank)
        self.running[holder] = (program, [iter(program.steps), 0.0])
        self.go_on(holder)

    def go_on(self, holder: Holder) -> None:
        program, state = self.running[holder]
        for what, argument, seconds in state[0]:
            state[1] = seconds
            if what == "claim":
                self.resources.claim(holder, argument)
            elif what == "acquire":
                self.resources.request(holder, argument)
                return
            else:
                units = [unit for name, n in argument.items() for unit in [one for one in program.held if one[0] == name][:n]]
                self.give_back(program, units)
                self.resources.release(holder, units)
                self.after(seconds, lambda: self.go_on(holder))
                return
        self.give_back(program, list(program.held))
        self.resources.leave(holder)
        del self.running[holder]

    def give_back(self, program: Program, units: list[str]) -> None:
        for unit in units:
            del self.owner[unit]
            program.held.remove(unit)


@given(laboratories())
def test_every_lane_ends_and_no_unit_is_ever_given_twice(laboratory: tuple[Counts, int, list[Program]]) -> None:
    simulation = Simulation(*laboratory)
    simulation.run()
    assert not simulation.running, "lanes wait for each other for ever"
    assert not simulation.owner


# --- what is refused


@pytest.mark.parametrize(("claim", "wanted", "message"), [
    ({"arm": 1}, {"stage": 1}, "lane s: asks for 1 stage and holds nothing; allowed by its claim: 1 arm"),
    ({"arm": 1}, {"arm": 2}, "lane s: asks for 2 of arm; allowed: 0 to 1, which the laboratory has"),
    ({"arm": 1}, {"oven": 1}, "lane s: asks for oven; allowed: arm, stage"),
])
def test_a_request_beyond_claim_or_laboratory_is_refused(claim: Counts, wanted: Counts, message: str) -> None:
    resources = laboratory(arm=1, stage=2)
    holder = resources.enter("s", claim)
    with pytest.raises(ResourceError, match=message):
        resources.request(holder, wanted)


def test_a_claim_beyond_the_laboratory_is_refused() -> None:
    with pytest.raises(ResourceError, match="lane s: claims 2 of arm; allowed: 0 to 1"):
        laboratory(arm=1).enter("s", {"arm": 2})


def test_a_lane_that_keeps_what_an_earlier_stage_gives_back_is_refused_the_later_one() -> None:
    resources = laboratory(arm=1, plate=1, stage=1)
    holder = resources.enter("s", [{"plate": 1, "arm": 1}, {"plate": 1}, {"plate": 1, "arm": 1, "stage": 1}])
    assert taken(resources, holder, plate=1, arm=1)
    with pytest.raises(ResourceError, match=r"asks for 1 stage and holds 1 plate \+ 1 arm; allowed by its claim: 1 plate \+ 1 arm, then 1 plate, then"):
        resources.request(holder, {"stage": 1})


def test_giving_back_what_one_does_not_hold_is_refused_and_gives_back_nothing() -> None:
    resources = laboratory(arm=1, plate=2)
    holder = resources.enter("s", {"arm": 1, "plate": 1})
    assert taken(resources, holder, arm=1, plate=1)
    with pytest.raises(ResourceError, match="lane s: gives back arm0, plate1; allowed: arm0, plate0, each once"):
        resources.release(holder, ["arm0", "plate1"])
    assert holder.counts() == {"arm": 1, "plate": 1}


def test_a_claim_that_grows_into_a_circle_is_refused_and_the_former_one_stands() -> None:
    resources = laboratory(a=1, b=1)
    one, other = resources.enter("one", {"a": 1}), resources.enter("other", {"b": 1})
    assert taken(resources, one, a=1) and taken(resources, other, b=1)
    resources.claim(one, {"a": 1, "b": 1})
    with pytest.raises(ResourceError, match="lane other: cannot claim 1 a [+] 1 b while it holds 1 b: lanes could then wait for each other for ever; "
                                            "allowed: 1 b, or to release first"):
        resources.claim(other, {"a": 1, "b": 1})
    resources.release(other, ["b0"])
    resources.claim(other, {"a": 1, "b": 1})
    assert taken(resources, one, b=1)


def test_a_unit_belongs_to_one_resource() -> None:
    with pytest.raises(ResourceError, match="unit plate is given for annealer and for synth"):
        Resources({"annealer": ("plate",), "synth": ("plate",)})


# --- who comes first


def test_nothing_is_granted_by_halves() -> None:
    resources = laboratory(arm=1, plate=1)
    one, other = resources.enter("one", {"arm": 1}), resources.enter("other", {"arm": 1, "plate": 1})
    assert taken(resources, one, arm=1)
    assert not taken(resources, other, arm=1, plate=1)
    assert other.counts() == {}
    resources.release(one, ["arm0"])
    assert [(holder.name, units) for holder, units in resources.decide()] == [("other", {"arm": ("arm0",), "plate": ("plate0",)})]


def test_what_could_end_in_a_circle_is_not_granted() -> None:
    resources = laboratory(a=1, b=1)
    one, other = resources.enter("one", {"a": 1, "b": 1}), resources.enter("other", {"a": 1, "b": 1})
    assert taken(resources, one, a=1)
    assert not taken(resources, other, b=1)
    assert taken(resources, one, b=1)


def test_a_lane_that_promises_to_let_go_of_the_arm_may_have_it() -> None:
    resources = laboratory(arm=1, synth=1, plate=1)
    recipe = [{"synth": 1, "arm": 1}, {"synth": 1}, {"synth": 1, "plate": 1, "arm": 1}, {"plate": 1}, {"plate": 1, "arm": 1}]
    first, second = resources.enter("first", recipe), resources.enter("second", recipe)
    assert taken(resources, first, synth=1, arm=1)
    resources.release(first, ["arm0"])
    assert taken(resources, first, plate=1, arm=1)
    resources.release(first, ["synth0", "arm0"])
    assert taken(resources, second, synth=1, arm=1), "the first lane needs the arm later, and will get it"
    assert not taken(resources, first, arm=1)
    resources.release(second, ["arm0"])
    assert [holder.name for holder, _ in resources.decide()] == ["first"]


def test_the_smallest_rank_comes_first_and_among_equals_the_oldest() -> None:
    resources = laboratory(arm=1)
    moving = [3.0]
    ranks: list[Any] = [2.0, 1.0, 1.0, lambda: moving[0]]
    holders = [resources.enter(f"lane {i}", {"arm": 1}, rank) for i, rank in enumerate(ranks)]
    assert taken(resources, resources.enter("now", {"arm": 1}), arm=1)
    for holder in reversed(holders):
        resources.request(holder, {"arm": 1})
    order = []
    owner = next(iter(resources._holding))
    for _ in range(4):
        if len(order) == 1:
            moving[0] = 0.0
        resources.leave(owner)
        [(owner, _)] = resources.decide()
        order.append(owner.name)
    assert order == ["lane 1", "lane 3", "lane 2", "lane 0"]


def test_an_old_lane_that_needs_two_is_not_starved_by_young_ones_that_need_one() -> None:
    resources = Resources({"a": ("a",), "b": ("b",)}, patience=5)
    old = resources.enter("old", {"a": 1, "b": 1}, rank=9.0)
    young = [resources.enter("y0", {"a": 1}), resources.enter("y1", {"b": 1})]
    assert taken(resources, young[0], a=1) and taken(resources, young[1], b=1)
    resources.request(old, {"a": 1, "b": 1})
    for n_given in range(100):
        # Each unit that comes back is wanted at once by a newcomer, and the two never come back together.
        which = n_given % 2
        resources.request(resources.enter(f"new {n_given}", {"ab"[which]: 1}), {"ab"[which]: 1})
        resources.leave(young[which])
        granted = resources.decide()
        if any(holder is old for holder, _ in granted):
            break
        if granted:
            young[which] = granted[0][0]
    assert n_given == 6


def test_a_lane_may_hold_units_from_the_start() -> None:
    resources = laboratory(plate=2)
    holder = resources.enter("resumed", {"plate": 1}, holds=["plate1"])
    assert holder.held == {"plate": ["plate1"]}
    other = resources.enter("other", {"plate": 1})
    resources.request(other, {"plate": 1})
    assert resources.decide() == [(other, {"plate": ("plate0",)})]
    with pytest.raises(ResourceError, match="lane late: cannot hold plate1 from the start, it is taken; allowed: none"):
        resources.enter("late", {"plate": 1}, holds=["plate1"])
