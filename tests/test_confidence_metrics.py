"""What confidence is worth, by hand and beside scikit-learn; intervals of means of columns."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from claip_emo.intervals import interval_of_means
from claip_emo.metrics import (
    brier_scores,
    calibration_gaps,
    coverage,
    log_losses,
    reliability,
)

SCORES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1]])
TRUTH = np.array([0, 1, 1, 0, 1])  # right, right, wrong, wrong, wrong


def made(count: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores (clip, 4) and labels that are as likely as the scores say."""
    rng = np.random.default_rng(seed)
    powers = np.exp(rng.normal(0, 1.5, (count, 4)))
    scores = powers / powers.sum(axis=1, keepdims=True)
    return scores, (scores.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)


def gap(means: np.ndarray) -> np.ndarray:
    return np.abs(means).sum(axis=-1)


def test_the_coverage_curve_by_hand() -> None:
    found = coverage(SCORES, TRUTH)
    np.testing.assert_allclose(found.threshold, [0.6, 0.7, 0.8, 0.9])
    assert found.answered.tolist() == [5, 4, 3, 2]
    assert found.right.tolist() == [2, 2, 2, 1]
    np.testing.assert_allclose(found.share, [1, 0.8, 0.6, 0.4])
    np.testing.assert_allclose(found.accuracy, [0.4, 0.5, 2 / 3, 0.5])


def test_what_clips_add_to_the_calibration_error() -> None:
    gaps = calibration_gaps(SCORES, TRUTH, bins=2)
    np.testing.assert_allclose(gaps, [[0, -0.1], [0, -0.2], [0, 0.6], [0, 0.7], [0, 0.9]])
    scores, truth = made()
    for bins in (1, 7, 15):
        error = reliability(scores, truth, bins).error
        assert gap(calibration_gaps(scores, truth, bins).mean(axis=0)) == pytest.approx(error)


def test_losses_are_those_of_scikit_learn() -> None:
    scores, truth = made()
    assert log_losses(scores, truth).mean() == pytest.approx(log_loss(truth, scores))
    found = brier_score_loss(truth, scores, scale_by_half=False, labels=range(4))
    assert brier_scores(scores, truth).mean() == pytest.approx(found)
    assert np.isfinite(log_losses([[1.0, 0.0]], [1])).all()


@pytest.mark.parametrize("measure", [coverage, calibration_gaps, log_losses, brier_scores])
def test_what_is_no_distribution_is_refused(measure) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        measure([[0.5, 0.9]], [0])
    with pytest.raises(ValueError, match="2 labels and 1 rows"):
        measure([[0.5, 0.5]], [0, 1])


def test_the_interval_of_a_mean_is_that_of_the_textbook() -> None:
    values = np.random.default_rng(3).normal(2.0, 1.0, (500, 1))
    low, high = interval_of_means(values, lambda means: means[..., 0], resamples=4000)
    half = 1.96 * values.std() / np.sqrt(500)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_the_interval_of_a_calibration_error_holds_it_although_redraws_are_noisier() -> None:
    scores, truth = made(120)
    rows = calibration_gaps(scores, truth)
    low, high = interval_of_means(rows, gap)
    own = gap(rows.mean(axis=0))
    assert low < own < high
    assert (low + high) / 2 == pytest.approx(own, abs=0.01)
    drawn = np.random.default_rng(0).integers(len(rows), size=(500, len(rows)))
    assert np.mean([gap(rows[one].mean(axis=0)) for one in drawn]) > own + 0.02


def test_whole_groups_are_drawn() -> None:
    """Clips of a speaker that are all alike count once, however many there are."""
    rng = np.random.default_rng(0)
    of_speaker = rng.normal(size=12)
    rows, groups = np.repeat(of_speaker, 50)[:, None], np.repeat(np.arange(12), 50)
    low, high = interval_of_means(rows, lambda means: means[..., 0], groups=groups)
    assert high - low == pytest.approx(2 * 1.96 * of_speaker.std() / np.sqrt(12), rel=0.1)
    narrow = interval_of_means(rows, lambda means: means[..., 0])
    assert narrow[1] - narrow[0] < (high - low) / 4
    with pytest.raises(ValueError, match="at least two"):
        interval_of_means(rows, gap, groups=["one"] * len(rows))
    with pytest.raises(ValueError, match="600 rows and 2 groups"):
        interval_of_means(rows, gap, groups=["a", "b"])


def test_a_pair_on_the_same_clips_is_known_better_than_each() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(0, 1, 300)
    rows = np.stack([first, first + 0.1 + rng.normal(0, 0.05, 300)], axis=1)
    low, high = interval_of_means(rows, lambda means: means[..., 1] - means[..., 0])
    assert 0.08 < low < 0.1 < high < 0.12
