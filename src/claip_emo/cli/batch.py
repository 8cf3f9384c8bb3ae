"""claip-emo batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from claip_emo.cli.options import (
    AbstainOption,
    DetectorOption,
    DeviceOption,
    FaceModelOption,
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
    from claip_emo.inference.batch import Choices, Engine, Summary
    from claip_emo.inference.reader import Reader

LONGEST_S = 900.0
RATE_OVER_S = 60.0


class EngineOption(StrEnum):
    """Where files are recognised."""

    LOCAL = "local"
    RAY = "ray"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(batch)


def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders (with those in them), quoted patterns such as 'a/**/*.mp4', and "
            "lists (.csv or .tsv with a column path, .txt with a path per line)."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The table that is written.", metavar="FILE.parquet")
    ],
    model: PredictingModelOption = None,
    engine: Annotated[
        EngineOption, typer.Option("--engine", help="This machine, or Ray Data.")
    ] = EngineOption.LOCAL,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Processes that read; on Ray, actors with a model each. Default: one per core.",
            metavar="N",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="Of a Ray cluster, or auto; default: Ray is started on this machine.",
            metavar="A",
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do those of a finished table again that failed.")
    ] = False,
    modality: Annotated[
        ModalityOption, typer.Option("--modality", help="Use face and voice, or one of them.")
    ] = ModalityOption.AV,
    abstain: AbstainOption = None,
    face_detector: DetectorOption = None,
    face_model: FaceModelOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = Precision.AUTO,
    batch_size: ViewsAtOnceOption = 8,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", min=1, help="A file that takes longer to read fails.", metavar="S"
        ),
    ] = LONGEST_S,
    as_json: JsonOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Recognise many files into one table; run again to go on. Exit code 1 when a file failed."""
    begin()
    use_threads(threads)
    if out.suffix != ".parquet":
        raise typer.BadParameter(f"{out} is named FILE.parquet (--out).")
    if address is not None and engine is EngineOption.LOCAL:
        raise typer.BadParameter("--address is of a Ray cluster: add --engine ray.")
    with importing():
        from claip_emo.inference.abstention import asked_for
        from claip_emo.inference.batch import Choices, run
        from claip_emo.inference.batch_inputs import clips_of
        from claip_emo.inference.batch_work import Work
        from claip_emo.threads import in_use
    choices = Choices.of(
        model,
        modality=modality.value,
        face_detector=face_detector.value if face_detector else None,
        face_model=str(face_model.absolute()) if face_model else None,
        device=device,
        precision=precision.value,
        abstain_below=asked_for(abstain),
        batch_size=batch_size,
        workers=workers or in_use(),
        timeout_s=timeout,
    )
    paths = clips_of(inputs)
    if not paths:
        raise typer.BadParameter(f"There are no files to recognise in {', '.join(inputs)}.")
    reader = choices.reader()
    work = Work(out, choices.how(reader), choices.labels())
    with closing(work), _progress() as bar:
        task = bar.add_task("Recognising", total=None, failed="")

        def tell(done: int, total: int, failed: int) -> None:
            said = f"{failed} failed" if failed else ""
            bar.update(task, completed=done, total=total, failed=said)

        make = _engine(engine, choices, reader, address)
        try:
            summary = run(paths, work, make, again=retry_failed, tell=tell)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(
                f"Interrupted: what is done is kept in {work.folder}; the same command goes on."
            ) from stop
    _show(summary, out, as_json=as_json)
    if summary.failed:
        raise typer.Exit(1)


def _engine(
    engine: EngineOption, choices: Choices, reader: Reader, address: str | None
) -> Callable[[], Engine]:
    """Return what loads the engine, once it is known that there is something to do."""

    def make() -> Engine:
        with importing():
            if engine is EngineOption.RAY:
                from claip_emo.inference.batch_ray import RayEngine

                return RayEngine(choices, address)
            from claip_emo.inference.batch import ChunkRecognizer

            return ChunkRecognizer(choices, reader)

    return make


class _Rate(ProgressColumn):
    """Files per second of this run."""

    def render(self, task: Task) -> Text:
        """Return the rate, once there is one."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failed]}"),
        console=console,
        transient=True,
        speed_estimate_period=RATE_OVER_S,
    )


def _show(summary: Summary, out: Path, *, as_json: bool) -> None:
    labels = dict(summary.labels.most_common())
    if as_json:
        print_json(
            {
                "out": str(out),
                "files": summary.files,
                "done_now": summary.done_now,
                "failed": summary.failed,
                "labels": labels,
            }
        )
        return
    before = summary.files - summary.done_now
    earlier = f", {before:,} of them before" if before else ""
    said = [f"{out}: {summary.files:,} files{earlier}."]
    if labels:
        said.append(", ".join(f"{label} {count:,}" for label, count in labels.items()))
    if summary.failed:
        why = "their column error says why; --retry-failed does them again"
        said.append(f"{summary.failed:,} failed: {why}.")
    for line in said:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
