"""A rehearsal's report as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from lab.records.cells import duration, table_of

Data = Mapping[str, Any]


def render(data: Data) -> RenderableType:
    """``lab plan``: how long it takes, what it takes, and what stands in its way."""
    parts: list[RenderableType] = [*_heading(data)]
    for section in (_steps, _stations, _gaps, _consumables, _interlocks, _operator):
        found = list(section(data))
        if found:
            parts += [Text(), *found]
    return Group(*parts)


def _heading(data: Data) -> Iterator[Text]:
    samples, verdict = data["samples"], ("possible", "green") if data["possible"] else ("impossible", "red")
    yield Text.assemble((data["campaign"], "bold"), f" in {data['laboratory']}: ", verdict)
    for problem in data["problems"]:
        yield Text(f"  {problem['file']}: {problem['field']}: given {problem['given']}; allowed: {problem['allowed']}", "red")
    for warning in data["warnings"]:
        yield Text(f"  {warning}", "yellow")
    took = data["makespan_s"]
    if took is None:
        yield Text(f"{samples['planned']} samples; not rehearsed, since that would end at once")
        return
    yield Text(f"{samples['made']} of {samples['planned']} samples in {duration(took['median'])} ({duration(took['low'])} to {duration(took['high'])}; "
               f"median and 90 % of {data['repetitions']} rehearsals, seed {data['seed']}), laboratory time")
    if data["speed_up"] is not None:
        yield Text(f"{data['speed_up']:.2f} times as fast as one sample at a time ({duration(data['one_at_a_time_s'])}); bottleneck: "
                   f"{', '.join(data['bottleneck']['stations'])}")
    yield from _budget(data)


def _budget(data: Data) -> Iterator[Text]:
    budget, samples = data["budget"], data["samples"]
    if budget["hours"] is None:
        return
    if samples["remaining"]:
        yield Text(f"the budget of {budget['hours']:g} h ends first: {samples['remaining']} samples remain", "yellow")
    else:
        yield Text(f"{duration(budget['hours_left'] * 3600)} of the budget of {budget['hours']:g} h remain")


def _steps(data: Data) -> Iterator[RenderableType]:
    if not data["steps"]:
        return
    table = table_of("step", "at", "per sample", "takes", "90 %", "on record")
    for name, step in data["steps"].items():
        table.add_row(Text(name), Text(step["at"]), f"{step['per_sample']:.2g}", duration(step["median_s"]),
                      f"{duration(step['low_s'])} to {duration(step['high_s'])}", str(step["recorded"]) if step["recorded"] else "none: estimated")
    yield table


def _stations(data: Data) -> Iterator[RenderableType]:
    if not data["stations"]:
        return
    table = table_of("station", "busy, laboratory time", "share", "idle in between")
    for name, use in data["stations"].items():
        is_narrow = name in data["bottleneck"]["stations"]
        table.add_row(Text(f"{name} (bottleneck)" if is_narrow else name, "bold" if is_narrow else ""), duration(use["busy_s"]),
                      f"{100 * use['utilisation']:.0f} %", duration(use["idle_s"]))
    yield table


def _gaps(data: Data) -> Iterator[RenderableType]:
    for gap in data["gaps"]:
        times = f"{duration(gap['median_s'])} as a rule, {duration(gap['longest_s'])} at most, {duration(gap['allowed_s'])} allowed ({gap['setting']})"
        if gap["kept"]:
            risk = f"{100 * gap['chance_of_missing']:.1f} % may miss it" if gap["chance_of_missing"] >= 0.0005 else "kept"
            yield Text(f"time before {gap['step']}: {risk}: {times}", "green")
        else:
            yield Text(f"time before {gap['step']}: at risk: {100 * gap['chance_of_missing']:.1f} % would miss it ({gap['missed']} of {gap['n']} did): {times}", "yellow")


def _consumables(data: Data) -> Iterator[RenderableType]:
    table = table_of("consumable", "a sample takes", "all take", "there is", "enough for")
    for one in data["consumables"]:
        each, unit = one["per_sample"], f" {one['unit']}" if one["unit"] else ""
        taken = f"{each['least']:.3g} to {each['most']:.3g}, {each['typical']:.3g} as a rule" if each["least"] != each["most"] else f"{each['typical']:.3g}"
        stock = f"{one['stock']:.4g}{unit}" + ("" if one["on_record"] else " (full)")
        lasts = Text("all samples", "green")
        if one["enough_for"] is not None:
            after = f", {duration(one['runs_out_s'])}" if one["runs_out_s"] is not None else ""
            lasts = Text(f"{one['enough_for']} samples{after}", "yellow" if one["enough_for"] else "red")
        table.add_row(Text(one["account"]), taken + unit, f"{one['needed']:.4g}{unit}", stock, lasts)
    yield table


def _interlocks(data: Data) -> Iterator[RenderableType]:
    if not data["interlocks"]:
        return
    table = table_of("interlock", "needs", "else", "guards")
    for one in data["interlocks"]:
        table.add_row(Text(one["name"]), Text(one["needs"]), Text(f"{one['action']}: {one['reason']}"), Text(", ".join(one["guards"])))
    yield table
    yield Text("how they are now, only the running laboratory knows: lab check", "dim")


def _operator(data: Data) -> Iterator[RenderableType]:
    if not data["operator"]:
        yield Text("nobody is asked for anything, unless something fails", "green")
        return
    yield Text("asked of the operator:")
    for one in data["operator"]:
        when = "" if one["after_samples"] is None else f"after {one['after_samples']} samples" + (
            f", {duration(one['after_s'])}: " if one["after_s"] is not None else ": ")
        yield Text(f"  {when}{one['what'] + ': ' if one['kind'] == 'refill' else ''}{one['words']}")
