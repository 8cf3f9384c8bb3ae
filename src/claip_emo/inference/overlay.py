"""What is drawn on the pictures of a video: boxes, labels, and bars that move with the scores."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from claip_emo.inference.abstention import UNCERTAIN
from claip_emo.inference.colours import colours_of
from claip_emo.inference.timeline_result import Stretch, Timeline, TimelinePerson
from claip_emo.media.picture import Frame

SHORT_PX = 720  # side at which everything is drawn in its own size
PANEL_S = 0.1  # bars are drawn anew so often
MOST_PANELS = 3
LARGEST_PANEL = 0.25  # of the picture
CLEARLY_LESS = 0.5  # of what a panel hides of faces where it is, before it moves
PLATE = (18, 20, 24, 190)  # colour and opacity behind words and bars
INK = (245, 245, 245, 255)
ROW, BAR, NAME, VALUE, EDGE = 24, 130, 92, 44, 10  # px at SHORT_PX


Rectangle = tuple[float, ...]
"""Left, top, right, bottom, in px."""


@dataclass(frozen=True, slots=True)
class InSight:
    """A person at one time.

    Attributes:
        person: who.
        label: what they show.
        score: how likely that is.
        scores: of every label, (classes,).
        box_px: x0 y0 x1 y1; None: nobody looked for faces.
    """

    person: TimelinePerson
    label: str
    score: float
    scores: NDArray[np.float64]
    box_px: NDArray[np.float64] | None


class InSightOverTime:
    """Tells who is in sight while time goes on."""

    def __init__(self, timeline: Timeline):
        """Begin at the start."""
        self._labels = timeline.labels
        coming = [(stretch, person) for person in timeline.people for stretch in person.stretches]
        self._coming = deque(sorted(coming, key=lambda one: one[0].start_s))
        self._there: list[_Passing] = []

    def at(self, time_s: float) -> list[InSight]:
        """Return who is in sight at a time that is not before the last one asked for."""
        while self._coming and self._coming[0][0].start_s <= time_s:
            self._there.append(_Passing(*self._coming.popleft()))
        self._there = [one for one in self._there if time_s < one.stretch.end_s]
        self._there.sort(key=lambda one: one.person.id)
        return [one.at(time_s, self._labels) for one in self._there]


class _Passing:
    """A stretch while it is shown."""

    def __init__(self, stretch: Stretch, person: TimelinePerson):
        self.stretch, self.person = stretch, person
        edges = stretch.curve.edges_s
        self._middles_s = (edges[:-1] + edges[1:]) / 2
        self._starts_s = [segment.start_s for segment in stretch.segments]

    def at(self, time_s: float, labels: tuple[str, ...]) -> InSight:
        stretch, box = self.stretch, None
        scores = between(time_s, self._middles_s, stretch.curve.scores)
        if stretch.boxes_px is not None:
            box = between(time_s, stretch.times_s, stretch.boxes_px)
        segment = stretch.segments[max(0, bisect_right(self._starts_s, time_s) - 1)]
        known = segment.label in labels
        score = float(scores[labels.index(segment.label)]) if known else segment.score
        return InSight(self.person, segment.label, score, scores, box)


def between(
    time_s: float, times_s: NDArray[np.float64], rows: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Interpolate rows (time, ...) linearly at one time; outside, the first or last one holds."""
    after = int(np.searchsorted(times_s, time_s))
    if after in (0, len(times_s)):
        return np.asarray(rows[min(after, len(times_s) - 1)], np.float64)
    before_s, after_s = times_s[after - 1], times_s[after]
    share = (time_s - before_s) / (after_s - before_s)
    return np.asarray(rows[after - 1] * (1 - share) + rows[after] * share, np.float64)


class Overlay:
    """Draws on pictures of one size.

    Args:
        timeline: what is drawn.
        height: of the pictures, in px.
        width: of the pictures, in px.
    """

    def __init__(self, timeline: Timeline, height: int, width: int):
        """Choose colours and sizes."""
        self._timeline, self._people = timeline, InSightOverTime(timeline)
        self._scale = max(0.4, min(height, width) / SHORT_PX)
        names = (*timeline.labels, UNCERTAIN)
        self._colours = {
            label: tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
            for label, colour in zip(names, colours_of(names), strict=True)
        }
        self._panels: dict[int, tuple[int, NDArray[np.uint8]]] = {}
        self._places: dict[int, int] = {}

    def draw(self, picture: Frame, time_s: float) -> Frame:
        """Return a picture (height, width, 3) with all that is known of its time drawn on it.

        Pictures come in the order of time.
        """
        picture = picture.copy()
        shown = self._people.at(time_s)
        self._bars(picture, shown, round(time_s / PANEL_S))
        for one in shown:
            if one.box_px is not None:
                self._box(picture, one)
        return picture

    def _box(self, picture: Frame, one: InSight) -> None:
        x0, y0, x1, y1 = (round(float(value)) for value in one.box_px)  # type: ignore[union-attr]
        colour = self._colours[one.label]
        thick = max(1, round(3 * self._scale))
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, thick, cv2.LINE_AA)
        who = f"{one.person.id}  " if len(self._timeline.people) > 1 else ""
        plate = _plate(f"{who}{one.label} {one.score:.0%}", colour, round(20 * self._scale))
        above = y0 - plate.shape[0] - thick
        top = above if above >= 0 else max(0, y0 + thick)
        left = max(0, min(x0 - thick // 2, picture.shape[1] - plate.shape[1]))
        _blend(picture, plate, left, max(0, min(top, picture.shape[0] - plate.shape[0])))

    def _bars(self, picture: Frame, shown: list[InSight], moment: int) -> None:
        """Draw the scores of some people, where they hide least of the faces."""
        taken: list[Rectangle] = []
        faces = [tuple(one.box_px.tolist()) for one in shown if one.box_px is not None]
        for one in shown[:MOST_PANELS]:
            known = self._panels.get(one.person.id)
            if known is None or known[0] != moment:
                self._panels[one.person.id] = moment, self._panel(one)
            panel = self._panels[one.person.id][1]
            if panel.shape[0] * panel.shape[1] > LARGEST_PANEL * picture[..., 0].size:
                continue  # it would hide what it is about
            place = self._place(one, panel.shape, picture.shape, faces, taken)
            if any(_shared(place, other) for other in taken):
                continue  # there is no room
            taken.append(place)
            _blend(picture, panel, int(place[0]), int(place[1]))

    def _place(
        self,
        one: InSight,
        size: tuple[int, ...],
        around: tuple[int, ...],
        faces: list[Rectangle],
        taken: list[Rectangle],
    ) -> Rectangle:
        """Return where a panel goes; it stays where it was unless it hides clearly more there."""
        gap, (height, width) = round(12 * self._scale), size[:2]
        right, bottom = around[1] - width - gap, around[0] - height - gap
        own = right / 2 if one.box_px is None else (one.box_px[0] + one.box_px[2] - width) / 2
        lefts = (gap, right, min(max(round(float(own)), gap), max(right, gap)))
        places = [(x, y, x + width, y + height) for y in (bottom, gap) for x in lefts]
        hidden = [
            sum(_shared(place, face) for face in faces)
            + sum(around[0] * around[1] * (_shared(place, other) > 0) for other in taken)
            for place in places
        ]
        best = int(np.argmin(hidden))
        last = self._places.get(one.person.id, best)
        if hidden[best] < CLEARLY_LESS * hidden[last]:
            last = best
        self._places[one.person.id] = last
        return places[last]

    def _panel(self, one: InSight) -> NDArray[np.uint8]:
        scale, labels = self._scale, self._timeline.labels
        row, bar, name, value, edge = (
            round(size * scale) for size in (ROW, BAR, NAME, VALUE, EDGE)
        )
        title = row if len(self._timeline.people) > 1 else 0
        size = name + bar + value + 2 * edge, row * len(labels) + title + 2 * edge
        image = Image.new("RGBA", size, PLATE)
        canvas, font = ImageDraw.Draw(image), _font(round(15 * scale))
        if title:
            canvas.text((edge, edge + row / 2), f"Person {one.person.id}", INK, font, "lm")
        for place, (label, score) in enumerate(zip(labels, one.scores, strict=True)):
            top = edge + title + place * row
            middle, left = top + row / 2, edge + name
            canvas.text((edge, middle), _fitted(label, font, name - edge / 2), INK, font, "lm")
            canvas.rectangle(
                (left, top + row * 0.2, left + max(1.0, bar * float(score)), top + row * 0.8),
                self._colours[label],
            )
            canvas.text((size[0] - edge, middle), f"{score:.0%}", INK, font, "rm")
        return np.asarray(image)


@lru_cache(512)
def _plate(text: str, colour: tuple[int, int, int], height: int) -> NDArray[np.uint8]:
    """Draw words on a plate of a colour, (height, width, 4)."""
    font = _font(max(8, round(height * 0.9)))
    left, _, right, bottom = font.getbbox(text)
    pad = max(2, round(height * 0.3))
    size = int(right - left) + 2 * pad, int(bottom) + 2 * pad
    image = Image.new("RGBA", size, (*colour, 235))
    ink = (16, 16, 16, 255) if sum(colour) > 380 else INK
    ImageDraw.Draw(image).text((pad - left, pad), text, ink, font)
    return np.asarray(image)


@lru_cache(8)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu, which comes with matplotlib."""
    import matplotlib

    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), max(7, size_px)
    )


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Return a text, shortened to a width."""
    if font.getlength(text) <= width:
        return text
    while len(text) > 1 and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _shared(one: Rectangle, other: Rectangle) -> float:
    """Return the area that two rectangles share, in px."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def _blend(picture: Frame, drawn: NDArray[np.uint8], left: int, top: int) -> None:
    """Lay a drawing (height, width, 4) with its opacity on a picture; what sticks out is cut."""
    height, width = picture.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + drawn.shape[1], width), min(top + drawn.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return
    part = drawn[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32)
    opacity = part[..., 3:] / 255
    under = picture[y0:y1, x0:x1]
    picture[y0:y1, x0:x1] = (under * (1 - opacity) + part[..., :3] * opacity).astype(np.uint8)
