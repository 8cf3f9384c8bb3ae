"""What every corpus is: labelled samples, each in a part, with speakers where they are known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from claip_emo.labels import LabelSet

PARTS = ("train", "validation", "test")
PROBLEMS_SHOWN = 20


class CorpusError(ValueError):
    """A corpus that cannot be used; ``problems`` names everything that is wrong with it."""

    def __init__(self, problems: Iterable[str]):
        """Take one sentence per problem."""
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        """List the problems, a line each; beyond 20 they are counted."""
        shown = list(self.problems[:PROBLEMS_SHOWN])
        if len(self.problems) > PROBLEMS_SHOWN:
            shown.append(f"and {len(self.problems) - PROBLEMS_SHOWN} more")
        return "\n".join(shown)


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled clip.

    Attributes:
        id: unique name within the corpus.
        path: video, sound file or folder of frames.
        label: name of its class.
        audio_path: sound that is kept in another file.
        split: ``train``, ``validation`` or ``test``.
        fold: fold it is tested in.
        speaker: who is seen and heard.
        extra: further columns of its table.
    """

    id: str
    path: Path
    label: str
    audio_path: Path | None = None
    split: str | None = None
    fold: int | None = None
    speaker: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Samples and the classes they are labelled with."""

    name: str
    labels: LabelSet
    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        """Iterate over the samples."""
        return iter(self.samples)

    def part(self, split: str) -> Corpus:
        """Return the samples of one part: ``train``, ``validation`` or ``test``."""
        if split not in PARTS:
            raise CorpusError([f"There is no part {split!r}; parts are {', '.join(PARTS)}."])
        return replace(self, samples=tuple(s for s in self.samples if s.split == split))

    def counts(self) -> dict[str, int]:
        """Count the samples of each class, in the order of the labels."""
        found = dict.fromkeys(self.labels, 0)
        for sample in self.samples:
            found[sample.label] += 1
        return found


def split_off_validation(corpus: Corpus, *, share: float, seed: int) -> Corpus:
    """Move a share of the training samples to a validation part.

    Whole speakers move where every training sample names one (and there are at least two), else
    clips, class by class. The choice depends on the seed and the names only, not on the order of
    the samples.

    Args:
        corpus: with samples of the part ``train``.
        share: of the training samples, between 0 and 1.
        seed: of the choice.
    """
    train = [sample for sample in corpus.samples if sample.split == "train"]
    speakers = {sample.speaker for sample in train}
    if None not in speakers and len(speakers) > 1:
        moved = _choose_speakers(train, share, seed)
    else:
        moved = _choose_clips(train, share, seed)
    return replace(
        corpus,
        samples=tuple(
            replace(sample, split="validation") if sample.id in moved else sample
            for sample in corpus.samples
        ),
    )


def _choose_speakers(train: list[Sample], share: float, seed: int) -> set[str]:
    wanted = share * len(train)
    by_speaker: dict[str, list[Sample]] = {}
    for sample in train:
        by_speaker.setdefault(str(sample.speaker), []).append(sample)
    moved: set[str] = set()
    for speaker in sorted(by_speaker, key=lambda name: _draw(seed, name)):
        grown = len(moved) + len(by_speaker[speaker])
        one_left = len(moved) + len(by_speaker[speaker]) == len(train)
        if not one_left and (not moved or abs(grown - wanted) < abs(len(moved) - wanted)):
            moved |= {sample.id for sample in by_speaker[speaker]}
    return moved


def _choose_clips(train: list[Sample], share: float, seed: int) -> set[str]:
    moved: set[str] = set()
    for label in {sample.label for sample in train}:
        ids = sorted((s.id for s in train if s.label == label), key=lambda name: _draw(seed, name))
        count = round(share * len(ids))
        moved |= set(ids[: max(count, 1) if len(ids) > 1 else 0])
    return moved


def _draw(seed: int, name: str) -> str:
    """Return a number for a name that depends on nothing but the seed."""
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()
