"""A worker without a laboratory, as long as `lab.remote.startup` is not there."""

from bluesky import RunEngine
from bluesky.plan_stubs import sleep

RE = RunEngine()


def wait(delay_s: float = 1.0):  # type: ignore[no-untyped-def]
    """Do nothing for a while."""
    yield from sleep(delay_s)
