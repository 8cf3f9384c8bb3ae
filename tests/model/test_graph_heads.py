"""Temporal modules and fusion heads as ONNX graphs compute what the modules compute."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from claip_emo.model.graph_heads import fusion_graph, temporal_graph
from claip_emo.model.heads import build_fusion, build_temporal

from .exported_models import computed

WIDTH, AUDIO = 24, 16


def described(**choices) -> SimpleNamespace:
    common = {
        "num_frames": 9,
        "temporal_heads": 2,
        "temporal_head_dim": 8,
        "temporal_mlp_dim": 20,
        "labels": list("abcde"),
        "modality": "av",
        "fusion_width": 12,
        "fusion_heads": 3,
    }
    return SimpleNamespace(**(common | choices))


@pytest.mark.parametrize("kind", ["transformer", "mean", "lstm"])
def test_temporal_modules_of_any_batch_and_length(kind: str) -> None:
    torch.manual_seed(0)
    module = build_temporal(described(temporal=kind), WIDTH).eval()
    graph = temporal_graph(module, WIDTH)
    for batch, time in ((1, 1), (3, 9), (2, 4)):
        frames = torch.randn(batch, time, WIDTH)
        with torch.no_grad():
            wanted = module(frames).numpy()
        found, *more = computed(graph, frames=frames.numpy())
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        assert [one.shape for one in more] == [(batch, time)] * (kind == "transformer")


def test_attention_is_how_the_cls_token_looks_at_frames() -> None:
    torch.manual_seed(0)
    module = build_temporal(described(temporal="transformer"), WIDTH).eval()
    frames = torch.randn(2, 4, WIDTH)
    with torch.no_grad():
        tokens = torch.cat([module.cls_token.expand(2, 1, WIDTH), frames], dim=1)
        normed = module.attention_norm(tokens + module.position_embedding[:, :5])
        query, key, _ = module.qkv(normed).chunk(3, dim=-1)
        shares = [
            functional.softmax(query[:, :1, at] @ key[..., at].mT / 8**0.5, dim=-1)[:, 0]
            for at in (slice(0, 8), slice(8, 16))
        ]
        wanted = (sum(shares) / 2)[:, 1:].numpy()
    _, found = computed(temporal_graph(module, WIDTH), frames=frames.numpy())
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert (found.sum(axis=1) < 1).all()


@pytest.mark.parametrize("kind", ["concat", "sum", "gated", "cross_attention"])
def test_fusion_heads_with_what_is_missing(kind: str) -> None:
    torch.manual_seed(0)
    module = build_fusion(described(fusion=kind), AUDIO, WIDTH).eval()
    audio, video = torch.randn(4, AUDIO), torch.randn(4, WIDTH)
    audio[[0, 3]] = video[[1, 3]] = 0
    with torch.no_grad():
        wanted = module(audio, video).numpy()
    graph = fusion_graph(module, AUDIO, WIDTH)
    (found,) = computed(graph, audio=audio.numpy(), video=video.numpy())
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.ptp(wanted, axis=0).max() > 0.1


@pytest.mark.parametrize(("modality", "widths"), [("v", (0, WIDTH)), ("a", (AUDIO, 0))])
def test_a_head_of_one_modality_takes_only_that(modality: str, widths: tuple[int, int]) -> None:
    module = build_fusion(described(fusion="gated", modality=modality), *widths).eval()
    given = {"v": "video", "a": "audio"}[modality]
    features = torch.randn(3, sum(widths))
    with torch.no_grad():
        wanted = module.classifier(features).numpy()
    (found,) = computed(fusion_graph(module, *widths), **{given: features.numpy()})
    np.testing.assert_allclose(found, wanted, atol=1e-5)
