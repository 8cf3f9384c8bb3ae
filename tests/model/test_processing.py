"""The processor against transformers' own CLIP and CLAP front ends."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ClapFeatureExtractor

from claip_emo.model.backbones import resolve
from claip_emo.model.checkpoint_folder import CheckpointError
from claip_emo.model.processing import ClaipEmoProcessor, ProcessorSettings

RATE = 48_000


def sounds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    time = np.arange(10 * RATE) / RATE
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * time), 0, None)
    harmonics = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 40))
    return {
        "noise": rng.standard_normal(10 * RATE) * 0.1,
        "tone": 0.5 * np.sin(2 * np.pi * 440 * time),
        "speech-like": 0.1 * harmonics * syllables + 1e-4 * rng.standard_normal(10 * RATE),
        "short": rng.standard_normal(3 * RATE + 17) * 0.2,
    }


@pytest.mark.parametrize("mode", ["fusion", "rand_trunc"])
@pytest.mark.parametrize("name", ["noise", "tone", "speech-like", "short"])
def test_mel_equals_clap(mode: str, name: str) -> None:
    sound = sounds()[name].astype(np.float32)
    processor = ClaipEmoProcessor(ProcessorSettings(mel_mode=mode))
    ours = processor(waveforms=torch.from_numpy(sound)[None])["input_features"]
    theirs = ClapFeatureExtractor(truncation=mode)(
        sound.astype(np.float64), sampling_rate=RATE, return_tensors="np"
    )["input_features"][:, :1]
    assert ours.shape == (1, 1, 1001, 64)
    assert np.abs(ours.numpy() - theirs).max() < 1e-3


def test_the_two_mel_modes_are_far_apart() -> None:
    noise = torch.from_numpy(sounds()["noise"].astype(np.float32))[None]
    one, other = (
        ClaipEmoProcessor(ProcessorSettings(mel_mode=mode))(waveforms=noise)["input_features"]
        for mode in ("fusion", "rand_trunc")
    )
    assert (one - other).abs().mean() > 10


def test_sound_is_repeated_whole_times_then_padded() -> None:
    processor = ClaipEmoProcessor(ProcessorSettings(audio_s=10 / RATE))
    waveforms = torch.tensor([[1.0, 2, 3, 0, 0], [1.0, 2, 3, 4, 5]])
    filled = processor.fill(waveforms, torch.tensor([3, 5]))
    assert filled.tolist() == [[1, 2, 3, 1, 2, 3, 1, 2, 3, 0], [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]]


def test_longer_sound_is_cut_and_empty_sound_is_silence() -> None:
    processor = ClaipEmoProcessor(ProcessorSettings(audio_s=4 / RATE))
    filled = processor.fill(torch.arange(6.0)[None].repeat(2, 1), torch.tensor([6, 0]))
    assert filled.tolist() == [[0, 1, 2, 3], [0, 0, 0, 0]]


def test_mel_does_not_depend_on_the_batch() -> None:
    processor = ClaipEmoProcessor()
    sound = torch.from_numpy(sounds()["short"].astype(np.float32))
    alone = processor(waveforms=sound[None])["input_features"]
    both = torch.zeros(2, 5 * RATE)
    both[0, : len(sound)] = sound
    together = processor(waveforms=both, lengths=torch.tensor([len(sound), 5 * RATE]))
    assert torch.equal(alone[0], together["input_features"][0])


@pytest.mark.parametrize("size", [(224, 224), (300, 400), (97, 61), (360, 640)])
def test_pixels_equal_clip(size: tuple[int, int]) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    rng = np.random.default_rng(1)
    smooth = rng.integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3), dtype=np.uint8)
    picture = Image.fromarray(smooth).resize(size[::-1], Image.Resampling.BICUBIC)
    frames = torch.from_numpy(np.array(picture))[None, None]
    ours = ClaipEmoProcessor()(frames=frames)["pixel_values"][0, 0]
    theirs = CLIPImageProcessorPil()(picture, return_tensors="pt")["pixel_values"][0]
    assert ours.shape == theirs.shape == (3, 224, 224)
    assert (ours - theirs).abs().max() < 0.02


def test_grey_and_per_crop() -> None:
    settings = ProcessorSettings(image_size_px=8, image_channels=1, image_normalisation="per_crop")
    frames = torch.randint(0, 256, (2, 3, 8, 8, 3), dtype=torch.uint8)
    pixels = ClaipEmoProcessor(settings)(frames=frames)["pixel_values"]
    assert pixels.shape == (2, 3, 1, 8, 8)
    assert pixels.mean(dim=(-2, -1)).abs().max() < 1e-5
    assert (pixels.std(dim=(-2, -1), correction=0) - 1).abs().max() < 1e-4
    dark = ClaipEmoProcessor(settings)(frames=(frames // 4))["pixel_values"]
    assert (dark - pixels).abs().mean() < 0.05  # light does not change what is seen


def test_a_flat_frame_is_no_nan() -> None:
    settings = ProcessorSettings(image_size_px=8, image_normalisation="per_crop")
    black = torch.zeros(1, 1, 8, 8, 3, dtype=torch.uint8)
    assert ClaipEmoProcessor(settings)(frames=black)["pixel_values"].abs().max() == 0


def test_round_trip_and_broken_file(tmp_path) -> None:
    settings = ProcessorSettings(image_size_px=48, audio_s=2.5, mel_mode="rand_trunc")
    ClaipEmoProcessor(settings).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert ClaipEmoProcessor.from_pretrained(tmp_path).settings == settings
    described = json.loads((tmp_path / "processor_config.json").read_text())
    (tmp_path / "processor_config.json").write_text(json.dumps(described | {"hoop": 3}))
    with pytest.raises(CheckpointError, match="hoop"):
        ClaipEmoProcessor.from_pretrained(tmp_path)


def test_the_mode_is_read_from_the_checkpoint(tmp_path) -> None:
    ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(tmp_path)
    from transformers import ClapConfig

    ClapConfig().save_pretrained(tmp_path)
    backbone = resolve("vit-b32", audio=str(tmp_path))
    assert ClaipEmoProcessor.for_backbone(backbone).settings.mel_mode == "rand_trunc"
    assert ClaipEmoProcessor.for_backbone(resolve("vit-b32")).settings.mel_mode == "fusion"


def test_unknown_settings_are_named() -> None:
    with pytest.raises(ValueError, match="did you mean 'num_frames'"):
        ClaipEmoProcessor.for_backbone(resolve("tiny"), num_frame=4)


def test_push_to_hub_uploads_the_settings(monkeypatch, tmp_path) -> None:
    import huggingface_hub

    done = []

    class Api:
        def __init__(self, token=None):
            done.append(token)

        def create_repo(self, repo_id, *, private, exist_ok):
            done.append((private, exist_ok))
            return SimpleNamespace(repo_id=f"someone/{repo_id}")

        def create_branch(self, repo_id, *, branch, exist_ok):
            done.append((repo_id, branch, exist_ok))

        def upload_folder(self, *, repo_id, folder_path, **settings):
            shutil.copytree(folder_path, tmp_path, dirs_exist_ok=True)
            done.append((repo_id, settings))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    processor = ClaipEmoProcessor(ProcessorSettings(mel_mode="rand_trunc", num_frames=3))
    processor.push_to_hub("emotions", token="secret", private=True, revision="v2")
    sent = {"commit_message": "Upload processor", "create_pr": False, "revision": "v2"}
    assert done == [
        "secret", (True, True), ("someone/emotions", "v2", True), ("someone/emotions", sent),
    ]  # fmt: skip
    assert ClaipEmoProcessor.from_pretrained(with_config(tmp_path)).settings == processor.settings


def with_config(folder: Path) -> Path:
    """Make a folder look like a checkpoint's."""
    (folder / "config.json").write_text("{}")
    return folder
