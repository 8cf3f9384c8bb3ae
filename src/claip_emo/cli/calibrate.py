"""claip-emo calibrate."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from claip_emo.cli.options import (
    ClipsAtOnceOption,
    DetectorOption,
    DeviceOption,
    FaceModelOption,
    JsonOption,
    MissingOption,
    ModalityOption,
    OnMissingOption,
    PredictingModelOption,
    ThreadsOption,
    WorkersOption,
    begin,
    console,
    print_json,
    printable,
)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(calibrate)


def calibrate(
    table: Annotated[
        str,
        typer.Option(
            "--table", help="CSV with path,label[,split,speaker], not trained on.", metavar="CSV"
        ),
    ],
    model: PredictingModelOption = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Part of the table to fit on; default: all.", metavar="PART"),
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            "--held-out",
            help="Another table, or part of this one, to judge on; default: cross-fitting, by "
            "speaker (or group) where every clip names one.",
            metavar="CSV|PART",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Write a calibrated copy; default: into the checkpoint.", metavar="DIR"
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", help="Folder of the report; default: RUN/calibration.", metavar="DIR"
        ),
    ] = None,
    modality: Annotated[
        list[ModalityOption] | None,
        typer.Option(
            "--modality",
            help="Fit scores of both, of faces or of voices only; may stand often; default: all.",
        ),
    ] = None,
    abstain_target: Annotated[
        float,
        typer.Option(
            "--abstain-target",
            min=0,
            max=1,
            help="How many of the answers are to be right: where predict --abstain auto begins.",
            metavar="SHARE",
        ),
    ] = 0.9,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of folds and intervals.")] = 0,
    missing: OnMissingOption = MissingOption.ERROR,
    face_detector: DetectorOption = None,
    face_model: FaceModelOption = None,
    batch_size: ClipsAtOnceOption = 8,
    workers: WorkersOption = 2,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit how sure a model may be, and below which score it had better not answer.

    Temperatures for both and each alone go into the checkpoint; the report is of clips held out.
    """
    begin(threads)
    from claip_emo.evaluation.calibrate import calibrate as fit_and_store
    from claip_emo.model.description import MASKS
    from claip_emo.recipe import DataRecipe

    try:
        found = fit_and_store(
            model,
            DataRecipe(root=table, missing=missing.value),
            split=split,
            held_out=held_out,
            modalities=[MASKS[one.value] for one in modality] if modality else None,
            abstain_target=abstain_target,
            out=out,
            report=report,
            seed=seed,
            face_detector=face_detector.value if face_detector else None,
            face_model=face_model,
            device=device,
            batch_size=batch_size,
            workers=workers,
            command=shlex.join(["claip-emo", *sys.argv[1:]]),
        )
    except FileExistsError as error:
        raise typer.BadParameter(str(error)) from error
    if not found:  # the first of several processes has it
        return
    if as_json:
        print_json(found)
        return
    Console().print(_table(found["modalities"]))
    told = printable(f"Report: {found['report']}")
    console.print(told, soft_wrap=True, markup=False, highlight=False)


def _table(parts: dict[str, Any]) -> Table:
    """Return a row for each modality: what is stored, and what it changed where it was judged."""
    shown = Table(box=None, header_style="bold")
    columns = ("temperature", "calibration error", "below", "answered", "right")
    shown.add_column("used")
    for column in columns:
        shown.add_column(column, justify="right")
    for there, part in parts.items():
        temperature, below = part["temperature"], part["abstain_below"]
        row = [f"{temperature['before']:g} -> {temperature['after']:g}", "", "", "", ""]
        row[2] = "none" if below is None else f"{below:.2f}"
        if "after" in part:
            errors = [part[side]["calibration_error"]["value"] for side in ("before", "after")]
            answers = part["after"]["answers"]
            row[1] = " -> ".join(f"{error:.3f}" for error in errors)
            row[3] = f"{answers['share']:.0%}"
            row[4] = f"{answers['accuracy']:.1%}" if answers["answered"] else ""
        shown.add_row(there, *row)
    return shown
