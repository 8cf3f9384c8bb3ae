"""A predictor's parts, one by one, give what it gives at once."""

import copy

import numpy as np
import pytest

from claip_emo.inference.predictor import ModelPredictor
from claip_emo.media.clip import Clip
from claip_emo.model.folded import FoldedModel
from claip_emo.model.scoring import score_clips
from claip_emo.model.stacking import MODALITIES

from ..model.made_resnets import saved
from .test_many import made


def clip(seed: int, size_px: int, time: int, *, video: bool = True, audio: bool = True) -> Clip:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (2, time, size_px, size_px, 3), dtype=np.uint8)
    sounds = tuple(rng.normal(0, 0.1, 9000 + 700 * v).astype(np.float32) for v in range(2))
    spans = ((0.0, 0.2), (0.2, 0.4))
    times = np.arange(2 * time).reshape(2, time) / 25
    return Clip(
        f"c{seed}",
        frames if video else None,
        times if video else None,
        sounds if audio else (),
        spans if audio else (),
        1.0,
    )


@pytest.fixture(params=["torch", "folded"])
def predictor(request, tmp_path):
    if request.param == "torch":
        model, processor = made()
        return ModelPredictor(copy.deepcopy(model), processor, "fp32")
    saved(tmp_path)
    return FoldedModel.of_folder(tmp_path)


@pytest.mark.parametrize("modality", MODALITIES)
def test_parts_score_as_the_whole(predictor, modality) -> None:
    size, time = predictor.settings.image_size_px, predictor.settings.num_frames
    clips = [
        clip(1, size, time),
        clip(2, size, time, video=False),
        clip(3, size, time, audio=False),
    ]
    whole, parts = predictor.score(clips, modality), score_clips(predictor, clips, modality)
    np.testing.assert_allclose(parts.logits, whole.logits, atol=2e-5)
    assert np.ptp(whole.logits, axis=0).max() > 1e-3


def test_nothing_has_features_of_the_right_width(predictor) -> None:
    shown, heard = predictor.encode()
    assert shown.shape == (0, predictor.widths["vision"])
    assert heard.shape == (0, predictor.widths["audio"])


def test_many_crops_are_encoded_some_at_a_time(predictor) -> None:
    size = predictor.settings.image_size_px
    frames = np.random.default_rng(0).integers(0, 256, (70, size, size, 3), dtype=np.uint8)
    shown, _ = predictor.encode(frames)
    np.testing.assert_allclose(shown[-1:], predictor.encode(frames[-1:])[0], atol=2e-5)
