"""The only door of a laboratory that is up: ``python -m lab.remote.gateway``. Hostile bytes end here."""
