"""Scoring: towers run once, views are averaged, masks are the model's missing modalities."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from claip_emo import ClaipEmoModel, Clip
from claip_emo.labels import SEVEN
from claip_emo.metrics import softmax
from claip_emo.model import batching
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.batching import score, stack
from claip_emo.model.description import ModalityError
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.stacking import MODALITIES, scores_of


@pytest.fixture(scope="module")
def parts() -> tuple[ClaipEmoModel, ClaipEmoProcessor]:
    torch.manual_seed(0)
    backbone = resolve("tiny-clip")
    model = ClaipEmoModel(configure(backbone, SEVEN, num_frames=3)).eval()
    return model, ClaipEmoProcessor.for_backbone(backbone, num_frames=3, audio_s=0.5)


def clip(seed: int, views: int = 2, video: bool = True, audio: bool = True) -> Clip:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (views, 3, 32, 32, 3), dtype=np.uint8) if video else None
    count = views if audio else 0
    sounds = [rng.normal(0, 0.1, 9000 + 100 * v).astype(np.float32) for v in range(count)]
    spans = tuple((float(v), v + 0.3) for v in range(count))
    times = np.zeros((views, 3)) if video else None
    return Clip(f"c{seed}", frames, times, tuple(sounds), spans, 1.0)


def test_views_of_a_clip_are_averaged(parts) -> None:
    model, processor = parts
    whole = clip(0)
    found = score(model, processor, stack([whole]), ("av",))["av"]
    one_by_one = []
    for view in range(2):
        single = Clip(
            "c", whole.frames[view : view + 1], None, whole.waveforms[view : view + 1],
            whole.audio_spans_s[view : view + 1], 1.0,
        )  # fmt: skip
        one_by_one.append(score(model, processor, stack([single]), ("av",))["av"])
    np.testing.assert_allclose(
        found.probabilities, np.mean([s.probabilities for s in one_by_one], 0), atol=1e-6
    )
    np.testing.assert_allclose(found.logits, np.mean([s.logits for s in one_by_one], 0), atol=1e-5)
    assert found.probabilities.sum() == pytest.approx(1)


def test_a_batch_of_different_clips_equals_each_alone(parts) -> None:
    model, processor = parts
    clips = [clip(1), clip(2, views=1), clip(3, video=False, views=1), clip(4, audio=False)]
    together = score(model, processor, stack(clips), MODALITIES)
    for place, single in enumerate(clips):
        alone = score(model, processor, stack([single]), MODALITIES)
        for kind in MODALITIES:
            np.testing.assert_allclose(
                together[kind].logits[place], alone[kind].logits[0], atol=1e-5
            )


def test_a_mask_equals_a_clip_without_the_modality(parts) -> None:
    model, processor = parts
    whole = clip(5)
    found = score(model, processor, stack([whole]), MODALITIES)
    silent = Clip("c", whole.frames, whole.frame_times_s, (), (), 1.0)
    np.testing.assert_allclose(
        found["v"].logits, score(model, processor, stack([silent]))["av"].logits, atol=1e-5
    )
    assert np.abs(found["v"].logits - found["av"].logits).max() > 1e-3
    assert np.abs(found["a"].logits - found["av"].logits).max() > 1e-3


def test_equal_seconds_are_heard_once(parts, monkeypatch) -> None:
    model, processor = parts
    whole = clip(6, views=1)
    views = Clip(
        "c", np.repeat(whole.frames, 3, axis=0), None, whole.waveforms * 3,
        whole.audio_spans_s * 3, 1.0,
    )  # fmt: skip
    heard = []
    encode = model.encode_audio
    monkeypatch.setattr(model, "encode_audio", lambda mel: heard.append(len(mel)) or encode(mel))
    score(model, processor, stack([views, views]))
    assert heard == [2]


def test_frames_that_views_share_are_encoded_once(parts, monkeypatch) -> None:
    model, processor = parts
    one, other = clip(8, audio=False), clip(9, views=1, audio=False)
    shown = one.frames.reshape(6, 32, 32, 3)
    views = np.array([[0, 1, 2], [2, 3, 3]])
    shared = replace(one, frames=shown[views], frame_times_s=views / 25)
    distinct = replace(shared, frame_times_s=None)
    encoded = []
    encode = model.encode_frames
    monkeypatch.setattr(
        model, "encode_frames", lambda pixels: encoded.append(len(pixels)) or encode(pixels)
    )
    found, expected = (
        score(model, processor, stack([other, each, other]))["av"].logits
        for each in (shared, distinct)
    )
    assert encoded == [3 + 4 + 3, 3 + 6 + 3]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_frames_and_sounds_are_encoded_some_at_a_time(parts, monkeypatch) -> None:
    model, processor = parts
    clips = [clip(11), clip(12, views=1), clip(13, video=False), clip(14)]
    whole = score(model, processor, stack(clips), MODALITIES)
    monkeypatch.setattr(batching, "FRAMES_AT_ONCE", 4)
    monkeypatch.setattr(batching, "SEGMENTS_AT_ONCE", 2)
    counts = {"encode_frames": [], "encode_audio": []}
    for name, counted in counts.items():
        encode = getattr(model, name)
        monkeypatch.setattr(
            model, name, lambda few, to=counted, by=encode: to.append(len(few)) or by(few)
        )
    found = score(model, processor, stack([distinct(one) for one in clips]), MODALITIES)
    assert counts == {"encode_frames": [4, 4, 4, 3], "encode_audio": [2, 2, 2, 1]}
    for kind in MODALITIES:
        np.testing.assert_allclose(found[kind].logits, whole[kind].logits, atol=1e-5)


def distinct(one: Clip) -> Clip:
    return replace(one, frame_times_s=None)


def test_frames_of_one_time_that_differ_stay_apart(parts) -> None:
    whole = clip(10, views=2, audio=False)  # all of its frames are shown at 0 s
    batch = stack([whole])
    np.testing.assert_array_equal(batch["frames"][batch["frame"]].numpy(), whole.frames)


def test_the_temperature_softens(parts) -> None:
    model, processor = parts
    cold = score(model, processor, stack([clip(7)]))["av"].probabilities
    model.config.temperature = 4.0
    try:
        warm = score(model, processor, stack([clip(7)]))["av"].probabilities
    finally:
        model.config.temperature = 1.0
    assert warm.max() < cold.max()
    assert warm.argmax() == cold.argmax()


def test_each_clip_has_the_temperature_of_what_is_there_of_it(parts) -> None:
    model, processor = parts
    clips = [clip(7), clip(8, 1, audio=False), clip(9, 1, video=False)]
    plain = score(model, processor, stack(clips), MODALITIES)
    model.config.temperature = {"av": 3.0, "v": 0.5}  # a voice alone: 1
    try:
        told = score(model, processor, stack(clips), MODALITIES)
    finally:
        model.config.temperature = 1.0
    divisors = {"av": [3.0, 0.5, 1.0], "v": [0.5, 0.5, 1.0], "a": [1.0, 1.0, 1.0]}
    for kind, of_clip in divisors.items():
        np.testing.assert_array_equal(told[kind].logits, plain[kind].logits)
        for place in (1, 2):  # of one view
            expected = softmax(plain[kind].logits[place] / of_clip[place])
            np.testing.assert_allclose(told[kind].probabilities[place], expected)
    softer = told["av"].probabilities[0].max() < plain["av"].probabilities[0].max()
    sharper = told["v"].probabilities[0].max() > plain["v"].probabilities[0].max()
    assert softer
    assert sharper


def test_mirrored_frames_are_seen_too_where_the_checkpoint_asks_for_it(parts) -> None:
    model, processor = parts
    both = ClaipEmoProcessor(replace(processor.settings, image_mirrored=True))
    one = clip(7, audio=False)
    other = replace(one, frames=np.ascontiguousarray(one.frames[:, :, :, ::-1]))
    seen = [score(model, each, stack([c]), ("v",))["v"].logits
            for each, c in ((both, one), (both, other), (processor, one))]  # fmt: skip
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-5)
    assert np.abs(seen[0] - seen[2]).max() > 1e-3


def test_the_shift_is_that_of_what_is_there(parts) -> None:
    model, processor = parts
    clips = [clip(7), clip(8, 1, audio=False), clip(9, 1, video=False)]
    model.config.temperature = 2.0
    plain = score(model, processor, stack(clips), MODALITIES)
    shift = {"av": [1.0] + [0.0] * 6, "v": [0.0, 2.0] + [0.0] * 5}
    model.config.logit_shift = shift
    try:
        shifted = score(model, processor, stack(clips), MODALITIES)
    finally:
        model.config.logit_shift, model.config.temperature = None, 1.0
    none = [0.0] * 7
    expected = {  # of clips with both, a face, a voice
        "av": [shift["av"], shift["v"], none],
        "v": [shift["v"], shift["v"], none],
        "a": [none, none, none],
    }
    for kind in MODALITIES:
        added = shifted[kind].logits - plain[kind].logits
        np.testing.assert_allclose(added, expected[kind], atol=1e-9)
        of_logits = torch.from_numpy(shifted[kind].logits[1:] / 2).softmax(dim=1)  # of one view
        np.testing.assert_allclose(shifted[kind].probabilities[1:], of_logits, atol=1e-9)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_no_scores(parts, wrong) -> None:
    logits = np.zeros((2, 7))
    logits[1, 3] = wrong
    there = np.ones(2, bool)
    with pytest.raises(ValueError, match="finite"):
        scores_of(
            parts[0].config, "av", logits, has_video=there, has_audio=there, clip=np.arange(2)
        )


@pytest.mark.parametrize(
    "shift",
    [{"face": [0.0] * 7}, {"v": [0.0] * 6}, {"v": 0.3}, {"v": ["a"] * 7}, [0.0] * 7],
)
def test_a_shift_that_fits_nothing_is_refused(shift) -> None:
    with pytest.raises(ValueError, match="logit_shift"):
        configure(resolve("tiny-clip"), SEVEN, logit_shift=shift)


@pytest.fixture(scope="module", params=["v", "a"])
def alone(request) -> tuple[str, ClaipEmoModel, ClaipEmoProcessor]:
    torch.manual_seed(0)
    backbone = resolve("tiny-clip")
    config = configure(backbone, SEVEN, num_frames=3, modality=request.param)
    processor = ClaipEmoProcessor.for_backbone(backbone, num_frames=3, audio_s=0.5)
    return request.param, ClaipEmoModel(config).eval(), processor


def test_a_model_of_one_modality_scores_that_one(alone) -> None:
    kind, model, processor = alone
    whole = clip(8)
    found = score(model, processor, stack([whole]), ("av", kind))
    np.testing.assert_array_equal(found["av"].logits, found[kind].logits)
    stripped = clip(8, audio=False) if kind == "v" else Clip(
        "c", None, None, whole.waveforms, whole.audio_spans_s, 1.0
    )  # fmt: skip
    again = score(model, processor, stack([stripped]))["av"]
    np.testing.assert_allclose(found["av"].logits, again.logits, atol=1e-6)
    with pytest.raises(ModalityError, match=r"reads (faces|voices) only.*no scores of"):
        score(model, processor, stack([whole]), ("v" if kind == "a" else "a",))


def test_a_clip_without_what_the_model_reads_is_scored_as_zeros(alone) -> None:
    kind, model, processor = alone
    has, lacks = clip(9), clip(10, video=kind == "a", audio=kind == "v")
    found = score(model, processor, stack([has, lacks]))["av"].logits
    np.testing.assert_allclose(found[0], score(model, processor, stack([has]))["av"].logits[0],
                               atol=1e-6)  # fmt: skip
    bias = model.head.classifier.bias.detach().numpy()
    np.testing.assert_allclose(found[1], bias, atol=1e-6)
