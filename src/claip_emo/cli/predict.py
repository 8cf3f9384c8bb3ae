"""claip-emo predict."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from claip_emo.cli.options import (
    AbstainOption,
    DetectorOption,
    DeviceOption,
    FaceModelOption,
    FacesOption,
    JsonOption,
    ModalityOption,
    Precision,
    PrecisionOption,
    PredictingModelOption,
    ThreadsOption,
    ViewsAtOnceOption,
    begin,
    console,
    importing,
    print_json,
    printable,
    use_threads,
)

if TYPE_CHECKING:
    from rich.progress import Progress

    from claip_emo.inference.result import EmotionResult
    from claip_emo.inference.timeline_run import TimelineChoices

IN_THE_BOX = "The small model that comes with claip-emo is used (--model names another)."


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(predict)


def predict(
    files: Annotated[
        list[Path],
        # What cannot be read becomes a row with its error, as anything else that is bad.
        typer.Argument(help="Videos, sounds, folders of frames or of media files.", readable=False),
    ],
    model: PredictingModelOption = None,
    as_json: JsonOption = False,
    modality: Annotated[
        ModalityOption, typer.Option("--modality", help="Use face and voice, or one of them.")
    ] = ModalityOption.AV,
    abstain: AbstainOption = None,
    face_detector: DetectorOption = None,
    face_model: FaceModelOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = Precision.AUTO,
    batch_size: ViewsAtOnceOption = 8,
    timeline: Annotated[
        bool,
        typer.Option("--timeline", help="Scores over time for each person, and segments of them."),
    ] = False,
    window: Annotated[
        float | None,
        typer.Option(
            "--window", help="Length of the timeline's windows; default: 2.0.", metavar="S"
        ),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option("--hop", help="From one window to the next; default: 0.5.", metavar="S"),
    ] = None,
    faces: Annotated[
        FacesOption | None,
        typer.Option(
            "--faces",
            help="Follow the largest face of each moment (main, the default), or everybody.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for each timeline as NAME.csv, .json, .vtt, .srt and .png.",
            metavar="DIR",
        ),
    ] = None,
    render: Annotated[
        Path | None,
        typer.Option(
            "--render",
            help="Draw the timeline on the video: out.mp4, or a folder for several files.",
            metavar="FILE",
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            "--explain",
            file_okay=False,
            help="Show what carried each label: a figure and a JSON per file, in this folder.",
            metavar="DIR",
        ),
    ] = None,
    threads: ThreadsOption = None,
) -> None:
    """Say which emotion each file shows. A bad file is a row with its error; exit code 1 then."""
    begin()
    with importing():
        from claip_emo.inference.abstention import asked_for
        from claip_emo.inference.inputs import expand
        from claip_emo.inference.reader import Reader
        from claip_emo.model.checkpoint_folder import resolve
    folder, paths = resolve(model), expand(files)
    of_timelines = {"window_s": window, "hop_s": hop, "out": out, "rendered": render}
    of_timelines |= {"faces": faces.value if faces else None}
    asked = {name: choice for name, choice in of_timelines.items() if choice is not None}
    over_time = timeline or bool(asked)  # what only a timeline has asks for one
    choices = _choices(paths, asked | {"modality": modality.value}) if over_time else None
    if over_time and explain is not None:
        raise typer.BadParameter("--explain shows single answers: leave --timeline out.")
    if explain is not None:
        from claip_emo.inference.explain import check_out

        _checked(lambda: check_out(paths, explain), "--explain")
    reader = Reader.of_checkpoint(
        folder,
        face_detector=face_detector.value if face_detector else None,
        face_model=face_model,
    )
    failed, shown = False, []
    with closing(reader):
        if len(paths) == 1 and choices is None:
            reader.begin(paths[0], modality.value)  # while the model is loaded
        use_threads(threads)
        with importing():  # loading may import torch and transformers
            from claip_emo.inference.recognizer import EmotionRecognizer

            recognizer = EmotionRecognizer.from_pretrained(
                folder,
                device=device,
                precision=precision.value,
                reader=reader,
                abstain_below=asked_for(abstain),
            )
        if model is None:
            console.print(IN_THE_BOX)
        if choices is not None:
            from claip_emo.cli.timelines import show_timelines

            show_timelines(recognizer, paths, choices, as_json=as_json)
            return
        if explain is None:
            rows = recognizer.many(paths, modality=modality.value, batch_size=batch_size)
        else:
            from claip_emo.inference.explain import explain_files

            rows = explain_files(recognizer, paths, explain, modality=modality.value)
        with closing(rows), _progress(len(paths)) as progress:
            for result in progress.track(rows, total=len(paths)):
                failed |= result.error is not None
                if as_json:
                    print_json(result.to_dict())
                else:
                    shown.append(result)
    if not as_json:
        _show(shown)
    if failed:
        raise typer.Exit(1)


def _choices(paths: list[Path], asked: dict[str, Any]) -> TimelineChoices:
    from claip_emo.inference.timeline_run import TimelineChoices

    choices = TimelineChoices(**asked)
    _checked(lambda: choices.check(paths))
    return choices


def _checked(check: Callable[[], None], option: str | None = None) -> None:
    """Let a check refuse what was asked for, as wrong usage."""
    try:
        check()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _progress(files: int) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    return Progress(
        "Recognising",
        BarColumn(),
        MofNCompleteColumn(),
        "files",
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=files < 2,
    )


def _show(results: list[EmotionResult]) -> None:
    """Print a table of the files, and under it, as wide as they are, what is to be said of them."""
    folder = _folder_of([result.path for result in results])
    table = Table(box=None, header_style="bold")
    for column in ("file", "emotion", "score", "next", "used", "face"):
        table.add_column(column, overflow="fold")
    said = []
    for result in results:
        name = Text(printable(result.path[len(folder) :]))
        if result.error:
            table.add_row(name, "[red]error[/]")
            told = result.error.startswith(result.path)
            said.append(result.error if told else f"{result.path}: {result.error}")
            continue
        ranked = sorted(result.scores.items(), key=lambda item: -item[1])
        others = ranked[result.label in result.scores : 2]  # an uncertain answer shows both
        table.add_row(
            name,
            Text(result.label, "bold"),
            f"{ranked[0][1]:.2f}",
            Text(", ".join(f"{emotion} {score:.2f}" for emotion, score in others)),
            " + ".join(result.modalities),
            "" if result.face_rate is None else f"{result.face_rate:.0%}",
        )
        said += [f"{result.path}: {warning}." for warning in result.warnings]
    out = Console()
    if folder:
        out.print(printable(f"In {folder}"), markup=False, highlight=False, soft_wrap=True)
    out.print(table)
    if said:
        out.print()
    for line in said:
        out.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _folder_of(paths: list[str]) -> str:
    """Return what all of several paths begin with, up to a separator: names alone fit a table."""
    if len(paths) < 2:
        return ""
    common = os.path.commonprefix(paths)  # noqa: RUF071 - names stay as they were given
    return common[: common.rfind(os.sep) + 1]
