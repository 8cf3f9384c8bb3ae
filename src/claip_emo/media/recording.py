"""Recording: a short file, decoded and cropped once, from which training windows are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from claip_emo.media.clip import SILENCE, Clip, ClipSpec, crop_faces
from claip_emo.media.decode import MediaError
from claip_emo.media.faces import FaceDetector
from claip_emo.media.picture import middle_square, square
from claip_emo.media.sampling import sound_span, train_window
from claip_emo.media.source import open_source

FULL_SCALE = 32767


@dataclass(frozen=True, slots=True)
class Recording:
    """A whole short file in memory.

    Attributes:
        path: the file.
        frames: (frame, S, S, 3), uint8 RGB, cropped; None: no picture.
        times_s: (frame,).
        waveform: (samples,), int16; None: no sound.
        sound_start_s: where the sound begins on the clock.
        duration_s: length of the file.
        face_rate: share of the frames looked at in which the face was found.
        warnings: what was wrong with the file.
    """

    path: str
    frames: NDArray[np.uint8] | None
    times_s: NDArray[np.float64]
    waveform: NDArray[np.int16] | None
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
        frames, times, centre = None, None, None
        if self.frames is not None:
            chosen = train_window(len(self.frames), rng, length=spec.num_frames, stride=spec.stride)
            frames, times = self.frames[chosen][None], self.times_s[chosen][None]
            centre = float(times[0, 0] + times[0, -1]) / 2
        waveforms: tuple[NDArray[np.float32], ...] = ()
        spans: tuple[tuple[float, float], ...] = ()
        if self.waveform is not None:
            rate = spec.sampling_rate_hz
            begin, end = self.sound_start_s, self.sound_start_s + len(self.waveform) / rate
            if centre is None:
                centre = float(rng.uniform(begin, end))
            span = sound_span(centre, begin, end, spec.audio_s)
            first, last = (round((edge - begin) * rate) for edge in span)
            heard = self.waveform[first:last].astype(np.float32) / np.float32(FULL_SCALE)
            waveforms = (np.asarray(heard, np.float32),)
            spans = (span,)
        return Clip(
            self.path,
            frames,
            times,
            waveforms,
            spans,
            self.duration_s,
            face_rate=self.face_rate,
            warnings=self.warnings,
        )


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
        MediaError: if it yields nothing, or has more frames than memory is meant for.
    """
    source = open_source(path, video=spec.video, audio=spec.audio, audio_path=audio_path)
    if len(source.times_s) > max_frames:
        raise MediaError(
            f"{path}: {len(source.times_s)} frames are too many to keep in memory (at most "
            f"{max_frames}); cut the file, or set data.cache=none."
        )
    frames, rate = None, None
    if len(source.times_s):
        size = {"long_px": 1280} if detector is not None else {"short_px": spec.size_px}
        pictures = source.frames(range(len(source.times_s)), **size)
        if len(pictures) < len(source.times_s) and source.recount():
            pictures = source.frames(range(len(source.times_s)), **size)
        order = sorted(pictures)
        times = source.times_s[order]
        if detector is not None and order:
            frames, _, found = crop_faces(
                [pictures[i] for i in order], times, spec, detector, every=spec.stride
            )
            rate = float(found.mean())
        elif order:
            frames = np.stack(
                [
                    square(pictures[i], middle_square(*pictures[i].shape[:2]), spec.size_px)
                    for i in order
                ]
            )
    waveform = None
    if source.sound_s is not None:
        heard = source.sound([source.sound_s], spec.sampling_rate_hz)[0]
        if float(np.abs(heard).max()) >= SILENCE:
            waveform = np.round(heard * FULL_SCALE).astype(np.int16)
    if frames is None and waveform is None:
        details = "; ".join(source.warnings) or "it holds neither picture nor sound"
        raise MediaError(f"{path}: nothing in it could be decoded ({details}).")
    return Recording(
        str(path),
        frames,
        times if frames is not None else np.zeros(0),
        waveform,
        source.sound_s[0] if source.sound_s is not None else 0.0,
        float(source.duration_s),
        rate,
        tuple(source.warnings),
    )
