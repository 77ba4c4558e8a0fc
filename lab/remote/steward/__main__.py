"""``python -m lab.remote.steward``."""

from lab.remote.steward.service import main
from lab.up.service import exit_status_of

raise SystemExit(exit_status_of(main))
