"""Which tracks are one person's: those that look alike and are never in one picture together."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Generic, Protocol, TypeVar

from claip_emo.media.appearance import Gallery, Prepared


class Followed(Protocol):
    """A stretch of time in which one face was followed."""

    gallery: Gallery

    @property
    def span_s(self) -> tuple[float, float]:
        """When it was seen first and last."""
        ...


Stretch = TypeVar("Stretch", bound=Followed)


@dataclass(slots=True, eq=False)
class Person(Generic[Stretch]):
    """Somebody, and when they were seen.

    Attributes:
        stretches: in which they were followed, in the order of time.
        gallery: what they looked like.
        looks: the same, as it is compared.
    """

    stretches: list[Stretch] = field(default_factory=list)
    gallery: Gallery = field(default_factory=Gallery)
    looks: Prepared = field(default_factory=lambda: Gallery().prepared())

    def take(self, stretches: Iterable[Stretch], gallery: Gallery) -> None:
        """Take over what was somebody else's until now."""
        self.stretches = sorted([*self.stretches, *stretches], key=lambda one: one.span_s)
        self.gallery.take(gallery.looks)
        self.looks = self.gallery.prepared()

    def beside(self, stretches: Iterable[Stretch]) -> bool:
        """Whether they are seen while somebody else is, and so are two."""
        return any(self._is_there(*theirs.span_s) for theirs in stretches)

    def _is_there(self, begin_s: float, end_s: float) -> bool:
        """Whether they are seen between two times; of one person, no stretch lies in another."""
        after = bisect_right(self.stretches, end_s, key=lambda one: one.span_s[0])
        return after > 0 and self.stretches[after - 1].span_s[1] >= begin_s


class People(Generic[Stretch]):
    """Everybody who was seen."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._people: list[Person[Stretch]] = []

    def add(self, stretch: Stretch) -> None:
        """Give a stretch to the person whom it looks most like, or to somebody new."""
        looks = stretch.gallery.prepared()
        likely = [
            (person.looks.same_as(looks), place)
            for place, person in enumerate(self._people)
            if not person.beside([stretch])
        ]
        best, place = max(likely, default=(-1.0, 0))
        if best < 0:
            self._people.append(Person())
            place = -1
        self._people[place].take([stretch], stretch.gallery)

    def settle(self) -> list[Person[Stretch]]:
        """Return everybody in the order in which they appear, each once.

        Who looked like two people at first may have shown since that they are one.
        """
        pairs = {
            (one, other): one.looks.same_as(other.looks)
            for one, other in combinations(self._people, 2)
        }
        while pairs:
            one, other = max(pairs, key=lambda pair: pairs[pair])
            if pairs.pop((one, other)) < 0:
                break
            if one.beside(other.stretches):
                continue
            one.take(other.stretches, other.gallery)
            self._people.remove(other)
            pairs = {pair: like for pair, like in pairs.items() if other not in pair}
            for pair in pairs:
                if one in pair:
                    pairs[pair] = pair[0].looks.same_as(pair[1].looks)
        return sorted(self._people, key=lambda person: person.stretches[0].span_s)
