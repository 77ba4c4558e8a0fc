"""Whole campaigns through every real layer, run as a person runs them; and what becomes of them when things go wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.cli import app

pytestmark = pytest.mark.timeout(900)  # whole laboratories, also on a busy machine

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
LAB = str(Path(sys.executable).parent / "lab")
QUICK = ["--set", "optimizer.engine=sobol", "--set", "lab.catalogue=false", "--speed", "1500", "--set", "settings.max_gap_s=1000000"]
"""At 1500 times its speed a transfer takes minutes of laboratory time, since what is exchanged takes wall time."""


class Run:
    """One ``lab`` command in a home of its own."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        self.process = subprocess.Popen([LAB, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
                                        env={**os.environ, "LAB_HOME": str(home), "COLUMNS": "250"})
        self.children: list[psutil.Process] = []

    def finish(self, deadline_s: float = 550.0) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        out, err = self.process.communicate(timeout=deadline_s)
        return self.process.returncode, out, err

    def until(self, words: str, deadline_s: float = 120.0) -> str:
        """Read standard error up to a line with `words`."""
        seen, end = "", time.monotonic() + deadline_s
        while time.monotonic() < end and self.process.stderr is not None:
            line = self.process.stderr.readline()
            seen += line
            if words in line:
                self.children = psutil.Process(self.process.pid).children(recursive=True)
                return seen
            if not line:
                break
        raise AssertionError(f"never said {words!r}:\n{seen}")

    def show(self) -> dict[str, Any]:
        """``lab show --json`` of the newest campaign."""
        found = subprocess.run([LAB, "show", "perovskite", "--json"], check=True, capture_output=True, text=True, timeout=300,
                               env={**os.environ, "LAB_HOME": str(self.home)})
        return json.loads(found.stdout)


@contextmanager
def running(folder: Path) -> Iterator[Callable[..., Run]]:
    """Starts ``lab`` commands in a home in `folder`; none of their processes is left at the end."""
    runs: list[Run] = []

    def start(*arguments: str) -> Run:
        runs.append(Run(folder / "home", *arguments))
        return runs[-1]

    try:
        yield start
    finally:
        left: list[psutil.Process] = []
        for run in runs:
            if run.process.poll() is None:
                run.process.kill()
            run.process.communicate(timeout=120)
            left += psutil.wait_procs(run.children, timeout=120)[1]
        for child in left:
            child.kill()
        assert not left, f"left behind: {left}"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    with running(tmp_path) as start:
        yield start


def perovskite(*more: str, trials: int = 3) -> list[str]:
    return ["run", "examples/perovskite.yaml", *QUICK, "--set", f"budget.trials={trials}", *more]


def faults(tmp_path: Path, *rows: str) -> list[str]:
    path = tmp_path / "faults.yaml"
    path.write_text("".join(f"- {row}\n" for row in rows))
    return ["--faults", str(path)]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int, str, str]]:
    """A campaign of three trials that came to its end: its home, exit status, standard output and standard error."""
    with running(tmp_path_factory.mktemp("campaign")) as start:
        run = start(*perovskite("--json"))
        yield run.home, *run.finish()


def test_a_campaign_runs_to_its_budget_and_standard_output_is_one_json_object(campaign: tuple[Path, int, str, str]) -> None:
    _, status, out, err = campaign
    assert status == 0, err
    result = json.loads(out)
    assert result["status"] == "done"
    assert result["trials"] == {"completed": 3, "failed": 0, "abandoned": 0}
    best = result["best"]
    assert best["parameters"]["cs"] + best["parameters"]["fa"] + best["parameters"]["ma"] == pytest.approx(1.0, abs=1e-9)
    assert best["outcomes"]["perovskite_fraction"]["sem"] > 0
    assert result["lab_s"] > 1000 > result["wall_s"] > 0
    assert {"arm", "synthesiser", "plate_a", "plate_b", "stage"} <= set(result["stations"])
    assert "3/3  done" in err
    assert f"lab show {result['campaign']}" in err


LEDGER_AND_WORLD = """
import json, sys, time
from pathlib import Path
from lab.files import load_campaign, load_lab
from lab.home import Home
from lab.progress import Lines
from lab.session import Session
root, home = Path(sys.argv[1]), Home(Path(sys.argv[2]))
config = load_campaign(root / "examples/perovskite.yaml", {"budget.trials": 2, "optimizer.engine": "sobol", "settings.max_gap_s": 1000000})
lab = load_lab(root / "examples/lab.yaml", {"speed": 1500})
with Session(lab, home) as session:
    campaign, end = session.run_campaign(config, Lines())
    account = session.simulator.ask({"do": "account"})
    doses = [[d.volumes_ml, d.dispensed_ml, d.state] for d in session.ledger.doses(campaign.id)]
    places = [s.place for s in session.ledger.samples(campaign.id)]
    session.catalogue.wait(400)
    ends = time.monotonic() + 30.0
    while len(session.catalogue) < 2 and time.monotonic() < ends:  # Tiled counts on another connection than it writes
        time.sleep(0.5)
    tiled = [len(session.catalogue), session.catalogue[-1]["primary"].metadata is not None, tuple(session.catalogue.status())]
    print(json.dumps({"account": account, "doses": doses, "places": places, "tiled": tiled, "status": end.status}))
"""


def test_the_ledger_says_what_the_world_saw_and_tiled_has_the_runs(tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, "-c", LEDGER_AND_WORLD, str(ROOT), str(tmp_path / "home")], capture_output=True, text=True,
                           timeout=550, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout.splitlines()[-1])
    assert told["status"] == "done"
    counted: dict[str, dict[str, float]] = {}
    for dose in told["account"]["doses"]:
        sample = counted.setdefault(dose["sample"], {})
        sample[dose["liquid"]] = sample.get(dose["liquid"], 0.0) + dose["counted_ml"]
    for n, (_, dispensed, state) in enumerate(told["doses"]):
        assert state == "done"
        seen = counted[f"substrate:rack.{n + 1}"]
        assert {k: v for k, v in dispensed.items() if v} == pytest.approx(seen, abs=2e-3)
    assert told["places"] == ["rack.1", "rack.2"]
    assert told["account"]["places"]["rack.1"] == "substrate:rack.1"
    assert told["tiled"][2] == [0, 0, ""]  # first, since it says why one is not there
    assert told["tiled"][0] == 2


def test_every_document_and_frame_is_on_disk(campaign: tuple[Path, int, str, str]) -> None:
    import h5py
    import hdf5plugin  # noqa: F401  bitshuffle for reading

    home = campaign[0]
    starts = []
    for documents in (home / "runs").glob("*.jsonl"):
        lines = [json.loads(line) for line in documents.read_text().splitlines()]
        names = [name for name, _ in lines]
        assert names[0] == "start" and names[-1] == "stop"
        assert {"descriptor", "event", "stream_resource", "stream_datum"} <= set(names)
        starts.append(lines[0][1])
    assert sorted(start["trial"] for start in starts) == [0, 1, 2]
    frames = list((home / "frames" / starts[0]["campaign"]).glob("*.h5"))
    assert len(frames) == 3
    for path in frames:
        with h5py.File(path) as file:
            assert file["/entry/data/data"].shape == (1, 512, 512)
            assert file["/entry/data/data"][0].sum() > 0


def test_what_instruments_do_wrong_costs_a_sample_each_and_not_the_campaign(lab: Any, tmp_path: Path) -> None:
    # The stalled motor is that of the next dose, when none is going on: however fast the machine, that sample is lost.
    wrong = faults(tmp_path, "{instrument: pump, kind: error, words: stall, at_s: 4}",
                   "{instrument: arm, kind: error, words: collision, at_s: 6}",
                   "{instrument: hotplate_a, kind: unplug, at_s: 8, for_s: 1}",
                   "{instrument: hotplate_a, kind: corrupt, probability: 0.02, count: 20, seed: 1}",
                   "{instrument: pump, kind: drop, probability: 0.01, count: 10, seed: 2}")
    run = lab(*perovskite(*wrong, "--json", "--set", "budget.failures=5", trials=6))
    status, out, err = run.finish()
    assert status == 0, err
    result = json.loads(out)
    assert result["trials"]["completed"] + result["trials"]["failed"] == 6
    assert result["trials"]["completed"] >= 2, err
    causes = [trial["cause"] for trial in run.show()["table"] if trial["state"] == "failed"]
    assert causes and all(causes)
    assert any(word in cause for cause in causes for word in ("stall", "collision", "3005", "hotplate")), causes


def test_a_campaign_ends_when_its_failures_are_spent_and_says_the_last_cause(lab: Any, tmp_path: Path) -> None:
    wrong = faults(tmp_path, *(["{instrument: pump, kind: error, words: stall}"] * 1),
                   "{instrument: pump, kind: error, words: stall, after: 1, count: 1000, probability: 0.5}")
    run = lab(*perovskite(*wrong, "--json", "--set", "budget.failures=2", trials=6))
    status, out, err = run.finish()
    assert status == 1, err
    result = json.loads(out)
    assert result["status"] == "failed"
    assert "failure budget spent: 2 samples failed, the last one with: " in result["cause"]


def test_ctrl_c_ends_a_campaign_safely_and_impatience_and_a_closed_terminal_do_not_hurry_it(lab: Any) -> None:
    run = lab(*perovskite(trials=10))
    run.until("try ")
    run.process.send_signal(signal.SIGINT)
    run.until("finishing safely")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        run.process.send_signal(number)
    status, _, err = run.finish()
    assert status == 130, err
    assert "Traceback" not in err
    assert "not safe" not in err
    shown = run.show()
    assert (shown["status"], shown["cause"]) == ("interrupted", "SIGINT from the operator")
    assert {trial["state"] for trial in shown["table"]} <= {"completed", "abandoned"}


def test_a_killed_bridge_is_started_again_and_the_campaign_goes_on(lab: Any) -> None:
    run = lab(*perovskite("--set", "budget.failures=4", trials=3))
    run.until("2/3  try")
    bridges = [child for child in run.children if child.status() != psutil.STATUS_ZOMBIE and "firmware_bridges" in child.cmdline()]
    os.kill(bridges[1].pid, signal.SIGKILL)
    seen = run.until("is back")
    run.children = psutil.Process(run.process.pid).children(recursive=True)
    status, _, err = run.finish()
    assert "died (exit status -9); starting it again" in seen
    assert status == 0, seen + err
    assert sum(trial["state"] == "completed" for trial in run.show()["table"]) >= 2


def test_a_killed_simulator_interrupts_the_campaign_at_once_and_is_its_cause(lab: Any) -> None:
    run = lab(*perovskite("--json", trials=10))
    run.until("/10  done")
    (simulator,) = [child for child in run.children if child.status() != psutil.STATUS_ZOMBIE and "sim" in child.cmdline()]
    simulator.kill()
    status, out, err = run.finish()
    assert status == 130, err
    result = json.loads(out)
    assert result["status"] == "interrupted"
    assert result["cause"].startswith("the simulated laboratory died (exit status -9; log: ")
    assert result["trials"]["completed"] == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.yaml"], "none.yaml: file: given a path that does not exist; allowed: an existing YAML file"),
        (["run", "examples/perovskite.yaml", "--set", "recipe=pizza"], "examples/perovskite.yaml: recipe: given 'pizza'; allowed: thin_film"),
        (["run", "examples/perovskite.yaml", "--set", "budget.trials"], "command line: --set: given 'budget.trials'; allowed: key=value"),
        (["run", "examples/perovskite.yaml", "--speed", "-1"], "examples/lab.yaml: speed: given -1"),
        (["run", "examples/perovskite-table.yaml", "--world", "none.csv"], "none.csv"),
        (["run", "examples/perovskite-table.yaml"], "evaluate.kind: given 'brightness' in a physical world"),
        (["run", "examples/perovskite.yaml", "--faults", "examples/lab.yaml"], "examples/lab.yaml"),
        (["check", "none.yaml"], "none.yaml: file: given a path that does not exist"),
        (["ls"], "no ledger there"),
    ],
)
def test_bad_input_is_answered_in_words_with_status_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
                                                      arguments: list[str], message: str) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    with pytest.raises(SystemExit, match="^2$"):
        app(arguments)
    out, err = capfd.readouterr()
    assert message in err
    assert out == ""


def test_bad_input_ends_the_command_with_status_2_and_without_a_traceback(lab: Any) -> None:
    status, out, err = lab("run", "none.yaml").finish()
    assert status == 2, err
    assert "none.yaml: file: given a path that does not exist" in err
    assert "Traceback" not in err
    assert out == ""


def test_real_measurements_stand_behind_the_instruments(lab: Any) -> None:
    table = Path(os.environ.get("LABWRIGHT_DATA", ROOT.parent / "shared" / "data")) / "p3ht.csv"
    if not table.exists():
        pytest.skip("the folder of real experiment tables is not here")
    run = lab("run", "examples/p3ht-table.yaml", "--world", str(table), "--speed", "1500", "--set", "budget.trials=3", "--set",
              "optimizer.engine=sobol", "--set", "lab.catalogue=false", "--set", "settings.max_gap_s=1000000", "--json")
    status, out, err = run.finish()
    assert status == 0, err
    best = json.loads(out)["best"]
    assert sum(best["parameters"].values()) == pytest.approx(100.0, abs=1e-7)
    assert 2.44 <= best["outcomes"]["conductivity_S_per_cm"]["mean"] <= 1500


def test_check_names_every_instrument_and_what_its_firmware_says(lab: Any) -> None:
    status, out, err = lab("check", "examples/lab.yaml", "--json").finish()
    assert status == 0, err
    rows = {row["instrument"]: row for row in json.loads(out)["instruments"]}
    assert set(rows) == {"pump", "hotplate_a", "hotplate_b", "hotplate_c", "arm", "detector", "plc"}
    assert "NE1000" in rows["pump"]["identity"]
    assert "Meca500" in rows["arm"]["identity"]
    assert rows["hotplate_a"]["limits"]["TEMPERATURE"] == [0, 200, "degC"]
    assert all(row["round_trip_ms"] > 0 for row in rows.values())
    assert {row["interlock"]: row["is_ok"] for row in json.loads(out)["interlocks"]} == {"hutch_closed": True, "coolant_flow": True}


def test_check_says_what_is_offline_and_exits_1(lab: Any, tmp_path: Path) -> None:
    text = (EXAMPLES / "lab.yaml").read_text().replace("endpoint: sim              # serial:///dev/ttyACM0?baud=9600",
                                                       "endpoint: serial:///dev/not-there?baud=9600").replace("speed: max", "speed: 60 ")
    file = tmp_path / "lab.yaml"
    file.write_text(text)
    status, out, err = lab("check", str(file)).finish()
    assert status == 1
    assert "offline: hotplate_a" in err
    assert "not-there" in out
