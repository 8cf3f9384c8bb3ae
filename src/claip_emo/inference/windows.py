"""Windows over a stretch of time, and what their scores say about each moment in it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEAR = 1e-6
SLOTS_AT_ONCE = 256
CHANGE_COSTS = 0.5  # nats: a window of 0.6 beside 0.22 for another label is worth as much twice
LEAST_PROBABILITY = 1e-6

Times = NDArray[np.float64]
Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """Some seconds of one person.

    Attributes:
        start_s: where it begins.
        end_s: where it ends.
        frames: (time, width), features of its frames; of length 0: no picture.
    """

    start_s: float
    end_s: float
    frames: Features

    @property
    def centre_s(self) -> float:
        """Its middle."""
        return (self.start_s + self.end_s) / 2


class Windower:
    """Cuts windows out of a stretch of frames that come one by one, and forgets what it can.

    Windows begin at multiples of the hop. A stretch that begins between two of them, or ends
    so, has one more at its edge; one that is shorter than a window is a window.

    Args:
        window_s: length of a window.
        hop_s: from one to the next.
        num_frames: of a window.
    """

    def __init__(self, window_s: float, hop_s: float, num_frames: int):
        """Begin without frames."""
        self.window_s, self.hop_s, self.num_frames = window_s, hop_s, num_frames
        self.step_s = window_s / num_frames
        self._frames: deque[tuple[float, Features]] = deque()
        self._begin_s: float | None = None
        self._next_s = self._reached_s = 0.0

    def add(self, time_s: float, frame: Features) -> Iterator[Window]:
        """Take the features of the next frame, (width,), and yield the window that it completes."""
        if self._begin_s is None:
            self._begin_s = self._next_s = self._reached_s = time_s
        self._frames.append((time_s, frame))
        yield from self._complete(time_s)
        keep_s = min(self._next_s, time_s - self.window_s) - self.step_s
        while self._frames[0][0] < keep_s:
            self._frames.popleft()

    def finish(self, end_s: float) -> Iterator[Window]:
        """Yield the windows up to the end of the stretch."""
        if self._begin_s is None:
            return
        yield from self._complete(end_s)
        if self._reached_s < end_s - self.hop_s * NEAR or self._reached_s == self._begin_s:
            yield self._window(max(self._begin_s, end_s - self.window_s), end_s)

    def _complete(self, until_s: float) -> Iterator[Window]:
        """Yield the windows that end by a time until which the stretch is known to last."""
        while self._next_s + self.window_s <= until_s + self.hop_s * NEAR:
            yield self._window(self._next_s, self._next_s + self.window_s)
            self._reached_s = self._next_s + self.window_s
            self._next_s = _next_multiple(self._next_s, self.hop_s)

    def _window(self, start_s: float, end_s: float) -> Window:
        """Take the frames that are nearest to an even grid; the last stands for those after it."""
        wanted = start_s + self.step_s * np.arange(self.num_frames)
        times = np.array([time_s for time_s, _ in self._frames])
        nearest = np.abs(wanted[:, None] - times).argmin(axis=1)
        return Window(start_s, end_s, np.stack([self._frames[place][1] for place in nearest]))


def spans_of(
    begin_s: float, end_s: float, window_s: float, hop_s: float
) -> list[tuple[float, float]]:
    """Return start and end of the windows of a stretch whose end is known, as ``Windower`` would.

    Without frames: for sound alone.
    """
    near, start_s = hop_s * NEAR, begin_s
    spans = []
    while start_s + window_s <= end_s + near:
        spans.append((start_s, start_s + window_s))
        start_s = _next_multiple(start_s, hop_s)
    if not spans or spans[-1][1] < end_s - near:
        spans.append((max(begin_s, end_s - window_s), end_s))
    return spans


def _next_multiple(time_s: float, hop_s: float) -> float:
    return hop_s * (math.floor(time_s / hop_s + NEAR) + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Scores over time.

    Attributes:
        edges_s: (slot + 1,), between which each row holds.
        scores: (slot, classes), rows sum to 1.
    """

    edges_s: Times
    scores: NDArray[np.float64]


def curve_of(spans_s: Times, scores: NDArray[np.float64], hop_s: float) -> Curve:
    """Average overlapping windows, the more the nearer their middle is.

    Args:
        spans_s: (window, 2), start and end of each window of one stretch.
        scores: (window, classes).
        hop_s: length of a slot; slots begin at multiples of it, and at the stretch's own edges.
    """
    begin_s, end_s = float(spans_s[:, 0].min()), float(spans_s[:, 1].max())
    inside = hop_s * np.arange(math.floor(begin_s / hop_s) + 1, math.ceil(end_s / hop_s))
    apart = (inside > begin_s + hop_s * NEAR) & (inside < end_s - hop_s * NEAR)
    edges = np.array([begin_s, *inside[apart], end_s])
    middles, centres = (edges[:-1] + edges[1:]) / 2, spans_s.mean(axis=1)
    order = np.argsort(centres, kind="stable")
    centres, scores = centres[order], scores[order]
    halves = np.maximum(np.ptp(spans_s[order], axis=1) / 2, NEAR)
    furthest = float(halves.max()) * (1 + NEAR)
    rows = []
    for first in range(0, len(middles), SLOTS_AT_ONCE):  # of all at once: a square of the length
        some = middles[first : first + SLOTS_AT_ONCE]
        low, high = np.searchsorted(centres, (some[0] - furthest, some[-1] + furthest))
        near = slice(max(0, int(low) - 1), int(high) + 1)
        away = np.abs(some[:, None] - centres[near])  # (slot, window)
        weights = np.maximum(1 - away / halves[near], NEAR) * (away <= halves[near] * (1 + NEAR))
        weights[np.arange(len(some)), away.argmin(axis=1)] += NEAR  # somebody must say something
        rows.append(weights @ scores[near] / weights.sum(axis=1, keepdims=True))
    return Curve(edges, np.concatenate(rows))


def labels_over(curve: Curve, window_s: float) -> NDArray[np.int64]:
    """Return the most likely labels over time where a change of the label has a price (Viterbi).

    What a slot says counts as much as its share of a window, as windows overlap.

    Returns:
        (slot,), indices of classes.
    """
    shares = np.diff(curve.edges_s) / window_s
    gains = np.log(np.maximum(curve.scores, LEAST_PROBABILITY)) * shares[:, None]
    total, came_from = gains[0], np.zeros(gains.shape, np.int64)
    for slot in range(1, len(gains)):
        best = int(total.argmax())
        changes = total[best] - CHANGE_COSTS > total
        came_from[slot] = np.where(changes, best, np.arange(len(total)))
        total = np.where(changes, total[best] - CHANGE_COSTS, total) + gains[slot]
    path = np.empty(len(gains), np.int64)
    path[-1] = total.argmax()
    for slot in range(len(gains) - 1, 0, -1):
        path[slot - 1] = came_from[slot, path[slot]]
    return path
