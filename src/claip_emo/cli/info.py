"""claip-emo info."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from claip_emo.cli.options import JsonOption, begin


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(info)


def info(
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="A backbone, built without weights.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="A checkpoint.", metavar="DIR")
    ] = None,
    adaptation: Annotated[
        str, typer.Option("--adaptation", help="lora, frozen or full (with --backbone).")
    ] = "lora",
    as_json: JsonOption = False,
) -> None:
    """Say how large a model is, what of it is trained, and what it wants to see."""
    begin()
    if (backbone is None) == (model is None):
        raise typer.BadParameter("Give either --backbone NAME or --model DIR.")
    from claip_emo.model.describe import describe_backbone, describe_checkpoint

    found = describe_backbone(backbone, adaptation) if backbone else describe_checkpoint(model)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    table = Table(box=None, show_header=False)
    parameters = found["parameters"]
    table.add_row("backbone", found["backbone"])
    table.add_row("labels", ", ".join(found["labels"]))
    table.add_row("parameters", f"{parameters['total']:,}")
    table.add_row("trained", f"{parameters['trainable']:,} ({parameters['share']:.2%})")
    for part, count in parameters["parts"].items():
        table.add_row(f"  {part}", f"{count:,}")
    for key, value in found["input"].items():
        table.add_row(key, str(value))
    Console().print(table)
