"""Timeline: who felt what, when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claip_emo.inference.abstention import UNCERTAIN, Abstention
from claip_emo.inference.windows import Curve, labels_over

DIGITS = 3  # of times in JSON: milliseconds


@dataclass(frozen=True, slots=True)
class Segment:
    """Seconds in which a person shows one emotion.

    Attributes:
        start_s: where it begins.
        end_s: where it ends.
        label: the emotion, or ``uncertain``.
        score: mean probability of the emotion that it has, or would have if it were sure enough.
    """

    start_s: float
    end_s: float
    label: str
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class ScoredWindow:
    """What the model says of some seconds of a person.

    Attributes:
        start_s: where they begin.
        end_s: where they end.
        label: the most probable emotion, or ``uncertain``.
        scores: probability of each emotion, (classes,).
        modalities: what was used, of ``video`` and ``audio``.
    """

    start_s: float
    end_s: float
    label: str
    scores: NDArray[np.float64]
    modalities: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A stretch of time in which a person was in sight all along; it lies within one shot.

    Attributes:
        start_s: where it begins.
        end_s: where it ends.
        windows: in the order of time.
        curve: scores over time, made of the windows.
        segments: without gaps.
        times_s: (frame,), when each frame that was looked at is shown.
        boxes_px: (frame, 4), x0 y0 x1 y1 of the square around the face in each, in px of the
            upright frame; None: nobody looked for faces.
    """

    start_s: float
    end_s: float
    windows: tuple[ScoredWindow, ...]
    curve: Curve
    segments: tuple[Segment, ...]
    times_s: NDArray[np.float64]
    boxes_px: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, eq=False)
class TimelinePerson:
    """Somebody in a recording.

    Attributes:
        id: from 1, in the order in which they appear.
        stretches: in which they were in sight, in the order of time.
    """

    id: int
    stretches: tuple[Stretch, ...]

    @property
    def first_s(self) -> float:
        """When they were in sight first."""
        return self.stretches[0].start_s

    @property
    def last_s(self) -> float:
        """When they were in sight last."""
        return max(stretch.end_s for stretch in self.stretches)

    @property
    def segments(self) -> Iterator[Segment]:
        """What they showed, in the order of time."""
        return (segment for stretch in self.stretches for segment in stretch.segments)

    @property
    def windows(self) -> Iterator[ScoredWindow]:
        """What the model says of them, in the order of time."""
        return (window for stretch in self.stretches for window in stretch.windows)


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """Who felt what, when, in one recording, or why nothing could be told.

    Attributes:
        path: the file as it was given.
        labels: the emotions, in the order of the scores.
        window_s: length of the windows.
        hop_s: from one to the next.
        duration_s: length of the file.
        people: in the order in which they appear.
        cuts_s: times of the first pictures that were looked at after cuts.
        warnings: what a reader should know.
        error: why there is no timeline; None where there is one.
    """

    path: str
    labels: tuple[str, ...]
    window_s: float
    hop_s: float
    duration_s: float | None = None
    people: tuple[TimelinePerson, ...] = ()
    cuts_s: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``claip-emo predict --timeline --json`` prints."""
        return {
            "path": self.path,
            "duration_s": self.duration_s if self.duration_s is None else _ms(self.duration_s),
            "window_s": self.window_s,
            "hop_s": self.hop_s,
            "people": [self._person(person) for person in self.people],
            "warnings": list(self.warnings),
            "error": self.error,
        }

    def _person(self, person: TimelinePerson) -> dict[str, Any]:
        return {
            "id": person.id,
            "first_s": _ms(person.first_s),
            "last_s": _ms(person.last_s),
            "segments": [
                {"start_s": _ms(s.start_s), "end_s": _ms(s.end_s), "label": s.label}
                | {"score": s.score}
                for s in person.segments
            ],
            "windows": [
                {
                    "start_s": _ms(window.start_s),
                    "end_s": _ms(window.end_s),
                    "scores": self.named(window.scores),
                    "modalities": list(window.modalities),
                }
                for window in person.windows
            ],
        }

    def named(self, scores: NDArray[np.float64]) -> dict[str, float]:
        """Return scores (classes,) by the names of the emotions."""
        return {name: float(value) for name, value in zip(self.labels, scores, strict=True)}


def segments_of(
    curve: Curve,
    windows: Sequence[ScoredWindow],
    labels: Sequence[str],
    abstention: Abstention,
    window_s: float,
) -> tuple[Segment, ...]:
    """Join the slots of a curve into segments of one label each.

    Args:
        curve: scores over time.
        windows: that it was made of, in the order of time; a segment used what most of those used
            that touch it.
        labels: of the classes.
        abstention: says when a segment is named ``uncertain``.
        window_s: length of the windows.
    """
    path = labels_over(curve, window_s)
    begun, ended = np.array([(window.start_s, window.end_s) for window in windows]).T
    starts = np.flatnonzero(np.diff(path, prepend=-1)).tolist()
    lengths = np.diff(curve.edges_s)
    segments = []
    for start, end in pairwise([*starts, len(path)]):
        begin_s, end_s = float(curve.edges_s[start]), float(curve.edges_s[end])
        scores = np.average(curve.scores[start:end], axis=0, weights=lengths[start:end])
        first, last = np.searchsorted(ended, begin_s, "right"), np.searchsorted(begun, end_s)
        used = Counter(window.modalities for window in windows[first:last])
        sure = abstention.allows(float(scores[path[start]]), used.most_common(1)[0][0])
        label = labels[path[start]] if sure else UNCERTAIN
        segments.append(Segment(begin_s, end_s, label, float(scores[path[start]])))
    return tuple(segments)


def _ms(seconds: float) -> float:
    return round(float(seconds), DIGITS)
