"""Recording: a file that was decoded and cropped once, from which windows and views are cut.

Where its frames and samples are kept is another's business: in memory, or in a file of a cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from claip_emo.media.clip import FACE_SOURCE_PX, Clip, crop_face, follow_face
from claip_emo.media.decode import MediaError
from claip_emo.media.faces import FaceDetector
from claip_emo.media.picture import Frame, crop
from claip_emo.media.source import Source, open_source
from claip_emo.media.spec import (
    ClipSpec,
    Span,
    choose_frames,
    choose_seconds,
    long_file,
    repeated,
)
from claip_emo.media.weakness import audible, no_face, silent, why_nothing

FULL_SCALE = 32767
LONGEST_SOUND_S = 1800.0  # 170 MB of samples
SECTION_FRAMES = 2000  # of a long file: each section has a person of its own, as scenes change
SECTION_S = 300.0  # of sound that is decoded at once


class Frames(Protocol):
    """Cropped frames (frame, S, S, 3), uint8 RGB, as an array or as what stands for one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of frames, height, width, 3."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that they take where they are kept."""
        ...

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Return the frames of some indices (...,) as (..., S, S, 3)."""
        ...


class Samples(Protocol):
    """Mono sound (samples,), int16, as an array or as what stands for one."""

    @property
    def nbytes(self) -> int:
        """Bytes that they take where they are kept."""
        ...

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, part: slice, /) -> NDArray[np.int16]:
        """Return some of them in order."""
        ...


class FrameStore(Protocol):
    """What takes cropped frames one by one; a dictionary does."""

    def __setitem__(self, index: int, frame: Frame, /) -> None:
        """Keep a frame (S, S, 3)."""
        ...

    def __len__(self) -> int:
        """Return how many are kept."""
        ...

    def clear(self) -> None:
        """Keep none."""
        ...


@dataclass(frozen=True, slots=True)
class Recording:
    """A whole file, decoded and cropped.

    Attributes:
        path: the file.
        frames: (frame, S, S, 3), uint8 RGB, cropped; None: no picture.
        timestamps_s: (frame,).
        waveform: (samples,), int16; None: no sound.
        sampling_rate_hz: of the waveform.
        sound_start_s: where the sound begins on the clock.
        duration_s: length of the file.
        face_rate: share of the frames looked at in which the face was found.
        warnings: what was wrong with the file.
    """

    path: str
    frames: Frames | None
    timestamps_s: NDArray[np.float64]
    waveform: Samples | None
    sampling_rate_hz: int
    sound_start_s: float
    duration_s: float
    face_rate: float | None
    warnings: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that frames and sound take where they are kept."""
        return sum(part.nbytes for part in (self.frames, self.waveform) if part is not None)

    def window(self, spec: ClipSpec, rng: np.random.Generator) -> Clip:
        """Return one random training window, as ``load_clip`` with the same generator would."""
        return self._clip(spec, rng)

    def test_clip(self, spec: ClipSpec) -> Clip:
        """Return the test views, as ``load_clip`` would."""
        return self._clip(spec, None)

    def _clip(self, spec: ClipSpec, rng: np.random.Generator | None) -> Clip:
        """Cut a clip out of what is kept.

        Raises:
            ValueError: if it was read for crops of another size or another sampling rate.
        """
        frames, times = None, None
        if self.frames is not None and spec.video:
            if self.frames.shape[1] != spec.size_px:
                raise ValueError(
                    f"{self.path} was cropped to {self.frames.shape[1]} px, not {spec.size_px}."
                )
            views = choose_frames(self.timestamps_s, self.duration_s, spec, rng)
            if rng is None:
                views = repeated(views, self._sound_s(spec), self.duration_s, spec)
            frames, times = self.frames[views], self.timestamps_s[views]
        spans: tuple[Span, ...] = ()
        if self.waveform is not None and spec.audio:
            if self.sampling_rate_hz != spec.sampling_rate_hz:
                raise ValueError(
                    f"{self.path} was read at {self.sampling_rate_hz} Hz, "
                    f"not {spec.sampling_rate_hz}."
                )
            spans = choose_seconds(self._sound_s(spec), self.duration_s, times, spec, rng)
        pieces = {span: self._piece(span) for span in set(spans)}
        count = len(frames) if frames is not None else len(spans)
        warnings = [] if rng is not None else long_file(self.duration_s, spec, count)
        if spans and frames is not None and not audible(pieces.values()):
            warnings.append(silent(self._sound_s(spec), spans))
            spans = ()
        return Clip(
            self.path,
            frames,
            times,
            tuple(pieces[span] for span in spans),
            spans,
            self.duration_s,
            face_rate=self.face_rate if frames is not None else None,
            warnings=(*self.warnings, *warnings),
        )

    def _sound_s(self, spec: ClipSpec) -> Span | None:
        """Return start and end of the sound; None: there is none, or it is not asked for."""
        if self.waveform is None or not spec.audio:
            return None
        length_s = len(self.waveform) / self.sampling_rate_hz
        return self.sound_start_s, self.sound_start_s + length_s

    def _piece(self, span: Span) -> NDArray[np.float32]:
        """Return some seconds of the sound, (samples,), float32."""
        if self.waveform is None:
            return np.zeros(0, np.float32)
        first = round((span[0] - self.sound_start_s) * self.sampling_rate_hz)
        length = round((span[1] - span[0]) * self.sampling_rate_hz)
        heard = self.waveform[first : first + length].astype(np.float32)
        return np.asarray(heard / np.float32(FULL_SCALE), np.float32)


def load_recording(
    path: str | Path,
    spec: ClipSpec,
    *,
    detector: FaceDetector | None = None,
    audio_path: str | Path | None = None,
    max_frames: int = 2000,
) -> Recording:
    """Decode a whole short file into memory; faces are sought in every ``stride``-th frame.

    Raises:
        MediaError: if it yields nothing, or is longer than memory is meant for.
    """
    source = open_source(path, video=spec.video, audio=spec.audio, audio_path=audio_path)
    if len(source.times_s) > max_frames:
        raise MediaError(
            f"{path}: {len(source.times_s)} frames are too many to keep in memory (at most "
            f"{max_frames}); cut the file, or set data.cache=none, or a folder."
        )
    if source.sound_s is not None and source.sound_s[1] - source.sound_s[0] > LONGEST_SOUND_S:
        raise MediaError(
            f"{path}: {source.duration_s:.0f} s of sound are too many to keep in memory (at most "
            f"{LONGEST_SOUND_S:.0f}); cut the file, or set data.cache=none, or a folder."
        )
    crops: dict[int, Frame] = {}
    rate = crop_frames(source, spec, detector, crops)
    order = sorted(crops)
    frames = np.stack([crops[index] for index in order]) if order else None
    waveform: NDArray[np.int16] | None = None
    warnings = no_face(rate)
    if source.sound_s is not None:
        waveform = np.concatenate([*hear(source, spec.sampling_rate_hz)])
        if not waveform.any():
            waveform = None
            warnings.append(silent(source.sound_s, [source.sound_s]))
    if frames is None and waveform is None:
        raise MediaError(f"{path}: {why_nothing([*source.warnings, *warnings], spec)}")
    return Recording(
        str(path),
        frames,
        source.times_s[order],
        waveform,
        spec.sampling_rate_hz,
        source.sound_s[0] if source.sound_s is not None else 0.0,
        float(source.duration_s),
        rate,
        (*source.warnings, *warnings),
    )


def crop_frames(
    source: Source, spec: ClipSpec, detector: FaceDetector | None, into: FrameStore
) -> float | None:
    """Decode and crop every frame, one at a time, whatever the length of the file.

    Args:
        source: where they come from.
        spec: size of the crops, their margin, and in every which frame faces are sought.
        detector: finds faces; None: the middle square of each frame.
        into: takes the crops by the place of their frame in ``source.times_s``.

    Returns:
        The share of the frames looked at in which the face was found; None: nobody looked.
    """
    rate = _crop_once(source, spec, detector, into)
    if len(into) < len(source.times_s) and source.recount():
        into.clear()
        rate = _crop_once(source, spec, detector, into)
    return rate


def _crop_once(
    source: Source, spec: ClipSpec, detector: FaceDetector | None, into: FrameStore
) -> float | None:
    """Crop every frame. With a detector the file is decoded twice, first for the faces."""
    every = range(len(source.times_s))
    if detector is None:
        for index, picture in source.frames(every, short_px=spec.size_px):
            into[index] = crop(picture, None, spec.size_px)[0]
        return None
    if not every:
        return None
    looked_at = source.frames(every[:: spec.stride], long_px=FACE_SOURCE_PX)
    boxes, rate = _follow_sections(source, looked_at, detector, spec.face_margin)
    for index, picture in source.frames(every, long_px=FACE_SOURCE_PX):
        into[index] = crop_face(source, picture, boxes[index], spec.size_px)[0]
    return rate


def _follow_sections(
    source: Source, looked_at: Iterable[tuple[int, Frame]], detector: FaceDetector, margin: float
) -> tuple[NDArray[np.float32], float]:
    """Follow a face through each section; return boxes (frame, 4) and the share of hits."""
    boxes = np.full((len(source.times_s), 4), np.nan, np.float32)
    looked: list[int] = []
    rates, counts = [], []
    for section, pictures in groupby(looked_at, key=lambda seen: seen[0] // SECTION_FRAMES):
        begin, before = section * SECTION_FRAMES, len(looked)
        part = slice(begin, begin + SECTION_FRAMES)
        counted = _noting(pictures, looked, begin)
        found, rate = follow_face(source, counted, source.times_s[part], detector, margin)
        boxes[part] = found
        rates.append(rate)
        counts.append(len(looked) - before)
    return boxes, float(np.average(rates, weights=counts)) if rates else 0.0


def _noting(
    pictures: Iterable[tuple[int, Frame]], looked: list[int], begin: int
) -> Iterator[tuple[int, Frame]]:
    """Yield pictures by their place in a section, and note which they were."""
    for index, picture in pictures:
        looked.append(index)
        yield index - begin, picture


def hear(source: Source, rate_hz: int) -> Iterator[NDArray[np.int16]]:
    """Decode the sound of a source, whatever its length; what is too faint to hear becomes zeros.

    Yields:
        (samples,), int16, section after section.
    """
    if source.sound_s is None:
        return
    begin, end = source.sound_s
    for number in range(max(1, math.ceil((end - begin) / SECTION_S - 1e-6))):
        start = begin + number * SECTION_S
        section = source.sound([(start, min(start + SECTION_S, end))], rate_hz)
        samples = np.round(section[0] * FULL_SCALE).astype(np.int16)
        yield samples if audible(section) else np.zeros_like(samples)
