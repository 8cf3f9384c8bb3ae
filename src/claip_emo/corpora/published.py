"""Corpora as their publishers ship them: what each is, and how one fold of it is read.

A corpus is one file of this folder that defines ``CORPUS``. Its ``list_fold`` says what the split
files hold, refusing nothing; ``read_fold`` here turns that into a corpus to train on, or says what
is wrong with it; ``corpora.check`` sets it beside the published counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Literal

from claip_emo.corpora.base import Corpus, CorpusError, Sample
from claip_emo.labels import LabelSet

logger = logging.getLogger(__name__)

NAMES = ("dfew", "mafw", "crema_d", "ravdess", "meld", "lists")
NAMED_AT_MOST = 5  # missing clips, in a warning

TOGETHER = "all"

Counts = Mapping[str, Mapping[str, int] | int]
"""Part (``train``, ``validation``, ``test``, or ``all`` for the parts together) -> clips per class,
or their number alone."""


class FoldMissingError(CorpusError):
    """A fold whose split files are not there, while those of other folds may be."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What the split files of one fold say.

    Attributes:
        samples: the clips whose rows are good, each once, with their part and fold; their files
            may be missing.
        duplicates: ids that stand twice, in one part or in two.
        bad_labels: ids whose label is none of the corpus's, and what stands there instead.
        dropped: ids that the corpus's readers are known to leave out, and why.
    """

    samples: tuple[Sample, ...]
    duplicates: tuple[str, ...] = ()
    bad_labels: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a corpus lies on this machine, and which edition of it is wanted.

    Attributes:
        root: the folder as the publisher ships it.
        clips: folder of the clips, where they do not lie under ``root``.
        variant: the edition; None: the corpus's first.
        label_order: names of the integers of a list, where the files do not say.
    """

    root: Path
    clips: Path | None = None
    variant: str | None = None
    label_order: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class PublishedCorpus:
    """What is known of a corpus, and how it is read.

    Attributes:
        name: as in recipes and on the command line.
        title: name and kind, for people.
        url: where it is requested.
        licence: its terms in a few words.
        layout: what the folder holds, for messages and the documentation.
        folds: numbers of the folds; a fold is tested on, the others train.
        variants: editions, the default first; empty: there is one only.
        labels: place -> the classes, in the order of the logits.
        list_fold: place, fold -> what the split files say; a ``FoldMissingError`` where there are
            none for this fold.
        expected: variant, fold -> published counts; None where nothing is published.
    """

    name: str
    title: str
    url: str
    licence: str
    layout: str
    folds: tuple[int, ...]
    labels: Callable[[Place], LabelSet]
    list_fold: Callable[[Place, int], Listing]
    expected: Callable[[str | None, int], Counts | None]
    variants: tuple[str, ...] = ()

    def variant_of(self, place: Place) -> str | None:
        """Return the edition that is wanted.

        Raises:
            CorpusError: for an unknown one.
        """
        if place.variant is None:
            return self.variants[0] if self.variants else None
        if place.variant not in self.variants:
            known = ", ".join(self.variants) or "none: there is one edition only"
            raise CorpusError(
                [f"{self.name} has no variant {place.variant!r}; there are: {known}."]
            )
        return place.variant

    def published_counts(self, place: Place, fold: int) -> Counts | None:
        """Return the counts that a fold should have; None where nothing is published.

        Raises:
            CorpusError: for an unknown edition.
        """
        return self.expected(self.variant_of(place), fold)

    def check_fold(self, fold: int) -> None:
        """Check that there is such a fold.

        Raises:
            CorpusError: if there is not.
        """
        if fold not in self.folds:
            known = ", ".join(map(str, self.folds))
            raise CorpusError([f"{self.name} has no fold {fold}; its folds are {known}."])


def absent_file(sample: Sample) -> Path | None:
    """Return the file of a clip, picture or sound, that is not there; None if all are."""
    paths = (sample.path, sample.audio_path)
    return next((path for path in paths if path is not None and not path.exists()), None)


def published(name: str) -> PublishedCorpus:
    """Return a corpus by name.

    Raises:
        CorpusError: for an unknown name.
    """
    if name not in NAMES:
        near = get_close_matches(name, NAMES, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise CorpusError([f"There is no corpus {name!r}; known are {', '.join(NAMES)}.{hint}"])
    found: PublishedCorpus = import_module(f"claip_emo.corpora.{name}").CORPUS
    return found


def read_fold(
    name: str,
    place: Place,
    fold: int,
    *,
    missing: Literal["error", "skip", "keep"] = "error",
) -> Corpus:
    """Read one fold of a corpus to train or test on.

    Args:
        name: one of ``NAMES``.
        place: where it lies.
        fold: which; it is tested on, the others train.
        missing: what is done about clips whose file is not there; ``keep`` is for who only counts.

    Raises:
        CorpusError: naming every row that is wrong and, unless they are to be skipped, every clip
            that is missing.
    """
    corpus = published(name)
    corpus.check_fold(fold)
    corpus.variant_of(place)
    listing = corpus.list_fold(place, fold)
    problems = [f"{clip} is named twice." for clip in listing.duplicates]
    problems += [
        f"{clip}: unknown label {said!r}; known are {', '.join(corpus.labels(place))}."
        for clip, said in listing.bad_labels.items()
    ]
    looked_at = listing.samples if missing != "keep" else ()
    absent = {s.id: file for s in looked_at if (file := absent_file(s)) is not None}
    if absent and missing == "error":
        problems.append(
            f"{len(absent)} clips are missing: `claip-emo corpus check {name} {place.root}` lists "
            "them; --set data.missing=skip (train) or --missing skip (evaluate) leaves them out, "
            "which changes the published counts."
        )
        problems += [f"{clip}: there is no file {file}." for clip, file in sorted(absent.items())]
    if problems:
        raise CorpusError(problems, where=str(place.root))
    if absent:
        logger.warning(
            "%d of %d clips are missing and left out (%s): scores are not comparable with "
            "published ones.",
            len(absent),
            len(listing.samples),
            ", ".join(list(absent)[:NAMED_AT_MOST]),
        )
    kept = tuple(sample for sample in listing.samples if sample.id not in absent)
    if not kept:
        raise CorpusError([f"{place.root}: there is no clip. {corpus.layout}"])
    return Corpus(name, corpus.labels(place), kept)
