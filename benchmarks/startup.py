"""How long ``claip-emo --help`` takes in a fresh process, beside an empty Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.claim import Check, Claim, Options
from benchmarks.measuring import interleaved

GOAL_S = 0.5


def measure(options: Options) -> Claim:
    """Time both in turn."""
    script = Path(sys.executable).with_name("claip-emo")
    installed = [str(script)] if script.is_file() else [sys.executable, "-m", "claip_emo.cli.main"]
    jobs = {
        "claip-emo --help": lambda: _run([*installed, "--help"]),
        "python -c pass": lambda: _run([sys.executable, "-c", "pass"]),
    }
    found = interleaved(jobs, 5 if options.quick else 21)
    ours, empty = found.values()
    return Claim(
        "startup",
        (Check("claip-emo --help", ours.median, "s", GOAL_S, "most"),),
        {"what": "python -c pass", "figure": empty.median, "unit": "s"},
        {name: timing.to_dict() for name, timing in found.items()},
    )


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)
