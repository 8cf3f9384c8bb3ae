"""The zero-shot baseline beside a run: the language prior of its towers, nothing trained.

``RUN/zero-shot/`` holds it for the run's clips, or ``RUN/fold-K/zero-shot/`` for those of a fold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from claip_emo.evaluation.predictions import (
    MODALITY_NAMES,
    Predictions,
    PredictionsError,
    metrics,
)
from claip_emo.metrics import summarise

FOLDER = "zero-shot"
LABEL = "zero-shot, nothing trained"


def zero_shot(run: Path, own: Predictions, modality: str) -> dict[str, Any] | None:
    """Return the figures of the zero-shot baseline on the clips of a run.

    Args:
        run: the run's folder.
        own: the run's predictions; of the baseline's, the rows of the same clips are taken.
        modality: ``av``, ``v`` or ``a``: what the run's headline is of; the baseline's own where
            it has no such rows.

    Returns:
        ``war``, ``uar``, ``n``, ``interval_95`` over all clips (None where only figures are kept
        and they are of several folds), ``folds`` (fold -> ``war``, ``uar``, ``n``) and ``mean``
        (over them, or None); None if there is no baseline.
    """
    fold_of = dict(zip(own.ids, own.folds, strict=True))
    folders = {fold: run / f"fold-{fold}" / FOLDER for fold in _numbers(own.folds)}
    rows = _rows(run / FOLDER, folders.values(), fold_of)
    if rows is not None:
        return _from_rows(rows, fold_of, modality)
    if (whole := _figures(run / FOLDER)) is not None:
        return whole | {"folds": {}, "mean": None}
    parts = {fold: found for fold, folder in folders.items() if (found := _figures(folder))}
    if not parts:
        return None
    of_folds = {
        str(fold): {key: part[key] for key in ("war", "uar", "n")} for fold, part in parts.items()
    }
    return {
        "war": None,
        "uar": None,
        "n": sum(part["n"] for part in parts.values()),
        "interval_95": None,
        "folds": of_folds,
        "mean": mean_of(of_folds.values()),
    }


def mean_of(figures: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Return the mean WAR and UAR of several parts, each part counting the same."""
    parts = list(figures)
    return {key: float(np.mean([part[key] for part in parts])) for key in ("war", "uar")}


def _rows(
    whole: Path, of_folds: Iterable[Path], wanted: dict[str, int | None]
) -> Predictions | None:
    """Return the baseline's rows of the wanted clips, from one file or from those of the folds."""
    for folders in ([whole], list(of_folds)):
        files = [path for folder in folders if (path := folder / "predictions.parquet").is_file()]
        try:
            found = Predictions.concat([Predictions.read(path) for path in files])
        except PredictionsError:
            continue  # none, unreadable, or of other labels: as good as not there
        found = found.take([row for row, name in enumerate(found.ids) if name in wanted])
        if len(found):
            return found
    return None


def _from_rows(rows: Predictions, fold_of: dict[str, int | None], modality: str) -> dict[str, Any]:
    kinds = [modality, *MODALITY_NAMES]
    rows = rows.for_modality(next(kind for kind in kinds if kind in rows.modality))
    scored = metrics(rows)
    parts = {}
    for fold in _numbers(fold_of.values()):
        part = rows.take([row for row, name in enumerate(rows.ids) if fold_of[name] == fold])
        if len(part):
            found = summarise(part.label_index, part.predicted_index, len(part.labels))
            parts[str(fold)] = {"war": found.war, "uar": found.uar, "n": len(part)}
    figures = {key: scored[key] for key in ("war", "uar", "n", "interval_95")}
    return figures | {"folds": parts, "mean": mean_of(parts.values()) if parts else None}


def _figures(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / "metrics.json").read_text("utf-8"))
        return {key: found[key] for key in ("war", "uar", "n")} | {
            "interval_95": found.get("interval_95")
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _numbers(folds: Iterable[int | None]) -> list[int]:
    return sorted({fold for fold in folds if fold is not None})
