"""Metrics of classification, in NumPy: confusion matrix -> WAR, UAR, F1, calibration, intervals.

WAR (weighted average recall) is the accuracy: the trace of the confusion matrix over its sum. UAR
(unweighted average recall) is the mean of the classes' recalls, so that rare classes count as much
as frequent ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Statistic = Callable[[Floats], Floats]
"""Confusion matrices (resample, class, class) -> (resample,), as ``war_of`` and ``uar_of``."""

NORMAL_95 = 1.959964  # deviations on either side that hold 95 % of a normal distribution
RESAMPLES_AT_ONCE = 500  # bounds the memory where there are many classes
ROW_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Summary:
    """What a confusion matrix says.

    Attributes:
        confusion: (true class, predicted class), counts.
        war: share of clips that are right.
        uar: mean recall over the classes that have clips; one without clips has no recall and is
            left out, as the field's scripts do on folds that miss a class.
        macro_f1: mean F1 over the same classes.
        recall: (class,); NaN for a class without clips.
        precision: (class,); 0 for a class that was never predicted.
        f1: (class,); NaN for a class without clips.
        support: (class,), number of clips.
    """

    confusion: Integers
    war: float
    uar: float
    macro_f1: float
    recall: Floats
    precision: Floats
    f1: Floats
    support: Integers


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well confidence matches accuracy.

    Attributes:
        error: expected calibration error: mean distance of confidence and accuracy over the bins,
            weighted by their clips (Guo et al. 2017).
        edges: (bin + 1,), of the confidence.
        count: (bin,), clips.
        confidence: (bin,), mean confidence; NaN where there are no clips.
        accuracy: (bin,), share that is right; NaN where there are no clips.
    """

    error: float
    edges: Floats
    count: Integers
    confidence: Floats
    accuracy: Floats


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share such as a class's recall (Wilson 1927).

    Args:
        right: how many of ``count`` are right.
        count: 0: nothing is known, the interval is all there is.
    """
    if not count:
        return 0.0, 1.0
    share, squared = right / count, NORMAL_95**2
    centre = (share + squared / (2 * count)) / (1 + squared / count)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / count + squared / (4 * count**2))
    half /= 1 + squared / count
    return max(0.0, centre - half), min(1.0, centre + half)


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, num_classes: int) -> Integers:
    """Count true (rows) against predicted (columns) classes.

    Args:
        labels: (clip,), class indices.
        predicted: (clip,), class indices.
        num_classes: number of classes.

    Returns:
        (class, class).

    Raises:
        ValueError: if lengths differ, there are no clips, or an index is out of range.
    """
    if num_classes < 1:
        raise ValueError("num_classes is at least 1.")
    (true, said), _ = _columns(num_classes, labels=labels, predicted=predicted)
    counts = np.bincount(true * num_classes + said, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def summarise(labels: ArrayLike, predicted: ArrayLike, num_classes: int) -> Summary:
    """Compute WAR, UAR and the classes' recall, precision and F1.

    Args:
        labels: (clip,), class indices.
        predicted: (clip,), class indices.
        num_classes: number of classes.

    Raises:
        ValueError: as ``confusion_matrix``.
    """
    confusion = confusion_matrix(labels, predicted, num_classes)
    hits = np.diag(confusion).astype(np.float64)
    support, said = confusion.sum(axis=1), confusion.sum(axis=0)
    present = support > 0
    recall = np.where(present, hits / np.maximum(support, 1), np.nan)
    precision = hits / np.maximum(said, 1)
    f1 = np.where(present, 2 * hits / np.maximum(support + said, 1), np.nan)
    return Summary(
        confusion=confusion,
        war=float(hits.sum() / confusion.sum()),
        uar=float(recall[present].mean()),
        macro_f1=float(f1[present].mean()),
        recall=recall,
        precision=precision,
        f1=f1,
        support=support,
    )


def war_of(confusion: Floats) -> Floats:
    """Return the WAR of confusion matrices (..., class, class)."""
    hits = np.trace(confusion, axis1=-2, axis2=-1)
    return np.asarray(hits / confusion.sum(axis=(-2, -1)), np.float64)


def uar_of(confusion: Floats) -> Floats:
    """Return the UAR of confusion matrices (..., class, class); absent classes are left out."""
    support = confusion.sum(axis=-1)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    recall = np.divide(hits, support, out=np.zeros_like(hits, np.float64), where=support > 0)
    return np.asarray(recall.sum(axis=-1) / (support > 0).sum(axis=-1), np.float64)


def bootstrap_interval(
    labels: ArrayLike,
    predicted: ArrayLike,
    statistic: Statistic,
    *,
    num_classes: int | None = None,
    groups: Sequence[object] | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic over resampled clips, or resampled groups.

    Drawing clips with replacement and counting them is one multinomial draw over the cells of the
    confusion matrix, so that nothing is done clip by clip.

    Args:
        labels: (clip,), class indices.
        predicted: (clip,), class indices.
        statistic: of confusion matrices, as ``war_of``.
        num_classes: number of classes; None: as many as the indices ask for.
        groups: (clip,), such as the speaker of each clip: whole groups are drawn. Clips of one
            person resemble each other, so that the interval over clips alone is too narrow.
        resamples: number of draws.
        level: of confidence.
        seed: of the draws.

    Raises:
        ValueError: as ``confusion_matrix``, for a level out of range, or for fewer than two groups.
    """
    columns, classes = _columns(num_classes, labels=labels, predicted=predicted)
    cells = [columns[0] * classes + columns[1]]
    drawn = _resampled(cells, classes, groups, resamples, seed)
    return _percentiles([statistic(confusion) for (confusion,) in drawn], level)


def bootstrap_difference(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    statistic: Statistic,
    *,
    num_classes: int | None = None,
    groups: Sequence[object] | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the interval of statistic(first) - statistic(second), both read on the same clips.

    Two predictions for the same clips are right and wrong together more often than not. Their
    difference is therefore known better than the two intervals side by side suggest.

    ``first`` and ``second`` are predictions (clip,); all else is as in ``bootstrap_interval``.

    Raises:
        ValueError: as ``bootstrap_interval``.
    """
    columns, classes = _columns(num_classes, labels=labels, first=first, second=second)
    cells = [columns[0] * classes + said for said in columns[1:]]
    drawn = _resampled(cells, classes, groups, resamples, seed)
    return _percentiles([statistic(one) - statistic(other) for one, other in drawn], level)


def softmax(logits: ArrayLike, axis: int = -1) -> Floats:
    """Return the softmax of logits, exact for large ones.

    Raises:
        ValueError: if a logit is not finite.
    """
    values = np.asarray(logits, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("Logits must be finite.")
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True), np.float64)


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 15
) -> float:
    """Return the expected calibration error; ``reliability`` returns its table too."""
    return reliability(probabilities, labels, bins).error


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> Reliability:
    """Compare confidence with accuracy in bins of equal width.

    Args:
        probabilities: (clip, class), rows sum to 1.
        labels: (clip,), class indices.
        bins: number of bins over [0, 1].

    Raises:
        ValueError: if the shapes do not fit or a row is no distribution.
    """
    scores = np.asarray(probabilities, np.float64)
    if scores.ndim != 2 or not len(scores):
        raise ValueError(f"probabilities must be (clip, class), not {scores.shape}.")
    true = _indices(labels, scores.shape[1], "labels")
    if len(true) != len(scores):
        raise ValueError(f"{len(true)} labels and {len(scores)} rows of probabilities.")
    if not is_distribution(scores):
        raise ValueError("Every row of probabilities must be finite, not negative and sum to 1.")
    if bins < 1:
        raise ValueError("Reliability needs at least one bin.")
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == true
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    full = np.maximum(count, 1)
    mean_confidence = np.bincount(place, confidence, minlength=bins) / full
    accuracy = np.bincount(place, right.astype(np.float64), minlength=bins) / full
    error = float((count * np.abs(mean_confidence - accuracy)).sum() / count.sum())
    empty = count == 0
    return Reliability(
        error,
        edges,
        count.astype(np.int64),
        np.where(empty, np.nan, mean_confidence),
        np.where(empty, np.nan, accuracy),
    )


def is_distribution(scores: Floats) -> bool:
    """Say whether every row of (row, class) is a distribution, but for rounding."""
    if not len(scores):
        return True
    near = np.abs(scores.sum(axis=1) - 1) <= ROW_SUM_TOLERANCE
    return bool(near.all() and (scores >= -ROW_SUM_TOLERANCE).all())


def _indices(values: ArrayLike, num_classes: int, name: str) -> Integers:
    array = np.asarray(values)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} must be one index per clip, for at least one clip.")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be whole numbers, not {array.dtype}.")
    if array.min() < 0 or array.max() >= num_classes:
        raise ValueError(f"{name} must lie in 0 to {num_classes - 1}.")
    return array.astype(np.int64)


def _columns(num_classes: int | None, **columns: ArrayLike) -> tuple[list[Integers], int]:
    """Check columns of class indices against each other; return them and the number of classes."""
    limit = np.iinfo(np.int64).max if num_classes is None else num_classes
    checked = [_indices(values, limit, name) for name, values in columns.items()]
    for name, values in zip(list(columns)[1:], checked[1:], strict=True):
        if len(values) != len(checked[0]):
            raise ValueError(
                f"{len(checked[0])} labels and {len(values)} {name}: they must be as many."
            )
    return checked, num_classes or int(max(values.max() for values in checked)) + 1


def _resampled(
    cells: list[Integers],
    classes: int,
    groups: Sequence[object] | None,
    resamples: int,
    seed: int,
) -> Iterator[list[Floats]]:
    """Draw what the clips are made of; yield confusion matrices (part of resamples, class, class).

    A unit is a group, or, without groups, all clips that fall into the same cells: those are
    exchangeable, and drawing clips one by one draws units in proportion to their sizes.
    """
    if resamples < 1:
        raise ValueError("resamples are at least 1.")
    clips, size = len(cells[0]), classes**2
    if groups is None:
        kinds, count = np.unique(np.stack(cells, axis=1), axis=0, return_counts=True)
        draws, share = clips, count / clips
        tables: list[Floats] | None = None
    else:
        if len(groups) != clips:
            raise ValueError(f"{clips} labels and {len(groups)} groups: they must be as many.")
        names, of_clip = np.unique([str(group) for group in groups], return_inverse=True)
        draws, kinds = len(names), np.stack(cells, axis=1)
        if draws < 2:
            raise ValueError("Resampling groups needs at least two of them.")
        share = np.full(draws, 1 / draws)
        tables = [
            np.bincount(of_clip * size + cell, minlength=draws * size)
            .reshape(draws, size)
            .astype(np.float64)
            for cell in cells
        ]
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        part = min(RESAMPLES_AT_ONCE, resamples - start)
        drawn = rng.multinomial(draws, share, size=part)  # (part, unit)
        counts = (
            [_sum_by_cell(drawn, column, size) for column in kinds.T]
            if tables is None
            else [drawn @ table for table in tables]
        )
        yield [count.reshape(part, classes, classes) for count in counts]


def _sum_by_cell(drawn: Integers, cell: Integers, size: int) -> Floats:
    """Add up the draws (resample, unit) of the units that fall into the same cell."""
    order = np.argsort(cell, kind="stable")
    present, starts = np.unique(cell[order], return_index=True)
    counts = np.zeros((len(drawn), size))
    counts[:, present] = np.add.reduceat(drawn[:, order], starts, axis=1)
    return counts


def _percentiles(values: list[Floats], level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError("The level lies between 0 and 1.")
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(np.concatenate(values), [tail, 100 - tail])
    return float(low), float(high)
