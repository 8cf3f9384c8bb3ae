"""The figure of a calibration: what confidence is worth, and what answering only if sure gains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from claip_emo.evaluation.figures import FEW, FIRST, INK, SECOND, SOFT, as_svg, frame
from claip_emo.intervals import wilson_interval

WIDTH_IN, ROW_IN = 9.6, 4.1
SIDES = {"before": (SECOND, "s", (0, (4, 2))), "after": (FIRST, "o", "-")}
"""Colour, marker and line of each side; shape and line tell them apart without colour."""
ASIDE = {"before": -0.008, "after": 0.008}  # so that whiskers do not hide each other
FEWEST_DRAWN = 10  # answers, under which the coverage curve is noise


def draw(parts: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], target: float) -> Figure:
    """Draw a row for each modality: reliability with counts, and the coverage curve.

    Args:
        parts: modality -> what ``calibration.evidence`` returns, with ``before`` and ``after``.
        names: modality -> what it is called.
        target: accuracy that the answers were to have.
    """
    figure = Figure(figsize=(WIDTH_IN, ROW_IN * len(parts)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subfigures(len(parts), 1, squeeze=False)[:, 0]
    for row, (there, part) in zip(rows, parts.items(), strict=True):
        if len(parts) > 1:
            title = f"{names[there]}, {part['judged_on']:,} clips"
            row.suptitle(title, x=0.012, ha="left", fontsize=11, color=INK, fontweight="bold")
        _draw_row(row, part, target)
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure as PNG."""
    figure.savefig(path, format="png", dpi=160, facecolor="white")


def to_svg(figure: Figure, there: str) -> str:
    """Return the figure of one modality as an SVG element in the colours of the page."""
    described = "Accuracy by confidence, and by the share of clips answered, before and after"
    return as_svg(figure, f"calibration-{there}", described)


def _draw_row(row: SubFigure, part: Mapping[str, Any], target: float) -> None:
    left, right = row.subfigures(1, 2, wspace=0.04)
    above, below = left.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    answers = right.subplots()
    above.plot([0, 1], [0, 1], color=INK, lw=1.1, ls=(0, (1, 2)), zorder=1)
    answers.axhline(target, color=INK, lw=1.1, ls=(0, (1, 2)), zorder=1)
    for side in SIDES:
        _reliability(above, part[side]["bins"], side, part[side]["calibration_error"])
        _counts(below, part[side]["bins"], side)
        _coverage(answers, part[side], side, part["judged_on"])
    for axes in (above, below, answers):
        _frame(axes)
    above.set(xlim=(0, 1.02), ylim=(0, 1.03), ylabel="share right")
    below.set(xlabel="confidence (highest score)", ylabel="clips")
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    below.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _frame_answers(answers, part, target)
    for axes in (above, answers):
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, frameon=False, fontsize=8.5,
            labelcolor=INK, handlelength=1.8, handletextpad=0.5, columnspacing=1.4,
        )  # fmt: skip


def _reliability(
    axes: Axes, bins: list[dict[str, Any]], side: str, error: Mapping[str, Any]
) -> None:
    """Draw the share that is right in each bin, with its interval; faint where clips are few."""
    colour, marker, _ = SIDES[side]
    x = np.array([each["confidence"] for each in bins]) + ASIDE[side]
    y = np.array([each["accuracy"] for each in bins])
    enough = np.array([each["count"] >= FEW for each in bins])
    label = f"{side}: ECE {100 * error['value']:.1f} %"
    axes.plot(x[enough], y[enough], color=colour, ls="", marker=marker, ms=6, label=label)
    axes.plot(x[~enough], y[~enough], color=colour, ls="", marker=marker, ms=4, alpha=0.35)
    for place in np.flatnonzero(enough):
        count = bins[place]["count"]
        ends = wilson_interval(round(y[place] * count), count)
        axes.plot([x[place]] * 2, ends, color=colour, lw=1.1, alpha=0.5)


def _counts(axes: Axes, bins: list[dict[str, Any]], side: str) -> None:
    """Draw how many clips each bin holds, both sides beside each other."""
    width = 0.42 * (bins[0]["high"] - bins[0]["low"])
    shift = width / 2 if side == "after" else -width / 2
    centres = np.array([(each["low"] + each["high"]) / 2 for each in bins]) + shift
    axes.bar(centres, [each["count"] for each in bins], width, color=SIDES[side][0])


def _coverage(axes: Axes, told: Mapping[str, Any], side: str, clips: int) -> None:
    """Draw accuracy against the share answered; mark where the threshold lies."""
    colour, marker, line = SIDES[side]
    drawn = _drawn(told, clips)
    shares = [point["share"] for point in drawn]
    accuracies = [point["accuracy"] for point in drawn]
    axes.plot(shares, accuracies, color=colour, ls=line, lw=1.6, label=side)
    answers = told["answers"]
    if answers["answered"]:
        place = answers["share"], answers["accuracy"]
        axes.plot([place[0]] * 2, answers["interval_95"], color=colour, lw=1.2, alpha=0.6)
        axes.plot(*place, color=colour, ls="", marker=marker, ms=9, mec="white", mew=1.2, zorder=4)


def _drawn(told: Mapping[str, Any], clips: int) -> list[dict[str, float]]:
    """Return the part of a coverage curve that says something."""
    return [point for point in told["curve"] if point["share"] * clips >= FEWEST_DRAWN]


def _frame_answers(axes: Axes, part: Mapping[str, Any], target: float) -> None:
    told = [part[side] for side in SIDES]
    drawn = [p["accuracy"] for side in told for p in _drawn(side, part["judged_on"])]
    ends = [side["answers"]["interval_95"][0] for side in told if side["answers"]["answered"]]
    low = min([*drawn, *ends, target]) - 0.04
    axes.set(xlim=(0, 1.02), ylim=(max(0, low), 1.015))
    axes.set(xlabel="share of the clips that is answered", ylabel="share of the answers right")
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.text(
        0.01, target, f"wanted: {100 * target:g} %", fontsize=8, color=SOFT, va="bottom", ha="left"
    )
    limit = part["abstain_below"]
    marked = "no threshold reaches it" if limit is None else f"threshold {limit:.2f}"
    axes.plot([], [], color=SOFT, ls="", marker="o", ms=7, label=marked)


def _frame(axes: Axes) -> None:
    frame(axes, label_size=8.5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=SOFT, fontsize=9)
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
