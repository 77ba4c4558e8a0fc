"""What README.md and docs/ tell people to type, and where they point, is true.

Whole campaigns, `lab check` and the console are run in test_campaigns.py and test_console.py; here every command, option,
target, path and name on the pages is looked up, and what is cheap is run.
"""

from __future__ import annotations

import ast
import re
import select
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import typer
import yaml

from lab.cli import app
from lab.core.config import InstrumentConfig
from lab.files import load_campaign, load_lab

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "decisions").glob("*.md"))]
LAB = str(Path(sys.executable).parent / "lab")
DATA = "../shared/data/"
"""The published tables lie beside the checkout."""
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def page(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, str]]:
    """Page and line of every shell command in a block, and of every `lab ...` and `make ...` within the text."""
    for path in PAGES:
        for block in blocks(path, "sh"):
            yield from ((page(path), line.partition(" #")[0].strip()) for line in block.splitlines() if line.strip())
        prose = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        yield from ((page(path), found) for found in re.findall(r"`((?:lab|make) [a-z][^`]*)`", prose))


ALL = sorted(set(commands()))


@cache
def targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_the_pages_hold_commands() -> None:
    assert {"lab run", "lab sim", "lab check", "lab console", "lab ls", "lab show"} <= {" ".join(line.split()[:2]) for _, line in ALL}
    assert ("README.md", "make demo") in ALL


@pytest.mark.parametrize(("where", "line"), ALL)
def test_every_command_exists_with_its_options(where: str, line: str) -> None:
    program, *words = shlex.split(line)
    if program == "make":
        assert set(words) <= targets(), where
    elif program == "lab":
        command, *rest = COMMANDS[words[0]], *words[1:]
        options = {name for parameter in command.params for name in parameter.opts}
        while hasattr(command, "commands") and rest:  # lab queue add, lab keys new: options of both
            command, *rest = command.commands[rest[0]], *rest[1:]
            options |= {name for parameter in command.params for name in parameter.opts}
        given = {word for word in rest if word.startswith("-")}
        assert given <= options, where
    else:
        assert line in ("source .venv/bin/activate", "export LAB_KEY=$PWD/alice.key", "jupyter execute examples/remote.ipynb --output=../my-first-film.ipynb")


@pytest.mark.parametrize("line", [line for _, line in ALL if line.startswith("lab ")])
def test_every_file_that_a_command_names_exists(line: str) -> None:
    named = [word for word in shlex.split(line)[1:] if "/" in word and not word.startswith(DATA)]
    assert [word for word in named if not (ROOT / word).exists()] == []


@pytest.mark.parametrize("line", [line for _, line in ALL if line.startswith("lab run examples/")])
def test_fields_that_a_command_sets_are_taken(line: str) -> None:
    words = shlex.split(line)
    sets = dict(word.split("=", 1) for word in words if re.match(r"[a-z_.]+=", word))
    config = load_campaign(ROOT / words[2], {key: yaml.safe_load(value) for key, value in sets.items()})
    assert load_lab((ROOT / words[2]).parent / config.lab).instruments


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_every_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_every_file_of_this_repository_that_a_page_names_exists(path: Path) -> None:
    named = set(re.findall(r"`((?:lab|devices|plans|sim|firmware_bridges|tests|docs|examples|benchmarks)/[\w./-]+\.\w+)`", path.read_text(encoding="utf-8")))
    assert [name for name in sorted(named - made_by_the_reader()) if not (ROOT / name).exists()] == []


def made_by_the_reader() -> set[str]:
    """The files of the instrument that docs/instruments.md adds."""
    return {block.splitlines()[0].removeprefix("# ") for block in blocks(ROOT / "docs" / "instruments.md", "python")
            if block.startswith("# ")}


def test_the_table_of_files_names_every_kind_of_instrument() -> None:
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    kinds = [get_args(model.model_fields["kind"].annotation)[0] for model in get_args(get_args(InstrumentConfig)[0])]
    assert [kind for kind in kinds if f"`{kind}`" not in text] == []


# ------------------------------------------------------------------------------------------------------ what is run


def test_lab_ls_and_show_print_a_campaign_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.core.clock import ManualClock
    from lab.records.ledger import Ledger

    home = tmp_path / "home"
    home.mkdir()
    with Ledger(home / "ledger.sqlite", ManualClock()) as ledger:
        config = load_campaign(ROOT / "examples" / "perovskite.yaml")
        campaign = ledger.open_campaign("perovskite", config.model_dump_json(), "{}")
        ledger.close_campaign(campaign, "done", "nothing to do")
    monkeypatch.setenv("LAB_HOME", str(home))
    for line in ("lab ls", "lab show perovskite", "lab show perovskite --csv films.csv"):
        assert ("README.md", line) in ALL
        done = subprocess.run([LAB, *line.split()[1:]], capture_output=True, text=True, timeout=200, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert campaign in done.stdout
    assert (tmp_path / "films.csv").read_text(encoding="utf-8").startswith("trial,state")


def test_lab_sim_prints_an_endpoint_first() -> None:
    assert ("README.md", "lab sim pump") in ALL
    with subprocess.Popen([LAB, "sim", "pump"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None and select.select([process.stdout], [], [], 120)[0]
            assert Path(process.stdout.readline().decode().strip()).is_char_device()
        finally:
            process.terminate()
        assert process.wait(60) == 0


# ------------------------------------------------------------------------------------------------------ the console


def console_lines() -> list[str]:
    (block,) = blocks(ROOT / "README.md", "python")
    return block.splitlines()


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """The console's namespace over a session of which nothing runs but the RunEngine's loop."""
    from bluesky import RunEngine

    from lab.console import namespace

    lab = load_lab(ROOT / "examples" / "lab.yaml")
    devices: dict[str, Any] = {name: SimpleNamespace() for name in [*lab.instruments, "synthesiser"]}
    for syringe in lab.instruments["pump"].syringes:  # type: ignore[union-attr]
        setattr(devices["pump"], syringe.liquid, SimpleNamespace(rate=None))
    session: Any = SimpleNamespace(lab=lab, devices=devices, RE=RunEngine(context_managers=[]), catalogue=None, ledger=None,
                                   home=SimpleNamespace(path=Path()))
    return namespace(session)


@pytest.mark.parametrize("line", console_lines())
def test_a_line_of_the_console_uses_names_that_are_there(line: str, names: dict[str, Any]) -> None:
    if line.startswith("%"):
        from bluesky.magics import BlueskyMagics

        magic, device, value = line.removeprefix("%").split()
        assert callable(getattr(BlueskyMagics, magic)) and device in names and float(value)
        return
    for node in ast.walk(ast.parse(line)):
        if isinstance(node, ast.Name):
            assert node.id in names
        elif isinstance(node, ast.Attribute):
            owner = eval(ast.unparse(node.value), {"__builtins__": {}}, names)  # a line of our own page
            assert hasattr(owner, node.attr)


# --------------------------------------------------------------------------------------------- docs/instruments.md


def test_the_instrument_of_the_page_can_be_added_by_the_letter(tmp_path: Path) -> None:
    for room in ("lab", "devices", "plans", "sim", "firmware_bridges", "tests"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))

    def insert(file: str, before: str, text: str) -> None:
        content = (tmp_path / file).read_text(encoding="utf-8")
        assert before in content, f"{file}: {before}"
        (tmp_path / file).write_text(content.replace(before, text + before, 1), encoding="utf-8")

    for block in blocks(ROOT / "docs" / "instruments.md", "python"):
        first = block.splitlines()[0]
        if first.startswith("# "):
            (tmp_path / first.removeprefix("# ")).write_text(block.partition("\n")[2], encoding="utf-8")
        elif first.startswith("BALANCE"):
            insert("lab/core/channels.py", "TABLES: dict", block)
        elif first.startswith("class BalanceConfig"):
            insert("lab/core/config.py", "InstrumentConfig = ", block)
        elif first.startswith("    def mass_g"):
            insert("sim/world.py", "    def infuse(", block)
        else:
            assert first.startswith("def _balance")
            insert("sim/laboratory.py", "_BUILD: ", block)
    insert("lab/core/channels.py", '"hotplate": HOTPLATE', '"balance": BALANCE, ')
    insert("lab/core/config.py", ', Field(discriminator="kind")]', " | BalanceConfig")
    insert("sim/laboratory.py", '"hotplate": _hotplate', '"balance": _balance, ')
    insert("lab/instruments.py", '"hotplate": Hotplate', '"balance": Balance, ')
    insert("lab/instruments.py", "from devices.hotplate", "from devices.balance import Balance\n")
    (tmp_path / "weigh.py").write_text(WEIGH, encoding="utf-8")
    done = subprocess.run([sys.executable, "weigh.py"], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["MS204S 220.0000 g B021002593", "0.0", "balance: overload"]


WEIGH = """
import threading
from firmware_bridges.balance import build
from firmware_bridges.controller import BridgeSettings
from lab.core.config import LabConfig
from lab.core.errors import CommandError
from lab.instruments import DEVICES
from sim.laboratory import KINDS, Laboratory

assert "balance" in KINDS and DEVICES["balance"].__module__ == "devices.balance"
lab = LabConfig.model_validate({"name": "page", "speed": 400, "instruments": {"balance": {"kind": "balance"}}})
simulated = Laboratory(lab)
simulated.switchboard.start()
controller = build(BridgeSettings("balance", "P:", 400, simulated.start()["balance"], lab.instruments["balance"]))
came = threading.Event()
controller.subscribe(lambda key, value, cause: came.set() if key == "CONNECTED" and value else None)
controller.start()
assert came.wait(120)
print(controller.value("IDENTITY"))
controller.execute("WEIGH", 1)
print(controller.value("WEIGHED"))
simulated.do({"do": "fault", "instrument": "balance", "kind": "error", "words": "overload"})
try:
    controller.execute("WEIGH", 1)
except CommandError as error:
    print(error)
controller.stop()
simulated.stop()
"""
