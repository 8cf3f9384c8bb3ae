"""Everybody in a picture over time: faces become tracks while the pictures pass by.

Where ``tracks`` has all frames of a clip before it, here only the last second or two is held, so
that a film needs no more memory than a clip. Tracks end with their shot; ``people`` tells which of
them are one person's.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from claip_emo.media.appearance import SAME_NEARBY, Gallery, Look, look_of
from claip_emo.media.picture import Frame
from claip_emo.media.shots import SURE_CHANGE, Shots, Thumb, thumbnail
from claip_emo.media.tracks import JOIN_IOU, LONGEST_MISS_S, iou, square_at

LEAST_SIGHTINGS = 3  # what is seen less often is no face
STAYS_IOU, STAYS_LIKE = 0.5, 0.93  # a face that did not move between two pictures
AROUND_S = 1.0  # sightings so far away no longer count for where a face is
FRAMES_MISSED = 3.01

Box = NDArray[np.float32]
Face = tuple[Box, Look]


@dataclass(frozen=True, slots=True)
class Looked:
    """A picture in which faces were sought.

    Attributes:
        time_s: when it is shown.
        picture: (height, width, 3), uint8 RGB.
        faces: (face, 6), x, y, width, height in its px, score, and how far the face is turned.
    """

    time_s: float
    picture: Frame
    faces: Box


@dataclass(slots=True)
class Track:
    """One face through one shot.

    Attributes:
        number: in the order in which tracks begin.
        times_s: when it was found.
        boxes: where, (6,) as ``Looked.faces`` has them.
        lightness: of the face each time, 0 to 1.
        gallery: what it looked like.
        last: what it looked like last.
    """

    number: int
    times_s: list[float] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    lightness: list[float] = field(default_factory=list)
    gallery: Gallery = field(default_factory=Gallery)
    last: Look | None = None

    def add(self, time_s: float, box: Box, look: Look) -> None:
        """Note where it was found, and what it looked like."""
        self.times_s.append(time_s)
        self.boxes.append(box)
        self.lightness.append(look.lightness)
        self.gallery.add(look)
        self.last = look

    def like(self, look: Look) -> float:
        """Return how much a face looks like it, now or before."""
        now = self.last.like(look) if self.last is not None else 0.0
        return now if now >= STAYS_LIKE else max(now, self.gallery.like(look))

    def weight(self, begin_s: float, end_s: float) -> float:
        """Return how large and how sure it was between two times: who weighs most is looked at."""
        first, last = (bisect_left(self.times_s, time_s) for time_s in (begin_s, end_s))
        return sum(float(np.sqrt(b[2] * b[3]) * b[4]) for b in self.boxes[first:last])

    def square(self, time_s: float, looked_s: NDArray[np.float64], margin: float) -> Box:
        """Return its smoothed square, x0 y0 x1 y1 in px, at a time between its first and last."""
        first = max(0, bisect_left(self.times_s, time_s - AROUND_S) - 1)
        last = bisect_left(self.times_s, time_s + AROUND_S) + 1
        boxes = np.stack(self.boxes[first:last])
        return square_at(time_s, looked_s, np.array(self.times_s[first:last]), boxes, margin)


@dataclass(frozen=True, slots=True)
class Moment:
    """A picture and who is in it.

    Attributes:
        time_s: when it is shown.
        picture: (height, width, 3), uint8 RGB.
        shot: number of the shot.
        shown: each track with its square, x0 y0 x1 y1 in px of the picture.
    """

    time_s: float
    picture: Frame
    shot: int
    shown: tuple[tuple[Track, Box], ...]


Worth = Callable[[Track, Box, Look], float]
"""How much a face is a track's; 0: not at all."""


class Follower:
    """Follows every face through pictures that come one after the other.

    Args:
        step_s: time from one picture to the next.
        margin: share of a face's height added on each side of its square.

    Attributes:
        tracks: those that have ended and were seen often enough, since somebody took them last.
        cuts_s: times of the first pictures after cuts.
    """

    def __init__(self, step_s: float, margin: float):
        """Begin with nobody."""
        self.tracks: list[Track] = []
        self.cuts_s: list[float] = []
        self._margin = margin
        self._patience_s = max(LONGEST_MISS_S, FRAMES_MISSED * step_s)
        self._shots, self._shot, self._count = Shots(), 0, 0
        self._alive: list[Track] = []
        self._ended: list[Track] = []  # of this shot, whose last pictures still wait
        self._waiting: deque[Looked] = deque()
        self._looked_s: deque[float] = deque()  # in this shot, some seconds back
        self._in_shot = 0

    def follow(self, pictures: Iterable[Looked]) -> Iterator[Moment]:
        """Yield every picture with those in it, late by how long a face may be missed.

        Args:
            pictures: in the order of time.
        """
        last: tuple[Looked, Thumb, list[Look]] | None = None
        for now, thumb, after in _with_next(pictures):
            looks = [look_of(now.picture, box) for box in now.faces]
            if last is not None and self._is_cut(last[1], thumb, after, now, looks):
                yield from self._end_shot()
                self.cuts_s.append(now.time_s)
            self._meet(now, looks)
            while self._waiting and self._waiting[0].time_s < now.time_s - self._delay_s:
                yield self._moment(self._waiting.popleft())
            last = now, thumb, looks
        yield from self._end_shot()

    @property
    def _delay_s(self) -> float:
        return self._patience_s + AROUND_S / 2

    def _is_cut(
        self, before: Thumb, thumb: Thumb, after: Thumb | None, now: Looked, looks: list[Look]
    ) -> bool:
        """Whether a shot begins, and not just something moves beside faces that stay."""
        change = self._shots.change(before, thumb, after)
        return change >= SURE_CHANGE or (change > 0 and not self._stay(now, looks))

    def _stay(self, now: Looked, looks: list[Look]) -> bool:
        """Whether the same faces are in the same places as in the last picture."""
        seen = [track for track in self._alive if track.times_s[-1] == self._looked_s[-1]]
        still = sum(
            any(
                iou(track.boxes[-1], box) >= STAYS_IOU and track.like(look) >= STAYS_LIKE
                for box, look in zip(now.faces, looks, strict=True)
            )
            for track in seen
        )
        return bool(seen) and still == len(seen) == len(looks)

    def _meet(self, now: Looked, looks: list[Look]) -> None:
        """Give each face of a picture to a track."""
        self._waiting.append(now)
        self._looked_s.append(now.time_s)
        self._in_shot += 1
        while self._looked_s[0] < now.time_s - 2 * self._delay_s - AROUND_S:
            self._looked_s.popleft()
        gone = [t for t in self._alive if now.time_s - t.times_s[-1] > self._patience_s]
        self._ended += gone
        self._alive = [track for track in self._alive if track not in gone]
        faces: list[Face] = list(zip(now.faces, looks, strict=True))
        for joins in (self._overlap, self._resemblance):
            faces = self._join(now.time_s, faces, joins)
        for box, look in faces:
            track = Track(self._count)
            self._count += 1
            track.add(now.time_s, box, look)
            self._alive.append(track)

    def _join(self, time_s: float, faces: list[Face], worth: Worth) -> list[Face]:
        """Join faces and tracks, the best pairs first; return the faces that are left."""
        tracks = [track for track in self._alive if track.times_s[-1] < time_s]
        pairs = sorted(
            ((worth(track, *face), t, f) for t, track in enumerate(tracks)
             for f, face in enumerate(faces)),
            reverse=True,
        )  # fmt: skip
        joined: dict[int, int] = {}
        for value, t, f in pairs:
            if value > 0 and t not in joined.values() and f not in joined:
                joined[f] = t
                tracks[t].add(time_s, *faces[f])
        return [face for f, face in enumerate(faces) if f not in joined]

    @staticmethod
    def _overlap(track: Track, box: Box, look: Look) -> float:
        """Return how much a face lies where a track was last; 0: too little, or it is another's."""
        overlap = iou(track.boxes[-1], box)
        return overlap if overlap >= JOIN_IOU and track.like(look) >= SAME_NEARBY else 0.0

    @staticmethod
    def _resemblance(track: Track, box: Box, look: Look) -> float:
        """Return how much a face that is elsewhere looks like a track; 0: too little."""
        like = track.like(look)
        return like if like >= look.needed else 0.0

    def _moment(self, looked: Looked) -> Moment:
        """Return who is in a picture, now that it is known who comes back."""
        time_s, needed = looked.time_s, min(LEAST_SIGHTINGS, self._in_shot)
        self._hand_over(time_s)
        around = np.array(self._looked_s)
        around = around[np.abs(around - time_s) <= AROUND_S]
        shown = tuple(
            (track, track.square(time_s, around, self._margin))
            for track in (*self._ended, *self._alive)
            if track.times_s[0] <= time_s <= track.times_s[-1] and len(track.times_s) >= needed
        )
        return Moment(time_s, looked.picture, self._shot, shown)

    def _hand_over(self, before_s: float) -> None:
        """Give away the tracks whose last picture was yielded."""
        needed = min(LEAST_SIGHTINGS, self._in_shot)
        over = [track for track in self._ended if track.times_s[-1] < before_s]
        self._ended = [track for track in self._ended if track not in over]
        self.tracks += [track for track in over if len(track.times_s) >= needed]

    def _end_shot(self) -> Iterator[Moment]:
        """Yield what waits, and begin a new shot with nobody."""
        while self._waiting:
            yield self._moment(self._waiting.popleft())
        self._ended += self._alive
        self._hand_over(math.inf)
        self._alive = []
        self._looked_s.clear()
        self._shot, self._in_shot = self._shot + 1, 0


def _with_next(
    pictures: Iterable[Looked],
) -> Iterator[tuple[Looked, Thumb, Thumb | None]]:
    """Yield pictures with their thumbnail and the next one's, one picture late."""
    held: tuple[Looked, Thumb] | None = None
    for looked in pictures:
        thumb = thumbnail(looked.picture)
        if held is not None:
            yield (*held, thumb)
        held = looked, thumb
    if held is not None:
        yield (*held, None)
