"""What ``claip-emo batch`` is given becomes a list of clips: folders, patterns, and lists."""

from __future__ import annotations

import csv
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from claip_emo.inference.inputs import SOUNDS, VIDEOS, is_frames

LISTS = {".csv", ".tsv", ".txt"}
COLUMN = "path"


class InputError(ValueError):
    """Something that names no clips."""


def clips_of(inputs: Iterable[str]) -> list[str]:
    """Return one absolute path per clip, each once, in the order in which they are named.

    A folder stands for all clips in it and in its folders, sorted; images in a folder without
    videos are one clip, with the sound file that may lie beside them. A pattern (``*``, ``?``,
    ``[...]``, ``**``) stands for what it matches. A list (.csv, .tsv, .txt) names a path in each
    row: in its column ``path``, or its only one; they are relative to the list. Anything else
    stands for itself: what is missing becomes a row with its error.

    Raises:
        InputError: if a pattern matches nothing, or a list has no paths.
    """
    found: dict[str, None] = {}
    for given in inputs:
        found.update(dict.fromkeys(map(os.path.abspath, _clips(given))))
    return list(found)


def _clips(given: str) -> Iterator[str]:
    if os.path.isdir(given):
        yield from _inside(given)
    elif os.path.exists(given):
        listed = Path(given).suffix.lower() in LISTS
        yield from _listed(Path(given)) if listed else [given]
    elif glob.has_magic(given):
        matched = sorted(glob.glob(given, recursive=True))
        if not matched:
            raise InputError(f"{given}: no file has such a name.")
        of_lists = Path(given).suffix.lower() in LISTS
        for path in matched:  # a README.txt among clips is no list
            if of_lists or Path(path).suffix.lower() not in LISTS:
                yield from _clips(path)
    else:
        yield given


def _inside(folder: str) -> Iterator[str]:
    """Yield the clips in a folder and in those below it; hidden ones are a system's own."""
    with os.scandir(folder) as entries:
        seen = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    files = [entry for entry in seen if entry.is_file()]
    frames = is_frames(entry.name for entry in files)
    if frames:
        yield folder
    for entry in seen:
        if entry.is_dir(follow_symlinks=False):
            yield from _inside(entry.path)
        elif not frames and entry.is_file() and Path(entry.name).suffix.lower() in VIDEOS | SOUNDS:
            yield entry.path


def _listed(path: Path) -> Iterator[str]:
    try:
        # What is no UTF-8 in a name comes back as the name of the file.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            if path.suffix.lower() == ".txt":
                rows: Iterable[Sequence[str]] = ([line.rstrip("\r\n")] for line in lines)
                place = 0
            else:
                rows = csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
                place = _column(path, next(iter(rows), []))
            for row in rows:
                if row and place < len(row) and row[place].strip():
                    yield os.path.join(path.parent, row[place])
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: this list cannot be read ({error}).") from error


def _column(path: Path, names: Sequence[str]) -> int:
    """Return the place of the column that names clips."""
    if COLUMN in names:
        return names.index(COLUMN)
    if len(names) == 1:
        return 0
    raise InputError(
        f"{path}: none of its columns is named {COLUMN!r} (they are {', '.join(names) or 'none'})."
    )
