"""claip-emo ablate."""

from __future__ import annotations

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from claip_emo.cli.options import (
    BackboneOption,
    DataOption,
    DeviceOption,
    JsonOption,
    SeedOption,
    SetOption,
    ThreadsOption,
    begin,
    console,
    overrides_of,
)


class DesignOption(StrEnum):
    """Which cells there are."""

    ONE_AT_A_TIME = "one-at-a-time"
    GRID = "grid"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(ablate)


def ablate(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file: demo, dfew, ...")],
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[AXIS=V1,V2]...", help="Further axes, as after --over."),
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            "--over",
            metavar="AXIS=V1,V2 ...",
            help="What is varied: adaptation, rank, temporal, fusion, modality, backbone, seed, or "
            "any key of the recipe such as train.learning_rate. Further axes follow, or --over "
            "stands again.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of all the cells.", metavar="DIR")
    ] = None,
    design: Annotated[
        DesignOption,
        typer.Option("--design", help="One axis at a time around the recipe, or all combinations."),
    ] = DesignOption.ONE_AT_A_TIME,
    data: DataOption = None,
    backbone: BackboneOption = None,
    changes: SetOption = None,
    seed: SeedOption = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", help="Train every cell with each, such as 0,1,2.", metavar="N,N"),
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which cells there are, and train none.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Vary a recipe: a run for each cell, one table, one figure. Run again, it goes on."""
    begin(threads)
    from claip_emo.training.cells import parse_axes, plan_ablation

    overrides = overrides_of(changes, data=data, backbone=backbone, seed=seed)
    ablation = plan_ablation(
        recipe,
        parse_axes([*(over or []), *(more or [])]),
        changes=overrides,
        design=design.value,
        seeds=_numbers(seeds),
    )
    if dry_run:
        _plan(ablation, as_json)
        return
    if out is None:
        raise typer.BadParameter("Name the folder of the cells with --out DIR.")
    from claip_emo.training.ablate import ablate as run

    command = shlex.join(["claip-emo", *sys.argv[1:]])
    done = run(ablation, out, device=device, command=command, console=console)
    _show(done, out, as_json)
    if done["errors"]:
        raise typer.Exit(1)


def _numbers(text: str | None) -> list[int]:
    words = [word.strip() for word in text.split(",")] if text is not None else []
    if not all(word.isascii() and word.isdigit() for word in words):
        raise typer.BadParameter(f"--seeds takes numbers such as 0,1,2, not {text!r}.")
    return [int(word) for word in words]


def _plan(ablation: Any, as_json: bool) -> None:
    """Say which cells there are, and which combinations each stands for."""
    if as_json:
        cells = [
            {"cell": c.slug, "values": c.values, "stands_for": list(c.stands_for)}
            for c in ablation.cells
        ]
        found = {"cells": cells, "seeds": list(ablation.seeds), "reference": ablation.reference}
        print(json.dumps(found, ensure_ascii=False))
        return
    table = Table(box=None, header_style="bold")
    table.add_column("cell", no_wrap=True)
    for axis in ablation.axes:
        table.add_column(axis.name, overflow="fold")
    several = any(len(cell.stands_for) > 1 for cell in ablation.cells)
    if several:
        table.add_column("stands for", no_wrap=True)
    for cell in ablation.cells:
        values = ["–" if value is None else value for value in cell.values.values()]
        also = f"{len(cell.stands_for)} combinations" if len(cell.stands_for) > 1 else ""
        table.add_row(cell.slug, *values, *([also] if several else []))
    seeds = f", {len(ablation.seeds)} seeds each" if len(ablation.seeds) > 1 else ""
    console.print(f"{len(ablation.cells)} cells{seeds}")
    Console().print(table)


def _show(done: dict[str, Any], out: Path, as_json: bool) -> None:
    """Print the rows, and where the page is."""
    from claip_emo.evaluation import processes

    if not processes.is_first():
        return
    if as_json:
        print(json.dumps(done, ensure_ascii=False))
    else:
        console.print(_table(done["rows"]))
    console.print(f"Table:  {out / 'ablation.csv'}", soft_wrap=True)
    console.print(f"Report: {out / 'report.html'}", soft_wrap=True)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("cell", overflow="fold")
    for column in ("WAR", "UAR", "WAR against base", "trained"):
        table.add_column(column, justify="right")
    for row in rows:
        if row["war"] is None:
            table.add_row(row["cell"], f"[red]{'error' if row['error'] else ''}[/]")
            continue
        gain = ""
        if row["war_gain"] is not None:
            low, high = 100 * row["war_gain_low"], 100 * row["war_gain_high"]
            gain = f"{100 * row['war_gain']:+.1f} ({low:+.1f} to {high:+.1f})"
        scores = (f"{row['war']:.4f}", f"{row['uar']:.4f}", gain, f"{row['trainable']:,}")
        table.add_row(row["cell"], *scores)
    return table
