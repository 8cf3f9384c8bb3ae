"""Captions: what is said of a face or a voice in pre-training, and of which others it is true too.

A caption tells the emotion, and perhaps who speaks, how strongly, and what. Of all samples of a
batch those are its match of which everything holds that it tells; a face on whose emotion ten
people disagreed matches in part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from claip_emo.model.prompts import TEMPLATES, WORDS, Role, wording

MANNERS = tuple(WORDS)
"""What captions can say of an emotion; the first axis of ``Facts.manners``."""
UNKNOWN = -1
PROMPTS = 0.4  # share of the captions that are worded as zero-shot's prompts

VOICE_TEMPLATES = (
    "{who} speaks {adverb}",
    "{who} says {adverb}: {statement}",
    "{who} with {an_adjective} voice says: {statement}",
    "the {strongly}{adjective} voice of {who}",
    "a {strongly}{adjective} tone of voice",
    "{who} sounds {strongly}{adjective}",
    "{statement}, said {adverb}",
)
STRONGLY = {"strong": "very ", "normal": ""}


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What is known of samples, one row each.

    Attributes:
        manners: (sample, manner), float32, how true each of ``MANNERS`` is, rows add up to 1 or, of
            a voice that is calm and neutral, to more.
        genders: (sample,), 0 woman, 1 man, ``UNKNOWN``.
        intensities: (sample,), 0 normal, 1 strong, ``UNKNOWN``.
        statements: (sample,), place in ``texts``, ``UNKNOWN``.
        texts: the statements, once each.
    """

    manners: NDArray[np.float32]
    genders: NDArray[np.int64]
    intensities: NDArray[np.int64]
    statements: NDArray[np.int64]
    texts: tuple[str, ...] = ()

    @classmethod
    def of_manners(cls, manners: NDArray[np.float32]) -> Facts:
        """Take samples of which nothing but the emotion is known, (sample, manner)."""
        nothing = np.full(len(manners), UNKNOWN, np.int64)
        return cls(manners, nothing, nothing, nothing)

    def __getitem__(self, places: Sequence[int] | NDArray[np.int64]) -> Facts:
        """Return the rows at some places."""
        order = np.asarray(places, np.int64)
        return Facts(
            self.manners[order],
            self.genders[order],
            self.intensities[order],
            self.statements[order],
            self.texts,
        )

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.manners)


@dataclass(frozen=True, slots=True, eq=False)
class Captions:
    """Texts, one for each sample of a batch, and what each tells (``UNKNOWN``: nothing)."""

    texts: tuple[str, ...]
    manners: NDArray[np.int64]
    genders: NDArray[np.int64]
    intensities: NDArray[np.int64]
    statements: NDArray[np.int64]

    def matches(self, facts: Facts) -> Tensor:
        """Return how well each caption fits each sample, (sample, caption) in [0, 1]."""
        fits = facts.manners[:, self.manners]
        for told, known in (
            (self.genders, facts.genders),
            (self.intensities, facts.intensities),
            (self.statements, facts.statements),
        ):
            silent = told == UNKNOWN
            fits = fits * (silent[None] | (told[None] == known[:, None]))
        return torch.from_numpy(np.ascontiguousarray(fits, np.float32))


def draw_captions(facts: Facts, role: Role, rng: np.random.Generator) -> Captions:
    """Draw a caption for each sample.

    Args:
        facts: of a batch.
        role: ``vision`` for faces, ``audio`` for voices.
        rng: generator of the draws.
    """
    drawn = [_caption(facts, place, role, rng) for place in range(len(facts))]
    texts, *told = zip(*drawn, strict=True)
    return Captions(texts, *(np.array(column, np.int64) for column in told))


def every_caption(statements: Iterable[str]) -> list[str]:
    """Return texts that together hold every word of the captions: what a tokenizer learns from."""
    known: list[str] = []
    for manner in MANNERS:
        said = wording(manner)
        for template in (*TEMPLATES["vision"], *TEMPLATES["audio"], *VOICE_TEMPLATES):
            known += [
                template.format(**said, who=who, strongly=strongly, statement=manner)
                for who in ("a woman", "a man", "a person")
                for strongly in STRONGLY.values()
            ]
    return list(dict.fromkeys([*known, *statements]))


def _caption(
    facts: Facts, place: int, role: Role, rng: np.random.Generator
) -> tuple[str, int, int, int, int]:
    """Draw one caption; return it and the manner, gender, intensity and statement that it tells."""
    weights = facts.manners[place].astype(np.float64)
    manner = int(rng.choice(len(MANNERS), p=weights / weights.sum()))
    said = wording(MANNERS[manner])
    if role == "vision" or rng.random() < PROMPTS:
        template = TEMPLATES[role][rng.integers(len(TEMPLATES[role]))]
        return template.format(**said), manner, UNKNOWN, UNKNOWN, UNKNOWN
    gender, intensity, statement = (
        int(known[place]) if rng.random() < 0.5 else UNKNOWN
        for known in (facts.genders, facts.intensities, facts.statements)
    )
    possible = [t for t in VOICE_TEMPLATES if statement != UNKNOWN or "{statement}" not in t]
    template = possible[rng.integers(len(possible))]
    # What a template has no place for is not told.
    gender = gender if "{who}" in template else UNKNOWN
    intensity = intensity if "{strongly}" in template else UNKNOWN
    statement = statement if "{statement}" in template else UNKNOWN
    text = template.format(
        **said,
        who=("a woman", "a man", "a person")[gender],
        strongly="very " if intensity == 1 else "",
        statement=facts.texts[statement] if statement != UNKNOWN else "",
    )
    # Without "very" nothing is said of the intensity.
    return text, manner, gender, intensity if intensity == 1 else UNKNOWN, statement
