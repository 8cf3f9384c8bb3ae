"""Windows, curves and paths over them, against values by hand and against all possibilities."""

import tracemalloc
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claip_emo.inference.windows import (
    CHANGE_COSTS,
    LEAST_PROBABILITY,
    Curve,
    Window,
    Windower,
    curve_of,
    labels_over,
    spans_of,
)

WINDOW_S, HOP_S, FRAMES = 2.0, 0.5, 8
STEP_S = WINDOW_S / FRAMES


def windows(
    begin_s: float, end_s: float, *, window_s=WINDOW_S, hop_s=HOP_S, frames=FRAMES, step_s=None
) -> list[Window]:
    """Windows of a stretch whose frames have their own time as their feature."""
    windower = Windower(window_s, hop_s, frames)
    step = step_s or windower.step_s
    found = []
    for time_s in begin_s + step * np.arange(max(1, round((end_s - begin_s) / step))):
        found += windower.add(float(time_s), np.array([time_s], np.float32))
    return found + list(windower.finish(end_s))


def spans(found: list[Window]) -> list[tuple[float, float]]:
    return [(window.start_s, window.end_s) for window in found]


def test_windows_by_hand() -> None:
    found = windows(0.0, 3.25)
    assert spans(found) == [(0, 2), (0.5, 2.5), (1, 3), (1.25, 3.25)]
    assert found[1].frames[:, 0].tolist() == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25]
    assert found[3].frames[:, 0].tolist() == [1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0]
    assert found[1].centre_s == 1.5


def test_a_stretch_that_begins_between_two_hops_has_a_window_at_its_edge() -> None:
    assert spans(windows(0.25, 3.0)) == [(0.25, 2.25), (0.5, 2.5), (1.0, 3.0)]
    assert spans(windows(10.3, 12.5))[0] == (10.3, 12.3)


@pytest.mark.parametrize("length_s", [0.02, 0.25, 1.0, 1.75])
def test_what_is_shorter_than_a_window_is_one(length_s: float) -> None:
    (window,) = windows(1.0, 1.0 + length_s)
    assert (window.start_s, window.end_s) == (1.0, 1.0 + length_s)
    assert window.frames.shape == (FRAMES, 1)
    assert window.frames[0, 0] == 1.0
    assert 1.0 <= window.frames.max() <= 1.0 + length_s


def test_nothing_has_no_windows() -> None:
    assert list(Windower(2.0, 0.5, 8).finish(5.0)) == []


def test_few_frames_are_taken_several_times() -> None:
    (window,) = windows(0.0, 2.0, step_s=1.0)
    assert window.frames[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]  # 0.5 is as near to 0


def test_a_picture_that_stands_still_fills_its_windows() -> None:
    windower = Windower(2.0, 0.5, 8)
    assert list(windower.add(0.0, np.array([7.0], np.float32))) == []
    found = list(windower.finish(4.0))
    assert spans(found) == [(0, 2), (0.5, 2.5), (1, 3), (1.5, 3.5), (2, 4)]
    assert {float(value) for window in found for value in window.frames[:, 0]} == {7.0}


@pytest.mark.parametrize("frames", [1, 3, 8])
@pytest.mark.parametrize("end_s", [1.95, 2.05, 2.4, 2.6, 3.9, 3.99])
def test_windows_end_with_the_stretch(frames: int, end_s: float) -> None:
    """Also where it ends in the middle of a step: what comes after may be another shot."""
    windower = Windower(2.0, 0.5, frames)
    found = []
    for time_s in np.arange(0, end_s, 0.1):
        found += windower.add(float(time_s), np.zeros(1, np.float32))
    found += windower.finish(end_s)
    assert max(window.end_s for window in found) == pytest.approx(end_s, abs=1e-9)


ticks, lengths = st.integers(0, 400), st.integers(1, 300)


@settings(max_examples=150, deadline=None)
@given(ticks, lengths, st.sampled_from([(2.0, 0.5, 8), (2.0, 2.0, 4), (1.0, 0.25, 3),
                                        (0.5, 0.125, 16), (3.0, 0.75, 1)]))  # fmt: skip
def test_windows_lie_in_the_stretch_and_cover_it(begin, length, choice) -> None:
    window_s, hop_s, frames = choice
    begin_s, end_s = begin / 64, (begin + length) / 64
    found = windows(begin_s, end_s, window_s=window_s, hop_s=hop_s, frames=frames)
    near = 1e-6
    assert all(begin_s - near <= w.start_s < w.end_s <= end_s + near for w in found)
    assert [w.start_s for w in found] == sorted(w.start_s for w in found)
    assert found[0].start_s == begin_s
    assert max(w.end_s for w in found) >= end_s - near
    for one, other in pairwise(found):
        assert other.start_s - one.start_s <= hop_s + near  # no gap, however they overlap
    for window in found:
        assert window.frames.shape == (frames, 1)
        wanted = window.start_s + window_s / frames * np.arange(frames)
        inside = wanted <= end_s - window_s / frames
        np.testing.assert_allclose(
            window.frames[inside, 0], wanted[inside], atol=window_s / frames / 2 + near
        )


@settings(max_examples=150, deadline=None)
@given(ticks, lengths, st.sampled_from([0.25, 0.5, 1.0, 2.0]))
def test_spans_without_frames_are_those_with(begin, length, hop_s) -> None:
    begin_s, end_s = begin / 64, (begin + length) / 64
    found = spans(windows(begin_s, end_s, hop_s=hop_s))
    np.testing.assert_allclose(found, spans_of(begin_s, end_s, WINDOW_S, hop_s))


@settings(max_examples=150, deadline=None)
@given(st.floats(0, 500), st.floats(0.01, 30), st.floats(0.1, 10), st.floats(1 / 32, 1))
def test_spans_cover_any_stretch(begin_s, length_s, window_s, share) -> None:
    end_s, hop_s = begin_s + length_s, window_s * share
    found = np.array(spans_of(begin_s, end_s, window_s, hop_s))
    near = 1e-5 * window_s + 1e-9
    assert found[0, 0] == begin_s
    assert abs(found[-1, 1] - end_s) <= near
    assert (found[:, 0] >= begin_s).all()
    assert (np.diff(found[:, 0]) >= 0).all()
    assert (found[1:, 0] <= found[:-1, 1] + near).all()
    lengths_s = found[:, 1] - found[:, 0]
    np.testing.assert_allclose(lengths_s, min(window_s, length_s), atol=near)


def test_windows_hold_few_frames_of_a_long_stretch() -> None:
    windower = Windower(2.0, 0.5, 8)
    most = count = 0
    for number in range(8000):
        count += len(list(windower.add(number * STEP_S, np.zeros(4, np.float32))))
        most = max(most, len(windower._frames))
    assert most <= 8 + 4 + 2
    assert count == 3996  # the last ends at 1,999.5; the last frame is shown at 1,999.75


def test_a_curve_by_hand() -> None:
    """Two windows of 2 s, 1 s apart: at their own middles each speaks alone or nearly so."""
    spans_s = np.array([[0.0, 2.0], [1.0, 3.0]])
    curve = curve_of(spans_s, np.array([[1.0, 0.0], [0.0, 1.0]]), 1.0)
    assert curve.edges_s.tolist() == [0, 1, 2, 3]
    # In [1, 2) both middles, 1 and 2, are half a second away.
    np.testing.assert_allclose(curve.scores, [[1, 0], [0.5, 0.5], [0, 1]], atol=1e-5)
    fine = curve_of(spans_s, np.array([[1.0, 0.0], [0.0, 1.0]]), 0.5)
    # At 1.25: weights 0.75 and 0.25; at 1.75 the other way round.
    np.testing.assert_allclose(fine.scores[:, 0], [1, 1, 0.75, 0.25, 0, 0], atol=1e-5)


def test_edges_of_a_curve_are_those_of_its_stretch() -> None:
    curve = curve_of(np.array([[0.3, 1.1]]), np.array([[0.2, 0.8]]), 0.5)
    np.testing.assert_allclose(curve.edges_s, [0.3, 0.5, 1.0, 1.1])
    np.testing.assert_allclose(curve.scores, [[0.2, 0.8]] * 3)
    once = curve_of(np.array([[0.5, 1.0]]), np.array([[0.2, 0.8]]), 0.5)
    assert once.edges_s.tolist() == [0.5, 1.0]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 90), st.integers(1, 200), st.sampled_from([0.1, 0.25, 0.5, 1.0]), st.data())
def test_curves_are_probabilities_between_those_of_the_windows(begin, length, hop_s, data) -> None:
    spans_s = np.array(spans_of(begin / 16, (begin + length) / 16, 1.0, hop_s))
    seed = data.draw(st.integers(0, 1000))
    scores = np.random.default_rng(seed).dirichlet(np.ones(4), len(spans_s))
    curve = curve_of(spans_s, scores, hop_s)
    assert curve.edges_s[0] == spans_s[0, 0]
    assert curve.edges_s[-1] == spans_s[:, 1].max()
    assert (np.diff(curve.edges_s) > 0).all()
    assert (np.diff(curve.edges_s) <= hop_s * (1 + 1e-5)).all()
    np.testing.assert_allclose(curve.scores.sum(axis=1), 1)
    assert (curve.scores >= scores.min(axis=0) - 1e-9).all()
    assert (curve.scores <= scores.max(axis=0) + 1e-9).all()


def test_a_long_curve_is_the_curve_of_its_parts_and_takes_little_memory() -> None:
    """Two hours at the shortest hop: the square of so many windows would not fit into memory."""
    spans_s = np.array(spans_of(0, 7200, 2.0, 0.25))
    scores = np.random.default_rng(0).dirichlet(np.ones(3), len(spans_s))
    tracemalloc.start()
    curve = curve_of(spans_s, scores, 0.25)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6
    assert len(curve.scores) == 28_800
    for slot in (0, 1, 255, 256, 257, 14_000, 28_799):
        middle = curve.edges_s[slot : slot + 2].mean()
        away = np.abs(spans_s.mean(axis=1) - middle)
        weights = np.maximum(1 - away, 0)
        wanted = weights @ scores / weights.sum()
        np.testing.assert_allclose(curve.scores[slot], wanted, atol=1e-4)


def test_what_no_window_reaches_is_said_by_the_nearest() -> None:
    spans_s, scores = np.array([[0.0, 1.0], [9.0, 10.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    curve = curve_of(spans_s[::-1], scores[::-1], 0.5)
    np.testing.assert_allclose(curve.scores[:10, 0], 1, atol=1e-5)
    np.testing.assert_allclose(curve.scores[10:, 1], 1, atol=1e-5)


def cost(path, curve: Curve, window_s: float) -> float:
    """What a path says against itself."""
    shares = np.diff(curve.edges_s) / window_s
    logs = np.log(np.maximum(curve.scores, LEAST_PROBABILITY))
    said = sum(shares[slot] * logs[slot, label] for slot, label in enumerate(path))
    return CHANGE_COSTS * np.count_nonzero(np.diff(path)) - said


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 3), st.floats(0.2, 4))
def test_the_path_is_the_best_of_all(seed: int, slots: int, labels: int, window_s: float) -> None:
    rng = np.random.default_rng(seed)
    edges = np.cumsum([0.0, *rng.uniform(0.1, 1.5, slots)])
    curve = Curve(edges, rng.dirichlet(np.full(labels, 0.3), slots))
    best = min(cost(path, curve, window_s) for path in product(range(labels), repeat=slots))
    found = labels_over(curve, window_s)
    assert found.shape == (slots,)
    assert cost(found, curve, window_s) == pytest.approx(best, abs=1e-9)


def test_a_flicker_is_smoothed_and_a_change_that_stays_is_not() -> None:
    edges = 0.5 * np.arange(21)
    scores = np.tile([0.7, 0.3], (20, 1))
    scores[9:10] = [0.4, 0.6]
    assert labels_over(Curve(edges, scores), 2.0).tolist() == [0] * 20
    scores[10:] = [0.2, 0.8]
    assert labels_over(Curve(edges, scores), 2.0).tolist() == [0] * 9 + [1] * 11


def test_sure_zeros_are_no_infinities() -> None:
    curve = Curve(np.arange(3.0), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert labels_over(curve, 1.0).tolist() == [0, 1]
