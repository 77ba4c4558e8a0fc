"""What a person or another model expects before anything is measured: an expression of the parameters, or a Python function of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.core.errors import OptimizerError
from lab.core.expected import is_code, numbers_of
from lab.core.expression import Expression, parse
from lab.core.space import Value
from lab.optimise.domain import Domain
from lab.optimise.polytope import Array
from lab.optimise.scaling import Scale

STEP = 1e-5
"""Of differences, in model coordinates."""


@dataclass(frozen=True)
class PriorMean:
    """A prior mean as a function of model coordinates, in the unit of the outcome's model.

    Parameters
    ----------
    domain : Domain
    outcome, text : str
        For messages.
    function : Expression or callable
    scale : Scale
    """

    domain: Domain
    outcome: str
    text: str
    function: Expression | Callable[[Mapping[str, Value]], float]
    scale: Scale

    def values(self, x: Array) -> Array:
        """Shape (n,), at `x`, shape (n, d or more).

        Raises
        ------
        OptimizerError
            When the function fails, or what it returns is no finite number.
        """
        rows = self.domain.decode(x[:, :self.domain.n_columns])
        if isinstance(self.function, Expression):
            if not rows:
                return np.zeros(0)
            names = self.function.names
            try:
                found = self.function({name: np.array([float(row[name]) for row in rows]) for name in names}) if names else self.function({})
            except ValueError as error:
                raise OptimizerError(f"prior_mean.{self.outcome}: {error}") from error
            return self.scale.to_unit(np.broadcast_to(np.asarray(found, dtype=float), (len(rows),)))
        return self.scale.to_unit(np.array([self._called(row) for row in rows]))

    def slopes(self, x: Array) -> tuple[float, Array]:
        """Value and gradient at one point, by differences along the columns of numbers; others have none."""
        n = len(self.domain.columns.numbers)
        steps = np.zeros((2 * n, len(x)))
        steps[:n, :n], steps[n:, :n] = STEP * np.eye(n), -STEP * np.eye(n)
        found = self.values(np.vstack([x, x + steps]))
        gradient = np.zeros(len(x))
        gradient[:n] = (found[1:n + 1] - found[n + 1:]) / (2 * STEP)
        return float(found[0]), gradient

    def _called(self, row: Mapping[str, Value]) -> float:
        function: Any = self.function
        try:
            found = float(function(dict(row)))
        except Exception as error:  # whatever the user's function raises
            raise OptimizerError(f"prior_mean.{self.outcome}: {self.text} raised {type(error).__name__}: {error}, at {dict(row)}") from error
        if not np.isfinite(found):
            raise OptimizerError(f"prior_mean.{self.outcome}: {self.text} returned {found} at {dict(row)}; allowed: a finite number")
        return found


def prior_mean(domain: Domain, outcome: str, text: str, scale: Scale) -> PriorMean:
    """Read the prior mean of an outcome.

    Raises
    ------
    OptimizerError
        When there is no such module or function, or it is no expression.
    """
    if not is_code(text):
        try:
            return PriorMean(domain, outcome, text, parse(text, numbers_of(domain.space)), scale)
        except ValueError as error:
            raise OptimizerError(f"prior_mean.{outcome}: {error}") from error
    module, _, name = text.strip().partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # importing runs the user's code
        raise OptimizerError(f"prior_mean.{outcome}: given {text}: {type(error).__name__}: {error}; allowed: module:function that Python finds") from error
    if not callable(function):
        raise OptimizerError(f"prior_mean.{outcome}: given {text}, which cannot be called; allowed: a function of a dict of parameter values")
    return PriorMean(domain, outcome, text, function, scale)
