"""``python -m lab.dossier LEDGER CAMPAIGN``: a campaign's page on standard output.

For a service that has other things to do than to draw, and no room for what drawing needs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lab.core.clock import WallClock
from lab.core.errors import LabError
from lab.dossier.content import dossier_of
from lab.dossier.page import page
from lab.records.ledger import Ledger


def main(ledger: str, campaign: str) -> int:
    """Write the page; what is wrong goes to standard error, and the status is 1."""
    try:
        with Ledger(Path(ledger), WallClock()) as opened:
            text = page(dossier_of(opened, campaign))
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.buffer.write(text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
