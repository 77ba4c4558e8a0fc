"""The end of a campaign, for people and for programs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from lab.core.trial import TrialState
from lab.progress import point

if TYPE_CHECKING:
    from lab.campaign import Campaign, End
    from lab.home import Home


def result_of(campaign: Campaign, end: End) -> dict[str, Any]:
    """What ``lab run --json`` prints: see docs/files.md."""
    trials, best = campaign.trials, campaign.best
    count = {state.value: sum(t.state is state for t in trials) for state in
             (TrialState.COMPLETED, TrialState.FAILED, TrialState.ABANDONED)}
    used = campaign.ledger.statistics(campaign.id)
    return {
        "campaign": campaign.id,
        "status": end.status,
        "cause": end.cause,
        "trials": count,
        "best": None if best is None or best.outcome is None else {
            "trial": best.index + 1,
            "parameters": dict(best.point),
            "outcomes": {name: {"mean": m.mean, "sem": m.sem} for name in campaign.config.outcome_names
                         if (m := best.outcome.measured.get(name)) is not None},
        },
        "recommended": campaign.recommended,
        "wall_s": round(campaign.wall_s, 3),
        "lab_s": round(campaign.lab_s, 1),
        "makespan_s": round(used.makespan_s, 1),
        "overlap": round(used.overlap, 2),
        "interventions": used.n_interventions,
        "sessions": used.n_sessions,
        "stations": {name: {"busy_s": round(use.busy_s, 1), "utilisation": round(use.utilisation, 4), "idle_s": round(use.idle_s, 1)}
                     for name, use in used.stations.items()},
    }


def say_end(console: Console, result: dict[str, Any], home: Home) -> None:
    """The last lines of ``lab run``: the best sample, where the data lies, what to type next."""
    trials = result["trials"]
    colour = {"done": "green", "interrupted": "yellow"}.get(result["status"], "red")
    console.print()
    console.print(f"[bold {colour}]{result['status']}[/]: {result['cause']}", markup=True)
    console.print(f"  trials     {trials['completed']} completed, {trials['failed']} failed, {trials['abandoned']} abandoned; "
                  f"{result['lab_s'] / 3600:.2f} laboratory hours in {result['wall_s']:.0f} s")
    busiest = max(result["stations"].items(), key=lambda item: item[1]["utilisation"], default=None)
    if busiest is not None:
        console.print(f"  overlap    {result['overlap']:.1f} samples at once; {busiest[0]} busy {100 * busiest[1]['utilisation']:.0f} % of "
                      f"{result['makespan_s'] / 3600:.2f} laboratory hours")
    best = result["best"]
    if best is None:
        console.print("  best       none: no trial gave an outcome")
    else:
        console.print(f"  best       [bold]{point(best['parameters'])}[/]  (trial {best['trial']})")
        for name, value in best["outcomes"].items():
            error = f" ± {value['sem']:.2g}" if value["sem"] is not None else ""
            console.print(f"             {name} [bold]{value['mean']:.4g}{error}[/]")
    if result["recommended"] is not None:
        console.print(f"  recommends {escape(result['recommended']['words'])}")
    path = os.path.relpath(home.path)
    console.print(f"  data       {path}/ledger.sqlite   {path}/runs/")
    console.print(f"             {path}/frames/{result['campaign']}/")
    again = f"lab resume {result['campaign']}     " if result["status"] == "interrupted" else ""
    console.print(f"  next       {again}lab show {result['campaign']}     lab report {result['campaign']}     lab console")
