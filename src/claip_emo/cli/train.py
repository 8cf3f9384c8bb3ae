"""claip-emo train."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from claip_emo.cli.options import (
    BackboneOption,
    DataOption,
    DeviceOption,
    ExplainOption,
    JsonOption,
    SeedOption,
    SetOption,
    ThreadsOption,
    begin,
    console,
    overrides_of,
)

PROBLEMS_SHOWN = 4  # of a dry run

if TYPE_CHECKING:
    from claip_emo.recipe import Recipe


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(train)


def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name or YAML file: demo, csv, csv-tiny, ...")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run.", metavar="DIR")
    ] = None,
    data: DataOption = None,
    backbone: BackboneOption = None,
    changes: SetOption = None,
    init: Annotated[
        str | None,
        typer.Option("--init", help="Checkpoint to start the weights from.", metavar="DIR"),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option("--folds", help="all, or numbers such as 1,3: a run each, then one table."),
    ] = None,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    explain: ExplainOption = 0,
    threads: ThreadsOption = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be done: data, sizes, steps, memory."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train by a recipe, test, and write a report. Run again, it goes on where it was."""
    begin(threads)
    from claip_emo.recipe_files import load_recipe

    overrides = overrides_of(changes, data=data, backbone=backbone, seed=seed)
    described = load_recipe(recipe, overrides)
    if dry_run:
        _plan(described, folds, device, as_json)
        return
    if out is None:
        raise typer.BadParameter("Name the folder of the run with --out DIR.")
    command = shlex.join(["claip-emo", *sys.argv[1:]])
    options = {
        "init": init, "device": device, "explain": explain, "command": command, "console": console,
    }  # fmt: skip
    if folds is None:
        from claip_emo.training.fit import train as fit

        figures = fit(described, out, **options).metrics
    else:
        from claip_emo.training.folds import chosen_folds, train_folds

        figures = train_folds(described, chosen_folds(described, folds), out, **options)
    _show(figures, out, as_json)


def _plan(recipe: Recipe, folds: str | None, device: str, as_json: bool) -> None:
    from claip_emo.training.folds import chosen_folds
    from claip_emo.training.plan import plan

    found = plan(recipe, chosen_folds(recipe, folds) if folds else (), device)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    import yaml

    print(yaml.safe_dump(found["recipe"], sort_keys=False, allow_unicode=True))
    Console().print(plan_table(found))


def _show(figures: dict[str, Any], out: Path, as_json: bool) -> None:
    """Say how good it is, and where the page and the weights are."""
    from claip_emo.evaluation import processes

    if not processes.is_first():
        return
    if as_json:
        print(json.dumps(figures, ensure_ascii=False))
        return
    if "folds" in figures:
        for fold, row in figures["folds"].items():
            console.print(f"Fold {fold}: WAR {row['war']:.4f}, UAR {row['uar']:.4f}")
        mean, pooled = figures["mean"], figures["pooled"]
        console.print(
            f"Mean over folds: WAR [bold]{mean['war']:.4f}[/], UAR [bold]{mean['uar']:.4f}[/]; "
            f"pooled over {pooled['n']} clips: WAR {pooled['war']:.4f}, UAR {pooled['uar']:.4f}",
            soft_wrap=True,
        )
    elif figures:
        low, high = figures["interval_95"]["uar"]
        console.print(
            f"Test: WAR [bold]{figures['war']:.4f}[/], UAR [bold]{figures['uar']:.4f}[/] "
            f"(95 % interval {low:.4f} to {high:.4f}, {figures['n']} clips)"
        )
    if figures:
        console.print(f"Report: {out / 'report.html'}", soft_wrap=True)
    if "folds" not in figures:
        console.print(f"Model:  {out / 'model'}", soft_wrap=True)


def plan_table(found: dict[str, Any]) -> Table:
    """Return what a dry run found, as a table."""
    table = Table(box=None, show_header=False)
    for problem in found["problems"][:PROBLEMS_SHOWN]:
        table.add_row("[red]problem[/]", Text(problem))
    if (more := len(found["problems"]) - PROBLEMS_SHOWN) > 0:
        table.add_row("", f"and {more:,} more (--json has them)")
    for fold, parts in found["data"].items():
        for part, counts in parts.items():
            classes = ", ".join(f"{name} {n}" for name, n in counts["per_class"].items())
            table.add_row(f"fold {fold}, {part}", f"{counts['n']:,} clips: {classes}")
    parameters = found["parameters"]
    trained = f"{parameters['trainable']:,} ({parameters['share']:.2%})"
    table.add_row("parameters", f"{parameters['total']:,}, of which trained: {trained}")
    for part, count in parameters["parts"].items():
        table.add_row(f"  {part}", f"{count:,}")
    for source, files in found["weights_missing"].items():
        table.add_row("weights", f"[yellow]{source} is not on this machine[/]: {', '.join(files)}")
    steps, epochs = found["steps_per_epoch"], found["recipe"]["train"]["epochs"]
    counted = "not known without the clips"
    if steps:
        counted = f"{steps:,} per epoch of {found['batch']} clips, {found['steps']:,} in all"
    table.add_row("steps", counted)
    rates = found["learning_rates"]
    rule = f"peak {rates['peak']:.3g} (the paper's rule for this batch: {rates['paper']:.3g})"
    warm = round(found["recipe"]["train"]["warmup_epochs"]) - 1
    shown = sorted({0, max(0, warm), epochs // 2, epochs - 1}) if steps else []
    by_epoch = [f"epoch {epoch + 1}: {rates['by_epoch'][epoch]:.3g}" for epoch in shown]
    table.add_row("learning rate", "; ".join([rule, *([", ".join(by_epoch)] if by_epoch else [])]))
    memory = found["memory_gib"]
    parts = ", ".join(f"{name} {size:g}" for name, size in memory.items() if name != "total")
    table.add_row("memory of a step", f"about {memory['total']:g} GiB ({parts})")
    table.add_row("precision", found["precision"])
    table.add_row("features of the towers", found["features"])
    return table
