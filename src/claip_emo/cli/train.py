"""claip-emo train."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from claip_emo.cli.options import DeviceOption, SetOption, ThreadsOption, begin, console


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(train)


def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name or YAML file: demo, csv, csv-tiny, ...")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.", metavar="DIR")],
    data: Annotated[
        str | None, typer.Option("--data", help="The CSV or folder (data.root).", metavar="PATH")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="vit-b32, vit-b16, vit-l14, tiny, ...", metavar="NAME"),
    ] = None,
    changes: SetOption = None,
    init: Annotated[
        str | None,
        typer.Option("--init", help="Checkpoint to start the weights from.", metavar="DIR"),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of every draw.")] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Train by a recipe, test, and write a report. Run again, it goes on where it was."""
    begin(threads)
    from claip_emo.recipe import load_recipe
    from claip_emo.training.fit import train as fit

    overrides = list(changes or [])
    if data is not None:
        overrides.append(f"data.root={data}")
    if backbone is not None:
        overrides.append(f"model.backbone={backbone}")
    if seed is not None:
        overrides.append(f"train.seed={seed}")
    described = load_recipe(recipe, overrides)
    command = shlex.join(["claip-emo", *sys.argv[1:]])
    run = fit(described, out, init=init, device=device, command=command, console=console)
    if run.metrics:
        low, high = run.metrics["interval_95"]["uar"]
        console.print(
            f"Test: WAR [bold]{run.metrics['war']:.4f}[/], UAR [bold]{run.metrics['uar']:.4f}[/] "
            f"(95 % interval {low:.4f} to {high:.4f}, {run.metrics['n']} clips)"
        )
        console.print(f"Report: {run.out / 'report.html'}", soft_wrap=True)
    console.print(f"Model:  {run.out / 'model'}", soft_wrap=True)
