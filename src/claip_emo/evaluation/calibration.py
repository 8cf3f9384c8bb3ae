"""Scores become probabilities: a temperature, and below which score an answer is not sure enough.

Arithmetic on the logits of labelled clips; ``calibrate`` writes what was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claip_emo.evaluation.confidence import answers_changed, changed, described, resampled
from claip_emo.evaluation.view_logits import ViewLogits
from claip_emo.metrics import log_losses

TEMPERATURES = np.geomspace(0.05, 20, 600)  # a per cent apart
THRESHOLDS = np.round(np.linspace(0, 1, 101), 2)
FOLDS = 5
FEWEST_CLIPS = 20
FEWEST_ANSWERS = 20  # of fewer the share that is right may be chance


@dataclass(frozen=True, slots=True)
class Fit:
    """What was fitted on clips.

    Attributes:
        temperature: what logits are divided by.
        abstain_below: the score from which on answers are right as often as was asked for; None:
            they are at no score.
    """

    temperature: float
    abstain_below: float | None


def fit(views: ViewLogits, target: float) -> Fit:
    """Fit a temperature, and with it the threshold from which ``target`` of the answers is right.

    Args:
        views: the clips to fit on.
        target: accuracy, between 0 and 1.
    """
    temperature = temperature_of(views)
    return Fit(temperature, threshold_of(views.scores(temperature), views.truth, target))


def temperature_of(views: ViewLogits) -> float:
    """Return what logits are divided by for the labels to be the most likely.

    Source: Guo et al. 2017, arXiv 1706.04599.
    """
    losses = [log_losses(views.scores(t), views.truth).mean() for t in TEMPERATURES]
    return round(float(TEMPERATURES[int(np.argmin(losses))]), 3)


def threshold_of(
    scores: NDArray[np.float64], truth: NDArray[np.int64], target: float
) -> float | None:
    """Return the lowest of ``THRESHOLDS`` above which ``target`` of the answers is right.

    Answered are clips whose highest score reaches it, of which there must be ``FEWEST_ANSWERS``.

    Args:
        scores: (clip, class).
        truth: (clip,), class indices.
        target: accuracy, between 0 and 1.
    """
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == truth
    for threshold in THRESHOLDS:
        answered = confidence >= threshold
        if answered.sum() < FEWEST_ANSWERS:
            return None
        if right[answered].mean() >= target:
            return float(threshold)
    return None


def fold_of_each(
    truth: NDArray[np.int64], groups: Sequence[str] | None, seed: int
) -> NDArray[np.int64]:
    """Deal clips out to at most ``FOLDS`` folds (clip,): whole groups where there are several.

    Args:
        truth: (clip,), class indices; without groups each class is dealt out evenly.
        groups: (clip,), such as speakers.
        seed: of the order.
    """
    rng = np.random.default_rng(seed)
    if groups is None or len(set(groups)) < 2:
        order = rng.permutation(len(truth))
        order = order[np.argsort(truth[order], kind="stable")]
        folds = np.empty(len(truth), np.int64)
        folds[order] = np.arange(len(truth)) % FOLDS
        return folds
    names, of_clip = np.unique(groups, return_inverse=True)
    sizes = np.bincount(of_clip)
    order = rng.permutation(len(names))
    filled = np.zeros(min(FOLDS, len(names)), np.int64)
    of_group = np.empty(len(names), np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")]:  # the largest first
        of_group[group] = filled.argmin()
        filled[of_group[group]] += sizes[group]
    return of_group[of_clip]


def cross_fit(views: ViewLogits, target: float, seed: int) -> tuple[list[Fit], NDArray[np.int64]]:
    """Fit as often as there are folds, each time without one of them.

    Returns:
        What was fitted without each fold, and the fold of each clip (clip,).
    """
    folds = fold_of_each(views.truth, views.groups, seed)
    fits = [
        fit(views.take(np.flatnonzero(folds != fold)), target) for fold in range(folds.max() + 1)
    ]
    return fits, folds


def obstacle(views: ViewLogits) -> str | None:
    """Say why no temperature can be fitted on clips, and what would mend it; None: one can."""
    if len(views) < FEWEST_CLIPS:
        return f"there are {len(views)} such clips, and {FEWEST_CLIPS} are the fewest; label more"
    if len(np.unique(views.truth)) < 2:
        return "all of them show one class; add clips of the others"
    if (views.scores(1.0).argmax(axis=1) == views.truth).all():
        return (
            "every one is right, so that the surest scores are the most likely; add clips that "
            "are harder, such as those of other people"
        )
    return None


def evidence(
    fitted: ViewLogits,
    judged: ViewLogits | None,
    chosen: Fit,
    former: float,
    target: float,
    seed: int,
) -> dict[str, Any]:
    """Return what is stored, and what it changes on clips that it was not fitted on.

    Args:
        fitted: the clips that it was fitted on.
        judged: other clips; None: cross-fit.
        chosen: what is stored.
        former: the temperature before.
        target: accuracy that the answers are to have.
        seed: of folds and intervals.
    """
    if judged is None:
        fits, fold = cross_fit(fitted, target, seed)
        judged = fitted
    else:
        fits, fold = [chosen], np.zeros(len(judged), np.int64)
    stored = {
        "temperature": {"before": former, "after": chosen.temperature},
        "abstain_below": chosen.abstain_below,
        "fitted_on": len(fitted),
        "judged_on": len(judged),
        "folds": [asdict(each) for each in fits],
    }
    if not len(judged):
        return stored
    temperature = np.array([f.temperature for f in fits])[fold]  # (clip,)
    below = np.array([np.inf if f.abstain_below is None else f.abstain_below for f in fits])[fold]
    before, after = judged.scores(former), judged.scores(temperature)
    told = judged.truth, below, judged.groups, seed
    return stored | {
        "interval_over": "clips" if resampled(judged.groups) is None else "groups",
        "before": described(before, *told),
        "after": described(after, *told),
        "change": changed(before, after, judged.truth, judged.groups, seed)
        | {"accuracy": answers_changed(before, after, *told)},
    }
