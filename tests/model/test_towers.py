"""Loading towers from checkpoints with the hub's file names, saved here at tiny size."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    CLIPConfig,
    CLIPModel,
)

from claip_emo import ClaipEmoModel
from claip_emo.labels import SEVEN
from claip_emo.model.backbones import (
    BACKBONES,
    BackboneError,
    configure,
    missing_files,
    resolve,
)
from claip_emo.model.description import TowerError
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.towers import AUDIO, VISION, load_tower

VISION_FIELDS = BACKBONES["tiny-clip"].vision
AUDIO_FIELDS = BACKBONES["tiny-clip"].audio
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 50}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(1)
    fields = {k: v for k, v in VISION_FIELDS.items() if k != "model_type"}
    config = CLIPConfig(vision_config=fields, text_config=TEXT | {"num_attention_heads": 2})
    CLIPModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"crop_size": 32, "size": 32}')
    return folder


@pytest.fixture(scope="module")
def clap_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clap")
    torch.manual_seed(2)
    fields = {k: v for k, v in AUDIO_FIELDS.items() if k != "model_type"}
    # As LAION's checkpoint: with the fusion branch, which is not used here.
    config = ClapConfig(
        audio_config=fields | {"enable_fusion": True, "fusion_type": "aff_2d"},
        text_config=TEXT | {"num_attention_heads": 2, "max_position_embeddings": 20},
        projection_dim=8,
    )
    ClapModel(config).save_pretrained(folder)
    ClapFeatureExtractor(truncation="fusion").save_pretrained(folder)
    return folder


def test_the_vision_tower_is_the_checkpoint_s(clip_folder: Path) -> None:
    tower = load_tower(str(clip_folder), VISION).eval()
    whole = CLIPModel.from_pretrained(clip_folder).eval()
    pixels = torch.randn(2, 3, 32, 32)
    expected = whole.vision_model(pixel_values=pixels).pooler_output
    torch.testing.assert_close(VISION["clip_vision_model"].pool(tower, pixels), expected)


def test_fused_weights_without_the_branch_give_the_same_output(clap_folder: Path) -> None:
    tower = load_tower(str(clap_folder), AUDIO).eval()
    assert not tower.config.enable_fusion
    whole = ClapModel.from_pretrained(clap_folder).eval()
    mel = torch.randn(2, 1, 256, 64) * 20 - 40
    fused = whole.audio_model(
        input_features=mel.expand(2, 4, 256, 64), is_longer=torch.zeros(2, 1, dtype=torch.bool)
    ).pooler_output
    torch.testing.assert_close(AUDIO["clap_audio_model"].pool(tower, mel), fused)


def test_the_fused_tower_s_output_does_not_depend_on_the_call(clap_folder: Path) -> None:
    tower = load_tower(str(clap_folder), AUDIO).eval()
    mel = torch.randn(3, 1, 256, 64)
    once = AUDIO["clap_audio_model"].pool(tower, mel)
    assert torch.equal(once[:1], AUDIO["clap_audio_model"].pool(tower, mel[:1])) or torch.allclose(
        once[:1], AUDIO["clap_audio_model"].pool(tower, mel[:1]), atol=1e-6
    )


def test_a_model_of_a_local_backbone_carries_its_towers(
    clip_folder: Path, clap_folder: Path, tmp_path
) -> None:
    backbone = resolve("vit-b32", vision=str(clip_folder), audio=str(clap_folder))
    processor = ClaipEmoProcessor.for_backbone(backbone)
    assert processor.settings.image_size_px == 32
    model = ClaipEmoModel.from_backbone(configure(backbone, SEVEN, num_frames=2)).eval()
    reference = load_tower(str(clip_folder), VISION)
    for name, weight in reference.state_dict().items():
        own = model.vision_tower.state_dict()
        assert torch.equal(own.get(name, own.get(_base(name))), weight)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "towers.safetensors").is_file()
    again = ClaipEmoModel.from_pretrained(tmp_path)
    pixels = torch.randn(1, 2, 3, 32, 32)
    assert torch.equal(model.encode_video(pixels), again.encode_video(pixels))


def _base(name: str) -> str:
    module, _, leaf = name.rpartition(".")
    return f"{module}.base_layer.{leaf}"


def test_a_hub_backbone_is_not_stored_in_the_checkpoint(
    clip_folder: Path, clap_folder: Path, tmp_path
) -> None:
    """A source that can be fetched again is only named; here it stands in a folder."""
    backbone = resolve("vit-b32", vision=str(clip_folder), audio=str(clap_folder))
    config = configure(backbone, SEVEN, num_frames=2)
    config.store_towers = False
    model = ClaipEmoModel.from_backbone(config).eval()
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "towers.safetensors").exists()
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as weights:
        names = list(weights.keys())
    assert not [n for n in names if "_tower." in n and ".lora_" not in n]
    again = ClaipEmoModel.from_pretrained(tmp_path)
    pixels = torch.randn(1, 2, 3, 32, 32)
    assert torch.equal(model.encode_video(pixels), again.encode_video(pixels))


def test_what_is_stored_depends_on_the_source_and_the_adaptation() -> None:
    assert not configure(resolve("vit-b32"), SEVEN).store_towers
    assert configure(resolve("vit-b32"), SEVEN, adaptation="full").store_towers
    assert configure(resolve("tiny"), SEVEN).store_towers


def test_a_backbone_that_is_not_here_names_files_and_ways() -> None:
    with pytest.raises(BackboneError) as caught:
        ClaipEmoModel.from_backbone(configure(resolve("vit-b32"), SEVEN))
    text = str(caught.value)
    assert "config.json" in text
    assert "model.safetensors" in text
    assert "claip-emo backbones fetch openai/clip-vit-base-patch32" in text
    assert "--to" in text


def test_files_that_are_missing_from_a_folder(clip_folder: Path, tmp_path) -> None:
    assert missing_files(str(clip_folder)) == []
    (tmp_path / "config.json").write_bytes((clip_folder / "config.json").read_bytes())
    assert missing_files(str(tmp_path)) == ["preprocessor_config.json", "model.safetensors"]
    backbone = resolve("vit-b32", vision=str(tmp_path))
    with pytest.raises(BackboneError, match=r"model\.safetensors"):
        ClaipEmoModel.from_backbone(configure(backbone, SEVEN))


def test_weights_of_another_kind_are_refused(clap_folder: Path, tmp_path) -> None:
    ClapAudioConfig().save_pretrained(tmp_path)
    with pytest.raises(TowerError, match=r"clap_audio_model.*clip_vision_model"):
        resolve("vit-b32", vision=str(tmp_path))


def test_unknown_backbones_are_named() -> None:
    with pytest.raises(BackboneError, match=r"vit-b33.*vit-b32"):
        resolve("vit-b33")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_checkpoint_in_half_precision_is_trained_in_full(
    clip_folder: Path, tmp_path, dtype: torch.dtype
) -> None:
    CLIPModel.from_pretrained(clip_folder, dtype=dtype).save_pretrained(tmp_path)
    tower = load_tower(str(tmp_path), VISION)
    assert {parameter.dtype for parameter in tower.parameters()} == {torch.float32}


def test_a_folder_of_towers_that_is_not_there_is_named_with_what_makes_it() -> None:
    with pytest.raises(BackboneError, match=r"no folder runs/none/vision.*claip-emo pretrain"):
        resolve("mini", vision="runs/none/vision")
