"""Ablations: a run for each cell, then one table and one figure."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

import claip_emo
from claip_emo.corpora.base import CorpusError
from claip_emo.evaluation import processes
from claip_emo.evaluation.ablation import summarise_ablation
from claip_emo.evaluation.ablation_table import PLAN, ablation_rows
from claip_emo.evaluation.run import commit
from claip_emo.evaluation.wording import duration
from claip_emo.recipe import Recipe
from claip_emo.recipe_files import RecipeError, parse_recipe
from claip_emo.training.cells import Ablation, Cell, as_text, value_of
from claip_emo.training.fit import train
from claip_emo.training.folds import finished
from claip_emo.whole_files import write_text


@dataclass(frozen=True, slots=True)
class _Run:
    """One training: a cell with a seed."""

    cell: Cell
    recipe: Recipe
    folder: str
    done: bool = field(default=False, compare=False)


def ablate(
    ablation: Ablation,
    out: Path,
    *,
    device: str = "auto",
    command: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train and test every cell in a folder of its own in ``OUT``, then write the table.

    A finished run is not done again and an interrupted one goes on. A run that fails is a row with
    its error, and the others go on. The table is written after every run, so that one can look.

    Args:
        ablation: the cells.
        out: folder of all of them.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        command: what was typed, for the report.
        console: where progress is shown; None: stderr.

    Returns:
        ``rows`` (as in ``OUT/ablation.csv``) and ``errors`` (folder -> what went wrong).

    Raises:
        CorpusError: if the corpus cannot be used, unless it is varied itself.
        RecipeError: if the folder holds runs of another recipe.
        Interrupted: after Ctrl-C, when the state has been saved.
    """
    processes.join(device)
    shown = processes.speaking(console)
    runs = _runs(ablation, out)
    waiting = [run for run in runs if not run.done]
    shown.print(_announce(ablation, runs), soft_wrap=True)
    described = _described(ablation, runs, command)
    errors: dict[str, str] = {}
    corpus_varies = any(axis.key.startswith("data.") for axis in ablation.axes)
    took: list[float] = []
    for number, run in enumerate(waiting, start=1):
        left = sum(took) / max(1, len(took)) * (len(waiting) - len(took))
        hint = f", about {duration(round(left))} left" if took else ""
        shown.print(f"[bold]{run.folder}[/] ({number} of {len(waiting)}{hint})", soft_wrap=True)
        begun = time.monotonic()
        try:
            train(run.recipe, out / run.folder, device=device, command=command, console=console)
        except RecipeError:
            raise
        except (ValueError, RuntimeError, OSError) as error:
            if isinstance(error, CorpusError) and not corpus_varies:
                raise
            errors[run.folder] = str(error) or type(error).__name__
            shown.print(f"[red]{run.folder} failed:[/] ", end="")
            shown.print(errors[run.folder], markup=False, soft_wrap=True)
        took.append(time.monotonic() - begun)
        _write(out, described | {"errors": errors})
    if not waiting:
        _write(out, described | {"errors": errors})
    processes.wait()
    return {"rows": ablation_rows(out), "errors": errors}


def _runs(ablation: Ablation, out: Path) -> list[_Run]:
    """Return every run, seed by seed: the whole table is there before a cell is done again."""
    runs = []
    for seed in ablation.seeds:
        for cell in ablation.cells:
            described = cell.recipe.model_dump(mode="json")
            folder = cell.slug
            if seed != cell.recipe.train.seed and ablation.seeds != (ablation.base.train.seed,):
                described["train"]["seed"] = seed
                folder = f"{cell.slug}_seed-{seed}"
            if described["data"]["corpus"] == "synthetic":
                described["data"]["root"] = _made_at(ablation, described, out, folder)
            recipe = parse_recipe(described)
            runs.append(_Run(cell, recipe, folder, finished(out / folder, recipe)))
    return runs


def _made_at(ablation: Ablation, described: dict[str, Any], out: Path, folder: str) -> str:
    """Return the folder of made clips: one for all the cells that have the same clips.

    Another seed, or another size of the corpus, makes others: in one folder, each run would make
    them anew.
    """
    base = ablation.base
    root, seed = described["data"]["root"] or str(out / "clips"), described["train"]["seed"]
    if described["data"]["synthetic"] != base.data.synthetic:
        return str(out / folder / "clips")
    return root if seed == base.train.seed else f"{root}-seed-{seed}"


def _announce(ablation: Ablation, runs: Sequence[_Run]) -> str:
    """Say how much is going to be done, before it begins."""
    count, asked = len(ablation.cells), ablation.combinations
    text = f"{count} cells"
    if asked > count:
        text += f" ({asked} combinations: {asked - count} mean the same as another)"
    if len(ablation.seeds) > 1:
        text += f", {len(ablation.seeds)} seeds each: {len(runs)} runs"
    done = sum(run.done for run in runs)
    return f"{text}; {done} done already, {len(runs) - done} to do."


def _described(ablation: Ablation, runs: Sequence[_Run], command: str | None) -> dict[str, Any]:
    """Return what the table is made from, beside the folders of the runs."""
    base = ablation.base.model_dump(mode="json")
    return {
        "title": ablation.base.name,
        "note": ablation.base.note,
        "selection": ablation.base.protocol.selection,
        "metric": ablation.base.protocol.selection_metric,
        "design": ablation.design,
        "axes": [
            {
                "name": axis.name,
                "key": axis.key,
                "values": list(ablation.values[axis.name]),
                "base": as_text(value_of(base, axis.key)),
            }
            for axis in ablation.axes
        ],
        "lora_alpha": ablation.base.model.lora.alpha,
        "reference": ablation.reference,
        "combinations": ablation.combinations,
        "cells": [
            {
                "slug": cell.slug,
                "values": cell.values,
                "stands_for": list(cell.stands_for),
                "runs": [
                    {"folder": run.folder, "seed": run.recipe.train.seed}
                    for run in runs
                    if run.cell.slug == cell.slug
                ],
            }
            for cell in ablation.cells
        ],
        "command": command,
        "commit": commit(),
        "version": claip_emo.__version__,
    }


def _write(out: Path, described: dict[str, Any]) -> None:
    if not processes.is_first():
        return
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / PLAN, json.dumps(described, indent=2, ensure_ascii=False) + "\n")
    summarise_ablation(out)
