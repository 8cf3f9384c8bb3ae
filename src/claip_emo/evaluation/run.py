"""What is known of a run besides its scores, and how long work shows that it goes on."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

import claip_emo
from claip_emo.corpora.base import OnProgress
from claip_emo.model.modeling import ClaipEmoModel


def describe_run(model: ClaipEmoModel, *, command: str | None, **facts: Any) -> dict[str, Any]:
    """Return the content of ``run.json``: the given facts, the model, machine and versions.

    ``commit`` is looked up unless it is given: who works long asks for it at the beginning.
    """
    described = {
        "backbone": model.config.backbone,
        "adaptation": model.config.adaptation,
        "modality": model.config.modality,
        "logit_shift": model.config.logit_shift,
        "temperature": model.config.temperature,
        "parameters": model.count_parameters(),
        "command": command or " ".join(sys.argv),
        "version": claip_emo.__version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {model.device.type}",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    return {"commit": facts.get("commit") or commit(), **described, **facts}


def commit() -> str | None:
    """Return the commit of the checkout that the code runs from, if it runs from one."""
    git = shutil.which("git")
    here = Path(__file__).resolve().parent
    if git is None or "site-packages" in here.parts:
        return None
    asked = subprocess.run(
        [git, "-C", str(here), "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    return asked.stdout.strip() or None if asked.returncode == 0 else None


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """Show tasks with a bar, their count, the time left and a line of facts."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(table_column=Column(min_width=9, no_wrap=True)),
        TimeRemainingColumn(table_column=Column(min_width=7, no_wrap=True)),
        TextColumn("{task.fields[facts]}", table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=console) as bar:
        yield bar


def progress_task(bar: Progress, description: str, total: int) -> OnProgress:
    """Add a task to a bar; return what tells it (done, total)."""
    task = bar.add_task(description, total=total, facts="")
    return lambda done, total: bar.update(task, completed=done, total=total)
