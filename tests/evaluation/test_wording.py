"""The words of the report: no more than the figures show."""

import pytest

from claip_emo.evaluation.wording import (
    caveat,
    describe_facts,
    duration,
    listed,
    points,
    projection_note,
    sentence,
)

CHANCE = {"majority": 0.2, "uniform": 1 / 7}


def part(war: float, low: float, high: float) -> dict:
    interval = [low, high]
    return {"war": war, "uar": war, "interval_95": {"war": interval, "uar": interval}}


def scored(both: tuple, face: tuple, voice=(0.1, 0.0, 0.2), gains: dict | None = None) -> dict:
    parts = {"audiovisual": part(*both), "video": part(*face), "audio": part(*voice)}
    gains = {name: part(*values) for name, values in (gains or {}).items()}
    return part(*both) | {"chance": CHANCE, "by_modality": parts, "advantage": gains}


SURE = {"video": (0.05, 0.01, 0.09), "audio": (0.5, 0.4, 0.6)}
UNSURE = {"video": (0.05, -0.01, 0.11), "audio": (0.5, 0.4, 0.6)}
WORSE = {"video": (-0.1, -0.2, -0.01), "audio": (0.5, 0.4, 0.6)}


@pytest.mark.parametrize(
    ("both", "face", "gains", "says", "adds"),
    [
        ((0.9, 0.85, 0.95), (0.5, 0.4, 0.6), None, "clearly beat either alone.", ""),
        ((0.6, 0.5, 0.7), (0.55, 0.45, 0.65), None, "the 95 % intervals overlap", ""),
        ((0.6, 0.5, 0.7), (0.55, 0.45, 0.65), UNSURE, "may be chance: the 95 %", "−1.0 to +11.0"),
        ((0.6, 0.5, 0.7), (0.55, 0.45, 0.65), SURE, "beat either alone.", "interval overlaps"),
        ((0.5, 0.4, 0.6), (0.6, 0.5, 0.7), None, "not better than the face alone", ""),
        ((0.5, 0.4, 0.6), (0.6, 0.5, 0.7), WORSE, "worse than the face alone", "points less WAR"),
    ],
)
def test_what_is_compared(both, face, gains, says: str, adds: str) -> None:
    figures = scored(both, face, gains=gains)
    assert says in sentence(figures)
    assert adds in caveat(figures)
    assert bool(caveat(figures)) == bool(gains)


def test_overlapping_with_the_voice_is_said_of_the_voice() -> None:
    gains = {"video": (0.2, 0.1, 0.3), "audio": (0.05, 0.01, 0.09)}
    figures = scored((0.6, 0.5, 0.7), (0.3, 0.2, 0.4), (0.55, 0.45, 0.65), gains)
    assert "overlaps that of the voice alone" in caveat(figures)


@pytest.mark.parametrize(
    ("both", "says"),
    [
        ((1.0, 1.0, 1.0), "Right on every clip."),
        ((0.97, 0.96, 0.98), "Right on nearly every clip."),
        ((0.79, 0.7, 0.8), "Right on about 8 of 10 clips."),
        ((0.22, 0.1, 0.3), "not distinguishable from always naming the most frequent emotion"),
        ((0.1, 0.05, 0.15), "less than always naming the most frequent emotion scores (20.0 %)"),
        ((0.03, 0.0, 0.05), "Right on hardly any clip."),
    ],
)
def test_how_many_are_right(both: tuple, says: str) -> None:
    assert says in sentence(scored(both, (0.1, 0.0, 0.2)))


def test_unseen_people_are_claimed_only_where_the_run_says_so() -> None:
    figures = scored((0.9, 0.85, 0.95), (0.5, 0.4, 0.6))
    assert "never seen" not in sentence(figures)
    assert "never seen" not in sentence(figures, {"unseen_people": "yes"})
    assert "9 of 10 clips of people it has never seen." in sentence(
        figures, {"unseen_people": True}
    )


def test_some_modalities_only() -> None:
    figures = scored((0.9, 0.85, 0.95), (0.5, 0.4, 0.6))
    for gone, says in (
        ("audio", "Scored were face and voice together and the face."),
        ("video", "Only face and voice together were scored"),
    ):
        del figures["by_modality"][gone]
        assert says in sentence(figures)
        assert caveat(figures) == ""


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(8.42, "8.42 s"), (192.4, "3 min 12 s"), (7500, "2 h 5 min"), (59.9999, "1 min 0 s"),
     (None, None), ("x", None), (float("nan"), None), (float("inf"), None)],
)  # fmt: skip
def test_durations(seconds, says) -> None:
    assert duration(seconds) == says


def test_points_have_a_sign() -> None:
    assert points(0.123) == "+12.3"
    assert points(-0.004) == "−0.4"


def test_facts_are_told_in_order_and_new_ones_too() -> None:
    facts = {
        "later": 3, "title": "x", "commit": "abc", "counts": {"train": 1234, "test": 5},
        "parameters": {"total": 10_000, "trainable": 400, "share": 0.04},
        "version": "1", "versions": {"torch": "2"}, "corpus_note": "no", "seconds": 61,
    }  # fmt: skip
    assert describe_facts(facts) == [
        ("clips", "1,234 train, 5 test", False),
        ("parameters", "400 trained of 10,000 (4.00 %)", False),
        ("training time", "1 min 1 s", False),
        ("commit", "abc", True),
        ("versions", "claip-emo 1, torch 2", False),
        ("later", "3", False),
    ]
    assert describe_facts({}) == []


def test_a_published_corpus_is_named_with_its_edition_and_fold() -> None:
    facts = {"corpus": "/data/m", "corpus_name": "mafw", "corpus_variant": "compound", "fold": 2}
    assert describe_facts(facts) == [
        ("corpus", "mafw, compound", False),
        ("clips from", "/data/m", False),
        ("fold", "2", False),
    ]
    assert describe_facts({"corpus": "a.csv", "corpus_name": "table"}) == [
        ("corpus", "a.csv", False),
    ]


PROJECTED = {
    "counts_as": {"joy": "happiness", "calm": "neutral", "anger": "anger", "contempt": None},
    "excluded": {"boredom": 1200, "fear": 3},
    "n_excluded": 1203,
    "dropped": ["contempt"],
}


def test_a_projection_says_what_counts_as_what_and_what_is_left_out() -> None:
    said = projection_note({"projection": PROJECTED})
    assert "It counts joy as happiness and calm as neutral." in said
    assert "1,203 clips of boredom (1,200) and fear (3)" in said
    assert "Its scores of contempt, which these clips do not have, were dropped" in said
    said = projection_note({"projection": PROJECTED | {"excluded": {}, "dropped": []}})
    assert "No clip had to be left out." in said
    assert "dropped" not in said


@pytest.mark.parametrize("told", [None, [], "x", {}, {"counts_as": 3, "excluded": 1}])
def test_a_projection_of_any_shape_is_no_reason_to_fail(told) -> None:
    assert bool(projection_note({"projection": told})) == isinstance(told, dict)


def test_lists_in_words() -> None:
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "", "a", "a and b", "a, b and c",
    ]  # fmt: skip


def test_a_difference_that_rounds_to_nothing_is_no_difference() -> None:
    gains = {"video": (0.0, -0.02, 0.02), "audio": (0.4, 0.3, 0.5)}
    text = caveat(scored((0.5, 0.4, 0.6), (0.5, 0.4, 0.6), gains=gains))
    assert "score the same WAR as the face alone (95 % interval −2.0 to +2.0)" in text
    assert "0.0 points" not in text
