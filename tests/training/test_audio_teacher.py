"""The teacher against transformers' own front end and encoder, tiny and with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from claip_emo.training.audio_teacher import AudioTeacher, TeacherError, pooled, resampled

from ..conftest import SHARED
from ..media.make_media import tone

WHISPER = SHARED / "models" / "whisper_base_encoder"
SECONDS = 2
CONFIG = WhisperConfig(
    d_model=32,
    encoder_layers=3,
    encoder_attention_heads=4,
    encoder_ffn_dim=64,
    max_source_positions=50 * SECONDS,
    vocab_size=64,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=1,
    decoder_layers=1,
    decoder_attention_heads=4,
    decoder_ffn_dim=32,
)


@pytest.fixture(scope="module")
def encoder() -> WhisperEncoder:
    torch.manual_seed(0)
    encoder = WhisperEncoder(CONFIG).eval()
    for weights in encoder.parameters():  # as initialised, layers hardly change what they get
        weights.data = torch.randn_like(weights) * (0.3 if weights.dim() > 1 else 0.1)
    encoder.layer_norm.weight.data += 1
    return encoder


@pytest.fixture
def folder(encoder: WhisperEncoder, tmp_path: Path) -> Path:
    encoder.save_pretrained(tmp_path)
    return tmp_path


def voice(samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose level rises and falls, with a tone, and digital silence in the middle."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 16_000
    noise = rng.standard_normal(samples) * 0.2 * np.abs(np.sin(5 * time))
    sound = noise + 0.1 * np.sin(2 * np.pi * 440 * time)
    sound[samples // 2 : samples * 3 // 4] = 0  # deeper than the range that is kept
    return sound.astype(np.float32)


def reference(
    encoder: WhisperEncoder, sound: np.ndarray
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What transformers computes: hidden states, and what its norm makes of the last.

    Its encoder takes one length only, so it gets an encoder of the length of the sound.
    """
    mel = WhisperFeatureExtractor()(
        sound, sampling_rate=16_000, padding=False, truncation=False, return_tensors="pt"
    ).input_features
    count = mel.shape[-1] // 2
    config = WhisperConfig(**{**encoder.config.to_dict(), "max_source_positions": count})
    short = WhisperEncoder(config)
    state = dict(encoder.state_dict())
    state["embed_positions.weight"] = state["embed_positions.weight"][:count]
    short.load_state_dict(state)
    with torch.no_grad():
        out = short.eval()(mel, output_hidden_states=True)
    return [hidden[0] for hidden in out.hidden_states], out.last_hidden_state[0]


@pytest.mark.parametrize("samples", [SECONDS * 16_000, 12_500, 3_200])
def test_every_layer_is_what_transformers_computes(
    encoder: WhisperEncoder, folder: Path, samples: int
) -> None:
    sound = voice(samples)
    states, normed = reference(encoder, sound)
    for layer in range(3):
        own = AudioTeacher.from_folder(folder, layer).features(sound, 16_000)
        torch.testing.assert_close(own, states[layer], atol=1e-3, rtol=0)
    last = AudioTeacher.from_folder(folder, 3).features(sound, 16_000)
    torch.testing.assert_close(encoder.layer_norm(last), normed, atol=1e-3, rtol=0)
    assert not torch.allclose(last, normed, atol=0.1)
    assert float((states[2] - states[1]).abs().mean()) > 0.1  # layers can be told apart


@pytest.mark.parametrize(
    ("samples", "frames"), [(32_000, 100), (16_000, 50), (16_160, 51), (320, 1), (1, 1)]
)
def test_there_are_50_frames_a_second_of_the_sound_alone(
    folder: Path, samples: int, frames: int
) -> None:
    teacher = AudioTeacher.from_folder(folder)
    assert (teacher.width, teacher.longest_s) == (32, SECONDS)
    out = teacher.features(voice(samples), 16_000)
    assert out.shape == (frames, 32)
    assert out.dtype == torch.float32
    assert out.isfinite().all()


def test_it_is_frozen_and_its_features_can_be_targets(folder: Path) -> None:
    teacher = AudioTeacher.from_folder(folder)
    assert not teacher.encoder.training
    assert not any(p.requires_grad for p in teacher.encoder.parameters())
    target = teacher.features(voice(8_000), 16_000)
    learned = torch.zeros_like(target, requires_grad=True)
    (learned * target).sum().backward()
    assert learned.grad is not None
    assert torch.equal(learned.grad, target)
    torch.testing.assert_close(pooled(target), torch.stack([*target]).sum(0) / len(target))


def test_loading_draws_nothing_and_half_precision_becomes_float32(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: w.half() for name, w in weights.items()}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    before = torch.get_rng_state()
    teacher = AudioTeacher.from_folder(folder)
    assert torch.equal(torch.get_rng_state(), before)
    assert {p.dtype for p in teacher.encoder.parameters()} == {torch.float32}
    assert torch.equal(teacher.encoder.conv1.weight, weights["conv1.weight"].half().float())


def test_the_same_sound_at_another_rate_has_nearly_the_same_features(folder: Path) -> None:
    teacher = AudioTeacher.from_folder(folder)
    slow = teacher.features(tone(1.0, 16_000), 16_000)
    for rate in (48_000, 44_100, 22_050):
        fast = teacher.features(tone(1.0, rate), rate)
        assert fast.shape == slow.shape
        inner = slice(3, -3)
        assert float(torch.cosine_similarity(fast[inner], slow[inner], dim=1).mean()) > 0.98


@pytest.mark.parametrize("rate", [48_000, 44_100, 22_050, 8_000])
def test_resampling_keeps_what_fits_in_its_place_and_drops_what_does_not(rate: int) -> None:
    seconds = 0.73
    low = resampled(torch.from_numpy(tone(seconds, rate, 1_000.0)), rate)
    assert len(low) == round(seconds * 16_000)
    inner = slice(800, -800)
    expected = torch.from_numpy(tone(seconds, 16_000, 1_000.0))
    torch.testing.assert_close(low[inner], expected[inner], atol=2e-3, rtol=0)
    middle = 0.975 * min(rate, 16_000) / 2  # of where it fades out: half of the amplitude passes
    faded = resampled(torch.from_numpy(tone(seconds, rate, middle)), rate)
    assert float(faded[inner].square().mean().sqrt()) == pytest.approx(0.25 / 2**0.5, rel=0.03)
    if rate > 18_000:
        high = resampled(torch.from_numpy(tone(seconds, rate, 9_000.0)), rate)
        assert float(high[inner].square().mean().sqrt()) < 1e-3 * 0.35  # 60 dB below


def test_a_sound_does_not_ring_from_its_end_into_its_beginning() -> None:
    sound = np.zeros(48_000, np.float32)
    sound[-480:] = tone(0.01, 48_000, 3_000.0)
    assert float(resampled(torch.from_numpy(sound), 48_000)[:8_000].abs().max()) < 1e-3


def test_a_whole_whisper_configuration_is_understood(encoder: WhisperEncoder, folder: Path) -> None:
    torch.manual_seed(0)
    whole = WhisperForConditionalGeneration(CONFIG)
    whole.config.save_pretrained(folder)  # num_hidden_layers and the decoder stand in it too
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 7}))
    assert len(AudioTeacher.from_folder(folder).encoder.layers) == 3


def _without(name: str):  # type: ignore[no-untyped-def]
    return lambda folder: (folder / name).unlink()


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])


def _changed(**values: object):  # type: ignore[no-untyped-def]
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def _layerless(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: w for name, w in weights.items() if not name.startswith("layers.2.")}
    save_file(kept, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_without("config.json"), "config.json is missing"),
        (_without("model.safetensors"), "model.safetensors is missing"),
        (_pickled, "model.safetensors is missing.*save_pretrained"),
        (_cut, "model.safetensors cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (_changed(d_model="wide"), "config.json cannot be read"),
        (_changed(model_type="clap"), "describes a 'clap'"),
        (_changed(encoder_layers=2), r"unknown layers\.2\..*and 12 more"),
        (_changed(d_model=16), "of another shape conv1.bias"),
        (_layerless, r"without layers\.2\."),
    ],
)
def test_an_unusable_folder_is_named_with_what_is_wrong(folder: Path, damage, said: str) -> None:
    damage(folder)
    with pytest.raises(TeacherError, match=rf"(?s){folder}.*{said}"):
        AudioTeacher.from_folder(folder)


@pytest.mark.parametrize("layer", [4, -1])
def test_a_layer_that_is_not_there_names_those_that_are(folder: Path, layer: int) -> None:
    with pytest.raises(TeacherError, match=rf"{folder}: .*no hidden state {layer}; .*0 .* to 3"):
        AudioTeacher.from_folder(folder, layer)


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        (np.zeros(0, np.float32), r"\(0,\)"),
        (np.zeros((2, 100), np.float32), r"\(2, 100\)"),
        (np.array([0.0, np.nan, np.inf], np.float32), "with 2 that are not finite"),
        (np.zeros(33_000, np.float32), r"hears 2 s at once, not 2\.06 s"),
    ],
)
def test_what_it_cannot_hear_is_an_error(folder: Path, sound: np.ndarray, said: str) -> None:
    with pytest.raises(TeacherError, match=said):
        AudioTeacher.from_folder(folder).features(sound, 16_000)


@pytest.mark.skipif(not WHISPER.is_dir(), reason="the shared folder is not here")
def test_whispers_own_weights_give_what_transformers_gives() -> None:
    teacher = AudioTeacher.from_folder(WHISPER)
    assert teacher.longest_s == 30
    sound = voice(32_000)
    states, _ = reference(teacher.encoder, sound)
    torch.testing.assert_close(teacher.features(sound, 16_000), states[3], atol=1e-3, rtol=0)
