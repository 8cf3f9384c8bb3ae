"""claip-emo prior."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

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
    ModelOption,
    OnMissingOption,
    ThreadsOption,
    WorkersOption,
    begin,
    console,
    print_json,
    printable,
)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(prior)


def prior(
    model: ModelOption,
    table: Annotated[
        str,
        typer.Option(
            "--table", help="CSV with path,label[,split,...], not trained on.", metavar="CSV"
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the corrected model.", metavar="DIR")
    ],
    modality: Annotated[
        ModalityOption,
        typer.Option("--modality", help="Correct scores of both, of faces or of voices alone."),
    ],
    war_weight: Annotated[
        float,
        typer.Option(
            "--war-weight", min=0, max=1, help="Of WAR in what is maximised; UAR has the rest."
        ),
    ] = 0.5,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Part of the table; default: every row.", metavar="PART"),
    ] = None,
    missing: OnMissingOption = MissingOption.ERROR,
    face_detector: DetectorOption = None,
    face_model: FaceModelOption = None,
    batch_size: ClipsAtOnceOption = 8,
    workers: WorkersOption = 2,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell a model how frequent each class is where it is used; labelled clips choose how much."""
    begin(threads)
    from claip_emo.evaluation.class_prior import correct
    from claip_emo.model.description import MASKS
    from claip_emo.recipe import DataRecipe

    try:
        found = correct(
            model,
            DataRecipe(root=table, missing=missing.value),
            out,
            MASKS[modality.value],
            war_weight=war_weight,
            split=split,
            face_detector=face_detector.value if face_detector else None,
            face_model=face_model,
            device=device,
            batch_size=batch_size,
            workers=workers,
        )
    except FileExistsError as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        print_json({"out": str(out), **asdict(found)})
        return
    shown = Table(box=None, header_style="bold")
    for column in ("strength", "WAR", "UAR", "worth"):
        shown.add_column(column, justify="right")
    for one in found.tried:
        row = (f"{one.strength:.1f}", *(f"{v:.4f}" for v in (one.war, one.uar, one.worth)))
        shown.add_row(*row, style="bold" if one is found.chosen else None)
    Console().print(shown)
    told = printable(f"{out}: strength {found.chosen.strength:.1f}")
    console.print(told, soft_wrap=True, markup=False, highlight=False)
