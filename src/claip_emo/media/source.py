"""What a clip can be read from: a file or a folder of frames, perhaps with sound from elsewhere."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from claip_emo.media import decode
from claip_emo.media.decode import MediaError, Track
from claip_emo.media.picture import Frame, fit, upright
from claip_emo.media.sound import read_sound

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SOUND_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg")
FOLDER_FPS = 25.0  # of frames without sound: nothing else says how fast they follow each other


class Source(ABC):
    """A picture over time and a sound on one clock.

    Attributes:
        path: what it was read from.
        times_s: (frame,), when each frame is shown, ascending; empty: no picture.
        sound_s: start and end of the sound; None: there is none.
        duration_s: length of the longer of the two.
        longest_px: longer side of the upright frames before they were scaled, once one was read.
        notes: what was wrong with it, as far as its reader found.
    """

    path: str
    times_s: NDArray[np.float64]
    sound_s: tuple[float, float] | None
    duration_s: float
    longest_px: int = 0
    notes: list[str]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that was wrong with it, once."""
        return tuple(dict.fromkeys(self.notes))

    @abstractmethod
    def frames(
        self, wanted: Iterable[int], *, short_px: int | None = None, long_px: int | None = None
    ) -> Iterator[tuple[int, Frame]]:
        """Yield the wanted frames that can be decoded, scaled as ``picture.upright`` does."""

    @abstractmethod
    def sound(self, spans: Sequence[tuple[float, float]], rate: int) -> list[NDArray[np.float32]]:
        """Return the wanted seconds of sound, mono, at a rate."""

    @property
    @abstractmethod
    def sound_track(self) -> Track | None:
        """The table of the file that the sound comes from; None: there is none."""

    @abstractmethod
    def recount(self) -> bool:
        """Find out which frames really decode; say whether that changes the table."""


class FileSource(Source):
    """A media file, perhaps with the sound of another one."""

    def __init__(self, path: str, *, video: bool, audio: bool, audio_path: str | None = None):
        """Read the packets of the file (and of the sound's)."""
        self.path = path
        self.notes = []
        self._track = decode.scan(path, video=video, audio=audio and audio_path is None)
        self._sound = self._track
        if audio and audio_path is not None:
            self._sound = _named_sound(audio_path, self.notes)
        self._adopt()

    def _adopt(self) -> None:
        self.times_s = self._track.frame_times_s
        self.sound_s = self._sound.sound_s
        self.duration_s = max(self._track.duration_s, self._sound.duration_s)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that was wrong with it, once."""
        return tuple(dict.fromkeys([*self._track.warnings, *self._sound.warnings, *self.notes]))

    def frames(
        self, wanted: Iterable[int], *, short_px: int | None = None, long_px: int | None = None
    ) -> Iterator[tuple[int, Frame]]:
        """Decode the wanted frames."""

        def convert(frame: Any, aspect: float) -> Frame:
            self.longest_px = max(self.longest_px, round(frame.width * aspect), frame.height)
            return upright(frame, aspect, short_px=short_px, long_px=long_px)

        return decode.read_frames(self._track, wanted, convert)

    def sound(self, spans: Sequence[tuple[float, float]], rate: int) -> list[NDArray[np.float32]]:
        """Decode the wanted seconds."""
        return read_sound(self._sound, spans, rate)

    @property
    def sound_track(self) -> Track | None:
        """The table of the file that the sound comes from."""
        return self._sound

    def recount(self) -> bool:
        """Decode the whole picture once and take the frames that came out."""
        before = self._track.frame_pts
        counted = decode.recount(self._track)
        if self._sound is self._track:
            self._sound = counted
        self._track = counted
        self._adopt()
        return not np.array_equal(counted.frame_pts, before)


class FolderSource(Source):
    """A folder of frames, in natural order, with a sound file in it or beside it."""

    def __init__(self, path: str, *, video: bool, audio: bool, audio_path: str | None = None):
        """List the folder.

        Raises:
            MediaError: if there is no image in it.
        """
        folder = Path(path)
        self.path = path
        self.notes = []
        self._files = sorted(_files_in(folder, IMAGE_SUFFIXES), key=_natural)
        if not self._files:
            raise MediaError(f"{path}: there is no image in this folder.")
        self._sound: Track | None = None
        if audio and audio_path is not None:
            self._sound = _named_sound(audio_path, self.notes)
        elif audio:
            self._sound = _sound_of(folder, self.notes)
        self.sound_s = self._sound.sound_s if self._sound else None
        count = len(self._files) if video else 0
        self.duration_s = self.sound_s[1] if self.sound_s else count / FOLDER_FPS
        self.times_s = np.asarray(np.arange(count) * (self.duration_s / max(count, 1)), np.float64)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that was wrong with it, once."""
        heard = self._sound.warnings if self._sound else []
        return tuple(dict.fromkeys([*self.notes, *heard]))

    def frames(
        self, wanted: Iterable[int], *, short_px: int | None = None, long_px: int | None = None
    ) -> Iterator[tuple[int, Frame]]:
        """Read the wanted images; one that cannot be read is left out."""
        for index in sorted(set(wanted)):
            picture = _image(self._files[index])
            if picture is not None:
                self.longest_px = max(self.longest_px, *picture.shape[:2])
                yield index, fit(picture, short_px=short_px, long_px=long_px)

    def sound(self, spans: Sequence[tuple[float, float]], rate: int) -> list[NDArray[np.float32]]:
        """Decode the wanted seconds of the sound file."""
        if self._sound is None:
            raise MediaError(f"{self.path}: there is no sound beside these frames.")
        return read_sound(self._sound, spans, rate)

    @property
    def sound_track(self) -> Track | None:
        """The table of the sound file in the folder or beside it."""
        return self._sound

    def recount(self) -> bool:
        """Leave out the images that cannot be read; the others are spread over the same time."""
        whole = [file for file in self._files if _image(file) is not None]
        lost = len(self._files) - len(whole)
        if lost:
            self.notes.append(f"damaged: {lost} of {len(self._files)} images cannot be read")
            step_s = self.duration_s / max(len(whole), 1)
            self.times_s = np.asarray(np.arange(len(whole)) * step_s, np.float64)
            self._files = whole
        return bool(lost)


def open_source(
    path: str | Path,
    *,
    video: bool = True,
    audio: bool = True,
    audio_path: str | Path | None = None,
) -> Source:
    """Open a file or a folder of frames.

    Raises:
        MediaError: if nothing can be read from it.
    """
    try:
        kind = FolderSource if Path(path).is_dir() else FileSource
        return kind(
            str(path), video=video, audio=audio, audio_path=str(audio_path) if audio_path else None
        )
    except OSError as error:  # a name that is too long, a folder that may not be listed
        raise MediaError(f"{path}: {error.strerror or error}.") from error


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Order img2 before img10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(0, int(part), "") if place % 2 else (1, 0, part) for place, part in enumerate(parts)]


def _files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files of some kinds; names that begin with a dot are a system's own."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in suffixes and not file.name.startswith(".") and file.is_file()
    )


def _image(file: Path) -> Frame | None:
    """Return an image as RGB, turned as its EXIF tag says; None: it cannot be read."""
    try:
        encoded = np.fromfile(file, np.uint8)  # any name, unlike cv2.imread
        picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
    except (OSError, cv2.error):
        return None
    if picture is None:
        return None
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _named_sound(path: str, notes: list[str]) -> Track:
    """Return the track of a sound file that was asked for by name."""
    track = decode.scan(path, video=False)
    if track.sound_s is None:
        notes.append(f"there is no sound in {path}")
    return track


def _sound_of(folder: Path, notes: list[str]) -> Track | None:
    """Return the sound in a folder of frames, or beside it; one that cannot be read is passed."""
    whole = folder.resolve()  # "." has no name
    beside = [whole.parent / (whole.name + suffix) for suffix in SOUND_SUFFIXES]
    files = [*_files_in(folder, SOUND_SUFFIXES), *(f for f in beside if f.is_file())]
    for place, file in enumerate(files):
        try:
            track = decode.scan(str(file), video=False)
            if others := files[place + 1 :]:
                names = ", ".join(other.name for other in others)
                notes.append(f"of several sound files {file.name} is heard, not {names}")
            return track
        except MediaError as error:
            notes.append(f"without its sound: {error}")
    return None
