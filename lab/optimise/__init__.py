"""Chooses the next sample. Optimisers are functions of the campaign and its trials; see `protocol`.

Importing this package imports neither torch nor Ax (they take seconds); the engine ``ax`` does, at its first model.
"""

from lab.optimise.feasible import check_feasible
from lab.optimise.protocol import Optimizer, make_optimizer

__all__ = ["Optimizer", "check_feasible", "make_optimizer"]
