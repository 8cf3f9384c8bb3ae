"""claip-emo evaluate."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from claip_emo.cli.options import (
    DetectorOption,
    DeviceOption,
    FaceModelOption,
    JsonOption,
    ModelOption,
    ThreadsOption,
    begin,
    console,
)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(evaluate)


def evaluate(
    model: ModelOption,
    table: Annotated[
        Path, typer.Option("--table", help="CSV with path,label[,split,...].", metavar="CSV")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.", metavar="DIR")],
    split: Annotated[
        str | None,
        typer.Option(
            "--split", help="train, validation or test; default: every row.", metavar="PART"
        ),
    ] = None,
    face_detector: DetectorOption = None,
    face_model: FaceModelOption = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 8,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Decoding processes.")] = 2,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a model on a labelled table: WAR, UAR, confusion, calibration, and a report."""
    begin(threads)
    from claip_emo.evaluation.evaluate import evaluate_table

    figures = evaluate_table(
        model,
        table,
        out,
        split=split,
        face_detector=face_detector.value if face_detector else None,
        face_model=face_model,
        batch_size=batch_size,
        workers=workers,
        device=device,
        command=shlex.join(["claip-emo", *sys.argv[1:]]),
        console=console,
    )
    if as_json:
        print(json.dumps(figures))
        return
    low, high = figures["interval_95"]["uar"]
    console.print(
        f"WAR [bold]{figures['war']:.4f}[/], UAR [bold]{figures['uar']:.4f}[/] "
        f"(95 % interval {low:.4f} to {high:.4f}, {figures['n']} clips)"
    )
    console.print(f"Report: {out / 'report.html'}", soft_wrap=True)
