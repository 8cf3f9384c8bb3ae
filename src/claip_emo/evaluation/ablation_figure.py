"""The figure of an ablation: score against trained parameters, with whiskers and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    PercentFormatter,
)
from numpy.typing import NDArray

from claip_emo.evaluation.figures import FIRST, INK, LINE, SECOND, SOFT, as_svg

COLOURS = (FIRST, SECOND, "#2c9a6b", "#9b62c8", "#cc4a6e", "#8c7c1e", "#2796a6", "#7d6a5a")
MARKERS = "os^vDPX*"
SIZE_IN = (9.2, 5.2)
NEAR = 0.017  # points closer than this share of the axis are moved apart
LABELLED = 40  # points above which labels are left out: nobody could read them
GAP_PX = 9  # between a point and the label beside it
TRIES = 4  # to make room for the labels


@dataclass(frozen=True, slots=True)
class Mark:
    """One cell in the figure.

    Attributes:
        trainable: number of trained parameters.
        score: share.
        low: lower end of its interval.
        high: upper end.
        group: what its colour stands for.
        label: what stands beside it.
        is_reference: whether the others are compared with it.
        order: place along its axis, where that is one of numbers: such cells are joined by a line.
    """

    trainable: int
    score: float
    low: float
    high: float
    group: str
    label: str
    is_reference: bool
    order: float | None


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure as PNG."""
    figure.savefig(path, format="png", dpi=160, facecolor="white")


def to_svg(figure: Figure) -> str:
    """Return the figure as an SVG element in the colours of the page."""
    score_name = figure.axes[0].get_ylabel().partition(" ")[0]
    described = f"{score_name} of every cell against its trained parameters, with intervals"
    return as_svg(figure, "ablation", described)


def draw(marks: Sequence[Mark], score_name: str) -> Figure:
    """Draw the cells.

    Args:
        marks: one per cell.
        score_name: what the score is called: WAR or UAR.
    """
    figure = Figure(figsize=SIZE_IN, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _frame(axes, marks, score_name)
    groups = list(dict.fromkeys(m.group for m in marks if not m.is_reference))
    style = {g: (COLOURS[i % 8], MARKERS[i % 8]) for i, g in enumerate(groups)}
    reference = next((mark for mark in marks if mark.is_reference), None)
    if reference is not None:
        style.setdefault(reference.group, (INK, "D"))
        axes.axhline(reference.score, color=SOFT, lw=1, ls=(0, (4, 3)), zorder=1)
    places = _apart(axes, marks)
    for group in groups:
        _join(axes, marks, places, group, style[group][0])
    named: set[str] = set()
    for mark, x in zip(marks, places, strict=True):
        colour, marker = style[mark.group]
        axes.errorbar(
            x, mark.score, [[mark.score - mark.low], [mark.high - mark.score]],
            color=colour, marker=marker, ms=8 if mark.is_reference else 6.5, lw=1.4, capsize=3,
            mec=INK if mark.is_reference else colour, mew=1.6 if mark.is_reference else 0.5,
            label=None if mark.group in named else mark.group, zorder=3 + mark.is_reference,
        )  # fmt: skip
        named.add(mark.group)
    handles, names = axes.get_legend_handles_labels()
    points = [handle[0] for handle in handles]  # the marker without its whisker
    figure.legend(
        points, names, loc="outside upper left", ncols=min(6, len(names)), frameon=False,
        fontsize=9.5, labelcolor=INK, handletextpad=0.3, columnspacing=1.4,
    )  # fmt: skip
    if len(marks) <= LABELLED:
        _label(figure, axes, marks, places, {g: c for g, (c, _) in style.items()})
    low, high = axes.get_ylim()  # labels may have made it higher: no share is above 1 or below 0
    ticks = [tick for tick in axes.get_yticks() if max(low, 0) <= tick <= min(high, 1)]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    return figure


def _frame(axes: Axes, marks: Sequence[Mark], score_name: str) -> None:
    """Set scales, limits and ticks."""
    sizes = [mark.trainable for mark in marks]
    axes.set_xscale("log")
    room = max(1.15, (max(sizes) / min(sizes)) ** 0.07)
    axes.set_xlim(min(sizes) / room, max(sizes) * room)
    low, high = min(mark.low for mark in marks), max(mark.high for mark in marks)
    pad = 0.06 * (high - low) or 0.02
    axes.set_ylim(low - pad, high + pad)
    wide = max(sizes) / min(sizes) > 30
    axes.xaxis.set_major_locator(LogLocator(10, (1,) if wide else (1, 2, 3, 5), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: _size(count)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if high - low > 0.05 else 1))
    axes.set_xlabel("trained parameters (log scale)", color=SOFT, fontsize=9.5)
    axes.set_ylabel(f"{score_name} on the test part, 95 % interval", color=SOFT, fontsize=9.5)
    axes.tick_params(colors=SOFT, labelsize=9.5, length=0, pad=5, which="both")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.grid(axis="y", color=LINE, lw=0.8)
    axes.set_axisbelow(True)


def _size(count: float) -> str:
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return f"{count:.3g}"


def _apart(axes: Axes, marks: Sequence[Mark]) -> list[float]:
    """Return where each point stands on the x axis: at its size, or as near as its neighbours let.

    Points must be a step apart. That is a regression that may not fall: of sizes from which the
    steps before them are taken off.
    """
    low, high = np.log(axes.get_xlim())
    step = NEAR * (high - low)
    exact = np.log([mark.trainable for mark in marks])
    order = sorted(range(len(marks)), key=lambda at: (exact[at], not marks[at].is_reference))
    blocks: list[list[float]] = []  # neighbours that share their displacement
    for place, at in enumerate(order):
        blocks.append([float(exact[at] - place * step)])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    fitted = np.concatenate([np.full(len(block), np.mean(block)) for block in blocks])
    moved = np.empty(len(marks))
    moved[order] = fitted + np.arange(len(marks)) * step
    return [float(x) for x in np.exp(moved)]


def _join(
    axes: Axes, marks: Sequence[Mark], places: Sequence[float], group: str, colour: str
) -> None:
    """Join the cells of an axis of numbers by a line, in their order."""
    own = [
        (mark.order, x, mark.score)
        for mark, x in zip(marks, places, strict=True)
        if mark.group == group and mark.order is not None
    ]
    if len(own) > 1:
        _, xs, ys = zip(*sorted(own), strict=True)
        axes.plot(xs, ys, color=colour, lw=1.1, alpha=0.45, zorder=2)


def _label(
    figure: Figure,
    axes: Axes,
    marks: Sequence[Mark],
    places: Sequence[float],
    colours: dict[str, str],
) -> None:
    """Write each label beside its point, or, where that is taken, upright at an end of its whisker.

    Labels that do not fit into the frame make it higher, and are placed again.
    """
    for attempt in range(TRIES):
        figure.draw_without_rendering()
        frame = axes.get_window_extent().extents
        boxes = _place_labels(axes, marks, places, colours)
        above = max([box[3] - frame[3] for box in boxes], default=0)
        below = max([frame[1] - box[1] for box in boxes], default=0)
        if attempt == TRIES - 1 or max(above, below) <= 0:
            break
        low, high = axes.get_ylim()
        scale = (high - low) / (frame[3] - frame[1])
        axes.set_ylim(low - 1.4 * max(below, 0) * scale, high + 1.4 * max(above, 0) * scale)
        for text in list(axes.texts):
            text.remove()
    figure.set_layout_engine("none")


def _place_labels(
    axes: Axes, marks: Sequence[Mark], places: Sequence[float], colours: dict[str, str]
) -> list[NDArray[np.float64]]:
    """Write the labels where they cover least; return their boxes (4,), in px."""
    figure = axes.figure
    frame = axes.get_window_extent().extents
    points = [
        axes.transData.transform([(x, mark.score), (x, mark.low), (x, mark.high)])
        for x, mark in zip(places, marks, strict=True)
    ]
    taken = []  # x0, y0, x1, y1, and how bad it is to cover it
    for (px, py), (_, low), (_, high) in points:
        taken.append((px - 6, py - 6, px + 6, py + 6, 4.0))
        taken.append((px - 3, low - 1, px + 3, high + 1, 2.0))
    boxes = []
    # From the outside in: what has room beside it leaves the ends of the whiskers to the others.
    for place in sorted(range(len(marks)), key=lambda at: -_room(points, at)):
        mark, ((px, py), (_, low), (_, high)) = marks[place], points[place]
        if not mark.label:
            continue
        text = axes.annotate(
            mark.label, (places[place], mark.score), (0, 0), textcoords="offset points",
            color=colours[mark.group], fontsize=9, ha="center", va="center", zorder=6,
            fontweight="bold" if mark.is_reference else "normal",
        )  # fmt: skip
        extent = text.get_window_extent()
        flat, upright = (extent.width / 2, extent.height / 2), (extent.height / 2, extent.width / 2)
        candidates = [
            ((px + GAP_PX + flat[0], py), flat, 0),
            ((px - GAP_PX - flat[0], py), flat, 0),
            ((px, high + 5 + upright[1]), upright, 90),
            ((px, low - 5 - upright[1]), upright, 90),
        ]
        tried = np.array([[x - w, y - h, x + w, y + h] for (x, y), (w, h), _ in candidates])
        cost = _covered(tried, np.array(taken), frame) + np.arange(len(candidates))
        best = int(cost.argmin())
        (x, y), _, rotation = candidates[best]
        text.set_position(((x - px) * 72 / figure.dpi, (y - py) * 72 / figure.dpi))
        text.set_rotation(rotation)
        taken.append((*tried[best], 6.0))
        boxes.append(tried[best])
    return boxes


def _room(points: Sequence[NDArray[np.float64]], place: int) -> float:
    """Return the distance from a point to its nearest neighbour to the left or right, in px."""
    own = points[place][0][0]
    return min((abs(own - other[0][0]) for i, other in enumerate(points) if i != place), default=0)


def _covered(
    boxes: NDArray[np.float64], taken: NDArray[np.float64], frame: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how bad each box (candidate, 4) is: what it covers, and what is beside the frame.

    What is above or below it costs nothing: the frame can be made higher.
    """
    low = np.maximum(boxes[:, None, :2], taken[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], taken[None, :, 2:4])
    shared = np.clip(high - low, 0, None)  # (candidate, taken, 2)
    covers = shared.min(axis=-1) > 0
    cost = (covers * (20 + shared.prod(axis=-1)) * taken[:, 4]).sum(axis=1)
    outside = np.clip(frame[0] - boxes[:, 0], 0, None) + np.clip(boxes[:, 2] - frame[2], 0, None)
    return cost + 50 * outside
