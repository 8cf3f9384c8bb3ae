"""Names of what is written of files, and that nothing of somebody else's is written over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from claip_emo.inference.inputs import VIDEOS

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


def check_folder(
    folder: Path, paths: Sequence[Path], suffixes: Sequence[str], keys: frozenset[str]
) -> None:
    """Refuse a folder in which results would take the place of what is not theirs.

    Results of ``a.mp4`` are files named ``a`` with several suffixes, of which ``a.json`` names what
    they are of.

    Args:
        folder: of the results; it need not be there.
        paths: what results are of.
        suffixes: of what is written of each, such as ``.json``.
        keys: by which the JSON of such a result is known.

    Raises:
        ValueError: naming the mend.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give a folder.")
    if not folder.exists():
        return
    here = folder.resolve()
    for path, name in zip(paths, names_of(paths), strict=True):
        whole = path.resolve()
        if (whole.is_dir() and whole == here) or (whole.parent == here and not _has_videos(here)):
            # Figures in it would be taken for frames from then on.
            raise ValueError(f"{folder} is what is read: give another folder.")
        there = next((f for s in suffixes if (f := folder / f"{name}{s}").exists()), None)
        if there is None:
            continue
        known = _described(folder / f"{name}.json")
        if not keys <= known.keys():
            raise ValueError(
                f"{there} is there already, and is no such result: give another folder."
            )
        if Path(str(known.get("path"))).resolve() != whole:
            raise ValueError(
                f"{there} is there already, and is of {known.get('path')}: give another folder."
            )


def _has_videos(folder: Path) -> bool:
    return any(file.suffix.lower() in VIDEOS for file in folder.iterdir())


def _described(path: Path) -> Mapping[str, Any]:
    """Return what a JSON file holds; nothing if it is none."""
    try:
        described = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return described if isinstance(described, dict) else {}


def shown_name(path: str | Path, letters: int) -> str:
    """Return a file's name as a figure shows it: its end where it is longer than so many letters.

    Dollars would begin formulas.
    """
    name = Path(path).name.encode("utf-8", "backslashreplace").decode()
    shown = name if len(name) <= letters else f"…{name[-letters:]}"
    return shown.replace("$", r"\$")
