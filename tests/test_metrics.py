"""Metrics against scikit-learn, hand-computed values and a naive bootstrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from claip_emo.intervals import bootstrap_difference, bootstrap_interval, wilson_interval
from claip_emo.metrics import (
    confusion_matrix,
    expected_calibration_error,
    reliability,
    softmax,
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
    options = {"labels": present, "average": "macro", "zero_division": 0}
    assert ours.war == pytest.approx(oracle.accuracy_score(true, said))
    assert ours.uar == pytest.approx(oracle.recall_score(true, said, **options))
    assert ours.macro_f1 == pytest.approx(oracle.f1_score(true, said, **options))
    assert (ours.confusion == oracle.confusion_matrix(true, said, labels=range(5))).all()
    _, recall, f1, support = oracle.precision_recall_fscore_support(
        true, said, labels=range(5), zero_division=0
    )
    precision = oracle.precision_score(true, said, labels=range(5), average=None, zero_division=0)
    np.testing.assert_allclose(ours.precision, precision)
    np.testing.assert_allclose(ours.recall[present], recall[present])
    np.testing.assert_allclose(ours.f1[present], f1[present])
    assert (ours.support == support).all()
    assert ours.war == pytest.approx(np.trace(ours.confusion) / ours.confusion.sum())
    assert float(war_of(ours.confusion[None].astype(float))[0]) == pytest.approx(ours.war)
    assert float(uar_of(ours.confusion[None].astype(float))[0]) == pytest.approx(ours.uar)


@settings(max_examples=30, deadline=None)
@given(ROWS, st.permutations(range(5)))
def test_renaming_the_classes_changes_nothing(rows: list, order: list[int]) -> None:
    true, said = np.array(rows).T
    renamed = summarise(np.array(order)[true], np.array(order)[said], 5)
    ours = summarise(true, said, 5)
    assert (renamed.war, renamed.uar) == pytest.approx((ours.war, ours.uar))
    assert renamed.macro_f1 == pytest.approx(ours.macro_f1)


def test_by_hand() -> None:
    ours = summarise([0, 0, 0, 1], [0, 0, 1, 1], 3)
    assert ours.confusion.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert ours.war == 0.75
    assert ours.uar == pytest.approx((2 / 3 + 1) / 2)  # the third class has no clips
    assert np.isnan(ours.recall[2])
    assert ours.precision.tolist() == pytest.approx([1.0, 0.5, 0.0])


def test_small_integer_types_do_not_overflow() -> None:
    index = np.full(300, 42, np.uint8)
    assert confusion_matrix(index, index, 43)[42, 42] == 300


def made(count: int = 90, classes: int = 4, hit: float = 0.6, seed: int = 0):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, count)
    said = np.where(rng.random(count) < hit, true, rng.integers(0, classes, count))
    other = np.where(rng.random(count) < 0.8, said, rng.integers(0, classes, count))
    return true, said, other, np.array([f"s{i % 7}" for i in range(count)])


@pytest.mark.parametrize("statistic", ["war", "uar"])
def test_interval_equals_a_loop_over_the_same_draws(statistic: str) -> None:
    true, said, _, _ = made()
    fast = bootstrap_interval(
        true, said, {"war": war_of, "uar": uar_of}[statistic], resamples=700, seed=3
    )
    kinds, count = np.unique(true * 4 + said, return_counts=True)
    rng = np.random.default_rng(3)
    values = []
    for _ in range(700):
        clips = np.repeat(kinds, rng.multinomial(90, count / 90))
        assert len(clips) == 90
        values.append(getattr(summarise(clips // 4, clips % 4, 4), statistic))
    assert fast == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])), abs=1e-12)


def test_interval_over_speakers_equals_a_loop_over_the_same_draws() -> None:
    true, said, _, speakers = made()
    fast = bootstrap_interval(true, said, uar_of, groups=speakers, resamples=600, seed=5)
    names = np.unique(speakers)
    rng = np.random.default_rng(5)
    values = []
    for _ in range(600):
        times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)))
        drawn = np.concatenate(
            [np.flatnonzero(speakers == n) for n, t in zip(names, times, strict=True)
             for _ in range(t)]
        )  # fmt: skip
        values.append(summarise(true[drawn], said[drawn], 4).uar)
    assert fast == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])), abs=1e-12)


def test_difference_equals_a_loop_over_the_same_draws() -> None:
    true, said, other, _ = made()
    fast = bootstrap_difference(true, said, other, uar_of, resamples=600, seed=2)
    kinds, count = np.unique(
        np.stack([true * 4 + said, true * 4 + other], axis=1), axis=0, return_counts=True
    )
    rng = np.random.default_rng(2)
    values = []
    for _ in range(600):
        one, two = np.repeat(kinds, rng.multinomial(90, count / 90), axis=0).T
        first, second = (summarise(side // 4, side % 4, 4).uar for side in (one, two))
        values.append(first - second)
    assert fast == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])), abs=1e-12)


def test_interval_agrees_with_drawing_clip_by_clip() -> None:
    true, said, _, _ = made(150)
    rng = np.random.default_rng(0)
    naive = []
    for _ in range(2000):
        drawn = rng.integers(0, 150, 150)
        naive.append(summarise(true[drawn], said[drawn], 4).uar)
    ours = bootstrap_interval(true, said, uar_of, resamples=3000)
    assert ours == pytest.approx(tuple(np.percentile(naive, [2.5, 97.5])), abs=0.015)
    assert ours == bootstrap_interval(true, said, uar_of, resamples=3000)  # seeded
    wider = bootstrap_interval(true, said, uar_of, resamples=3000, level=0.99)
    assert wider[0] < ours[0] < ours[1] < wider[1]


def test_intervals_that_are_points() -> None:
    assert bootstrap_interval([0, 1, 1], [0, 1, 1], war_of) == (1.0, 1.0)
    assert bootstrap_difference([0, 1, 1], [0, 1, 0], [0, 1, 0], uar_of) == (0.0, 0.0)


def test_clips_of_like_speakers_widen_the_interval() -> None:
    true = np.tile([0, 1], 60)
    said = np.where(np.arange(120) // 20 % 2, true, 1 - true)  # a speaker is all right or all wrong
    speakers = [str(place // 20) for place in range(120)]
    clips = bootstrap_interval(true, said, war_of)
    people = bootstrap_interval(true, said, war_of, groups=speakers)
    assert people[1] - people[0] > 2 * (clips[1] - clips[0])


def test_calibration_by_hand() -> None:
    scores = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    found = reliability(scores, [0, 1, 1, 1], bins=10)
    assert found.error == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    assert expected_calibration_error(scores, [0, 1, 1, 1], bins=10) == found.error
    assert found.count.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 2, 0]
    assert found.accuracy[8] == 0.5
    assert np.isnan(found.confidence[0])
    assert expected_calibration_error([[1.0, 0.0], [0.0, 1.0]], [0, 1]) == 0


def test_softmax() -> None:
    ours = softmax([[0.0, np.log(3)], [1000.0, 1000.0]])
    np.testing.assert_allclose(ours, [[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_allclose(softmax([[-1e4, 0.0]]), [[0.0, 1.0]])
    with pytest.raises(ValueError, match="finite"):
        softmax([np.nan, 0])


@pytest.mark.parametrize(
    ("true", "said", "says"),
    [
        ([], [], "at least one"),
        ([0, 1], [0], "as many"),
        ([0, 5], [0, 0], "0 to 4"),
        ([0, -1], [0, 0], "0 to 4"),
        ([0.5], [0], "whole numbers"),
        ([np.nan], [0], "whole numbers"),
        ([[0]], [[0]], "one index per clip"),
    ],
)
def test_wrong_input(true: list, said: list, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        confusion_matrix(true, said, 5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"level": 1.0}, "level"),
        ({"resamples": 0}, "resamples"),
        ({"groups": ["a"]}, "as many"),
        ({"groups": ["a", "a"]}, "at least two"),
        ({"num_classes": 1}, "lie in 0 to 0"),
    ],
)
def test_wrong_options_of_the_interval(options: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        bootstrap_interval([0, 1], [0, 1], war_of, **options)


@pytest.mark.parametrize("scores", [[[0.5, 0.4]], [[np.nan, 1.0]], [0.5, 0.5], [[-0.5, 1.5]]])
def test_what_is_no_distribution(scores: list) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        reliability(scores, [0])


def test_calibration_needs_fitting_shapes() -> None:
    with pytest.raises(ValueError, match="2 labels and 1 rows"):
        reliability([[0.5, 0.5]], [0, 1])
    with pytest.raises(ValueError, match="one bin"):
        reliability([[0.5, 0.5]], [0], bins=0)


def test_wilson() -> None:
    # Newcombe, Statistics in Medicine 17, 1998, table I.
    for right, count, low, high in (
        (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):  # fmt: skip
        assert wilson_interval(right, count) == pytest.approx((low, high), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)
