"""How far scores can be taken for probabilities, and what is gained by answering only if sure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claip_emo.intervals import interval_of_means, wilson_interval
from claip_emo.metrics import (
    Floats,
    Reliability,
    brier_scores,
    calibration_gaps,
    coverage,
    log_losses,
    reliability,
)

FEWEST_GROUPS = 10  # fewer stand for themselves only: clips are resampled then
POINTS = 200  # of a coverage curve that is stored

Scores = NDArray[np.float64]
Truth = NDArray[np.int64]
Groups = Sequence[str] | None


def _one_column(values: Floats) -> Floats:
    return values[:, None]


MEASURES: dict[str, tuple[Callable[[Scores, Truth], Floats], Callable[[Floats], Floats]]] = {
    "calibration_error": (calibration_gaps, lambda means: np.abs(means).sum(axis=-1)),
    "log_loss": (lambda s, t: _one_column(log_losses(s, t)), lambda means: means[..., 0]),
    "brier": (lambda s, t: _one_column(brier_scores(s, t)), lambda means: means[..., 0]),
}
"""Measure -> what a clip adds to it (clip, column), and what it is of the columns' means."""


def measured(scores: Scores, truth: Truth, groups: Groups = None, seed: int = 0) -> dict[str, Any]:
    """Return each of ``MEASURES`` as ``value`` and ``interval_95``; none can be below 0.

    Args:
        scores: (clip, class).
        truth: (clip,), class indices.
        groups: (clip,), such as speakers, which are resampled where there are enough.
        seed: of the resamples.
    """
    found = {}
    for name, (rows_of, statistic) in MEASURES.items():
        rows = rows_of(scores, truth)
        low, high = interval_of_means(rows, statistic, groups=resampled(groups), seed=seed)
        value = float(statistic(rows.mean(axis=0)))
        found[name] = {"value": value, "interval_95": [max(low, 0.0), high]}
    return found


def changed(
    before: Scores, after: Scores, truth: Truth, groups: Groups = None, seed: int = 0
) -> dict[str, Any]:
    """Return what ``after`` is above ``before`` in each of ``MEASURES``, both on the same clips.

    ``before`` and ``after`` are scores (clip, class); all else is as in ``measured``.
    """
    found = {}
    for name, (rows_of, statistic) in MEASURES.items():
        first, second = rows_of(before, truth), rows_of(after, truth)
        width = first.shape[1]

        def gain(means: Floats, width: int = width, of: Callable = statistic) -> Floats:
            return of(means[..., width:]) - of(means[..., :width])

        rows = np.concatenate([first, second], axis=1)
        value = float(gain(rows.mean(axis=0)))
        interval = interval_of_means(rows, gain, groups=resampled(groups), seed=seed)
        found[name] = {"value": value, "interval_95": list(interval)}
    return found


def answers(scores: Scores, truth: Truth, below: Floats) -> dict[str, Any]:
    """Return how many clips are answered, and how many of the answers are right.

    Args:
        scores: (clip, class).
        truth: (clip,), class indices.
        below: (clip,), the score that each must reach; infinite where none is high enough.
    """
    answered, right = _answered(scores, truth, below)
    count, hits = int(answered.sum()), int(right.sum())
    return {
        "answered": count,
        "share": count / len(truth),
        "accuracy": hits / count if count else None,
        "interval_95": list(wilson_interval(hits, count)),
    }


def answers_changed(
    before: Scores,
    after: Scores,
    truth: Truth,
    below: Floats,
    groups: Groups = None,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Return what the answers of ``after`` are more often right than those of ``before``.

    None where either answers nothing. The arguments are those of ``changed`` and ``answers``.
    """
    columns = [*_answered(before, truth, below), *_answered(after, truth, below)]
    rows = np.stack(columns, axis=1).astype(np.float64)  # answered, right; before and after
    if not (rows[:, 0].any() and rows[:, 2].any()):
        return None

    def gain(means: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return means[..., 3] / means[..., 2] - means[..., 1] / means[..., 0]

    interval = interval_of_means(rows, gain, groups=resampled(groups), seed=seed)
    return {"value": float(gain(rows.mean(axis=0))), "interval_95": list(interval)}


def _answered(scores: Scores, truth: Truth, below: Floats) -> tuple[NDArray, NDArray]:
    """Return which clips are answered, and which are answered rightly (clip,)."""
    answered = scores.max(axis=1) >= below
    return answered, answered & (scores.argmax(axis=1) == truth)


def curve(scores: Scores, truth: Truth) -> list[dict[str, float]]:
    """Return the coverage curve from all answers to the surest: threshold, share, accuracy."""
    found = coverage(scores, truth)
    some = np.linspace(0, len(found.threshold) - 1, min(POINTS, len(found.threshold)))
    columns = found.threshold, found.share, found.accuracy
    return [
        {
            name: float(column[place])
            for name, column in zip(("threshold", "share", "accuracy"), columns, strict=True)
        }
        for place in np.round(some).astype(int)
    ]


def bins_of(calibration: Reliability) -> list[dict[str, Any]]:
    """Return the bins of confidence that hold clips."""
    return [
        {
            "low": float(calibration.edges[place]),
            "high": float(calibration.edges[place + 1]),
            "count": int(count),
            "confidence": float(calibration.confidence[place]),
            "accuracy": float(calibration.accuracy[place]),
        }
        for place, count in enumerate(calibration.count)
        if count
    ]


def described(
    scores: Scores, truth: Truth, below: Floats, groups: Groups = None, seed: int = 0
) -> dict[str, Any]:
    """Return all that is told of scores: measures, bins, the coverage curve, the answers."""
    return {
        **measured(scores, truth, groups, seed),
        "bins": bins_of(reliability(scores, truth)),
        "curve": curve(scores, truth),
        "answers": answers(scores, truth, below),
    }


def resampled(groups: Groups) -> Groups:
    """Return the groups that intervals are over; None: clips."""
    return groups if groups is not None and len(set(groups)) >= FEWEST_GROUPS else None
