"""Made clips are real files, the same for the same seed, and ambiguous where they should be."""

import csv

import av
import numpy as np
import pytest

from claip_emo.corpora.synthetic import make_clip, make_corpus
from claip_emo.corpora.synthetic_face import EXPRESSIONS, Person, draw_frames
from claip_emo.corpora.synthetic_voice import MANNERS, Voice, speak
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
        assert float(video.duration * video.time_base) == pytest.approx(1.0)
    frames, sound = decoded(path)
    assert frames.std() > 20
    assert np.abs(sound).max() > 0.05


def test_the_seed_decides(tmp_path) -> None:
    clips = [
        decoded(make_clip(tmp_path / f"{n}.mp4", person=1, emotion="fear", seed=s, duration_s=0.5))
        for n, s in enumerate((3, 3, 4))
    ]
    assert np.array_equal(clips[0][0], clips[1][0])
    assert np.array_equal(clips[0][1], clips[1][1])
    assert not np.array_equal(clips[0][0], clips[2][0])


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


def test_somebody_must_be_left_to_train_on(tmp_path) -> None:
    with pytest.raises(ValueError, match="Nobody is left"):
        make_corpus(tmp_path, **SMALL | {"people": 2})
