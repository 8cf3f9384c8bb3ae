"""Which tracks are one person's."""

from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import pytest

from claip_emo.media.appearance import Gallery, Look
from claip_emo.media.people import People


@dataclass
class Stretch:
    """Somebody who looks like an angle, in degrees, for some seconds."""

    span_s: tuple[float, float]
    gallery: Gallery = field(default_factory=Gallery)


def seen(begin_s: float, end_s: float, *degrees: float) -> Stretch:
    stretch = Stretch((begin_s, end_s))
    for angle in np.radians(degrees):
        vector = np.array([np.cos(angle), np.sin(angle)], np.float16)
        stretch.gallery.looks.append(Look(vector, True, 0.5))
    return stretch


def spans(stretches: list[Stretch]) -> list[list[tuple[float, float]]]:
    people = People[Stretch]()
    for stretch in stretches:
        people.add(stretch)
    return [[one.span_s for one in person.stretches] for person in people.settle()]


def test_nobody() -> None:
    assert spans([]) == []


def test_who_looks_alike_is_one_and_who_does_not_is_another() -> None:
    """cos 30 degrees is 0.87, enough in colour; cos 40 degrees is 0.77."""
    assert spans([seen(0, 1, 0), seen(2, 3, 90), seen(4, 5, 30)]) == [[(0, 1), (4, 5)], [(2, 3)]]
    assert len(spans([seen(0, 1, 0), seen(2, 3, 40)])) == 2


def test_two_in_one_picture_are_two_however_alike() -> None:
    assert len(spans([seen(0, 2, 0), seen(1, 3, 0)])) == 2
    assert len(spans([seen(0, 2, 0), seen(2, 3, 0)])) == 2
    assert len(spans([seen(0, 2, 0), seen(2.1, 3, 0)])) == 1


def test_twins_are_told_apart_while_they_are_seen_together() -> None:
    """Both return; each return is one of the two, never both one."""
    found = spans([seen(0, 2, 0), seen(0, 2, 5), seen(3, 4, 1), seen(3, 4, 4)])
    assert found == [[(0, 2), (3, 4)], [(0, 2), (3, 4)]]


def test_a_stretch_goes_to_whom_it_looks_most_like() -> None:
    found = spans([seen(0, 1, 0), seen(0, 1, 40), seen(2, 3, 28)])
    assert sorted(map(len, found)) == [1, 2]
    one, other = seen(0, 1, 0), seen(0, 1.5, 40)
    assert spans([one, other, seen(2, 3, 28)]) == [[(0, 1)], [(0, 1.5), (2, 3)]]


def test_who_looked_like_two_at_first_may_be_one() -> None:
    """At 0 and 60 degrees nothing is shared; the third has both looks."""
    assert len(spans([seen(0, 1, 0), seen(2, 3, 60), seen(4, 5, 0, 60)])) == 1
    assert len(spans([seen(0, 1, 0), seen(0.5, 3, 60), seen(4, 5, 0, 60)])) == 2


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_order_in_which_tracks_end_changes_nothing(order: tuple[int, ...]) -> None:
    tracks = [seen(0, 9, 0), seen(1, 3, 90), seen(4, 6, 95), seen(10, 12, 3)]
    found = spans([tracks[place] for place in order])
    assert found == [[(0, 9), (10, 12)], [(1, 3), (4, 6)]]


def test_everybody_is_in_the_order_in_which_they_appear_and_whole() -> None:
    rng = np.random.default_rng(0)
    tracks = [seen(2 * n, 2 * n + 1, 90 * rng.integers(4)) for n in range(30)]
    found = spans([tracks[place] for place in rng.permutation(30)])
    assert sorted(span for person in found for span in person) == [t.span_s for t in tracks]
    assert [person[0] for person in found] == sorted(person[0] for person in found)
    assert all(person == sorted(person) for person in found)
    assert len(found) == 4


def test_galleries_of_tracks_are_left_as_they_were() -> None:
    one, other = seen(0, 1, 0), seen(2, 3, 30)
    spans([one, other])
    assert len(one.gallery.looks) == len(other.gallery.looks) == 1
