"""What is slow to import is imported while the first samples are made, so that nobody waits for it later."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Sequence

from lab.core.config import LabConfig
from lab.core.question import CampaignConfig

log = logging.getLogger(__name__)


def warm_up(lab: LabConfig, configs: Sequence[CampaignConfig]) -> None:
    """Import what these campaigns will need, in a thread of its own."""

    def load() -> None:
        began = time.monotonic()
        from lab.instruments import geometry_of
        from lab.records.evaluate import warm_up

        if any(config.evaluate.kind == "phases" for config in configs):
            warm_up(geometry_of(lab))
        if any(config.optimizer.engine == "ax" for config in configs):
            importlib.import_module("lab.optimise.ax").load()
        log.info("warmed up in %.1f s", time.monotonic() - began)

    threading.Thread(target=load, name="warm-up", daemon=True).start()
