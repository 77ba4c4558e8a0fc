"""A dossier as one HTML file that needs nothing else: no script, no network, figures inside it; made to be read and printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

import yaml

from lab.core.best import best_trial
from lab.core.question import CampaignConfig
from lab.core.trial import Trial
from lab.dossier import words
from lab.dossier.content import Dossier
from lab.dossier.drawing import style, svg
from lab.dossier.map_figures import map_figure, triangle_figure, words_of
from lab.dossier.model_figures import beyond_figure, curves_figure, effects_figure, left_out_figure, reliability_figure
from lab.dossier.progress_figures import front_figure, progress_figure
from lab.optimise.explain import Told
from lab.optimise.left_out import FEWEST
from lab.records.cells import moment

_CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, 'Helvetica Neue', Arial, sans-serif; color: #1a1a1a; background: #fff; margin: 2rem auto; max-width: 62rem; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #ccc; padding-bottom: .2rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; } p { margin: .4rem 0; max-width: 50rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; margin: .6rem 0; } dt { color: #555; } dd { margin: 0; max-width: 46rem; overflow-wrap: anywhere; }
figure { margin: .8rem 0 1.2rem; break-inside: avoid; } figure svg { max-width: 100%; height: auto; } figcaption { color: #444; font-size: .87rem; max-width: 50rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .18rem .7rem .18rem 0; border-bottom: 1px solid #e4e4e4; vertical-align: top; } th { border-bottom: 1px solid #888; }
td.n, th.n { text-align: right; } td.n { white-space: nowrap; }  tr.failed td, tr.abandoned td { color: #8a3a00; } tr.best td { background: #e6f4ee; font-weight: 600; }
pre { font-size: .8rem; background: #f6f6f6; padding: .8rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; } code { font-size: .85em; overflow-wrap: anywhere; }
@page { margin: 15mm; } @media print { body { margin: 0; max-width: none; padding: 0; font-size: 10.5pt; } h2, h3, h3 + p { break-after: avoid; } tr { break-inside: avoid; }
thead { display: table-header-group; } .wide { overflow: visible; } table { font-size: 7pt; } td.n { white-space: normal; } }
"""


def page(dossier: Dossier) -> str:
    """The whole file."""
    with style():
        parts = [*_head(dossier), *_progress(dossier), *_models(dossier), *_whys(dossier), *_trials(dossier), *_happenings(dossier), *_record(dossier)]
    title = escape(f"{dossier.row.name}: report")
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n")


# ------------------------------------------------------------------------------------------------------ sections


def _head(dossier: Dossier) -> Iterator[str]:
    row = dossier.row
    yield f"<h1>{escape(row.name)}</h1>"
    yield f"<p><code>{escape(row.id)}</code>, begun {escape(moment(row.started_wall))} UTC in {escape(row.lab_name or 'a laboratory without a name')}</p>"
    yield _list([("question", words.question(dossier)), ("ended" if row.status != "running" else "so far", words.head(dossier)),
                 ("best measured", words.best(dossier)), ("recommended", _recommended(dossier)), *words.model(dossier)])


def _recommended(dossier: Dossier) -> str:
    best = dossier.recommendation.best
    return dossier.recommendation.words if best is None else f"{words.point(best.values)}. {dossier.recommendation.words}"


def _progress(dossier: Dossier) -> Iterator[str]:
    config = dossier.config
    if config is None or not dossier.completed:
        return
    yield "<h2>Progress</h2>"
    for k, (one, objective) in enumerate(zip(dossier.progress, config.objectives, strict=True)):
        bands = " Grey bands: what the model that suggested a sample expected before it was made." if one.foresight is not None else ""
        if len(one.recommended) > 1:
            bands += " Diamonds: what was expected of the point that would have been recommended then."
        yield _figure(svg(progress_figure(dossier, one, objective.unit), f"progress{k}", f"{one.name} of each trial"),
                      f"{one.name} over the trials; bars are 95 % by the standard errors of the measurements.{bands}")
    if len(config.objectives) > 1:
        yield _figure(svg(front_figure(dossier, config), "front", "the trade-off between objectives"),
                      "Trade-off: diamonds are the trials that no other one that counts beats in all objectives.")


def _models(dossier: Dossier) -> Iterator[str]:
    config, found = dossier.config, dossier.explanation
    if config is None or found.problem:
        return
    for k, told in enumerate(found.outcomes):
        yield f"<h2>What the model says of {escape(told.name)}</h2>"
        yield from _model(dossier, config, told, k)
    if found.success is not None:
        yield "<h2>Where samples succeed</h2>"
        yield f"<p>{escape(found.success.verdict)}.</p>"
        yield _figure(svg(reliability_figure(found.success), "success", "chance of success and share of successes"),
                      "Each sample's chance by a model that was not told of it; on the line, chances are what they say.")


def _model(dossier: Dossier, config: CampaignConfig, told: Told, k: int) -> Iterator[str]:
    unit = next((one.unit for one in config.objectives if one.name == told.name), "")
    best = dossier.recommendation.best
    yield f"<h3>Can it be trusted?</h3><p>{escape(told.left_out.verdict)}.</p>"
    if len(told.left_out) >= FEWEST:
        yield _figure(svg(left_out_figure(told, unit), f"left{k}", "left-out samples: predicted and measured"),
                      f"Each sample as the model of all others predicts it, with 95 %; mean log density {told.left_out.log_density:.3g}, "
                      f"learned noise {told.noise:.2g} {escape(unit)} (standard deviation).{_drawn_in(told)}{_in_logarithms(told)}")
    yield f"<h3>What matters?</h3><p>{escape(told.sensitivities.words)}.</p>"
    if told.sensitivities.effects:
        yield _figure(svg(effects_figure(told), f"effects{k}", "how much each parameter matters"),
                      "Error bars: one standard deviation over the functions that the model believes possible.")
    yield _figure(svg(curves_figure(told, config, dossier.completed), f"curves{k}", "how the outcome depends on each parameter"),
                  "With 95 % bands of the noise-free outcome. Where parameters share a sum, the others give way in proportion.")
    if told.triangle is not None and told.triangle.at:
        yield _figure(svg(triangle_figure(told.triangle, told.name, dossier.completed, dossier.failed, None if best is None else best.values), f"triangle{k}", "map over three fractions"),
                      f"Over {', '.join(map(escape, told.triangle.names))}; {escape(words_of(told.triangle))}.")
    if told.map is not None and told.map.at:
        yield _figure(svg(map_figure(told.map, told.name, config, dossier.completed, dossier.failed, None if best is None else best.values), f"map{k}", "map over two parameters"),
                      f"Over {', '.join(map(escape, told.map.names))}; {escape(words_of(told.map))}.")
    if told.beyond:
        yield _figure(svg(beyond_figure(told, {one.name: one.unit for one in config.context}), f"beyond{k}", "along what is not chosen"),
                      "At the recommended point, along what is measured and not chosen, as far as it was seen; the next sample is sought for how it is now.")


def _drawn_in(told: Told) -> str:
    if not told.n_drawn_in:
        return ""
    return f" {told.n_drawn_in} of the worst are drawn in towards the others: how bad they are says little about the best."


def _in_logarithms(told: Told) -> str:
    return f" The model is of the logarithm of {escape(told.name)}: it explains the samples better." if told.is_log else ""


def _whys(dossier: Dossier) -> Iterator[str]:
    if dossier.whys:
        yield "<h2>Why these points</h2>"
        yield _table(["trial", "from", "why"], [([str(one.trial), words.source(one), one.words], "") for one in dossier.whys], {"trial"})


def _trials(dossier: Dossier) -> Iterator[str]:
    if not dossier.trials:
        return
    yield "<h2>All trials</h2>"
    best = None if dossier.config is None else best_trial(dossier.config, dossier.trials)
    names = list(dict.fromkeys(name for t in dossier.trials for name in (*t.planned, *t.executed)))
    measured = list(dict.fromkeys(name for t in dossier.trials if t.outcome is not None for name in t.outcome.measured))
    outcomes = measured if dossier.config is None else [name for name in dossier.config.outcome_names if name in measured]
    started = min((t.began_lab_s for t in dossier.trials if t.began_lab_s is not None), default=0.0)
    rows = [([str(t.index + 1), t.state.value, *(_carried_out(t, name) for name in names), *(_outcome(t, name) for name in outcomes), *_times(t, started),
              t.cause], _class(t, best)) for t in dossier.trials]
    yield _table(["trial", "state", *names, *outcomes, "began, h", "took, min", "cause"], rows, {"trial", *names, *outcomes, "began, h", "took, min"})
    yield "<p>a → b: planned → carried out. Times are the laboratory's, from the beginning of the first sample.</p>"


def _carried_out(trial: Trial, name: str) -> str:
    """``89.93 → 89.82`` where it was carried out otherwise than planned."""
    return " → ".join(dict.fromkeys(words.number(values[name]) for values in (trial.planned, trial.executed) if name in values))


def _outcome(trial: Trial, name: str) -> str:
    return "" if trial.outcome is None else words.measured(trial.outcome.measured.get(name))


def _times(trial: Trial, started: float) -> tuple[str, str]:
    if trial.began_lab_s is None:
        return "", ""
    took = "" if trial.ended_lab_s is None else f"{(trial.ended_lab_s - trial.began_lab_s) / 60:.1f}"
    return f"{(trial.began_lab_s - started) / 3600:.2f}", took


def _happenings(dossier: Dossier) -> Iterator[str]:
    rows = [([moment(event["recorded_wall"]), "" if event["trial"] is None else str(event["trial"] + 1), event["kind"], event["text"]], "")
            for event in dossier.summary["events"]]
    if rows:
        yield "<h2>What happened</h2>"
        yield _table(["when (UTC)", "trial", "what", ""], rows, {"trial"})


def _record(dossier: Dossier) -> Iterator[str]:
    yield "<h2>Record</h2>"
    yield _list([("sha256", dossier.digest), ("of", "its configurations and all that is on record of its trials, in the ledger's order, as JSON")])
    for one in dossier.revisions or ():
        if one.number:
            yield f"<p>Revision {one.number}, {escape(moment(one.changed_wall))} UTC, by {escape(one.by)}: {escape(one.words)}</p>"
    yield "<h3>campaign.yaml</h3>"
    yield f"<pre>{escape(_file(dossier))}</pre>"


# --------------------------------------------------------------------------------------------------------- parts


def _file(dossier: Dossier) -> str:
    """The campaign's file, without what it leaves at its default; that of another version as it is."""
    if dossier.config is None:
        return dossier.row.config
    return str(yaml.safe_dump(dossier.config.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True, width=110, default_flow_style=None))


def _list(rows: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows if text) + "</dl>"


def _figure(drawn: str, caption: str) -> str:
    """A figure; `caption` is HTML."""
    return f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>"


def _table(columns: Sequence[str], rows: Sequence[tuple[Sequence[str], str]], right: set[str]) -> str:
    """Rows of texts, each with the name of its looks."""
    sides = [' class="n"' if name in right else "" for name in columns]
    heads = "".join(f"<th{side}>{escape(name).replace('_', '_<wbr>')}</th>" for name, side in zip(columns, sides, strict=True))
    lines = [f"<tr{f' class={looks}' if looks else ''}>" + "".join(f"<td{side}>{escape(text)}</td>" for text, side in zip(cells, sides, strict=True)) + "</tr>"
             for cells, looks in rows]
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>\n' + "\n".join(lines) + "\n</tbody></table></div>"


def _class(trial: Trial, best: Trial | None) -> str:
    if best is not None and trial.index == best.index:
        return "best"
    return trial.state.value
