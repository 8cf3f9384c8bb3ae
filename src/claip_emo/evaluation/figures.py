"""Figures of the report as inline SVG: no background, and the page's own colours, light or dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter

from claip_emo.metrics import Reliability

# Colours that nothing else has: each is replaced by a variable of the page's style sheet.
INK, SOFT, LINE = "#0a0b0c", "#8a8f98", "#d4d6da"
FIRST, SECOND = "#2f6fbd", "#c56a1a"
VARIABLES = {INK: "ink", SOFT: "soft", LINE: "line", FIRST: "accent", SECOND: "warm"}
SIZE_IN = (5.2, 3.1)
FOLDS_SIZE_IN = (3.7, 3.1)
FEW = 5  # clips in a bin, under which its height says little


def learning_curves(history: list[dict[str, Any]], kept: float | None = None) -> list[str]:
    """Draw the losses, and the WAR and UAR of what was watched, over the epochs; one figure each.

    Args:
        history: lines of ``history.jsonl``; what is missing in a line is not drawn.
        kept: the epoch whose weights were kept, which is marked.
    """
    drawn = []
    train, checked = _events(history, "train"), _events(history, "validation")
    part = watched_part(history)
    losses = [
        (_series(train, "loss"), {"color": SOFT, "lw": 1.1, "label": "training"}),
        (_series(checked, "loss"), {"color": FIRST, **_dots(checked), "label": part}),
    ]
    if any(series for series, _ in losses):
        figure, axes = _figure()
        _lines(axes, losses)
        axes.set_ylim(bottom=0)
        _finish(axes, "epoch", "loss", kept)
        drawn.append(as_svg(figure, "losses", f"Loss of the training and {part} part, by epoch"))
    scores = [
        (_series(checked, "war"), {"color": FIRST, **_dots(checked), "label": "WAR"}),
        (_series(checked, "uar"), {"color": SECOND, **_dots(checked), "label": "UAR"}),
    ]
    if any(series for series, _ in scores):
        figure, axes = _figure()
        _lines(axes, scores)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _finish(axes, "epoch", f"{part} part", kept)
        drawn.append(as_svg(figure, "scores", f"WAR and UAR of the {part} part, by epoch"))
    return drawn


def watched_part(history: list[dict[str, Any]]) -> str:
    """Return the part that was scored after the epochs: ``validation``, or ``test`` where it chose.

    Args:
        history: lines of ``history.jsonl``.
    """
    parts = [row.get("part") for row in _events(history, "validation")]
    return "test" if parts and parts[-1] == "test" else "validation"


def fold_scores(folds: dict[str, dict[str, Any]], mean: dict[str, float]) -> str:
    """Draw WAR and UAR of each fold, and their means as lines.

    Args:
        folds: fold -> ``war`` and ``uar``.
        mean: ``war`` and ``uar`` over the folds.
    """
    figure = Figure(figsize=FOLDS_SIZE_IN, layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(folds))
    for key, colour, marker, aside in (("war", FIRST, "o", -0.08), ("uar", SECOND, "D", 0.08)):
        values = [row[key] for row in folds.values()]
        label = f"{key.upper()}, mean {100 * mean[key]:.2f} %"
        axes.axhline(mean[key], color=colour, lw=1.1, ls=(0, (4, 3)))
        axes.plot(places + aside, values, color=colour, ls="", marker=marker, ms=6, label=label)
    axes.set_xticks(places, list(folds))
    axes.set_xlim(-0.5, len(folds) - 0.5)
    spread = [row[key] for row in folds.values() for key in ("war", "uar")]
    axes.set_ylim(max(-0.01, min(spread) - 0.04), min(1.01, max(spread) + 0.04))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    decimals = 0 if max(spread) - min(spread) > 0.05 else 1
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=decimals))
    _finish(axes, "fold", "", legend=False)
    figure.legend(loc="outside upper left", ncols=1, frameon=False, fontsize=9, labelcolor=INK)
    return as_svg(figure, "folds", "WAR and UAR of each fold, with their means")


def reliability_diagram(calibration: Reliability) -> str:
    """Draw accuracy by confidence, and below it how many clips each bin holds."""
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    centres = (calibration.edges[:-1] + calibration.edges[1:]) / 2
    width = float(np.diff(calibration.edges)[0]) * 0.86
    shown = calibration.count > 0
    diagonal = {"color": INK, "lw": 1.1, "ls": (0, (4, 3)), "zorder": 3}
    above.plot([0, 1], [0, 1], label="perfectly calibrated", **diagonal)
    for bars, alpha, label in (
        (shown & (calibration.count >= FEW), 1.0, "share right"),
        (shown & (calibration.count < FEW), 0.35, f"fewer than {FEW} clips"),
    ):
        if bars.any():
            heights = calibration.accuracy[bars]
            above.bar(centres[bars], heights, width, color=FIRST, alpha=alpha, label=label)
    above.set_xlim(0, 1)
    above.set_ylim(0, 1.02)
    above.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    below.bar(centres, calibration.count, width, color=SOFT)
    below.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    _finish(above, "", "share right", legend=False)
    _finish(below, "confidence", "clips", legend=False)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8.5, labelcolor=INK)
    return as_svg(
        figure, "reliability", "Share of right predictions by confidence, with clip counts"
    )


def coverage_curve(curve: list[dict[str, float]], clips: int) -> str:
    """Draw how many of the answers are right if only the surest clips are answered.

    Args:
        curve: ``threshold``, ``share`` answered and ``accuracy``, from all clips to the surest.
        clips: how many there are; the curve ends where fewer than ten are answered.
    """
    drawn = [point for point in curve if point["share"] * clips >= 2 * FEW] or curve
    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*_shares(drawn), color=FIRST, lw=1.6)
    named: dict[tuple[float, float], list[str]] = {}
    for threshold in (0.5, 0.7, 0.9):
        if (mark := next((p for p in drawn if p["threshold"] >= threshold), None)) is not None:
            named.setdefault((mark["share"], mark["accuracy"]), []).append(f"{threshold:g}")
    for place, thresholds in named.items():  # where no clip lies between, one point is several
        axes.plot(*place, color=FIRST, marker="o", ms=6)
        axes.annotate(
            ", ".join(thresholds), place, (0, 7),
            textcoords="offset points", fontsize=8.5, color=INK, ha="center",
        )  # fmt: skip
    axes.set_xlim(0, 1.04)
    axes.set_ylim(max(0.0, min(p["accuracy"] for p in drawn) - 0.08), 1.03)
    axes.yaxis.set_major_locator(FixedLocator(_up_to_one(axes.get_yticks())))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    _finish(axes, "share of the clips that is answered", "share of the answers right", legend=False)
    return as_svg(figure, "coverage", "Share of right answers by the share of clips answered")


def _shares(points: list[dict[str, float]]) -> tuple[list[float], list[float]]:
    return [point["share"] for point in points], [point["accuracy"] for point in points]


def _up_to_one(ticks: Iterable[float]) -> list[float]:
    """Return the ticks that a share can reach."""
    return [tick for tick in ticks if tick <= 1 + 1e-9]


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE_IN, layout="constrained")
    return figure, figure.subplots()


def _events(history: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [row for row in history if row.get("event") == event]


def _series(rows: list[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """Return (epoch, value) where both are numbers: a diverged loss or a lost field is left out."""
    pairs = [(row.get("epoch"), row.get(key)) for row in rows]
    return [
        (float(epoch), float(value))
        for epoch, value in pairs
        if isinstance(epoch, int | float)
        and isinstance(value, int | float)
        and math.isfinite(value)
    ]


def _dots(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mark each validation, as long as the marks do not touch."""
    return {"marker": "o", "ms": 3} if len(rows) <= 40 else {}


def _lines(axes: Axes, lines: list[tuple[list[tuple[float, float]], dict[str, Any]]]) -> None:
    for series, style in lines:
        if series:
            axes.plot(*zip(*series, strict=True), **style)


def _finish(axes: Axes, x: str, y: str, kept: float | None = None, *, legend: bool = True) -> None:
    if kept is not None:
        axes.axvline(kept, color=INK, lw=1, ls=(0, (2, 2)), label=f"kept (epoch {kept:g})")
    if x == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(x, color=SOFT, fontsize=9)
    axes.set_ylabel(y, color=SOFT, fontsize=9)
    frame(axes)
    if legend:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, handlelength=1.4)


def frame(axes: Axes, label_size: float = 9) -> None:
    """Leave of the frame what is read: a line below, and thin ones across."""
    axes.tick_params(colors=SOFT, labelsize=label_size, length=0, pad=5)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.grid(axis="y", color=LINE, lw=0.8)
    axes.set_axisbelow(True)


def as_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an SVG element that scales with the page and is described to all."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)  # ids: once in the page
    text = re.sub(r"font: ([^;\"]*?)'[^;\"]*", r"font: \1system-ui, sans-serif", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    for side in ("width", "height"):
        text = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)
