"""How frequent classes are is told to a model; what tells it was not trained on."""

import csv

import cv2
import numpy as np
import pytest
import torch

from claip_emo.corpora.base import CorpusError
from claip_emo.data.dataset import ClipDataset
from claip_emo.evaluation import class_prior
from claip_emo.evaluation.class_prior import (
    STRENGTHS,
    correct,
    strengths_of,
    write_shifted,
)
from claip_emo.evaluation.evaluate import predict
from claip_emo.evaluation.intake import read_part
from claip_emo.evaluation.predictions import Predictions
from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.packaged import halve
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import DataRecipe

COUNTS = {"happiness": 4, "sadness": 1, "neutral": 6, "anger": 1, "surprise": 2, "disgust": 1,
          "fear": 1}  # fmt: skip
TEMPERATURE = {"v": 0.8, "a": 2.0}


def test_log_likelihoods_want_the_whole_correction() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(3, size=6000, p=[0.7, 0.25, 0.05])
    points = rng.normal(size=(6000, 3)) + 1.5 * np.eye(3)[truth]
    logits = 1.5 * points  # log likelihoods but for a constant

    found = {each.strength: each for each in strengths_of(logits, truth, STRENGTHS)}

    assert max(found.values(), key=lambda each: each.war).strength == pytest.approx(1.0, abs=0.21)
    assert max(found.values(), key=lambda each: each.uar).strength == pytest.approx(0.0, abs=0.21)
    for weight in (1.0, 0.0):
        weighed = strengths_of(logits, truth, STRENGTHS, weight)
        best = max(weighed, key=lambda each: each.worth)
        assert best.worth == max(each.war if weight else each.uar for each in weighed)
    assert found[0.0].war == np.mean(logits.argmax(axis=1) == truth)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    told = {"logit_shift": {"a": [0.5] * 7}, "temperature": TEMPERATURE}
    model = ClaipEmoModel(configure(resolve("tiny-clip"), SEVEN, **told))
    model.eval().save_pretrained(tmp_path / "model")
    ClaipEmoProcessor.for_backbone(resolve("tiny-clip")).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def faces(folder, counts) -> str:
    rng = np.random.default_rng(1)
    rows = []
    for label, count in counts.items():
        for number in range(count):
            name = f"{label}{number}.png"
            cv2.imwrite(str(folder / name), rng.integers(0, 255, (48, 48, 3), np.uint8))
            rows.append((name, label))
    table = folder / "faces.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return str(table)


def scored(folder, table) -> Predictions:
    model = ClaipEmoModel.from_pretrained(folder)
    processor = ClaipEmoProcessor.from_pretrained(folder)
    corpus = read_part(DataRecipe(root=table), None, SEVEN)
    return predict(model, processor, ClipDataset(corpus, processor.clip_spec(), None))


def logits_of(folder, table) -> np.ndarray:
    return scored(folder, table).logits


def test_the_corrected_model_scores_faces_with_the_shift(model, tmp_path, monkeypatch) -> None:
    table = faces(tmp_path, COUNTS)
    monkeypatch.setattr(class_prior, "STRENGTHS", (0.3,))
    halved = halve(model, tmp_path / "half")  # it has sums, which the new configuration breaks

    found = correct(
        halved, DataRecipe(root=table), tmp_path / "out", "v", face_detector="none", workers=0
    )

    shares = np.array([COUNTS[name] for name in SEVEN]) / sum(COUNTS.values())
    added = logits_of(tmp_path / "out", table) - logits_of(halved, table)
    there = np.abs(added).max(axis=1) > 0
    np.testing.assert_allclose(
        added[there], np.tile(0.3 * np.log(shares), (there.sum(), 1)), atol=1e-3
    )
    assert there.sum() == 2 * 16  # rows of both and of the face alone; the voice's have neither
    assert (found.chosen.strength, len(found.tried)) == (0.3, 1)
    config = ClaipEmoModel.from_pretrained(tmp_path / "out").config
    assert config.logit_shift["a"] == [0.5] * 7
    assert config.temperature == TEMPERATURE
    assert not (tmp_path / "out" / "SHA256SUMS").exists()


def test_a_class_without_clips_is_named(model, tmp_path) -> None:
    table = faces(tmp_path, {**COUNTS, "fear": 0})
    with pytest.raises(CorpusError, match="no clip of fear"):
        correct(model, DataRecipe(root=table), tmp_path / "out", "v", face_detector="none")
    assert not (tmp_path / "out").exists()


def test_clips_that_lack_what_is_asked_for_do_not_choose(model, tmp_path) -> None:
    table = faces(tmp_path, COUNTS)
    with pytest.raises(CorpusError, match="No clip has faces and voices; name another --modality"):
        correct(model, DataRecipe(root=table), tmp_path / "out", "av", face_detector="none")
    assert not (tmp_path / "out").exists()


def test_a_read_only_checkpoint_can_be_told(model, tmp_path) -> None:
    table = faces(tmp_path, COUNTS)
    (model / "config.json").chmod(0o444)
    correct(model, DataRecipe(root=table), tmp_path / "out", "v", face_detector="none", workers=0)
    assert (tmp_path / "out" / "config.json").stat().st_mode & 0o200


def test_what_a_model_was_told_before_is_forgotten_first(model, tmp_path) -> None:
    table = faces(tmp_path, COUNTS)
    chosen = {}
    for name, shift in (("untold", None), ("told", {"v": [3.0, 0, 0, 0, 0, 0, -3.0]})):
        source = tmp_path / name
        write_shifted(model, source, shift)
        out = tmp_path / f"{name}-out"
        asked = {"face_detector": "none", "workers": 0}
        chosen[name] = correct(source, DataRecipe(root=table), out, "v", **asked)
    assert chosen["told"] == chosen["untold"]


def test_the_weight_and_the_part_are_those_asked_for(model, tmp_path) -> None:
    table = faces(tmp_path, {name: 4 * count for name, count in COUNTS.items()})
    with open(table, newline="") as file:
        rows = list(csv.reader(file))
    with open(table, "w", newline="") as file:  # every other clip is of the part that chooses
        parts = ["split", *(("validation", "train")[n % 2] for n in range(len(rows) - 1))]
        csv.writer(file).writerows([[*r, p] for r, p in zip(rows, parts, strict=True)])
    for weight in (0.0, 1.0):
        found = correct(
            model, DataRecipe(root=table), tmp_path / "out", "v", war_weight=weight,
            split="validation", face_detector="none", workers=0,
        )  # fmt: skip
        worths = [each.war if weight else each.uar for each in found.tried]
        assert found.chosen.worth == max(worths)
        halves = [each.war * 32 for each in found.tried]  # of 64 clips, 32 are of the part
        assert halves == pytest.approx(np.round(halves))


def test_a_missing_class_is_told_before_anything_is_scored(model, tmp_path, monkeypatch) -> None:
    table = faces(tmp_path, {**COUNTS, "fear": 0})
    monkeypatch.setattr(class_prior, "score_corpus", None)
    with pytest.raises(CorpusError, match="no clip of fear"):
        correct(model, DataRecipe(root=table), tmp_path / "out", "v", face_detector="none")
