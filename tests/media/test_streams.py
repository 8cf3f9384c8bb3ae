"""Streams that are not as simple as they look: order, edits, matrices, clocks, several streams."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from claip_emo.media import decode, source
from claip_emo.media.clip import ClipSpec, load_clip
from claip_emo.media.container import open_media
from claip_emo.media.decode import MediaError
from claip_emo.media.picture import upright
from claip_emo.media.sound import read_sound

from .make_media import click_times, clicks, index_of, ramp, tone, write

SPEC = ClipSpec(num_frames=4, stride=4, size_px=32, audio_s=2.0)
ONE = 1 << 16  # of the fixed-point numbers in a display matrix


def indices(clip) -> list[list[int]]:
    return [[index_of(frame) for frame in view] for view in clip.frames]


def patched(path: Path, old: bytes, new: bytes, *, after: bytes) -> None:
    data = path.read_bytes()
    start = data.index(old, data.index(after))
    path.write_bytes(data[:start] + new + data[start + len(old) :])


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_with_reordered_frames_keeps_their_order(tmp_path, codec: str) -> None:
    """Avi has no time of showing, only the order of decoding."""
    path = write(tmp_path / "a.avi", ramp(30), codec=codec, options={})
    clip = load_clip(path, SPEC)
    assert indices(clip) == [[0, 4, 8, 12], [16, 20, 24, 28]]
    np.testing.assert_allclose(np.diff(clip.frame_times_s), 0.16, atol=1e-3)
    assert clip.duration_s == pytest.approx(1.2, abs=0.05)
    assert clip.warnings == ()


def test_a_raw_stream_without_any_timestamps(tmp_path) -> None:
    path = write(tmp_path / "a.h264", ramp(30))
    clip = load_clip(path, SPEC)
    assert indices(clip) == [[0, 4, 8, 12], [16, 20, 24, 28]]
    np.testing.assert_allclose(np.diff(clip.frame_times_s), 0.16, atol=1e-6)


def test_an_edit_list_hides_the_first_frames(tmp_path) -> None:
    """An edit within a group of pictures: its first frames are decoded, but never shown."""
    path = write(tmp_path / "a.mp4", ramp(30), encoder={"bf": "0"})
    with av.open(str(path)) as container:
        step = round(1 / (25 * container.streams.video[0].time_base))
    data = path.read_bytes()
    place = data.index(b"elst") + 12  # after version and count: length, and where it begins
    length, begin = struct.unpack_from(">Ii", data, place)
    edit = struct.pack(">Ii", round(length * 24 / 30), begin + 6 * step)
    path.write_bytes(data[:place] + edit + data[place + 8 :])
    clip = load_clip(path, SPEC)
    assert indices(clip) == [[6, 10, 14, 18], [14, 18, 22, 26]]
    assert clip.frame_times_s[0, 0] == pytest.approx(0, abs=1e-6)
    assert not any("truncated" in warning for warning in clip.warnings)


@pytest.mark.parametrize(
    ("matrix", "bright"),
    [  # a, b, c, d of x' = a x + c y, y' = b x + d y; where the corner at the top left goes
        ((1, 0, 0, 1), (0, 0)),
        ((-1, 0, 0, 1), (0, 1)),  # mirrored
        ((1, 0, 0, -1), (1, 0)),  # upside down
        ((0, 1, -1, 0), (0, 1)),  # a quarter turn clockwise
        ((-1, 0, 0, -1), (1, 1)),
        ((0, -1, 1, 0), (1, 0)),
        ((0, 1, 1, 0), (0, 0)),  # transposed
    ],
)
def test_a_display_matrix_turns_and_mirrors(tmp_path, matrix, bright: tuple[int, int]) -> None:
    frames = np.full((2, 64, 96, 3), 40, np.uint8)
    frames[:, :32, :48] = 220  # top left
    path = write(tmp_path / "a.mp4", frames)
    a, b, c, d = (ONE * part for part in matrix)
    plain = struct.pack(">9i", ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
    patched(path, plain, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30), after=b"tkhd")
    seen = dict(decode.read_frames(decode.scan(str(path)), [0], upright))[0]
    assert seen.shape == ((64, 96, 3) if matrix[0] else (96, 64, 3))
    corners = seen[[4, -5]][:, [4, -5], 0] > 128
    assert np.argwhere(corners).tolist() == [list(bright)]


def test_the_largest_picture_of_several_is_taken(tmp_path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for size, grey in ((32, 30), (96, 200), (48, 90)):
            stream = container.add_stream("ffv1", rate=25)
            stream.width = stream.height = size
            stream.pix_fmt = "yuv444p"
            streams.append((stream, np.full((size, size, 3), grey, np.uint8)))
        for index in range(3):
            for stream, array in streams:
                frame = av.VideoFrame.from_ndarray(array, format="rgb24")
                frame.pts = index
                container.mux(stream.encode(frame))
        for stream, _ in streams:
            container.mux(stream.encode())
    assert load_clip(path, SPEC).frames.mean() == pytest.approx(200, abs=3)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.mp4", "ffconcat version 1.0\nfile other.mp4\n"), ("a.txt", "Some notes.\n" * 99)],
)
def test_lists_of_files_and_notes_are_no_media(tmp_path, name: str, text: str) -> None:
    """A list that is given as a clip must not open its neighbours."""
    write(tmp_path / "other.mp4", ramp(5))
    (tmp_path / name).write_text(text)
    with pytest.raises(MediaError, match="another kind of file"):
        open_media(str(tmp_path / name))


def test_a_damaged_timestamp_does_not_stretch_the_clock(tmp_path) -> None:
    times = [i / 25 for i in range(30)]
    path = write(tmp_path / "a.mkv", ramp(30), tone(1.2), times_s=[*times[:-1], 90_000.0])
    clip = load_clip(path, SPEC)
    assert indices(clip) == [[0, 4, 8, 12], [16, 20, 24, 28]]
    assert clip.duration_s < 60


def test_the_clock_begins_with_the_file(tmp_path) -> None:
    times = [100 + i / 25 for i in range(30)]
    path = write(
        tmp_path / "a.mkv", ramp(30), clicks(1.2, [0.8]), times_s=times, sound_start_s=100.0
    )
    clip = load_clip(path, SPEC)
    assert indices(clip) == [[0, 4, 8, 12], [16, 20, 24, 28]]
    assert clip.frame_times_s[0, 0] == pytest.approx(0, abs=0.03)
    assert clip.duration_s == pytest.approx(1.2, abs=0.06)
    assert click_times(clip.waveforms[0]) == pytest.approx([0.8], abs=0.03)


def test_a_gap_in_the_sound_becomes_silence(tmp_path) -> None:
    path = tmp_path / "a.mkv"
    burst = clicks(1.0, [0.5])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=48_000, layout="mono")
        for start_s in (0, 3):  # two seconds between are missing
            for offset in range(0, 48_000, 4800):
                part = (burst[offset : offset + 4800] * 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(part[None], format="s16", layout="mono")
                frame.rate, frame.pts = 48_000, start_s * 48_000 + offset
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    track = decode.scan(str(path))
    whole = read_sound(track, [track.sound_s], 48_000)[0]
    assert len(whole) == pytest.approx(4 * 48_000, abs=200)
    assert click_times(whole) == pytest.approx([0.5, 3.5], abs=0.003)


def test_numbers_that_are_none_become_silence(tmp_path) -> None:
    sound = tone(1.0)
    sound[1000:2000] = np.nan
    sound[3000] = np.inf
    data = sound.astype("<f4").tobytes()
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 3, 1,
                         48_000, 192_000, 4, 32, b"data", len(data))  # fmt: skip
    (tmp_path / "a.wav").write_bytes(header + data)
    waveform = load_clip(tmp_path / "a.wav", SPEC).waveforms[0]
    assert np.isfinite(waveform).all()
    assert np.abs(waveform).max() <= 1
    assert (waveform[1100:1900] == 0).all()


def test_sought_pieces_of_sound_are_where_they_belong(tmp_path) -> None:
    at = [5.5, 33.3, 55.1]
    for suffix in (".mp3", ".m4a", ".flac", ".ogg"):
        path = write(tmp_path / f"a{suffix}", None, clicks(60.0, at))
        pieces = read_sound(decode.scan(str(path)), [(a - 1, a + 1) for a in at], 48_000)
        assert [click_times(piece) for piece in pieces] == [
            pytest.approx([1.0], abs=0.003) for _ in at
        ]


def test_seeking_gives_the_frames_of_sequential_decoding(tmp_path, monkeypatch) -> None:
    """Open groups of pictures: what follows a key frame may need what is before it."""
    rng = np.random.default_rng(0)
    frames = np.clip(ramp(240, 32, 32) // 2 + rng.integers(0, 60, (240, 32, 32, 3)), 0, 255)
    path = write(
        tmp_path / "a.mkv",
        frames.astype(np.uint8),
        fps=2,
        gop=24,
        encoder={"x264-params": "open-gop=1"},
    )
    track = decode.scan(str(path))
    wanted = [*range(0, 240, 29), 47, 48, 49, 170]
    straight = dict(decode.read_frames(track, wanted, upright, seek=False))
    jumps: list[int] = []
    real = decode.go_to
    monkeypatch.setattr(decode, "go_to", lambda c, s, pts: (jumps.append(pts), real(c, s, pts)))
    jumping = dict(decode.read_frames(track, wanted, upright))
    assert len(jumps) >= 7
    assert jumping.keys() == straight.keys() == set(wanted)
    assert all(np.array_equal(jumping[i], straight[i]) for i in wanted)
    # An index that leads astray: everything is decoded after all.
    monkeypatch.setattr(decode, "go_to", lambda c, s, pts: real(c, s, int(track.frame_pts[-1])))
    astray = dict(decode.read_frames(track, wanted, upright))
    assert all(np.array_equal(astray[i], straight[i]) for i in wanted)


def test_only_wanted_frames_are_converted(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / "a.mp4", ramp(60))
    converted = []
    monkeypatch.setattr(
        source,
        "upright",
        lambda frame, *a, **k: converted.append(frame.pts) or upright(frame, *a, **k),
    )
    clip = load_clip(path, SPEC)
    assert len(converted) == len(np.unique(clip.frame_times_s)) == 8
