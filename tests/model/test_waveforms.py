"""What happens to sound before its log-mel, where a checkpoint asks for it."""

from dataclasses import replace

import pytest
import torch

from claip_emo.model.processing import ClaipEmoProcessor, ProcessorSettings
from claip_emo.model.waveforms import filled, levelled, trimmed, windowed

RATE = 1000


def spoken(*parts: tuple[float, float]) -> torch.Tensor:
    """Return noise of levels: (seconds, amplitude) one after the other."""
    generator = torch.Generator().manual_seed(0)
    return torch.cat(
        [level * torch.randn(round(s * RATE), generator=generator) for s, level in parts]
    )


def test_silence_is_cut_off_at_both_ends_and_kept_between() -> None:
    sound = spoken((0.5, 1e-4), (0.4, 0.5), (0.6, 1e-4), (0.3, 0.5), (0.8, 1e-4))[None]

    heard, lengths = trimmed(sound, torch.tensor([2600]), rate_hz=RATE, below_db=35)

    assert lengths.item() == pytest.approx(1300 + 100, abs=25)  # 50 ms are kept at each end
    begin = 500 - 50
    assert torch.equal(heard[0, :1300], sound[0, begin : begin + 1300])
    assert not heard[0, lengths.item() :].any()


def test_each_waveform_is_cut_by_its_own_loudest_part() -> None:
    loud = spoken((0.2, 1e-3), (0.2, 0.5), (0.2, 1e-3))
    sounds = torch.stack([loud, loud / 100, torch.zeros_like(loud)])

    heard, lengths = trimmed(sounds, torch.tensor([600, 600, 600]), rate_hz=RATE, below_db=35)

    assert lengths[0] == lengths[1] == 300
    assert torch.allclose(heard[1] * 100, heard[0])
    assert lengths[2] == 600  # nothing is louder than silence: all of it stays


def test_what_lies_behind_the_length_is_neither_heard_nor_counted() -> None:
    sound = spoken((0.3, 0.1), (0.3, 10.0))[None]
    length = torch.tensor([300])

    heard, lengths = trimmed(sound, length, rate_hz=RATE, below_db=20)
    level = levelled(sound, length, rms=0.05)

    assert lengths.item() == 300
    assert torch.equal(heard[0, :300], sound[0, :300])
    assert level[0, :300].square().mean().sqrt().item() == pytest.approx(0.05, rel=1e-4)
    assert not level[0, 300:].any()


def test_silence_is_not_raised_without_end() -> None:
    assert not levelled(torch.zeros(1, 50), torch.tensor([50]), rms=0.05).any()
    assert levelled(torch.full((1, 50), 1e-9), torch.tensor([50]), rms=0.05).max() < 1e-5


def test_sound_is_tiled_to_the_end_or_padded_with_zeros() -> None:
    sound, length = torch.arange(1.0, 6.0)[None], torch.tensor([3])

    tiled = filled(sound, length, samples=8, tiled=True)
    padded = filled(sound, length, samples=8, tiled=False)

    assert tiled[0].tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
    assert padded[0].tolist() == [1, 2, 3, 1, 2, 3, 0, 0]
    assert not filled(sound, torch.tensor([0]), samples=8, tiled=True).any()


def test_windows_cover_the_whole_from_its_first_to_its_last_sample() -> None:
    windows = windowed(torch.arange(10.0)[None], window=4, count=3)

    assert windows[0].tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]


def test_a_view_is_heard_in_windows() -> None:
    settings = ProcessorSettings(
        audio_s=1.0, audio_window_s=0.4, audio_fill="tile", audio_rms=0.05, audio_trim_db=30
    )
    processor = ClaipEmoProcessor(settings)
    sound = torch.randn(2, 30_000, generator=torch.Generator().manual_seed(1))

    mels = processor(waveforms=sound)["input_features"]

    assert mels.shape == (2, *settings.mel_shape) == (2, 3, 41, 64)
    whole = processor.fill(sound)
    alone = processor.log_mel(whole[1:, 28_800 // 2 : 28_800 // 2 + 19_200])
    assert torch.equal(mels[1, 1], alone[0, 0])


def test_levels_make_loud_and_quiet_the_same() -> None:
    processor = ClaipEmoProcessor(ProcessorSettings(audio_s=0.5, audio_rms=0.05))
    sound = torch.randn(1, 24_000, generator=torch.Generator().manual_seed(1)) * 0.1

    loud, quiet = (processor(waveforms=sound * gain)["input_features"] for gain in (1, 0.01))

    assert torch.allclose(loud, quiet, atol=1e-3)


def test_a_window_longer_than_the_view_is_refused() -> None:
    with pytest.raises(ValueError, match="audio_window_s lies between 0 and audio_s"):
        replace(ProcessorSettings(), audio_window_s=11.0)
