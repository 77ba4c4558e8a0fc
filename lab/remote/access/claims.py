"""Who a message says that it is from. It may say so, as the official clients do, but only what its key says, too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.remote.access.who import Who

NOBODY = {"user": "Queue Server API User", "user_group": "primary"}
"""What the official client says as long as nobody has told it otherwise (bluesky_queueserver_api, _defaults.py)."""


def false_claim(params: dict[str, Any], who: Who) -> str | None:
    """What a request says of its sender that is not so, in words; None when there is nothing."""
    own = {"user": who.name, "user_group": who.role}
    for place, values in _places(params):
        for field, true in own.items():
            if field in values and values[field] != true and values[field] != NOBODY[field]:
                return f"{place}{field}: given somebody else's; allowed: {true!r}, which your key says, or nothing"
    return None


def without_claims(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters as they are passed on: who asks stands beside them."""
    return {field: value for field, value in params.items() if field not in NOBODY}


def _places(params: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "", params
    item, items = params.get("item"), params.get("items")
    if isinstance(item, dict):
        yield "item.", item
    for place, one in enumerate(items if isinstance(items, list) else []):
        if isinstance(one, dict):
            yield f"items.{place}.", one
