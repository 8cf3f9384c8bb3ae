"""The report of a run: one self-contained page, the same as Markdown, and its tables as LaTeX.

Reads ``predictions.parquet`` and, where they are there, ``metrics.json``, ``folds.json``,
``history.jsonl``, ``run.json``, ``zero-shot/``, ``calibration/``, ``thumbnails/`` and
``explanations/`` of a run's folder. It needs no model.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from claip_emo.evaluation import figures
from claip_emo.evaluation.baseline import LABEL, zero_shot
from claip_emo.evaluation.comparison import folds_note
from claip_emo.evaluation.latex import report_tex
from claip_emo.evaluation.peers import beside
from claip_emo.evaluation.predictions import (
    MODALITY_NAMES,
    Predictions,
    PredictionsError,
    metrics,
)
from claip_emo.evaluation.report_confidence import confidence_section
from claip_emo.evaluation.wording import (
    USED,
    WORDS,
    caveat,
    describe_facts,
    points,
    projection_note,
    selection_note,
    sentence,
)
from claip_emo.whole_files import write_text

EXPLANATIONS = "explanations"
MISTAKES = 12
SCORES_SHOWN = 3


def write_report(run: Path) -> Path:
    """Write ``report.html``, ``report.md`` and ``report.tex`` of a run.

    ``metrics.json`` follows from the predictions: it is written too where it is missing, cannot be
    read, or is of other predictions (a kill between two files).

    Returns:
        The page.

    Raises:
        PredictionsError: if the folder holds no run, or its predictions cannot be read.
    """
    run = Path(run)
    table = run / "predictions.parquet"
    if not table.is_file():
        raise PredictionsError(
            f"{run} holds no predictions.parquet: `claip-emo train RECIPE --out {run}` or "
            f"`claip-emo evaluate --model DIR --table CSV --out {run}` writes it."
        )
    predictions = Predictions.read(table)
    scored = read_json(run / "metrics.json")
    if not _fits(scored, fresh := metrics(predictions)):
        scored = fresh
        write_text(run / "metrics.json", json.dumps(fresh, indent=2, ensure_ascii=False) + "\n")
    content = gather(run, predictions, scored)
    pages = environment()
    write_text(run / "report.tex", report_tex(content))
    for name in ("report.md", "report.html"):
        write_text(run / name, pages.get_template(f"{name}.j2").render(**content))
    return run / "report.html"


@functools.cache  # compiling the pages takes half as long as drawing them
def environment() -> jinja2.Environment:
    """Return what renders the templates, with the filters that they use."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=lambda name: bool(name) and str(name).endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": _percent,
        "hundred": lambda share: None if share is None else 100 * share,
        "printed": lambda value: "–" if value is None else f"{value:.2f}",
        "points": points,
        "width": lambda share: f"{100 * min(max(share or 0.0, 0.0), 1.0):.2f}%",
        "thousands": lambda n: f"{n:,}",
        "md": _markdown,
        "code": _markdown_code,
    }
    return made


def gather(run: Path, predictions: Predictions, scored: dict[str, Any]) -> dict[str, Any]:
    """Collect everything that the templates show."""
    facts = read_json(run / "run.json")
    history = read_history(run / "history.jsonl")
    kept = kept_epoch(history, facts)
    rows = predictions.for_modality(headline_of(predictions))
    folds = _folds_of(run, scored)
    baseline = zero_shot(run, predictions, headline_of(predictions))
    mistakes = surest_mistakes(predictions)
    for mistake in mistakes:
        picture = run / "thumbnails" / thumbnail_name(mistake["id"])
        mistake["picture"] = _data_uri(picture) if picture.is_file() else None
        mistake["explanation"] = _explanation(run / EXPLANATIONS / explanation_name(mistake["id"]))
    subtitle = [facts.get(key) for key in ("backbone", "adaptation")]
    return {
        "title": str(facts.get("title") or run.resolve().name),
        "subtitle": ", ".join(str(part) for part in subtitle if part),
        "note": facts.get("corpus_note"),
        "projection": projection_note(facts),
        "folds": _folds(folds, baseline),
        "peers": beside(facts, scored, folds, baseline),
        "baseline": _baseline(baseline),
        "picked_on_test": facts.get("selection") == "best_on_test",
        "metrics": scored,
        "facts": describe_facts(facts),
        "sentence": sentence(scored, facts),
        "caveat": caveat(scored),
        "selection": selection_note(facts),
        "confusion": _confusion(scored["confusion"]),
        "classes": [{"name": name, **values} for name, values in scored["per_class"].items()],
        "curves": figures.learning_curves(history, kept) if history else [],
        "kept": None if kept is None else _validated_at(history, kept),
        "watched": figures.watched_part(history),
        "confidence": confidence_section(run, rows),
        "mistakes": mistakes,
        "wrong": int((rows.predicted_index != rows.label_index).sum()),
        "used": {MODALITY_NAMES[there]: used for there, used in USED.items()},
        "alone": USED,
        "words": WORDS,
    }


def surest_mistakes(predictions: Predictions, count: int = MISTAKES) -> list[dict[str, Any]]:
    """Return the wrong predictions with the highest score, surest first.

    Each is a dictionary with ``id``, ``path``, ``label``, ``predicted``, ``score`` and ``scores``
    (name and score, the three highest and the true one).
    """
    rows = predictions.for_modality(headline_of(predictions))
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
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", clip_id)[-60:].strip("-") or "clip"
    digest = hashlib.sha256(clip_id.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    return f"{readable}-{digest}.jpg"


def explanation_name(clip_id: str) -> str:
    """Return the file name of a clip's explanation; ``.json`` has it in numbers."""
    return str(Path(thumbnail_name(clip_id)).with_suffix(".webp"))


def picture_names(clip_id: str) -> tuple[str, ...]:
    """Return the files of a run that show a clip: its thumbnail and its explanation."""
    explained = Path(EXPLANATIONS) / explanation_name(clip_id)
    thumbnail = f"thumbnails/{thumbnail_name(clip_id)}"
    return thumbnail, str(explained), str(explained.with_suffix(".json"))


def forget_pictures(run: Path) -> None:
    """Remove the thumbnails and explanations of former predictions."""
    for folder in ("thumbnails", EXPLANATIONS):
        for kind in ("*.jpg", "*.webp", "*.json"):
            for stale in (run / folder).glob(kind):
                stale.unlink()


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read ``history.jsonl``; a line that a kill cut short is dropped, a missing file is empty."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text("utf-8", "replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row:
            rows.append(row)
    return rows


def kept_epoch(history: list[dict[str, Any]], facts: dict[str, Any]) -> float | None:
    """Return the epoch whose weights were kept, as far as the history tells."""
    checked = [row for row in _validations(history) if isinstance(row.get("epoch"), int | float)]
    if facts.get("selection") != "last":
        checked = [row for row in checked if row.get("best")]
    return checked[-1]["epoch"] if checked else None


def _validated_at(history: list[dict[str, Any]], epoch: float) -> dict[str, Any]:
    return next(row for row in reversed(_validations(history)) if row.get("epoch") == epoch)


def _validations(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in history if row.get("event") == "validation"]


def headline_of(predictions: Predictions) -> str:
    """Return the modality that the headline is of: ``av`` where both were scored together."""
    return next((kind for kind in MODALITY_NAMES if kind in predictions.modality), "av")


def _fits(found: dict[str, Any], fresh: dict[str, Any]) -> bool:
    """Say whether a ``metrics.json`` is of these predictions and has all that the page shows."""
    try:
        wars = [{k: part["war"] for k, part in m["by_modality"].items()} for m in (found, fresh)]
        same = all(found[key] == fresh[key] for key in ("n", "modality", "confusion"))
    except (KeyError, TypeError, AttributeError):
        return False
    return same and wars[0] == wars[1] and fresh.keys() <= found.keys()


def _folds_of(run: Path, scored: dict[str, Any]) -> dict[str, Any] | None:
    """Read ``folds.json`` if it is complete and of the very clips that ``scored`` is of."""
    found = read_json(run / "folds.json")
    try:
        same = all(found["pooled"][key] == scored[key] for key in ("n", "war", "uar"))
        whole = found.keys() >= {"folds", "mean", "deviation", "missing"} and found["folds"]
    except (KeyError, TypeError):
        return None
    return found if same and whole else None


def _folds(folds: dict[str, Any] | None, baseline: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what the table of the folds shows."""
    if folds is None:
        return None
    first = []
    if baseline is not None:
        shown = baseline["mean"] or baseline
        count = len(baseline["folds"])
        over = f"mean of {count} folds" if baseline["mean"] else "pooled over all clips"
        figures_of = {key: shown[key] for key in ("war", "uar")}
        first.append({"name": LABEL, "over": over, "n": baseline["n"], **figures_of})
    return {
        "rows": [{"name": name, "epoch": None, **row} for name, row in folds["folds"].items()],
        "baseline": first,
        "mean": folds["mean"],
        "deviation": folds["deviation"],
        "pooled": folds["pooled"],
        "note": folds_note(folds),
        "figure": figures.fold_scores(folds["folds"], folds["mean"]),
    }


def _baseline(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the baseline's row beside the modalities; it needs figures over all clips."""
    if found is None or found["war"] is None:
        return None
    return {"name": LABEL, **{key: found[key] for key in ("war", "uar", "n", "interval_95")}}


def _confusion(confusion: dict[str, Any]) -> dict[str, Any]:
    """Return the matrix with each cell's share of its row."""
    rows = []
    for name, counts in zip(confusion["labels"], confusion["matrix"], strict=True):
        total = sum(counts)
        cells = [{"count": c, "share": c / total if total else 0.0} for c in counts]
        rows.append({"name": name, "total": total, "cells": cells})
    return {"labels": confusion["labels"], "rows": rows}


def read_json(path: Path) -> dict[str, Any]:
    """Read a dictionary from a JSON file; one that is missing or broken is empty."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _explanation(figure: Path) -> dict[str, str] | None:
    """Return the figure of an explanation and what it says; None where there is none."""
    said = read_json(figure.with_suffix(".json"))
    if not (figure.is_file() and said.keys() >= {"sentence", "note"}):
        return None
    return {"picture": _data_uri(figure), "sentence": said["sentence"], "note": said["note"]}


def _data_uri(path: Path) -> str:
    kind = {".webp": "webp"}.get(path.suffix, "jpeg")
    return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _markdown(text: Any) -> str:
    """Make a user's text safe in a line or a table cell of Markdown, where HTML is let through."""
    line = re.sub(r"\s+", " ", str(text)).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", line)


def _markdown_code(text: Any) -> str:
    return "`" + re.sub(r"\s+", " ", str(text)).replace("`", "'") + "`"


def _template(name: str) -> str:
    return (files("claip_emo.evaluation") / "templates" / name).read_text("utf-8")
