"""A model that reads faces only, or voices only: what is used, and what it refuses."""

import numpy as np
import pytest
import torch

from claip_emo import ClaipEmoModel, EmotionRecognizer
from claip_emo.labels import SEVEN
from claip_emo.media.clip import load_clip
from claip_emo.media.decode import MediaError
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.description import ModalityError
from claip_emo.model.processing import ClaipEmoProcessor

from ..media.make_media import ramp, tone, write


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo")
    write(folder / "both.mp4", ramp(20), tone(0.8))
    write(folder / "mute.mp4", ramp(20))
    write(folder / "silent.mp4", ramp(20), np.zeros(38_400, np.float32))
    write(folder / "sound.wav", None, tone(0.8))
    (folder / "text.mp4").write_text("not a video\n" * 30)
    return folder


@pytest.fixture(scope="module", params=["v", "a"])
def recognizer(request) -> EmotionRecognizer:
    torch.manual_seed(0)
    backbone = resolve("tiny-clip")
    model = ClaipEmoModel(configure(backbone, SEVEN, num_frames=3, modality=request.param))
    processor = ClaipEmoProcessor.for_backbone(backbone, num_frames=3, audio_s=0.5)
    return EmotionRecognizer.of_model(model.eval(), processor, face_detector="none")


def test_only_what_it_reads_is_decoded_and_named(recognizer, zoo) -> None:
    face = recognizer.predictor.config.modality == "v"
    clip = recognizer.load(zoo / "both.mp4")
    assert (clip.has_video, clip.has_audio) == (face, not face)
    result = recognizer(zoo / "both.mp4")
    assert result.modalities == (("video",) if face else ("audio",))
    own = recognizer(zoo / "both.mp4", modality="video" if face else "audio")
    assert own == result
    alone = recognizer(zoo / ("mute.mp4" if face else "sound.wav"))
    if face:
        assert alone.scores == result.scores
    # A clip that was loaded with both: what the model does not read is not used.
    whole = load_clip(zoo / "both.mp4", recognizer.reader.settings.clip_spec(views="by_duration"))
    assert recognizer.recognize(whole).modalities == result.modalities


def test_what_it_does_not_read_cannot_be_asked_for(recognizer, zoo) -> None:
    face = recognizer.predictor.config.modality == "v"
    with pytest.raises(ModalityError, match=r"reads (faces|voices) only"):
        recognizer(zoo / "both.mp4", modality="audio" if face else "video")


def test_a_file_without_it_is_a_row_that_says_so(recognizer, zoo) -> None:
    face = recognizer.predictor.config.modality == "v"
    lacking = zoo / ("sound.wav" if face else "mute.mp4")
    paths = [lacking, zoo / "both.mp4", zoo / "text.mp4", zoo / "nowhere.mp4"]
    rows = list(recognizer.many(paths))
    assert [row.error is None for row in rows] == [False, True, False, False]
    reads = "faces only, and no picture" if face else "voices only, and it has no sound"
    assert f"{lacking}: this model reads {reads}" in rows[0].error
    assert "this model reads" not in rows[2].error + rows[3].error
    if not face:
        with pytest.raises(MediaError, match="voices only, and its sound is silent"):
            recognizer(zoo / "silent.mp4")
    clip = load_clip(lacking, recognizer.reader.settings.clip_spec())
    with pytest.raises(MediaError, match="this model reads"):
        recognizer.recognize(clip)


def test_a_model_that_reads_voices_asks_no_detector(recognizer) -> None:
    backbone = resolve("tiny-clip")
    model = ClaipEmoModel(configure(backbone, SEVEN, num_frames=3, modality="a"))
    heard = EmotionRecognizer.of_model(model, recognizer.predictor.processor, face_detector="haar")
    assert heard.reader.detector is None
