"""What is done when a step fails: the first rule that fits decides, and no step is done twice to a sample that it has changed."""

from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError

from lab.core.errors import CommandError, ConsumableError, GapError, LabError, LinkDown, LinkTimeout
from lab.core.recovery import Choice, Policy, Recovery, Rule


def policy(*rules: dict[str, object], **more: object) -> Policy:
    return Policy([Recovery.model_validate({"rules": rules, **more})])


def test_without_rules_a_broken_line_is_tried_once_more_and_all_else_is_skipped() -> None:
    plain, done = policy(), Counter[Rule]()
    first = plain.decide(LinkDown("arm: gone"), "transfer", done)
    assert first.choice is Choice.RETRY and first.rule is not None
    done[first.rule] += 1
    assert plain.decide(LinkTimeout("arm: late"), "transfer", done).choice is Choice.SKIP
    assert plain.decide(CommandError("pump: stalled"), "cast", done).choice is Choice.SKIP


@pytest.mark.parametrize("error", [GapError("45 s"), ConsumableError("cs: 0.1 mL left")])
def test_a_sample_that_came_too_late_or_found_too_little_is_made_anew_once(error: LabError) -> None:
    plain, done = policy(), Counter[Rule]()
    first = plain.decide(error, "anneal", done)
    assert first.choice is Choice.REMAKE and first.rule is not None
    done[first.rule] += 1
    assert plain.decide(error, "anneal", done).choice is Choice.SKIP


def test_the_first_rule_that_fits_error_step_and_instrument_decides() -> None:
    several = policy({"error": "CommandError", "step": "cast", "do": "stop"},
                     {"error": "CommandError", "instrument": "arm", "do": "ask"},
                     {"do": "remake"})
    assert several.decide(CommandError("pump: stalled"), "cast", {}).choice is Choice.STOP
    assert several.decide(CommandError("arm: collision"), "transfer", {}).choice == "ask"
    assert several.decide(CommandError("pump: stalled"), "measure", {}).choice is Choice.REMAKE


def test_a_rule_that_has_been_followed_often_enough_leaves_the_word_to_the_next() -> None:
    twice = policy({"error": "LinkError", "do": "retry", "times": 2}, {"do": "ask"})
    rule = twice.rules[0]
    assert twice.decide(LinkDown("x"), "cast", {rule: 1}).choice is Choice.RETRY
    assert twice.decide(LinkDown("x"), "cast", {rule: 2}).choice == "ask"


def test_a_sample_that_the_step_has_changed_is_never_retried() -> None:
    eager = policy({"do": "retry", "times": 9}, {"do": "remake"})
    assert eager.decide(LinkDown("x"), "cast", {}, is_spoilt=True).choice is Choice.REMAKE
    assert policy().decide(LinkDown("x"), "cast", {}, is_spoilt=True).choice is Choice.SKIP


def test_the_campaigns_rules_come_before_those_of_the_laboratory_and_so_does_its_patience() -> None:
    campaign = Recovery.model_validate({"rules": [{"do": "stop"}]})
    laboratory = Recovery.model_validate({"rules": [{"do": "skip"}], "patience_s": 7})
    both = Policy([campaign, laboratory])
    assert both.decide(CommandError("x"), "cast", {}).choice is Choice.STOP
    assert both.patience_s == 7
    assert Policy([Recovery(patience_s=3), laboratory]).patience_s == 3


@pytest.mark.parametrize(("rule", "words"), [
    ({"do": "pray"}, "retry"),
    ({"error": "BadDay", "do": "skip"}, "given 'BadDay'; allowed: .*LinkError"),
    ({"do": "retry", "times": 0}, "greater than or equal to 1"),
    ({"do": "ask", "within_s": -1}, "greater than 0"),
    ({"do": "skip", "colour": "red"}, "Extra inputs"),
])
def test_a_rule_that_means_nothing_is_refused(rule: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Rule.model_validate(rule)
