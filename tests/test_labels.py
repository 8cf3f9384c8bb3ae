import pytest

from claip_emo.labels import SEVEN, LabelError, LabelSet


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
