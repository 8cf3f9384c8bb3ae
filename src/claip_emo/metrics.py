"""Metrics of classification, in NumPy: confusion matrix -> WAR, UAR, F1, calibration.

WAR (weighted average recall) is the accuracy: the trace of the confusion matrix over its sum. UAR
(unweighted average recall) is the mean of the classes' recalls, so that rare classes count as much
as frequent ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
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
    (true, said), _ = class_columns(num_classes, labels=labels, predicted=predicted)
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
    scores, true = _scored(probabilities, labels)
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == true
    edges = np.linspace(0, 1, bins + 1)
    place = _bin_of(confidence, bins)
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


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many clips are answered, and how many of the answers are right, by a threshold.

    Attributes:
        threshold: (threshold,), rising; answered are clips whose highest score reaches it.
        answered: (threshold,), clips.
        right: (threshold,), of those.
    """

    threshold: Floats
    answered: Integers
    right: Integers

    @property
    def share(self) -> Floats:
        """The coverage (threshold,): of all clips, the share that is answered."""
        return np.asarray(self.answered / self.answered.max(), np.float64)

    @property
    def accuracy(self) -> Floats:
        """The share of the answers that is right (threshold,)."""
        return np.asarray(self.right / self.answered, np.float64)


def coverage(probabilities: ArrayLike, labels: ArrayLike) -> Coverage:
    """Return the coverage curve: every highest score as the threshold of who is answered.

    Source: El-Yaniv and Wiener 2010, as risk (1 - accuracy) and coverage.

    Args:
        probabilities: (clip, class), rows sum to 1.
        labels: (clip,), class indices.

    Raises:
        ValueError: if the shapes do not fit or a row is no distribution.
    """
    scores, true = _scored(probabilities, labels)
    threshold, place = np.unique(scores.max(axis=1), return_inverse=True)
    right = (scores.argmax(axis=1) == true).astype(np.float64)
    counts = np.bincount(place), np.bincount(place, right)
    answered, hits = (np.cumsum(count[::-1])[::-1].astype(np.int64) for count in counts)
    return Coverage(threshold, answered, hits)


def calibration_gaps(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> Floats:
    """Return what each clip adds to the calibration error, in the column of its bin.

    The error is the sum over the bins of the absolute mean over the clips.

    Returns:
        (clip, bin), confidence less 1 where it is right.

    Raises:
        ValueError: as ``reliability``.
    """
    scores, true = _scored(probabilities, labels)
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == true
    gaps = np.zeros((len(true), bins))
    gaps[np.arange(len(true)), _bin_of(confidence, bins)] = confidence - right
    return gaps


def log_losses(probabilities: ArrayLike, labels: ArrayLike) -> Floats:
    """Return the negative log likelihood of each clip's label (clip,), in nats.

    Raises:
        ValueError: as ``reliability``.
    """
    scores, true = _scored(probabilities, labels)
    likely = scores[np.arange(len(true)), true]
    return np.asarray(-np.log(np.maximum(likely, np.finfo(np.float64).tiny)), np.float64)


def brier_scores(probabilities: ArrayLike, labels: ArrayLike) -> Floats:
    """Return each clip's squared distance (clip,), 0 to 2, of scores from its label (Brier 1950).

    Raises:
        ValueError: as ``reliability``.
    """
    scores, true = _scored(probabilities, labels)
    return np.asarray(((scores - np.eye(scores.shape[1])[true]) ** 2).sum(axis=1), np.float64)


def _scored(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, Integers]:
    """Check scores (clip, class) and labels (clip,) against each other."""
    scores = np.asarray(probabilities, np.float64)
    if scores.ndim != 2 or not len(scores):
        raise ValueError(f"probabilities must be (clip, class), not {scores.shape}.")
    true = class_indices(labels, scores.shape[1], "labels")
    if len(true) != len(scores):
        raise ValueError(f"{len(true)} labels and {len(scores)} rows of probabilities.")
    if not is_distribution(scores):
        raise ValueError("Every row of probabilities must be finite, not negative and sum to 1.")
    return scores, true


def _bin_of(confidence: Floats, bins: int) -> Integers:
    """Return the bin of each confidence (clip,): of equal width, with their upper edges."""
    if bins < 1:
        raise ValueError("Reliability needs at least one bin.")
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def is_distribution(scores: Floats) -> bool:
    """Say whether every row of (row, class) is a distribution, but for rounding."""
    if not len(scores):
        return True
    near = np.abs(scores.sum(axis=1) - 1) <= ROW_SUM_TOLERANCE
    return bool(near.all() and (scores >= -ROW_SUM_TOLERANCE).all())


def class_indices(values: ArrayLike, num_classes: int, name: str) -> Integers:
    """Check class indices (clip,) and return them as int64.

    Raises:
        ValueError: naming them, if there are none, or any is no class.
    """
    array = np.asarray(values)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} must be one index per clip, for at least one clip.")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be whole numbers, not {array.dtype}.")
    if array.min() < 0 or array.max() >= num_classes:
        raise ValueError(f"{name} must lie in 0 to {num_classes - 1}.")
    return array.astype(np.int64)


def class_columns(num_classes: int | None, **columns: ArrayLike) -> tuple[list[Integers], int]:
    """Check columns of class indices against each other; return them and the number of classes."""
    limit = np.iinfo(np.int64).max if num_classes is None else num_classes
    checked = [class_indices(values, limit, name) for name, values in columns.items()]
    for name, values in zip(list(columns)[1:], checked[1:], strict=True):
        if len(values) != len(checked[0]):
            raise ValueError(
                f"{len(checked[0])} labels and {len(values)} {name}: they must be as many."
            )
    return checked, num_classes or int(max(values.max() for values in checked)) + 1
