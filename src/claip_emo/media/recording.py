"""Recording: a short file, decoded and cropped once, from which training windows are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from claip_emo.media.clip import (
    FACE_SOURCE_PX,
    Clip,
    audible,
    crop_face,
    follow_face,
    no_face,
    silent,
    why_nothing,
)
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

FULL_SCALE = 32767
LONGEST_SOUND_S = 1800.0  # 170 MB of samples


@dataclass(frozen=True, slots=True)
class Recording:
    """A whole short file in memory.

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
    frames: NDArray[np.uint8] | None
    timestamps_s: NDArray[np.float64]
    waveform: NDArray[np.int16] | None
    sampling_rate_hz: int
    sound_start_s: float
    duration_s: float
    face_rate: float | None
    warnings: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Memory that frames and sound take."""
        return sum(part.nbytes for part in (self.frames, self.waveform) if part is not None)

    def window(self, spec: ClipSpec, rng: np.random.Generator) -> Clip:
        """Return one random training window, as ``load_clip`` with the same generator would."""
        return self._clip(spec, rng)

    def test_clip(self, spec: ClipSpec) -> Clip:
        """Return the test views, as ``load_clip`` would."""
        return self._clip(spec, None)

    def _clip(self, spec: ClipSpec, rng: np.random.Generator | None) -> Clip:
        """Cut a clip out of what is in memory.

        Raises:
            ValueError: if it was loaded for crops of another size or another sampling rate.
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
    """Decode a whole short file; faces are sought in every ``stride``-th frame.

    Raises:
        MediaError: if it yields nothing, or is longer than memory is meant for.
    """
    source = open_source(path, video=spec.video, audio=spec.audio, audio_path=audio_path)
    if len(source.times_s) > max_frames:
        raise MediaError(
            f"{path}: {len(source.times_s)} frames are too many to keep in memory (at most "
            f"{max_frames}); cut the file, or set data.cache=none."
        )
    if source.sound_s is not None and source.sound_s[1] - source.sound_s[0] > LONGEST_SOUND_S:
        raise MediaError(
            f"{path}: {source.duration_s:.0f} s of sound are too many to keep in memory (at most "
            f"{LONGEST_SOUND_S:.0f}); cut the file, or set data.cache=none."
        )
    crops, rate = _crops(source, spec, detector)
    if len(crops) < len(source.times_s) and source.recount():
        crops, rate = _crops(source, spec, detector)
    order = sorted(crops)
    frames = np.stack([crops[index] for index in order]) if order else None
    waveform, warnings = None, no_face(rate)
    if source.sound_s is not None:
        heard = source.sound([source.sound_s], spec.sampling_rate_hz)
        if audible(heard):
            waveform = np.round(heard[0] * FULL_SCALE).astype(np.int16)
        else:
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


def _crops(
    source: Source, spec: ClipSpec, detector: FaceDetector | None
) -> tuple[dict[int, Frame], float | None]:
    """Decode and crop every frame.

    With a detector the file is decoded twice, first for the faces: whole frames of a file do not
    fit into memory, crops do.
    """
    every = range(len(source.times_s))
    if detector is None:
        pictures = source.frames(every, short_px=spec.size_px)
        return {index: crop(picture, None, spec.size_px)[0] for index, picture in pictures}, None
    if not every:
        return {}, None
    looked_at = source.frames(every[:: spec.stride], long_px=FACE_SOURCE_PX)
    boxes, rate = follow_face(source, looked_at, source.times_s, detector, spec.face_margin)
    pictures = source.frames(every, long_px=FACE_SOURCE_PX)
    return {
        index: crop_face(source, picture, boxes[index], spec.size_px)[0]
        for index, picture in pictures
    }, rate
