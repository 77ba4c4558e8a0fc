"""What samples take of each liquid, over the whole space; and when stock runs out on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.core.config import LabConfig, PumpBank, Syringe
from lab.core.question import CampaignConfig
from lab.core.space import ChoiceParameter, FixedParameter
from lab.rehearsal.known import Account, Known
from lab.translation import Translation
from plans.recipes import Order, doses_of

Span = tuple[float, float]

LIQUID, SUBSTRATES = "liquid:", "substrates"
"""Accounts of the ledger."""

RACK = "rack"
"""What stands for empty substrates in the slots of the rack."""

SLACK = 1e-9


def doses_over(campaign: CampaignConfig, translation: Translation, extents: Mapping[str, Span]) -> dict[str, Span]:
    """The smallest and the largest dose of each liquid that an order of this campaign can ask for, mL.

    Exact as long as the total volume does not depend on the shares; never too narrow.
    """
    total_ml = _of_setting("total_volume_ml", translation, extents)
    found: dict[str, Span] = {}
    for term in translation.terms:
        if term.role == "share":
            whole = next((c.bound for c in campaign.space.constraints if c.is_sum and term.parameter in c.names), 1.0)
            low, high = extents[term.parameter]
            found[term.target] = _sum(found.get(term.target), (low / whole * total_ml[0], high / whole * total_ml[1]))
        elif term.role == "volume":
            found[term.target] = _sum(found.get(term.target), extents[term.parameter])
    carriers = _choices("carrier", campaign, translation)
    if any(carriers):
        low, high = _of_setting("carrier_volume_ml", translation, extents)
        for liquid in carriers:
            if isinstance(liquid, str) and liquid:
                found[liquid] = _sum(found.get(liquid), (low if len(carriers) == 1 else 0.0, high))
    return found


def _of_setting(name: str, translation: Translation, extents: Mapping[str, Span]) -> Span:
    """What values a setting of the recipe takes."""
    for term in translation.terms:
        if term.role == "setting" and term.target == name:
            return extents[term.parameter]
    value = float(translation.fixed.get(name, 0.0))
    return value, value


def span_of(name: str, campaign: CampaignConfig, translation: Translation, extents: Mapping[str, Span]) -> Span:
    """The least and the greatest value of a numeric setting, whether a parameter sets it or not."""
    numbers = [float(value) for value in _choices(name, campaign, translation) if not isinstance(value, str)]
    return (min(numbers), max(numbers)) if numbers else _of_setting(name, translation, extents)


def _choices(name: str, campaign: CampaignConfig, translation: Translation) -> tuple[float | int | str, ...]:
    """The values of a setting that a choice parameter sets; else the fixed one."""
    for term in translation.terms:
        if term.role == "setting" and term.target == name:
            parameter = campaign.space[term.parameter]
            if isinstance(parameter, FixedParameter):
                return (parameter.value,)
            return tuple(parameter.values) if isinstance(parameter, ChoiceParameter) else ()
    return (translation.fixed[name],) if name in translation.fixed else ()


def _sum(first: Span | None, second: Span) -> Span:
    return second if first is None else (first[0] + second[0], first[1] + second[1])


def syringes_of(lab: LabConfig) -> dict[str, list[tuple[str, Syringe]]]:
    """The syringes of each liquid at the laboratory's synthesisers, with the name of their bank."""
    found: dict[str, list[tuple[str, Syringe]]] = {}
    for station in lab.stations_of("synthesiser"):
        bank = lab.instruments[lab.instrument_at(station)]
        if isinstance(bank, PumpBank):
            for syringe in bank.syringes:
                found.setdefault(syringe.liquid, []).append((lab.instrument_at(station), syringe))
    return found


@dataclass(frozen=True)
class Refill:
    """Somebody has to refill something before a sample.

    Parameters
    ----------
    account : str
    sample : int
        The sample that could not be made without, from 0.
    """

    account: str
    sample: int


@dataclass(frozen=True)
class Need:
    """One consumable.

    Parameters
    ----------
    account : str
        ``liquid:NAME`` or ``rack``.
    unit : str
    least, typical, most : float
        Per sample, over the space.
    total : float
        Of all samples that are rehearsed.
    stock : float
    capacity : float or None
        What there is after a refill.
    is_on_record : bool
        Whether the ledger has an account; if not, it will be opened with what lab.yaml says: a full syringe, a full rack.
    refills : tuple of Refill
    """

    account: str
    unit: str
    least: float
    typical: float
    most: float
    total: float
    stock: float
    capacity: float | None
    is_on_record: bool
    refills: tuple[Refill, ...]


def needs_of(lab: LabConfig, known: Known, doses: Mapping[str, Span], orders: Sequence[Order]) -> tuple[Need, ...]:
    """All consumables of a campaign: the liquids in its order, then empty substrates in the slots of the rack."""
    syringes = syringes_of(lab)
    found = []
    for liquid, (least, most) in doses.items():
        full_ml = syringes[liquid][-1][1].volume_ml
        account = known.accounts.get(LIQUID + liquid, Account(full_ml, full_ml, "mL"))
        taken = [doses_of(order).get(liquid, 0.0) for order in orders]
        found.append(_need(LIQUID + liquid, account, taken, (least, most), LIQUID + liquid in known.accounts))
    n_slots = float(sum(station.slots for station in lab.stations.values() if station.role == "rack"))
    substrates = known.accounts.get(SUBSTRATES, Account(n_slots, n_slots, "pieces"))
    rack = Account(min(float(len(known.free)), substrates.available), n_slots, "slots")
    found.append(_need(RACK, rack, [1.0] * len(orders), (1.0, 1.0), SUBSTRATES in known.accounts))
    return tuple(found)


def _need(name: str, account: Account, taken: Sequence[float], span: Span, is_on_record: bool) -> Need:
    typical = sum(taken) / len(taken) if taken else (span[0] + span[1]) / 2
    refills, left = [], account.available
    for sample, amount in enumerate(taken):
        if amount > left + SLACK:
            refills.append(Refill(name, sample))
            left = account.capacity if account.capacity is not None else account.available
            if left < amount:
                break
        left -= amount
    return Need(name, account.unit, span[0], typical, span[1], sum(taken), account.available, account.capacity, is_on_record, tuple(refills))
