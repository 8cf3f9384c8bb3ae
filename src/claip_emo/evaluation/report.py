"""The report of a run: one self-contained page, and the same as Markdown. It needs no model.

Reads ``predictions.parquet`` and, where they are there, ``metrics.json``, ``history.jsonl``,
``run.json`` and ``thumbnails/`` of a run's folder.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from claip_emo.evaluation import figures
from claip_emo.evaluation.predictions import Predictions, PredictionsError, metrics
from claip_emo.metrics import reliability

MISTAKES = 12
SCORES_SHOWN = 3


def write_report(run: Path) -> Path:
    """Write ``report.html`` and ``report.md`` of a run (and ``metrics.json`` if it is missing).

    Returns:
        The page.

    Raises:
        PredictionsError: if the folder holds no run.
    """
    run = Path(run)
    table = run / "predictions.parquet"
    if not table.is_file():
        raise PredictionsError(
            f"{run} holds no predictions.parquet: `claip-emo train RECIPE --out {run}` or "
            f"`claip-emo evaluate --model DIR --table CSV --out {run}` writes it."
        )
    predictions = Predictions.read(table)
    if not (run / "metrics.json").is_file():
        text = json.dumps(metrics(predictions), indent=2, ensure_ascii=False)
        (run / "metrics.json").write_text(text + "\n", "utf-8")
    content = gather(run, predictions)
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=lambda name: bool(name) and str(name).endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "thousands": lambda n: f"{n:,}", "cell": _cell}
    for name in ("report.md", "report.html"):
        page = environment.get_template(f"{name}.j2").render(**content)
        partial = run / f".{name}.partial"
        partial.write_text(page, "utf-8")
        partial.replace(run / name)
    return run / "report.html"


def gather(run: Path, predictions: Predictions) -> dict[str, Any]:
    """Collect everything that the templates show."""
    scored = json.loads((run / "metrics.json").read_text("utf-8"))
    facts = _json(run / "run.json")
    history = read_history(run / "history.jsonl")
    kind = next(k for k in ("av", "v", "a") if k in predictions.modality)
    rows = predictions.for_modality(kind)
    calibration = reliability(rows.scores, rows.label_index)
    mistakes = surest_mistakes(predictions)
    for mistake in mistakes:
        picture = run / "thumbnails" / thumbnail_name(mistake["id"])
        mistake["picture"] = _data_uri(picture) if picture.is_file() else None
    return {
        "title": facts.get("title") or run.name,
        "metrics": scored,
        "facts": facts,
        "sentence": sentence(scored),
        "confusion": _confusion(scored["confusion"]),
        "classes": _classes(scored["per_class"]),
        "curves": figures.learning_curves(history) if history else None,
        "best_epoch": next(
            (r["epoch"] for r in reversed(history) if r.get("event") == "validation" and r["best"]),
            None,
        ),
        "calibration": figures.reliability_diagram(calibration),
        "mistakes": mistakes,
        "wrong": int((rows.predicted_index != rows.label_index).sum()),
    }


def sentence(scored: dict[str, Any]) -> str:
    """Say in plain words what the figures show, and no more than they show."""
    right = round(10 * scored["war"])
    text = f"Right on about {right} of 10 clips."
    if scored["war"] > 0.95:
        text = "Right on nearly every clip."
    parts = scored["by_modality"]
    if not {"audiovisual", "video", "audio"} <= parts.keys():
        return text + f" Only the {scored['modality']} was scored."
    both = parts["audiovisual"]
    name, best = max(
        (("the face", parts["video"]), ("the voice", parts["audio"])),
        key=lambda item: item[1]["war"],
    )
    if both["interval_95"]["war"][0] > best["interval_95"]["war"][1]:
        return text + f" Face and voice together are clearly better than {name} alone."
    if both["war"] > best["war"]:
        return text + (
            f" Face and voice together score higher than {name} alone, but the 95 % intervals "
            "overlap."
        )
    return text + f" Face and voice together are not better than {name} alone here."


def surest_mistakes(predictions: Predictions, count: int = MISTAKES) -> list[dict[str, Any]]:
    """Return the wrong predictions with the highest score, surest first.

    Each is a dictionary with ``id``, ``path``, ``label``, ``predicted``, ``score`` and ``scores``
    (name and score, the three highest and the true one).
    """
    kind = next((k for k in ("av", "v", "a") if k in predictions.modality), "av")
    rows = predictions.for_modality(kind)
    wrong = [row for row in range(len(rows)) if rows.predicted_index[row] != rows.label_index[row]]
    wrong.sort(key=lambda row: (-rows.scores[row].max(), rows.ids[row]))
    found = []
    names = rows.labels.names
    for row in wrong[:count]:
        order = [int(place) for place in rows.scores[row].argsort()[::-1][:SCORES_SHOWN]]
        if (true := int(rows.label_index[row])) not in order:
            order.append(true)
        found.append(
            {
                "id": rows.ids[row],
                "path": rows.paths[row],
                "label": names[true],
                "predicted": names[int(rows.predicted_index[row])],
                "score": float(rows.scores[row].max()),
                "scores": [(names[place], float(rows.scores[row, place])) for place in order],
            }
        )
    return found


def thumbnail_name(clip_id: str) -> str:
    """Return the file name of a clip's thumbnail: readable, safe and different for every id."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", clip_id).strip("-")[-60:]
    return f"{readable}-{hashlib.sha256(clip_id.encode()).hexdigest()[:8]}.jpg"


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read ``history.jsonl``; a line that a kill cut short is dropped, a missing file is empty."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row:
            rows.append(row)
    return rows


def _confusion(confusion: dict[str, Any]) -> dict[str, Any]:
    """Return the matrix with each cell's share of its row."""
    rows = []
    for name, counts in zip(confusion["labels"], confusion["matrix"], strict=True):
        total = sum(counts)
        cells = [{"count": c, "share": c / total if total else 0.0} for c in counts]
        rows.append({"name": name, "total": total, "cells": cells})
    return {"labels": confusion["labels"], "rows": rows}


def _classes(per_class: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, **values} for name, values in per_class.items()]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _data_uri(path: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _cell(text: Any) -> str:
    """Make a text safe for a cell of a Markdown table."""
    return re.sub(r"[\r\n]+", " ", str(text)).replace("|", "\\|").replace("<", "&lt;")


def _template(name: str) -> str:
    return (files("claip_emo.evaluation") / "templates" / name).read_text("utf-8")
