"""What is read from the cache is what is read from the files."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from torch.utils.data import DataLoader

from claip_emo.data.cache import ClipCache
from claip_emo.data.dataset import Draw, collate
from claip_emo.media.clip import load_clip
from claip_emo.media.decode import MediaError
from claip_emo.media.recording import load_recording

from ..media.make_media import index_of, ramp, tone, write
from .detectors import SPEC, Bright
from .prepared import assert_same, broken, dataset, film, folder, made, sample, voice


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    here = tmp_path_factory.mktemp("clips")
    other = write(here / "other.wav", None, tone(2.0))
    named = replace(film(here / "named.mkv", 30, codec="ffv1"), audio_path=other)
    mute = sample(write(here / "mute.mkv", ramp(80), codec="ffv1"))
    return [film(here / "a.mp4"), folder(here / "frames"), voice(here / "v.wav"), named, mute]


@pytest.fixture(scope="module")
def cache(samples, tmp_path_factory):
    cache, done = made(tmp_path_factory.mktemp("cache"), samples)
    assert (done.clips, done.made, done.failed) == (5, 5, {})
    return cache


@pytest.mark.parametrize("place", range(5))
def test_windows_and_views_are_those_of_the_file(samples, cache, place: int) -> None:
    clip = samples[place]
    by = 2e-3 if clip.path.suffix == ".mp4" else 1e-4  # AAC is decoded in pieces there
    kept, direct = dataset(samples, cache), dataset(samples, None)
    assert_same(kept[place].clip, direct[place].clip, by)
    for epoch in range(6):
        draw = Draw(epoch, place)
        assert_same(kept[draw].clip, direct[draw].clip, by)


def test_only_what_is_asked_for_is_decoded(samples, cache, monkeypatch) -> None:
    import claip_emo.data.cache as module

    decoded = []
    decode = module.cv2.imdecode
    monkeypatch.setattr(module.cv2, "imdecode", lambda *a: decoded.append(1) or decode(*a))
    clip = dataset(samples, cache)[0].clip
    numbers = [[index_of(frame) for frame in view] for view in clip.frames]
    assert numbers == [[0, 4, 8, 12], [44, 48, 52, 56]]
    assert len(decoded) == 8
    cache.recording(samples[0]).frames[np.array([[5, 5], [5, 7]])]
    assert len(decoded) == 10


def test_faces_are_cut_as_in_a_recording_in_memory(tmp_path) -> None:
    frames = np.zeros((33, 64, 160, 3), np.uint8)
    for index, frame in enumerate(frames):
        frame[12:52, 2 * index + 4 : 2 * index + 44] = 210
    clip = sample(write(tmp_path / "a.mkv", frames, tone(1.3), codec="ffv1"))
    spec = replace(SPEC, face_margin=0.3)
    cache, _ = made(tmp_path / "cache", [clip], spec, Bright())
    stored, kept = cache.recording(clip), load_recording(clip.path, spec, detector=Bright())
    every = np.arange(33)
    assert np.abs(stored.frames[every].astype(int) - kept.frames[every]).mean() < 2
    assert np.array_equal(stored.timestamps_s, kept.timestamps_s)
    assert np.array_equal(stored.waveform[:], kept.waveform)
    assert stored.nbytes < kept.nbytes
    for name in (
        "path",
        "sound_start_s",
        "duration_s",
        "face_rate",
        "warnings",
        "sampling_rate_hz",
    ):
        assert getattr(stored, name) == getattr(kept, name)


@pytest.mark.parametrize(("video", "audio"), [(True, False), (False, True)])
def test_one_modality_alone(samples, tmp_path, video: bool, audio: bool) -> None:
    """What has nothing of it is read whole, as without a cache."""
    spec = replace(SPEC, video=video, audio=audio)
    few = [samples[2], samples[4], samples[0]]
    cache, done = made(tmp_path, few, spec)
    assert done.made == 3
    kept, direct = dataset(few, cache, spec), dataset(few, None, spec)
    for place in range(2):
        for draw in (place, Draw(2, place)):
            assert_same(kept[draw].clip, direct[draw].clip)
    clip = kept[2].clip
    assert (clip.has_video, clip.has_audio) == (video, audio)
    half = "sound" if video else "pictures"
    assert len(cache.shelves[half]) == 1  # of the clip that has nothing else


def test_a_clip_that_failed_says_so_without_being_opened(tmp_path, monkeypatch) -> None:
    clip = broken(tmp_path / "b.mp4")
    silent = sample(write(tmp_path / "s.wav", None, np.zeros(48_000, np.float32)))
    cache, done = made(tmp_path / "cache", [clip, silent])
    assert done.made == 2
    assert set(done.failed) == {"b.mp4", "s.wav"}
    for one in (clip, silent):
        with pytest.raises(MediaError) as caught:
            load_clip(one.path, SPEC)
        assert done.failed[one.id] == str(caught.value)
    monkeypatch.setattr("claip_emo.data.dataset.load_clip", None)
    with pytest.raises(MediaError, match=r"b\.mp4: .*cannot be read as video or sound"):
        dataset([clip], cache)[0]
    moved = sample(clip.path.rename(tmp_path / "moved.mp4"))
    cache.look([moved])
    assert cache.problem(moved).startswith(f"{moved.path}: this cannot be read")


def test_damaged_images_of_a_folder_are_left_out(tmp_path) -> None:
    clip = folder(tmp_path / "frames", 12)
    (clip.path / "img5.png").write_bytes(b"x")
    cache, _ = made(tmp_path / "cache", [clip])
    stored, kept = cache.recording(clip), load_recording(clip.path, SPEC)
    assert stored.frames.shape == kept.frames.shape == (11, 32, 32, 3)
    assert np.array_equal(stored.timestamps_s, kept.timestamps_s)
    assert [index_of(frame) for frame in stored.frames[np.arange(4, 7)]] == [4, 6, 7]
    assert stored.warnings == kept.warnings == ("damaged: 1 of 12 images cannot be read",)


def test_what_is_not_prepared_is_read_from_its_file(samples, cache) -> None:
    other = film(samples[0].path.with_name("new.mp4"), 20)
    kept = dataset([other], cache)
    assert cache.recording(other) is None
    assert np.array_equal(kept[0].clip.frames, load_clip(other.path, SPEC).frames)


def test_processes_of_a_loader_map_the_files_themselves(samples, cache) -> None:
    kept = dataset(samples, ClipCache(cache.folder, SPEC, None))
    held = sum(cache.recording(one).nbytes for one in samples)
    assert len(pickle.dumps(kept)) < held / 20
    draws = [Draw(epoch, place) for epoch in range(3) for place in range(5)]
    settings = {"batch_size": 5, "sampler": draws, "collate_fn": collate}
    alone = list(DataLoader(kept, **settings))
    several = DataLoader(kept, **settings, num_workers=1, multiprocessing_context="forkserver")
    for one, other in zip(alone, several, strict=True):
        assert one["ids"] == other["ids"]
        assert np.array_equal(one["frames"], other["frames"])
        assert np.array_equal(one["waveforms"], other["waveforms"])


def test_a_file_is_no_folder_of_prepared_clips(tmp_path) -> None:
    (tmp_path / "clips.csv").write_text("path,label\n")
    with pytest.raises(ValueError, match=r"clips\.csv is a file; name a folder"):
        ClipCache(tmp_path / "clips.csv", SPEC, None)
