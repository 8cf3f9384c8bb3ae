"""What is said of faces and voices, and of which others it is true."""

import numpy as np
import pytest

from claip_emo.labels import SEVEN
from claip_emo.training.captions import (
    MANNERS,
    UNKNOWN,
    Captions,
    Facts,
    draw_captions,
    every_caption,
)

WOMAN, MAN = 0, 1


def facts(*rows: tuple[dict[str, float], int, int, int]) -> Facts:
    manners = np.zeros((len(rows), len(MANNERS)), np.float32)
    for place, (manner, *_) in enumerate(rows):
        for name, weight in manner.items():
            manners[place, MANNERS.index(name)] = weight
    genders, intensities, statements = (
        np.array(column, np.int64) for column in zip(*(row[1:] for row in rows), strict=True)
    )
    return Facts(manners, genders, intensities, statements, ("Kids are talking", "Dogs sit"))


VOICES = facts(
    ({"anger": 1}, WOMAN, 1, 0),
    ({"anger": 1}, MAN, 0, 0),
    ({"calm": 1, "neutral": 1}, MAN, 0, 1),
    ({"neutral": 1}, UNKNOWN, UNKNOWN, UNKNOWN),
)


def test_a_caption_fits_those_of_whom_all_is_true_that_it_tells() -> None:
    anger, neutral, calm = (MANNERS.index(name) for name in ("anger", "neutral", "calm"))
    nothing = UNKNOWN
    captions = Captions(
        ("any anger", "a woman's anger", "strong anger", "neutral", "calm", "anger about kids"),
        np.array([anger, anger, anger, neutral, calm, anger]),
        np.array([nothing, WOMAN, nothing, nothing, nothing, nothing]),
        np.array([nothing, nothing, 1, nothing, nothing, nothing]),
        np.array([nothing, nothing, nothing, nothing, nothing, 1]),
    )

    fits = captions.matches(VOICES)

    assert fits.tolist() == [
        [1, 1, 1, 0, 0, 0],
        [1, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 0, 0],
    ]


def test_a_face_on_which_people_disagree_fits_in_part() -> None:
    face = Facts.of_manners(facts(({"fear": 0.7, "surprise": 0.3}, -1, -1, -1)).manners)
    drawn = [draw_captions(face, "vision", np.random.default_rng(seed)) for seed in range(400)]

    told = [MANNERS[caption.manners[0]] for caption in drawn]

    assert set(told) == {"fear", "surprise"}
    assert told.count("fear") / 400 == pytest.approx(0.7, abs=0.08)
    for name, caption in zip(told, drawn, strict=True):
        assert caption.matches(face).item() == pytest.approx({"fear": 0.7, "surprise": 0.3}[name])


def test_what_a_caption_tells_stands_in_its_text_and_is_true() -> None:
    seen = set()
    for seed in range(600):
        captions = draw_captions(VOICES, "audio", np.random.default_rng(seed))
        assert captions.matches(VOICES).diagonal().min() > 0  # each is true of its own sample
        for place, text in enumerate(captions.texts):
            gender, intensity = captions.genders[place], captions.intensities[place]
            statement = captions.statements[place]
            assert ("woman" in text) == (gender == WOMAN)
            assert ("a man" in text) == (gender == MAN)
            assert ("very " in text) == (intensity == 1)
            for number, said in enumerate(VOICES.texts):
                assert (said in text) == (statement == number)
            seen.add((gender != UNKNOWN, intensity != UNKNOWN, statement != UNKNOWN))
    assert len(seen) >= 5  # several combinations of what is told


def test_draws_follow_the_generator() -> None:
    one, same, other = (
        draw_captions(VOICES, "audio", np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert one.texts == same.texts != other.texts


def test_the_tokenizer_learns_every_word_of_the_captions() -> None:
    words = set(" ".join(every_caption(VOICES.texts)).replace(":", "").replace(",", "").split())
    for seed in range(100):
        for role in ("vision", "audio"):
            for text in draw_captions(VOICES, role, np.random.default_rng(seed)).texts:
                assert set(text.replace(":", "").replace(",", "").split()) <= words
    assert set(SEVEN) <= set(MANNERS)
