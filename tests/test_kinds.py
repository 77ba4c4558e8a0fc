"""A kind of instrument is registered in four tables; one that is missing in any of them would fail only in the laboratory."""

from __future__ import annotations

from importlib import import_module
from typing import get_args

import pytest

from lab.core.channels import TABLES
from lab.core.config import InstrumentConfig
from lab.instruments import DEVICES
from sim.laboratory import KINDS


def test_every_kind_has_a_configuration_a_simulator_and_a_device() -> None:
    configured = [get_args(model.model_fields["kind"].annotation)[0] for model in get_args(get_args(InstrumentConfig)[0])]
    assert sorted(configured) == sorted(KINDS) == sorted(DEVICES) == sorted(TABLES)


@pytest.mark.parametrize("kind", TABLES)
def test_every_kind_has_a_bridge(kind: str) -> None:
    assert callable(import_module(f"firmware_bridges.{kind}").build)
