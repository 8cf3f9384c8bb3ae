"""Timelines of recordings that are weak, odd, damaged, or nothing."""

import numpy as np
import pytest

from claip_emo.media.decode import MediaError
from claip_emo.media.weakness import NO_FACE, NO_SPEECH

from ..media.made_people import Head, scene
from ..media.make_media import ramp, tone, write
from .made_timelines import FPS, WINDOW_S, seeing, shown, video

A = Head(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("odd")


def made_of(path, **how):
    recognizer = seeing()
    return recognizer.timeline(path, **{"window_s": WINDOW_S} | how), recognizer.predictor


def test_weak_faces_and_voices_are_told(folder) -> None:
    small, large = Head(2, 110, 40, 30), Head(1, 20, 30, 60)
    path = video(folder / "weak.mkv", [(24, [large, small], 0)], tone(3.0, hertz=150.0))
    timeline, _ = made_of(path, faces="all")
    assert NO_SPEECH in timeline.warnings
    (said,) = [warning for warning in timeline.warnings if "small" in warning]
    assert said.startswith("person 2: the face is small (3")
    alone = video(folder / "small.mkv", [(24, [small], 0)])
    (said,) = made_of(alone)[0].warnings
    assert said.startswith("the face is small (3")


def test_a_face_that_is_there_for_half_of_the_time_is_told(folder) -> None:
    path = video(folder / "half.mkv", [(16, [A], 0), (16, [], 3)])
    timeline, _ = made_of(path)
    assert shown(timeline) == [pytest.approx((0, 2), abs=2e-3)]
    assert "no face was found in 50% of the pictures" in timeline.warnings


@pytest.mark.parametrize("fps", [0.4, 0.9, 2.0])
def test_pictures_that_are_far_apart_have_people_in_them(folder, fps: float) -> None:
    path = video(folder / f"slow{fps}.mkv", [(6, [A], 0)], fps=fps)
    timeline, _ = made_of(path)
    assert timeline.warnings == ()
    assert len(timeline.people[0].stretches) == 1
    assert timeline.people[0].last_s == pytest.approx(6 / fps, rel=0.01)


def test_a_single_frame(folder) -> None:
    timeline, _ = made_of(video(folder / "one.mkv", [(1, [A], 0)]))
    (window,) = timeline.people[0].windows
    assert window.start_s == 0
    assert window.end_s == pytest.approx(1 / FPS, abs=0.01)
    assert len(list(timeline.people[0].segments)) == 1


def test_frames_that_hardly_differ_in_time_are_each_seen_once(folder) -> None:
    times = [0.0, 0.001, 0.5, 0.51, 1.0, 2.0, 2.9]
    frames = np.stack([scene([A])] * 7)
    path = write(folder / "vfr.mkv", frames, codec="ffv1", times_s=times)
    timeline, model = made_of(path)
    seen = timeline.people[0].stretches[0].times_s
    assert len(seen) == len({*seen.tolist()}) == len(model.crops)
    assert np.abs(seen[:, None] - times).min(axis=1).max() < 2e-3


def test_what_is_nothing_is_told(folder) -> None:
    path = write(folder / "silence.wav", None, np.zeros(48_000, np.float32))
    with pytest.raises(MediaError, match=r"silence\.wav: .*silent"):
        made_of(path)
    with pytest.raises(MediaError, match="no such file"):
        made_of(folder / "nowhere.mp4")
    with pytest.raises(MediaError, match="no picture"):
        made_of(write(folder / "tone.wav", None, tone(1.0)), modality="video")


def test_what_is_lost_in_the_middle_leaves_the_others(folder) -> None:
    path = write(folder / "damaged.mkv", ramp(48, 64, 96) // 2, tone(6.0), fps=FPS, gop=8)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 900] = bytes(900)
    path.write_bytes(data)
    timeline, _ = made_of(path)
    assert NO_FACE in timeline.warnings
    assert timeline.people[0].first_s == 0
