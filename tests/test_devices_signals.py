"""A bridge that dies while it is asked is a link that is down, whatever pyepics raises of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ophyd import EpicsSignal  # noqa: F401 - before epics

from epics import ca  # isort: skip

from devices.signals import _fetch, _over_the_network
from lab.core.errors import LinkDown

RAISED = [ca.ChannelAccessException("no circuit"), ca.ChannelAccessGetFailure("Get failed; status code: 192", 1, 192), ca.CASeverityException("get", "disconnected")]


class Dying:
    """A PV whose bridge is killed between the question and the answer."""

    pvname = "LAB:pump:0:RATE_RBV"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get(self, **_: Any) -> Any:
        raise self._error

    get_with_metadata = get


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
def test_a_bridge_that_dies_while_it_is_asked_is_a_link_that_is_down(raised: Exception) -> None:
    signal = SimpleNamespace(name="pump_cs_rate", connected=True)
    with pytest.raises(LinkDown, match="pump_cs_rate: the bridge that serves LAB:pump:0:RATE_RBV is gone"):
        _fetch(signal, Dying(raised), False, 1.0)


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
def test_what_a_dying_bridge_has_not_told_is_not_known(raised: Exception) -> None:
    assert _over_the_network(Dying(raised)) is None
