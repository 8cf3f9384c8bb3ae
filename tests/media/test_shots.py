"""Cuts and what is none: flashes, pans, people who move."""

from itertools import pairwise

import numpy as np
import pytest

from claip_emo.media.shots import LEAST_CHANGE, SUDDEN, SURE_CHANGE, Shots, distance, thumbnail

from .made_people import Head, looked, scene, texture, wall


def changes(pictures) -> list[float]:
    """What is told of each picture but the first."""
    thumbs = [thumbnail(picture) for picture in pictures]
    shots = Shots()
    after = [*thumbs[2:], None]
    return [shots.change(*three) for three in zip(thumbs[:-1], thumbs[1:], after, strict=True)]


def cuts(pictures) -> list[int]:
    """The numbers of the pictures with which shots begin."""
    return [number for number, change in enumerate(changes(pictures), 1) if change > 0]


def test_a_thumbnail_is_lab_of_a_few_cells() -> None:
    white = thumbnail(np.full((120, 200, 3), 255, np.uint8))
    assert white.shape == (18, 32, 3)
    np.testing.assert_allclose(white.reshape(-1, 3), [[255, 128, 128]] * (18 * 32), atol=1)
    red = thumbnail(np.full((1, 5, 3), (255, 0, 0), np.uint8))
    assert (red[..., 1] > 190).all()
    assert distance(white, white) == 0
    black = thumbnail(np.zeros((33, 2000, 3), np.uint8))
    assert distance(white, black) == pytest.approx(255 / 3, abs=1)


def test_another_wall_is_a_cut() -> None:
    pictures = [scene([], wall) for wall in (0, 0, 0, 1, 1, 0, 0)]
    assert cuts(pictures) == [3, 5]
    assert changes(pictures)[2] == pytest.approx(distance(*map(thumbnail, pictures[2:4])))


def test_another_person_before_the_same_wall_is_a_cut() -> None:
    assert cuts([scene([Head(seed)]) for seed in (1, 1, 1, 2, 2, 2, 1, 1)]) == [3, 6]


def test_a_cut_to_a_shot_of_one_picture_at_the_end() -> None:
    assert cuts([scene([], wall) for wall in (0, 0, 0, 1)]) == [3]


@pytest.mark.parametrize("light", [255, 0])
def test_a_flash_is_no_cut(light: int) -> None:
    """Neither when it comes, nor when it goes."""
    calm = [scene([Head(1)])] * 4
    flash = [np.full_like(calm[0], light)]
    assert cuts([*calm, *flash, *calm, *flash, *calm]) == []


def test_a_cut_right_after_a_flash_is_found() -> None:
    one, other = scene([Head(1)]), scene([Head(2)], 1)
    flash = np.full_like(one, 255)
    found = cuts([one, one, one, flash, other, other, other])
    assert found
    assert {*found} <= {3, 4}


def test_a_pan_is_no_cut() -> None:
    """The camera turns by a tenth of the picture from one picture to the next, and stops."""
    turned = [0, 0, 2, 6, *range(16, 240, 16), 240, 240, 240]
    whole = np.clip(wall(0, 120, 400), 0, 255).astype(np.uint8)
    assert cuts([whole[:, shift : shift + 160] for shift in turned]) == []


def test_somebody_who_walks_is_no_cut() -> None:
    assert cuts([scene([Head(1, 8 * step, 36)]) for step in range(12)]) == []


def test_noise_is_no_cut_and_hides_none() -> None:
    rng = np.random.default_rng(0)
    pictures = [scene([Head(1)])] * 8 + [scene([Head(2)], 1)] * 8
    grain = [rng.normal(0, 20, pictures[0].shape) for _ in pictures]
    grainy = [np.clip(p + g, 0, 255).astype(np.uint8) for p, g in zip(pictures, grain, strict=True)]
    assert cuts(grainy) == [8]


def test_a_change_is_sudden_beside_those_before() -> None:
    """The median of the last changes is 2: below 8 nothing is a cut."""
    lights = [100, 102, 104, 106, 104, 102, 100]
    for jump, told in ((7.5, 0.0), (8.0, 8.0)):
        plain = [np.full((18, 32, 3), light, np.float32) for light in (*lights, 100 + jump)]
        shots = Shots()
        found = [shots.change(one, two, None) for one, two in pairwise(plain)]
        assert found == [*[0.0] * 6, told]
    assert SUDDEN == 4


def test_a_shot_that_moves_from_its_start_is_one() -> None:
    spots = 120 + texture(1, 120, 800, 40, 30).repeat(3, axis=-1)
    whole = np.clip(spots, 0, 255).astype(np.uint8)
    pan = [whole[:, shift : shift + 160] for shift in range(0, 640, 20)]
    assert LEAST_CHANGE < distance(*map(thumbnail, pan[:2])) < SURE_CHANGE
    assert cuts(pan) == []
    calm = [scene([Head(1)], 5)] * 8
    assert cuts([*calm, *pan]) == [8]


def test_shots_of_one_picture_are_told_apart() -> None:
    pictures = [scene([], wall) for wall in (0, 0, 0, 0, 0, 1, 2, 4, 5, 5, 5)]
    assert cuts(pictures) == [5, 6, 7, 8]


def test_the_least_change_counts_at_the_start() -> None:
    dark, light = np.full((18, 32, 3), 100, np.float32), np.full((18, 32, 3), 104, np.float32)
    assert LEAST_CHANGE == 4
    assert Shots().change(dark, light, light) == 4
    assert Shots().change(dark, light - 0.1, light) == 0


def test_scenes_are_what_they_seem() -> None:
    """The tests' own pictures: heads differ by more than a cut needs."""
    assert distance(*(thumbnail(looked(0, [Head(s)]).picture) for s in (1, 2))) > LEAST_CHANGE
