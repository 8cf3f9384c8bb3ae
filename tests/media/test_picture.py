"""Squares that reach over the border of a picture."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from claip_emo.media.picture import square

SIDES = st.integers(1, 40)
PLACES = st.integers(-90, 90)


@settings(max_examples=300, deadline=None)
@given(SIDES, SIDES, SIDES, PLACES, PLACES)
def test_what_lies_outside_repeats_the_border(
    height: int, width: int, side: int, left: int, top: int
) -> None:
    picture = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    box = np.array([left, top, left + side, top + side], np.float32)

    assert np.array_equal(square(picture, box, side), picture[rows[:, None], columns])
