"""Figures beside goals: which side is good, and what cannot be measured never holds."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from benchmarks.claim import Check, Claim, Options
from benchmarks.labels import agreement


@pytest.mark.parametrize(
    ("figure", "at", "holds"),
    [
        (2.0, "least", True),
        (1.9, "least", False),
        (2.0, "most", True),
        (2.1, "most", False),
        (math.nan, "least", False),
        (math.nan, "most", False),
    ],
)
def test_a_figure_holds_on_its_side_of_the_goal(figure: float, at: str, holds: bool) -> None:
    assert Check("speed", figure, "x", 2.0, at).holds is holds


def test_a_figure_without_a_goal_holds_if_it_is_there() -> None:
    assert Check("rate", 3.0, "clips/s", None).holds
    assert not Check("rate", math.nan, "clips/s", None).holds


def test_a_claim_is_its_first_check_and_holds_only_if_all_do() -> None:
    good, bad = Check("speed", 3.00004, "x", 2.0), Check("memory", 0.7, "share", 0.5, "most")
    row = Claim("train_step", (good, bad), {"what": "other", "figure": np.pi}).to_dict(machine="m")
    assert (row["figure"], row["goal"], row["unit"], row["what"]) == (3.0, 2.0, "x", "speed")
    assert row["holds"] is False
    assert [check["holds"] for check in row["checks"]] == [True, False]
    assert row["baseline"]["figure"] == 3.142
    assert Claim("train_step", (good,), {}).to_dict()["holds"] is True


def test_what_was_not_measured_is_null_in_strict_json() -> None:
    row = Claim("evaluate", (Check("agreement", math.nan, "share", 0.99),), {}).to_dict()
    assert json.loads(json.dumps(row, allow_nan=False))["figure"] is None


def test_the_backbones_are_those_asked_for_or_fewer_where_it_is_quick() -> None:
    assert Options().towers("vit-b32", "vit-b16") == ("vit-b32", "vit-b16")
    assert Options(quick=True).towers("vit-b32", "vit-b16") == ("vit-b32",)
    assert Options(quick=True, backbones=("tiny",)).towers("vit-b32") == ("tiny",)


def test_a_figure_of_too_little_does_not_hold() -> None:
    assert not Check("labels", 1.0, "share", 0.99, enough=False).holds
    assert Check("labels", 1.0, "share", 0.99).holds


@pytest.mark.parametrize(("count", "holds"), [(4, False), (199, False), (200, True)])
def test_labels_agree_only_on_as_many_clips_as_the_goal_names(count: int, holds: bool) -> None:
    row = {"agreement": 1.0, "compared_clips": count, "clear_clips": count - 1}
    check = agreement("vit-b16", row)
    assert check.holds is holds
    assert f"on {count - 1} clear ones of {count} clips" in check.what
    assert ("the goal asks for 200" in check.what) is not holds
