"""What every corpus is: labelled samples, each in a part, with speakers where they are known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from claip_emo.labels import LabelSet

OnProgress = Callable[[int, int], None]
"""Is told (done, total)."""

PARTS = ("train", "validation", "test")
PROBLEMS_SHOWN = 20
DRAWS = 200  # of speakers to validate on, among which the best is taken
GOOD_MISS = 0.03  # share of the clips by which a draw of speakers may miss the share wanted


class CorpusError(ValueError):
    """A corpus that cannot be used; ``problems`` names everything that is wrong with it."""

    def __init__(self, problems: Iterable[str], where: str = ""):
        """Take one sentence per problem, and the file that all of them are about."""
        self.problems = tuple(problems)
        self.where = where
        super().__init__(self.problems, where)

    def __str__(self) -> str:
        """List the problems, a line each, below their file; beyond 20 they are counted."""
        shown = [f"{self.where}:"] if self.where else []
        shown += self.problems[:PROBLEMS_SHOWN]
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


def split_off_validation(corpus: Corpus, *, share: float = 0.15, seed: int) -> Corpus:
    """Move a share of the training samples to a validation part.

    Whole speakers move where every training sample names one (and there are at least two), else
    clips, class by class. The choice depends on the seed and the names only, not on the order of
    the samples. Speakers are chosen so that, as far as it is possible, every class stays in
    training and is in validation too, and the share is met.

    Args:
        corpus: with samples of the part ``train``.
        share: of the training samples, between 0 and 1.
        seed: of the choice.

    Raises:
        CorpusError: if the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise CorpusError([f"The share of validation must lie between 0 and 1; it is {share}."])
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
    """Return the ids of the best of some draws of speakers; the first good one is taken."""
    by_speaker: dict[str, list[Sample]] = {}
    for sample in train:
        by_speaker.setdefault(str(sample.speaker), []).append(sample)
    size = {speaker: len(samples) for speaker, samples in by_speaker.items()}
    classes = {speaker: {s.label for s in samples} for speaker, samples in by_speaker.items()}
    every = set().union(*classes.values())
    wanted = share * len(train)
    best: tuple[tuple[int, int, float], set[str]] | None = None
    for number in range(DRAWS):
        order = sorted(size, key=lambda name: _draw(seed, f"{number}/{name}"))
        chosen = _fill(order, size, wanted)
        lost_to_training = every - set().union(*(classes[s] for s in size.keys() - chosen))
        not_validated = every - set().union(*(classes[s] for s in chosen))
        miss = abs(sum(size[s] for s in chosen) - wanted) / len(train)
        cost = (len(lost_to_training), len(not_validated), max(0.0, miss - GOOD_MISS))
        if best is None or cost < best[0]:
            best = (cost, chosen)
        if cost == (0, 0, 0.0):
            break
    assert best is not None
    return {sample.id for speaker in best[1] for sample in by_speaker[speaker]}


def _fill(order: list[str], size: Mapping[str, int], wanted: float) -> set[str]:
    """Take speakers in order while that brings their clips nearer to the number wanted."""
    chosen: set[str] = set()
    filled = 0
    for speaker in order:
        nearer = abs(filled + size[speaker] - wanted) < abs(filled - wanted)
        if nearer and len(chosen) + 1 < len(size):
            chosen.add(speaker)
            filled += size[speaker]
    return chosen or {min(order, key=lambda name: size[name])}


def _choose_clips(train: list[Sample], share: float, seed: int) -> set[str]:
    moved: set[str] = set()
    for label in {sample.label for sample in train}:
        ids = sorted((s.id for s in train if s.label == label), key=lambda name: _draw(seed, name))
        count = round(share * len(ids))
        moved |= set(ids[: min(max(count, 1), len(ids) - 1)])
    return moved


def _draw(seed: int, name: str) -> str:
    """Return a number for a name that depends on nothing but the seed."""
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()
