"""Frames of 512 x 512: from trigger to saved HDF5 and event document, and the rate that the stream sustains."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from bluesky.utils import Msg

from benchmarks.bench_laboratory import laboratory
from benchmarks.figures import Figure, quantile, show
from plans.stubs import act

N_SINGLE = 40
EXPOSURE_S = 0.05
N_SERIES = 1000
SERIES_EXPOSURE_S = 0.005


def one_frame(detector: Any, durations: list[float]) -> Any:
    """Trigger, wait until it is saved, emit the event; `durations` gets what it took over the exposure, s."""
    began = time.perf_counter()
    yield Msg("trigger", detector, group="frame")
    yield Msg("wait", None, group="frame")
    yield Msg("create", None, name="primary")
    yield Msg("read", detector)
    yield Msg("save")
    durations.append(time.perf_counter() - began - EXPOSURE_S)


def singles(detector: Any, folder: Path, durations: list[float]) -> Any:
    yield from act("exposure", lambda: detector.set_exposure(EXPOSURE_S, 1))
    detector.set_file(str(folder / "singles.h5"))
    yield Msg("open_run")
    yield Msg("stage", detector)
    for _ in range(N_SINGLE):
        yield from one_frame(detector, durations)
    yield Msg("unstage", detector)
    yield Msg("close_run")


def series(detector: Any, folder: Path, took: list[float]) -> Any:
    yield from act("exposure", lambda: detector.set_exposure(SERIES_EXPOSURE_S, N_SERIES))
    detector.set_file(str(folder / "series.h5"))
    yield Msg("open_run")
    yield Msg("stage", detector)
    began = time.perf_counter()
    yield Msg("trigger", detector, group="frame")
    yield Msg("wait", None, group="frame")
    took.append(time.perf_counter() - began)
    yield Msg("unstage", detector)
    yield Msg("close_run")


def main() -> None:
    over_s: list[float] = []
    took: list[float] = []
    with laboratory(speed=1.0) as session:
        detector = session.devices["detector"]
        session.RE(_prepared(detector, singles(detector, session.home.path, over_s)))
        session.RE(_prepared(detector, series(detector, session.home.path, took)))
    over_ms = [1e3 * s for s in over_s[1:]]
    show([
        Figure("512 x 512 frame, trigger to HDF5 and event, over the exposure, median", statistics.median(over_ms), "ms", most=60.0),
        Figure("the same, 95 %", quantile(over_ms, 0.95), "ms"),
        Figure("frames of 512 x 512 sustained from the stream into HDF5", N_SERIES / took[0], "frames/s", least=100.0,
               note=f"{N_SERIES} frames in {took[0]:.2f} s; the detector was asked for {1 / SERIES_EXPOSURE_S:g}/s, simulator on the same cores"),
    ])


def _prepared(detector: Any, plan: Any) -> Any:
    yield from act("ready", detector.recover)
    yield from plan


if __name__ == "__main__":
    main()
