"""claip-emo export."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from claip_emo.cli.options import ModelOption, begin, console, printable


class Format(StrEnum):
    """What a checkpoint becomes."""

    CHECKPOINT = "checkpoint"
    MERGED = "merged"
    ONNX = "onnx"


class ExportPrecision(StrEnum):
    """In which number format the towers of an ONNX model compute."""

    FP32 = "fp32"
    INT8 = "int8"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(export)


def export(
    model: ModelOption,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the exported model.", metavar="DIR")
    ],
    to: Annotated[
        Format,
        typer.Option(
            "--format",
            help="onnx: files that need no torch. merged: LoRA folded into the weights. "
            "checkpoint: a copy (--half).",
        ),
    ] = Format.CHECKPOINT,
    precision: Annotated[
        ExportPrecision | None,
        typer.Option("--precision", help="Numbers of the towers (with --format onnx)."),
    ] = None,
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
    if to is not Format.ONNX and precision:
        raise typer.BadParameter("--precision is for --format onnx.")
    if to is not Format.CHECKPOINT and (half or card or licence):
        raise typer.BadParameter("--half, --card and --licence are for --format checkpoint.")
    if to is Format.CHECKPOINT and not half:
        raise typer.BadParameter("Say what it is to become: --format onnx or merged, or --half.")
    try:
        with console.status("Exporting") as status:
            if to is Format.ONNX:
                from claip_emo.inference.export import export_onnx

                chosen = (precision or ExportPrecision.FP32).value
                folder = export_onnx(model, out, precision=chosen, say=status.update)
            elif to is Format.MERGED:
                from claip_emo.model.packaged import merge

                folder = merge(model, out)
            else:
                from claip_emo.model.packaged import halve

                folder = halve(model, out, card=card, licence=licence)
    except FileExistsError as error:
        raise typer.BadParameter(str(error)) from error
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    told = printable(f"{folder}: {size / 1e6:,.1f} MB")
    console.print(told, soft_wrap=True, markup=False, highlight=False)
