"""``python -m lab.remote.gateway``."""

from lab.remote.gateway.service import main
from lab.up.service import exit_status_of

raise SystemExit(exit_status_of(main))
