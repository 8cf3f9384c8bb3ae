"""Towers laid out for prediction: for good, or for a while."""

import pytest
import torch
from torch import nn

from claip_emo import ClaipEmoModel
from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.clip_vit import PackedCLIPVision
from claip_emo.model.htsat import PackedHTSAT
from claip_emo.model.towers import TowerError


def build(backbone: str = "tiny-clip", **settings: object) -> ClaipEmoModel:
    torch.manual_seed(0)
    model = ClaipEmoModel(configure(resolve(backbone), SEVEN, num_frames=2, **settings))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def given(model: ClaipEmoModel) -> dict[str, torch.Tensor]:
    vision = model.config.vision_config
    side = getattr(vision, "image_size", 32)
    return {
        "pixel_values": torch.randn(2, 2, vision.num_channels, side, side),
        "input_features": torch.randn(2, 1, 101, 64) * 20 - 40,
    }


@pytest.mark.parametrize("adaptation", ["lora", "frozen", "full"])
@pytest.mark.parametrize("backbone", ["tiny-clip", "tiny"])
def test_a_merged_model_predicts_the_same(backbone: str, adaptation: str) -> None:
    model = build(backbone, adaptation=adaptation)
    inputs = given(model)
    with torch.inference_mode():
        expected = model(**inputs).logits
        counted = model.count_parameters()
        assert model.merge() is model
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=1e-4, atol=2e-5)
    assert model.count_parameters() == counted  # of the model that was trained
    assert not [name for name, _ in model.named_parameters() if "lora_" in name]
    with pytest.raises(ValueError, match="for prediction only"):
        model.save_pretrained("nowhere")


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_towers_compute_in_the_precision_that_is_asked_for(precision: str) -> None:
    model = build()
    inputs = given(model)
    with torch.inference_mode():
        expected = model(**inputs)
        found = model.merge(precision)(**inputs)
    assert found.video.dtype == found.audio.dtype == torch.float32
    for name in ("video", "audio"):
        one, other = getattr(found, name), getattr(expected, name)
        assert torch.nn.functional.cosine_similarity(one, other).min() > 0.99
        assert not torch.allclose(one, other, atol=1e-4)


def test_convolutions_predict_in_float32_only() -> None:
    with pytest.raises(TowerError, match="--precision fp32"):
        build("tiny").merge("bf16")


def test_weights_are_packed_for_a_while(tmp_path) -> None:
    model = build().train()
    inputs = given(model)
    with torch.inference_mode():
        expected = build()(**inputs).logits
    with model.packed(), torch.inference_mode():
        assert isinstance(model.vision_tower, PackedCLIPVision)
        assert isinstance(model.audio_tower, PackedHTSAT)
        assert not model.training
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=1e-4, atol=2e-5)
    assert model.training
    assert model.count_parameters()["trainable"]
    model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    lora = [p for name, p in model.named_parameters() if "lora_B" in name]
    assert all(parameter.grad is not None for parameter in lora)
    with torch.no_grad():
        for parameter in lora:
            parameter.mul_(-1)
    with model.packed(), torch.inference_mode():  # the weights of now
        assert not torch.allclose(model(**inputs).logits, expected, atol=1e-3)
    model.save_pretrained(tmp_path)


def test_what_is_not_laid_out_anew_stays_unmerged_for_a_while() -> None:
    model = build("tiny")
    names = [name for name, _ in model.named_parameters()]
    with model.packed():
        assert [name for name, _ in model.named_parameters()] == names


def test_towers_are_put_back_when_prediction_fails() -> None:
    model = build()
    tower = model.vision_tower
    with pytest.raises(RuntimeError), model.packed():
        raise RuntimeError
    assert model.vision_tower is tower


def test_checkpointing_reaches_both_towers() -> None:
    model = build().train()
    model.audio_tower.config.drop_path_rate = 0.0
    inputs = given(model)

    def kept() -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: sizes.append(tensor.nbytes) or tensor, lambda tensor: tensor
        ):
            model.encode_video(inputs["pixel_values"])
            model.encode_audio(inputs["input_features"])
        return sum(sizes)

    much = kept()
    model.gradient_checkpointing_enable()
    less = kept()
    model.gradient_checkpointing_disable()
    assert less < much / 2
    assert kept() == much
