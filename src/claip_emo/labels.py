"""Label sets: the names of emotions, in the order in which a model numbers them.

Names are stored everywhere and integers nowhere: three integer orders of MAFW's classes are in
circulation, and no file says which one it uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class LabelError(ValueError):
    """A label that the label set does not know, or a label set that contradicts itself."""


@dataclass(frozen=True, slots=True)
class LabelSet(Sequence[str]):
    """Names of the classes, in order: the index of a name is its place in the logits.

    Raises:
        LabelError: if it is empty, or a name is empty or stands twice.
    """

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str]) -> None:
        """Take the names in the order of the logits."""
        ordered = tuple(names)
        if not ordered:
            raise LabelError("A label set needs at least one name.")
        if any(not name or name != name.strip() for name in ordered):
            raise LabelError(f"Label names are neither empty nor padded with spaces: {ordered}")
        twice = sorted({name for name in ordered if ordered.count(name) > 1})
        if twice:
            raise LabelError(f"Label names stand once each; these stand twice: {', '.join(twice)}")
        object.__setattr__(self, "names", ordered)

    @classmethod
    def found_in(cls, labels: Iterable[str]) -> LabelSet:
        """Return the distinct labels of a table, in alphabetical order."""
        return cls(sorted(set(labels)))

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in order."""
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        """Say whether the name is one of the classes."""
        return name in self.names

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        """Return the name at a place (or the names of a slice)."""
        return self.names[place]

    def index_of(self, name: str) -> int:
        """Return the place of a name in the logits.

        Raises:
            LabelError: for an unknown name; the message names the nearest known one.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise LabelError(self.explain_unknown(name)) from None

    def explain_unknown(self, name: str) -> str:
        """Return a sentence on an unknown name that helps to mend it."""
        near = get_close_matches(name.strip().lower(), self.names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"Unknown label {name!r}; known are {', '.join(self.names)}.{hint}"


SEVEN = LabelSet(("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"))
"""DFEW's seven classes in the order of its integers 0 to 6 (the official CSVs use 1 to 7)."""
