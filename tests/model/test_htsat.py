"""Our arithmetic of HTS-AT beside transformers' own, on small towers of several windows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from transformers import ClapAudioConfig, ClapAudioModel

from claip_emo.model import htsat
from claip_emo.model.backbones import resolve
from claip_emo.model.htsat import pack, pooled
from claip_emo.model.htsat_windows import Windows
from claip_emo.model.towers import AUDIO, merge_adapters

SMALL: dict[str, Any] = {  # grids of 32, 16 and 8 tokens a side, 64, 16 and 4 windows
    "spec_size": 128,
    "num_mel_bins": 64,
    "window_size": 4,
    "patch_embeds_hidden_size": 8,
    "depths": [2, 2, 2],
    "num_attention_heads": [1, 2, 4],
    "hidden_dropout_prob": 0.0,
}
FRAMES = 201  # of 256: the mel is stretched
TWO = {"depths": [2, 2], "num_attention_heads": [2, 2]}
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}


def built(seed: int = 0, **settings: Any) -> ClapAudioModel:
    """Build a tower none of whose weights is zero or one, as trained ones are not."""
    torch.manual_seed(seed)
    tower = ClapAudioModel(ClapAudioConfig(**{**SMALL, **settings}))
    for name, parameter in tower.named_parameters():
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        nn.init.normal_(parameter, centre, 0.3)
    norm = tower.audio_encoder.batch_norm
    norm.running_mean.uniform_(-50, -30)
    norm.running_var.uniform_(100, 400)
    return tower.eval()


def adapted(
    tower: ClapAudioModel,
    dropout: float = 0.0,
    targets: str = AUDIO["clap_audio_model"].lora_targets,
) -> ClapAudioModel:
    """Put LoRA that has been trained beside a tower's frozen weights."""
    tower.requires_grad_(False)
    recipe = LoraConfig(r=3, lora_alpha=6, lora_dropout=dropout, target_modules=targets)
    inject_adapter_in_model(recipe, tower)
    for name, parameter in tower.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.2)
    tower.train()
    tower.audio_encoder.batch_norm.eval()
    return tower


def mels(count: int = 3, frames: int = FRAMES, bins: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 1, frames, bins, generator=generator) * 20 - 40


def theirs(tower: ClapAudioModel, mel: Tensor) -> Tensor:
    return tower(input_features=mel).pooler_output


def gradients(
    encode: Callable[[ClapAudioModel, Tensor], Tensor], tower: ClapAudioModel, mel: Tensor
) -> dict[str, Tensor]:
    """Return the gradients of all that is trained, for an output that is weighted unevenly."""
    tower.zero_grad(set_to_none=True)
    torch.manual_seed(2)
    found = encode(tower, mel)
    found.backward(torch.linspace(-1, 1, found.numel()).view(found.shape))
    trained = {name: p.grad for name, p in tower.named_parameters() if p.requires_grad}
    assert all(gradient is not None for gradient in trained.values())
    return trained


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor], most: float = 1e-4) -> None:
    assert found
    assert found.keys() == wanted.keys()
    largest = max(float(value.abs().max()) for value in wanted.values())
    for name, value in wanted.items():
        scale = max(float(value.abs().max()), 1e-4 * largest)
        assert float((found[name] - value).abs().max()) <= most * scale, name


@pytest.mark.parametrize(
    ("settings", "frames"),
    [
        ({}, FRAMES),
        ({}, 256),
        ({}, 3),
        ({"spec_size": 96, "num_mel_bins": 48}, 192),  # a grid of 6: windows are filled up
        ({"spec_size": 96, "num_mel_bins": 48, "window_size": 5} | TWO, 101),  # odd windows
        ({"patch_stride": [4, 2]}, FRAMES),  # grids that are not square
        ({"patch_size": 8, "hidden_act": "quick_gelu"}, FRAMES),  # patches that overlap
        ({"qkv_bias": False, "hidden_act": "relu", "enable_patch_layer_norm": False}, FRAMES),
        ({"spec_size": 96, "num_mel_bins": 47} | TWO, 192),  # mel bins are stretched too
        ({"window_size": 8, "mlp_ratio": 2.0, "layer_norm_eps": 1e-3}, FRAMES),
        (resolve("tiny-clip").audio, 256),
    ],
)
def test_is_what_transformers_computes(settings: dict[str, Any], frames: int) -> None:
    tower = built(**settings)
    mel = mels(frames=frames, bins=tower.config.num_mel_bins)
    with torch.no_grad():
        wanted = theirs(tower, mel)
        scale = float(wanted.abs().max())
        for encode in (lambda mel: pooled(tower, mel), pack(tower)):
            torch.testing.assert_close(encode(mel), wanted, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("part", ["masks", "orders", "real"])
def test_shifted_windows_masks_and_filling_matter(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the comparison above would miss if these had no influence on the output."""
    tower, mel = built(spec_size=96, num_mel_bins=48), mels(frames=192, bins=48)
    plain = Windows.of

    def spoiled(*arguments: Any) -> Windows:
        windows = plain(*arguments)
        tables = getattr(windows, part)
        spoil = {
            "masks": torch.zeros_like,
            "orders": lambda order: tables[0],  # as if nothing were shifted
            "real": torch.ones_like,
        }
        changed = {by: spoil[part](table) for by, table in tables.items()}
        return replace(windows, **{part: changed})

    with torch.no_grad():
        wanted = theirs(tower, mel)
        monkeypatch.setattr(htsat.Windows, "of", spoiled)
        found = pooled(tower, mel)
    assert float((found - wanted).abs().max()) > 1e-3 * float(wanted.abs().max())


def test_windows_shift_in_a_circle_and_wrapped_neighbours_are_apart() -> None:
    windows = Windows.of(4, 4, 2, torch.device("cpu"))
    assert windows.orders[0].tolist() == [
        [0, 1, 4, 5],
        [2, 3, 6, 7],
        [8, 9, 12, 13],
        [10, 11, 14, 15],
    ]
    assert windows.orders[1].tolist() == [
        [5, 6, 9, 10],
        [7, 4, 11, 8],
        [13, 14, 1, 2],
        [15, 12, 3, 0],
    ]
    inner, right, below, corner = windows.masks[1] == 0
    assert inner.all()
    assert right.tolist() == [[True, False] * 2, [False, True] * 2] * 2
    assert below.tolist() == [[True, True, False, False]] * 2 + [[False, False, True, True]] * 2
    assert corner.tolist() == torch.eye(4, dtype=torch.bool).tolist()
    assert Windows.of(4, 8, 4, torch.device("cpu")).shift == 0


def test_gradients_of_lora_are_those_of_transformers() -> None:
    tower, mel = adapted(built(drop_path_rate=0.0)), mels()
    assert_close(gradients(pooled, tower, mel), gradients(theirs, tower, mel))


def test_gradients_of_every_weight_are_those_of_transformers() -> None:
    """In full adaptation the batch norm trains as well, and its statistics move alike."""
    tower, mel = (
        built(drop_path_rate=0.0, spec_size=96, num_mel_bins=48).train(),
        mels(bins=48, frames=150),
    )
    twin = copy.deepcopy(tower)
    assert_close(gradients(pooled, tower, mel), gradients(theirs, twin, mel), most=1e-3)
    assert torch.equal(
        tower.audio_encoder.batch_norm.running_mean, twin.audio_encoder.batch_norm.running_mean
    )
    assert int(tower.audio_encoder.batch_norm.num_batches_tracked) == 1


def test_stochastic_depth_draws_per_sample_as_transformers_does() -> None:
    tower = adapted(built(drop_path_rate=0.6))
    same = mels(1).expand(4, -1, -1, -1)
    outputs = []
    for encode in (pooled, theirs):
        torch.manual_seed(3)
        outputs.append(encode(tower, same).detach())
    torch.testing.assert_close(*outputs, **CLOSE)
    assert len(outputs[0].unique(dim=0)) > 1
    still = tower.eval()
    torch.testing.assert_close(pooled(still, same), theirs(still, same), **CLOSE)


@pytest.mark.parametrize(
    "place", ["attention.self.dropout", "attention.output.dropout", "output.dropout"]
)
def test_each_dropout_acts_in_training_only_and_as_strongly_as_theirs(place: str) -> None:
    tower, mel = built(depths=[1], num_attention_heads=[1]), mels(1)
    tower.audio_encoder.layers[0].blocks[0].get_submodule(place).p = 0.3
    with torch.no_grad():
        still = pooled(tower, mel)
        assert torch.equal(pooled(tower, mel), still)
        tower.train()
        tower.audio_encoder.batch_norm.eval()
        torch.manual_seed(0)
        ours, others = (
            torch.cat([encode(tower, mel) for _ in range(30)]) for encode in (pooled, theirs)
        )
    assert 0.7 < float(ours.std(dim=0).mean() / others.std(dim=0).mean()) < 1.4
    torch.testing.assert_close(
        ours.mean(0), others.mean(0), rtol=0, atol=float(others.std(0).max())
    )


def test_checkpointing_changes_memory_and_no_number() -> None:
    tower, mel = adapted(built(drop_path_rate=0.3), dropout=0.2), mels()
    again = lambda tower, mel: pooled(tower, mel, checkpointing=True)  # noqa: E731
    assert_close(gradients(again, tower, mel), gradients(pooled, tower, mel), most=1e-6)
    assert kept(again, tower, mel) < 0.4 * kept(pooled, tower, mel)


def kept(encode: Callable[..., Tensor], tower: ClapAudioModel, mel: Tensor) -> int:
    """Return how many bytes autograd keeps for the backward pass, weights apart."""
    weights = {p.untyped_storage().data_ptr() for p in tower.parameters()}
    storages: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = encode(tower, mel)
    assert found.requires_grad or not storages
    return sum(storage.nbytes() for storage in storages.values())


def test_keeps_far_less_than_transformers_does() -> None:
    heads = {
        "patch_embeds_hidden_size": 48,
        "num_attention_heads": [2, 4, 8],
    }  # 24 wide, as in CLAP
    tower, mel = adapted(built(window_size=8, **heads), dropout=0.1), mels()
    assert kept(pooled, tower, mel) < 0.6 * kept(theirs, tower, mel)


def test_nothing_below_the_lowest_adapter_is_in_the_graph() -> None:
    mel = mels()
    frozen = built().requires_grad_(False).train()
    assert not pooled(frozen, mel).requires_grad
    last = adapted(built(), targets=r".*\.layers\.2\.blocks\.1\.output\.dense")
    every = adapted(built())
    assert 0 < kept(pooled, last, mel) < 0.05 * kept(pooled, every, mel)


def test_samples_do_not_see_each_other() -> None:
    tower, mel = built(), mels()
    with torch.no_grad():
        alone = torch.cat([pooled(tower, one) for one in mel.split(1)])
        torch.testing.assert_close(pooled(tower, mel), alone, **CLOSE)
        torch.testing.assert_close(pack(tower)(mel), alone, **CLOSE)


def test_autocast_is_close_and_trains() -> None:
    tower, mel = adapted(built(drop_path_rate=0.0)), mels()
    wanted = gradients(theirs, tower, mel)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(pooled, tower, mel)
    alike = [
        float(torch.cosine_similarity(found[name].flatten(), wanted[name].flatten(), dim=0))
        for name in wanted
    ]
    assert min(alike) > 0.95
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
    assert not torch.equal(found[name := next(iter(found))], wanted[name])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("settings", [{}, {"spec_size": 96, "num_mel_bins": 48}])  # filled windows
def test_towers_of_another_number_type_train_in_it(settings: dict, dtype: torch.dtype) -> None:
    tower = adapted(built(drop_path_rate=0.2, **settings)).to(dtype)
    mel = mels(frames=101, bins=settings.get("num_mel_bins", 64)).to(dtype)
    assert pooled(tower, mel).dtype == dtype
    found = gradients(lambda *given: pooled(*given).float(), tower, mel)
    assert {gradient.dtype for gradient in found.values()} == {dtype}


def test_packed_windows_go_where_the_weights_go() -> None:
    """On the device without content, tensors that stayed behind would be another device's."""
    packed = pack(built(spec_size=96, num_mel_bins=48)).to("meta")  # with filled windows
    assert packed(mels(frames=101, bins=48).to("meta")).device.type == "meta"


@pytest.mark.parametrize("merged", [False, True])
def test_pack_folds_adapters_in_and_leaves_the_tower_as_it_is(merged: bool) -> None:
    tower, mel = adapted(built()).eval(), mels()
    with torch.no_grad():
        wanted = theirs(tower, mel)
        if merged:
            merge_adapters(tower)
        before = {name: value.clone() for name, value in tower.state_dict().items()}
        packed = pack(tower)
        after = tower.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], value) for name, value in after.items())
        torch.testing.assert_close(packed(mel), wanted, **CLOSE)
    assert packed.config is tower.config
    assert not any(parameter.requires_grad for parameter in packed.parameters())
    assert not packed(mel).requires_grad
    with pytest.raises(ValueError, match="no gradients"):
        packed(mel.requires_grad_())


@pytest.mark.parametrize(("precision", "least"), [("bf16", 0.999), ("int8", 0.999)])
def test_coarser_numbers_stay_close(precision: str, least: float) -> None:
    tower, mel = adapted(built()).eval(), mels()
    with torch.no_grad():
        wanted = theirs(tower, mel)
    found = pack(tower, precision)(mel)  # type: ignore[arg-type]
    assert (found.dtype, found.shape) == (torch.float32, wanted.shape)
    assert float(torch.cosine_similarity(found, wanted).min()) > least
    assert float((found - wanted).abs().max()) > 1e-4 * float(wanted.abs().max())


def test_refuses_what_it_does_not_compute() -> None:
    tower = built()
    with pytest.raises(ValueError, match="257 frames of 64 bins; this tower takes 256 of 64"):
        pooled(tower, mels(frames=257))
    with pytest.raises(ValueError, match="at most"):
        pack(tower)(mels(frames=257))
    with pytest.raises(ValueError, match="enable_fusion=False"):
        pooled(built(enable_fusion=True), mels())
    with pytest.raises(ValueError, match="enable_fusion=False"):
        pack(built(enable_fusion=True))
