"""Whether two faces look alike: the same head elsewhere does, other heads do not."""

import cv2
import numpy as np
import pytest

from claip_emo.media.appearance import (
    FAMILIAR,
    LOOKS_KEPT,
    SAME_IN_COLOUR,
    SAME_IN_GREY,
    Gallery,
    Look,
    look_of,
)

from .made_people import Head, scene

SEEDS = (0, 1, 2, 3, 6, 7, 8, 10)


def look(head: Head, background: int = 0, *, grey: bool = False, light: float = 1.0) -> Look:
    picture = (scene([head], background) * light).astype(np.uint8)
    if grey:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return look_of(picture, np.array(head.box, np.float32))


def made(*vectors: tuple[float, float], colourful: bool = True) -> list[Look]:
    return [
        Look(np.array(v, np.float16) / np.float16(np.hypot(*v)), colourful, 0.5) for v in vectors
    ]


def gallery(*vectors: tuple[float, float], colourful: bool = True) -> Gallery:
    found = Gallery()
    found.take(made(*vectors, colourful=colourful))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_head_looks_like_itself_elsewhere(seed: int) -> None:
    here, there = look(Head(seed)), look(Head(seed, 90, 50), 1)
    assert here.colourful
    assert here.needed == SAME_IN_COLOUR
    assert here.like(here) == pytest.approx(1, abs=2e-3)
    assert here.like(there) == there.like(here) >= SAME_IN_COLOUR


def test_a_head_that_comes_nearer_is_the_same() -> None:
    assert look(Head(1)).like(look(Head(1, 40, 30, 60))) >= SAME_IN_COLOUR


@pytest.mark.parametrize("grey", [False, True])
def test_other_heads_do_not(grey: bool) -> None:
    looks = [look(Head(seed), grey=grey) for seed in SEEDS]
    assert {one.colourful for one in looks} == {not grey}
    likeness = [a.like(b) for a in looks for b in looks if a is not b]
    assert max(likeness) < (SAME_IN_GREY if grey else SAME_IN_COLOUR)


def test_grey_faces_must_be_more_alike() -> None:
    assert look(Head(1), grey=True).needed == SAME_IN_GREY > SAME_IN_COLOUR
    assert look(Head(1), grey=True).like(look(Head(1, 60, 40), grey=True)) >= SAME_IN_GREY


def test_the_colours_alone_tell_two_faces_apart() -> None:
    """The same pattern of light and dark in the face, and another colour."""
    face = scene([Head(1)], chins=False)
    lab = cv2.cvtColor(face, cv2.COLOR_RGB2LAB)
    lab[..., 1] = 255 - lab[..., 1]
    other = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    box = np.array(Head(1).box, np.float32)
    assert look_of(face, box).like(look_of(other, box)) < 0.75


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 255)])
def test_strong_light_of_one_colour_is_a_colour(colour: tuple[int, int, int]) -> None:
    """On a stage: every look is of length 1, so that a face looks like itself."""
    lit = ((0.7 + 0.3 * scene([Head(1)]) / 255.0) * colour).astype(np.uint8)
    seen = look_of(lit, np.array(Head(1).box, np.float32))
    assert seen.like(seen) == pytest.approx(1, abs=2e-3)


def test_lightness_is_that_of_the_face() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[30:70, 30:70] = 255
    box = np.array((30, 30, 40, 40, 1, 0), np.float32)
    assert look_of(picture, box).lightness == pytest.approx(1, abs=0.01)
    assert look_of(255 - picture, box).lightness == pytest.approx(0, abs=0.01)
    half = look(Head(1), light=0.5)
    assert 0.3 < half.lightness / look(Head(1)).lightness < 0.7


@pytest.mark.parametrize(
    "box",
    [
        (-30, -30, 50, 60), (140, 100, 60, 60), (-500, -500, 20, 20), (900, 900, 20, 20),
        (10, 10, 0.2, 0.3), (-50, -50, 900, 900),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(120, 160), (1, 1), (3, 500)])
def test_boxes_that_stick_out_have_a_look(box: tuple[float, ...], shape: tuple[int, int]) -> None:
    picture = scene([], height=shape[0], width=shape[1])
    seen = look_of(picture, np.array((*box, 1, 0), np.float32))
    assert np.isfinite(seen.vector).all()
    assert 0 <= seen.lightness <= 1


def test_a_gallery_keeps_looks_that_differ() -> None:
    kept = gallery((1, 0), (1, 0.1), (1, 1), (0, 1), (1, 0))
    assert FAMILIAR == 0.96  # 0.1 sideways is 0.995 alike, 45 degrees 0.707
    assert len(kept.looks) == 3
    assert kept.like(made((0, 1))[0]) == pytest.approx(1, abs=1e-3)
    assert kept.like(made((1, 0.5))[0]) == pytest.approx(np.cos(np.arctan(2) - np.pi / 4), abs=2e-3)
    assert Gallery().like(made((1, 0))[0]) == 0


def test_a_gallery_does_not_grow_without_end() -> None:
    kept = Gallery()
    for number in range(200):
        vector = np.zeros(200, np.float16)
        vector[number] = 1
        kept.add(Look(vector, True, 0.5))
    assert len(kept.looks) == LOOKS_KEPT


def test_galleries_are_the_same_by_their_most_similar_looks() -> None:
    one, other = gallery((1, 0), (0, 1)), gallery((-1, 0), (0.2, 1))
    best = 1 / np.hypot(1, 0.2)
    assert one.same_as(other) == pytest.approx(best - SAME_IN_COLOUR, abs=2e-3)
    grey = gallery((0.2, 1), colourful=False)
    assert one.same_as(grey) == pytest.approx(best - SAME_IN_GREY, abs=2e-3)
    assert one.same_as(gallery((-1, -1))) < 0
    assert Gallery().same_as(one) == one.same_as(Gallery()) == -1
