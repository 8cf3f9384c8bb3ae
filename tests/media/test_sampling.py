"""Which frames and seconds are taken, against the released code's protocol."""

import json

import numpy as np
import pytest

from claip_emo.media import sampling
from claip_emo.media.sampling import sound_span, thinned, train_window, views_for

from ..conftest import SHARED

GOLDEN = SHARED / "goldens" / "protocol.json"
# A part of the released code's protocol, for checkouts without the folder beside them.
VIEWS = {
    1: [[0] * 16] * 2,
    17: [[0, 4, 8, 12] + [16] * 12] * 2,
    65: [list(range(0, 61, 4)), list(range(4, 65, 4))],
    70: [list(range(0, 61, 4)), list(range(8, 69, 4))],
    847: [list(range(0, 61, 4)), list(range(784, 845, 4))],
}
WINDOWS = {
    1: [0] * 16,
    3: [2] * 16,
    17: [0, 5, 11] + [16] * 13,
    64: [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63],
}


class Fixed:
    """A generator that draws what it is told."""

    def __init__(self, value: int) -> None:
        self.value = value

    def integers(self, low: int, high: int) -> int:
        assert low <= self.value < high
        return self.value


@pytest.mark.parametrize("frames", VIEWS)
def test_views(frames: int) -> None:
    assert sampling.test_views(frames).tolist() == VIEWS[frames]


@pytest.mark.parametrize("frames", WINDOWS)
def test_windows_of_short_clips(frames: int) -> None:
    assert train_window(frames, Fixed(0)).tolist() == WINDOWS[frames]


def test_window_of_a_long_clip() -> None:
    expected = [10, 14, 18, 22, 27, 31, 35, 39, 44, 48, 52, 56, 61, 65, 69, 73]
    assert train_window(200, Fixed(10)).tolist() == expected


@pytest.mark.parametrize("golden", [GOLDEN] if GOLDEN.is_file() else [])
def test_the_whole_protocol(golden) -> None:
    stored = json.loads(golden.read_text())
    for frames, views in stored["test_views"].items():
        assert sampling.test_views(int(frames)).tolist() == views
    for frames, window in stored["train_window_of_short_clip"].items():
        assert train_window(int(frames), Fixed(0)).tolist() == window


def test_windows_start_anywhere_and_stay_inside() -> None:
    starts = set()
    for seed in range(200):
        window = train_window(70, np.random.default_rng(seed))
        assert window.min() >= 0
        assert window.max() <= 69
        starts.add(int(window[0]))
    assert starts == set(range(6))


@pytest.mark.parametrize(
    ("duration", "views"), [(0.1, 2), (10, 2), (11, 2), (20, 2), (20.5, 3), (79, 8), (7200, 8)]
)
def test_views_by_duration(duration: float, views: int) -> None:
    assert views_for(duration) == views


@pytest.mark.parametrize(
    ("fps", "kept"), [(25, 25), (30, 30), (35, 35), (50, 25), (60, 30), (120, 30), (100, 25)]
)
def test_thinning(fps: float, kept: float) -> None:
    times = np.arange(round(4 * fps)) / fps
    assert len(thinned(times)) == pytest.approx(4 * kept, abs=1)


def test_thinning_of_a_variable_rate_spares_the_slow_part() -> None:
    slow, fast = np.arange(20) / 20, 1 + np.arange(240) / 120
    kept = thinned(np.concatenate([slow, fast]))
    assert set(range(20)) <= set(kept.tolist())
    assert 55 <= len(kept) - 20 <= 65


@pytest.mark.parametrize(
    ("centre", "span"), [(15, (10, 20)), (1, (0, 10)), (29, (20, 30)), (5, (0, 10))]
)
def test_sound_span_is_shifted_inside(centre: float, span: tuple[float, float]) -> None:
    assert sound_span(centre, 0, 30, 10) == span


def test_short_sound_is_taken_whole() -> None:
    assert sound_span(3, 0.5, 6, 10) == (0.5, 6)


def test_no_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="without frames"):
        sampling.test_views(0)
