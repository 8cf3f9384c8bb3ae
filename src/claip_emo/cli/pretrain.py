"""claip-emo pretrain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claip_emo.cli.options import (
    JsonOption,
    SeedOption,
    SetOption,
    ThreadsOption,
    begin,
    changed,
    console,
    print_json,
)

if TYPE_CHECKING:
    from rich.progress import Progress

    from claip_emo.corpora.base import OnProgress
    from claip_emo.training.pretrain_courses import Told


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(pretrain)


def pretrain(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file: mini, ...")] = "mini",
    data: Annotated[
        str | None,
        typer.Option("--data", help="Folder of faces, votes and voices.", metavar="DIR"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the towers.", metavar="DIR")
    ] = None,
    audio_teacher: Annotated[
        Path | None,
        typer.Option(
            "--audio-teacher",
            help="Folder of a speech encoder (WhisperEncoder) that teaches the audio tower.",
            metavar="DIR",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            "--init",
            help="Folder of a former pre-training, whose towers this one begins with.",
            metavar="DIR",
        ),
    ] = None,
    changes: SetOption = None,
    seed: SeedOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Teach small towers from faces and voices with captions, for --set model.vision=OUT/vision.

    Run again, it goes on where it was.
    """
    begin(threads)
    from claip_emo.pretrain_recipe import PretrainRecipe
    from claip_emo.recipe_files import load_recipe

    overrides = changed(changes, {"data.root": data, "seed": seed})
    described = load_recipe(recipe, overrides, PretrainRecipe)
    from claip_emo.evaluation.run import progress_bar
    from claip_emo.training.pretrain import pretrain as teach

    def on_epoch(role: str, line: dict[str, Any]) -> None:
        found = line["select"]
        console.print(
            f"{role} epoch {line['epoch']}: accuracy {found['war']:.3f}, mean recall "
            f"{found['uar']:.3f}, by captions alone {found['zero_shot_war']:.3f}",
            highlight=False,
        )

    folder = out or Path("runs") / described.name
    try:
        with progress_bar(console) as bar:
            done = teach(
                described, folder, audio_teacher=audio_teacher, init=init, tell=_tasks(bar),
                on_epoch=on_epoch,
            )  # fmt: skip
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            "Interrupted. The same command goes on behind the last whole epoch."
        ) from stop
    if as_json:
        print_json({t.role: {"folder": str(t.folder), "epoch": t.epoch, **t.scores} for t in done})
        return
    for tower in done:
        console.print(f"{tower.role}: {tower.folder} (epoch {tower.epoch})", soft_wrap=True)
    towers = " ".join(f"--set model.{tower.role}={tower.folder}" for tower in done)
    console.print(f"Train with them: claip-emo train ... {towers}", soft_wrap=True, markup=False)


def _tasks(bar: Progress) -> Told:
    """Return what opens a task of a name and tells it (done, total); one is shown at a time."""
    task = bar.add_task("", total=None, facts="", visible=False)

    def named(description: str) -> OnProgress:
        bar.reset(task, description=description, total=None, visible=True)
        return lambda done, total: bar.update(task, completed=done, total=total)

    return named
