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
        ({"scores": np.zeros((2, 2)), "logits": np.zeros((2, 2))}, "2 scores a row for 3"),
        ({"true_labels": ["joy", "bliss"]}, "Unknown label"),
    ],
)
def test_contradictions(change: dict, says: str) -> None:
    good = {
        "ids": ["a", "b"], "paths": ["a", "b"], "folds": [None, None], "modality": "av",
        "true_labels": ["joy", "rage"], "logits": np.zeros((2, 3)), "scores": np.zeros((2, 3)),
    }  # fmt: skip
    with pytest.raises(ValueError, match=says):
        Predictions.from_rows(LABELS, **good | change)


def test_what_holds_no_predictions(tmp_path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(PredictionsError, match="no predictions"):
        Predictions.read(tmp_path / "x.parquet")
