"""Label sets: the names of emotions, in the order in which a model numbers them.

Names are stored everywhere and integers nowhere: three integer orders of MAFW's classes are in
circulation, and no file says which one it uses. A model of one label set can be tested on the clips
of another: ``project`` says which class counts as which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "happiness": ("happy", "hap", "joy", "joyful"),
    "sadness": ("sad", "sorrow"),
    "neutral": ("neu", "neutrality"),
    "anger": ("angry", "ang"),
    "surprise": ("surprised", "sur"),
    "disgust": ("disgusted", "dis"),
    "fear": ("fearful", "fea", "afraid", "scared"),
    "contempt": ("contemptuous",),
    "anxiety": ("anxious", "anx"),
    "helplessness": ("helpless",),
    "disappointment": ("disappointed",),
    "calm": ("calmness",),
    "boredom": ("bored", "bor"),
}
"""The emotions of the corpora, and how else people and file names write them."""

_MEANING = {word: name for name, others in SYNONYMS.items() for word in (name, *others)}
_BETWEEN_WORDS = re.compile(r"[^\w]+|_+")


def meaning(name: str) -> frozenset[str]:
    """Return what a label means: one emotion, or the several of a compound one, in any order.

    A name that the vocabulary does not hold means itself; upper case, spaces, hyphens and
    underscores make no difference.
    """
    words = [word for word in _BETWEEN_WORDS.split(name.lower()) if word and word != "and"]
    known = [_MEANING[word] for word in words if word in _MEANING]
    if words and len(known) == len(words):
        return frozenset(known)
    return frozenset({" ".join(words) or name})


@dataclass(frozen=True, slots=True)
class Projection:
    """Which class of a model counts as which class of the clips that it is tested on.

    Attributes:
        source: the model's classes.
        target: the classes of the clips.
        counts_as: each class of the model -> the clips' class, or None where there is none.
    """

    source: LabelSet
    target: LabelSet
    counts_as: Mapping[str, str | None]

    @property
    def labels(self) -> LabelSet:
        """The classes that both have, by the clips' names and in their order."""
        reached = set(self.counts_as.values())
        return LabelSet(name for name in self.target if name in reached)

    @property
    def dropped(self) -> tuple[str, ...]:
        """The model's classes that the clips do not have; their scores are left out."""
        return tuple(name for name in self.source if self.counts_as[name] is None)

    @property
    def excluded(self) -> tuple[str, ...]:
        """The clips' classes that the model does not know; their clips are left out."""
        return tuple(name for name in self.target if name not in self.labels)


def project(
    source: LabelSet, target: LabelSet, pairs: Mapping[str, str | None] | None = None
) -> Projection:
    """Find for each class of a model the class that it counts as among those of other clips.

    The rules, the first that holds decides:

    1. What ``pairs`` says.
    2. An equal name.
    3. A name of the same meaning: ``joy``, ``happy`` and ``HAP`` are happiness. A compound name
       counts as a compound name of the same parts and as nothing else: not as one of its parts.
    4. ``calm`` counts as neutral where the clips have no calm. The reverse does not hold: a model
       without calm has not learned to call calm clips neutral, and they are left out.
    5. Nothing. Near is not the same: anxiety is not fear, disappointment is not sadness.

    Several classes of a model may count as one of the clips.

    Args:
        source: the model's classes.
        target: the clips' classes.
        pairs: class of the model -> the clips' class, or None for nothing; overrides the rules.

    Raises:
        LabelError: if ``pairs`` names an unknown class, a class could count as two, or fewer than
            two classes are shared: then there is nothing to tell apart.
    """
    wanted = dict(pairs or {})
    for name, chosen in wanted.items():
        source.index_of(name)
        if chosen is not None:
            target.index_of(chosen)
    counts_as = {
        name: wanted[name] if name in wanted else _counterpart(name, target) for name in source
    }
    if len(set(counts_as.values()) - {None}) < 2:
        raise LabelError(
            f"The model's classes ({', '.join(source)}) and those of the clips "
            f"({', '.join(target)}) have fewer than two in common; there is nothing to tell apart."
        )
    return Projection(source, target, counts_as)


def _counterpart(name: str, target: LabelSet) -> str | None:
    if name in target:
        return name
    for wanted in (meaning(name), _CALM_AS_NEUTRAL.get(meaning(name))):
        alike = [other for other in target if meaning(other) == wanted]
        if len(alike) > 1:
            raise LabelError(
                f"{name!r} could count as {' or as '.join(map(repr, alike))}: say which."
            )
        if alike:
            return alike[0]
    return None


_CALM_AS_NEUTRAL = {frozenset({"calm"}): frozenset({"neutral"})}
