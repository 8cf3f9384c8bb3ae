"""Figures of the report as inline SVG: they have no background and take the page's text colour."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from claip_emo.metrics import Reliability

INK = "#0a0b0c"  # a colour that nothing else has: replaced by the page's own text colour
BLUE, ORANGE, GREY = "#4c8bd6", "#e08a3c", "#8a8f98"
SIZE_IN = (5.6, 3.0)


def learning_curves(history: list[dict[str, Any]]) -> list[str]:
    """Draw the losses, and the validation's WAR and UAR, over the epochs; one figure each."""
    train = [row for row in history if row.get("event") == "train"]
    checked = [row for row in history if row.get("event") == "validation"]
    epochs = [r["epoch"] for r in checked]
    losses = Figure(figsize=SIZE_IN, layout="constrained")
    axes = losses.subplots()
    axes.plot([r["epoch"] for r in train], [r["loss"] for r in train], color=GREY, label="training")
    axes.plot(
        epochs, [r["loss"] for r in checked], color=BLUE, marker="o", ms=3, label="validation"
    )
    _axes(axes, "epoch", "loss")
    drawn = [_svg(losses, "Loss of the training and the validation part, by epoch")]
    if not checked:
        return drawn
    scores = Figure(figsize=SIZE_IN, layout="constrained")
    axes = scores.subplots()
    for key, colour in (("war", BLUE), ("uar", ORANGE)):
        values = [r[key] for r in checked]
        axes.plot(epochs, values, color=colour, marker="o", ms=3, label=key.upper())
    best = [r["epoch"] for r in checked if r.get("best")]
    if best:
        axes.axvline(best[-1], color=GREY, lw=1, ls="--", label="best epoch")
    axes.set_ylim(0, 1.02)
    _axes(axes, "epoch", "validation")
    return [*drawn, _svg(scores, "WAR and UAR of the validation part, by epoch")]


def reliability_diagram(calibration: Reliability) -> str:
    """Draw accuracy against confidence, with a bar per bin as wide as it is."""
    figure = Figure(figsize=SIZE_IN, layout="constrained")
    axes = figure.subplots()
    centres = (calibration.edges[:-1] + calibration.edges[1:]) / 2
    width = float(np.diff(calibration.edges)[0]) * 0.9
    share = calibration.count / max(int(calibration.count.sum()), 1)
    shown = ~np.isnan(calibration.accuracy)
    axes.bar(
        centres[shown], calibration.accuracy[shown], width, color=BLUE, alpha=0.85, label="accuracy"
    )
    axes.plot(centres, share, color=ORANGE, drawstyle="steps-mid", label="share of clips")
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="perfect")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    _axes(axes, "confidence", "share that is right")
    return _svg(figure, "Reliability: share of right predictions by confidence")


def _axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.grid(alpha=0.25, color=GREY, lw=0.6)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)


def _svg(figure: Figure, description: str) -> str:
    """Return a figure as an SVG element that scales with the page and is described to all."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font: ([^;\"]*?)'[^;\"]*", r"font: \1system-ui, sans-serif", text)
    for side in ("width", "height"):
        text = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)
