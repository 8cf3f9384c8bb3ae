"""Small made trees in the official layouts of the published corpora, for tests to read.

The clips are made (``corpora.synthetic``): real files of drawn faces and synthetic voices. The
maker draws seven emotions; a class that it cannot draw looks and sounds like another one
(``tree_clips.DRAWN``; a compound class like its first emotion). Folders, file names and split files
are as published, with ids of their own. Breakages are named by the ids of the clips that they
happen to.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from claip_emo.corpora.mafw import SINGLE
from claip_emo.labels import SEVEN
from tests.corpora.tree_clips import Planned, Tree, bad_id
from tests.corpora.tree_layouts import WRITERS

__all__ = ["BREAKAGES", "FORMS", "bad_id", "clip_ids", "make_tree", "plan"]

COMPOUND = ("anger_disgust", "fear_surprise", "sadness_helplessness", "anger_disgust_contempt")
CREMA = {
    "anger": "ANG",
    "disgust": "DIS",
    "fear": "FEA",
    "happiness": "HAP",
    "neutral": "NEU",
    "sadness": "SAD",
}
SENTENCES = ("TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
SPOKEN = ("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise")
FORMS = {
    "dfew": ("original", "clip_224x224", "clip_224x224_16f"),
    "mafw": ("clips", "frames"),
    "crema_d": ("both", "video", "sound"),
    "ravdess": ("archives", "folders", "sound"),
    "meld": ("flat", "archives"),
    "lists": ("dfew", "mafw"),
}
"""How a corpus keeps its clips, the default first; of lists, the corpus they are of."""

PER_CLASS = {"dfew": 4, "mafw": 3, "crema_d": 1, "ravdess": 1, "meld": 2, "lists": 3}
BREAKAGES = ("missing", "broken", "bad_label", "duplicate", "silent")


def make_tree(
    name: str,
    root: Path,
    *,
    people: int = 4,
    per_class: int | None = None,
    form: str | None = None,
    folds: Sequence[int] = (1, 2),
    seed: int = 0,
    **breakage: Collection[str],
) -> Path:
    """Make a tree of a corpus and return its root.

    Args:
        name: of the corpus.
        root: folder that is made.
        people: number of people. Of CREMA-D and RAVDESS each is an actor, the first ones of
            different folds, so four of them test four folds.
        per_class: clips per class: of the whole corpus, of each actor (CREMA-D, RAVDESS), or of the
            training part (MELD, whose other parts have one each); None: a few.
        form: one of ``FORMS``; None: the first.
        folds: of which split files are written.
        seed: of faces and voices.
        breakage: ``missing``, ``broken``, ``bad_label``, ``duplicate``, ``silent`` -> ids of the
            clips (``clip_ids`` says which there are) whose file is not there, is junk, whose label
            is unknown, that are named twice, that have no sound. The label of CREMA-D and RAVDESS
            is a part of the id: ``bad_id`` returns the new one.
    """
    form = form or FORMS[name][0]
    if form not in FORMS[name]:
        raise ValueError(f"{name} is kept as {', '.join(FORMS[name])}, not as {form!r}.")
    clips = plan(name, people=people, per_class=per_class, form=form)
    happens = {what: frozenset(breakage.pop(what, ())) for what in BREAKAGES}
    if breakage:
        raise ValueError(f"Breakages are {', '.join(BREAKAGES)}, not {', '.join(breakage)}.")
    if lost := frozenset().union(*happens.values()) - {clip.id for clip in clips}:
        raise ValueError(f"There is no clip {', '.join(sorted(lost))} in this tree.")
    if form == "sound" and happens["silent"]:
        raise ValueError("A clip of sound alone has sound; it may be missing.")
    root.mkdir(parents=True, exist_ok=True)
    WRITERS[name](Tree(root, form, clips, folds, seed, happens))
    return root


def clip_ids(name: str, **size: int | str | None) -> list[str]:
    """Return the ids of a tree's clips; arguments as those of ``make_tree``."""
    return [clip.id for clip in plan(name, **size)]


def plan(
    name: str, *, people: int = 4, per_class: int | None = None, form: str | None = None
) -> list[Planned]:
    """Return the clips of a tree, in order."""
    takes = PER_CLASS[name] if per_class is None else per_class
    if name == "crema_d":
        return [
            Planned(f"{_crema_actor(p)}_{SENTENCES[t]}_{code}_XX", label, p, t)
            for p in range(people)
            for label, code in CREMA.items()
            for t in range(takes)
        ]
    if name == "ravdess":
        modality = "03" if form == "sound" else "01"
        return [
            Planned(
                f"{modality}-01-{e:02d}-{_ravdess_take(t)}-{_ravdess_actor(p):02d}", label, p, t
            )
            for p in range(people)
            for e, label in enumerate(SPOKEN, start=1)
            for t in range(takes)
        ]
    if name == "meld":
        return [
            Planned(f"{part}/dia{n // 5}_utt{n % 5}", label, n % people, n)
            for part, count in (("train", takes), ("dev", 1), ("test", 1))
            for n, label in enumerate(label for _ in range(count) for label in SEVEN)
        ]
    if takes < 2:
        raise ValueError("Folds need two clips per class at least.")
    classes = {"dfew": SEVEN, "mafw": (*SINGLE, *COMPOUND)}.get(name)
    classes = classes or (SINGLE if form == "mafw" else SEVEN)
    pairs = [(label, take) for take in range(takes) for label in classes]
    return [
        Planned(f"{n:05d}", label, n % people, take)
        for n, (label, take) in enumerate(pairs, start=1)
    ]


def _crema_actor(person: int) -> int:
    """Take actors from the five folds in turn."""
    return 1001 + 18 * (person % 5) + person // 5


def _ravdess_actor(person: int) -> int:
    """Take actors from the six folds in turn."""
    return 1 + 4 * (person % 6) + person // 6


def _ravdess_take(take: int) -> str:
    """Return intensity, statement and repetition."""
    return f"{1 + take // 4 % 2:02d}-{1 + take % 2:02d}-{1 + take // 2 % 2:02d}"
