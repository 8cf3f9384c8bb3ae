"""claip-emo report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from claip_emo.cli.options import begin, console


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(report)


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="DIR")],
) -> None:
    """Write report.html, .md and .tex of a run anew, folds summed up; no model is needed."""
    begin()
    from claip_emo.evaluation.folds import refresh_report

    console.print(f"Report: {refresh_report(run)}", soft_wrap=True)
