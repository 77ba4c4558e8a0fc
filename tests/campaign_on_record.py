"""A campaign in a real ledger, with an optimiser and an evaluation that do what a test tells them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.campaign import Campaign, Collector, Document
from lab.core.clock import Clock, ManualClock
from lab.core.journal import Journal
from lab.core.question import CampaignConfig
from lab.core.recovery import Policy, Recovery, Rule
from lab.core.trial import Measured, Outcome, Suggestion, Trial
from lab.current import Current
from lab.files import load_campaign, load_lab
from lab.records.documents import JsonlWriter
from lab.records.ledger import Ledger
from lab.resumption import unfinished
from lab.translation import Translation, load_liquids
from plans.conductor import Unfinished
from plans.recipes import Order

EXAMPLES = Path(__file__).parent.parent / "examples"
LAB = load_lab(EXAMPLES / "lab.yaml").model_copy(update={"speed": 1.0})
RACK = tuple(f"rack.{n}" for n in range(1, 13))
STATIONS = ("spin", "plate_a", "plate_b", "stage")
OUTCOME = Outcome({"perovskite_fraction": Measured(0.5, 0.1)})
DEADLINE_S = 60.0


class Optimizer:
    """Suggests hotter and hotter anneals, by the number of trials on record."""

    def __init__(self) -> None:
        self.asked: list[list[Trial]] = []
        self.thought: Mapping[str, Any] = {}
        self.before: Callable[[], object] = lambda: None

    def suggest(self, trials: Sequence[Trial], n: int = 1) -> list[Suggestion]:
        self.asked.append(list(trials))
        self.before()
        return [Suggestion({"cs": 0.2, "fa": 0.8, "ma": 0.0, "anneal_temperature": 100.0 + len(trials)}, "test", 0.1, self.thought)]


class Reporter:
    """Keeps what it is told, a line each."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def began(self, campaign: Campaign) -> None:
        self.lines.append("began")

    def suggested(self, campaign: Campaign, order: Order, suggestion: Suggestion) -> None:
        self.lines.append(f"suggested {order.trial}")

    def step(self, campaign: Campaign, order: Order, station: str, what: str) -> None:
        self.lines.append(f"{order.trial} {station}: {what}")

    def ended(self, campaign: Campaign, trial: Trial) -> None:
        self.lines.append(f"ended {trial.index} {trial.state.value}")

    def asked(self, campaign: Campaign, question: int) -> None:
        self.lines.append(f"asked {question}")

    def trouble(self, text: str) -> None:
        self.lines.append(text)

    def closed(self, campaign: Campaign) -> None:
        self.lines.append("closed")


class Record:
    """A ledger in a folder, and campaigns in it.

    Parameters
    ----------
    folder : Path
    clock : Clock
    rack : sequence of str
    """

    def __init__(self, folder: Path, clock: Clock | None = None, rack: Sequence[str] = RACK) -> None:
        self.clock = clock if clock is not None else ManualClock()
        self.rack = tuple(rack)
        self.ledger = Ledger(folder / "ledger.sqlite", self.clock)
        self.documents = JsonlWriter(folder / "documents", fsync=False)
        self.optimizer, self.reporter, self.collector = Optimizer(), Reporter(), Collector()
        self.made_of: list[CampaignConfig] = []
        self.evaluated: list[list[Document]] = []
        self.evaluate: Callable[[Sequence[Document]], Outcome] = self._evaluate
        self._open: list[Campaign] = []

    def _evaluate(self, documents: Sequence[Document]) -> Outcome:
        self.evaluated.append(list(documents))
        return OUTCOME

    def _remade(self, config: CampaignConfig) -> Optimizer:
        self.made_of.append(config)
        return self.optimizer

    def campaign(self, *rules: Rule, **changes: Any) -> Campaign:
        """A new campaign; `changes` of the example's file."""
        config = load_campaign(EXAMPLES / "perovskite.yaml", {"budget": {"trials": 3, "failures": 2}, **changes})
        lab = load_liquids(LAB, config, "campaign.yaml")
        campaign_id = self.ledger.open_campaign(config.name, config.model_dump_json(), lab.model_dump_json())
        return self._made(campaign_id, 0, config, rules)

    def resumed(self, campaign_id: str, *rules: Rule) -> Campaign:
        """A campaign that was interrupted, open again, as `lab.conduct` does it."""
        last = self.ledger.revisions(campaign_id)[-1]
        self.ledger.reopen_campaign(campaign_id)
        campaign = self._made(campaign_id, last.number, CampaignConfig.model_validate_json(last.config), rules)
        campaign.unfinished = unfinished(campaign, self.documents, STATIONS)
        return campaign

    def _made(self, campaign_id: str, revision: int, config: CampaignConfig, rules: Sequence[Rule]) -> Campaign:
        lab = load_liquids(LAB, config, "campaign.yaml")
        current = Current(self.ledger, campaign_id, revision, config, self.optimizer, self._remade)
        campaign = Campaign(current, lab.name, self.ledger, campaign_id, Translation(config, lab, "campaign.yaml"),
                            Policy((Recovery(rules=tuple(rules), patience_s=0.01),)), lambda documents, config: self.evaluate(documents),
                            self.collector, self.rack, self.clock, self.reporter)
        self._open.append(campaign)
        return campaign

    def close(self) -> None:
        """Give back what is open yet."""
        for campaign in self._open:
            campaign._thread.shutdown(wait=True)
            campaign._questions.close()
        self.documents.close()
        self.ledger.close()


def thought(campaign: Campaign) -> Order | None:
    """The next order, once it has been worked out."""
    one = campaign.next_order()
    one.exception(DEADLINE_S)
    return one.order


def begun(campaign: Campaign) -> tuple[Order, Journal]:
    """The next sample."""
    order = thought(campaign)
    assert order is not None
    found = campaign.begin(order)
    assert found is not None
    return found


def measured(campaign: Campaign, order: Order) -> None:
    """The order's readings are taken, and evaluated."""
    campaign.measured(order).exception(DEADLINE_S)


def only(campaign: Campaign) -> Unfinished:
    """The one sample that a resumed campaign has to take up."""
    (one,) = campaign.unfinished
    return one


def start_document(uid: str, sample: str, **more: Any) -> Mapping[str, Any]:
    return {"uid": uid, "time": 0.0, "sample": sample, **more}
