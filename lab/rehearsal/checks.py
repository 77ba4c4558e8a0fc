"""What cannot be done, found without a rehearsal: limits, times between steps, stock of the first sample, slots.

It is quick: `lab run` asks it before it starts anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lab.core.channels import Channel, by_name
from lab.core.config import LabConfig
from lab.core.errors import ConfigError, ScheduleError
from lab.core.question import CampaignConfig
from lab.rehearsal.needs import LIQUID, RACK, Need, Span, span_of, syringes_of
from lab.translation import Translation
from plans.dispatch import Dispatcher
from plans.forecast import Route
from plans.recipes import MIN_DOSE_ML

LONGEST_GAP_S = 86400.0
"""No time limit between two steps needs to be longer."""


@dataclass(frozen=True)
class Case:
    """One campaign in its laboratory, and the names of their files for messages."""

    lab: LabConfig
    campaign: CampaignConfig
    translation: Translation
    lab_file: str
    campaign_file: str


def limits(case: Case, doses: Mapping[str, Span]) -> list[ConfigError]:
    """Each limit that some point of the space would exceed.

    What `lab.translation` has checked already, the bounds of each parameter by itself, is not looked at again.
    """
    return [*_dose_limits(case, doses), *_pose_limits(case)]


def _dose_limits(case: Case, doses: Mapping[str, Span]) -> Iterable[ConfigError]:
    for liquid, (least, most) in doses.items():
        for bank, syringe in syringes_of(case.lab).get(liquid, []):
            row = by_name(case.lab.channels(bank))["DISPENSE"]
            high = min(syringe.volume_ml, row.high if row.high is not None else syringe.volume_ml)
            if most > high:
                yield ConfigError(case.campaign_file, f"doses of {liquid}", f"up to {most:.4g} mL",
                                  f"up to {high:g} mL, what the pump of {liquid} ({case.lab_file}: instruments.{bank}) can dispense at once")
            low = row.low if row.low is not None else 0.0
            if low > MIN_DOSE_ML and max(least, MIN_DOSE_ML) < low:
                yield ConfigError(case.campaign_file, f"doses of {liquid}", f"from {max(least, MIN_DOSE_ML):.4g} mL",
                                  f"none, or from {low:g} mL ({case.lab_file}: instruments.{bank}.limits.DISPENSE)")


def _pose_limits(case: Case) -> Iterable[ConfigError]:
    """The arm's own limits at each place and above it."""
    for name, config in case.lab.instruments.items():
        if config.kind != "arm":
            continue
        rows = by_name(case.lab.channels(name))
        for channel in ("MOVE_LIN", "MOVE_POSE"):
            outside: dict[str, list[tuple[str, float]]] = {}
            for place, pose in case.lab.places.items():
                x, y, z, *angles = pose.pose
                target = pose.pose if channel == "MOVE_LIN" else (x, y, z + pose.approach_mm, *angles)
                wrong = [(place, value) for value in target if not _is_within(rows[channel], value)]
                outside.setdefault(place.partition(".")[0], []).extend(wrong)
            for station, found in outside.items():
                if found:
                    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
                    yield ConfigError(case.lab_file, f"stations.{station}.origin.pose", f"{found[0][1]:g} at {found[0][0]}{more}",
                                      f"{rows[channel].low:g}..{rows[channel].high:g}, limits of {name}.{channel}")


def _is_within(row: Channel, value: float) -> bool:
    return (row.low is None or row.low <= value) and (row.high is None or value <= row.high)


def gaps(case: Case, routes: Iterable[Route], extents: Mapping[str, Span], n_recorded: int) -> list[ConfigError]:
    """Each limit between two steps that not even a sample alone in the laboratory would keep.

    Parameters
    ----------
    case : Case
    routes : iterable of Route
        As expected.
    extents : mapping of range parameter to (least, greatest)
    n_recorded : int
        Transfers on record, by which they are expected.
    """
    source = "as the recipe says" if not n_recorded else f"as {n_recorded} on record say"
    if n_recorded and case.lab.is_simulated and case.lab.speed not in (1.0, "max"):
        source += f", at speed {case.lab.speed:g}, where each exchange with an instrument counts as so much more laboratory time; lower it"
    found: dict[str, ConfigError] = {}
    dispatcher = Dispatcher(units_of(case.lab))
    settings = {step.name: step.max_gap for step in case.translation.recipe.steps if step.max_gap}
    for route in routes:
        for number, step in enumerate(route.steps):
            setting = settings.get(step.name, "")
            if not setting or setting in found:
                continue
            low, _ = span_of(setting, case.campaign, case.translation, extents)
            strict = _with_gap(route, number, low)
            try:
                dispatcher.check(strict)
            except ScheduleError as error:
                least_s = _least_gap_s(dispatcher, route, number, low)
                allowed = f"at least {least_s:.0f} s for step {step.name}" if least_s < LONGEST_GAP_S else f"a gap that can be kept: {error}"
                found[setting] = ConfigError(case.campaign_file, _field(case, setting), f"{low:g} s",
                                             f"{allowed}: a transfer takes {route.transfer_s:.0f} s ({source})")
    return list(found.values())


def _with_gap(route: Route, number: int, gap_s: float) -> Route:
    steps = list(route.steps)
    steps[number] = replace(steps[number], max_gap_s=gap_s)
    return Route(tuple(steps), route.transfer_s)


def _least_gap_s(dispatcher: Dispatcher, route: Route, number: int, given_s: float) -> float:
    """The shortest limit that can be kept, to a second."""
    low, high = given_s, max(2.0 * given_s, 1.0)
    while not _can_keep(dispatcher, _with_gap(route, number, high)):
        low, high = high, 2.0 * high
        if high > LONGEST_GAP_S:
            return high
    while high - low > 1.0:
        middle = (low + high) / 2
        low, high = (low, middle) if _can_keep(dispatcher, _with_gap(route, number, middle)) else (middle, high)
    return float(int(high) + 1)


def _can_keep(dispatcher: Dispatcher, route: Route) -> bool:
    try:
        dispatcher.check(route)
    except ScheduleError:
        return False
    return True


def _field(case: Case, setting: str) -> str:
    """Where the campaign file says what a setting is."""
    for number, term in enumerate(case.translation.terms):
        if term.role == "setting" and term.target == setting:
            return f"parameters.{number}"
    return f"settings.{setting}"


def stock(case: Case, needs: Sequence[Need]) -> list[ConfigError]:
    """What lacks already for the first sample."""
    found = []
    for need in needs:
        first = [refill for refill in need.refills if refill.sample == 0]
        if first:
            found.append(ConfigError(f"lab {case.lab.name}", need.account, in_words(need.stock, need.unit),
                                     f"enough for the first sample; {refill_words(case.lab.name, need.account)}"))
    return found


def refill_words(lab: str, account: str) -> str:
    """What a person does about an account that runs out."""
    if account == RACK:
        return f"put empty substrates in, then: lab refill {lab} {RACK}"
    return f"refill it, then: lab refill {lab} {account.removeprefix(LIQUID)}"


def in_words(amount: float, unit: str) -> str:
    """``3.2 mL``."""
    return f"{amount:.3g} {unit}".strip()


def units_of(lab: LabConfig) -> dict[str, tuple[str, ...]]:
    """Stations by role, without the rack."""
    return {role: lab.stations_of(role) for role in dict.fromkeys(one.role for one in lab.stations.values()) if role != "rack"}
