"""Names of what is written of files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

LONGEST_NAME = 50  # characters, of which UTF-8 has up to four bytes: names of files have 255


def names_of(paths: Iterable[str | Path]) -> list[str]:
    """Return a name for what is written of each file, as ``unique_name`` does."""
    taken: set[str] = set()
    return [unique_name(Path(path), taken) for path in paths]


def unique_name(path: Path, taken: set[str]) -> str:
    """Return a name for what is written of a file, without a suffix, and add it to those taken.

    It is the file's own; where several have the same, ``talk``, ``talk-2`` ....

    Args:
        path: the file, or a folder of frames.
        taken: names that others have, in small letters, as some disks do not tell them apart.
    """
    path = path.resolve()  # "." has no name
    stem = (path.name if path.is_dir() else path.stem).lstrip(".")[:LONGEST_NAME] or "clip"
    name, count = stem, 1
    while name.casefold() in taken:
        count += 1
        name = f"{stem}-{count}"
    taken.add(name.casefold())
    return name
