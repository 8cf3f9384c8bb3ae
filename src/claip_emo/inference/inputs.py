"""What is given on the command line becomes a list of clips."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from claip_emo.media.source import IMAGE_SUFFIXES, SOUND_SUFFIXES

IMAGES = {*IMAGE_SUFFIXES}
VIDEOS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".flv", ".m4v"}
SOUNDS = {*SOUND_SUFFIXES}


def expand(paths: Iterable[str | Path]) -> list[Path]:
    """Return one path per clip.

    A folder of media files stands for its files, sorted; a folder with images (and a sound file)
    is one clip. Anything else, also what is missing or empty, stands for itself, so that it
    becomes a row with its error.
    """
    clips: list[Path] = []
    for path in map(Path, paths):
        try:
            clips += _inside(path) if path.is_dir() else [path]
        except OSError:  # a name that is too long, a folder that may not be listed
            clips.append(path)
    return clips


def is_frames(names: Iterable[str]) -> bool:
    """Say whether files are the frames of one clip and its sound, rather than a clip each.

    Several sounds are clips, and the images beside them something else, such as a cover.
    """
    suffixes = [Path(name).suffix.lower() for name in names]
    sounds = sum(suffix in SOUNDS for suffix in suffixes)
    return not IMAGES.isdisjoint(suffixes) and VIDEOS.isdisjoint(suffixes) and sounds <= 1


def _inside(folder: Path) -> list[Path]:
    # Names that begin with a dot are a system's own, such as the ._ files of macOS.
    files = sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file()
    )
    if is_frames(path.name for path in files):
        return [folder]
    return [path for path in files if path.suffix.lower() in VIDEOS | SOUNDS] or [folder]
