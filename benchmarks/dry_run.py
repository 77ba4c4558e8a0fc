"""How long `lab plan` takes for 50 samples, start included, and what the check of `lab run` costs before anything is started."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, show

N_SAMPLES = 50
CAMPAIGN = Path("examples/perovskite.yaml")

QUICK = """
import sys, time
from pathlib import Path
import lab.running  # what lab run imports anyway
from lab.files import load_campaign, load_lab
from lab.home import Home
from lab.validation import prepare
file = Path(sys.argv[1])
campaign = load_campaign(file)
path = file.parent / campaign.lab
lab = prepare(load_lab(path), campaign, lab_file=str(path), campaign_file=str(file))
began = time.process_time()
from lab.rehearsal.ahead import quick_check
quick_check(lab, campaign, lab_file=str(path), campaign_file=str(file), home=Home.default())
print(time.process_time() - began)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LAB_HOME": str(Path(folder) / "home")}
        lab = [str(Path(sys.executable).parent / "lab"), "plan", str(CAMPAIGN), "--samples", str(N_SAMPLES), "--json"]
        before, began = _children_cpu_s(), time.perf_counter()
        ran = subprocess.run([*lab, "--picture", str(Path(folder) / "plan.svg")], env=environment, capture_output=True, text=True, check=True)
        wall_s, cpu_s = time.perf_counter() - began, _children_cpu_s() - before
        report = json.loads(ran.stdout)
        quick = subprocess.run([sys.executable, "-c", QUICK, str(CAMPAIGN)], env=environment, capture_output=True, text=True, check=True)
    show([
        Figure(f"lab plan, {N_SAMPLES} samples with picture, start included", wall_s, "s", most=5.0,
               note=f"{report['repetitions']} rehearsals of {report['makespan_s']['median'] / 3600:.1f} laboratory hours"),
        Figure("  of it, processor time", cpu_s, "s", note="of one core; more of it beside others"),
        Figure("check before lab run starts anything", float(quick.stdout), "s", most=1.0, note="processor time, its imports included"),
    ])


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
