"""claip-emo evaluate."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from claip_emo.cli.options import (
    EXPLAINED,
    ClipsAtOnceOption,
    ClipsOption,
    DetectorOption,
    DeviceOption,
    ExplainOption,
    FaceModelOption,
    JsonOption,
    LabelOrderOption,
    MissingOption,
    OnMissingOption,
    Precision,
    PrecisionOption,
    ThreadsOption,
    VariantOption,
    WorkersOption,
    begin,
    console,
)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(evaluate)


def evaluate(
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.", metavar="DIR")],
    table: Annotated[
        str | None,
        typer.Option("--table", help="CSV with path,label[,split,...].", metavar="CSV"),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(
            "--corpus", help="In place of a table: dfew, mafw, crema_d, ...", metavar="NAME"
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="The corpus as its publisher ships it.", metavar="DIR"),
    ] = None,
    clips: ClipsOption = None,
    variant: VariantOption = None,
    label_order: LabelOrderOption = None,
    fold: Annotated[
        int | None, typer.Option("--fold", help="The fold whose test part is scored; default: 1.")
    ] = None,
    missing: OnMissingOption = MissingOption.ERROR,
    across: Annotated[
        bool,
        typer.Option(
            "--across", help="Clips of other classes than the model's: score those both have."
        ),
    ] = False,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="train, validation or test; default: every row of a table, test of a corpus.",
            metavar="PART",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="A run's folder, its model/, or a hub id.", metavar="DIR"),
    ] = None,
    zero_shot: Annotated[
        bool,
        typer.Option(
            "--zero-shot",
            help="Score what CLIP and CLAP know of the labels' words, without what was trained.",
        ),
    ] = False,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="With --zero-shot, in place of --model.", metavar="NAME"),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", help="Classes, with --backbone; default: the table's.", metavar="A,B,..."
        ),
    ] = None,
    zero_shot_weight: Annotated[
        float,
        typer.Option(
            "--zero-shot-weight", min=0, max=1, help="Weight of the face; the voice has the rest."
        ),
    ] = 0.5,
    face_detector: DetectorOption = None,
    face_model: FaceModelOption = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", help="Read prepared clips from this folder (see prepare).", metavar="DIR"
        ),
    ] = None,
    batch_size: ClipsAtOnceOption = 8,
    workers: WorkersOption = 2,
    explain: ExplainOption = EXPLAINED,
    device: DeviceOption = "auto",
    precision: PrecisionOption = Precision.AUTO,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a model on labelled clips: WAR, UAR, confusion, calibration, and a report."""
    begin(threads)
    _check(model, zero_shot, backbone, labels)
    order = label_order.split(",") if label_order and "," in label_order else label_order
    described: dict[str, Any] = {
        "corpus": corpus or "table",
        "root": data if corpus else table,
        "clips": str(clips) if clips else None,
        "missing": missing.value,
        "variant": variant,
        "label_order": order,
        "fold": fold,
    }
    if (table is None) == (corpus is None) or (corpus is not None and data is None):
        raise typer.BadParameter("Give either --table CSV, or --corpus NAME and --data DIR.")
    if zero_shot and precision not in (Precision.AUTO, Precision.FP32):
        raise typer.BadParameter("--zero-shot is scored in fp32; leave --precision out.")
    if across and zero_shot:
        raise typer.BadParameter("--across goes with a trained model; zero-shot takes any labels.")
    from claip_emo.recipe_files import parse_recipe

    clips_of = parse_recipe({"data": described}, "evaluate").data
    settings: dict[str, Any] = {
        "split": split,
        "face_detector": face_detector.value if face_detector else None,
        "face_model": face_model,
        "cache": cache,
        "batch_size": batch_size,
        "workers": workers,
        "explain": explain,
        "device": device,
        "command": shlex.join(["claip-emo", *sys.argv[1:]]),
        "console": console,
    }
    if zero_shot:
        from claip_emo.evaluation.zero_shot_run import evaluate_zero_shot

        figures = evaluate_zero_shot(
            clips_of,
            out,
            source=model,
            backbone=backbone,
            labels=[name.strip() for name in labels.split(",")] if labels else None,
            face_weight=zero_shot_weight,
            **settings,
        )
    else:
        from claip_emo.evaluation.evaluate import evaluate_data

        how = {"across": across, "precision": precision.value}
        figures = evaluate_data(str(model), clips_of, out, **how, **settings)
    if not figures:  # the first of several processes has them
        return
    if as_json:
        print(json.dumps(figures))
        return
    low, high = figures["interval_95"]["uar"]
    console.print(
        f"WAR [bold]{figures['war']:.4f}[/], UAR [bold]{figures['uar']:.4f}[/] "
        f"(95 % interval {low:.4f} to {high:.4f}, {figures['n']} clips)"
    )
    console.print(f"Report: {out / 'report.html'}", soft_wrap=True)


def _check(model: str | None, zero_shot: bool, backbone: str | None, labels: str | None) -> None:
    """Refuse options that contradict each other."""
    if not zero_shot and (backbone or labels):
        raise typer.BadParameter("--backbone and --labels go with --zero-shot.")
    if model is None and backbone is None:
        other = " or --backbone NAME" if zero_shot else ""
        raise typer.BadParameter(f"Give --model DIR{other}.")
    if model is not None and (backbone or labels):
        raise typer.BadParameter("--model has its own backbone and labels: leave the others out.")
