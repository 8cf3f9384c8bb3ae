"""The sound of a file on its grid: pieces, whatever its length, and what is near a time."""

import numpy as np
import pytest

from claip_emo.corpora.synthetic_voice import RATE_HZ, Voice, speak
from claip_emo.inference.voice import AT_ONCE, listen, pieces
from claip_emo.media import recording
from claip_emo.media.source import open_source

from ..media.make_media import ramp, write
from ..media.test_odd_files import wav

RATE = 8000
PIECE_S = 1.0


class Mean:
    """An encoder whose feature of a piece is its mean, its length and its last sample."""

    def __init__(self) -> None:
        self.widths = {"vision": 2, "audio": 3}
        self.calls: list[int] = []

    def encode(self, frames=(), sounds=()):
        self.calls.append(len(sounds))
        rows = [(s.mean(), len(s), s[-1]) for s in sounds]
        return np.zeros((0, 2), np.float32), np.array(rows, np.float32).reshape(-1, 3)


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, samples).astype(np.float32)


def cut(sound: np.ndarray, length: int, hop: int) -> list[tuple[float, np.ndarray]]:
    """What pieces are, with all of the sound at hand: their middles in samples."""
    starts = list(range(0, max(1, len(sound) - length + 1), hop))
    if starts[-1] + length < len(sound):
        starts.append(len(sound) - length)
    return [((s + min(s + length, len(sound))) / 2, sound[s : s + length]) for s in starts]


def same(found, wanted, begin_s: float = 0.0) -> None:
    assert [len(piece) for _, piece in found] == [len(piece) for _, piece in wanted]
    middles = [begin_s + middle / RATE for middle, _ in wanted]
    np.testing.assert_allclose([centre for centre, _ in found], middles, atol=1e-6)
    for (_, piece), (_, other) in zip(found, wanted, strict=True):
        assert piece.dtype == np.float32
        np.testing.assert_allclose(piece, other, atol=1e-4)


@pytest.mark.parametrize(
    "samples", [1, 900, 7999, 8000, 8001, 11_999, 12_000, 12_001, 16_000, 20_500, 40_000]
)
@pytest.mark.parametrize("section_s", [300.0, 0.7])
def test_pieces_are_slices_of_the_whole(tmp_path, monkeypatch, samples, section_s) -> None:
    """In sections of 0.7 s pieces reach over their borders."""
    monkeypatch.setattr(recording, "SECTION_S", section_s)
    sound = noise(samples)
    source = open_source(wav(tmp_path / "a.wav", sound, rate=RATE))
    found = list(pieces(source, RATE, PIECE_S))
    same(found, cut(sound, 8000, 4000))
    covered = {round(c * RATE - len(p) / 2) + i for c, p in found for i in (0, len(p) - 1)}
    assert min(covered) == 0
    assert max(covered) == samples - 1


def test_a_few_pieces_by_hand(tmp_path) -> None:
    source = open_source(wav(tmp_path / "a.wav", noise(20_000), rate=RATE))
    found = list(pieces(source, RATE, PIECE_S))
    assert [centre for centre, _ in found] == [0.5, 1.0, 1.5, 2.0]
    assert [len(piece) for _, piece in found] == [8000] * 4


def test_middles_are_on_the_clock(tmp_path) -> None:
    path = write(tmp_path / "a.mkv", ramp(50), noise(24_000), rate=RATE, sound_start_s=1.0)
    source = open_source(path)
    found = list(pieces(source, RATE, PIECE_S))
    assert found[0][0] == pytest.approx(source.sound_s[0] + 0.5)
    assert source.sound_s[0] > 0.8


def test_a_sound_of_hours_holds_two_sections_at_most(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(recording, "SECTION_S", 1.0)
    source = open_source(wav(tmp_path / "a.wav", noise(80_000), rate=RATE))
    sizes, join = [], np.concatenate

    def noted(parts, *rest, **how):
        whole = join(parts, *rest, **how)
        sizes.append(len(whole))
        return whole

    monkeypatch.setattr(np, "concatenate", noted)
    assert len(list(pieces(source, RATE, PIECE_S))) == 19
    assert max(sizes) <= 3 * RATE


def test_all_is_heard_once_some_at_a_time(tmp_path) -> None:
    model, told = Mean(), []
    source = open_source(wav(tmp_path / "a.wav", noise(8000 + 4000 * 12), rate=RATE))
    voice = listen(model, source, RATE, PIECE_S, told.append)
    assert sum(model.calls) == 13
    assert max(model.calls) == AT_ONCE
    assert voice.features.shape == (13, 3)
    assert voice.there.all()
    assert not voice.speaks
    assert told == sorted(told)
    np.testing.assert_allclose(voice.centres_s, 0.5 + 0.5 * np.arange(13))


def test_no_sound_is_nothing(tmp_path) -> None:
    model = Mean()
    voice = listen(model, open_source(write(tmp_path / "a.mp4", ramp(3))), RATE, 1.0, print)
    assert model.calls == []
    features, there = voice.near(np.array([0.0, 5.0]))
    assert features.shape == (2, 3)
    assert not features.any()
    assert not there.any()


def test_the_nearest_piece_is_taken_and_silence_is_none(tmp_path) -> None:
    sound = np.concatenate([np.full(8000, 0.25), np.zeros(12_000), np.full(8000, -0.5)])
    source = open_source(wav(tmp_path / "a.wav", sound.astype(np.float32), rate=RATE))
    voice = listen(Mean(), source, RATE, PIECE_S, lambda _: None)
    assert voice.there.tolist() == [True, True, False, False, True, True]
    features, there = voice.near(np.array([0.4, 1.0, 1.4, 1.6, 3.4]))
    np.testing.assert_allclose(features[:, 0], [0.25, 0.125, 0, 0, -0.5], atol=1e-3)
    assert there.tolist() == [True, True, False, False, True]


def test_there_is_no_voice_after_its_end_and_before_its_start(tmp_path) -> None:
    path = write(tmp_path / "a.mkv", ramp(100), noise(16_000), rate=RATE, sound_start_s=1.0)
    voice = listen(Mean(), open_source(path), RATE, PIECE_S, lambda _: None)
    times = np.array([0.2, 0.8, 1.1, 2.0, 2.9, 3.2, 3.9])
    features, there = voice.near(times)
    assert there.tolist() == [False, False, True, True, True, False, False]
    assert features.any(axis=1).tolist() == there.tolist()


def test_speech_in_one_piece_is_speech(tmp_path) -> None:
    rng = np.random.default_rng(0)
    said = speak(Voice.drawn(rng), "happiness", rng, 1.5)
    sound = np.concatenate([np.zeros(3 * RATE_HZ, np.float32), said])
    source = open_source(wav(tmp_path / "a.wav", sound))
    assert listen(Mean(), source, RATE_HZ, PIECE_S, lambda _: None).speaks
