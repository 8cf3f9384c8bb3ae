"""What is seen and heard in NumPy is what the processor makes of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from claip_emo.model.folded_inputs import Inputs
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.processor_settings import ProcessorSettings

SOUND = {"audio_s": 1.0}


@pytest.mark.parametrize(
    "changes",
    [
        SOUND,
        SOUND | {"audio_fill": "tile"},
        SOUND | {"mel_mode": "rand_trunc"},
        SOUND | {"audio_trim_db": 35.0, "audio_rms": 0.05},
        SOUND | {"audio_trim_db": 20.0, "audio_fill": "tile", "audio_window_s": 0.4},
        {"audio_s": 0.4, "audio_window_s": 0.15, "audio_rms": 0.1},
    ],
)
@pytest.mark.parametrize("length", [1, 700, 24_100, 48_000, 70_000])
def test_sound_is_heard_as_by_the_processor(changes, length) -> None:
    settings = replace(ProcessorSettings(), **changes)
    rng = np.random.default_rng(length)
    loudness = 10 ** np.interp(np.arange(length), [0, 15_000, 30_000], [-5, -1, -4])
    samples = (loudness * rng.normal(size=length)).astype(np.float32)
    mine = Inputs(settings).hear(samples)
    padded = np.pad(samples, (0, 300))[None]
    heard = ClaipEmoProcessor(settings).hear(torch.from_numpy(padded), torch.tensor([length]))
    assert mine.shape == settings.mel_shape
    np.testing.assert_allclose(mine, heard[0].numpy(), atol=2e-3)


def test_silence_is_heard_as_by_the_processor() -> None:
    settings = replace(ProcessorSettings(), **SOUND, audio_trim_db=35.0, audio_rms=0.05)
    silence = np.zeros(5000, np.float32)
    heard = ClaipEmoProcessor(settings).hear(torch.from_numpy(silence)[None])
    np.testing.assert_array_equal(Inputs(settings).hear(silence), heard[0].numpy())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image_channels": 1},
        {"image_normalisation": "per_crop"},
        {"image_channels": 1, "image_normalisation": "per_crop"},
        {"image_size_px": 31},
    ],
)
@pytest.mark.parametrize("shape", [(32, 32), (48, 64), (91, 40), (20, 24)])
def test_frames_are_seen_as_by_the_processor(changes, shape) -> None:
    settings = replace(ProcessorSettings(image_size_px=32), **changes)
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    frames[1] = 7  # of one colour: its deviation is 0
    seen = ClaipEmoProcessor(settings)(torch.from_numpy(frames)[None])["pixel_values"][0]
    mine = Inputs(settings).see(frames).transpose(0, 3, 1, 2)
    assert mine.shape == seen.shape
    apart = np.abs(mine - seen.numpy())
    assert np.median(apart) < 1e-5
    # The scaled picture is rounded to bytes: a sum at the half may fall to either side.
    assert (apart > 1e-4).mean() < (2e-3 if shape != (settings.image_size_px,) * 2 else 1e-9)
    assert apart.max() < 0.2


def test_what_is_not_a_number_is_heard_as_silence() -> None:
    inputs = Inputs(replace(ProcessorSettings(), **SOUND, audio_trim_db=35.0))
    heard = inputs.hear(np.full(5000, np.nan, np.float32))
    np.testing.assert_array_equal(heard, inputs.hear(np.zeros(5000, np.float32)))
