"""The numbers behind a dossier, as JSON has them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lab.dossier import words
from lab.dossier.content import Dossier
from lab.optimise.left_out import LeftOut


def as_json(dossier: Dossier) -> dict[str, Any]:
    """What ``lab report --json`` prints: see docs/files.md. What is no finite number is null."""
    found = dossier.explanation
    return _plain({
        "campaign": dossier.row.id, "name": dossier.row.name, "status": dossier.row.status, "cause": dossier.row.cause, "sha256": dossier.digest,
        "words": dict(words.lines(dossier)),
        "recommended": dossier.recommendation.as_json(), "problem": found.problem, "point": found.point, "remarks": found.remarks,
        "outcomes": {told.name: {
            "left_out": _left_out(told.left_out, [None if index is None else index + 1 for index in told.trials]), "noise": told.noise, "n_drawn_in": told.n_drawn_in, "is_log": told.is_log,
            "sensitivities": {"kind": told.sensitivities.kind, "words": told.sensitivities.words, "effects": told.sensitivities.effects},
            "averages": told.averages, "slices": told.slices, "map": told.map, "triangle": told.triangle, "beyond": told.beyond} for told in found.outcomes},
        "success": None if found.success is None else {
            "words": found.success.verdict, "brier": found.success.brier, "brier_of_rate": found.success.brier_of_rate,
            "chance": found.success.chance, "is_success": found.success.is_success, "reliability": found.success.reliability()},
        "progress": {one.name: {"best": one.best, "recommended": one.recommended, "foresight": None if one.foresight is None else _left_out(one.foresight, list(one.foreseen))}
                     for one in dossier.progress},
        "why": dossier.whys,
        "revisions": [{"number": one.number, "by": one.by, "words": one.words, "changed": one.changed_wall} for one in dossier.revisions],
        "trials": dossier.summary["table"],
    })


def _left_out(found: LeftOut, trials: list[int | None] | list[int]) -> dict[str, Any]:
    return {"words": found.verdict, "r2": found.r2, "coverage": found.coverage, "log_density": found.log_density, "trials": trials,
            "measured": found.measured, "expected": found.expected, "deviation": found.deviation, "standardised": found.standardised}


def _plain(value: Any) -> Any:
    """Dataclasses, arrays and mappings as JSON has them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
