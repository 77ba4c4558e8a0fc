"""``python -m lab.remote.gateway``."""

from lab.remote.gateway.service import main

raise SystemExit(main())
