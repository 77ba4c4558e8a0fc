"""What a person sees while a campaign runs, and at its end."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from lab.home import Home
from lab.progress import joined
from lab.report import say_end

PARTS = ["1/8  [green]done[/]  cs 0.1132", "->  purity [bold]0.9057 ± 0.0011[/]", "best 0.9057 (trial 1)"]


def test_a_wide_screen_and_a_file_get_one_line_for_each_trial() -> None:
    assert joined(PARTS, None) == joined(PARTS, 100) == "   ".join(PARTS)


def test_a_narrow_screen_gets_whole_parts_on_further_lines() -> None:
    assert joined(PARTS, 50) == f"{PARTS[0]}   {PARTS[1]}\n       {PARTS[2]}"
    assert joined(PARTS, 10).splitlines() == [PARTS[0], "       " + PARTS[1], "       " + PARTS[2]]


def test_the_end_names_the_best_trial_by_the_number_that_it_had_all_along(tmp_path: Path) -> None:
    screen = Console(file=io.StringIO(), width=100)
    best = {"trial": 3, "parameters": {"cs": 0.5}, "outcomes": {"purity": {"mean": 0.9, "sem": 0.01}}}
    say_end(screen, {"campaign": "film-1", "status": "done", "cause": "4 trials", "best": best, "recommended": {"words": "trial 2 [is]"}, "lab_s": 3600.0, "wall_s": 9.0,
                     "makespan_s": 3000.0, "overlap": 1.9, "stations": {"plate_a": {"utilisation": 0.7}},
                     "trials": {"completed": 3, "failed": 1, "abandoned": 0}}, Home(tmp_path))
    said = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "recommends trial 2 [is]" in said and "cs 0.5  (trial 3)" in said and "purity 0.9 ± 0.01" in said and "lab show film-1" in said
