"""What calibration refuses, warns of, keeps and writes; scoring itself is the command's test."""

import json

import numpy as np
import pytest

from claip_emo.corpora.base import CorpusError
from claip_emo.evaluation import calibrate as module
from claip_emo.evaluation.calibrate import calibrate
from claip_emo.evaluation.calibration import TEMPERATURES
from claip_emo.evaluation.view_logits import ViewLogits
from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.checkpoint_folder import CheckpointError
from claip_emo.model.description import ModalityError
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import DataRecipe

from .test_calibration import made

DATA = DataRecipe(root="clips.csv")
FORMER = {"temperature": {"av": 0.5, "v": 0.6, "a": 0.7}, "abstain_below": {"v": 0.8, "a": 0.9}}


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Calibrate a checkpoint on logits that are given."""
    model = ClaipEmoModel(configure(resolve("tiny"), SEVEN, **FORMER))
    model.save_pretrained(tmp_path / "told")
    ClaipEmoProcessor.for_backbone(resolve("tiny")).save_pretrained(tmp_path / "told")
    monkeypatch.setattr(module, "_corpora", lambda *_: [None])

    def call(views: dict, **more) -> dict:
        monkeypatch.setattr(module, "gather_logits", lambda *_, **__: views)
        return calibrate(tmp_path / "told", DATA, face_detector="none", **more)

    return call


def config_of(folder) -> dict:
    said = json.loads((folder / "config.json").read_text())
    return {name: said[name] for name in FORMER}


def right(views: ViewLogits) -> ViewLogits:
    return ViewLogits(views.logits, views.clip, views.logits.argmax(axis=1))


def test_what_cannot_be_fitted_stays_and_is_told(asked, tmp_path, caplog) -> None:
    views = {"av": made(400, 2.0, classes=7), "v": right(made(400, classes=7)), "a": made(9)}
    found = asked(views, abstain_target=0.7)
    assert list(found["modalities"]) == ["av"]
    assert list(found["not_fitted"]) == ["v", "a"]
    for said in ("faces: every one is right", "voices: there are 9 such clips, and 20"):
        assert said in caplog.text
    told = config_of(tmp_path / "told")
    assert told["temperature"] == FORMER["temperature"] | {"av": pytest.approx(2.0, rel=0.2)}
    limit = found["modalities"]["av"]["abstain_below"]
    assert told["abstain_below"] == FORMER["abstain_below"] | {"av": limit}
    page = (tmp_path / "told" / "calibration" / "calibration.html").read_text()
    assert "Nothing was fitted for face alone: every one is right" in page


def test_a_threshold_that_is_reached_no_more_goes(asked, tmp_path, caplog) -> None:
    asked({"a": made(60, classes=7)}, modalities=("a",), abstain_target=1.0)
    assert "At no score are 100 % of the answers from voices right" in caplog.text
    assert "fitted on 60 clips only" in caplog.text
    assert config_of(tmp_path / "told")["abstain_below"] == {"v": 0.8}


def test_scores_that_tell_chance_end_at_the_end_of_what_is_tried(asked, caplog) -> None:
    rng = np.random.default_rng(0)
    views = ViewLogits(rng.normal(0, 9, (900, 7)), np.arange(900), rng.integers(0, 7, 900))
    found = asked({"v": views}, modalities=("v",))
    assert found["modalities"]["v"]["temperature"]["after"] == TEMPERATURES[-1]
    assert "hardly more than chance" in caplog.text


def test_nothing_is_written_where_nothing_can_be_fitted(asked, tmp_path) -> None:
    views = {there: right(made(50, classes=7)) for there in ("av", "v", "a")}
    with pytest.raises(CorpusError, match=r"No temperature for faces: every one is right.*harder"):
        asked(views)
    assert config_of(tmp_path / "told") == FORMER
    assert not (tmp_path / "told" / "calibration").exists()


def test_an_error_while_the_report_is_written_leaves_the_checkpoint(
    asked, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(module, "write_calibration", lambda *_: 1 / 0)
    for out in (None, tmp_path / "copy"):
        with pytest.raises(ZeroDivisionError):
            asked({"av": made(200, classes=7)}, modalities=("av",), out=out)
    assert config_of(tmp_path / "told") == FORMER
    assert {path.name for path in tmp_path.iterdir()} == {"told"}


def test_a_hub_s_cache_is_not_written_into(tmp_path, asked, monkeypatch) -> None:
    monkeypatch.setattr(module, "resolve", lambda source: tmp_path / "told")
    with pytest.raises(CheckpointError, match=r"comes from the hub.*--out DIR"):
        calibrate("someone/model", DATA)


def test_a_modality_that_is_not_read_is_refused(tmp_path) -> None:
    ClaipEmoModel(configure(resolve("tiny"), SEVEN, modality="a")).save_pretrained(tmp_path)
    with pytest.raises(ModalityError, match="reads voices only; it has no scores of faces"):
        calibrate(tmp_path, DATA, modalities=("v",))
