"""A colour for each emotion, the same in figures and in rendered videos."""

from __future__ import annotations

from collections.abc import Sequence

from claip_emo.inference.abstention import UNCERTAIN

# Okabe and Ito's, which the colour-blind tell apart (jfly.uni-koeln.de/color).
OF_EMOTIONS = {
    "happiness": "#e69f00",
    "sadness": "#0072b2",
    "neutral": "#9a9a9a",
    "anger": "#d55e00",
    "surprise": "#f0e442",
    "disgust": "#009e73",
    "fear": "#cc79a7",
    "contempt": "#56b4e9",
    UNCERTAIN: "#dcdcdc",
}
OTHERS = ("#56b4e9", "#7f3c8d", "#3969ac", "#80ba5a", "#cf1c90", "#f97b72", "#4b4b8f", "#a5aa99")


def colours_of(labels: Sequence[str]) -> tuple[str, ...]:
    """Return a colour as ``#rrggbb`` for each label; other emotions take further ones in turn."""
    others = [label for label in labels if label not in OF_EMOTIONS]
    further = {label: OTHERS[place % len(OTHERS)] for place, label in enumerate(others)}
    return tuple((OF_EMOTIONS | further)[label] for label in labels)
