"""The world between a voice and its recording: what was drawn is what is measured."""

import av
import numpy as np
import pytest

from claip_emo.data import voice_world
from claip_emo.data.voice_world import CODECS, VoiceWorld, coloured_noise, stretched, voiced_level
from claip_emo.pretrain_recipe import VoiceWorldRecipe
from tests.media.make_media import tone

RATE = 48_000
OFF = {
    "speed": (1, 1),
    "pitch": 0,
    "noise": 0,
    "babble": 0,
    "music": 0,
    "reverberation": 0,
    "equaliser": 0,
    "band": 0,
    "codec": 0,
    "level_db": (0, 0),
}


def world(rate: int = RATE, **changes) -> VoiceWorld:
    return VoiceWorld(VoiceWorldRecipe(**{**OFF, **changes}), rate)


def drawn(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def voice(seed: int = 5, seconds: float = 1.5) -> np.ndarray:
    """Noise in syllables, with a pause of a quarter of its length."""
    count = round(seconds * RATE)
    sound = 0.05 * drawn(seed).standard_normal(count, np.float32)
    sound *= 0.6 + 0.4 * np.sin(np.arange(count, dtype=np.float32) * (8 * np.pi / RATE))
    sound[count // 2 : count // 2 + count // 4] = 0
    return sound


def click(seconds: float = 1.0) -> np.ndarray:
    sound = np.zeros(round(seconds * RATE), np.float32)
    sound[0] = 0.5
    return sound


def decibels(power: np.ndarray | float) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 1e-30))


def rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.square(sound, dtype=np.float64).mean()))


def fundamental(sound: np.ndarray) -> float:
    middle = sound[len(sound) // 8 : -len(sound) // 8]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 20))
    return float(spectrum.argmax()) * RATE / (1 << 20)


def test_what_is_switched_off_leaves_the_samples_as_they_are() -> None:
    sound = voice()
    sound[:4] = [1, -1, 0.999, 0]
    out = world()(sound, drawn(), [voice(6)])
    assert np.array_equal(out, sound)
    assert not np.shares_memory(out, sound)


@pytest.mark.parametrize("rate", [RATE, 16_000])
@pytest.mark.parametrize("count", [0, 1, 5, 700, 4801])
def test_any_length_is_recorded_and_the_input_stays(count: int, rate: int) -> None:
    everything = VoiceWorldRecipe(
        speed=(1, 1),
        **dict.fromkeys(("pitch", "noise", "babble", "music", "reverberation", "equaliser"), 1),
        band=1,
        codec=1,
    )
    sound = voice()[:count]
    before = sound.copy()
    for seed in range(3):  # of three codecs
        out = VoiceWorld(everything, rate)(sound, drawn(seed), [voice(6), voice(7)[:3]])
        assert out.dtype == np.float32
        assert out.shape == (count,)
        assert np.isfinite(out).all()
        assert np.abs(out).max(initial=0) <= 1
    assert np.array_equal(sound, before)


def test_silence_stays_silent_under_noise() -> None:
    out = world(noise=1, babble=1, music=1)(np.zeros(RATE, np.float32), drawn(), [voice()])
    assert not out.any()


def test_the_same_state_gives_the_same_bytes() -> None:
    default = VoiceWorld(VoiceWorldRecipe(codec=0.5), RATE)
    others = [voice(seed) for seed in range(8)]
    first, again = ([default(voice(), rng, others) for _ in range(6)] for rng in (drawn(), drawn()))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(default(voice(), drawn(1), others), first[0])


@pytest.mark.parametrize("speed", [0.88, 1.12])
def test_speed_changes_length_and_pitch(speed: float) -> None:
    out = world(speed=(speed, speed))(tone(1.0), drawn())
    assert len(out) == round(RATE / speed)
    assert fundamental(out) == pytest.approx(440 * speed, rel=0.002)
    assert rms(out[2000:-2000]) == pytest.approx(rms(tone(1.0)), rel=0.01)


@pytest.mark.parametrize("hertz", [120.0, 440.0])
def test_pitch_moves_by_semitones_and_keeps_the_length(hertz: float) -> None:
    shifts = []
    for seed in range(8):
        out = world(pitch=1, pitch_semitones=4)(tone(1.0, hertz=hertz), drawn(seed))
        assert len(out) == RATE
        assert rms(out[3000:-3000]) == pytest.approx(rms(tone(1.0)), rel=0.05)
        expected = drawn(seed)
        expected.random(2)  # speed, and whether the pitch is shifted
        shifts.append(12 * np.log2(fundamental(out) / hertz))
        assert shifts[-1] == pytest.approx(expected.uniform(-4, 4), abs=0.05)
    assert min(shifts) < -1
    assert max(shifts) > 1


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_stretched_sound_has_its_parts_where_they_belong(factor: float) -> None:
    sound = np.zeros(RATE, np.float32)
    for at in (0, 18_000, 40_000):  # bursts of 50 ms
        sound[at : at + 2400] = tone(0.05, hertz=500)
    out = stretched(sound, factor, RATE)
    assert len(out) == round(RATE * factor)
    power = np.square(out)
    late = []
    for at in (0, 18_000, 40_000):
        around = slice(max(0, round(at * factor) - 3_000), round((at + 2400) * factor) + 3_000)
        index = np.arange(len(out))[around]
        late.append((index * power[around]).sum() / power[around].sum() - (at + 1200) * factor)
    assert np.abs(late).max() < 0.011 * RATE  # pieces are sought within 10 ms
    assert abs(np.mean(late)) < 0.006 * RATE
    assert power[round(9_000 * factor)] < 1e-6


@pytest.mark.parametrize("kinds", [("noise",), ("babble",), ("music",), ("noise", "music")])
@pytest.mark.parametrize("snr_db", [3.0, 20.0])
def test_the_level_of_the_voice_above_what_lies_behind_is_the_drawn_one(
    kinds: tuple[str, ...], snr_db: float
) -> None:
    sound = voice()
    spoken = np.concatenate([sound[: len(sound) // 2], sound[len(sound) // 2 + len(sound) // 4 :]])
    behind = world(**dict.fromkeys(kinds, 1), snr_db=(snr_db, snr_db))
    out = behind(sound, drawn(3), [voice(seed) for seed in range(6, 12)])
    measured = 20 * np.log10(rms(spoken) / rms(out - sound))
    assert measured == pytest.approx(snr_db, abs=0.5)


def test_pauses_do_not_count_as_level() -> None:
    loud = tone(0.5)
    assert voiced_level(np.concatenate([loud, 0 * loud]), RATE) == pytest.approx(rms(loud), 0.01)


@pytest.mark.parametrize(("slope", "per_octave"), [(0.0, 0.0), (1.0, -3.01), (2.0, -6.02)])
def test_noise_falls_as_its_colour_says(slope: float, per_octave: float) -> None:
    power = np.abs(np.fft.rfft(coloured_noise(4 * RATE, slope, RATE, drawn()))) ** 2  # 0.25 Hz
    octaves = [power[4 * low : 8 * low].mean() for low in (200, 400, 800, 1600, 3200, 6400)]
    fall = np.diff(decibels(np.array(octaves)))
    assert fall.mean() == pytest.approx(per_octave, abs=0.3)


def test_babble_is_made_of_three_to_eight_of_the_others() -> None:
    others = [tone(0.5, hertz=300.0 + 100 * number) for number in range(12)]
    counts = set()
    for seed in range(40):
        out = voice_world.babble(others, RATE, drawn(seed))
        spectrum = np.abs(np.fft.rfft(out))  # 1 Hz
        heard = spectrum[300:1500:100] > 0.2 * spectrum.max()
        counts.add(int(heard.sum()))
    assert counts == {3, 4, 5, 6, 7, 8}


def test_without_others_there_is_no_babble() -> None:
    assert np.array_equal(world(babble=1)(voice(), drawn(), []), voice())


def test_music_is_made_of_tones() -> None:
    out = voice_world.music(2 * RATE, RATE, drawn(2))
    power = np.sort(np.abs(np.fft.rfft(out * np.hanning(len(out)))) ** 2)[::-1]
    assert power[: len(power) // 50].sum() > 0.95 * power.sum()
    assert rms(out[-RATE // 4 :]) > 0


@pytest.mark.parametrize("decay_s", [0.2, 0.6])
def test_a_room_decays_in_the_drawn_time(decay_s: float) -> None:
    out = world(reverberation=1, decay_s=(decay_s, decay_s))(click(), drawn())
    left = np.cumsum(np.square(out[1:], dtype=np.float64)[::-1])[::-1]  # Schroeder's integral
    level_db = decibels(left / left[0])
    begin, end = (int(np.argmax(level_db < limit)) for limit in (-5, -25))
    assert 3 * (end - begin) / RATE == pytest.approx(decay_s, rel=0.1)
    assert rms(out) == pytest.approx(rms(click()), rel=0.001)  # as loud as without the room
    assert out[0] == np.abs(out).max()  # the direct sound comes first


def test_direct_and_reverberant_sound_are_apart_as_drawn() -> None:
    for direct_db in (-3.0, 12.0):
        response = voice_world.room_response(0.5, direct_db, RATE, drawn())
        echoes = np.square(response[1:], dtype=np.float64).sum()
        assert decibels(response[0] ** 2 / echoes) == pytest.approx(direct_db, abs=0.05)


def test_nothing_comes_round_from_the_end_to_the_front() -> None:
    late = click()[::-1].copy()  # at the last sample
    everything = world(reverberation=1, decay_s=(0.8, 0.8), equaliser=1, band=1)
    for seed in range(5):
        out = everything(late, drawn(seed))
        assert rms(out[: RATE // 2]) < 1e-4 * rms(out[-RATE // 10 :])


def test_a_band_ends_where_it_was_drawn() -> None:
    limits = {"low_cut_hz": (300, 300), "high_cut_hz": (3400, 3400)}
    for seed in range(4):
        out = world(band=1, **limits)(np.roll(click(), RATE // 2), drawn(seed))
        gain_db = decibels(np.abs(np.fft.rfft(out)) ** 2 / 0.25)  # 1 Hz
        assert gain_db[300] == pytest.approx(-3, abs=0.6)
        assert gain_db[3400] == pytest.approx(-3, abs=0.6)
        assert np.abs(gain_db[700:2200]).max() < 0.5
        assert gain_db[:140].max() < -20
        assert gain_db[6800:].max() < -20


def test_a_microphone_has_a_band_and_an_equaliser() -> None:
    sound = np.roll(click(), RATE // 2)
    flat, coloured = (
        decibels(np.abs(np.fft.rfft(world(band=1, equaliser=share)(sound, drawn(1)))) ** 2)
        for share in (0, 1)
    )
    assert np.ptp(flat[700:2200]) < 1
    assert np.ptp(coloured[700:2200]) > 2
    assert coloured[14_000:].max() < coloured[1000] - 20


@pytest.mark.parametrize("order", [4, 24])
def test_a_band_falls_as_steeply_as_its_order_says(order: int) -> None:
    gain_db = decibels(voice_world.band(np.array([0.0, 150, 6800]), 300, 3400, order) ** 2)
    assert gain_db[1] == pytest.approx(-6.02 * order, abs=0.1)
    assert gain_db[2] == pytest.approx(-6.02 * order, abs=0.1)


def test_an_equaliser_stays_within_its_limit_and_is_smooth() -> None:
    widest = []
    for seed in range(6):
        out = world(equaliser=1, equaliser_db=8)(np.roll(click(), RATE // 2), drawn(seed))
        gain_db = decibels(np.abs(np.fft.rfft(out)) ** 2 / 0.25)
        assert np.abs(gain_db).max() < 8.1
        assert np.abs(np.diff(gain_db[200:])).max() < 0.3
        widest.append(np.ptp(gain_db))
    assert max(widest) > 8


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.encoder)
def test_a_codec_keeps_the_place_in_time_and_what_is_low(codec, monkeypatch) -> None:
    monkeypatch.setattr(voice_world, "CODECS", (codec,))
    sound = tone(0.8, hertz=700)
    sound[: RATE // 5] = 0
    sound[-RATE // 5 :] = 0
    out = world(codec=1)(sound, drawn())
    assert out.shape == sound.shape
    assert 0 < rms(out - sound) < 0.35 * rms(sound)
    hiss = voice(seconds=1.0)
    above = np.abs(np.fft.rfft(world(codec=1)(hiss, drawn()))[codec.rate_hz // 2 + 1000 :]) ** 2
    before = np.abs(np.fft.rfft(hiss)[codec.rate_hz // 2 + 1000 :]) ** 2
    assert above.sum() <= 1e-3 * before.sum()


def test_the_codecs_are_real_ones_where_they_were_built_in() -> None:
    built = {"libopus", "libmp3lame", "pcm_mulaw"} & set(av.codecs_available)
    assert {codec.encoder for codec in CODECS} == built


@pytest.mark.parametrize("level_db", [-25.0, -6.0, 20.0])
def test_the_level_is_the_drawn_one_and_what_exceeds_full_scale_is_clipped(
    level_db: float,
) -> None:
    out = world(level_db=(level_db, level_db))(tone(0.1), drawn())
    gain = 10 ** (level_db / 20)
    assert out == pytest.approx(np.clip(tone(0.1) * gain, -1, 1), abs=1e-6)


def test_shares_are_shares_of_the_voices() -> None:
    sound = voice(seconds=0.2)
    touched = world(noise=0.25)
    rng = drawn()
    changed = sum(not np.array_equal(touched(sound, rng), sound) for _ in range(400))
    assert 70 <= changed <= 130
