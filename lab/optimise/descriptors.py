"""How alike the values of a choice are, as columns for a model.

Numbers that somebody gives are scaled to 0..1. Of structures, Morgan fingerprints are made (Rogers and Hahn 2010,
doi:10.1021/ci100050t; by RDKit, the extra ``chem``) and reduced to their principal components, as many as hold most of their variance: among few
values, fingerprints are long and mostly alike.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from lab.core.errors import ConfigError
from lab.core.space import ChoiceParameter
from lab.optimise.polytope import Array

RADIUS, BITS = 2, 2048
"""Of the fingerprints: how many bonds around each atom they know, and how long they are."""

MOST, ENOUGH = 6, 0.95
"""Most principal components of fingerprints, and the share of their variance with which fewer are enough."""

ALIKE = 0.01
"""Values whose columns differ by less than this in each are told apart by a column of their own."""


def similarity(choice: ChoiceParameter) -> tuple[Array, Array]:
    """Columns that say how alike the values are, and which length scale each has.

    Parameters
    ----------
    choice : ChoiceParameter
        With descriptors, structures or both.

    Returns
    -------
    columns : ndarray, shape (values, k)
        In 0..1; different for different values.
    groups : ndarray of int, shape (k,)
        From 0 on: each descriptor has a length scale of its own, the components of the fingerprints share one.

    Raises
    ------
    ConfigError
        For structures without RDKit, or that are none.
    """
    given = _scaled(np.array(choice.descriptors, dtype=float).reshape(len(choice.listed), -1))
    parts, groups = [given], list(range(given.shape[1]))
    if choice.smiles:
        components = _components(_fingerprints(choice.name, choice.smiles))
        parts.append(components)
        groups += [len(groups)] * components.shape[1]
    columns = np.hstack(parts)
    apart = _apart(columns)
    if apart.any():
        columns = np.hstack([columns, apart[:, None]])
        groups.append(max(groups, default=-1) + 1)
    return columns, np.array(groups, dtype=int)


def spacing(numbers: Sequence[float]) -> Array:
    """Places in 0..1 of numbers: on a logarithmic scale where they span a decade and are more evenly spaced on it; shape (n,).

    So 60, 80, 100 lie as far from each other as they are, and 0.1, 1, 10 at 0, 1/2, 1.
    """
    linear = np.array(numbers, dtype=float)
    places = linear
    if linear.min() > 0.0 and linear.max() >= 10.0 * linear.min() and _unevenness(np.log(linear)) < _unevenness(linear):
        places = np.log(linear)
    # Halves, since the difference of two very large numbers may be none.
    return (places / 2 - places.min() / 2) / (places.max() / 2 - places.min() / 2)


def _unevenness(places: Array) -> float:
    """The largest gap between neighbours, in units of the smallest."""
    gaps = np.diff(np.sort(places / np.abs(places).max()))
    return float(gaps.max() / gaps.min()) if gaps.min() > 0.0 else float("inf")


def _scaled(columns: Array) -> Array:
    """Each column in 0..1; one that is alike for all values says nothing and is left out."""
    varied = columns[:, np.ptp(columns, axis=0) > 0.0]
    return (varied - varied.min(axis=0)) / np.ptp(varied, axis=0) if varied.shape[1] else varied


def _apart(columns: Array) -> Array:
    """0 for each value that differs from those before it, and ever more for those that do not; shape (values,), at most 1."""
    count = np.zeros(len(columns))
    for k in range(1, len(columns)):
        alike = np.abs(columns[:k] - columns[k]).max(axis=1, initial=0.0) < ALIKE
        count[k] = count[:k][alike].max() + 1.0 if alike.any() else 0.0
    return count / max(count.max(), 1.0)


@lru_cache(maxsize=32)
def _fingerprints(name: str, smiles: tuple[str, ...]) -> Array:
    """Morgan fingerprints, shape (values, BITS)."""
    try:
        chem = importlib.import_module("rdkit.Chem")
        generators = importlib.import_module("rdkit.Chem.rdFingerprintGenerator")
    except ImportError as error:
        raise ConfigError("campaign", f"parameters.{name}.smiles", "structures, and RDKit is not installed",
                          "structures with the extra chem installed (pip install 'labwright[chem]'), or descriptors") from error
    importlib.import_module("rdkit.RDLogger").DisableLog("rdApp.*")  # what is wrong with a structure is said below
    generator = generators.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    found = []
    for text in smiles:
        molecule = chem.MolFromSmiles(text)
        if molecule is None or not molecule.GetNumAtoms():
            raise ConfigError("campaign", f"parameters.{name}.smiles", repr(text), "a structure in SMILES, such as CN(C)C=O")
        found.append(generator.GetFingerprintAsNumPy(molecule))
    return np.array(found, dtype=float)


def _components(fingerprints: Array) -> Array:
    """Principal components, the first in 0..1 and the others on its scale, shape (values, k): differences keep their proportions."""
    centred = fingerprints - fingerprints.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    variance = size ** 2
    if not variance[0] > 0.0:
        return np.zeros((len(fingerprints), 0))
    n = min(MOST, int(np.searchsorted(np.cumsum(variance) / variance.sum(), ENOUGH)) + 1)
    scores = left[:, :n] * size[:n]
    largest = np.abs(scores).argmax(axis=0)
    scores = scores * np.sign(scores[largest, np.arange(n)])  # either sign is right: one of them is agreed on
    return (scores - scores.min(axis=0)) / np.ptp(scores[:, 0])
