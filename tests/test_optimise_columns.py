"""What a model sees of a point: where numbers and choices lie."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from lab.core.errors import ConfigError
from lab.core.space import ChoiceParameter, FixedParameter, RangeParameter, Space, Value
from lab.optimise.descriptors import similarity, spacing
from lab.optimise.domain import Domain
from lab.optimise.polytope import Array

SMILES = ("CN(C)C=O", "CCN(CC)C=O", "CS(C)=O", "CC#N", "O=C1CCCO1")


def columns_of(choice: ChoiceParameter) -> Array:
    domain = Domain(Space((choice,)))
    return np.array([domain.encode_values({choice.name: value}) for value in choice.values])


@pytest.mark.parametrize("values, places", [
    ((60, 80, 100), [0, 0.5, 1]),
    ((60, 80, 180), [0, 1 / 6, 1]),
    ((1, 2, 4), [0, 1 / 3, 1]),
    ((0.1, 1, 10), [0, 0.5, 1]),
    ((1, 10, 1000), [0, 1 / 3, 1]),
    ((0, 1, 100), [0, 0.01, 1]),
    ((10, 1, 0.1), [1, 0.5, 0]),
    ((-1e308, 0.0, 1e308), [0, 0.5, 1]),
    ((10, 20, 30, 40, 50, 60, 70, 80, 90, 100), np.linspace(0, 1, 10).tolist()),
])
def test_ordered_numbers_lie_where_they_are_on_the_scale_that_spaces_them_more_evenly(values: tuple[float, ...], places: list[float]) -> None:
    assert spacing(values) == pytest.approx(places)


def test_ordered_texts_lie_at_their_places() -> None:
    assert columns_of(ChoiceParameter("s", ("slow", "fast", "faster"), is_ordered=True)) == pytest.approx(np.array([[0.0], [0.5], [1.0]]))


def test_a_choice_without_more_has_a_column_for_each_value() -> None:
    assert columns_of(ChoiceParameter("s", ("a", "b", "c"))) == pytest.approx(np.eye(3))


def test_descriptors_take_the_place_of_one_column_per_value() -> None:
    choice = ChoiceParameter("s", ("a", "b", "c"), descriptors=((10.0, 5.0, 1.0), (20.0, 5.0, 3.0), (40.0, 5.0, 2.0)))
    # The second says nothing.
    assert columns_of(choice) == pytest.approx(np.array([[0, 0], [1 / 3, 1], [1, 0.5]]))
    assert Domain(Space((RangeParameter("x", 0, 1), choice))).columns.groups.tolist() == [0, 1, 2]


def test_values_with_the_same_descriptors_can_be_told_apart() -> None:
    x = columns_of(ChoiceParameter("s", ("a", "b", "c", "d"), descriptors=((1.0,), (2.0,), (1.0,), (1.001,))))
    differences = np.abs(x[:, None, :] - x[None, :, :]).max(axis=2)[~np.eye(4, dtype=bool)]
    assert differences.min() > 0.01


def test_structures_without_rdkit_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit.Chem", None)
    with pytest.raises(ConfigError, match=r"parameters.s.smiles: given structures, and RDKit is not installed; allowed: .*labwright\[chem\]"):
        similarity(ChoiceParameter("s", ("a", "b"), smiles=("C", "CC")))


@pytest.mark.skipif(importlib.util.find_spec("rdkit") is None, reason="the extra chem is not installed")
def test_structures_that_are_alike_lie_near_each_other() -> None:
    x, groups = similarity(ChoiceParameter("s", ("DMF", "DEF", "DMSO", "ACN", "GBL"), smiles=SMILES))
    distance = np.linalg.norm(x[:, None, :] - x[None, :, :], axis=2) + np.diag([np.inf] * 5)
    assert distance[0].argmin() == 1
    assert set(groups) == {0}


@pytest.mark.skipif(importlib.util.find_spec("rdkit") is None, reason="the extra chem is not installed")
def test_what_is_no_structure_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"parameters.s.smiles: given 'C\(' *; allowed: a structure in SMILES"):
        similarity(ChoiceParameter("s", ("a", "b"), smiles=("C", "C(")))


def test_what_is_fixed_has_no_column() -> None:
    domain = Domain(Space((RangeParameter("x", 0, 1), FixedParameter("t", 5), FixedParameter("s", "DMF"))))
    assert domain.encode_values({"x": 0.25, "t": 7, "s": "DMSO"}) == pytest.approx([0.25])


def test_what_was_a_range_before_it_was_fixed_keeps_its_column() -> None:
    domain = Domain(Space((RangeParameter("x", 40, 60, scaled_by=(0, 100)), FixedParameter("t", 5, scaled_by=(0, 10)))))
    before: dict[str, Value] = {"x": 10, "t": 7}
    assert domain.encode_values(before) == pytest.approx([0.1, 0.7])
    points = domain.points_of([{"x": 50, "t": 5}])
    assert domain.encode(points) == pytest.approx(np.array([[0.5, 0.5]]))


@pytest.mark.parametrize("is_log", [False, True])
def test_the_slope_of_a_column_is_that_of_small_differences(is_log: bool) -> None:
    domain = Domain(Space((RangeParameter("x", 2, 8, is_log=is_log, scaled_by=(1, 100)),)))
    u, step = np.array([[0.4]]), 1e-6
    x, further = (domain.columns.of(domain.natural(at), np.zeros((1, 0)), np.zeros((1, 0), dtype=int))[0, 0] for at in (u, u + step))
    natural = domain.natural(u)[0]
    assert (domain.columns.slope(natural) * domain.natural_slope(natural))[0] == pytest.approx((further - x) / step, rel=1e-4)
