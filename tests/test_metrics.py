"""Metrics against scikit-learn, hand-computed values and a naive bootstrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from claip_emo.metrics import (
    bootstrap_interval,
    confusion_matrix,
    reliability,
    summarise,
    uar_of,
    war_of,
)

ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_equals_scikit_learn(rows: list[tuple[int, int]]) -> None:
    true, said = np.array(rows).T
    ours = summarise(true, said, 5)
    present = sorted(set(true))
    assert ours.war == pytest.approx(oracle.accuracy_score(true, said))
    assert ours.uar == pytest.approx(
        oracle.recall_score(true, said, labels=present, average="macro", zero_division=0)
    )
    assert ours.macro_f1 == pytest.approx(
        oracle.f1_score(true, said, labels=present, average="macro", zero_division=0)
    )
    assert (ours.confusion == oracle.confusion_matrix(true, said, labels=range(5))).all()
    assert ours.war == pytest.approx(np.trace(ours.confusion) / ours.confusion.sum())
    assert float(war_of(ours.confusion[None].astype(float))[0]) == pytest.approx(ours.war)
    assert float(uar_of(ours.confusion[None].astype(float))[0]) == pytest.approx(ours.uar)


def test_by_hand() -> None:
    ours = summarise([0, 0, 0, 1], [0, 0, 1, 1], 3)
    assert ours.confusion.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert ours.war == 0.75
    assert ours.uar == pytest.approx((2 / 3 + 1) / 2)  # the third class has no clips
    assert np.isnan(ours.recall[2])
    assert ours.precision.tolist() == pytest.approx([1.0, 0.5, 0.0])


def test_interval_equals_resampling_clip_by_clip() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 150)
    said = np.where(rng.random(150) < 0.6, true, rng.integers(0, 4, 150))
    naive = []
    for _ in range(3000):
        drawn = rng.integers(0, 150, 150)
        naive.append(summarise(true[drawn], said[drawn], 4).uar)
    expected = np.percentile(naive, [2.5, 97.5])
    ours = bootstrap_interval(true, said, 4, uar_of, resamples=3000)
    assert ours == pytest.approx(expected, abs=0.012)
    assert ours == bootstrap_interval(true, said, 4, uar_of, resamples=3000)  # seeded


def test_interval_of_a_perfect_reader_is_a_point() -> None:
    assert bootstrap_interval([0, 1, 1], [0, 1, 1], 2, war_of) == (1.0, 1.0)


def test_calibration_by_hand() -> None:
    scores = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    found = reliability(scores, [0, 1, 1, 1], bins=10)
    assert found.error == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    assert found.count.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 2, 0]
    assert found.accuracy[8] == 0.5


@pytest.mark.parametrize(
    ("true", "said", "says"),
    [
        ([], [], "at least one"),
        ([0, 1], [0], "as many"),
        ([0, 5], [0, 0], "0 to 4"),
        ([0.5], [0], "whole numbers"),
    ],
)
def test_wrong_input(true: list, said: list, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        confusion_matrix(true, said, 5)


@pytest.mark.parametrize("scores", [[[0.5, 0.4]], [[np.nan, 1.0]], [0.5, 0.5]])
def test_what_is_no_distribution(scores: list) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        reliability(scores, [0])
