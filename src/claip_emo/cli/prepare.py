"""claip-emo prepare."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claip_emo.cli.options import (
    BackboneOption,
    DataOption,
    JsonOption,
    SeedOption,
    SetOption,
    begin,
    changed,
    console,
    overrides_of,
    print_json,
    printable,
)

SHOWN = 10  # clips that cannot be read; --json names all

if TYPE_CHECKING:
    from claip_emo.corpora.base import Sample
    from claip_emo.data.prepare import Prepared
    from claip_emo.recipe import Recipe


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(prepare)


def prepare(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name or YAML file: dfew, mafw, csv, ...")
    ],
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="Folder of prepared clips (data.cache).", metavar="DIR"),
    ] = None,
    data: DataOption = None,
    backbone: BackboneOption = None,
    changes: SetOption = None,
    folds: Annotated[
        str | None,
        typer.Option("--folds", help="all, or numbers such as 1,3; default: the recipe's."),
    ] = None,
    seed: SeedOption = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes; default: one per core.", metavar="N"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Decode every clip and cut out its face once, for all the epochs and runs to come.

    Run again, it goes on where it was. Exit code 1 where clips cannot be read.
    """
    begin()
    from claip_emo.recipe_files import load_recipe

    overrides = overrides_of(changes, data=data, backbone=backbone, seed=seed)
    described = load_recipe(recipe, changed(overrides, {"data.cache": cache}))
    folder = described.data.cache_folder
    if folder is None:
        hint = f" (./{cache}, if it is called so)" if cache else ""
        raise typer.BadParameter(f"Name the folder of prepared clips with --cache DIR{hint}.")
    from claip_emo.data.prepare import prepare as prepare_clips
    from claip_emo.data.wanted import recipe_cache
    from claip_emo.evaluation.intake import rated_task
    from claip_emo.evaluation.run import progress_bar

    with progress_bar(console) as bar:
        done = prepare_clips(
            recipe_cache(described, folder),
            _samples(described, folds),
            workers=workers,
            looking=rated_task(bar, "Looking at clips"),
            progress=rated_task(bar, "Preparing clips"),
        )
    _show(done, folder, as_json)
    if done.failed:
        raise typer.Exit(1)


def _samples(recipe: Recipe, folds: str | None) -> list[Sample]:
    """Return the clips of some folds, each once."""
    from claip_emo.corpora.load import load_corpus
    from claip_emo.training.folds import chosen_folds

    recipes = [recipe.of_fold(fold) for fold in chosen_folds(recipe, folds)] if folds else [recipe]
    corpora = [load_corpus(r.data, seed=r.train.seed, validation=False) for r in recipes]
    return list({sample.id: sample for corpus in corpora for sample in corpus}.values())


def _show(done: Prepared, folder: Path, as_json: bool) -> None:
    rate = done.made / done.seconds
    if as_json:
        print_json(
            {
                "cache": str(folder),
                "clips": done.clips,
                "prepared": done.made,
                "failed": done.failed,
                "bytes": done.nbytes,
                "seconds": round(done.seconds, 2),
                "clips_per_s": round(rate, 2),
            }
        )
        return
    console.print(
        f"{done.clips:,} clips, of which {done.made:,} were prepared now: "
        f"{done.nbytes / 1e6:,.1f} MB in {done.seconds:.1f} s, {rate:.1f} clips/s"
    )
    if done.failed:
        console.print(f"[bold red]{len(done.failed):,} cannot be read:[/]")
        for name in sorted(done.failed)[:SHOWN]:
            told = printable(f"  {name}: {done.failed[name]}")
            console.print(told, markup=False, highlight=False, soft_wrap=True)
        if (more := len(done.failed) - SHOWN) > 0:
            console.print(f"  and {more:,} more (--json has them)")
    console.print(f"Cache: {folder}", soft_wrap=True)
    setting = shlex.quote(f"data.cache={folder}")
    hint = printable(f"Read it with: claip-emo train ... --set {setting}")
    console.print(hint, soft_wrap=True, markup=False, highlight=False)
