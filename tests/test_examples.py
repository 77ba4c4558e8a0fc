"""Every campaign in examples/ fits the laboratory that it names, and its engine has a first point."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.core.config import PhysicalWorld
from lab.files import load_campaign, load_lab
from lab.optimise import make_optimizer
from lab.validation import check_question, prepare

EXAMPLES = Path(__file__).parent.parent / "examples"
CAMPAIGNS = sorted(path.name for path in EXAMPLES.glob("*.yaml") if path.name != "lab.yaml")


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_an_example_fits_its_laboratory_and_begins(name: str) -> None:
    config, lab = load_campaign(EXAMPLES / name), load_lab(EXAMPLES / "lab.yaml")
    if config.evaluate.kind == "phases":
        lab = prepare(lab, config, lab_file="lab.yaml", campaign_file=name)
        assert isinstance(lab.world, PhysicalWorld)
        check_question(lab, config, lab_file="lab.yaml", campaign_file=name)
    first = make_optimizer(config).suggest([])[0]
    assert not config.space.problems(first.values)


def test_the_example_with_a_pool_begins_with_one_of_its_rows() -> None:
    config = load_campaign(EXAMPLES / "perovskite-pool.yaml")
    assert config.candidates is not None and len(config.candidates.rows) == 32
    assert dict(make_optimizer(config).suggest([])[0].values) in config.candidates.records()
