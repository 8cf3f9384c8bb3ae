"""The table of an ablation: a row per cell, from the predictions of its runs.

Reads ``ablation.json`` (what was varied, and which run is which cell) and, of every finished run,
``predictions.parquet`` and ``run.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claip_emo.evaluation.baseline import FOLDER
from claip_emo.evaluation.predictions import (
    MODALITY_NAMES,
    STATISTICS,
    Predictions,
    PredictionsError,
)
from claip_emo.intervals import bootstrap_difference, bootstrap_interval
from claip_emo.metrics import summarise

PLAN = "ablation.json"
RESAMPLES = 2000
NOT_RUN = "not run yet"


@dataclass(frozen=True, slots=True)
class _Scored:
    """What the finished runs of a cell said, seed after seed.

    Attributes:
        seeds: of the finished runs.
        seed: (row,), the seed of each row.
        path: (row,), the file of each row's clip.
        true: (row,), class indices.
        said: (row,), class indices.
        labels: names of the classes.
        others: share that is right, by modality.
        facts: ``run.json`` of each run.
    """

    seeds: tuple[int, ...]
    seed: NDArray[np.int64]
    path: tuple[str, ...]
    true: NDArray[np.int64]
    said: NDArray[np.int64]
    labels: tuple[str, ...]
    others: dict[str, float]
    facts: tuple[dict[str, Any], ...]

    def groups(self, rows: Sequence[int] | None = None) -> list[str] | None:
        """Return the clip of each row, where a clip has several: they are redrawn together."""
        if len(self.seeds) < 2:
            return None
        return [self.path[row] for row in (range(len(self.path)) if rows is None else rows)]


def ablation_rows(out: Path) -> list[dict[str, Any]]:
    """Return the rows of the table, one per cell, in the order of the axes.

    ``cell`` is the folder. The axes follow, empty where an axis has no effect in the cell. Scores
    are pooled over the seeds, which is their mean; ``war_sd`` and ``uar_sd`` are their deviation.
    Intervals are over resampled clips, at 95 %. ``war_gain`` and ``uar_gain`` are what the cell is
    above the reference on the same clips. ``seconds`` is the training time, summed over the seeds.
    What is not there is None.

    Raises:
        PredictionsError: if the folder holds no ablation, or predictions of it cannot be read.
    """
    plan = read_plan(out)
    found = {cell["slug"]: _scored(out, cell) for cell in plan["cells"]}
    reference = found[plan["reference"]]
    rows = []
    for cell in plan["cells"]:
        scored = found[cell["slug"]]
        wrong = [plan["errors"].get(run["folder"]) for run in cell["runs"]]
        errors = [f"{run['folder']}: {e}" for run, e in zip(cell["runs"], wrong, strict=True) if e]
        waiting = len(cell["runs"]) - len(errors) - (len(scored.seeds) if scored else 0)
        row: dict[str, Any] = {"cell": cell["slug"]}
        row |= {axis["name"]: cell["values"][axis["name"]] for axis in plan["axes"]}
        row |= _figures(scored)
        row |= _gains(scored, reference if cell["slug"] != plan["reference"] else None)
        row["stands_for"] = "; ".join(cell["stands_for"])
        row["error"] = " | ".join([*errors, *([NOT_RUN] if waiting > 0 else [])]) or None
        rows.append(row)
    return rows


def baseline_row(out: Path) -> dict[str, Any] | None:
    """Return the row of the zero-shot baseline, beside the reference's runs; None: there is none.

    It has the columns of ``ablation_rows``; what is varied has no effect on it.
    """
    plan = read_plan(out)
    cells = {cell["slug"]: cell for cell in plan["cells"]}
    reference = cells[plan["reference"]]
    runs = [run | {"folder": f"{run['folder']}/{FOLDER}"} for run in reference["runs"]]
    scored = _scored(out, {"runs": runs})
    if scored is None:
        return None
    row: dict[str, Any] = {"cell": runs[0]["folder"]}
    row |= {axis["name"]: None for axis in plan["axes"]}
    row |= _figures(scored) | _gains(scored, _scored(out, reference))
    return row | {"stands_for": "", "error": None}


def read_plan(out: Path) -> dict[str, Any]:
    """Return the content of ``ablation.json``.

    Raises:
        PredictionsError: if the folder holds none.
    """
    path = Path(out) / PLAN
    try:
        plan: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PredictionsError(
            f"{out} holds no ablation: `claip-emo ablate RECIPE --over ... --out {out}` makes one."
        ) from error
    return plan


def _scored(out: Path, cell: Mapping[str, Any]) -> _Scored | None:
    """Read what the finished runs of a cell said; None: none is finished."""
    seeds, tables, facts = [], [], []
    for run in cell["runs"]:
        folder = out / run["folder"]
        if not ((folder / "predictions.parquet").is_file() and (folder / "run.json").is_file()):
            continue
        seeds.append(run["seed"])
        tables.append(Predictions.read(folder / "predictions.parquet"))
        facts.append(json.loads((folder / "run.json").read_text("utf-8")))
    if not seeds:
        return None
    kinds = [kind for kind in MODALITY_NAMES if kind in tables[0].modality]
    others = {}
    for kind in kinds:
        parts = [table.for_modality(kind) for table in tables]
        hits = np.concatenate([part.predicted_index == part.label_index for part in parts])
        others[kind] = float(hits.mean())
    parts = [table.for_modality(kinds[0]) for table in tables]
    return _Scored(
        tuple(seeds),
        np.concatenate([np.full(len(p), s) for s, p in zip(seeds, parts, strict=True)]),
        tuple(path for part in parts for path in part.paths),
        np.concatenate([part.label_index for part in parts]),
        np.concatenate([part.predicted_index for part in parts]),
        tables[0].labels.names,
        others,
        tuple(facts),
    )


def _figures(scored: _Scored | None) -> dict[str, Any]:
    """Return size, time, scores and their intervals."""
    parameters = scored.facts[0].get("parameters", {}) if scored else {}
    row: dict[str, Any] = {
        "seeds": " ".join(map(str, scored.seeds)) if scored else None,
        "clips": len(set(scored.path)) if scored else None,
        "trainable": parameters.get("trainable"),
        "total": parameters.get("total"),
        "share": parameters.get("share"),
    }
    for name, statistic in STATISTICS.items():
        value = low = high = deviation = None
        if scored:
            classes = len(scored.labels)
            value = getattr(summarise(scored.true, scored.said, classes), name)
            low, high = bootstrap_interval(
                scored.true, scored.said, statistic,
                num_classes=classes, groups=scored.groups(), resamples=RESAMPLES,
            )  # fmt: skip
            each = [scored.seed == seed for seed in scored.seeds]
            scores = [
                getattr(summarise(scored.true[s], scored.said[s], classes), name) for s in each
            ]
            deviation = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
        row |= {name: value, f"{name}_low": low, f"{name}_high": high, f"{name}_sd": deviation}
    for kind, name in MODALITY_NAMES.items():
        row[f"war_{name}"] = scored.others.get(kind) if scored else None
    seconds = [fact.get("seconds") for fact in scored.facts] if scored else [None]
    row["seconds"] = None if None in seconds else round(sum(seconds), 1)
    return row


def _gains(scored: _Scored | None, reference: _Scored | None) -> dict[str, Any]:
    """Return what a cell is above the reference, clip by clip and seed by seed."""
    row: dict[str, Any] = {}
    for name in STATISTICS:
        row |= {f"{name}_gain": None, f"{name}_gain_low": None, f"{name}_gain_high": None}
    if scored is None or reference is None or scored.labels != reference.labels:
        return row
    keys = zip(reference.seed.tolist(), reference.path, strict=True)
    said = dict(zip(keys, reference.said.tolist(), strict=True))
    own = list(zip(scored.seed.tolist(), scored.path, strict=True))
    shared = [place for place, key in enumerate(own) if key in said]
    if not shared:  # other clips, or other seeds: nothing is compared clip by clip
        return row
    true, first = scored.true[shared], scored.said[shared]
    second = np.array([said[own[place]] for place in shared])
    classes = len(scored.labels)
    for name, statistic in STATISTICS.items():
        one, other = (getattr(summarise(true, s, classes), name) for s in (first, second))
        low, high = bootstrap_difference(
            true, first, second, statistic,
            num_classes=classes, groups=scored.groups(shared), resamples=RESAMPLES,
        )  # fmt: skip
        row |= {f"{name}_gain": one - other, f"{name}_gain_low": low, f"{name}_gain_high": high}
    return row
