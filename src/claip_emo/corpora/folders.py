"""Where the clips of a corpus lie on disk: each folder is listed once, files are not asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from claip_emo.corpora.base import CorpusError
from claip_emo.media.source import SOUND_SUFFIXES

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".flv", ".m4v")
SOUND_FOLDERS = ("audio_16k", "audio", "wav", "wavs")


@dataclass(frozen=True, slots=True)
class NumberedClips:
    """Clips and their sounds by number: ids are padded with zeros here and bare there.

    Attributes:
        folder: where they lie, or would lie.
        clips: videos, or folders of frames.
        sounds: files of sound beside clips that have none themselves.
    """

    folder: Path
    clips: Mapping[int, Path]
    sounds: Mapping[int, Path]

    def locate(self, name: str) -> tuple[Path, Path | None]:
        """Return where a clip lies, or should lie, and the file of its sound if there is one."""
        number = number_of(name)
        missing = self.folder / f"{name}.mp4"
        if number is None:
            return missing, None
        return self.clips.get(number, missing), self.sounds.get(number)


def number_of(name: str) -> int | None:
    """Return the number that a file's name is, without its ending; None if it is none."""
    stem = name.partition(".")[0].strip()
    return int(stem) if stem.isascii() and stem.isdigit() else None


def existing_folder(path: Path, option: str) -> Path:
    """Return a folder that is there.

    Raises:
        CorpusError: if it is not.
    """
    if not path.is_dir():
        what = "is a file; name the folder" if path.exists() else "does not exist"
        raise CorpusError([f"{option} {path} {what}."])
    return path


def bases_of(root: Path, clips: Path | None) -> list[Path]:
    """Return the folders below which clips are looked for.

    Raises:
        CorpusError: if a folder of clips is named and not there.
    """
    if clips is not None:
        return [existing_folder(clips, "--clips")]
    whole = root.resolve()  # "." has no parent
    return [root, whole.parent]


def find_numbered(
    bases: Sequence[Path],
    *,
    named: bool,
    originals: Sequence[str],
    prepared: Sequence[str],
) -> NumberedClips:
    """Find the clips below some folders.

    Args:
        bases: folders in which the others are looked for, one after the other.
        named: whether the user named the base, which may then be the folder of clips itself.
        originals: folders of videos with their sound, the preferred one first.
        prepared: folders of frames, or of videos without sound; they are looked for next.
    """
    candidates = [bases[0]] if named else []
    candidates += [base / name for base in bases for name in (*originals, *prepared)]
    default = bases[0] if named else bases[0] / originals[0]
    for folder in candidates:
        clips = numbered(folder, "clips")
        if clips:
            silent = folder.resolve().name in {Path(name).name for name in prepared}
            frames = any(path.suffix.lower() not in VIDEO_SUFFIXES for path in clips.values())
            sounds = _sounds_beside(folder) if silent or frames else {}
            return NumberedClips(folder, clips, sounds)
    return NumberedClips(default, {}, {})


def numbered(folder: Path, kind: Literal["clips", "sounds"]) -> dict[int, Path]:
    """Return what a folder holds under a number; a video is preferred to a folder of frames."""
    found: dict[int, Path] = {}
    for entry in listed(folder):
        number = number_of(entry.name)
        if number is None:
            continue
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix in (VIDEO_SUFFIXES if kind == "clips" else SOUND_SUFFIXES):
            found[number] = folder / entry.name
        elif kind == "clips" and not suffix and entry.is_dir():
            found.setdefault(number, folder / entry.name)
    return found


def listed(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, sorted; none if it is not there."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sounds_beside(folder: Path) -> dict[int, Path]:
    """Look beside a folder of clips, no further: numbers fit another corpus's sounds as well."""
    beside = folder.resolve().parent
    for base in (beside, beside.parent) if beside.name == "Clip" else (beside,):
        for name in SOUND_FOLDERS:
            if sounds := numbered(base / name, "sounds"):
                return sounds
    return {}
