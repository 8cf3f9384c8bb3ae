"""claip-emo export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from claip_emo.cli.options import ModelOption, begin, console, printable


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(export)


def export(
    model: ModelOption,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the exported model.", metavar="DIR")
    ],
    half: Annotated[
        bool,
        typer.Option("--half", help="Weights in half precision: half the size, loaded as before."),
    ] = False,
    card: Annotated[
        Path | None,
        typer.Option("--card", help="Its README.md.", metavar="FILE", exists=True, dir_okay=False),
    ] = None,
    licence: Annotated[
        Path | None,
        typer.Option("--licence", help="Its LICENSE.", metavar="FILE", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Write a trained model in another form."""
    begin()
    if not half:
        raise typer.BadParameter("Say what it is to become: --half.")
    from claip_emo.model.packaged import halve

    try:
        folder = halve(model, out, card=card, licence=licence)
    except FileExistsError as error:
        raise typer.BadParameter(str(error)) from error
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    told = printable(f"{folder}: {size / 1e6:,.1f} MB")
    console.print(told, soft_wrap=True, markup=False, highlight=False)
