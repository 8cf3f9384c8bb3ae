"""Several folds of a corpus become one table: a mean over folds, and all their clips pooled.

The mean WAR over folds and the pooled WAR differ a little where folds differ in size; the mean UAR
and the pooled UAR differ more, as a fold with few clips of a class has a recall of its own. The
field prints either, mostly without saying which.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from claip_emo.corpora.published import NAMES, published
from claip_emo.evaluation.ablation import summarise_ablation
from claip_emo.evaluation.ablation_table import PLAN
from claip_emo.evaluation.baseline import mean_of, zero_shot
from claip_emo.evaluation.predictions import (
    MODALITY_NAMES,
    Predictions,
    PredictionsError,
    metrics,
)
from claip_emo.evaluation.report import (
    forget_pictures,
    headline_of,
    kept_epoch,
    picture_names,
    read_history,
    read_json,
    surest_mistakes,
    write_report,
)
from claip_emo.metrics import summarise
from claip_emo.whole_files import write_text

FOLDER = re.compile(r"fold-([0-9]+)")
NEEDED = ("predictions.parquet", "run.json")
OF_NO_ACCOUNT = {
    "data.fold", "data.workers", "data.cache", "train.log_every_steps", "train.save_every_steps",
    "train.tensorboard",
}  # keys of a recipe that may differ between folds of one experiment  # fmt: skip
COMPARED = ("corpus_name", "corpus_variant", "backbone", "adaptation", "selection", "batch", "seed")
PROVENANCE = ("command", "commit", "machine", "version")


def summarise_folds(out: Path, *, wanted: Sequence[int] | None = None) -> dict[str, Any]:
    """Sum up the finished folds ``OUT/fold-K`` in ``OUT``, as a run's folder of its own.

    Writes ``folds.json``, the pooled ``predictions.parquet`` and ``metrics.json``, ``run.json``,
    thumbnails and the report.

    Args:
        out: the folder of the folds.
        wanted: the folds that there should be; None: those of the published corpus, or else those
            that have a folder.

    Returns:
        The content of ``folds.json``: ``folds`` (fold -> ``war``, ``uar``, ``n``, ``epoch``),
        ``mean``, ``deviation`` (sample deviation, n - 1; None for one fold), ``pooled`` (over all
        clips, with ``n`` and ``interval_95``), ``by_modality`` (the same of each), ``modality``,
        ``selection``, ``complete``, ``missing`` (folds), ``differ`` (settings in which the folds
        differ), ``zero_shot`` (the baseline's figures, or None).

    Raises:
        PredictionsError: if no fold is finished, or folds do not fit together: a clip is tested in
            two, or their classes or modalities differ.
    """
    out = Path(out)
    folders = _fold_folders(out)
    finished = {
        fold: folder
        for fold, folder in folders.items()
        if all((folder / name).is_file() for name in NEEDED)
    }
    if not finished:
        raise PredictionsError(
            f"{out} holds no finished fold: `claip-emo train RECIPE --folds all --out {out}` "
            "writes fold-1, fold-2 and so on."
        )
    rows = _pooled(finished)
    facts = {fold: read_json(folder / "run.json") for fold, folder in finished.items()}
    merged = _merged(facts, rows)
    scored = metrics(rows)
    by_modality = {
        MODALITY_NAMES[kind]: _figures(rows.for_modality(kind), scored["by_modality"][name])
        for kind, name in MODALITY_NAMES.items()
        if kind in rows.modality
    }
    headline = by_modality[scored["modality"]]
    histories = {fold: read_history(f / "history.jsonl") for fold, f in finished.items()}
    lost = sorted(set(_wanted(wanted, merged, folders)) - finished.keys())
    summary = headline | {
        "folds": {
            str(fold): headline["folds"][str(fold)]
            | {"epoch": kept_epoch(histories[fold], facts[fold])}
            for fold in finished
        },
        "by_modality": by_modality,
        "modality": scored["modality"],
        "deviation_is": "sample standard deviation over folds (n - 1)",
        "selection": merged.get("selection"),
        "complete": not lost,
        "missing": lost,
        "differ": _differences(finished, facts),
        "zero_shot": zero_shot(out, rows, headline_of(rows)),
    }
    rows.write(out / "predictions.parquet")
    for name, content in (("metrics", scored), ("run", merged), ("folds", summary)):
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_text(out / f"{name}.json", text)
    forget_pictures(out)
    _copy_pictures(out, finished, rows)
    write_report(out)
    return summary


def refresh_report(run: Path) -> Path:
    """Write the report of a run anew; what folds or cells left is summed up anew before.

    Returns:
        The page.

    Raises:
        PredictionsError: if the folder holds no run, or folds that do not fit together.
    """
    run = Path(run)
    if (run / PLAN).is_file():
        summarise_ablation(run)
        return run / "report.html"
    folders = _fold_folders(run).values()
    if any((folder / name).is_file() for folder in folders for name in NEEDED):
        summarise_folds(run)
        return run / "report.html"
    return write_report(run)


def _fold_folders(out: Path) -> dict[int, Path]:
    """Return the folders of folds by number, in order."""
    found = {
        int(match[1]): path
        for path in (out.iterdir() if out.is_dir() else ())
        if path.is_dir() and (match := FOLDER.fullmatch(path.name))
    }
    return dict(sorted(found.items()))


def _pooled(finished: Mapping[int, Path]) -> Predictions:
    """Join the rows of all folds, each with its fold.

    Raises:
        PredictionsError: if the folds do not fit together.
    """
    parts: dict[int, Predictions] = {}
    owner: dict[str, int] = {}
    for fold, folder in finished.items():
        part = Predictions.read(folder / "predictions.parquet")
        if not len(part):
            raise PredictionsError(f"{folder}/predictions.parquet has no rows.")
        parts[fold] = replace(part, folds=(fold,) * len(part))
        first = next(iter(parts))
        if part.labels != parts[first].labels:
            raise PredictionsError(
                f"Fold {first} has the classes {', '.join(parts[first].labels)} and fold {fold} "
                f"{', '.join(part.labels)}: they are not of one experiment."
            )
        if set(part.modality) != set(parts[first].modality):
            raise PredictionsError(
                f"Fold {first} has rows of {', '.join(sorted(set(parts[first].modality)))} and "
                f"fold {fold} of {', '.join(sorted(set(part.modality)))}: score them alike."
            )
        for name in part.ids:
            if owner.setdefault(name, fold) != fold:
                raise PredictionsError(
                    f"The clip {name!r} is tested in fold {owner[name]} and in fold {fold}: test "
                    "folds share no clip."
                )
    return Predictions.concat(list(parts.values()))


def _figures(rows: Predictions, pooled: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of one modality: per fold, over folds, and pooled."""
    of_fold: dict[str, dict[str, Any]] = {}
    for fold in sorted({fold for fold in rows.folds if fold is not None}):
        part = rows.take([row for row, number in enumerate(rows.folds) if number == fold])
        found = summarise(part.label_index, part.predicted_index, len(part.labels))
        of_fold[str(fold)] = {"war": found.war, "uar": found.uar, "n": len(part)}
    several = len(of_fold) > 1
    return {
        "folds": of_fold,
        "mean": mean_of(of_fold.values()),
        "deviation": {
            key: float(np.std([part[key] for part in of_fold.values()], ddof=1))
            if several
            else None
            for key in ("war", "uar")
        },
        "pooled": {key: pooled[key] for key in ("war", "uar")}
        | {"n": len(rows), "interval_95": pooled["interval_95"]},
    }


def _wanted(
    wanted: Sequence[int] | None, facts: Mapping[str, Any], folders: Iterable[int]
) -> Iterable[int]:
    if wanted is not None:
        return wanted
    name = facts.get("corpus_name")
    return published(name).folds if name in NAMES else folders


def _merged(facts: Mapping[int, dict[str, Any]], rows: Predictions) -> dict[str, Any]:
    """Return the facts that all folds share, and those that add up."""
    several = list(facts.values())
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for one in several for key in one):
        values = [one.get(key) for one in several]
        if key in ("fold", "counts", "seconds"):
            continue
        if all(value == values[0] for value in values):
            merged[key] = values[0]
        elif key in PROVENANCE:
            merged[key] = "; ".join(dict.fromkeys(str(value) for value in values if value))
    seconds = [one.get("seconds") for one in several]
    if all(isinstance(value, int | float) for value in seconds):
        merged["seconds"] = round(sum(seconds), 1)
    merged["folds"] = list(facts)
    merged["counts"] = {"test": len(set(rows.ids))}
    return merged


def _differences(finished: Mapping[int, Path], facts: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Return the settings in which the folds differ, by their recipes where all have one."""
    recipes = [_flat(_recipe(folder / "recipe.yaml")) for folder in finished.values()]
    if all(recipes):
        keys = dict.fromkeys(key for recipe in recipes for key in recipe)
        return [
            key
            for key in keys
            if key not in OF_NO_ACCOUNT and any(r.get(key) != recipes[0].get(key) for r in recipes)
        ]
    several = list(facts.values())
    return [key for key in COMPARED if any(one.get(key) != several[0].get(key) for one in several)]


def _recipe(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _flat(described: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(described, dict):
        return {}
    found: dict[str, Any] = {}
    for key, value in described.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return found


def _copy_pictures(out: Path, finished: Mapping[int, Path], rows: Predictions) -> None:
    """Take pictures and explanations of the surest mistakes from the folds, where they are too."""
    fold_of = dict(zip(rows.ids, rows.folds, strict=True))
    for mistake in surest_mistakes(rows):
        if (fold := fold_of[mistake["id"]]) is None:
            continue
        for name in picture_names(mistake["id"]):
            if (finished[fold] / name).is_file():
                (out / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(finished[fold] / name, out / name)
