"""Signals and state folders: what ends a session, and what does not."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from lab import interrupts
from lab.core.errors import ConfigError
from lab.home import Home


@pytest.mark.parametrize("number", interrupts.ENDING)
def test_while_starting_every_ending_signal_raises_so_that_what_was_started_is_ended(
        number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_leave_terminal", lambda: None)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=number.name), interrupts.raised():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_while_closing_a_signal_is_answered_and_interrupts_nothing() -> None:
    said: list[str] = []
    heard = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        heard.set()

    with interrupts.answered(say, "already finishing"):
        signal.raise_signal(signal.SIGINT)
        assert heard.wait(60)
    assert said == ["already finishing"]


def test_a_closed_terminal_is_left_and_files_are_still_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "dup2", lambda source, target: closed.append((source, target)))
    terminal, _ = os.openpty()
    file = os.open(tmp_path / "out.json", os.O_CREAT | os.O_WRONLY)
    status = {1: os.fstat(file), 2: os.fstat(terminal)}
    really = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: status[fd] if fd in status else really(fd))
    interrupts._leave_terminal()
    for one in (terminal, _, file):
        os.close(one)
    assert [target for _, target in closed] == [2]


def test_signals_outside_the_main_thread_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    found: list[object] = []

    def work() -> None:
        with interrupts.raised():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert found == [before]


def test_a_home_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="LAB_HOME: .*file.*Not a directory|LAB_HOME: .*file.*File exists"):
        Home(tmp_path / "file").prepare()
    Home(tmp_path / "new" / "home").prepare()
    assert (tmp_path / "new" / "home" / "runs").is_dir()
