"""The figure of a timeline: a lane for each person, their scores over time and their segments."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from claip_emo.inference.abstention import UNCERTAIN
from claip_emo.inference.colours import colours_of
from claip_emo.inference.outputs import shown_name
from claip_emo.inference.timeline_result import Stretch, Timeline, TimelinePerson

INK, SOFT = "#22252a", "#7d828a"
WIDTH_IN, LANE_IN, AROUND_IN = 12.0, 1.5, 1.5
MOST_LANES = 12  # more would fit no page; the longest in sight are drawn
LETTER_SHARE = 0.0065  # of the width of the figure, that one letter takes
STRIP = -0.34, 0.22  # bottom and height of the strip of segments, below the scores
PATH_LETTERS = 90


def draw(timeline: Timeline, path: Path) -> None:
    """Draw a timeline as a picture whose format follows from the suffix."""
    people = sorted(timeline.people, key=_in_sight_s, reverse=True)[:MOST_LANES]
    people.sort(key=lambda person: person.id)
    figure = Figure((WIDTH_IN, AROUND_IN + LANE_IN * len(people)), facecolor="white")
    lanes = figure.subplots(len(people), 1, sharex=True, squeeze=False)[:, 0]
    for axes, person in zip(lanes, people, strict=True):
        _lane(axes, timeline, person)
    _clock_axis(lanes[-1], timeline)
    _head(figure, timeline, len(people))
    height = figure.get_figheight()
    figure.subplots_adjust(0.075, 0.55 / height, 0.985, 1 - 0.95 / height, hspace=0.18)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names in any script; boxes then
        figure.savefig(path, dpi=110, facecolor="white")


def _in_sight_s(person: TimelinePerson) -> float:
    return sum(stretch.end_s - stretch.start_s for stretch in person.stretches)


def _lane(axes: Axes, timeline: Timeline, person: TimelinePerson) -> None:
    """Draw one person."""
    for stretch in person.stretches:
        _scores(axes, timeline, stretch)
        _strip(axes, timeline, stretch)
    for cut_s in timeline.cuts_s:
        axes.axvline(cut_s, color=SOFT, lw=0.5, ls=(0, (2, 3)), zorder=0)
    axes.set_ylim(STRIP[0], 1)
    axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"], fontsize=8, color=SOFT)
    axes.tick_params(length=0)
    if len(timeline.people) > 1:
        axes.set_ylabel(f"Person {person.id}", fontsize=9.5, color=INK)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _scores(axes: Axes, timeline: Timeline, stretch: Stretch) -> None:
    """Draw the scores of a stretch as areas upon each other; they sum to 1."""
    edges, scores = stretch.curve.edges_s, stretch.curve.scores
    middles = (edges[:-1] + edges[1:]) / 2
    times = np.concatenate([edges[:1], middles, edges[-1:]])
    held = np.concatenate([scores[:1], scores, scores[-1:]])
    axes.stackplot(times, held.T, colors=colours_of(timeline.labels), alpha=0.85, lw=0)


def _strip(axes: Axes, timeline: Timeline, stretch: Stretch) -> None:
    """Draw the segments of a stretch, named where there is room."""
    names = (*timeline.labels, UNCERTAIN)
    colours = dict(zip(names, colours_of(names), strict=True))
    letter_s = LETTER_SHARE * (timeline.duration_s or 1.0)
    bottom, height = STRIP
    for segment in stretch.segments:
        length = segment.end_s - segment.start_s
        axes.add_patch(
            Rectangle((segment.start_s, bottom), length, height, color=colours[segment.label], lw=0)
        )
        said = next(
            (text for text in (f"{segment.label} {segment.score:.0%}", segment.label)
             if len(text) * letter_s < length),
            "",
        )  # fmt: skip
        middle = (segment.start_s + segment.end_s) / 2
        axes.text(
            middle, bottom + height / 2, said, ha="center", va="center", fontsize=8, color=INK
        )


def _clock_axis(axes: Axes, timeline: Timeline) -> None:
    axes.set_xlim(0, timeline.duration_s or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 1.5, 2, 3, 5, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
    axes.tick_params(axis="x", labelsize=8.5, colors=SOFT, length=3)
    axes.set_xlabel("time", fontsize=9, color=SOFT)


def _head(figure: Figure, timeline: Timeline, drawn: int) -> None:
    """Write whose figure it is, and what its colours mean."""
    title = shown_name(timeline.path, PATH_LETTERS)
    left = len(timeline.people) - drawn
    title += f"   ({left} more people, less long in sight, are not drawn)" if left else ""
    figure.suptitle(
        title, x=0.075, y=1 - 0.12 / figure.get_figheight(), ha="left",
        va="top", fontsize=12, color=INK,
    )  # fmt: skip
    patches = [
        Patch(color=colour, label=label)
        for label, colour in zip(timeline.labels, colours_of(timeline.labels), strict=True)
    ]
    figure.legend(
        handles=patches, ncols=min(len(patches), 9), loc="upper left", frameon=False, fontsize=9,
        bbox_to_anchor=(0.067, 1 - 0.4 / figure.get_figheight()), handlelength=1, handleheight=1,
        columnspacing=1.4, labelcolor=INK,
    )  # fmt: skip


def clock(seconds: float) -> str:
    """Return a time as people read it: ``8.5 s``, ``2:05`` or ``1:02:05``."""
    if seconds < 59.95:
        return f"{max(seconds, 0):g} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
