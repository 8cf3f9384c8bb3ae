"""Towers laid out for prediction: for good, or for a while."""

import pytest
import torch
from torch import nn

from claip_emo import ClaipEmoModel
from claip_emo.labels import SEVEN
from claip_emo.model import packing
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.clip_vit import PackedCLIPVision
from claip_emo.model.description import TowerError
from claip_emo.model.htsat import PackedHTSAT


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


def mixed() -> ClaipEmoModel:
    """CLIP for faces, a ResNet for voices."""
    config = configure(resolve("tiny-clip"), SEVEN, num_frames=2)
    config.audio_config = configure(resolve("tiny"), SEVEN).audio_config
    torch.manual_seed(0)
    return ClaipEmoModel(config).eval()


def test_a_merge_that_fails_leaves_the_model_as_it_was(tmp_path) -> None:
    model = mixed()
    inputs = given(model)
    expected = model(**inputs).logits
    with pytest.raises(TowerError):
        model.merge("bf16")
    assert not model.merged
    model.save_pretrained(tmp_path)
    assert torch.equal(ClaipEmoModel.from_pretrained(tmp_path)(**inputs).logits, expected)
    torch.testing.assert_close(model.merge()(**inputs).logits, expected, rtol=1e-4, atol=2e-5)


def test_no_tower_is_merged_where_the_other_cannot_be() -> None:
    model = build("tiny")
    names = [name for name, _ in model.named_parameters()]
    with torch.no_grad():
        for name, parameter in model.audio_tower.named_parameters():
            if "lora_B" in name:
                parameter.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaNs"):
        model.merge()
    assert [name for name, _ in model.named_parameters()] == names


def test_a_while_that_cannot_begin_leaves_the_model_as_it_was() -> None:
    model = build().train()
    towers = model.vision_tower, model.audio_tower
    model.audio_tower.config.enable_fusion = True
    with pytest.raises(ValueError, match="enable_fusion"), model.packed():
        pass
    assert (model.vision_tower, model.audio_tower) == towers
    assert model.training


def test_one_while_inside_another() -> None:
    model = build()
    towers = model.vision_tower, model.audio_tower
    with model.packed("bf16"):
        outer = model.vision_tower
        with model.packed("bf16"):
            assert model.vision_tower is outer
        assert model.vision_tower is outer
        with pytest.raises(ValueError, match="packed in bf16 already"), model.packed("fp32"):
            pass
        with pytest.raises(ValueError, match=r"leave packed\(\)"):
            model.merge("bf16")
    assert (model.vision_tower, model.audio_tower) == towers
    assert model.merge("bf16").merged


def test_a_merged_model_stays_in_its_precision() -> None:
    model = build().merge()
    tower = model.vision_tower
    assert model.merge("fp32").vision_tower is tower
    with model.packed("fp32"):
        assert model.vision_tower is tower
    for again in (model.merge, lambda precision: model.packed(precision).__enter__()):
        with pytest.raises(ValueError, match="merged in fp32 already"):
            again("int8")
    assert model.merged
    assert model.vision_tower is tower


def test_what_is_packed_for_a_while_is_saved_afterwards(tmp_path) -> None:
    model = build()
    with model.packed(), pytest.raises(ValueError, match=r"outside packed\(\)"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    model.save_pretrained(tmp_path)
    inputs = given(model)
    again = ClaipEmoModel.from_pretrained(tmp_path)
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize("backbone", ["tiny-clip", "tiny"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_models_of_another_number_type_train_and_predict_in_it(backbone: str, dtype) -> None:
    model = build(backbone)
    inputs = given(model)
    with torch.inference_mode():
        expected = model(**inputs).logits
    model.to(dtype)
    inputs = {name: value.to(dtype) for name, value in inputs.items()}
    close = {"rtol": 0.03, "atol": 0.03} if dtype.itemsize == 2 else {"rtol": 1e-4, "atol": 2e-5}
    model.train()(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.dtype == dtype for p in trained)
    with torch.inference_mode():
        with model.packed():
            torch.testing.assert_close(model(**inputs).logits.float(), expected, **close)
        found = model.merge()(**inputs).logits
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, **close)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("blocked", [False, True])
def test_casting_a_merged_model_leaves_its_towers_as_they_are(
    monkeypatch, precision: str, blocked: bool
) -> None:
    if not blocked:
        monkeypatch.setattr(packing, "blocks_bf16", lambda: False)
    model = build()
    inputs = given(model)
    with torch.inference_mode():
        expected = model.merge(precision)(**inputs)
        for dtype in (torch.float64, torch.bfloat16, torch.float32):
            found = model.to(dtype)(**{name: value.to(dtype) for name, value in inputs.items()})
            assert found.logits.dtype == dtype
            if dtype == torch.float64:
                torch.testing.assert_close(found.audio.float(), expected.audio)


def test_a_merged_model_moves_whole() -> None:
    model = build().merge().to("meta")
    inputs = {name: value.to("meta") for name, value in given(model).items()}
    assert model(**inputs).logits.device.type == "meta"
    with pytest.raises(ValueError, match="move the model to its device first"):
        build().merge("int8").to("meta")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("which", ["pixel_values", "input_features"])
def test_inputs_of_a_merged_model_get_no_gradients_and_are_told(precision: str, which: str) -> None:
    model = build()
    inputs = given(model)
    inputs[which].requires_grad_()
    model(**inputs).logits.sum().backward()
    assert inputs[which].grad is not None
    model.merge(precision)
    with pytest.raises(ValueError, match=r"no gradients: compute them before merge\(\)"):
        model(**inputs)
    with torch.no_grad():
        model(**inputs)


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
