"""Several folds of a corpus: a run for each, then one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from claip_emo.corpora.load import folds_of
from claip_emo.evaluation import processes
from claip_emo.evaluation.folds import summarise_folds
from claip_emo.recipe import Recipe
from claip_emo.recipe_files import RecipeError
from claip_emo.training.fit import RECIPE, train

FINISHED = ("predictions.parquet", "metrics.json", "run.json", "report.html")
"""What a run writes in the end, the page last: with all of an equal recipe a fold is done."""


def chosen_folds(recipe: Recipe, wanted: str) -> list[int]:
    """Return the folds that ``all`` or ``1,3`` names.

    Raises:
        RecipeError: if the corpus has no folds, or one is named that it does not have.
    """
    there = folds_of(recipe.data)
    if not there:
        raise RecipeError(
            "There are no folds: a table needs a `fold` column, and made clips have none."
        )
    if wanted.strip() == "all":
        return there
    words = [word.strip() for word in wanted.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words):
        raise RecipeError(f"--folds takes `all` or numbers such as 1,3, not {wanted!r}.")
    if unknown := sorted({int(word) for word in words} - set(there)):
        lost, known = ", ".join(map(str, unknown)), ", ".join(map(str, there))
        raise RecipeError(f"There is no fold {lost}; folds are {known}.")
    return sorted({int(word) for word in words})


def train_folds(
    recipe: Recipe,
    folds: Sequence[int],
    out: Path,
    *,
    init: Path | str | None = None,
    device: str = "auto",
    explain: int = 0,
    command: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train and test every fold in ``OUT/fold-K`` and sum them up in ``OUT``.

    A finished fold is not done again and an interrupted one goes on. Folds that were trained
    before, and are not among ``folds``, count in the summary too.

    Args:
        recipe: what is trained; its own fold is of no account.
        folds: which, as ``chosen_folds`` returns them.
        out: folder of all of them.
        init: a checkpoint to start the weights from.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        explain: how many of each fold's surest mistakes the reports explain.
        command: what was typed, for the report.
        console: where progress is shown; None: stderr.

    Returns:
        The content of ``OUT/folds.json``.

    Raises:
        CorpusError, RecipeError, NonFiniteLossError, Interrupted: as ``fit.train`` does.
    """
    processes.join(device)
    shown = processes.speaking(console)
    for number, fold in enumerate(folds, start=1):
        folder, own = out / f"fold-{fold}", recipe.of_fold(fold)
        done = finished(folder, own)
        said = "finished already" if done else f"{number} of {len(folds)}"
        shown.print(f"[bold]Fold {fold}[/] ({said})", soft_wrap=True)
        if not done:
            train(
                own, folder, init=init, device=device, explain=explain, command=command,
                console=console,
            )  # fmt: skip
    if processes.is_first():
        summarise_folds(out, wanted=folds_of(recipe.data))
    processes.wait()
    summary: dict[str, Any] = json.loads((out / "folds.json").read_text("utf-8"))
    return summary


def finished(folder: Path, recipe: Recipe) -> bool:
    """Say whether a folder holds a tested run of just this recipe."""
    try:
        former = yaml.safe_load((folder / RECIPE).read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    same = former == yaml.safe_load(recipe.to_yaml())
    return same and all((folder / name).is_file() for name in FINISHED)
