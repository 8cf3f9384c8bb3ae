"""Towers as ONNX graphs compute what the merged towers compute."""

import dataclasses

import numpy as np
import pytest
import torch
from onnx import TensorProto

from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.description import TowerError
from claip_emo.model.graph_towers import audio_graph, vision_graph
from claip_emo.model.modeling import ClaipEmoModel

from .exported_models import computed, made
from .made_resnets import SIZES

BOTTLENECK = SIZES | {"layer_type": "bottleneck", "downsample_in_bottleneck": True}


def with_towers(vision: dict | None = None, audio: dict | None = None) -> ClaipEmoModel:
    """A tiny-clip with towers of other sizes."""
    torch.manual_seed(0)
    base = resolve("tiny-clip")
    backbone = dataclasses.replace(
        base, vision=base.vision | (vision or {}), audio=base.audio | (audio or {})
    )
    return ClaipEmoModel(configure(backbone, SEVEN)).eval()


def both_ways_to_see(model: ClaipEmoModel, precision: str = "fp32") -> tuple[np.ndarray, ...]:
    """Features of frames: the graph's and the model's."""
    config = model.merge().config.vision_config
    side = getattr(config, "image_size", 40)
    pixels = torch.randn(5, config.num_channels, side, side)
    with torch.inference_mode():
        wanted = model.encode_frames(pixels).numpy()
    graph = vision_graph(model.vision_tower, tuple(pixels.shape[1:]), precision)
    (found,) = computed(graph, pixels=pixels.numpy())
    return found, wanted


def both_ways_to_hear(
    model: ClaipEmoModel, frames: int, precision: str = "fp32"
) -> tuple[np.ndarray, ...]:
    """Features of log-mels: the graph's and the model's."""
    mel = torch.randn(3, 1, frames, 64) * 20 - 40
    model.merge()
    with torch.inference_mode():
        wanted = torch.cat([model.encode_audio(one[None]) for one in mel]).numpy()
    graph = audio_graph(model.audio_tower, (frames, 64), precision)
    (found,) = computed(graph, mel=mel.numpy())
    return found, wanted


@pytest.mark.parametrize("adaptation", ["lora", "frozen", "full"])
def test_clip_as_it_was_adapted(adaptation: str) -> None:
    found, wanted = both_ways_to_see(made(adaptation=adaptation))
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert np.abs(wanted).max() > 0.1


def test_clip_with_another_activation() -> None:
    found, wanted = both_ways_to_see(with_towers({"hidden_act": "gelu"}))
    np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.mark.parametrize(
    ("sizes", "frames"),
    [
        ({}, 256),  # as long as the tower takes
        ({}, 201),  # stretched
        ({"spec_size": 192, "window_size": 4, "depths": [2, 2, 1, 1]}, 500),  # filled, shifted
        ({"enable_patch_layer_norm": True, "depths": [2, 1, 1, 1], "hidden_act": "relu"}, 256),
    ],
)
def test_htsat_of_any_windows(sizes: dict, frames: int) -> None:
    found, wanted = both_ways_to_hear(with_towers(audio=sizes), frames)
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert np.ptp(wanted, axis=0).max() > 0.01


@pytest.mark.parametrize("sizes", [SIZES, BOTTLENECK])
def test_resnets(sizes: dict) -> None:
    torch.manual_seed(0)
    backbone = dataclasses.replace(resolve("tiny"), vision=sizes, audio=sizes)
    model = ClaipEmoModel(configure(backbone, SEVEN)).eval()
    for name, value in model.named_parameters():
        if "lora_B" in name:
            value.data.normal_(0, 0.1)
    for found, wanted in (both_ways_to_see(model), both_ways_to_hear(model, 101)):
        np.testing.assert_allclose(found, wanted, atol=5e-5)


def test_int8_rounds_and_no_more() -> None:
    """Of transformers and of ResNets alike: features point where they did."""
    for model in (made("tiny-clip"), made("tiny")):
        for found, wanted in (
            both_ways_to_see(model, "int8"),
            both_ways_to_hear(model, 256, "int8"),
        ):
            lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
            cosine = (found * wanted).sum(axis=1) / lengths
            assert 0.995 < cosine.min() < 1 - 1e-7


def test_int8_stores_a_quarter() -> None:
    model = made("tiny").merge()
    stored = {
        precision: vision_graph(model.vision_tower, (1, 48, 48), precision).graph.initializer
        for precision in ("fp32", "int8")
    }
    sizes = {name: sum(len(w.raw_data) for w in weights) for name, weights in stored.items()}
    assert sizes["int8"] < 0.3 * sizes["fp32"]
    clip = made("tiny-clip").merge().vision_tower
    weights = vision_graph(clip, (3, 32, 32), "int8").graph.initializer
    integers = [weight for weight in weights if weight.data_type == TensorProto.INT8]
    assert len(integers) == 2 * 5  # of each layer: query, key and value, out, up, down


def test_a_tower_without_a_graph_is_named() -> None:
    backbone = dataclasses.replace(resolve("tiny"), vision=SIZES | {"hidden_act": "gelu"})
    model = ClaipEmoModel(configure(backbone, SEVEN)).eval().merge()
    with pytest.raises(TowerError, match="resnet tower of these settings has no ONNX graph"):
        vision_graph(model.vision_tower, (1, 48, 48), "fp32")
    with pytest.raises(TowerError, match="activation Tanh has no ONNX graph"):
        both_ways_to_see(with_towers({"hidden_act": "tanh"}))
