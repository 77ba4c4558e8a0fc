"""What a campaign recommends in the end, or so far: worked out when it is asked for, never while samples wait."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from lab.core.question import CampaignConfig
from lab.core.trial import Trial

log = logging.getLogger(__name__)


def recommended(config: CampaignConfig, trials: Sequence[Trial]) -> dict[str, Any]:
    """``best``, ``front``, ``candidate``, ``lead`` and ``words``, as JSON has them (`lab.optimise.recommend`).

    Whatever goes wrong in a model is said in `words`: the end of a campaign is worth more than what is concluded from it.
    """
    from lab.optimise.recommend import Recommendation, recommend

    try:
        found = recommend(config, trials)
    except Exception as error:  # noqa: BLE001 - a mistake in a library; the campaign has ended, and its data are whole
        log.exception("nothing can be recommended")
        found = Recommendation(None, words=f"nothing can be recommended: {type(error).__name__}: {error}")
    return found.as_json()
