"""``python -m tests.crash``: campaigns of the simulated laboratory, killed at random moments, resumed, compared with what really happened."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.crash import agreement
from tests.crash.campaign import Killed, Tally
from tests.crash.laboratory import Disagreement


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 when anything disagrees."""
    asked = _parser().parse_args(arguments)
    print(f"seed {asked.seed}: repeat it with make crash SEED={asked.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="labwright-crash-"))
    total, began = Tally(), time.monotonic()
    numbers = iter(range(asked.first, 10**6))
    with ThreadPoolExecutor(asked.at_once) as pool:
        while sum(total.kills.values()) < asked.kills and time.monotonic() - began < asked.minutes * 60:
            batch = [pool.submit(one, folder / f"campaign-{n}", f"{asked.seed}-{n}", asked.trials) for n in (next(numbers) for _ in range(asked.at_once))]
            for future in batch:
                total.add(future.result())
    print(summary(total, time.monotonic() - began), flush=True)
    if total.disagreements:
        print(f"what was left is in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def one(folder: Path, seed: str, n_trials: int) -> Tally:
    """One campaign, killed until it is done, and compared."""
    chances = random.Random(seed)
    killed = Killed(folder, chances, n_trials)
    try:
        killed.run()
        killed.tally.disagreements += agreement.disagreements(killed.home, agreement.AT_THE_END)
        killed.tally.counts.update(agreement.counts(killed.home))
    except Disagreement as error:
        killed.tally.disagreements.append(str(error))
    except Exception:  # noqa: BLE001 - told with its traceback, and the other campaigns go on
        killed.tally.disagreements.append(traceback.format_exc())
    tally = killed.tally
    print(f"campaign {seed}: {sum(tally.kills.values())} kills in {tally.sessions} sessions, {len(tally.disagreements)} disagreements", flush=True)
    if tally.disagreements:
        print("\n".join(["  " + line for line in (*killed.happened, *tally.disagreements)]), flush=True)
    else:
        shutil.rmtree(folder)
    return tally


def summary(total: Tally, wall_s: float) -> str:
    """The table at the end."""
    victims = sorted({victim for victim, _ in total.kills}, key=lambda name: -sum(n for (v, _), n in total.kills.items() if v == name))
    phases = list(dict.fromkeys(phase for _, phase in sorted(total.kills, key=lambda pair: pair[1])))
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
    parser.add_argument("--trials", type=int, default=6, help="of each campaign")
    parser.add_argument("--first", type=int, default=1, help="number of the first campaign: to repeat one")
    parser.add_argument("--at-once", type=int, default=2, help="campaigns")
    parser.add_argument("--minutes", type=float, default=60.0, help="no further campaign is begun after these")
    return parser


if __name__ == "__main__":
    sys.exit(main())
