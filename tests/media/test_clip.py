"""Files that are as they should be: containers, clocks, rates, layouts, rotation, folders."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from claip_emo.media import decode
from claip_emo.media.clip import ClipSpec, load_clip
from claip_emo.media.picture import upright
from claip_emo.media.recording import load_recording
from claip_emo.media.sound import read_sound

from .make_media import click_times, clicks, index_of, ramp, tone, write

SPEC = ClipSpec(num_frames=4, stride=4, size_px=32, audio_s=2.0)


def indices(clip) -> list[list[int]]:
    return [[index_of(frame) for frame in view] for view in clip.frames]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi", ".flv", ".m4v"])
def test_every_container_gives_the_frames_of_the_protocol(tmp_path, suffix: str) -> None:
    rate = 44_100 if suffix == ".flv" else 48_000
    path = write(tmp_path / f"a{suffix}", ramp(30), tone(1.2, rate), rate=rate)
    clip = load_clip(path, SPEC)
    assert indices(clip) == [[0, 4, 8, 12], [16, 20, 24, 28]]
    assert clip.frames.shape == (2, 4, 32, 32, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.duration_s == pytest.approx(1.2, abs=0.08)
    assert len(clip.waveforms) == 2
    assert clip.waveforms[0] is clip.waveforms[1]  # the same seconds are kept once
    middle = clip.waveforms[0][10_000:40_000]
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / 2**0.5, rel=0.1)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert spectrum.argmax() * 48_000 / len(middle) == pytest.approx(440, abs=3)
    assert clip.face_rate is None
    assert clip.warnings == ()


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".m4a"])
def test_sound_alone(tmp_path, suffix: str) -> None:
    clip = load_clip(write(tmp_path / f"a{suffix}", None, tone(1.5)), SPEC)
    assert not clip.has_video
    assert clip.has_audio
    assert clip.num_views == 1
    assert clip.duration_s == pytest.approx(1.5, abs=0.06)
    assert len(clip.waveforms[0]) == pytest.approx(72_000, abs=3000)


def test_long_sound_alone_is_covered_by_views(tmp_path) -> None:
    path = write(tmp_path / "a.wav", None, tone(9.0))
    clip = load_clip(path, SPEC)
    assert clip.audio_spans_s == ((0.0, 2.0), (7.0, 9.0))
    assert {len(w) for w in clip.waveforms} == {96_000}


def test_one_view_of_long_sound_is_its_middle(tmp_path) -> None:
    path = write(tmp_path / "a.wav", None, tone(9.0))
    assert load_clip(path, ClipSpec(audio_s=2.0, views=1)).audio_spans_s == ((3.5, 5.5),)


def test_sound_is_covered_by_its_duration(tmp_path) -> None:
    path = write(tmp_path / "a.wav", None, tone(25.0, 8000), rate=8000)
    clip = load_clip(path, ClipSpec(views="by_duration"))
    assert clip.audio_spans_s == ((0.0, 10.0), (7.5, 17.5), (15.0, 25.0))
    assert "3 evenly spaced views" in clip.warnings[0]


def test_picture_alone(tmp_path) -> None:
    clip = load_clip(write(tmp_path / "a.mp4", ramp(10)), SPEC)
    assert clip.has_video
    assert not clip.has_audio
    assert clip.waveforms == ()


def test_only_what_is_asked_for_is_read(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(10), tone(0.4))
    assert not load_clip(path, ClipSpec(video=False)).has_video
    assert not load_clip(path, ClipSpec(audio=False)).has_audio


def test_one_clock_for_both_streams(tmp_path) -> None:
    """The sound of a view is the seconds around its frames, cut by timestamp."""
    path = write(tmp_path / "a.mp4", ramp(75), clicks(3.0, [0.5, 1.5, 2.5]))
    clip = load_clip(path, ClipSpec(num_frames=2, stride=25, size_px=16, audio_s=1.0))
    assert clip.frame_times_s.tolist() == [[0.0, 1.0], [1.0, 2.0]]
    assert clip.audio_spans_s == ((0.0, 1.0), (1.0, 2.0))
    for waveform in clip.waveforms:
        assert click_times(waveform) == pytest.approx([0.5], abs=0.005)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_late_sound_stays_late(tmp_path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", ramp(75), clicks(2.0, [0.5]), sound_start_s=1.0)
    track = decode.scan(str(path))
    begin, end = track.sound_s
    assert begin == pytest.approx(1.0, abs=0.03)
    sound = read_sound(track, [(begin, end)], 48_000)[0]
    assert begin + click_times(sound)[0] == pytest.approx(1.5, abs=0.03)


def test_aac_padding_is_cut(tmp_path) -> None:
    clip = load_clip(write(tmp_path / "a.mp4", ramp(50), tone(2.0)), ClipSpec(audio_s=10))
    assert len(clip.waveforms[0]) == pytest.approx(96_000, abs=480)


@pytest.mark.parametrize(("layout", "rate"), [("mono", 8000), ("stereo", 44_100), ("5.1", 48_000)])
def test_layouts_and_rates(tmp_path, layout: str, rate: int) -> None:
    sound = clicks(2.0, [0.5, 1.5], rate)
    path = write(tmp_path / "a.wav", None, sound, rate=rate, layout=layout)
    clip = load_clip(path, ClipSpec(audio_s=4))
    assert len(clip.waveforms[0]) == pytest.approx(96_000, abs=100)
    assert click_times(clip.waveforms[0]) == pytest.approx([0.5, 1.5], abs=0.003)
    assert np.abs(clip.waveforms[0]).max() <= 1


@pytest.mark.parametrize("fps", [5, 120])
def test_slow_and_fast_rates_count_decoded_frames(tmp_path, fps: int) -> None:
    clip = load_clip(write(tmp_path / "a.mp4", ramp(30), fps=fps), SPEC)
    assert indices(clip) == [[0, 4, 8, 12], [16, 20, 24, 28]]
    assert clip.frame_times_s[0, 1] == pytest.approx(4 / fps)


def test_prediction_thins_a_fast_file(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(60), fps=120)
    clip = load_clip(path, ClipSpec(num_frames=4, stride=1, size_px=16, max_fps=35, views=1))
    assert indices(clip) == [[0, 4, 8, 12]]


def test_a_variable_rate_keeps_its_times(tmp_path) -> None:
    times = [0.0, 0.04, 0.08, 0.5, 1.0, 1.04, 1.08, 1.12]
    path = write(tmp_path / "a.mkv", ramp(8), tone(1.2), times_s=times)
    clip = load_clip(path, ClipSpec(num_frames=8, stride=1, size_px=16, views=1))
    assert indices(clip) == [list(range(8))]
    assert clip.frame_times_s[0] == pytest.approx(times, abs=0.002)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_tags_are_applied(tmp_path, degrees: int) -> None:
    """The same corner is bright in the file; turned by its tag it is elsewhere."""
    frames = np.full((4, 64, 96, 3), 40, np.uint8)
    frames[:, :32, :48] = 220  # top left
    plain = write(tmp_path / "a.mp4", frames)
    tagged = write(tmp_path / "b.mp4", frames, rotation=degrees)
    read = {
        path: dict(decode.read_frames(decode.scan(str(path)), [0], upright))[0]
        for path in (plain, tagged)
    }
    turns = round(degrees / 90)
    expected = np.rot90(read[plain], turns)
    assert read[tagged].shape == expected.shape
    assert np.abs(read[tagged].astype(int) - expected.astype(int)).mean() < 3


def test_the_shape_of_pixels_is_applied(tmp_path) -> None:
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        frame = av.VideoFrame.from_ndarray(ramp(1)[0], format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames = dict(decode.read_frames(decode.scan(str(path)), [0], upright))
    assert frames[0].shape == (64, 128, 3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (63, 97), (16, 300)])
def test_any_size(tmp_path, height: int, width: int) -> None:
    path = write(tmp_path / "a.mkv", ramp(6, height, width), codec="ffv1")
    clip = load_clip(path, ClipSpec(num_frames=2, stride=2, size_px=32, views=1))
    assert indices(clip) == [[0, 2]]
    assert clip.frames.shape == (1, 2, 32, 32, 3)


def test_4k(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(5, 2160, 3840))
    clip = load_clip(path, ClipSpec(num_frames=2, stride=4, size_px=224, views=1))
    assert indices(clip) == [[0, 4]]


def test_without_a_detector_the_middle_square_is_shown(tmp_path) -> None:
    frames = np.zeros((2, 64, 128, 3), np.uint8)
    frames[:, :, 32:96] = 200
    clip = load_clip(write(tmp_path / "a.mkv", frames, codec="ffv1"), SPEC)
    assert clip.frames.min() > 190


def test_one_frame(tmp_path) -> None:
    clip = load_clip(write(tmp_path / "a.mp4", ramp(1)), SPEC)
    assert indices(clip) == [[0, 0, 0, 0]]
    assert clip.num_views == 1  # equal views are kept once


def test_a_tenth_of_a_second(tmp_path) -> None:
    clip = load_clip(write(tmp_path / "a.mp4", ramp(3), tone(0.1)), SPEC)
    assert clip.has_video
    assert clip.has_audio
    assert 0.08 < clip.duration_s < 0.2


def test_a_name_in_any_script(tmp_path) -> None:
    path = write(tmp_path / "情感 ñ 😀.mp4", ramp(5), tone(0.2))
    assert load_clip(path, SPEC).path == str(path)


def frames_folder(folder: Path, count: int = 12) -> Path:
    folder.mkdir()
    for index, frame in enumerate(ramp(count)):
        ok, data = cv2.imencode(".png", frame)
        assert ok
        (folder / f"img{index + 1}.png").write_bytes(data.tobytes())
    return folder


@pytest.mark.parametrize("where", ["inside", "beside"])
def test_a_folder_of_frames_with_a_wav(tmp_path, where: str) -> None:
    folder = frames_folder(tmp_path / "00001")
    target = folder / "a.wav" if where == "inside" else tmp_path / "00001.wav"
    write(target, None, tone(2.4))
    clip = load_clip(folder, ClipSpec(num_frames=4, stride=3, size_px=16, views=1))
    assert indices(clip) == [[0, 3, 6, 9]]  # img2 before img10
    assert clip.duration_s == pytest.approx(2.4, abs=0.01)
    assert clip.frame_times_s[0, 1] == pytest.approx(0.6, abs=0.01)


def test_a_folder_of_frames_without_sound(tmp_path) -> None:
    folder = frames_folder(tmp_path / "f")
    (folder / "img5.png").write_bytes(b"broken")
    clip = load_clip(folder, ClipSpec(num_frames=3, stride=4, size_px=16, views=1))
    assert indices(clip) == [[0, 5, 9]]  # counted among the images that can be read
    assert "1 of 12 images" in clip.warnings[0]
    assert clip.duration_s == pytest.approx(12 / 25)


def test_sound_from_another_file(tmp_path) -> None:
    video = write(tmp_path / "a.mp4", ramp(25), tone(1.0))
    voice = write(tmp_path / "b.wav", None, clicks(1.0, [0.25]))
    clip = load_clip(video, SPEC, audio_path=voice)
    assert click_times(clip.waveforms[0]) == pytest.approx([0.25], abs=0.005)


def test_training_windows_are_drawn_from_the_given_generator(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(60), tone(2.4))
    first = [indices(load_clip(path, SPEC, rng=np.random.default_rng(s))) for s in range(6)]
    again = [indices(load_clip(path, SPEC, rng=np.random.default_rng(s))) for s in range(6)]
    assert first == again
    assert len({str(window) for window in first}) > 3


def test_a_recording_gives_the_same_windows_as_the_file(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(60), clicks(2.4, [0.3, 1.1, 1.9]))
    spec = ClipSpec(num_frames=4, stride=4, size_px=32, audio_s=1.0)
    recording = load_recording(path, spec)
    for seed in range(4):
        once = recording.window(spec, np.random.default_rng(seed))
        direct = load_clip(path, spec, rng=np.random.default_rng(seed))
        assert np.array_equal(once.frames, direct.frames)
        assert once.audio_spans_s[0] == pytest.approx(direct.audio_spans_s[0], abs=1e-4)
        assert np.abs(once.waveforms[0] - direct.waveforms[0]).max() < 2e-3
