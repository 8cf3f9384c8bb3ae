"""claip-emo predict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from claip_emo.cli.options import (
    DetectorOption,
    DeviceOption,
    FaceModelOption,
    JsonOption,
    ModalityOption,
    ModelOption,
    ThreadsOption,
    begin,
    console,
)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(predict)


def predict(
    files: Annotated[
        list[Path], typer.Argument(help="Videos, sounds, folders of frames or of media files.")
    ],
    model: ModelOption,
    as_json: JsonOption = False,
    modality: Annotated[
        ModalityOption, typer.Option("--modality", help="Use face and voice, or one of them.")
    ] = ModalityOption.AV,
    face_detector: DetectorOption = None,
    face_model: FaceModelOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Say which emotion each file shows. A bad file is a row with its error; exit code 1 then."""
    begin(threads)
    from rich.progress import track

    from claip_emo.inference.inputs import expand
    from claip_emo.inference.recognizer import EmotionRecognizer

    recognizer = EmotionRecognizer.from_pretrained(
        model,
        device=device,
        face_detector=face_detector.value if face_detector else None,
        face_model=face_model,
    )
    paths = expand(files)
    rows = recognizer.many(paths, modality=modality.value)
    results = []
    for result in track(
        rows, "Recognising", total=len(paths), console=console, transient=True,
        disable=len(paths) < 2,
    ):  # fmt: skip
        results.append(result)
        if as_json:
            print(json.dumps(result.to_dict(), ensure_ascii=False), flush=True)
    if not as_json:
        _show(results)
    if any(result.error for result in results):
        raise typer.Exit(1)


def _show(results: list) -> None:
    table = Table(box=None, header_style="bold")
    for column in ("file", "emotion", "score", "next", "used", "face", "remarks"):
        table.add_column(column, overflow="fold")
    for result in results:
        if result.error:
            table.add_row(result.path, "[red]error[/]", "", "", "", "", result.error)
            continue
        ranked = sorted(result.scores.items(), key=lambda item: -item[1])
        second = f"{ranked[1][0]} {ranked[1][1]:.2f}" if len(ranked) > 1 else ""
        face = "" if result.face_rate is None else f"{result.face_rate:.0%}"
        table.add_row(
            result.path,
            f"[bold]{result.label}[/]",
            f"{ranked[0][1]:.2f}",
            second,
            " + ".join(result.modalities),
            face,
            "; ".join(result.warnings),
        )
    Console().print(table)
