"""The figure of an explanation: what carried a label, at a glance."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from claip_emo.inference.explain_words import (
    FAINT,
    NOTE,
    face_word,
    headline,
    region_name,
    sentence,
)
from claip_emo.inference.explanation import Explanation
from claip_emo.inference.occlusion import COVER, GRID
from claip_emo.inference.outputs import shown_name
from claip_emo.media.clip import Clip
from claip_emo.model.stacking import views_of

INK, SOFT, LINE, MUTE = "#1b1e23", "#5d6470", "#d4d6da", "#b9bec7"
FOR, AGAINST = "#d9660f", "#2f6fbd"
TINTS = LinearSegmentedColormap.from_list("drops", [AGAINST, "#8fb0d8", LINE, "#f0ac70", FOR])
STRIP = 10  # frames of the film strip; of more, the one that matters most in each tenth
SCORES = 7
NAME_LETTERS = 44
COLUMNS = 900  # of a waveform
DPI = 100


def draw(explanation: Explanation, clip: Clip, path: Path, kind: str = "png") -> None:
    """Draw what carried the label of a clip.

    Args:
        explanation: of the clip.
        clip: what was explained.
        path: where to.
        kind: format of the file, such as ``png`` or ``webp``.
    """
    seen, heard = bool(len(explanation.frame_times_s)), bool(len(explanation.pieces_s))
    with rc_context({"text.parse_math": False, "font.size": 10}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fonts lack characters that names may have
        figure = Figure(figsize=(14, 7.4 if seen else 4.8), facecolor="white")
        _head(figure, explanation)
        body = figure.subfigures(1, 2, width_ratios=[2.3, 1])
        if seen and heard:
            rows = body[0].subfigures(2, 1, height_ratios=[1.85, 1])
            _frames(rows[0], explanation, clip, 0.85, top=0.71, bottom=0.12)
            _sound(rows[1], explanation, clip)
        elif seen:
            _frames(body[0], explanation, clip, 0.35, top=0.8, bottom=0.14)
        elif heard:
            _sound(body[0], explanation, clip, top=0.7)
        _aside(body[1], explanation, clip)
        figure.savefig(path, format=kind, dpi=DPI)


def _head(figure: Figure, explanation: Explanation) -> None:
    tall = figure.get_figheight()

    def say(inches: float, text: str, **style: object) -> None:
        figure.text(0.035, 1 - inches / tall, text, va="top", **style)

    score = explanation.scores[explanation.label]
    say(0.22, f"{explanation.label} {score:.2f} — {headline(explanation)}", color=INK,
        fontsize=21, fontweight="bold")  # fmt: skip
    say(0.72, sentence(explanation), color=SOFT, fontsize=13.5)
    figure.text(0.965, 1 - 0.28 / tall, shown_name(explanation.path, NAME_LETTERS), va="top",
                ha="right", color=SOFT, fontsize=10)  # fmt: skip
    for place, (colour, meaning) in enumerate(((FOR, "speaks for it"), (AGAINST, "against it"))):
        figure.text(0.8 + 0.095 * place, 1 - 0.76 / tall, f"■ {meaning}", va="top", color=colour,
                    fontsize=11)  # fmt: skip
    figure.text(0.035, 0.14 / tall, NOTE, va="bottom", color=SOFT, fontsize=9)


def _frames(
    part: SubFigure, explanation: Explanation, clip: Clip, height: float, **space: float
) -> None:
    """Draw the film strip, so high beside 1, and how far the label falls without each frame."""
    space |= {"left": 0.075, "right": 0.97, "hspace": 0.56}
    film, bars = part.subplots(2, 1, height_ratios=[height, 1], gridspec_kw=space)
    times, drops = explanation.frame_times_s, explanation.frame_drops.log_odds
    shown = [int(few[drops[few].argmax()])
             for few in np.array_split(np.arange(len(times)), min(STRIP, len(times)))]  # fmt: skip
    pictures, tint = views_of([clip]).frames, _tint(drops)
    _title(film, f"The {face_word(explanation)}, frame by frame")
    for place, index in enumerate(shown):
        film.imshow(pictures[index], extent=(place + 0.05, place + 0.95, 0, 0.9),
                     interpolation="bicubic")  # fmt: skip
        film.add_patch(Rectangle((place + 0.05, 0), 0.9, 0.9, fill=False, lw=4, ec=tint[index]))
        film.text(place + 0.5, -0.07, f"{times[index]:.1f} s", ha="center", va="top", color=SOFT)
    film.set(xlim=(0, max(len(shown), STRIP)), ylim=(-0.05, 0.95), aspect="equal", anchor="NW")
    film.axis("off")
    _title(bars, f"Drop of “{explanation.label}” without each frame")
    width = 0.8 * float(np.diff(times).min()) if len(times) > 1 else 0.1
    bars.bar(times, drops, max(width, _length(explanation, clip) / 150), color=tint)
    _axis(bars, explanation, clip, drops)
    if explanation.attention is not None:
        beside = bars.twinx()
        beside.plot(times, explanation.attention, color=INK, lw=1.2, marker="o", ms=2.5)
        beside.set_ylim(bottom=0)
        beside.set_ylabel("attention (line)", color=SOFT)
        _plain(beside, ("top", "left", "right"))


def _sound(part: SubFigure, explanation: Explanation, clip: Clip, top: float = 0.86) -> None:
    """Draw the waveform in the colour of what its seconds carry."""
    axes = part.subplots(gridspec_kw={"left": 0.075, "right": 0.97, "top": top, "bottom": 0.27})
    drops, edges = explanation.piece_drops.log_odds, explanation.pieces_s
    tint = _tint(drops)
    for span, samples in dict(zip(clip.audio_spans_s, clip.waveforms, strict=True)).items():
        begin, end = span[0], min(span[1], edges[-1, 1])
        bounds = np.linspace(0, len(samples), min(COLUMNS, len(samples)) + 1).astype(int)[:-1]
        low, high = np.minimum.reduceat(samples, bounds), np.maximum.reduceat(samples, bounds)
        seconds = begin + (end - begin) * bounds / len(samples)
        piece = (np.searchsorted(edges[:, 0], seconds, side="right") - 1).clip(0)
        axes.vlines(seconds, low, high, colors=tint[piece], lw=1.4)
    _title(axes, f"The voice, coloured by the drop of “{explanation.label}” without those seconds")
    loud = max(float(np.abs(sound).max(initial=0)) for sound in clip.waveforms)
    axes.set(ylim=(-1.05 * loud, 1.05 * loud), yticks=[], xlim=_limits(explanation, clip))
    axes.set_xlabel("seconds", color=SOFT)
    _plain(axes, ("top", "left", "right"))


def _aside(part: SubFigure, explanation: Explanation, clip: Clip) -> None:
    """Draw the regions of the most important frame, the scores, and face against voice."""
    seen = explanation.region_drops is not None
    axes = part.subplots(
        2 + seen, 1, height_ratios=[3.4, 1.7, 0.75] if seen else [1.7, 0.75],
        gridspec_kw={"left": 0.27, "right": 0.93, "top": 0.8 if seen else 0.7,
                     "bottom": 0.1 if seen else 0.16, "hspace": 0.42},
    )  # fmt: skip
    if seen:
        _regions(axes[0], explanation, clip)
    _scores(axes[-2], explanation)
    _shares(axes[-1], explanation)


def _regions(axes: Axes, explanation: Explanation, clip: Clip) -> None:
    """Lay the drops of regions over the most important frame."""
    most = max(explanation.covered, key=lambda place: explanation.frame_drops.log_odds[place])
    grey = cv2.cvtColor(views_of([clip]).frames[most], cv2.COLOR_RGB2GRAY)
    drops = explanation.region_drops.log_odds
    heat = cv2.resize(drops, None, fx=16, fy=16, interpolation=cv2.INTER_LINEAR)
    colours = np.where(heat[..., None] > 0, to_rgba(FOR), to_rgba(AGAINST))
    colours[..., 3] = 0.85 * np.abs(heat) / _largest(drops)
    edge = (1 - COVER) / (GRID - 1) / 2
    inner = COVER / 2 - edge
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0), interpolation="bicubic")
    axes.imshow(colours, extent=(inner, 1 - inner, 1 - inner, inner), interpolation="bicubic")
    name, box = region_name(explanation), explanation.strongest_region
    if box is not None:
        left, top, right, bottom = box
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, lw=2, ec=FOR))
    axes.set(xlim=(0, 1), ylim=(1, 0))
    axes.axis("off")
    axes.text(0.5, 1.03, f"{explanation.frame_times_s[most]:.1f} s", ha="center", va="top",
              color=SOFT)  # fmt: skip
    _title(axes, f"Where: the {name}" if name else "Where")


def _scores(axes: Axes, explanation: Explanation) -> None:
    ranked = sorted(explanation.scores.items(), key=lambda item: -item[1])[:SCORES][::-1]
    names, values = zip(*ranked, strict=True)
    colours = [FOR if name == explanation.label else MUTE for name in names]
    axes.barh(names, values, color=colours, height=0.62)
    for place, value in enumerate(values):
        axes.text(value + 0.02, place, f"{value:.2f}", va="center", color=INK, fontsize=9)
    axes.set(xlim=(0, 1.12), xticks=[])
    _title(axes, "Scores")
    _plain(axes, ("top", "right", "bottom", "left"))


def _shares(axes: Axes, explanation: Explanation) -> None:
    """Draw what face and voice each carry, and what each alone would say."""
    shares = dict(reversed(explanation.shares.items()))
    names = [face_word(explanation) if name == "face" else name for name in shares]
    values = list(shares.values())
    axes.barh(names, values, color=[FOR if v > 0 else AGAINST for v in values], height=0.55)
    widest = max([abs(value) for value in values] + [1e-9])
    low = min([*values, 0]) * 1.05
    axes.set(xlim=(low, low + (max([*values, 0]) - low) * 1.5 or widest), xticks=[])
    for place, (name, value) in enumerate(shares.items()):
        axes.text(max(value, 0) + 0.02 * widest, place, f" alone {explanation.values[name][0]:.2f}",
                  va="center", color=INK, fontsize=9)  # fmt: skip
    axes.axvline(0, color=SOFT, lw=0.8)
    axes.set_ylim(-0.6, max(len(values), 2) - 0.4)
    _title(axes, "What each carries")
    _plain(axes, ("top", "right", "bottom", "left"))


def _axis(axes: Axes, explanation: Explanation, clip: Clip, drops: NDArray[np.float64]) -> None:
    axes.axhline(0, color=SOFT, lw=0.8)
    axes.set(xlim=_limits(explanation, clip))
    largest = 1.15 * _largest(drops)
    axes.set_ylim(min(1.15 * float(drops.min()), -0.1 * largest), largest)
    axes.set_ylabel("drop, log-odds", color=SOFT)
    axes.set_xlabel("seconds", color=SOFT)
    _plain(axes, ("top", "left", "right"))


def _tint(drops: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a colour for each drop (part, 4): orange for what speaks for the label."""
    return TINTS(Normalize(-_largest(drops), _largest(drops))(drops))


def _largest(drops: NDArray[np.float64]) -> float:
    """Return the drop that has the full colour: what all find faint looks faint."""
    return max(float(np.abs(drops).max(initial=0)), FAINT)


def _limits(explanation: Explanation, clip: Clip) -> tuple[float, float]:
    return -0.025 * _length(explanation, clip), 1.025 * _length(explanation, clip)


def _length(explanation: Explanation, clip: Clip) -> float:
    """Return how many seconds the axes of time have."""
    ends = [clip.duration_s, *explanation.frame_times_s, *explanation.pieces_s.ravel()]
    return max(float(max(ends)), 0.1)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", color=INK, fontsize=11, fontweight="bold", pad=8)


def _plain(axes: Axes, hidden: tuple[str, ...]) -> None:
    for side in hidden:
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(colors=SOFT, length=0)
