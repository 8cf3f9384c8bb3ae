"""What all tests share: no network, few threads, the folder beside the checkout, the command."""

from __future__ import annotations

import gc
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.pop("CLAIP_EMO_FACE_MODEL", None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what is in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)

gc.disable()  # until all is imported, which is no garbage


def pytest_collection_finish() -> None:
    """Look for garbage in what tests make; to look through all modules took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.enable()


SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Material that is given beside the checkout; tests use it where it is, and pass without it."""


@dataclass(frozen=True)
class Done:
    """What a command printed and how it ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def plain_figures(monkeypatch):
    """Leave the drawing out of reports, half of the time of a small run: others look at it."""
    from matplotlib.figure import Figure

    whole = Figure.savefig

    def save(self, file, *rest, **choices):
        if choices.get("format") != "svg":
            return whole(self, file, *rest, **choices)
        return file.write('<svg width="1pt" height="1pt"></svg>')

    monkeypatch.setattr(Figure, "savefig", save)


@pytest.fixture
def command(monkeypatch, capfd):
    """Run the command in this process: libraries are imported once for all the tests."""
    from claip_emo.cli.main import main

    def call(*arguments: object, **env: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["claip-emo", *map(str, arguments)])
        for name, value in ({"COLUMNS": "200"} | env).items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        code = ended.value.code
        return Done(0 if code is None else int(code), printed.out, printed.err)

    return call
