"""What is said of each label."""

import re

import pytest

from claip_emo.labels import SYNONYMS
from claip_emo.model.prompts import ROLES, TEMPLATES, WORDS, is_known, prompts, words_of


def test_every_emotion_of_the_corpora_has_words() -> None:
    assert WORDS.keys() == SYNONYMS.keys()


def test_prompts_by_hand() -> None:
    assert prompts("anger", "vision")[:4] == [
        "a photo of an angry face",
        "a photo of a person who looks angry",
        "a close-up of an angry person",
        "a photo of a face that shows anger",
    ]
    assert prompts("neutral", "audio")[:3] == [
        "a neutral voice",
        "someone speaks in a neutral tone",
        "a person says something without emotion",
    ]


def test_compound_labels_are_joined_whatever_their_order() -> None:
    assert words_of("anger_disgust").adjective == "angry and disgusted"
    assert words_of("disgust_anger") == words_of("anger_disgust")
    assert words_of("fear_surprise_anxiety").noun == "surprise and fear and anxiety"
    assert prompts("anger_disgust", "audio")[0] == "an angry and disgusted voice"


def test_other_names_of_an_emotion_have_its_words() -> None:
    assert words_of("joy") == words_of("HAP") == words_of("happiness")


def test_unknown_labels_are_taken_by_name() -> None:
    assert not is_known("quiet_joyless_pride")
    assert not is_known("anger_pride")
    assert prompts("quiet_pride", "vision")[0] == "a photo of a quiet pride face"
    assert prompts("awe", "audio")[0] == "an awe voice"


@pytest.mark.parametrize("role", ROLES)
def test_no_prompt_stands_twice_and_none_names_a_gender(role) -> None:
    said = [text for label in WORDS for text in prompts(label, role)]
    assert len(set(said)) == len(said) == len(WORDS) * len(TEMPLATES[role])
    assert len(TEMPLATES[role]) > 1
    assert not [t for t in said if re.search(r"\b(wo)?m[ae]n\b|\b(fe)?male\b|\bs?he\b|\{|  ", t)]
