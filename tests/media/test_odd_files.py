"""Files that are rare, but exist: many channels, gaps, ribbons, colons, long sound, bad headers."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from claip_emo.media.clip import ClipSpec, load_clip
from claip_emo.media.container import open_media
from claip_emo.media.decode import MediaError, scan
from claip_emo.media.recording import load_recording

from .make_media import click_times, clicks, index_of, ramp, tone, write

SPEC = ClipSpec(num_frames=4, stride=4, size_px=32, audio_s=2.0)
PREDICT = ClipSpec(num_frames=4, stride=4, size_px=32, audio_s=10.0, views="by_duration")


def wav(path: Path, sound: np.ndarray, *, channels: int = 1, rate: int = 48_000) -> Path:
    """A plain PCM file, without a mask that says what its channels are."""
    samples = np.repeat(np.round(sound * 32767).astype("<i2")[:, None], channels, axis=1).tobytes()
    form = struct.pack("<HHIIHH", 1, channels, rate, 2 * channels * rate % 2**32, 2 * channels, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form
    chunks += b"data" + struct.pack("<I", len(samples)) + samples
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    return path


@pytest.mark.parametrize("channels", [1, 7, 8, 9, 17, 64])
def test_any_number_of_channels(tmp_path, channels: int) -> None:
    clip = load_clip(wav(tmp_path / "a.wav", clicks(1.0, [0.25, 0.5]), channels=channels), SPEC)
    assert click_times(clip.waveforms[0]) == pytest.approx([0.25, 0.5], abs=0.002)


def test_a_rate_that_no_recording_has(tmp_path) -> None:
    path = wav(tmp_path / "a.wav", tone(0.1), rate=2**31 - 1)
    with pytest.raises(MediaError, match="kind or rate that cannot be decoded"):
        load_clip(path, SPEC)


def in_parts(path: Path, starts_s: list[float], seconds: float = 1.0) -> Path:
    """Sound with long gaps: each part has a click in its middle."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=48_000, layout="mono")
        for start_s in starts_s:
            sound = np.round(clicks(seconds, [seconds / 2]) * 32767).astype(np.int16)
            for offset in range(0, len(sound), 4800):
                piece = sound[None, offset : offset + 4800]
                frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
                frame.rate, frame.time_base = 48_000, Fraction(1, 48_000)
                frame.pts = round(start_s * 48_000) + offset
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("gap_s", [30, 100, 1000])
def test_sound_after_a_long_gap_is_sound(tmp_path, gap_s: float) -> None:
    path = in_parts(tmp_path / "a.mkv", [0.0, gap_s])
    track = scan(str(path))
    assert track.sound_s == pytest.approx((0.0, gap_s + 1.0), abs=0.05)
    assert track.warnings == []
    spec = ClipSpec(audio_s=2.0, views=2)
    first, last = load_clip(path, spec).waveforms
    assert click_times(first) == pytest.approx([0.5], abs=0.01)
    assert click_times(last) == pytest.approx([1.5], abs=0.05)


def test_a_file_that_begins_late_is_whole(tmp_path) -> None:
    path = in_parts(tmp_path / "a.mkv", [1000.0], seconds=2.0)
    track = scan(str(path))
    assert track.warnings == []
    assert track.duration_s == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("shape", [(1, 20000), (20000, 1), (40, 4000)])
def test_a_ribbon_is_cut_before_it_is_scaled(tmp_path, shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 90, np.uint8)
    (middle := picture[shape[0] // 2 :, shape[1] // 2 :])[:1, :1] = 90
    assert middle.size
    cv2.imwrite(str(tmp_path / "1.png"), picture)
    clip = load_clip(tmp_path, SPEC)
    assert clip.frames.shape == (1, 4, 32, 32, 3)
    assert np.all(np.abs(clip.frames.astype(int) - 90) <= 1)


def test_a_video_as_a_ribbon(tmp_path) -> None:
    clip = load_clip(write(tmp_path / "a.mp4", ramp(8, 16, 1024), fps=8), SPEC)
    assert [index_of(frame) for frame in clip.frames[0]] == [0, 4, 4, 4]


def test_numbers_of_other_scripts_are_no_numbers(tmp_path) -> None:
    for name in ("²3.png", "frame²10.png", "frame9.png", "frame10.png", "٣.png"):
        cv2.imencode(".png", ramp(1)[0])[1].tofile(str(tmp_path / name))
    assert load_clip(tmp_path, SPEC).has_video


@pytest.mark.parametrize(
    "name", ["12:30 interview.mp4", "file:z.mp4", "http:x.mp4", "2024-01-01T12:30:00.mp4"]
)
def test_a_colon_is_no_protocol(tmp_path, monkeypatch, name: str) -> None:
    write(tmp_path / "plain.mp4", ramp(8)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert load_clip(name, SPEC).path == name


@pytest.mark.parametrize(("frames", "fps"), [(1, 25), (50, 25), (60, 1)])
def test_a_long_sound_is_heard_beside_a_short_picture(tmp_path, frames: int, fps: int) -> None:
    at_s = [3.0, 33.0, 55.0]
    path = write(tmp_path / "a.mp4", ramp(frames), clicks(60.0, at_s), fps=fps)
    clip = load_clip(path, PREDICT)
    assert clip.num_views == 6
    assert any("6 evenly spaced views" in warning for warning in clip.warnings)
    heard = {
        round(span[0] + time)
        for span, sound in zip(clip.audio_spans_s, clip.waveforms, strict=True)
        for time in click_times(sound)
    }
    assert heard == {3, 33, 55}
    assert clip.audio_spans_s[0][0] == pytest.approx(0.0, abs=0.1)
    assert clip.audio_spans_s[-1][1] == pytest.approx(60.0, abs=0.1)
    kept = load_recording(path, PREDICT).test_clip(PREDICT)
    assert kept.audio_spans_s == pytest.approx(np.array(clip.audio_spans_s))
    np.testing.assert_array_equal(kept.frames, clip.frames)


def test_a_still_without_sound_is_one_view(tmp_path) -> None:
    path = write(tmp_path / "a.mp4", ramp(15), fps=1)
    clip = load_clip(path, PREDICT)
    assert clip.num_views == 1
    assert any("one view of it" in warning for warning in clip.warnings)


def test_silence_is_told_of_what_was_heard(tmp_path) -> None:
    path = wav(tmp_path / "a.wav", clicks(120.0, [13.0], rate=8000), rate=8000)
    with pytest.raises(MediaError, match=r"silent in the 80 of 120 s that are listened to"):
        load_clip(path, PREDICT)


def test_half_a_wav_is_told(tmp_path) -> None:
    path = wav(tmp_path / "a.wav", tone(4.0))
    assert scan(str(path)).warnings == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = load_clip(path, SPEC)
    assert any("truncated: 2.0 of 4.0 s" in warning for warning in clip.warnings)


def test_half_an_mp3_is_told(tmp_path) -> None:
    path = write(tmp_path / "a.mp3", None, tone(8.0))
    assert scan(str(path)).warnings == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert any("truncated" in warning for warning in scan(str(path)).warnings)


def test_a_damaged_first_timestamp_does_not_move_the_picture(tmp_path) -> None:
    path = write(tmp_path / "a.flv", ramp(20), tone(0.8, 44_100), rate=44_100)
    content = bytearray(path.read_bytes())
    place = 13
    while content[place] != 9:  # the first tag of the picture
        place += 15 + int.from_bytes(content[place + 1 : place + 4], "big")
    content[place + 4 : place + 8] = b"\x41\xeb\x00\x00"  # 4,320,000 s
    path.write_bytes(content)
    track = scan(str(path))
    assert track.duration_s < 2.0
    assert load_clip(path, SPEC).has_audio


def test_which_of_several_sounds_is_heard(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), ramp(1)[0])
    wav(tmp_path / "a.wav", tone(0.5))
    wav(tmp_path / "b.wav", tone(0.5))
    clip = load_clip(tmp_path, SPEC)
    assert "of several sound files a.wav is heard, not b.wav" in clip.warnings


def test_a_name_that_is_too_long(tmp_path) -> None:
    with pytest.raises(MediaError, match="too long"):
        load_clip(tmp_path / ("x" * 300 + ".mp4"), SPEC)


def dts_frame(size: int) -> bytes:
    """A frame of DTS with a right header (stereo, 48 kHz) and nothing in it."""
    fields = [(1, 1), (5, 31), (1, 0), (7, 15), (14, size - 1), (6, 2), (4, 13), (5, 15)]
    bits = "".join(f"{value:0{length}b}" for length, value in fields).ljust(96, "0")
    return (bytes.fromhex("7ffe8001") + int(bits, 2).to_bytes(12, "big")).ljust(size, b"\0")


def test_dts_that_calls_itself_a_plain_wav_is_found_out(tmp_path) -> None:
    path = wav(tmp_path / "a.wav", np.frombuffer(b"", np.float32), channels=2)
    header, frames = path.read_bytes(), dts_frame(4096) * 16
    path.write_bytes(header[:-4] + struct.pack("<I", len(frames)) + frames)
    few = {"max_probe_packets": "1"}
    with av.open(str(path), container_options=few) as container:
        assert container.streams.audio[0].codec_context.name == "pcm_s16le"
    with open_media(str(path)) as container:
        assert container.streams.audio[0].codec_context.name == "dca"


def test_what_a_plain_wav_holds_is_not_probed_at_length(tmp_path, monkeypatch) -> None:
    plain = wav(tmp_path / "a.wav", tone(0.5))
    film = write(tmp_path / "b.mp4", ramp(4), tone(0.5))
    asked: dict[str, dict[str, str]] = {}
    opened = av.open

    def spied(name: str, **how: object) -> object:
        asked[Path(name).name] = how["container_options"]
        return opened(name, **how)

    monkeypatch.setattr(av, "open", spied)
    for path in (plain, film):
        open_media(str(path)).close()
    assert asked["a.wav"]["max_probe_packets"] == "1"
    assert "max_probe_packets" not in asked["b.mp4"]
