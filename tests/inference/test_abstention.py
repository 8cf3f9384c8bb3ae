"""Below a threshold no emotion is named; the scores are those that they were."""

from dataclasses import replace

import numpy as np
import pytest

from claip_emo import EmotionRecognizer
from claip_emo.inference.abstention import AbstainError, Abstention
from claip_emo.inference.predictor import load_predictor
from claip_emo.model.checkpoint_folder import packaged
from claip_emo.model.folded import FoldedConfig

from ..media.make_media import ramp, tone, write

NAMES = ("anger", "fear", "joy")
SCORES = np.array([0.2, 0.5, 0.3])
BOTH, FACE, VOICE = ("video", "audio"), ("video",), ("audio",)


def config(**choices) -> FoldedConfig:
    return FoldedConfig(labels=["anger", "fear", "happiness"], **choices)


@pytest.mark.parametrize(
    ("below", "said"), [(None, "fear"), (0.0, "fear"), (0.5, "fear"), (0.51, "uncertain"),
                        (1, "uncertain")],
)  # fmt: skip
def test_a_number_holds_for_all(below, said: str) -> None:
    for used in (BOTH, FACE, VOICE):
        assert Abstention.of(below, config()).label(NAMES, SCORES, used) == said


def test_auto_is_what_was_found_for_what_a_file_has() -> None:
    found = Abstention.of("auto", config(abstain_below={"av": 0.4, "v": 0.6}))
    said = [found.label(NAMES, SCORES, used) for used in (BOTH, FACE, VOICE)]
    assert said == ["fear", "uncertain", "uncertain"]  # of voices none was found


@pytest.mark.parametrize(
    ("below", "choices", "says"),
    [
        (1.5, {}, "a score between 0 and 1"),
        (float("nan"), {}, "a score between 0 and 1"),
        ("often", {}, "a score between 0 and 1"),
        ("auto", {}, "holds no threshold .* `claip-emo calibrate` finds one"),
    ],
)
def test_what_is_no_threshold_is_refused(below, choices, says: str) -> None:
    with pytest.raises(AbstainError, match=says):
        Abstention.of(below, config(**choices))


def test_a_class_of_that_name_is_not_confused_with_it() -> None:
    own = FoldedConfig(labels=["anger", "uncertain"])
    with pytest.raises(AbstainError, match="has a class named 'uncertain'"):
        Abstention.of(0.5, own)
    assert Abstention.of(None, own).label(own.labels, np.array([0.4, 0.6]), BOTH) == "uncertain"


def test_a_recogniser_abstains_and_shows_its_scores(tmp_path) -> None:
    path = write(tmp_path / "both.mp4", ramp(20), tone(0.8))
    predictor = load_predictor(packaged())
    told = EmotionRecognizer(predictor, face_detector="none")(path)
    highest = max(told.scores.values())
    for below, said in ((highest - 1e-6, told.label), (highest + 1e-6, "uncertain")):
        result = EmotionRecognizer(predictor, face_detector="none", abstain_below=below)(path)
        assert result == replace(told, label=said)
        assert result.to_dict() == told.to_dict() | {"label": said}
    auto = EmotionRecognizer(predictor, face_detector="none", abstain_below="auto")
    for modality, there in (("av", "av"), ("video", "v"), ("audio", "a")):
        told = EmotionRecognizer(predictor, face_detector="none")(path, modality=modality)
        sure = max(told.scores.values()) >= predictor.config.abstain_below[there]
        assert auto(path, modality=modality) == (told if sure else replace(told, label="uncertain"))
