"""The dispatcher against the exact schedule, the bottleneck and serial work; on paper, with durations that it does not know.

Two routes. ``film`` is the demo laboratory's: cast, anneal within 30 s on one of two plates that cool for 250 s between two
samples, expose. ``line`` is three stations one after another, without time limits. Durations scatter log-normally (30 %), and the
exact schedule knows them all beforehand, and chooses which sample goes first: no dispatcher can. Part of the distance is the price of
keeping the limits.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.exact import exact, good_order, reordered, schedule_of
from benchmarks.figures import Figure, show
from benchmarks.workcell import Outcome, Truth, WorkCell
from plans.dispatch import Dispatcher, Progress, Route, StepForecast

N_SAMPLES = 50
SPREAD = 0.3
SEEDS = (0, 1, 2)
Units = Mapping[str, Sequence[str]]
FILM_UNITS: Units = {"synthesiser": ("spin",), "annealer": ("plate_a", "plate_b"), "detector": ("stage",)}
LINE_UNITS: Units = {"synthesiser": ("a",), "annealer": ("b",), "detector": ("c",)}


def film(spread: float) -> Route:
    return Route((StepForecast("cast", "synthesiser", 75, spread), StepForecast("anneal", "annealer", 700, spread, 250, 30),
                  StepForecast("expose", "detector", 10, spread)), 20)


def line(spread: float) -> Route:
    return Route((StepForecast("mix", "synthesiser", 300, spread), StepForecast("anneal", "annealer", 360, spread),
                  StepForecast("measure", "detector", 240, spread)), 10)


def draw(route: Route, n: int, spread: float, rng: np.random.Generator) -> list[Truth]:
    """What really happens to `n` samples, in whole seconds."""
    sigma = np.sqrt(np.log1p(spread**2))

    def one(mean_s: float) -> float:
        return float(round(mean_s * float(np.exp(sigma * rng.standard_normal() - sigma**2 / 2))))

    return [Truth(tuple(one(step.mean_s) for step in route.steps), tuple(one(step.prepare_s) for step in route.steps)) for _ in range(n)]


def bottleneck_s(route: Route, units: Units, truths: Sequence[Truth]) -> float:
    """The time that the samples occupy the busiest stations, the preparation of their first ones left out: no schedule is shorter."""
    loads = []
    for number, step in enumerate(route.steps):
        n = len(units[step.role])
        stays_s = sum(truth.work_s[number] + truth.prepare_s[number] + 2 * route.transfer_s for truth in truths)
        first_s = sum(sorted((truth.prepare_s[number] for truth in truths), reverse=True)[:n])
        loads.append((stays_s - first_s) / n)
    return max(loads)


def run(route: Route, units: Units, truths: Sequence[Truth], most: int = 10**6) -> Outcome:
    return WorkCell(Dispatcher(units), route, truths, units, most).run()


def film_against_exact() -> list[Figure]:
    """Makespans over those of the best schedules found, and over what is proven."""
    route, ratios, over_bound = film(SPREAD), [], []
    for seed in SEEDS:
        truths = draw(route, N_SAMPLES, SPREAD, np.random.default_rng(seed))
        outcome = run(route, FILM_UNITS, truths)
        best = exact(route, truths, FILM_UNITS, 3.0, schedule_of(outcome, route))
        ratios.append(outcome.makespan_s / best.makespan_s)
        over_bound.append(outcome.makespan_s / max(best.bound_s, bottleneck_s(route, FILM_UNITS, truths)))
    what = f"film, {N_SAMPLES} samples, {SPREAD:.0%} spread: makespan over"
    return [
        Figure(f"{what} clairvoyant CP-SAT", statistics.mean(ratios), "", most=1.10, note=f"{len(SEEDS)} seeds, worst {max(ratios):.3f}"),
        Figure(f"{what} the bottleneck bound", statistics.mean(over_bound), "", most=1.10, note="no schedule, clairvoyant or not, is below 1"),
    ]


def line_against_exact() -> list[Figure]:
    """The same for the line; and over the best schedule of the samples in the order in which they came."""
    route, ratios, in_order = line(SPREAD), [], []
    for seed in (*SEEDS, 3):
        truths = draw(route, N_SAMPLES, SPREAD, np.random.default_rng(seed))
        outcome = run(route, LINE_UNITS, truths)
        order = good_order(route, truths)
        hint = reordered(schedule_of(run(route, LINE_UNITS, [truths[i] for i in order]), route), order)
        begin = exact(route, truths, LINE_UNITS, 2.0, hint, order)
        best = exact(route, truths, LINE_UNITS, 1.0, begin.schedule)
        same = exact(route, truths, LINE_UNITS, 2.0, schedule_of(outcome, route), order=range(N_SAMPLES))
        ratios.append(outcome.makespan_s / best.makespan_s)
        in_order.append(outcome.makespan_s / (same.makespan_s if same.is_optimal else same.bound_s))
    what = f"line, {N_SAMPLES} samples, {SPREAD:.0%} spread: makespan over"
    return [
        Figure(f"{what} clairvoyant CP-SAT", statistics.mean(ratios), "", most=1.10,
               note=f"{len(ratios)} seeds, worst {max(ratios):.3f}; it also puts the samples into the best order"),
        Figure(f"{what} the same in the order given", statistics.mean(in_order), "", most=1.01, note=f"worst {max(in_order):.3f}"),
    ]


def fixed(name: str, route: Route, units: Units) -> list[Figure]:
    truths = draw(route, N_SAMPLES, 0.0, np.random.default_rng(0))
    outcome = run(route, units, truths)
    best = exact(route, truths, units, 1.0, schedule_of(outcome, route))
    what = f"{name}, {N_SAMPLES} samples, fixed durations: makespan over"
    return [
        Figure(f"{what} bottleneck bound", outcome.makespan_s / bottleneck_s(route, units, truths), "", most=1.03),
        Figure(f"{what} CP-SAT", outcome.makespan_s / best.makespan_s, "", note="proven optimal" if best.is_optimal else "best found"),
    ]


def limits() -> list[Figure]:
    """Missed limits over many samples, and what the stated probability allows."""
    route, n, n_missed, late_s = film(SPREAD), 0, 0, [0.0]
    for seed in range(100, 106):
        outcome = run(route, FILM_UNITS, draw(route, N_SAMPLES, SPREAD, np.random.default_rng(seed)))
        n += len(outcome.gaps_s)
        n_missed += len(outcome.missed(route))
        late_s += outcome.missed(route)
    keep = Dispatcher(FILM_UNITS).keep
    sure = run(film(0.0), FILM_UNITS, draw(film(0.0), N_SAMPLES, 0.0, np.random.default_rng(0)))
    return [
        Figure(f"film, {SPREAD:.0%} spread: share of limits missed", n_missed / n, "", most=1.0 - keep,
               note=f"{n_missed} of {n}, by {max(late_s):.3g} s at most; stated: {1 - keep:.0%}"),
        Figure("film, fixed durations: limits missed", len(sure.missed(film(0.0))), "", most=0),
    ]


def against_serial() -> list[Figure]:
    figures = []
    for spread in (0.0, 0.1, SPREAD):
        gains = []
        for seed in SEEDS:
            truths = draw(film(spread), N_SAMPLES, spread, np.random.default_rng(seed))
            serial = run(film(spread), FILM_UNITS, truths, most=1)
            gains.append(serial.makespan_s / run(film(spread), FILM_UNITS, truths).makespan_s)
        figures.append(Figure(f"film, {spread:.0%} spread: times as fast as one sample after the other", statistics.mean(gains), "x", least=1.6,
                              note="serial work cools one plate while it uses the other"))
    return figures


def decision() -> list[Figure]:
    """What one question costs with eight samples of four steps in the machine."""
    steps = (StepForecast("cast", "synthesiser", 75, SPREAD), StepForecast("anneal", "annealer", 700, SPREAD, 250, 30),
             StepForecast("quench", "quench", 30, SPREAD, 0, 60), StepForecast("expose", "detector", 10, SPREAD))
    route = Route(steps, 20)
    plates = ("p1", "p2", "p3", "p4", "p5")
    dispatcher = Dispatcher({"synthesiser": ("spin",), "annealer": plates, "quench": ("block",), "detector": ("stage",)})
    active = [Progress(name, route, 1, "working", 100.0 * number, name) for number, name in enumerate(plates)]
    active += [Progress("q", route, 2, "working", 995.0, "block"), Progress("d", route, 3, "working", 990.0, "stage"),
               Progress("c", route, 0, "working", 990.0, "spin")]

    def cost_ms(ask: Callable[[], object], n: int) -> float:
        ask()
        began = time.process_time()
        for _ in range(n):
            ask()
        return (time.process_time() - began) / n * 1e3

    note = "processor time; 8 samples of 4 steps in the machine, 64 scenarios"
    return [
        Figure("start_in_s", cost_ms(lambda: dispatcher.start_in_s(route, active, 1000.0, {}), 60), "ms", most=5.0, note=note),
        Figure("rank and move_in_s", cost_ms(lambda: (dispatcher.rank(active[0], active, 1000.0), dispatcher.move_in_s(active[0], active, 1000.0)), 300),
               "ms", most=0.1, note="per sample that waits"),
    ]


def main() -> None:
    show(film_against_exact())
    show(line_against_exact())
    show(fixed("film", film(0.0), FILM_UNITS) + fixed("line", line(0.0), LINE_UNITS))
    show(limits())
    show(against_serial())
    show(decision())


if __name__ == "__main__":
    main()
