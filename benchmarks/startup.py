"""How long a command takes from its first line: ``--help``, and a first prediction.

The prediction is that of the model in the box, faces by the detector that OpenCV carries, as on a
fresh machine without network. Both run in fresh processes, beside an empty Python and beside one
that only imports torch, which this prediction does without.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import clips
from benchmarks.claim import Check, Claim, Options
from benchmarks.measuring import interleaved

HELP_GOAL_S, PREDICT_GOAL_S = 0.5, 5.0
CLIP_S = 5.0
HELP, EMPTY = "claip-emo --help", "python -c pass"
PREDICTED = ("predict", "--json", "--face-detector", "haar")
PREDICT, TORCH = "claip-emo predict", "python -c 'import torch'"


def measure(options: Options) -> Claim:
    """Time all in turn; the help oftener, as it is short."""
    script = Path(sys.executable).with_name("claip-emo")
    installed = [str(script)] if script.is_file() else [sys.executable, "-m", "claip_emo.cli.main"]
    with tempfile.TemporaryDirectory() as folder:
        film = clips.film_720p(Path(folder) / "film.mp4", CLIP_S)
        found = interleaved(
            {
                HELP: lambda: _run([*installed, "--help"]),
                EMPTY: lambda: _run([sys.executable, "-c", "pass"]),
            },
            5 if options.quick else 21,
        ) | interleaved(
            {
                PREDICT: lambda: _run([*installed, *PREDICTED, str(film)]),
                TORCH: lambda: _run([sys.executable, "-c", "import torch"]),
            },
            1 if options.quick else 7,
        )
    return Claim(
        "startup",
        (
            Check(HELP, found[HELP].median, "s", HELP_GOAL_S, "most"),
            Check(
                f"{PREDICT}, {CLIP_S:g} s at 720p",
                found[PREDICT].median,
                "s",
                PREDICT_GOAL_S,
                "most",
            ),
        ),
        {"what": EMPTY, "figure": found[EMPTY].median, "unit": "s"},
        {name: timing.to_dict() for name, timing in found.items()},
    )


def _run(command: list[str]) -> None:
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run(command, check=True, capture_output=True, env=offline)
