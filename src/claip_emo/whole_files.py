"""Files that are there whole or not at all: written beside their place, synced, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial-"
"""What the names of files begin with that are being written."""


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a path in the same folder; what is written there takes the place of ``path``.

    It has the same ending. If writing fails, a former file stays as it was and nothing is left.
    """
    partial = path.with_name(PARTIAL + path.name)
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text whole, as UTF-8 and with the ends of lines that it has."""
    with written(path) as partial:
        partial.write_text(text, "utf-8", newline="")


def sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
