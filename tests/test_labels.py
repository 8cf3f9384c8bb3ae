import pytest

from claip_emo.labels import SEVEN, LabelError, LabelSet, meaning, project

RAVDESS = LabelSet(
    ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
)  # fmt: skip
MAFW = LabelSet(
    ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "contempt",
     "anxiety", "helplessness", "disappointment")
)  # fmt: skip
CREMA = LabelSet(("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"))


def test_order_is_kept() -> None:
    assert list(SEVEN)[3] == "anger"
    assert SEVEN.index_of("anger") == 3
    assert "anger" in SEVEN
    assert len(SEVEN) == 7
    assert LabelSet.found_in(["b", "a", "b"]).names == ("a", "b")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(LabelError, match=r"Unknown label 'Angr'.*Did you mean 'anger'\?"):
        SEVEN.index_of("Angr")


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", ""], [" a"]])
def test_sets_that_contradict_themselves(names: list[str]) -> None:
    with pytest.raises(LabelError):
        LabelSet(names)


@pytest.mark.parametrize(
    ("names", "emotion"),
    [
        (("happy", "joy", "HAP", "Happiness"), "happiness"),
        (("sad", "SAD", "Sadness"), "sadness"),
        (("NEU", "neutral"), "neutral"),
        (("angry", "ANG"), "anger"),
        (("surprised", "Surprise"), "surprise"),
        (("disgusted", "DIS"), "disgust"),
        (("fearful", "FEA"), "fear"),
        (("bored",), "boredom"),
        (("anxious",), "anxiety"),
        (("Pure Joy", "pure-joy", "pure_joy"), "pure joy"),
    ],
)
def test_names_of_one_meaning(names: tuple[str, ...], emotion: str) -> None:
    assert {meaning(name) for name in names} == {frozenset({emotion})}


@pytest.mark.parametrize("name", ["happiness_surprise", "surprised and happy", "Joy/Surprise"])
def test_a_compound_name_means_its_parts(name: str) -> None:
    assert meaning(name) == {"happiness", "surprise"}


def test_names_without_letters_mean_themselves() -> None:
    assert meaning("+") != meaning("?")


def test_dfew_on_ravdess() -> None:
    found = project(SEVEN, RAVDESS)
    assert found.counts_as == {
        "happiness": "happy", "sadness": "sad", "neutral": "neutral", "anger": "angry",
        "surprise": "surprised", "disgust": "disgust", "fear": "fearful",
    }  # fmt: skip
    assert found.excluded == ("calm",)
    assert found.dropped == ()
    assert found.labels.names == tuple(name for name in RAVDESS if name != "calm")


def test_calm_counts_as_neutral_where_there_is_no_calm() -> None:
    found = project(RAVDESS, SEVEN)
    assert found.counts_as["calm"] == found.counts_as["neutral"] == "neutral"
    assert set(found.labels) == set(SEVEN)
    assert project(RAVDESS, RAVDESS).counts_as["calm"] == "calm"
    # Not the other way round: neutral is not calm.
    only_calm = LabelSet(("calm", "anger", "fear"))
    assert project(SEVEN, only_calm).excluded == ("calm",)


def test_mafw_on_dfew_and_back() -> None:
    there, back = project(MAFW, SEVEN), project(SEVEN, MAFW)
    more = ("contempt", "anxiety", "helplessness", "disappointment")
    assert there.dropped == back.excluded == more
    assert there.excluded == back.dropped == ()
    assert there.labels == SEVEN
    assert back.labels.names == MAFW.names[:7]


def test_codes_of_crema_d() -> None:
    found = project(SEVEN, CREMA)
    assert found.counts_as["happiness"] == "HAP"
    assert found.dropped == ("surprise",)
    assert found.labels == CREMA


def test_compounds_count_as_compounds_only() -> None:
    compound = LabelSet((*MAFW, "happiness_surprise", "fear_anxiety"))
    found = project(compound, MAFW)
    assert found.dropped == ("happiness_surprise", "fear_anxiety")
    assert project(MAFW, compound).excluded == ("happiness_surprise", "fear_anxiety")
    other = LabelSet(("surprised happy", "anger", "fear"))
    assert project(compound, other).counts_as["happiness_surprise"] == "surprised happy"
    assert project(compound, other).counts_as["happiness"] is None


def test_several_classes_may_count_as_one_and_an_equal_name_comes_first() -> None:
    found = project(LabelSet(("joy", "happy", "rage", "anger")), LabelSet(("happiness", "anger")))
    assert found.counts_as == {
        "joy": "happiness", "happy": "happiness", "rage": None, "anger": "anger",
    }  # fmt: skip
    both = LabelSet(("joy", "happiness", "anger"))
    assert project(LabelSet(("happiness", "anger")), both).excluded == ("joy",)


def test_pairs_override() -> None:
    found = project(SEVEN, RAVDESS, {"neutral": "calm", "disgust": None})
    assert found.counts_as["neutral"] == "calm"
    assert found.excluded == ("neutral", "disgust")
    assert found.dropped == ("disgust",)


@pytest.mark.parametrize(
    ("source", "target", "pairs", "says"),
    [
        (SEVEN, LabelSet(("x", "y")), None, "fewer than two in common"),
        (SEVEN, LabelSet(("x", "joy")), None, "fewer than two in common"),
        (SEVEN, LabelSet(("joy", "happy", "sad")), None, "'happiness' could count as 'joy' or"),
        (SEVEN, RAVDESS, {"joyful": "happy"}, "Unknown label 'joyful'"),
        (SEVEN, RAVDESS, {"anger": "anger"}, "Unknown label 'anger'"),
    ],
)
def test_projections_that_cannot_be(source, target, pairs, says: str) -> None:
    with pytest.raises(LabelError, match=says):
        project(source, target, pairs)
