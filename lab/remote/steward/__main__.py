"""``python -m lab.remote.steward``."""

from lab.remote.steward.service import main

raise SystemExit(main())
