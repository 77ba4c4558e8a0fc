"""Texts that others wrote, as a part of what we write: short, and nothing that a terminal would obey or a reader could mistake."""

from __future__ import annotations


def escaped(text: object, longest: int = 120) -> str:
    """Printable ASCII, everything else as Python escapes it (``\\x1b``, ``\\u202e``); cut off at `longest` characters with ``...``."""
    given = text if isinstance(text, str) else str(text)[: longest + 1]
    found = ascii(given[: longest + 1])[1:-1]
    return found if len(found) <= longest else f"{found[: longest - 3]}..."
