"""claip-emo demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from claip_emo.cli.options import (
    EXPLAINED,
    DeviceOption,
    SeedOption,
    SetOption,
    ThreadsOption,
    begin,
    console,
)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(demo)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.", metavar="DIR")] = Path(
        "runs/demo"
    ),
    changes: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Make faces and voices, learn them, test on people never seen, and show the report."""
    begin(threads)
    from claip_emo.inference.recognizer import EmotionRecognizer
    from claip_emo.recipe_files import load_recipe
    from claip_emo.training.fit import train

    overrides = [f"data.root={out / 'clips'}", *(changes or [])]
    if seed is not None:
        overrides.append(f"train.seed={seed}")
    recipe = load_recipe("demo", overrides)
    command = f"claip-emo demo --out {out}"
    run = train(recipe, out, device=device, explain=EXPLAINED, command=command, console=console)
    clip = sorted((out / "clips" / "clips").glob("*surprise*.mp4"))[-1]
    recognizer = EmotionRecognizer.from_pretrained(out, device=device, face_detector="none")
    result = recognizer(clip)
    parts = run.metrics["by_modality"]
    score = result.scores[result.label]
    console.print(
        f"\n[bold]{clip.name}[/] shows [bold]{result.label}[/] ({score:.0%}).", soft_wrap=True
    )
    console.print(
        f"You have seen a small network learn drawn faces and made voices in {run.seconds:.0f} s: "
        f"on people it had never met it is right in {run.metrics['war']:.0%} of "
        f"{run.metrics['n']} clips (face alone {parts['video']['war']:.0%}, voice alone "
        f"{parts['audio']['war']:.0%}, chance {run.metrics['chance']['uniform']:.0%}).",
        soft_wrap=True,
    )
    console.print(
        f"Look at [bold]{run.out / 'report.html'}[/] in a browser: what it confuses, and why face "
        "and voice need each other.",
        soft_wrap=True,
    )
    real = EmotionRecognizer.from_pretrained(device=device, face_detector="none")(clip)
    console.print(
        "The model that comes with claip-emo learned real faces and voices instead: it takes this "
        f"drawing for [bold]{real.label}[/] ({real.scores[real.label]:.0%}).",
        soft_wrap=True,
    )
    console.print(
        "Now your own: [bold]claip-emo predict VIDEO[/], "
        "or [bold]claip-emo train csv --data clips.csv --out runs/mine[/].",
        soft_wrap=True,
    )
