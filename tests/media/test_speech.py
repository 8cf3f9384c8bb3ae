"""Whether somebody speaks: made voices do; tones, hum, noise, clicks and silence do not."""

import numpy as np
import pytest

from claip_emo.corpora.synthetic_voice import MANNERS, RATE_HZ, Voice, speak
from claip_emo.media.speech import FRAME_S, has_speech, pitches_of

from .make_media import clicks, tone

RNG = np.random.default_rng


def voice(emotion: str, seed: int = 0, seconds: float = 2.0) -> np.ndarray:
    rng = RNG(seed)
    return speak(Voice.drawn(rng), emotion, rng, seconds)


def hum(seconds: float, hertz: float = 50.0) -> np.ndarray:
    """Mains hum with its overtones."""
    time = np.arange(round(seconds * 48_000)) / 48_000
    waves = (np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 8))
    return (0.2 * sum(waves)).astype(np.float32)


@pytest.mark.parametrize("emotion", sorted({*MANNERS} - {"anger", "neutral"}))
@pytest.mark.parametrize("seed", [0, 3])
def test_made_voices_speak(emotion: str, seed: int) -> None:
    assert has_speech(voice(emotion, seed), RATE_HZ)


@pytest.mark.parametrize("gain", [1.0, 0.05, 0.005])
def test_a_voice_in_noise_or_far_away_speaks(gain: float) -> None:
    noise = RNG(0).normal(0, 0.005, 2 * RATE_HZ).astype(np.float32)
    assert has_speech((voice("happiness") + noise) * np.float32(gain), RATE_HZ)


def test_a_voice_after_a_long_silence_speaks() -> None:
    quiet = np.zeros(5 * RATE_HZ, np.float32)
    assert has_speech(np.concatenate([quiet, voice("surprise", seconds=1.0), quiet]), RATE_HZ)


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(96_000, np.float32),
        tone(2.0, hertz=150),
        tone(2.0, hertz=440),
        tone(2.0, hertz=3000),
        hum(2.0),
        hum(2.0, 60.0),
        hum(2.0, 120.0),
        clicks(2.0, [0.3, 0.9, 1.5]),
        clicks(2.0, [0.1 * n for n in range(20)]),
        np.full(96_000, 0.5, np.float32),
        np.sign(tone(2.0, hertz=200)) * np.float32(0.5),
        1e-5 * voice("happiness"),
    ],
    ids=["silence", "150", "440", "3000", "hum50", "hum60", "hum120", "clicks", "ticks", "offset",
         "square", "faint"],
)  # fmt: skip
def test_what_is_no_voice(sound: np.ndarray) -> None:
    assert not has_speech(sound, 48_000)


@pytest.mark.parametrize("seed", range(4))
def test_noise_does_not_speak(seed: int) -> None:
    white = RNG(seed).normal(0, 0.1, 96_000)
    brown = np.cumsum(white) / 100
    pink = np.convolve(white, np.ones(24) / 24, "same")
    for noise in (white, brown - brown.mean(), pink):
        assert not has_speech(noise.astype(np.float32), 48_000)


@pytest.mark.parametrize("count", [0, 1, 100, 1900, 3000])
def test_too_short_for_a_syllable(count: int) -> None:
    assert not has_speech(voice("happiness")[20_000 : 20_000 + count], RATE_HZ)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("hertz", [90.0, 150.0, 300.0])
def test_the_pitch_of_a_tone_is_its_own(rate: int, hertz: float) -> None:
    found = pitches_of(tone(1.0, rate, hertz), rate)
    assert len(found) > 40
    np.testing.assert_allclose(found, hertz, rtol=0.03)


def test_a_gliding_tone_is_followed() -> None:
    time = np.arange(96_000) / 48_000
    phase = 2 * np.pi * (100 * time + 50 * time**2 / 2)  # from 100 to 200 Hz in 2 s
    found = pitches_of(np.sin(phase).astype(np.float32), 48_000)
    wanted = 100 + 50 * (FRAME_S / 2 + 0.02 * np.arange(len(found)))
    np.testing.assert_allclose(found, wanted, rtol=0.03)
    assert has_speech(np.sin(phase).astype(np.float32), 48_000)  # music may count as a voice


def test_rates_of_all_kinds_agree() -> None:
    sound = voice("happiness")
    for step in (1, 2, 3):
        assert has_speech(sound[::step], RATE_HZ // step)
