"""Rows of predictions: on disk, joined, and turned into figures."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from claip_emo.evaluation.predictions import Predictions, PredictionsError, metrics
from claip_emo.labels import LabelSet

LABELS = LabelSet(["joy", "grief", "rage"])


def made(modality: str = "av", count: int = 12, seed: int = 0, start: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 3))
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = [f"clip{start + i:03d}" for i in range(count)][::-1]
    return Predictions.from_rows(
        LABELS,
        ids=names,
        paths=[f"{n}.mp4" for n in names],
        folds=[1] * count,
        modality=modality,
        true_labels=[LABELS[i % 3] for i in range(count)],
        logits=logits,
        scores=scores,
    )


def test_on_disk_and_back(tmp_path) -> None:
    rows = Predictions.concat([made("v"), made("av"), made("a")])
    rows.write(tmp_path / "predictions.parquet")
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table.column_names == [
        "id", "path", "fold", "modality", "label", "predicted",
        *(f"{kind}_{name}" for kind in ("score", "logit") for name in LABELS),
    ]  # fmt: skip
    keys = list(zip(table["id"].to_pylist(), table["modality"].to_pylist(), strict=True))
    assert keys == sorted(keys)
    again = Predictions.read(tmp_path / "predictions.parquet")
    assert again.labels == LABELS
    assert again.ids == rows.ids
    np.testing.assert_array_equal(again.scores, rows.scores)
    np.testing.assert_array_equal(again.label_index, rows.label_index)
    said = [LABELS[i] for i in again.predicted_index]
    assert table["predicted"].to_pylist() == said


def test_rows_that_stand_twice_are_kept_once() -> None:
    joined = Predictions.concat([made(count=6), made(count=6), made(count=3, start=6)])
    assert len(joined) == 9


def test_of_a_row_that_stands_twice_the_first_is_kept() -> None:
    first, second = made(seed=0), made(seed=1)
    np.testing.assert_array_equal(Predictions.concat([first, second]).scores, first.scores)
    np.testing.assert_array_equal(Predictions.concat([second, first]).scores, second.scores)


@pytest.mark.parametrize(
    ("other", "says"),
    [({"paths": ["b.mp4"]}, "two files"), ({"true_labels": ["rage"]}, "two labels")],
)
def test_an_id_of_two_clips_is_no_padding(other: dict, says: str) -> None:
    row = {
        "ids": ["a"], "paths": ["a.mp4"], "folds": [None], "modality": "av",
        "true_labels": ["joy"], "logits": np.zeros((1, 3)), "scores": np.full((1, 3), 1 / 3),
    }  # fmt: skip
    one = Predictions.from_rows(LABELS, **row)
    for modality in ("av", "v"):
        two = Predictions.from_rows(LABELS, **row | other | {"modality": modality})
        with pytest.raises(PredictionsError, match=says):
            Predictions.concat([one, two])


def test_joining_needs_parts_with_the_same_labels() -> None:
    with pytest.raises(PredictionsError, match="no predictions to join"):
        Predictions.concat([])
    wider = Predictions.from_rows(
        LabelSet(["joy"]), ids=["a"], paths=["a"], folds=[1], modality="av", true_labels=["joy"],
        logits=np.zeros((1, 1)), scores=np.ones((1, 1)),
    )  # fmt: skip
    with pytest.raises(PredictionsError, match="different labels"):
        Predictions.concat([made(), wider])


def test_writing_that_fails_leaves_the_former(tmp_path, monkeypatch) -> None:
    path = tmp_path / "predictions.parquet"
    made().write(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="No space"):
        made(seed=1).write(path)
    assert path.read_bytes() == before


def test_a_write_interrupted_before_the_renaming_leaves_the_former(tmp_path, monkeypatch) -> None:
    path = tmp_path / "predictions.parquet"
    made().write(path)
    before = path.read_bytes()

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        made(seed=1).write(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.parquet"]


def test_metrics_json() -> None:
    rows = Predictions.concat([made(), made("v", seed=1), made("a", seed=2)])
    found = metrics(rows)
    json.dumps(found, allow_nan=False)
    right = rows.for_modality("av")
    assert found["war"] == pytest.approx(np.mean(right.predicted_index == right.label_index))
    assert found["n"] == 12
    assert np.trace(found["confusion"]["matrix"]) / 12 == pytest.approx(found["war"])
    assert set(found["by_modality"]) == {"audiovisual", "video", "audio"}
    assert found["by_modality"]["audiovisual"]["war"] == found["war"]
    low, high = found["interval_95"]["uar"]
    assert low <= found["uar"] <= high
    assert found["chance"]["uniform"] == pytest.approx(1 / 3)
    assert set(found["per_class"]["joy"]) == {"recall", "precision", "f1", "support"}
    assert found["interval_over"] == "clips"
    assert {"macro_f1", "calibration_error", "modality"} <= found.keys()
    for kind, name in (("v", "video"), ("a", "audio")):
        alone, gain = rows.for_modality(kind), found["advantage"][name]
        war = np.mean(alone.predicted_index == alone.label_index)
        assert gain["war"] == pytest.approx(found["war"] - war)
        assert gain["interval_95"]["war"][0] <= gain["war"] <= gain["interval_95"]["war"][1]


def test_the_gain_is_of_the_clips_that_have_both() -> None:
    some = made("v", seed=1).take(range(5))
    found = metrics(Predictions.concat([made(), some]))
    shared = made().take(range(5))
    assert shared.ids == some.ids
    right = [np.mean(p.predicted_index == p.label_index) for p in (shared, some)]
    assert found["advantage"]["video"]["war"] == pytest.approx(right[0] - right[1])
    assert "audio" not in found["advantage"]


def test_intervals_over_speakers() -> None:
    rows = Predictions.concat([made(), made("v", seed=1)])
    speakers = {name: name[-1] for name in rows.ids}
    found = metrics(rows, speakers=speakers)
    assert found["interval_over"] == "speakers"
    assert found["interval_95"] != metrics(rows)["interval_95"]
    with pytest.raises(PredictionsError, match="no speaker for the clip 'clip000'"):
        metrics(rows, speakers={})


def test_nothing_was_scored() -> None:
    with pytest.raises(PredictionsError, match="no predictions"):
        metrics(made().take([]))


def test_only_sound_was_scored() -> None:
    found = metrics(made("a"))
    assert found["modality"] == "audio"
    assert set(found["by_modality"]) == {"audio"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"paths": ["x"]}, "differ in length"),
        ({"modality": "x"}, "Unknown modality"),
        ({"scores": np.full((2, 3), np.nan)}, "finite"),
        ({"scores": np.zeros((2, 3))}, "distribution"),
        ({"scores": np.zeros((2, 2)), "logits": np.zeros((2, 2))}, "2 scores a row for 3"),
        ({"true_labels": ["joy", "bliss"]}, "Unknown label"),
    ],
)
def test_contradictions(change: dict, says: str) -> None:
    good = {
        "ids": ["a", "b"], "paths": ["a", "b"], "folds": [None, None], "modality": "av",
        "true_labels": ["joy", "rage"], "logits": np.zeros((2, 3)),
        "scores": np.full((2, 3), 1 / 3),
    }  # fmt: skip
    with pytest.raises(ValueError, match=says):
        Predictions.from_rows(LABELS, **good | change)


def test_what_holds_no_predictions(tmp_path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(PredictionsError, match="no predictions"):
        Predictions.read(tmp_path / "x.parquet")


def rewritten(path, change) -> None:
    made().write(path)
    pq.write_table(change(pq.read_table(path)), path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda table: table.drop_columns(["score_grief"]), "lacks the columns score_grief"),
        (lambda table: table.drop_columns(["id", "label"]), "lacks the columns id, label"),
        (lambda table: table.replace_schema_metadata({}), "names no labels"),
        (lambda table: table.replace_schema_metadata({"labels": "[1"}), "holds no predictions"),
        (
            lambda table: table.replace_schema_metadata({"labels": '["joy", "joy"]'}),
            "stand twice: joy",
        ),
        (
            lambda table: table.replace_schema_metadata({"labels": '["joy", "rage"]'}),
            "Unknown label 'grief'|distribution",
        ),
    ],
)
def test_a_file_that_contradicts_itself(tmp_path, change, says: str) -> None:
    path = tmp_path / "predictions.parquet"
    rewritten(path, change)
    with pytest.raises(PredictionsError, match=says) as caught:
        Predictions.read(path)
    assert str(path) in str(caught.value)


def test_extra_columns_are_no_error(tmp_path) -> None:
    path = tmp_path / "predictions.parquet"
    rewritten(path, lambda table: table.append_column("note", table["id"]))
    assert Predictions.read(path).ids == made().ids
