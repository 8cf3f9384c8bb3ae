"""What a clip can be read from: a file or a folder of frames, perhaps with sound from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from claip_emo.media import decode
from claip_emo.media.decode import MediaError, Track
from claip_emo.media.picture import Frame, fit, upright

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SOUND_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg")
FOLDER_FPS = 25.0  # of frames without sound: nothing else says how fast they follow each other


class Source:
    """A picture over time and a sound on one clock.

    Attributes:
        path: what it was read from.
        times_s: (frame,), when each frame is shown, ascending; empty: no picture.
        sound_s: start and end of the sound; None: there is none.
        duration_s: length of the longer of the two.
        warnings: what was wrong with it.
    """

    path: str
    times_s: NDArray[np.float64]
    sound_s: tuple[float, float] | None
    duration_s: float
    warnings: list[str]

    def frames(
        self, wanted: Iterable[int], *, short_px: int | None = None, long_px: int | None = None
    ) -> dict[int, Frame]:
        """Return the wanted frames that can be decoded, scaled as ``picture.upright`` does."""
        raise NotImplementedError

    def sound(self, spans: Sequence[tuple[float, float]], rate: int) -> list[NDArray[np.float32]]:
        """Return the wanted seconds of sound, mono, at a rate."""
        raise NotImplementedError

    def recount(self) -> bool:
        """Find out which frames really decode; say whether that changes the table."""
        return False


class FileSource(Source):
    """A media file, perhaps with the sound of another one."""

    def __init__(self, path: str, *, video: bool, audio: bool, audio_path: str | None = None):
        """Read the packets of the file (and of the sound's)."""
        self.path = path
        self._track = decode.scan(path, video=video, audio=audio and audio_path is None)
        self._sound = self._track
        if audio and audio_path is not None:
            self._sound = decode.scan(audio_path, video=False)
        self._adopt()

    def _adopt(self) -> None:
        self.times_s = self._track.frame_times_s
        self.sound_s = self._sound.sound_s
        self.duration_s = max(self._track.duration_s, self._sound.duration_s)
        self.warnings = self._track.warnings
        if self._sound is not self._track:
            self.warnings = [*self._track.warnings, *self._sound.warnings]

    def frames(
        self, wanted: Iterable[int], *, short_px: int | None = None, long_px: int | None = None
    ) -> dict[int, Frame]:
        """Decode the wanted frames."""

        def convert(frame: Any, aspect: float) -> Frame:
            return upright(frame, aspect, short_px=short_px, long_px=long_px)

        return decode.read_frames(self._track, wanted, convert)

    def sound(self, spans: Sequence[tuple[float, float]], rate: int) -> list[NDArray[np.float32]]:
        """Decode the wanted seconds."""
        pieces = decode.read_sound(self._sound, spans, rate)
        self.warnings += [text for text in self._sound.warnings if text not in self.warnings]
        return pieces

    def recount(self) -> bool:
        """Decode the whole picture once and take the frames that came out."""
        before = len(self.times_s)
        counted: Track = decode.recount(self._track)
        if self._sound is self._track:
            self._sound = counted
        self._track = counted
        self._adopt()
        return len(self.times_s) != before


class FolderSource(Source):
    """A folder of frames, in natural order, with a sound file in it or beside it."""

    def __init__(self, path: str, *, video: bool, audio: bool, audio_path: str | None = None):
        """List the folder.

        Raises:
            MediaError: if there is no image in it.
        """
        folder = Path(path)
        self.path = path
        self.warnings = []
        self._files = sorted(
            (file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES),
            key=_natural,
        )
        if not self._files:
            raise MediaError(f"{path}: there is no image in this folder.")
        sound = Path(audio_path) if audio_path else _sound_of(folder)
        self._sound: Track | None = None
        if audio and sound is not None:
            self._sound = decode.scan(str(sound), video=False)
            self.warnings += self._sound.warnings
        self.sound_s = self._sound.sound_s if self._sound else None
        count = len(self._files) if video else 0
        seconds = self.sound_s[1] if self.sound_s else count / FOLDER_FPS
        self.times_s = np.asarray(np.arange(count) * (seconds / max(count, 1)), np.float64)
        self.duration_s = seconds

    def frames(
        self, wanted: Iterable[int], *, short_px: int | None = None, long_px: int | None = None
    ) -> dict[int, Frame]:
        """Read the wanted images; one that cannot be read is left out."""
        found = {}
        for index in sorted(set(wanted)):
            encoded = np.fromfile(self._files[index], np.uint8)  # any name, unlike cv2.imread
            picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
            if picture is not None:
                rgb = np.asarray(picture[..., ::-1], np.uint8)
                found[index] = fit(np.ascontiguousarray(rgb), short_px=short_px, long_px=long_px)
        return found

    def sound(self, spans: Sequence[tuple[float, float]], rate: int) -> list[NDArray[np.float32]]:
        """Decode the wanted seconds of the sound file."""
        if self._sound is None:
            raise MediaError(f"{self.path}: there is no sound beside these frames.")
        return decode.read_sound(self._sound, spans, rate)

    def recount(self) -> bool:
        """Leave out the images that cannot be read."""
        whole = [file for index, file in enumerate(self._files) if self.frames([index])]
        lost = len(self._files) - len(whole)
        if lost:
            self.warnings.append(f"damaged: {lost} of {len(self._files)} images cannot be read")
            spread = len(self._files) / max(len(whole), 1)
            self.times_s = np.asarray(self.times_s[: len(whole)] * spread, np.float64)
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
    kind = FolderSource if Path(path).is_dir() else FileSource
    return kind(
        str(path), video=video, audio=audio, audio_path=str(audio_path) if audio_path else None
    )


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Order img2 before img10."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _sound_of(folder: Path) -> Path | None:
    inside = sorted(f for f in folder.iterdir() if f.suffix.lower() in SOUND_SUFFIXES)
    beside = [folder.with_name(folder.name + suffix) for suffix in SOUND_SUFFIXES]
    return next((file for file in [*inside, *beside] if file.is_file()), None)
