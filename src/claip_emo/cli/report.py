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
    """Write report.html and report.md of a run anew, from its predictions; no model is needed."""
    begin()
    from claip_emo.evaluation.report import write_report

    console.print(f"Report: {write_report(run)}", soft_wrap=True)
