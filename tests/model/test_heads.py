"""The temporal module against the released code's outputs, and against a naive full attention."""

import pytest
import torch
from safetensors.torch import load_file

from claip_emo.labels import SEVEN
from claip_emo.model.configuration import ClaipEmoConfig
from claip_emo.model.heads import (
    ConcatFusion,
    CrossAttentionFusion,
    GatedFusion,
    LstmPool,
    MeanPool,
    SumFusion,
    TemporalTransformer,
    build_fusion,
    build_temporal,
)

from ..conftest import SHARED

GOLDEN = SHARED / "goldens" / "temporal.safetensors"


def naive(module: TemporalTransformer, frames: torch.Tensor) -> torch.Tensor:
    """The layer written out in full: every token passes the MLP, then the CLS is read."""
    batch, time, width = frames.shape
    cls = module.cls_token.expand(batch, -1, -1)
    x = torch.cat([cls, frames], 1) + module.position_embedding[:, : time + 1]
    normed = torch.nn.functional.layer_norm(
        x, (width,), module.attention_norm.weight, module.attention_norm.bias
    )
    query, key, value = (normed @ module.qkv.weight.T).chunk(3, dim=-1)
    split = lambda t: t.view(batch, time + 1, module.heads, -1).transpose(1, 2)  # noqa: E731
    query, key, value = split(query), split(key), split(value)
    weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
    attended = (weights @ value).transpose(1, 2).reshape(batch, time + 1, -1)
    x = x + module.attention_out(attended)
    hidden = module.mlp_in(module.mlp_norm(x))
    inner = 0.7978845608028654 * (hidden + 0.044715 * hidden**3)
    x = x + module.mlp_out(0.5 * hidden * (1 + torch.tanh(inner)))
    return x[:, 0]


@pytest.mark.parametrize("time", [1, 5, 16])
def test_equals_the_layer_written_out(time: int) -> None:
    torch.manual_seed(0)
    module = TemporalTransformer(96, 16, 8, 16, 128).double()
    frames = torch.randn(3, time, 96, dtype=torch.float64)
    torch.testing.assert_close(module(frames), naive(module, frames), rtol=0, atol=1e-12)


@pytest.mark.parametrize("golden", [GOLDEN] if GOLDEN.is_file() else [])
def test_reproduces_the_released_module(golden) -> None:
    stored = load_file(golden)
    module = TemporalTransformer(96, 16, 8, 16, 128)
    module.load_state_dict(
        {k.removeprefix("weight/"): v for k, v in stored.items() if k.startswith("weight/")}
    )
    for name, frames in (
        ("output_16_frames", stored["input"]),
        ("output_first_5_frames", stored["input"][:, :5]),
    ):
        torch.testing.assert_close(module(frames), stored[name], rtol=0, atol=1e-5)


def test_the_order_of_frames_matters() -> None:
    torch.manual_seed(0)
    module = TemporalTransformer(32, 4, 2, 8, 64)
    frames = torch.randn(1, 4, 32)
    assert not torch.allclose(module(frames), module(frames.flip(1)), atol=1e-3)


def test_too_many_frames_are_refused_by_name() -> None:
    module = TemporalTransformer(32, 4, 2, 8, 64)
    with pytest.raises(ValueError, match=r"5 frames.*made for 4.*num_frames"):
        module(torch.zeros(1, 5, 32))


def test_mean_pool_averages_over_time() -> None:
    frames = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])
    assert MeanPool()(frames).tolist() == [[2.0, 4.0]]


def test_concat_is_one_linear_map_audio_first() -> None:
    head = ConcatFusion(2, 3, 2)
    with torch.no_grad():
        head.classifier.weight.copy_(torch.tensor([[1.0, 0, 0, 0, 0], [0, 0, 1.0, 0, 0]]))
        head.classifier.bias.zero_()
    logits = head(torch.tensor([[7.0, 8.0]]), torch.tensor([[9.0, 1.0, 2.0]]))
    assert logits.tolist() == [[7.0, 9.0]]
    assert sum(p.numel() for p in head.parameters()) == 2 * 5 + 2


def cell(weights: dict[str, torch.Tensor], side: str, frames: torch.Tensor) -> torch.Tensor:
    """An LSTM over (time, width) written out, step by step; returns its last state."""
    state = memory = torch.zeros(weights[f"weight_hh_l0{side}"].shape[1], dtype=frames.dtype)
    for frame in frames:
        gates = (
            weights[f"weight_ih_l0{side}"] @ frame
            + weights[f"bias_ih_l0{side}"]
            + weights[f"weight_hh_l0{side}"] @ state
            + weights[f"bias_hh_l0{side}"]
        )
        enter, forget, new, out = gates.chunk(4)
        memory = forget.sigmoid() * memory + enter.sigmoid() * new.tanh()
        state = out.sigmoid() * memory.tanh()
    return state


@pytest.mark.parametrize("time", [1, 3, 40])
def test_lstm_pool_is_the_last_state_of_both_directions(time: int) -> None:
    torch.manual_seed(0)
    module = LstmPool(6).double()
    frames = torch.randn(2, time, 6, dtype=torch.float64)
    weights = {n.removeprefix("lstm."): p.detach() for n, p in module.named_parameters()}
    for place in range(2):
        forwards = cell(weights, "", frames[place])
        backwards = cell(weights, "_reverse", frames[place].flip(0))
        expected = torch.cat([forwards, backwards])
        torch.testing.assert_close(module(frames)[place], expected, rtol=0, atol=1e-12)


def test_lstm_pool_says_what_it_cannot_halve() -> None:
    with pytest.raises(ValueError, match="even width, not 7"):
        LstmPool(7)


def test_sum_adds_two_projections() -> None:
    head = SumFusion(2, 3, 2, width=2)
    with torch.no_grad():
        head.audio_in.weight.copy_(torch.tensor([[1.0, 0], [0, 1]]))
        head.video_in.weight.copy_(torch.tensor([[0.0, 0, 1], [1, 0, 0]]))
        head.classifier.weight.copy_(torch.tensor([[1.0, 1], [2, 0]]))
        head.classifier.bias.copy_(torch.tensor([0.5, 0]))
    # (7, 8) + (4, 5) = (11, 13)
    logits = head(torch.tensor([[7.0, 8.0]]), torch.tensor([[5.0, 9.0, 4.0]]))
    assert logits.tolist() == [[24.5, 22.0]]


def test_the_gate_weighs_voice_against_face() -> None:
    head = GatedFusion(1, 1, 1, width=1)
    with torch.no_grad():
        for linear in (head.audio_in, head.video_in, head.classifier):
            linear.weight.fill_(1.0)
        head.classifier.bias.zero_()
        head.gate.weight.zero_()
        head.gate.bias.fill_(torch.tensor(3.0).log())  # sigmoid(log 3) = 0.75 of the voice
    voice, face = torch.tensor([[0.5]]), torch.tensor([[-1.0]])
    expected = 0.75 * voice.tanh() + 0.25 * face.tanh()
    torch.testing.assert_close(head(voice, face), expected)
    # Alone, each counts whole, whatever the gate says.
    torch.testing.assert_close(head(voice, torch.zeros(1, 1)), voice.tanh())
    torch.testing.assert_close(head(torch.zeros(1, 1), face), face.tanh())


def test_cross_attention_equals_the_layer_written_out() -> None:
    torch.manual_seed(0)
    head = CrossAttentionFusion(5, 3, 4, width=8, heads=2).double()
    voice, face = torch.randn(5, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    tokens = torch.stack([head.audio_in.weight @ voice, head.video_in.weight @ face])  # (2, 8)
    normed = torch.nn.functional.layer_norm(
        tokens, (8,), head.attention_norm.weight, head.attention_norm.bias
    )
    query, key, value = (normed @ head.qkv.weight.T).chunk(3, dim=-1)
    attended = []
    for part in (slice(0, 4), slice(4, 8)):
        weights = (query[:, part] @ key[:, part].T / 2).softmax(-1)  # 2 = sqrt of the head's size
        attended.append(weights @ value[:, part])
    tokens = tokens + head.attention_out(torch.cat(attended, dim=-1))
    expected = head.classifier(tokens.flatten())
    found = head(voice[None], face[None])[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("missing", ["voice", "face"])
def test_cross_attention_with_one_of_them_missing_is_attention_of_one_token(missing: str) -> None:
    """By hand: what is there attends to itself alone, and the other's place is zero."""
    torch.manual_seed(3)
    head = CrossAttentionFusion(5, 3, 4, width=8, heads=2).double()
    with torch.no_grad():  # a norm without bias would hide that nobody looks at zeros
        head.attention_norm.bias.add_(torch.randn(8, dtype=torch.float64))
    voice, face = torch.randn(5, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    token = head.video_in.weight @ face if missing == "voice" else head.audio_in.weight @ voice
    value = head.qkv(head.attention_norm(token))[16:]
    token = token + head.attention_out(value)
    nothing = torch.zeros(8, dtype=torch.float64)
    places = [nothing, token] if missing == "voice" else [token, nothing]
    expected = head.classifier(torch.cat(places))
    given = [voice * (missing != "voice"), face * (missing != "face")]
    found = head(given[0][None], given[1][None])[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def fusion(name: str, modality: str = "av") -> torch.nn.Module:
    torch.manual_seed(0)
    head = build_fusion(ClaipEmoConfig(fusion=name, modality=modality), 12, 8)
    with torch.no_grad():
        for parameter in head.parameters():  # biases and norms as well: nothing is zero by luck
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return head


FUSIONS = ("concat", "sum", "gated", "cross_attention")


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("missing", ["audio", "video", "both"])
def test_a_missing_modality_contributes_nothing(name: str, missing: str) -> None:
    """What its weights are cannot matter: the logits stay when they are drawn anew."""
    head = fusion(name)
    audio, video = torch.randn(3, 12), torch.randn(3, 8)
    if missing in ("audio", "both"):
        audio = torch.zeros_like(audio)
    if missing in ("video", "both"):
        video = torch.zeros_like(video)
    before = head(audio, video)
    assert torch.isfinite(before).all()
    with torch.no_grad():
        if name == "concat":
            classifier = head.classifier.weight
            if missing != "video":
                classifier[:, :12].normal_()
            if missing != "audio":
                classifier[:, 12:].normal_()
        else:
            if missing != "video":
                head.audio_in.weight.normal_()
            if missing != "audio":
                head.video_in.weight.normal_()
    torch.testing.assert_close(head(audio, video), before)
    if missing == "both":
        assert (before == before[0]).all()  # a constant of the head


@pytest.mark.parametrize("name", FUSIONS)
def test_samples_do_not_see_each_other_s_missing_modality(name: str) -> None:
    head = fusion(name)
    audio, video = torch.randn(4, 12), torch.randn(4, 8)
    audio[1], video[2], audio[3], video[3] = 0, 0, 0, 0
    together = head(audio, video)
    for place in range(4):
        alone = head(audio[place : place + 1], video[place : place + 1])
        torch.testing.assert_close(together[place], alone[0])


@pytest.mark.parametrize("name", FUSIONS)
def test_gradients_are_finite_and_none_reaches_what_is_missing(name: str) -> None:
    head = fusion(name)
    audio, video = torch.zeros(3, 12, requires_grad=True), torch.randn(3, 8, requires_grad=True)
    head(audio, video).sum().backward()
    for parameter in head.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()
    assert torch.isfinite(video.grad).all()
    assert (video.grad != 0).any()
    if name != "concat":
        assert not head.audio_in.weight.grad.any()


@pytest.mark.parametrize("name", FUSIONS[1:])
def test_a_present_modality_matters_in_every_fusion(name: str) -> None:
    head = fusion(name)
    audio, video = torch.randn(2, 12), torch.randn(2, 8)
    both = head(audio, video)
    assert not torch.allclose(both, head(torch.zeros_like(audio), video), atol=1e-3)
    assert not torch.allclose(both, head(audio, torch.zeros_like(video)), atol=1e-3)


def test_the_common_width_is_never_more_than_the_narrower_feature() -> None:
    assert fusion("sum").audio_in.weight.shape == (8, 12)
    wide = build_fusion(ClaipEmoConfig(fusion="sum"), 768, 1024)
    assert wide.audio_in.weight.shape == (256, 768)
    odd = build_fusion(ClaipEmoConfig(fusion="cross_attention"), 768, 30)
    assert odd.video_in.weight.shape == (28, 30)  # a multiple of 4 heads


@pytest.mark.parametrize("name", FUSIONS)
def test_with_one_modality_there_is_nothing_to_fuse(name: str) -> None:
    head = build_fusion(ClaipEmoConfig(fusion=name, modality="v"), 0, 8)
    assert {n: tuple(p.shape) for n, p in head.named_parameters()} == {
        "classifier.weight": (len(SEVEN), 8),
        "classifier.bias": (len(SEVEN),),
    }
    assert head(torch.zeros(2, 0), torch.ones(2, 8)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("transformer", TemporalTransformer), ("mean", MeanPool), ("lstm", LstmPool)],
)
def test_the_temporal_module_is_the_one_named(name: str, kind: type) -> None:
    module = build_temporal(ClaipEmoConfig(temporal=name), 32)
    assert type(module) is kind
    assert module(torch.randn(2, 5, 32)).shape == (2, 32)
