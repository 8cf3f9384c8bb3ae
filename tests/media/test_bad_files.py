"""Files that are not as they should be: a clear error, or what can be decoded and a warning."""

import struct
import tracemalloc

import av
import numpy as np
import pytest

from claip_emo.media import decode
from claip_emo.media.clip import ClipSpec, load_clip
from claip_emo.media.decode import MediaError
from claip_emo.media.recording import load_recording

from .make_media import click_times, clicks, index_of, ramp, tone, write

SPEC = ClipSpec(num_frames=4, stride=4, size_px=32, audio_s=2.0)


def noisy(count: int) -> np.ndarray:
    """Frames that do not compress to nothing, so that half a file is half the frames."""
    rng = np.random.default_rng(0)
    texture = rng.integers(-15, 16, (count, 64, 64, 1))
    return np.clip(ramp(count).astype(int) + texture, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.mp4", b"", "empty"),
        ("a.mp4", b"this is a text file, not a video\n" * 50, "another kind of file"),
        ("a.wav", b"RIFF\x00\x00", "cannot be read|no picture and no sound|could be decoded"),
        ("a.mkv", bytes(range(256)) * 20, "another kind of file"),
    ],
)
def test_what_is_no_media(tmp_path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MediaError, match=says) as caught:
        load_clip(path)
    assert str(path) in str(caught.value)


def test_a_missing_file(tmp_path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        load_clip(tmp_path / "nowhere.mp4")


def test_an_empty_folder(tmp_path) -> None:
    with pytest.raises(MediaError, match="no image"):
        load_clip(tmp_path)


def test_a_folder_whose_images_are_broken(tmp_path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"no image")
    with pytest.raises(MediaError, match="1 of 1 images"):
        load_clip(tmp_path)


def test_an_mp4_cut_before_its_index(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", noisy(50), tone(2.0))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match="cut off before its index"):
        load_clip(path, SPEC)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".mkv", {}), (".webm", {}), (".avi", {}), (".flv", {}), (".mp4", {"movflags": "faststart"})],
)
def test_half_a_file_yields_its_first_half(tmp_path, suffix: str, options: dict) -> None:
    rate = 44_100 if suffix == ".flv" else 48_000
    path = write(tmp_path / f"a{suffix}", noisy(60), tone(2.4, rate), options=options, rate=rate)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = load_clip(path, SPEC)
    assert clip.has_video
    assert clip.has_audio
    seen = [index_of(frame) for frame in clip.frames[0]]
    assert seen == [0, 4, 8, 12]
    assert index_of(clip.frames[-1][-1]) < 45
    assert any("truncated" in warning for warning in clip.warnings)


def test_damage_in_the_middle_costs_only_what_is_there(tmp_path) -> None:
    path = write(tmp_path / "a.mkv", noisy(60), tone(2.4), gop=6)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = bytes(1500)
    path.write_bytes(data)
    clip = load_clip(path, SPEC)
    assert clip.has_video
    assert index_of(clip.frames[0][0]) == 0


def test_broken_packets_of_sound_cost_only_their_own_time(tmp_path) -> None:
    path = write(tmp_path / "a.m4a", None, clicks(3.0, [0.5, 2.5]))
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(audio=0)]
    data = bytearray(path.read_bytes())
    for position, size in packets[60:70]:  # from 1.3 to 1.5 s
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    clip = load_clip(path, ClipSpec(audio_s=10))
    assert any("packets of the sound could not be decoded" in w for w in clip.warnings)
    assert len(clip.waveforms[0]) == pytest.approx(3 * 48_000, abs=1500)
    times = click_times(clip.waveforms[0])
    assert times[0] == pytest.approx(0.5, abs=0.005)
    assert times[-1] == pytest.approx(2.5, abs=0.005)


def test_a_black_and_silent_clip_is_normal(tmp_path) -> None:
    black = np.zeros((10, 64, 64, 3), np.uint8)
    path = write(tmp_path / "a.mp4", black, np.zeros(19_200, np.float32))
    clip = load_clip(path, SPEC)
    assert clip.frames.max() < 3
    assert not clip.has_audio
    assert "the sound is silent" in clip.warnings


def test_silence_alone_is_nothing(tmp_path) -> None:
    path = write(tmp_path / "a.wav", None, np.zeros(48_000, np.float32))
    with pytest.raises(MediaError, match="silent"):
        load_clip(path)


def test_a_cover_picture_is_no_video(tmp_path) -> None:
    """An mp3 with album art: ID3v2.3 with one APIC frame before the sound."""
    import cv2

    plain = write(tmp_path / "plain.mp3", None, tone(1.0)).read_bytes()
    ok, art = cv2.imencode(".jpg", np.full((32, 32, 3), 90, np.uint8))
    assert ok
    body = b"\x00image/jpeg\x00\x03\x00" + art.tobytes()
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\x00\x00" + body
    size = len(frame)
    synchsafe = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    path = tmp_path / "a.mp3"
    path.write_bytes(b"ID3\x03\x00\x00" + synchsafe + frame + plain)
    clip = load_clip(path, SPEC)
    assert not clip.has_video
    assert clip.has_audio


def test_a_long_file_costs_no_memory_and_seeks_to_the_same_frames(tmp_path) -> None:
    """Ten minutes: frames that carry their number, read by seeking and by decoding everything."""
    count = 1200
    frames = np.zeros((count, 32, 32, 3), np.uint8)
    for bit in range(11):  # number in binary, as bright and dark columns
        on = (np.arange(count) >> bit) & 1
        frames[:, :, 2 * bit : 2 * bit + 2] = (30 + 190 * on)[:, None, None, None]
    path = write(tmp_path / "a.mp4", frames, tone(600.0, 8000), fps=2, rate=8000, gop=10)
    spec = ClipSpec(num_frames=4, stride=4, size_px=32, views="by_duration", audio_s=2.0)
    load_clip(path, spec)  # libraries are loaded
    tracemalloc.start()
    clip = load_clip(path, spec)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6
    assert clip.num_views == 8
    assert any("600 s long" in w and "8 evenly spaced views" in w for w in clip.warnings)
    numbers = [
        [sum(int(f[8:24, 2 * b : 2 * b + 2].mean() > 125) << b for b in range(11)) for f in view]
        for view in clip.frames
    ]
    expected = [[int(v / 7 * 296 + 0.0) * 4 + 4 * i for i in range(4)] for v in range(8)]
    assert numbers == expected
    track = decode.scan(str(path))
    assert len(track.frame_pts) == count
    for (begin, end), view in zip(clip.audio_spans_s, clip.frame_times_s, strict=True):
        assert end - begin == pytest.approx(2.0)
        assert begin <= (view[0] + view[-1]) / 2 <= end


def test_too_long_to_keep_in_memory_names_the_mend(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(12))
    with pytest.raises(MediaError, match=r"12 frames are too many.*data\.cache=none"):
        load_recording(path, SPEC, max_frames=10)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"num_frames": 0}, "num_frames"),
        ({"views": 0}, "views"),
        ({"views": "many"}, "views .* not 'many'"),
        ({"max_fps": 0}, "max_fps"),
        ({"audio_s": 0}, "audio_s"),
        ({"face_margin": -0.1}, "face_margin"),
        ({"video": False, "audio": False}, "nothing"),
    ],
)
def test_a_wrong_spec_is_refused(wrong: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ClipSpec(**wrong)
