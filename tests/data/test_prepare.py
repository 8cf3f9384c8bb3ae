"""Preparing: each thing once, whatever happens on the way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

import claip_emo.data.prepare as prepare_module
from claip_emo.data.cache import ClipCache
from claip_emo.data.prepare import prepare
from claip_emo.data.prepare_clip import Worker
from claip_emo.data.shards import PICTURES, DamagedShardError, Shelf
from claip_emo.media.clip import load_clip
from claip_emo.whole_files import written

from .detectors import SPEC, Bright, Deadly
from .prepared import assert_same, broken, dataset, film, made, sample, shards, voice

ALONE = """
import sys
from pathlib import Path
from claip_emo.corpora.base import Sample
from claip_emo.data import prepare as module
from claip_emo.data.cache import ClipCache
from tests.data.detectors import SPEC, Slow

module.CLIPS_PER_SHARD = 2  # without a guard: processes do not run the script again
clips = [Sample(path.name, path, "anger") for path in sorted(Path(sys.argv[1]).iterdir())]
done = module.prepare(ClipCache(Path(sys.argv[2]), SPEC, Slow()), clips, workers=1)
print(done.made, len(done.failed))
"""


def alone(clips: Path, cache: Path) -> subprocess.Popen:
    root = Path(__file__).parents[2]
    script = cache.parent / "alone.py"
    script.write_text(ALONE)
    return subprocess.Popen(
        [sys.executable, str(script), str(clips), str(cache)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for number in range(8):
        film(folder / f"{number}.mkv", 12 + number, 0.5, codec="ffv1")
    return folder


def rows(cache: Path, half: str) -> list[str]:
    found = []
    for shard in shards(cache, half):
        with pa.memory_map(str(shard)) as mapped:
            found += pa.ipc.open_file(mapped).read_all().column("clip").to_pylist()
    return found


def test_a_killed_run_goes_on_where_it_was(films, tmp_path) -> None:
    cache = tmp_path / "cache"
    running = alone(films, cache)
    while len(shards(cache)) < 2:
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    time.sleep(0.5)  # its process ends with it
    kept = shards(cache)
    before = rows(cache, "pictures")
    assert 0 < len(before) < 8
    again = alone(films, cache)
    assert again.communicate(timeout=60)[0].split() == [str(8 - len(before)), "0"]
    assert kept < shards(cache)
    for half in ("pictures", "sound"):
        names = rows(cache, half)
        assert len(names) == len(set(names)) == 8


def test_several_at_once_do_not_harm_each_other(films, tmp_path) -> None:
    both = [alone(films, tmp_path / "cache") for _ in range(2)]
    counts = []
    for running in both:
        made_here, failed = running.communicate(timeout=60)[0].split()
        counts.append(int(made_here))
        assert failed == "0"
        assert running.returncode == 0
    assert sum(counts) == 8  # each clip by one of them
    clips = [sample(path) for path in sorted(films.iterdir())]
    _, done = made(tmp_path / "cache", clips, detector=Bright())
    assert done.made == 0
    for half in ("pictures", "sound"):
        assert len(rows(tmp_path / "cache", half)) == 8


def test_an_interrupted_run_keeps_what_is_finished(films, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(prepare_module, "CLIPS_PER_SHARD", 2)
    clips = [sample(path) for path in sorted(films.iterdir())]
    cache = ClipCache(tmp_path, SPEC, None)

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="kept, and the same command goes on"):
        prepare(cache, clips, workers=1, progress=interrupt)
    there = len(rows(tmp_path, "pictures"))
    assert there
    assert not list(tmp_path.glob("*/.partial*"))
    assert made(tmp_path, clips)[1].made == 8 - there


def test_the_same_content_is_prepared_once(films, tmp_path) -> None:
    one = tmp_path / "one.mkv"
    shutil.copy(films / "0.mkv", one)
    clips = [sample(films / "0.mkv"), sample(one)]
    cache, done = made(tmp_path / "cache", clips)
    assert (done.clips, done.made) == (2, 1)
    assert done.nbytes == cache.recording(clips[0]).nbytes
    one.rename(tmp_path / "two.mkv")
    moved = sample(tmp_path / "two.mkv")
    cache, done = made(tmp_path / "cache", [moved])
    assert done.made == 0
    assert cache.recording(moved).path == str(moved.path)


def test_a_changed_file_is_prepared_anew(films, tmp_path) -> None:
    clip = film(tmp_path / "a.mkv", 20, 0.5, codec="ffv1")
    made(tmp_path / "cache", [clip])
    film(clip.path, 40, 0.5, codec="ffv1")
    stale = ClipCache(tmp_path / "cache", SPEC, None)
    assert_same(dataset([clip], stale)[0].clip, load_clip(clip.path, SPEC))
    cache, done = made(tmp_path / "cache", [clip])
    assert done.made == 1
    assert cache.recording(clip).frames.shape[0] == 40


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ({"face_margin": 0.5}, {"pictures"}),
        ({"size_px": 16}, {"pictures"}),
        ({"stride": 2}, {"pictures"}),
        ({"sampling_rate_hz": 16_000}, {"sound"}),
        ({"num_frames": 2, "audio_s": 0.2, "views": 1}, set()),
    ],
)
def test_a_changed_setting_makes_only_what_it_must(films, tmp_path, change, anew: set[str]) -> None:
    clips = [sample(films / "0.mkv")]
    made(tmp_path, clips, detector=Bright())
    before = shards(tmp_path)
    made(tmp_path, clips, replace(SPEC, **change), Bright())
    added = shards(tmp_path) - before
    assert {path.parent.name.split("-")[0] for path in added} == anew
    assert len(added) == len(anew)
    assert before <= shards(tmp_path)


def test_another_way_of_finding_faces_makes_other_pictures(films, tmp_path) -> None:
    clips = [sample(films / "0.mkv")]
    for detector in (None, Bright()):
        made(tmp_path, clips, detector=detector)
    assert len(shards(tmp_path, "pictures")) == 2
    assert len(shards(tmp_path, "sound")) == 1


def test_a_clip_that_failed_is_a_row_and_not_tried_again(films, tmp_path) -> None:
    clips = [broken(tmp_path / "b.mp4"), sample(films / "1.mkv"), sample(tmp_path / "gone.mp4")]
    told = []
    cache = ClipCache(tmp_path / "cache", SPEC, None)
    done = prepare(cache, clips, workers=1, progress=lambda *state: told.append(state))
    assert done.made == 2
    assert set(done.failed) == {"b.mp4", "gone.mp4"}
    assert "No such file" in done.failed["gone.mp4"]
    assert told[-1] == (2, 2)
    assert len(rows(cache.folder, "pictures")) == 2
    again = made(cache.folder, clips)[1]
    assert again.made == again.nbytes == 0
    assert again.failed == done.failed


def test_a_clip_that_kills_its_process_is_told_and_the_others_are_prepared(films, tmp_path) -> None:
    clips = [sample(path) for path in sorted(films.iterdir())[:4]]
    deadly = film(tmp_path / "deadly.mkv", 65, 0.5, codec="ffv1")  # Deadly dies of its last frames
    _, done = made(tmp_path / "cache", [clips[0], deadly, *clips[1:]], detector=Deadly())
    assert set(done.failed) == {deadly.id}
    assert "died" in done.failed[deadly.id]
    assert done.made == 4


def test_a_long_file_is_prepared_in_sections(tmp_path, monkeypatch) -> None:
    """Nothing of it is held whole; the result is that of preparing it at once."""
    import claip_emo.media.recording as recording
    from claip_emo.media.recording import crop_frames, hear
    from claip_emo.media.source import open_source

    clip = film(tmp_path / "a.mkv", 60, 2.4, codec="ffv1")
    whole: dict[int, np.ndarray] = {}
    source = open_source(clip.path)
    rate = crop_frames(source, SPEC, Bright(), whole)
    sound = np.concatenate(list(hear(source, 16_000)))
    monkeypatch.setattr(recording, "SECTION_FRAMES", 12)
    monkeypatch.setattr(recording, "SECTION_S", 0.5)
    parts: dict[int, np.ndarray] = {}
    assert crop_frames(source, SPEC, Bright(), parts) == pytest.approx(rate)
    assert parts.keys() == whole.keys()
    assert all(np.array_equal(parts[index], whole[index]) for index in whole)
    pieces = list(hear(source, 16_000))
    assert len(pieces) == 5
    assert len(np.concatenate(pieces)) == len(sound)
    assert np.abs(np.concatenate(pieces).astype(int) - sound).max() < 2000  # edges of the pieces


def test_a_shard_that_was_cut_off_is_prepared_anew(films, tmp_path, caplog) -> None:
    clips = [sample(films / "0.mkv")]
    made(tmp_path, clips)
    for shard in shards(tmp_path):
        shard.write_bytes(shard.read_bytes()[:-100])
    cache, done = made(tmp_path, clips)
    assert "is damaged" in caplog.text
    assert done.made == 1
    assert cache.recording(clips[0]).frames.shape[0] == 12
    assert len(shards(tmp_path)) == 2


def test_a_shard_that_is_being_written_is_left_to_who_writes_it(tmp_path, caplog) -> None:
    with written(tmp_path / "0.arrow") as partial:
        partial.write_bytes(b"half of a shard")
        assert len(Shelf(tmp_path, PICTURES)) == 0  # as another process looks
    assert [path.name for path in tmp_path.iterdir()] == ["0.arrow"]
    assert not caplog.records


def test_no_flipped_bit_is_ever_read(films, tmp_path) -> None:
    """Wherever it is: the clip is read from its file then, or not touched by it."""
    clips = [sample(films / "0.mkv"), voice(tmp_path / "v.wav")]
    made(tmp_path / "cache", clips)
    direct = [dataset(clips, None)[place].clip for place in range(2)]
    original = {shard: shard.read_bytes() for shard in shards(tmp_path / "cache")}
    rng = np.random.default_rng(0)
    damaged = 0
    for shard, held in sorted(original.items(), key=lambda item: item[0].parent.name):
        for place in rng.integers(0, len(held), 40).tolist():
            copy = bytearray(held)
            copy[place] ^= 1 << int(rng.integers(8))
            folder = tmp_path / "copy"
            shutil.copytree(tmp_path / "cache", folder)
            (folder / shard.relative_to(tmp_path / "cache")).write_bytes(copy)
            kept = dataset(clips, ClipCache(folder, SPEC, None))
            for index, clip in enumerate(direct):
                assert_same(kept[index].clip, clip)
            damaged += bool(list(folder.glob("*/*.damaged")))
            shutil.rmtree(folder)
    assert damaged > 3  # most of a shard are frames that are not read here


def test_damage_met_while_reading_is_mended_by_the_next_run(films, tmp_path, caplog) -> None:
    clips = [sample(films / "0.mkv")]
    cache, _ = made(tmp_path, clips)
    (shard,) = shards(tmp_path, "pictures")
    held = bytearray(shard.read_bytes())
    start = bytes(held).index(b"\xff\xd8\xff\xe0")  # of the first JPEG
    held[start + 300] ^= 1
    shard.write_bytes(held)
    with pytest.raises(DamagedShardError, match="checksum differs"):
        cache.recording(clips[0]).frames[np.array([0])]
    kept = dataset(clips, ClipCache(tmp_path, SPEC, None))
    assert np.array_equal(kept[0].clip.frames, load_clip(clips[0].path, SPEC).frames)
    assert "read from their files" in caplog.text
    _, done = made(tmp_path, clips)
    assert done.made == 1
    assert len(shards(tmp_path, "sound")) == 1


@pytest.mark.parametrize(("workers", "threads"), [(1, 2), (2, 1)])
def test_each_picture_has_one_thread_where_several_processes_prepare(
    tmp_path, monkeypatch, workers, threads
) -> None:
    monkeypatch.setattr(Worker, "_make", lambda *_: cv2.getNumThreads())
    former = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        worker = Worker(ClipCache(tmp_path, SPEC, None), None, None, [-1] * workers, 0)
        assert worker.make([]) == threads
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(former)
