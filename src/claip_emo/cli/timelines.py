"""What ``claip-emo predict --timeline`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from claip_emo.cli.options import console, print_json, printable

if TYPE_CHECKING:
    from claip_emo.inference.recognizer import EmotionRecognizer
    from claip_emo.inference.timeline_result import Timeline
    from claip_emo.inference.timeline_run import TimelineChoices

NAME_LETTERS = 40


def show_timelines(
    recognizer: EmotionRecognizer,
    paths: Sequence[Path],
    choices: TimelineChoices,
    *,
    as_json: bool,
) -> None:
    """Make timelines and print them one by one; exit code 1 if a file failed."""
    from claip_emo.inference.timeline_run import timelines

    failed = False
    with _progress() as bar:
        task = bar.add_task("", total=None, place="")

        def tell(what: str, done_s: float, total_s: float) -> None:
            bar.update(task, description=what, completed=done_s, total=total_s)

        found = timelines(recognizer, paths, choices, tell)
        for place, path in enumerate(paths, 1):
            of_many = f"{place}/{len(paths)} " if len(paths) > 1 else ""
            bar.reset(task, place=f"{of_many}{printable(path.name)[:NAME_LETTERS]}")
            timeline = next(found)
            failed |= timeline.error is not None
            if as_json:
                print_json(timeline.to_dict())
            else:
                show(timeline)
    if failed:
        raise typer.Exit(1)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        TextColumn("{task.fields[place]}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def show(timeline: Timeline) -> None:
    """Print the segments of a timeline, and under it, as wide as they are, what is to be said."""
    out = Console()
    out.print(Text(printable(timeline.path), "bold"), soft_wrap=True)
    if timeline.people:
        table = Table(box=None, header_style="bold")
        for column in ("from", "to", "person", "emotion", "score"):
            table.add_column(column, justify="right" if column in ("from", "to") else "left")
        rows = [(s, person.id) for person in timeline.people for s in person.segments]
        for segment, person in sorted(rows, key=lambda row: (row[0].start_s, row[1])):
            times = (_clock(segment.start_s), _clock(segment.end_s))
            label = Text(segment.label, "bold")
            table.add_row(*times, str(person), label, f"{segment.score:.2f}")
        out.print(table)
    error = () if timeline.error is None else (timeline.error,)
    for line in (*error, *(f"{warning}." for warning in timeline.warnings)):
        out.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minute = divmod(int(minutes), 60)
    return f"{hours}:{minute:02d}:{rest:04.1f}" if hours else f"{minute}:{rest:04.1f}"
