"""Rehearsals: a campaign's own plans on devices that only take time, before anything moves. See `lab.rehearsal.plan`.

Importing this package imports nothing heavy; its modules import Bluesky and SciPy.
"""
