"""What is said of the model in the box: the right clips, and intervals that are intervals."""

import csv
import json

import pytest
from benchmarks.held_out import checks_of

from benchmarks import held_out


def told(war: float, uar: float, low: float = 0.3) -> dict:
    return {
        "war": {"figure": war, "interval": [low, 0.99]},
        "uar": {"figure": uar, "interval": [low, 0.99]},
    }


FIGURES = {"war": 0.5, "uar": 0.5, "interval_95": {"war": [0.4, 0.6], "uar": [0.4, 0.6]}}
METRICS = {
    "n": 2,
    "by_modality": dict.fromkeys(
        ("audiovisual", "video", "audio"), FIGURES | {"calibration_error": 0.2}
    ),
    "per_class": {"anger": {"recall": 0.5, "support": 2}},
    "advantage": {},
    "calibration_error": 0.1,
    "confusion": {"matrix": [[1]]},
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


def test_the_right_clips_are_scored_and_pairs_by_a_model_that_is_told_nothing(
    tmp_path, monkeypatch
) -> None:
    clips = tmp_path / "constructed" / "clips.csv"
    clips.parent.mkdir()
    rows = [(f"{n}.mp4", "anger", f"actor{n}") for n in (14, 15, 16, 17, 18)]
    for name, *_ in rows:
        (clips.parent / name).write_bytes(b"not looked at")
    with clips.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "speaker"), *rows])
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"logit_shift": {"v": [1.0] * 7}}))
    scored, parts = [], []
    faces = tmp_path / "faces.csv"
    monkeypatch.setattr(held_out, "unpack_faces", lambda *rest: parts.append(rest[1]) or faces)

    def evaluated(source, data, out, **_):
        shift = json.loads((source / "config.json").read_text())["logit_shift"]
        told = False
        if data.root != str(faces):
            with open(data.root, encoding="utf-8") as table:
                told = [row["speaker"] for row in csv.DictReader(table)]
        scored.append((told, shift))
        return METRICS

    def by_words(data, out, *, source, **_):
        return evaluated(source, data, out)

    monkeypatch.setattr(held_out, "evaluate_data", evaluated)
    monkeypatch.setattr(held_out, "evaluate_zero_shot", by_words)
    monkeypatch.setattr(held_out, "_recognizers", lambda model: {})
    for part, speakers in (("test", ["actor17", "actor18"]), ("select", ["actor15", "actor16"])):
        scored.clear()
        found = held_out.measure(model, tmp_path, part)
        assert found["pairs"]["shipped"]["audio"]["calibration_error"] == 0.2
        assert parts[-1] == part
        told = {"v": [1.0] * 7}
        assert scored[:3] == [(False, told), (speakers, None), (speakers, told)]
        assert {tuple(told) for told, _ in scored if told} == {tuple(speakers)}
