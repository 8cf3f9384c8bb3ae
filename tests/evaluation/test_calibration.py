"""Temperatures that are known are found again; nothing is judged by what was fitted on it."""

import numpy as np
import pytest

from claip_emo.evaluation.calibration import (
    FEWEST_ANSWERS,
    FOLDS,
    Fit,
    cross_fit,
    evidence,
    fit,
    fold_of_each,
    obstacle,
    temperature_of,
    threshold_of,
)
from claip_emo.evaluation.calibration_page import headline
from claip_emo.evaluation.view_logits import ViewLogits
from claip_emo.metrics import softmax


def made(
    count: int = 2000, sharpness: float = 1.0, seed: int = 0, views: int = 1, classes: int = 4
) -> ViewLogits:
    """Clips whose labels are as likely as their logits say, which are then made sharper."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, classes))
    shares = softmax(logits)
    truth = (shares.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    clip = np.repeat(np.arange(count), views)
    return ViewLogits(sharpness * logits[clip], clip, truth)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_a_known_temperature_is_found_again(temperature: float, views: int) -> None:
    assert temperature_of(made(8000, temperature, views=views)) == pytest.approx(
        temperature, rel=0.06
    )


def test_scores_are_the_mean_over_the_views_as_the_model_gives_it() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 4.0], [1.0, 1.0]])
    views = ViewLogits(logits, np.array([0, 0, 1]), np.array([0, 1]))
    scores = views.scores(2.0)
    np.testing.assert_allclose(scores[0], (softmax(logits[0] / 2) + softmax(logits[1] / 2)) / 2)
    np.testing.assert_allclose(scores[1], [0.5, 0.5])
    each = views.scores(np.array([2.0, 5.0]))
    np.testing.assert_allclose(each[0], scores[0])
    alone = views.take(np.array([1]))
    np.testing.assert_allclose(alone.logits, logits[2:])
    assert (alone.clip.tolist(), alone.truth.tolist()) == ([0], [1])


def test_the_threshold_is_the_lowest_that_reaches_the_target() -> None:
    confidence = np.repeat([0.95, 0.75, 0.55], [20, 20, 20])
    right = np.concatenate([np.ones(20), np.arange(20) < 16, np.arange(20) < 8]).astype(bool)
    scores = np.stack([confidence, 1 - confidence], axis=1)
    truth = np.where(right, 0, 1)
    assert threshold_of(scores, truth, 0.7) == 0.0  # 44 of 60
    assert threshold_of(scores, truth, 0.9) == 0.56  # 36 of 40
    assert threshold_of(scores, truth, 0.95) == 0.76  # 20 of 20
    few = slice(1, 1 + FEWEST_ANSWERS)  # 19 of the sure ones: too few to believe
    assert threshold_of(scores[few], truth[few], 1.0) == 0.0
    assert threshold_of(scores[1:], truth[1:], 0.95) is None


def test_folds_keep_speakers_together_and_classes_even() -> None:
    truth = np.arange(103) % 7
    groups = tuple(f"s{n}" for n in np.random.default_rng(0).integers(0, 11, 103))
    folds = fold_of_each(truth, groups, 0)
    assert set(folds) == set(range(FOLDS))
    assert all(len({f for f, g in zip(folds, groups, strict=True) if g == one}) == 1
               for one in groups)  # fmt: skip
    assert np.bincount(folds).max() <= 2 * np.bincount(folds).min()
    assert set(fold_of_each(truth, ("a", "b") * 51 + ("a",), 0)) == {0, 1}

    without = fold_of_each(truth, None, 0)
    np.testing.assert_array_equal(without, fold_of_each(truth, ("one",) * 103, 0))
    assert (without != fold_of_each(truth, None, 1)).any()
    for label in range(7):
        counts = np.bincount(without[truth == label], minlength=FOLDS)
        assert np.ptp(counts) <= 1


def test_each_fold_is_judged_by_what_was_fitted_without_it() -> None:
    """Speaker b's logits are ten times as sharp: fitted on a alone, b is not calibrated."""
    one, other = made(600, 1.0, seed=1), made(600, 10.0, seed=2)
    both = ViewLogits(
        np.concatenate([one.logits, other.logits]),
        np.arange(1200),
        np.concatenate([one.truth, other.truth]),
        ("a",) * 600 + ("b",) * 600,
    )
    fits, folds = cross_fit(both, 0.9, seed=0)
    by_speaker = {both.groups[clip]: fits[folds[clip]].temperature for clip in (0, 600)}
    assert by_speaker["a"] == pytest.approx(10, rel=0.15)
    assert by_speaker["b"] == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("held_out", [True, False])
def test_sharpened_scores_become_honest_and_sure_answers_right(held_out: bool) -> None:
    fitted = made(1500, 3.0, seed=1)
    judged = made(1500, 3.0, seed=2) if held_out else None
    chosen = fit(fitted, 0.85)
    assert chosen.temperature == pytest.approx(3.0, rel=0.1)

    told = evidence(fitted, judged, chosen, 1.0, 0.85, seed=0)

    assert len(told["folds"]) == (1 if held_out else FOLDS)
    change = told["change"]
    for measure in ("calibration_error", "log_loss", "brier"):
        assert change[measure]["interval_95"][1] < 0
        value = told["after"][measure]["value"] - told["before"][measure]["value"]
        assert change[measure]["value"] == pytest.approx(value)
    assert told["after"]["calibration_error"]["value"] < 0.04
    assert told["before"]["calibration_error"]["value"] > 0.15
    assert change["accuracy"]["interval_95"][0] > 0.05
    answers = told["after"]["answers"]
    assert answers["accuracy"] == pytest.approx(0.85, abs=0.04)
    assert answers["share"] < told["before"]["answers"]["share"]
    assert headline(told, "faces").count("chance") == 0


def test_a_threshold_that_is_never_reached_answers_nothing() -> None:
    clips = made(300)
    told = evidence(clips, clips, Fit(1.0, None), 1.0, 0.999, seed=0)
    assert told["after"]["answers"] == {
        "answered": 0, "share": 0.0, "accuracy": None, "interval_95": [0.0, 1.0],
    }  # fmt: skip
    assert told["change"]["accuracy"] is None


def test_what_cannot_be_fitted_says_why() -> None:
    clips = made(40)
    assert obstacle(clips) is None
    assert "label more" in obstacle(clips.take(np.arange(19)))
    one = ViewLogits(clips.logits, clips.clip, np.zeros(40, np.int64))
    assert "one class" in obstacle(one)
    right = ViewLogits(clips.logits, clips.clip, clips.logits.argmax(axis=1))
    assert "every one is right" in obstacle(right)
