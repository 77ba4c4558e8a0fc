"""One problem, one engine, one seed: ``python -m benchmarks.optimizer.one PROBLEM ENGINE VERSION SEED FOLDER_OF_TABLES``.

Writes a row for each trial, as soon as it is known, to standard output. Whatever the libraries print goes to standard error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.optimizer import engines, problems
from benchmarks.optimizer.laboratory import run
from benchmarks.optimizer.rows import Key


def main() -> int:
    """Run what the command line names."""
    rows = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    name, engine, version, seed, tables = sys.argv[1:]
    problem = problems.find(name, Path(tables))
    with rows:
        for row in run(problem, engines.make(engine, problem, int(seed)), Key(name, engine, version, int(seed))):
            rows.write(row.line())
            rows.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
