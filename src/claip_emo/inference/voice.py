"""The sound of a whole file: cut once on a fixed grid, and heard once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from claip_emo.media.recording import FULL_SCALE, hear
from claip_emo.media.source import Source
from claip_emo.media.spec import Span
from claip_emo.media.speech import has_speech
from claip_emo.media.weakness import audible
from claip_emo.model.scoring import Array, ArrayEncoder

AT_ONCE = 8  # pieces of sound that are encoded at once

Tell = Callable[[float], None]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Voice:
    """What was heard.

    Attributes:
        span_s: start and end of the sound.
        centres_s: (piece,), the middle of each piece, ascending.
        features: (piece, width).
        there: (piece,), whether it is not silent.
        speaks: whether there is speech in any.
    """

    span_s: Span
    centres_s: NDArray[np.float64]
    features: Array
    there: NDArray[np.bool_]
    speaks: bool

    def near(self, times_s: NDArray[np.float64]) -> tuple[Array, NDArray[np.bool_]]:
        """Return what is heard at some times, (time,): the piece whose middle is nearest.

        Before the sound begins and after it has ended there is none.

        Returns:
            Features (time, width), zero where there is no sound, and whether there is, (time,).
        """
        if not len(self.centres_s):
            width = self.features.shape[1]
            return np.zeros((len(times_s), width), np.float32), np.zeros(len(times_s), np.bool_)
        nearest = np.abs(times_s[:, None] - self.centres_s).argmin(axis=1)
        there = self.there[nearest] & (self.span_s[0] <= times_s) & (times_s <= self.span_s[1])
        return self.features[nearest] * there[:, None], there


def listen(model: ArrayEncoder, source: Source, rate_hz: int, piece_s: float, tell: Tell) -> Voice:
    """Hear all of the sound of a source, piece after piece, whatever its length.

    Args:
        model: turns pieces into features.
        source: where the sound comes from; it may have none.
        rate_hz: of the samples that the model takes.
        piece_s: length of a piece; they begin half of it after each other.
        tell: is told how many seconds have been heard.
    """
    centres: list[float] = []
    features: list[Array] = []
    there: list[bool] = []
    speaks = False
    for few in _some(pieces(source, rate_hz, piece_s), AT_ONCE):
        waveforms = [samples for _, samples in few]
        features.append(model.encode(sounds=waveforms)[1])
        centres += [centre for centre, _ in few]
        there += [audible([samples]) for samples in waveforms]
        speaks = speaks or any(has_speech(samples, rate_hz) for samples in waveforms)
        tell(centres[-1])
    nothing = [np.zeros((0, model.widths["audio"]), np.float32)]
    return Voice(
        source.sound_s or (0.0, 0.0),
        np.array(centres),
        np.concatenate(features or nothing),
        np.array(there, bool),
        speaks,
    )


def pieces(source: Source, rate_hz: int, piece_s: float) -> Iterator[tuple[float, Array]]:
    """Cut the sound of a source into pieces that overlap by half; the last one ends with it.

    Yields:
        The middle of a piece on the clock, and its samples (samples,), float32; sound that is
        shorter than a piece is one.
    """
    if source.sound_s is None:
        return
    begin_s = source.sound_s[0]
    length, hop = round(piece_s * rate_hz), round(piece_s * rate_hz / 2)
    held, first = np.zeros(0, np.int16), 0  # samples, and the place of the first of them
    start = reached = 0  # of the next piece, and the end of the last one
    for section in hear(source, rate_hz):
        held = np.concatenate([held, section])
        while first + len(held) >= start + length:
            reached = start + length
            yield begin_s + (start + length / 2) / rate_hz, _floats(held[start - first :][:length])
            start += hop
        drop = max(0, start - hop - first)
        held, first = held[drop:], first + drop
    end = first + len(held)
    if end > reached:
        start = max(0, end - length)
        yield begin_s + (start + end) / 2 / rate_hz, _floats(held[start - first :])


def _some(items: Iterator[Item], most: int) -> Iterator[list[Item]]:
    """Yield items in lists of at most so many."""
    while few := list(islice(items, most)):
        yield few


def _floats(samples: NDArray[np.int16]) -> Array:
    return samples.astype(np.float32) / np.float32(FULL_SCALE)
