"""All of a picture is looked at once: whoever is in sight becomes passages of crops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from claip_emo.inference.stretches import Passage, Scorer
from claip_emo.inference.windows import Windower
from claip_emo.media.clip import FACE_SOURCE_PX, ahead
from claip_emo.media.faces import FaceDetector, turned_faces
from claip_emo.media.following import Box, Follower, Looked, Moment, Track
from claip_emo.media.picture import crop
from claip_emo.media.source import Source
from claip_emo.media.spec import ClipSpec
from claip_emo.media.weakness import EVERYBODYS_SOUND

FacesChoice = Literal["main", "all"]
Shown = dict[int, tuple[Track | None, Box | None]]
"""Whose crops are taken of a picture, and where, by number of the track."""

AHEAD = 8  # pictures that are decoded and searched for faces while others are encoded
AROUND_S = 1.5  # before and after: who is the main face is told from so much
STAYS_MAIN = 1.3  # times as much another face must weigh to take its place
UNSEEN = 0.1  # share of the pictures without anybody that is worth telling
NO_FACES = np.zeros((0, 6), np.float32)
WHOLE: Shown = {-1: (None, None)}


class Looker:
    """Looks at a picture on a grid, follows the faces in it, and hands their crops on.

    Args:
        source: where pictures come from.
        spec: size and margin of the crops.
        scorer: takes crops.
        make_windower: of each passage.
        step_s: of the grid.
        tell: is told up to which second it looked.

    Attributes:
        cuts_s: times of the first pictures that were looked at after cuts.
        lost: how many of the pictures could not be decoded.
        warnings: what a reader should know.
    """

    def __init__(
        self,
        source: Source,
        spec: ClipSpec,
        scorer: Scorer,
        make_windower: Callable[[], Windower],
        step_s: float,
        tell: Callable[[float], None],
    ):
        """Begin with nobody in sight."""
        self._source, self._spec, self._scorer = source, spec, scorer
        self._make_windower, self._step_s, self._tell = make_windower, step_s, tell
        self._going: dict[int, Passage] = {}
        self._reached_s = -np.inf
        self.cuts_s: list[float] = []
        self.lost = 0
        self.warnings: list[str] = []

    def look(self, detector: FaceDetector | None, faces: FacesChoice) -> list[Passage]:
        """Look at all of the picture.

        Args:
            detector: finds faces; None: whole pictures are shown.
            faces: whom to follow.

        Returns:
            Passages in the order in which they begin, scored.
        """
        wanted = on_grid(self._source.times_s, self._step_s)
        steps = np.diff(self._source.times_s[wanted])  # longer where there are fewer pictures
        step_s = max(self._step_s, float(np.median(steps))) if len(steps) else self._step_s
        follower = Follower(step_s, self._spec.face_margin)
        choose = _Main() if faces == "main" else _everybody
        passages, counts, shot = list[Passage](), list[int](), 0
        for moment in follower.follow(ahead(self._looked(wanted, detector), AHEAD)):
            shown = choose(moment) if detector is not None else WHOLE
            counts.append(len(moment.shown))
            over = list(self._going) if moment.shot != shot else self._going.keys() - shown.keys()
            self._end(over)
            for number, (track, square) in shown.items():
                if number not in self._going:
                    self._going[number] = Passage(track, self._make_windower())
                    passages.append(self._going[number])
                self._see(self._going[number], moment, square)
            shot = moment.shot
            follower.tracks.clear()
            self._tell(moment.time_s)
        self.cuts_s, self.lost = follower.cuts_s, len(wanted) - len(counts)
        whole = self._reached_s >= self._source.times_s[wanted[-1]]  # else it is damaged at its end
        self._end(self._going, picture_end_s(self._source) if whole else None)
        self._scorer.finish()
        self.warnings = _told(counts) if passages and detector is not None else []
        return passages

    def _looked(self, wanted: NDArray[np.int64], detector: FaceDetector | None) -> Iterator[Looked]:
        """Decode frames, and look for faces in them."""
        whole = {"short_px": self._spec.size_px}
        size = whole if detector is None else {"long_px": FACE_SOURCE_PX}
        self._reached_s = -np.inf
        for index, picture in self._source.frames(wanted.tolist(), **size):
            if self._source.times_s[index] <= self._reached_s:
                continue  # what a jump left out comes after all others: it is too late
            self._reached_s = float(self._source.times_s[index])
            faces = NO_FACES if detector is None else turned_faces(detector, picture)
            yield Looked(float(self._source.times_s[index]), picture, faces)

    def _see(self, passage: Passage, moment: Moment, square: Box | None) -> None:
        """Hand the crop of a passage on."""
        passage.times_s.append(moment.time_s)
        if square is not None:
            passage.scale = max(moment.picture.shape[:2]) / self._source.longest_px
            passage.boxes_px.append(square / np.float32(passage.scale))
        shown, _ = crop(moment.picture, square, self._spec.size_px)
        self._scorer.see(passage, moment.time_s, shown)

    def _end(self, numbers: Iterable[int], end_s: float | None = None) -> None:
        """End passages, where their last frame ends: what comes after it may be another shot."""
        for number in list(numbers):
            passage = self._going.pop(number)
            until_s = self._frame_end_s(passage.times_s[-1]) if end_s is None else end_s
            self._scorer.end(passage, until_s)

    def _frame_end_s(self, time_s: float) -> float:
        times = self._source.times_s
        after = int(np.searchsorted(times, time_s, "right"))
        return float(times[after]) if after < len(times) else picture_end_s(self._source)


class _Main:
    """Chooses whom the picture is about; they stay it until somebody else weighs clearly more."""

    def __init__(self) -> None:
        self._last = -1

    def __call__(self, moment: Moment) -> Shown:
        begin_s, end_s = moment.time_s - AROUND_S, moment.time_s + AROUND_S
        weights = {track.number: track.weight(begin_s, end_s) for track, _ in moment.shown}
        if not weights:
            return {}
        best = max(weights, key=lambda number: weights[number])
        if weights[best] > STAYS_MAIN * weights.get(self._last, 0.0):
            self._last = best
        return {t.number: (t, square) for t, square in moment.shown if t.number == self._last}


def _everybody(moment: Moment) -> Shown:
    return {track.number: (track, square) for track, square in moment.shown}


def on_grid(times_s: NDArray[np.float64], step_s: float) -> NDArray[np.int64]:
    """Return the indices of the frames nearest to a grid that begins with the first, each once."""
    grid = np.arange(times_s[0], times_s[-1] + step_s / 2, step_s)
    after = np.searchsorted(times_s, grid).clip(max=len(times_s) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(grid - times_s[before]) <= np.abs(times_s[after] - grid)
    return np.unique(np.where(nearer, before, after))


def picture_end_s(source: Source) -> float:
    """Return when the last frame ends, if it is shown as long as frames are on average."""
    times = source.times_s
    if len(times) < 2:
        return source.duration_s
    return float(times[-1] + (times[-1] - times[0]) / (len(times) - 1))


def _told(counts: list[int]) -> list[str]:
    """Return what is to be said of how many faces there were in each picture."""
    said = [EVERYBODYS_SOUND] if max(counts) > 1 else []
    unseen = float(np.mean([count == 0 for count in counts]))
    if unseen > UNSEEN:
        said.append(f"no face was found in {unseen:.0%} of the pictures")
    return said
