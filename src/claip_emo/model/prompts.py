"""Prompts: what CLIP and CLAP are told of an emotion, several templates for faces and for voices.

A label is a noun (``anger``), a face is described by an adjective (``angry``), a manner of speaking
by an adverb (``angrily``). Names of two or three emotions (``anger_disgust``) are joined by "and".
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from claip_emo.labels import meaning

Role = Literal["vision", "audio"]
ROLES: tuple[Role, ...] = get_args(Role)


class Words(NamedTuple):
    """How an emotion is named, how who has it is described, and how that person speaks."""

    noun: str
    adjective: str
    adverb: str


WORDS: dict[str, Words] = {
    "happiness": Words("happiness", "happy", "happily"),
    "sadness": Words("sadness", "sad", "sadly"),
    "neutral": Words("no emotion", "neutral", "without emotion"),
    "anger": Words("anger", "angry", "angrily"),
    "surprise": Words("surprise", "surprised", "in surprise"),
    "disgust": Words("disgust", "disgusted", "with disgust"),
    "fear": Words("fear", "fearful", "fearfully"),
    "contempt": Words("contempt", "contemptuous", "contemptuously"),
    "anxiety": Words("anxiety", "anxious", "anxiously"),
    "helplessness": Words("helplessness", "helpless", "helplessly"),
    "disappointment": Words("disappointment", "disappointed", "in disappointment"),
    "calm": Words("calmness", "calm", "calmly"),
    "boredom": Words("boredom", "bored", "with boredom"),
}
"""Words of the emotions of the corpora, in the order in which compound ones are joined."""

TEMPLATES: dict[Role, tuple[str, ...]] = {
    "vision": (
        "a photo of {an_adjective} face",
        "a photo of a person who looks {adjective}",
        "a close-up of {an_adjective} person",
        "a photo of a face that shows {noun}",
        "a facial expression of {noun}",
        "a person who feels {noun}",
    ),
    "audio": (
        "{an_adjective} voice",
        "someone speaks in {an_adjective} tone",
        "a person says something {adverb}",
        "a recording of {an_adjective} person speaking",
        "a voice that expresses {noun}",
        "speech with {noun} in the voice",
    ),
}
"""What is said of a face, and of a voice; neither names a gender or an age."""


def is_known(label: str) -> bool:
    """Say whether there are words for a label, or for each part of a compound one."""
    return meaning(label) <= WORDS.keys()


def words_of(label: str) -> Words:
    """Return the words of a label; of an unknown one its name, underscores as spaces."""
    parts = meaning(label)
    if not is_known(label):
        plain = " ".join(label.replace("_", " ").split())
        return Words(plain, plain, f"with {plain}")
    found = [words for name, words in WORDS.items() if name in parts]
    return Words(*(" and ".join(words) for words in zip(*found, strict=True)))


def prompts(label: str, role: Role) -> list[str]:
    """Return what is said of a label, once for each template of a role."""
    return [template.format(**wording(label)) for template in TEMPLATES[role]]


def wording(label: str) -> dict[str, str]:
    """Return what templates may say of a label: its words, and the adjective with its article."""
    words = words_of(label)
    return {**words._asdict(), "an_adjective": f"{_article(words.adjective)} {words.adjective}"}


def _article(word: str) -> str:
    return "an" if word[:1].lower() in set("aeiou") else "a"
