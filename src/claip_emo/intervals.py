"""How sure a metric is: intervals of shares, of metrics, and of differences on the same clips."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from claip_emo.metrics import Floats, Integers, class_columns

Statistic = Callable[[Floats], Floats]
"""Confusion matrices (resample, class, class) -> (resample,), as ``war_of`` and ``uar_of``; or
means of columns (resample, column) -> (resample,)."""


NORMAL_95 = 1.959964  # deviations on either side that hold 95 % of a normal distribution
RESAMPLES_AT_ONCE = 500  # bounds the memory where there are many classes


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
    columns, classes = class_columns(num_classes, labels=labels, predicted=predicted)
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
    columns, classes = class_columns(num_classes, labels=labels, first=first, second=second)
    cells = [columns[0] * classes + said for said in columns[1:]]
    drawn = _resampled(cells, classes, groups, resamples, seed)
    return _percentiles([statistic(one) - statistic(other) for one, other in drawn], level)


def interval_of_means(
    rows: ArrayLike,
    statistic: Statistic,
    *,
    groups: Sequence[object] | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the interval of a statistic of the means of columns, over resampled clips or groups.

    A calibration error takes the noise of its bins for miscalibration, and redrawing adds noise:
    the redraws lie above the error that they are made of. The percentiles are moved back by as
    much as the mean of the redraws lies beside the statistic of the clips themselves.

    Args:
        rows: (clip, column).
        statistic: means (resample, column) -> (resample,).
        groups: (clip,), such as the speaker of each clip: whole groups are drawn.
        resamples: number of draws.
        level: of confidence.
        seed: of the draws.

    Raises:
        ValueError: if there are no clips, or for fewer than two groups.
    """
    values = np.asarray(rows, np.float64)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"rows must be (clip, column), not {values.shape}.")
    if resamples < 1:
        raise ValueError("resamples are at least 1.")
    if groups is None:
        sums, sizes = values, np.ones(len(values))
    else:
        sums, sizes = _sums_by_group(values, groups)
    rng, units = np.random.default_rng(seed), len(sizes)
    drawn = []
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        part = min(RESAMPLES_AT_ONCE, resamples - start)
        weights = _times_drawn(rng.integers(units, size=(part, units)))  # (part, unit)
        drawn.append(statistic(weights @ sums / (weights @ sizes)[:, None]))
    found = np.concatenate(drawn)
    found = found[np.isfinite(found)]  # a share of nothing is none
    own = statistic(values.mean(axis=0, keepdims=True))[0]
    return _percentiles([found - (found.mean() - own)], level)


def _times_drawn(drawn: Integers) -> Floats:
    """Count how often each unit is in each row of draws (resample, unit)."""
    rows, units = drawn.shape
    place = drawn + units * np.arange(rows)[:, None]
    counts = np.bincount(place.ravel(), minlength=rows * units)
    return counts.reshape(rows, units).astype(np.float64)


def _sums_by_group(values: Floats, groups: Sequence[object]) -> tuple[Floats, Floats]:
    """Add up the rows (clip, column) of each group; return the sums and the groups' sizes."""
    if len(groups) != len(values):
        raise ValueError(f"{len(values)} rows and {len(groups)} groups: they must be as many.")
    names, of_clip = np.unique([str(group) for group in groups], return_inverse=True)
    if len(names) < 2:
        raise ValueError("Resampling groups needs at least two of them.")
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, of_clip, values)
    return sums, np.bincount(of_clip).astype(np.float64)


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
