"""What is said of the model in the box: the right clips, and intervals that are intervals."""

import pytest
from benchmarks.held_out import checks_of, wilson


def test_wilson() -> None:
    # Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for right, count, low, high in (
        (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):  # fmt: skip
        assert wilson(right, count) == pytest.approx([low, high], abs=1e-4)
    assert wilson(0, 0) == [0.0, 1.0]


def told(war: float, uar: float, low: float = 0.3) -> dict:
    return {
        "war": {"figure": war, "interval": [low, 0.99]},
        "uar": {"figure": uar, "interval": [low, 0.99]},
    }


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({}, []),
        ({"face": told(0.79, 0.7)}, ["face WAR"]),
        ({"face": told(0.9, 0.61)}, ["face UAR"]),
        ({"voice": told(0.63, 0.6)}, ["voice WAR"]),
        ({"gain": -0.01}, ["both above audio, WAR, low end"]),
        ({"words": told(0.5, 0.5, low=0.14)}, ["voice by words, UAR, low end"]),
    ],
)
def test_what_misses_its_goal_fails(change, fails) -> None:
    gain = {
        "video": {"interval_95": {"war": [0.01, 0.2]}},
        "audio": {"interval_95": {"war": [change.get("gain", 0.01), 0.2]}},
    }
    found = {
        "face": change.get("face", told(0.80, 0.62)),
        "pairs": {"audio": change.get("voice", told(0.64, 0.6)), "gain": gain},
        "by_words": {
            "face": told(0.6, 0.5),
            "pairs": {"audio": change.get("words", told(0.5, 0.5))},
        },
    }
    assert [check.what for check in checks_of(found) if not check.holds] == fails
