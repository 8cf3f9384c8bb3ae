"""Decoding the sound: mixed to mono, resampled, and placed on the clock by its timestamps.

Sample counts alone mislead: AAC returns more samples than were put in, and streams have gaps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from claip_emo.media.container import audio_stream, decoded, go_to, open_media, packets
from claip_emo.media.decode import SCATTERED_S, SEEK_AHEAD_S, Track

JITTER_S = 0.03  # timestamps of sound that differ less than this from the samples are rounding
MOST_CHANNELS = 8  # 7.1; of more, no layout says what they are
LEAD_IN_S = 0.5  # decoded before a sought piece of sound, so that the codec has settled


def read_sound(
    track: Track, spans: Sequence[tuple[float, float]], rate: int
) -> list[NDArray[np.float32]]:
    """Decode the wanted seconds of sound, mixed to mono and resampled.

    Args:
        track: the file's table.
        spans: start and end on the clock, in seconds.
        rate: samples per second of the result.

    Returns:
        One array per span, (samples,), in [-1, 1]; silence where the file has a gap.
    """
    pieces: dict[tuple[float, float], NDArray[np.float32]] = {}
    failed = 0
    with open_media(track.path) as container:
        stream = audio_stream(container)
        for number, (begin, end) in enumerate(sorted(set(spans))):
            start = begin + track.zero_s
            if number or begin > SEEK_AHEAD_S:
                go_to(container, stream, int((start - LEAD_IN_S) / stream.time_base))
            piece, errors = _piece(container, stream, start, end + track.zero_s, rate)
            failed += errors
            pieces[(begin, end)] = piece
    if failed:
        track.warnings.append(f"damaged: {failed} packets of the sound could not be decoded")
    return [pieces[span] for span in spans]


class _Mixer:
    """Mixes frames to mono at one rate, whatever each of them is: streams may change midway."""

    def __init__(self, rate: int):
        self.rate = rate
        self._resamplers: dict[tuple[int, str, str], Any] = {}

    def __call__(self, frame: Any) -> NDArray[np.float32]:
        """Return the samples of a frame, (samples,)."""
        if frame.layout.nb_channels > MOST_CHANNELS:
            return _mean_of_channels(frame)
        kind = (frame.rate, frame.layout.name, frame.format.name)
        if kind not in self._resamplers:
            self._resamplers[kind] = av.AudioResampler(format="fltp", layout="mono", rate=self.rate)
        parts = [part.to_ndarray()[0] for part in self._resamplers[kind].resample(frame)]
        mono = np.concatenate([np.zeros(0, np.float32), *parts])
        return np.asarray(np.nan_to_num(mono, nan=0.0, posinf=1.0, neginf=-1.0), np.float32)


def _mean_of_channels(frame: Any) -> NDArray[np.float32]:
    """Mix a frame with more channels than FFmpeg has a layout for, (samples,)."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T  # (channel, samples)
    if np.issubdtype(samples.dtype, np.integer):
        middle = 128 if samples.dtype == np.uint8 else 0
        scale = 2.0 ** (8 * samples.dtype.itemsize - 1)
        samples = (samples.astype(np.float64) - middle) / scale
    mono = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0).mean(axis=0)
    return np.asarray(mono, np.float32)


def _piece(
    container: Any, stream: Any, start: float, end: float, rate: int
) -> tuple[NDArray[np.float32], int]:
    """Decode one piece of sound, [start, end) in the container's time; count what failed."""
    native = stream.rate
    mixed = _Mixer(native)
    buffer = np.zeros(max(1, round((end - start) * native)), np.float32)
    expected: int | None = None
    failures: list[int] = []
    for frame in _frames(container, stream, failures):
        place = expected if expected is not None else 0
        if frame.pts is not None:
            stamped = round((float(frame.pts * frame.time_base) - start) * native)
            if expected is None or abs(stamped - expected) >= JITTER_S * native:
                place = stamped
        if place >= len(buffer) + SCATTERED_S * native:  # a damaged timestamp
            continue
        if place >= len(buffer):
            break
        samples = mixed(frame)
        low, high = max(place, 0), min(place + len(samples), len(buffer))
        if low < high:
            buffer[low:high] = samples[low - place : high - place]
        expected = place + len(samples)
    return np.clip(_resampled(buffer, native, rate), -1, 1), sum(failures)


def _frames(container: Any, stream: Any, failures: list[int]) -> Iterator[Any]:
    for packet in packets(container, [stream], []):
        frames, errors = decoded(packet)
        if errors:
            failures.append(errors)
        yield from frames


def _resampled(samples: NDArray[np.float32], native: int, rate: int) -> NDArray[np.float32]:
    """Resample all of a piece at once, so that its length is exact."""
    if native == rate:
        return samples
    frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.rate = native
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
    parts = [
        part.to_ndarray()[0] for part in [*resampler.resample(frame), *resampler.resample(None)]
    ]
    wanted = max(1, round(len(samples) * rate / native))
    joined = np.concatenate([*parts, np.zeros(wanted, np.float32)])
    return joined[:wanted].astype(np.float32)
