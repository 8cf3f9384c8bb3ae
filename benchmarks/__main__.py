"""``python -m benchmarks NAME``: measure one claim; the last line on stdout is its JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine
from benchmarks.claim import Claim, Options

NAMES = (
    "evaluate", "labels", "train_step", "loader", "bf16", "predict", "timeline", "scaling",
    "startup", "prepare", "export", "batch", "serving", "hostile",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write where asked to; a claim that does not hold is no error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="the same ratio on less, under 100 s")
    parser.add_argument("--out", type=Path, help="folder for NAME.json and NAME.png")
    parser.add_argument("--backbone", action="append", default=[], help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    options = Options(given.quick, tuple(given.backbone))
    commit, command = machine.commit(), machine.command()  # as it is now, whatever happens to it
    with redirect_stdout(sys.stderr):  # whatever libraries print
        claim: Claim = importlib.import_module(f"benchmarks.{given.name}").measure(options)
    result = claim.to_dict(
        machine=machine.describe(),
        commit=commit,
        command=command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if given.out:
        from benchmarks.figures import draw

        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / f"{given.name}.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
        draw(result, given.out / f"{given.name}.png")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
