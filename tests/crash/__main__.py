"""``python -m tests.crash``: campaigns of the simulated laboratory, killed at random moments, resumed, compared with what really happened."""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from lab.core.space import Value
from tests.crash import agreement
from tests.crash.campaign import Killed, Tally
from tests.crash.laboratory import Disagreement
from tests.crash.schedule import BRIDGES, FORK, PHASES, Kill

AX = {"optimizer.engine": "ax", "optimizer.initial": "2", "lab.at_once": "1"}
"""One sample after the other: then a session that is killed between two of them changes nothing of what is known."""

N_TWINS, N_COMMON = 4, 3
"""Samples of such a campaign; so many have been measured when it is copied."""


QUICK = {"settings.max_gap_s": "1000000"}
"""At 1500 times its speed, and not in virtual time, what is exchanged with the arm takes minutes of laboratory time."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 when anything disagrees."""
    asked = _parser().parse_args(arguments)
    print(f"seed {asked.seed}: make crash SEED={asked.seed} repeats it", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="labwright-crash-"))
    total, began, numbers = Tally(), time.monotonic(), itertools.count(asked.first)
    comparison = Comparison()
    with ThreadPoolExecutor(asked.at_once) as pool:
        under_way = {pool.submit(_campaign, folder, asked.seed, next(numbers), asked.trials, comparison) for _ in range(asked.at_once)}
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                total.add(future.result())
                if sum(total.kills.values()) < asked.kills and time.monotonic() - began < asked.minutes * 60:
                    under_way.add(pool.submit(_campaign, folder, asked.seed, next(numbers), asked.trials, comparison))
    total.counts["suggestions the same as another campaign's"] = comparison.n_same
    print(summary(total, time.monotonic() - began), flush=True)
    if total.disagreements:
        print(f"what was left is in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _campaign(folder: Path, seed: int, number: int, n_trials: int, comparison: Comparison) -> Tally:
    """The first two are the same for every seed: one that nobody kills, and one of the engine ``ax`` with its twin."""
    chances, folder = random.Random(f"{seed}-{number}"), folder / f"campaign-{number}"
    name = f"campaign {number} of seed {seed}"
    if number == 0:
        return one(name, Killed(folder, chances, n_trials), comparison, [])
    if number == 1:
        return _twins(name, folder, chances, comparison)
    if number % 2:
        return one(name, Killed(folder, chances, n_trials, speed="1500", more=QUICK), comparison)
    return one(name, Killed(folder, chances, n_trials), comparison)


def _twins(name: str, folder: Path, chances: random.Random, comparison: Comparison) -> Tally:
    """A campaign that is never interrupted, and one that is resumed from what a power loss would have left of it after the third sample."""
    first = Killed(folder / "first", chances, N_TWINS, more=AX)
    tally = one(f"{name}, never interrupted", first, comparison, [[Kill(FORK, "evaluate", 0.05, nth=N_COMMON)]])
    if first.fork is None:
        tally.disagreements.append(f"{name}: no copy was made")
        return tally
    before = comparison.n_same
    tally.add(one(f"{name}, resumed from its copy", Killed(folder / "second", chances, N_TWINS, more=AX, home=first.fork), comparison, []))
    if comparison.n_same - before <= N_COMMON:
        tally.disagreements.append(f"{name}: after the resume nothing was suggested from the same knowledge")
    return tally


def one(name: str, killed: Killed, comparison: Comparison, given: Sequence[Sequence[Kill]] | None = None) -> Tally:
    """One campaign, killed until it is done, and compared; with `given`, only with these kills."""
    tally = killed.tally
    try:
        killed.run(given)
        checks = agreement.AT_THE_END if any(victim in BRIDGES for victim, _ in tally.kills) else (*agreement.AT_THE_END, agreement.nothing_failed)
        tally.disagreements += agreement.disagreements(killed.home, checks)
        tally.disagreements += comparison.add(killed.settings, agreement.knowledge(killed.home))
        tally.counts.update(agreement.counts(killed.home))
    except Disagreement as error:
        tally.disagreements.append(str(error))
    except Exception:  # noqa: BLE001 - told with its traceback, and the other campaigns go on
        tally.disagreements.append(traceback.format_exc())
    print(f"{name}: {sum(tally.kills.values())} kills in {tally.sessions} sessions, {len(tally.disagreements)} disagreements", flush=True)
    if tally.disagreements:
        print("\n".join(["  " + line for line in (*killed.happened, *tally.disagreements)]), flush=True)
    else:
        shutil.rmtree(killed.home)
    return tally


class Comparison:
    """Suggestions of several campaigns: where the same was known, the same must have been suggested, to the last bit.

    Of points that are spread evenly, whatever the outcomes are, the whole sequence must be the same.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Mapping[str, Value]] = {}
        self._sequences: dict[tuple[str, int], Mapping[str, Value]] = {}
        self.n_same = 0

    def add(self, settings: Mapping[str, str], knowledge: Mapping[str, tuple[int, Mapping[str, Value]]]) -> list[str]:
        """What a campaign suggested, by what it knew; returns what disagrees with the others of the same settings."""
        key, found = repr(sorted(settings.items())), []
        with self._lock:
            for fingerprint, (index, planned) in knowledge.items():
                former = [self._known.setdefault((key, fingerprint), planned)]
                if settings["optimizer.engine"] == "sobol":
                    former.append(self._sequences.setdefault((key, index), planned))
                for other in former:
                    self.n_same += other is not planned and other == planned
                    if other != planned:
                        found.append(f"trial {index}: {planned} was suggested; another campaign, from the same knowledge, suggested {other}")
        return found


def summary(total: Tally, wall_s: float) -> str:
    """The table at the end."""
    victims = sorted({victim for (victim, _), n in total.kills.items() if n}, key=lambda name: -sum(n for (v, _), n in total.kills.items() if v == name))
    phases = [phase for phase in PHASES if any(p == phase and n for (_, p), n in total.kills.items())]
    lines = ["", f"{'killed':<14}" + "".join(f"{phase:>14}" for phase in phases) + f"{'all':>8}"]
    for victim in victims:
        row = [total.kills[victim, phase] for phase in phases]
        lines.append(f"{victim:<14}" + "".join(f"{n or '':>14}" for n in row) + f"{sum(row):>8}")
    lines += ["", f"{sum(total.kills.values())} kills, {total.sessions} sessions, {total.missed} came too late, {wall_s / 60:.1f} min"]
    lines += [f"  {name}: {n}" for name, n in sorted(total.counts.items())]
    lines.append(f"disagreements: {len(total.disagreements)}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--trials", type=int, default=8, help="of each campaign")
    parser.add_argument("--first", type=int, default=0, help="number of the first campaign: to repeat one")
    parser.add_argument("--at-once", type=int, default=2, help="campaigns")
    parser.add_argument("--minutes", type=float, default=60.0, help="no further campaign is begun after these")
    return parser


if __name__ == "__main__":
    sys.exit(main())
