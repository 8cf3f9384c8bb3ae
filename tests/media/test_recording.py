"""Recordings in memory give what the file gives; sound from elsewhere; what is said about it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from claip_emo.media.clip import ClipSpec, load_clip
from claip_emo.media.decode import MediaError
from claip_emo.media.recording import load_recording
from claip_emo.media.tracks import squares
from claip_emo.media.weakness import NO_FACE

from .make_media import click_times, clicks, ramp, tone, write
from .test_faces import Told, faces

SPEC = ClipSpec(num_frames=4, stride=4, size_px=32, audio_s=1.0)


class Bright:
    """Finds the bright square."""

    name = "bright"

    def detect(self, frame: np.ndarray) -> np.ndarray:
        rows, columns = np.nonzero(frame[..., 0] > 128)
        x, y = columns.min(), rows.min()
        return faces((x, y, columns.max() + 1 - x, rows.max() + 1 - y, 1.0))


def test_the_test_views_of_a_recording_are_those_of_the_file(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(60), clicks(2.4, [0.3, 1.1, 1.9]))
    once, direct = load_recording(path, SPEC).test_clip(SPEC), load_clip(path, SPEC)
    assert np.array_equal(once.frames, direct.frames)
    assert np.array_equal(once.frame_times_s, direct.frame_times_s)
    np.testing.assert_allclose(once.audio_spans_s, direct.audio_spans_s, atol=1e-4)
    for one, other in zip(once.waveforms, direct.waveforms, strict=True):
        assert np.abs(one - other).max() < 2e-3


def test_a_silent_window_has_no_sound_in_either(tmp_path) -> None:
    path = write(tmp_path / "a.mkv", ramp(75), clicks(3.0, [0.2]), codec="ffv1")
    spec = ClipSpec(num_frames=2, stride=4, size_px=32, audio_s=0.5)
    recording = load_recording(path, spec)
    heard = set()
    for seed in range(12):
        window = recording.window(spec, np.random.default_rng(seed))
        direct = load_clip(path, spec, rng=np.random.default_rng(seed))
        assert window.has_audio == direct.has_audio == (not window.warnings)
        assert window.warnings == direct.warnings
        heard.add(window.has_audio)
    assert heard == {False, True}


def test_a_fast_file_is_thinned_in_a_recording_too(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(60), fps=120)
    spec = ClipSpec(num_frames=4, stride=1, size_px=32, views=1, max_fps=35)
    direct = load_clip(path, spec)
    assert np.array_equal(load_recording(path, spec).test_clip(spec).frames, direct.frames)


def test_sound_alone_is_a_recording(tmp_path) -> None:
    path = write(tmp_path / "a.wav", None, clicks(4.0, [0.5, 3.5]))
    recording = load_recording(path, SPEC)
    assert recording.frames is None
    assert recording.nbytes == 4 * 48_000 * 2
    assert recording.test_clip(SPEC).audio_spans_s == ((0.0, 1.0), (3.0, 4.0))
    for seed in range(3):
        window = recording.window(SPEC, np.random.default_rng(seed))
        direct = load_clip(path, SPEC, rng=np.random.default_rng(seed))
        assert window.audio_spans_s == direct.audio_spans_s
        assert np.abs(window.waveforms[0] - direct.waveforms[0]).max() < 1e-4


def test_a_moving_face_is_followed_between_the_frames_looked_at(tmp_path) -> None:
    frames = np.zeros((33, 64, 160, 3), np.uint8)
    for index, frame in enumerate(frames):
        frame[12:52, 2 * index + 4 : 2 * index + 44] = 210
    path = write(tmp_path / "a.mkv", frames, codec="ffv1")
    recording = load_recording(path, SPEC, detector=Bright())
    inner = recording.frames[12:21]  # smoothing lags behind where the track ends
    assert inner[:, 2:-2, 2:-2].min() > 190
    assert recording.nbytes == 33 * 32 * 32 * 3


def test_a_recording_without_a_face_says_so(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(9), np.zeros(20_000, np.float32))
    recording = load_recording(path, SPEC, detector=Told([faces()]))
    assert recording.face_rate == 0.0
    assert recording.warnings == (NO_FACE, "the sound is silent")
    assert np.array_equal(recording.frames, load_recording(path, SPEC).frames)


@pytest.mark.parametrize(
    ("other", "says"),
    [({"size_px": 16}, "cropped to 32 px"), ({"sampling_rate_hz": 16_000}, "read at 48000 Hz")],
)
def test_a_recording_cannot_be_another(tmp_path, other: dict, says: str) -> None:
    recording = load_recording(write(tmp_path / "a.mp4", ramp(9), tone(0.4)), SPEC)
    with pytest.raises(ValueError, match=says):
        recording.test_clip(ClipSpec(**{"size_px": 32, **other}))


def test_boxes_are_in_px_of_the_full_size_frame(tmp_path) -> None:
    """Faces are sought and cut in frames of 1280 px; the boxes fit the file."""
    frames = np.zeros((2, 1200, 2560, 3), np.uint8)
    frames[:, 400:800, 1000:1400] = 210
    path = write(tmp_path / "a.mp4", frames)
    clip = load_clip(path, SPEC, detector=Bright())
    np.testing.assert_allclose(clip.face_boxes_px[0, 0], [1000, 400, 1400, 800], atol=4)
    assert clip.frames[..., 2:-2, 2:-2, :].min() > 190


def test_where_there_is_nobody_for_a_while_the_middle_is_shown() -> None:
    times = np.array([0, 0.1, 0.2, 30, 30.1, 30.2])
    found = [faces((0, 0, 10, 10, 1))] * 3 + [faces()] * 3
    boxes, hit = squares(times, np.arange(6), found)
    assert hit.tolist() == [True] * 3 + [False] * 3
    assert np.isnan(boxes[3:]).all()
    np.testing.assert_allclose(boxes[0], [0, 0, 10, 10])


def test_of_equal_faces_the_one_in_the_middle_is_taken() -> None:
    both = faces((0, 0, 20, 20, 1), (60, 0, 20, 20, 1))
    for middle, left in ((10, 0), (70, 60)):
        boxes, _ = squares(np.arange(3) / 8, np.arange(3), [both] * 3, middle_px=(middle, 10))
        assert boxes[1, 0] == pytest.approx(left)


def test_sound_that_was_named_but_is_none(tmp_path) -> None:
    video = write(tmp_path / "a.mp4", ramp(9), tone(0.4))
    mute = write(tmp_path / "mute.mp4", ramp(3))
    clip = load_clip(video, SPEC, audio_path=mute)
    assert not clip.has_audio
    assert "there is no sound in" in clip.warnings[0]
    with pytest.raises(MediaError, match=r"nowhere\.wav: there is no such file"):
        load_clip(video, SPEC, audio_path=tmp_path / "nowhere.wav")


def test_a_folder_with_a_broken_wav_is_read_without_it(tmp_path) -> None:
    for index, frame in enumerate(ramp(5)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), frame)
    (tmp_path / "a.wav").write_bytes(b"no sound at all")
    clip = load_clip(tmp_path, SPEC)
    assert clip.has_video
    assert not clip.has_audio
    assert "without its sound" in clip.warnings[0]
    assert clip.duration_s == pytest.approx(5 / 25)


def test_one_frame_lasts_as_long_as_a_frame(tmp_path) -> None:
    assert load_clip(write(tmp_path / "a.mp4", ramp(1)), SPEC).duration_s == pytest.approx(0.04)


def test_reading_twice_gives_the_same(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(40), tone(1.6))
    one, other = load_clip(path, SPEC), load_clip(path, SPEC)
    assert np.array_equal(one.frames, other.frames)
    assert all(map(np.array_equal, one.waveforms, other.waveforms))


@pytest.mark.parametrize("suffix", ["webm", "mkv", "mp4", "flv"])
def test_a_second_view_is_heard_where_the_recording_has_it(tmp_path, suffix: str) -> None:
    """Views near each other are decoded in one go: nothing is placed anew, or decoded anew."""
    noise = np.random.default_rng(0).standard_normal(12 * 48_000)
    sound = (0.2 * np.convolve(noise, np.full(16, 0.25), "same")).astype(np.float32)
    path = write(tmp_path / f"a.{suffix}", ramp(250), sound)
    for spec in (replace(SPEC, audio_s=10.0), SPEC):
        once, direct = load_recording(path, spec).test_clip(spec), load_clip(path, spec)
        assert len(direct.waveforms) == 2
        np.testing.assert_allclose(once.audio_spans_s, direct.audio_spans_s, atol=1e-4)
        for one, other in zip(once.waveforms, direct.waveforms, strict=True):
            both = min(len(one), len(other))
            assert abs(len(one) - len(other)) <= 1
            assert np.abs(one[:both].clip(-1, 1) - other[:both]).max() < 1e-4


def test_a_sought_second_is_off_by_a_millisecond_at_most(tmp_path) -> None:
    """Beyond ten seconds it is sought: webm rounds its timestamps, and what Opus skips, to ms."""
    at_s = [2.3, 18.3]
    path = write(tmp_path / "a.webm", ramp(400, 32, 32), clicks(20.0, at_s))
    spec = replace(SPEC, video=False, audio_s=3.0)
    recording = load_recording(path, spec)
    rng = [np.random.default_rng(4) for _ in range(2)]  # draws the end of the sound
    one, other = recording.window(spec, rng[0]), load_clip(path, spec, rng=rng[1])
    assert one.audio_spans_s[0][0] > 13
    starts = [one.audio_spans_s[0][0] + click_times(c.waveforms[0])[0] for c in (one, other)]
    assert starts[0] == pytest.approx(starts[1], abs=1.1e-3)
