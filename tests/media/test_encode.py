"""Pictures and the sound of a source become a video: nothing is moved, cut or lost."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from claip_emo.media import encode as module
from claip_emo.media import recording
from claip_emo.media.decode import MediaError
from claip_emo.media.encode import encode
from claip_emo.media.source import open_source

from . import make_media
from .make_media import click_times, clicks, index_of, ramp, tone, write

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")


def again(path: Path, out: Path, end_s: float | None = None):
    """Encode a file as it is; return its source and that of the new one."""
    source = open_source(path)
    times = source.times_s
    end = end_s or float(times[-1] + 0.04)
    shown = ((float(times[i]), frame) for i, frame in source.frames(range(len(times))))
    encode(out, shown, source, end)
    return source, open_source(out)


def sound_packets(path: Path) -> list[bytes]:
    """Packets of what is heard: an edit hides the first one, which only fills the codec."""
    with av.open(str(path)) as container:
        shown = (p for p in container.demux(audio=0) if p.size and not p.is_discard)
        return [bytes(packet) for packet in shown]


def heard(source) -> np.ndarray:
    return source.sound([source.sound_s], 48_000)[0]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_keep_their_times_and_the_sound_its_bytes(tmp_path, suffix: str) -> None:
    path = write(tmp_path / "a.mp4", ramp(30), clicks(1.2, [0.3, 0.9]))
    old, new = again(path, tmp_path / f"b{suffix}")
    np.testing.assert_allclose(new.times_s, old.times_s, atol=1e-3)
    assert [index_of(frame) for _, frame in new.frames(range(30))] == list(range(30))
    assert sound_packets(tmp_path / f"b{suffix}") == sound_packets(path)
    assert click_times(heard(new)) == pytest.approx([0.3, 0.9], abs=0.003)
    assert new.duration_s == pytest.approx(old.duration_s, abs=0.02)  # AAC's last block
    assert new.warnings == ()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "libopus", "ac3", "eac3", "alac", "flac"])
def test_every_sound_goes_into_every_video(tmp_path, monkeypatch, suffix, codec: str) -> None:
    monkeypatch.setitem(make_media.AUDIO_CODEC, ".mkv", codec)
    path = write(tmp_path / "a.mkv", ramp(6), clicks(0.8, [0.4]))
    old, new = again(path, tmp_path / f"b{suffix}")
    assert click_times(heard(new)) == pytest.approx(click_times(heard(old)), abs=0.004)
    assert new.sound_s == pytest.approx(old.sound_s, abs=0.03)
    with av.open(str(tmp_path / f"b{suffix}")) as container:
        kept = container.streams.audio[0].codec_context.name.removesuffix("float")
    original = codec.removeprefix("lib").removesuffix("lame")
    assert kept in (original, "aac")
    if suffix == ".mp4":
        assert kept == ("aac" if codec == "flac" else original)


@pytest.mark.parametrize("codec", range(len(module.CODECS)))
def test_frames_of_any_times_keep_them(tmp_path, monkeypatch, codec: int) -> None:
    monkeypatch.setattr(module, "CODECS", module.CODECS[codec:])
    times = [0.0, 0.04, 0.05, 0.3, 0.301, 1.7, 1.9]
    path = write(tmp_path / "a.mkv", ramp(7), times_s=times)
    _, new = again(path, tmp_path / "b.mp4", end_s=2.5)
    np.testing.assert_allclose(new.times_s, times, atol=2e-3)
    assert [index_of(frame) for _, frame in new.frames(range(7))] == list(range(7))
    with av.open(str(tmp_path / "b.mp4")) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(2.5, abs=0.01)


def test_the_last_frame_lasts_until_the_end(tmp_path) -> None:
    again(write(tmp_path / "a.mp4", ramp(1)), tmp_path / "b.mp4", end_s=0.7)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (33, 57), (1, 300), (64, 65)])
def test_odd_sizes_become_even(tmp_path, shape: tuple[int, int]) -> None:
    source = open_source(write(tmp_path / "a.mp4", ramp(3)))
    encode(tmp_path / "b.mp4", enumerate(ramp(3, *shape)), source, 3)
    new = open_source(tmp_path / "b.mp4")
    frames = [frame for _, frame in new.frames(range(3))]
    assert frames[0].shape == (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2, 3)
    assert [index_of(frame) for frame in frames] == [0, 1, 2]


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 200, 0), (0, 0, 255), (255, 255, 0)])
def test_colours_are_those_that_were_drawn(tmp_path, colour: tuple[int, int, int]) -> None:
    frame = np.full((32, 32, 3), colour, np.uint8)
    source = open_source(write(tmp_path / "a.mp4", ramp(1)))
    encode(tmp_path / "b.mp4", [(0.0, frame), (0.1, frame)], source, 0.2)
    _, seen = next(open_source(tmp_path / "b.mp4").frames([1]))
    assert np.abs(seen.astype(int) - colour).max() <= 8


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_sound_that_begins_later_still_does(tmp_path, suffix: str) -> None:
    sound = clicks(1.0, [0.25])
    path = write(tmp_path / f"a{suffix}", ramp(40), sound, sound_start_s=0.5)
    old, new = again(path, tmp_path / "b.mp4")
    offset = old.sound_s[0] + click_times(heard(old))[0]
    assert offset == pytest.approx(0.75, abs=0.03)
    assert new.sound_s[0] + click_times(heard(new))[0] == pytest.approx(offset, abs=0.005)


def test_a_picture_that_begins_later_still_does(tmp_path) -> None:
    times = [0.6 + n / 25 for n in range(10)]
    path = write(tmp_path / "a.mkv", ramp(10), clicks(1.0, [0.3]), times_s=times)
    old, new = again(path, tmp_path / "b.mp4")
    np.testing.assert_allclose(new.times_s, old.times_s, atol=2e-3)
    assert new.times_s[0] == pytest.approx(0.6, abs=0.03)
    assert click_times(heard(new)) == pytest.approx([0.3], abs=0.03)


def test_a_clock_that_does_not_begin_at_zero(tmp_path) -> None:
    times = [100 + n / 25 for n in range(25)]
    path = write(tmp_path / "a.mkv", ramp(25), clicks(1.0, [0.6]), times_s=times,
                 sound_start_s=100.0)  # fmt: skip
    _, new = again(path, tmp_path / "b.mp4")
    assert new.times_s[0] == pytest.approx(0, abs=0.03)
    assert new.duration_s == pytest.approx(1, abs=0.06)
    assert click_times(heard(new)) == pytest.approx([0.6], abs=0.03)


@pytest.mark.parametrize("seconds", [0.2, 3.0])
def test_sound_shorter_or_longer_than_the_picture(tmp_path, seconds: float) -> None:
    path = write(tmp_path / "a.mp4", ramp(25), tone(seconds))
    _, new = again(path, tmp_path / "b.mp4")
    assert new.sound_s == pytest.approx((0, seconds), abs=0.01)
    assert len(new.times_s) == 25


def test_no_sound(tmp_path) -> None:
    _, new = again(write(tmp_path / "a.mp4", ramp(5)), tmp_path / "b.mp4")
    assert new.sound_s is None


@pytest.mark.parametrize("section_s", [0.1, 0.37, 300.0])
def test_sound_that_is_encoded_passes_in_sections(tmp_path, monkeypatch, section_s) -> None:
    monkeypatch.setattr(recording, "SECTION_S", section_s)
    write(tmp_path / "a.wav", None, clicks(2.0, [0.35, 1.1, 1.9]))
    pictures = write(tmp_path / "a.mp4", ramp(10))
    source = open_source(pictures, audio_path=tmp_path / "a.wav")
    encode(tmp_path / "b.mp4", ((n / 5, frame) for n, frame in enumerate(ramp(10))), source, 2.0)
    new = open_source(tmp_path / "b.mp4")
    assert click_times(heard(new)) == pytest.approx([0.35, 1.1, 1.9], abs=0.004)
    assert new.sound_s == pytest.approx((0, 2), abs=0.05)


def test_sound_is_written_while_the_picture_is(tmp_path, monkeypatch) -> None:
    """Packets of sound are read as they are needed: hours of them are never held."""
    path = write(tmp_path / "a.mp4", ramp(100, 16, 16), tone(4.0))
    source, taken, ahead = open_source(path), [], []
    packets = module._sound_packets

    def noted(*arguments) -> Iterator[object]:
        for packet in packets(*arguments):
            taken.append(float(packet.dts * packet.time_base))
            yield packet

    def shown() -> Iterator[tuple[float, np.ndarray]]:
        for n, frame in enumerate(ramp(100, 16, 16)):
            ahead.append((taken or [0.0])[-1] - n / 25)
            yield n / 25, frame

    monkeypatch.setattr(module, "_sound_packets", noted)
    encode(tmp_path / "b.mp4", shown(), source, 4.0)
    assert max(ahead) < 0.1
    assert taken[-1] == pytest.approx(4.0, abs=0.05)
    with av.open(str(tmp_path / "b.mp4")) as container:  # neither waits long for the other
        reached = {"video": 0.0, "audio": 0.0}
        for packet in container.demux():
            if packet.size:
                reached[packet.stream.type] = float(packet.dts * packet.time_base)
                if min(reached.values()) > 0:
                    assert abs(reached["video"] - reached["audio"]) < 1.5


def test_no_picture_is_told(tmp_path) -> None:
    source = open_source(write(tmp_path / "a.wav", None, tone(1.0)))
    with pytest.raises(MediaError, match=r"a\.wav: there is no picture in it to draw on"):
        encode(tmp_path / "b.mp4", iter(()), source, 1.0)
    assert not (tmp_path / "b.mp4").exists()


def test_what_cannot_be_written_is_told(tmp_path) -> None:
    source = open_source(write(tmp_path / "a.mp4", ramp(2)))
    with pytest.raises(MediaError, match=r"b\.mp4: the video cannot be written"):
        encode(tmp_path / "nowhere" / "b.mp4", enumerate(ramp(2)), source, 2.0)


def test_frames_of_several_sizes_take_that_of_the_first(tmp_path) -> None:
    source = open_source(write(tmp_path / "a.mp4", ramp(2)))
    frames = [ramp(1, 64, 96)[0], ramp(2, 32, 32)[1], ramp(3, 65, 33)[2]]
    encode(tmp_path / "b.mp4", enumerate(frames), source, 3.0)
    seen = [frame for _, frame in open_source(tmp_path / "b.mp4").frames(range(3))]
    assert {frame.shape for frame in seen} == {(64, 96, 3)}
    assert [index_of(frame) for frame in seen] == [0, 1, 2]
