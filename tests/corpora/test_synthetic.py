"""Made clips are real files, the same for the same seed, and ambiguous where they should be."""

import csv
import json
from dataclasses import replace

import av
import numpy as np
import pytest

from claip_emo.corpora.synthetic import make_clip, make_corpus
from claip_emo.corpora.synthetic_face import EXPRESSIONS, Person, draw_frames
from claip_emo.corpora.synthetic_voice import (
    HARMONICS,
    MANNERS,
    STEP,
    Phrasing,
    Voice,
    _harmonics,
    _resonance,
    speak,
)
from claip_emo.labels import SEVEN

SMALL = {
    "people": 4,
    "clips_per_emotion": 1,
    "test_people": 1,
    "validation_people": 1,
    "size_px": 32,
    "duration_s": 0.5,
}


def decoded(path) -> tuple[np.ndarray, np.ndarray]:
    with av.open(str(path)) as container:
        frames = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    with av.open(str(path)) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    return frames, sound


def test_a_clip_is_h264_and_aac(tmp_path) -> None:
    path = make_clip(tmp_path / "a.mp4", person=1, emotion="anger", duration_s=1.0)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, video.frames) == (96, 96, 12)
        assert audio.rate == 48_000
        assert video.codec_context.pix_fmt == "yuv420p"
        assert audio.codec_context.layout.name == "mono"
        assert float(video.duration * video.time_base) == pytest.approx(1.0)
        assert float(audio.duration * audio.time_base) == pytest.approx(1.0, abs=0.03)
    frames, sound = decoded(path)
    assert frames.shape == (12, 96, 96, 3)
    assert frames.std() > 20
    assert np.abs(sound).max() > 0.05


def test_a_clip_of_one_modality(tmp_path) -> None:
    told = {"person": 1, "emotion": "anger", "duration_s": 0.5}
    silent = make_clip(tmp_path / "v.mp4", **told, with_audio=False)
    heard = make_clip(tmp_path / "a.mp4", **told, with_video=False)
    for path, counts in ((silent, (1, 0)), (heard, (0, 1))):
        with av.open(str(path)) as container:
            assert (len(container.streams.video), len(container.streams.audio)) == counts


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"size_px": 33}, "must be even"),
        ({"duration_s": 0.0}, "at least one frame"),
        ({"with_video": False, "with_audio": False}, "picture or sound"),
        ({"emotion": "angre"}, "Did you mean 'anger'"),
    ],
)
def test_clips_that_cannot_be_made(tmp_path, wrong, says) -> None:
    with pytest.raises(ValueError, match=says):
        make_clip(tmp_path / "x.mp4", **{"person": 0, "emotion": "anger"} | wrong)
    assert not list(tmp_path.iterdir())


def test_the_seed_decides(tmp_path) -> None:
    clips = [
        decoded(make_clip(tmp_path / f"{n}.mp4", person=1, emotion="fear", seed=s, duration_s=0.5))
        for n, s in enumerate((3, 3, 4))
    ]
    assert np.array_equal(clips[0][0], clips[1][0])
    assert np.array_equal(clips[0][1], clips[1][1])
    assert not np.array_equal(clips[0][0], clips[2][0])


def test_a_clip_is_the_same_however_often_it_is_made(tmp_path) -> None:
    # Memory that was in use before differs between turns; an encoder must not care.
    clutter, made = [], set()
    for turn in range(25):
        clutter.append(bytes(1 + 7_919 * turn))
        path = make_clip(tmp_path / "a.mp4", person=2, emotion="anger", duration_s=1.0)
        made.add(path.read_bytes())
    assert len(made) == 1


def test_pairs_look_or_sound_alike_and_no_pair_does_both() -> None:
    def pairs(table: dict) -> set[frozenset]:
        return {frozenset((a, b)) for a in SEVEN for b in SEVEN if a != b and table[a] == table[b]}

    look, sound = pairs(EXPRESSIONS), pairs(MANNERS)
    assert len(look) == len(sound) == 2
    assert not look & sound


def test_pairs_that_look_alike_are_drawn_alike_and_others_differ() -> None:
    person = Person.drawn(np.random.default_rng(0))
    drawn = {
        e: draw_frames(person, e, np.random.default_rng(1), count=6, size_px=64)[-1].astype(int)
        for e in SEVEN
    }
    assert np.array_equal(drawn["fear"], drawn["surprise"])
    assert np.array_equal(drawn["sadness"], drawn["neutral"])
    for one, other in (("happiness", "anger"), ("fear", "neutral"), ("disgust", "sadness")):
        assert np.abs(drawn[one] - drawn[other]).max() > 80


def test_the_mouth_tells_nothing_of_the_voices_tempo(tmp_path, monkeypatch) -> None:
    told = {"person": 2, "emotion": "fear", "duration_s": 1.0, "size_px": 48}
    frames, sound = decoded(make_clip(tmp_path / "a.mp4", **told))
    monkeypatch.setitem(MANNERS, "fear", replace(MANNERS["fear"], tempo_hz=2.0))
    slow_frames, slow_sound = decoded(make_clip(tmp_path / "b.mp4", **told))
    assert np.array_equal(frames, slow_frames)
    assert not np.array_equal(sound, slow_sound)


def test_the_mouth_rests_where_the_voice_pauses() -> None:
    phrasing = Phrasing(np.array([[0.8, 1.1]]), flap_hz=3.0)
    mouth = phrasing.mouth(20, 2.0)  # a frame is 0.1 s
    assert not mouth[8:11].any()
    assert mouth[2:7].max() > 0.9
    voice = Voice.drawn(np.random.default_rng(0))
    sound = speak(voice, "anger", np.random.default_rng(1), 2.0, phrasing)
    assert np.abs(sound[int(0.85 * 48_000) : int(1.05 * 48_000)]).max() < 1e-6
    assert np.abs(sound[: int(0.7 * 48_000)]).max() > 0.1


def test_pauses_are_drawn_alike_for_all() -> None:
    drawn = [Phrasing.drawn(np.random.default_rng(i), 2.0) for i in range(200)]
    assert {len(p.pauses_s) for p in drawn} == {0, 1, 2}
    assert all((p.pauses_s >= 0.2).all() and (p.pauses_s <= 1.8).all() for p in drawn)
    assert len(Phrasing.drawn(np.random.default_rng(0), 0.3).pauses_s) == 0


def test_harmonics_are_a_sum_of_sines() -> None:
    count, brightness = 16_000, 0.5
    f0 = np.linspace(150, 190, count)
    steps = np.minimum(np.arange(count // STEP + 1) * STEP, count - 1)
    formants = np.linspace([700, 1100, 2400], [400, 1900, 2500], len(steps))
    made = _harmonics(f0, f0[steps], formants, brightness)

    phase = 2 * np.pi * np.cumsum(f0) / 16_000
    naive = np.zeros(count)
    for n in range(1, HARMONICS + 1):
        gain = n ** (brightness - 1.6) * _resonance(n * f0[None, steps], formants)[0]
        naive += np.interp(np.arange(count), steps, gain) * np.sin(n * phase)
    assert np.abs(made - naive).max() < 0.01 * np.abs(naive).max()


@pytest.mark.parametrize("emotion", SEVEN)
def test_the_pitch_is_the_manners(emotion: str) -> None:
    manner, voice = MANNERS[emotion], Voice(pitch_hz=160, tract=1.0)
    sound = speak(voice, emotion, np.random.default_rng(3), 2.0, Phrasing(np.empty((0, 2)), 3.0))
    piece = sound[int(0.1 * 48_000) : int(0.9 * 48_000)].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(piece, 1 << 17)) ** 2
    similar = np.fft.irfft(spectrum)  # autocorrelation
    swing = 1 + manner.swing * 2 / np.pi  # mean of half a sine
    expected = 48_000 / (160 * manner.pitch * manner.glide**0.25 * swing)  # samples per period
    lags = np.arange(int(expected * 0.75), int(expected * 1.3))
    period = lags[np.argmax(similar[lags])]
    assert period == pytest.approx(expected, rel=0.15)


def test_loudness_and_pitch_carry_the_emotion() -> None:
    voice = Voice.drawn(np.random.default_rng(0))
    said = {e: speak(voice, e, np.random.default_rng(1), 2.0) for e in SEVEN}
    level = {e: float(np.sqrt((s**2).mean())) for e, s in said.items()}
    assert level["anger"] > 2 * level["neutral"] > 2 * level["sadness"]
    assert np.array_equal(said["anger"], said["happiness"])
    assert all(np.abs(s).max() <= 1 for s in said.values())


def test_a_corpus_has_people_of_its_own_in_every_part(tmp_path) -> None:
    told: list[tuple[int, int]] = []
    table = make_corpus(tmp_path, **SMALL, progress=lambda done, total: told.append((done, total)))
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 4 * 7
    assert told[-1] == (28, 28)
    people = {p: {r["speaker"] for r in rows if r["split"] == p} for p in ("train", "test")}
    assert people == {"train": {"person00", "person01"}, "test": {"person03"}}
    assert all((tmp_path / row["path"]).is_file() for row in rows)
    fear = next(row for row in rows if row["label"] == "fear")
    assert fear["face_looks_like"] == "surprise or fear"
    assert fear["voice_sounds_like"] == "fear"


def test_two_processes_make_what_one_makes(tmp_path) -> None:
    one = make_corpus(tmp_path / "one", **SMALL, processes=1)
    two = make_corpus(tmp_path / "two", **SMALL, processes=2)
    assert one.read_bytes() == two.read_bytes()
    for path in sorted((one.parent / "clips").iterdir()):
        assert path.read_bytes() == (two.parent / "clips" / path.name).read_bytes()
    assert {p.name for p in one.parent.iterdir()} == {"clips", "clips.csv", "clips.json"}


def test_a_complete_corpus_is_not_made_again_and_a_half_one_is_completed(tmp_path) -> None:
    table = make_corpus(tmp_path, **SMALL, processes=1)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "clips").iterdir()}
    make_corpus(tmp_path, **SMALL)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "clips").iterdir()}
    gone = sorted(before)[5]
    content = gone.read_bytes()
    gone.unlink()
    table.unlink()  # the run was killed before the table was written
    make_corpus(tmp_path, **SMALL)
    assert np.array_equal(decoded(gone)[0].shape[1:], (32, 32, 3))
    assert len(gone.read_bytes()) == len(content)
    others = {p for p in before if p != gone}
    assert all(p.stat().st_mtime_ns == before[p] for p in others)
    make_corpus(tmp_path, **SMALL | {"seed": 5})
    assert all(p.stat().st_mtime_ns != before[p] for p in others)


@pytest.mark.parametrize("settings", ['{"people": 4,', "[]", None])
def test_settings_that_cannot_be_read_are_no_settings(tmp_path, settings) -> None:
    tiny = SMALL | {"people": 3}
    make_corpus(tmp_path, **tiny, processes=1)
    stored = tmp_path / "clips.json"
    stored.unlink() if settings is None else stored.write_text(settings)
    stale = next((tmp_path / "clips").iterdir())
    stale.write_bytes(b"of another corpus")
    make_corpus(tmp_path, **tiny, processes=1)
    assert stale.stat().st_size > 1000
    assert json.loads(stored.read_text())["people"] == 3


def test_a_clip_that_was_lost_is_made_again(tmp_path) -> None:
    tiny = SMALL | {"people": 3}
    make_corpus(tmp_path, **tiny, processes=1)
    lost = sorted((tmp_path / "clips").iterdir())[3]
    lost.unlink()
    assert make_corpus(tmp_path, **tiny, processes=1).is_file()
    assert lost.is_file()


def test_somebody_must_be_left_to_train_on(tmp_path) -> None:
    with pytest.raises(ValueError, match="Nobody is left"):
        make_corpus(tmp_path, **SMALL | {"people": 2})
