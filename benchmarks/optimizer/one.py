"""The runs of one engine: ``python -m benchmarks.optimizer.one ENGINE FOLDER_OF_TABLES``; started and fed by `crew`.

It imports the engine's libraries once (seconds, for some) and reads the runs from standard input, in JSON on a line
``[problem, version, seed, most CPU seconds]``. Each is played in a fork of its own, so that none sees another's random numbers or caches.
On standard output: ``begun`` and the fork's process id; a row for each trial, as soon as it is known; ``broke`` and why, if it did;
``ended`` and the exit status. Whatever the libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import TextIO

from benchmarks.optimizer import engines, problems
from benchmarks.optimizer.laboratory import run
from benchmarks.optimizer.rows import Key


def main() -> int:
    """Play what comes, until there is no more."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    engine, tables = sys.argv[1:]
    engines.load(engine)
    for line in sys.stdin:
        name, version, seed, most_s = json.loads(line)
        sys.stderr.flush()
        child = os.fork()
        if not child:
            resource.setrlimit(resource.RLIMIT_CPU, (most_s, most_s + 1))  # the first ends it with a signal of its own, SIGXCPU
            _play(Key(name, engine, version, seed), Path(tables), answers)
        answers.write(f"begun {child}\n")
        answers.flush()
        _, status = os.waitpid(child, 0)
        answers.write(f"ended {os.waitstatus_to_exitcode(status)}\n")
        answers.flush()
    return 0


def _play(key: Key, tables: Path, answers: TextIO) -> None:
    """One run, in the fork; does not return."""
    status = 1
    try:
        problem = problems.find(key.problem, tables)
        for row in run(problem, engines.make(key.engine, problem, key.seed), key):
            answers.write(row.line())
            answers.flush()
        status = 0
    except Exception as error:  # noqa: BLE001 - whatever a peer raises ends its run and stands in the rows
        traceback.print_exc()
        answers.write(f"broke {type(error).__name__}: {' '.join(str(error).split())}\n")
        answers.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
