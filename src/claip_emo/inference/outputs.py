"""Names of what is written of files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def names_of(paths: Iterable[str | Path]) -> list[str]:
    """Return a name for what is written of each path, without a suffix, each only once.

    The name of a file is its stem; where several have the same, ``talk``, ``talk-2`` ....
    """
    names: list[str] = []
    taken: set[str] = set()
    for path in map(Path, paths):
        stem = path.resolve().stem or "clip"
        name, number = stem, 1
        while name.casefold() in taken:  # some file systems know no case
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names
