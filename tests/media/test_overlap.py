"""Faces are sought while later frames are decoded, and frames that nobody needs are left out."""

import threading
from itertools import count

import numpy as np
import pytest

from claip_emo.media import clip as clips
from claip_emo.media import container, decode
from claip_emo.media.clip import ClipSpec, ahead, load_clip

from .make_media import ramp, tone, write

WAVE = np.sin((np.arange(96)[None] + 3 * np.arange(60)[:, None]) / 9)  # (frame, column)
MOVING = np.broadcast_to((128 + 90 * WAVE)[:, None, :, None], (60, 64, 96, 3)).astype(np.uint8)
ALWAYS_B = {"bf": "3", "b_strategy": "0", "sc_threshold": "0"}


@pytest.mark.parametrize(
    ("suffix", "codec", "encoder", "left_out"),
    [
        (".mp4", "libx264", ALWAYS_B, True),
        (".ts", "libx264", ALWAYS_B | {"flags": "+ilme+ildct"}, True),
        (".mkv", "libx265", {"x265-params": "log-level=none:bframes=3"}, True),
        (".mp4", "libx264", {"bf": "0"}, False),  # every frame is predicted from the one before
        (".avi", "libx264", ALWAYS_B, False),  # frames are told apart by counting them
        (".mp4", "mpeg4", {"bf": "2"}, False),
    ],
)
def test_frames_that_nobody_needs_are_left_out(
    tmp_path, monkeypatch, suffix, codec, encoder, left_out
) -> None:
    path = str(write(tmp_path / f"a{suffix}", MOVING, codec=codec, encoder=encoder))
    track = decode.scan(path)
    decoded, seen = decode.decoded, []

    def counting(packet):
        frames, errors = decoded(packet)
        seen.extend(frames)
        return frames, errors

    def read(wanted):
        seen.clear()
        pictures = decode.read_frames(track, wanted, lambda f, _: f.to_ndarray(format="rgb24"))
        return dict(pictures), len(seen)

    monkeypatch.setattr(decode, "decoded", counting)
    every, whole = read(range(60))
    assert (len(every), whole) == (60, 60)
    for wanted in ([59], [1, 2, 30, 57], list(range(0, 60, 7))):
        some, fewer = read(wanted)
        assert sorted(some) == wanted
        assert all(np.array_equal(some[index], every[index]) for index in wanted)
        if wanted[-1] > 55:  # it was read to its end, but for what is reordered
            assert (fewer < 50) == left_out


def test_a_file_is_decoded_with_as_many_threads_as_are_to_be_had(tmp_path, monkeypatch) -> None:
    track = decode.scan(str(write(tmp_path / "a.mp4", MOVING)))
    decoded, seen = decode.decoded, []
    monkeypatch.setattr(
        decode, "decoded", lambda p: seen.append(p.stream.codec_context.thread_count) or decoded(p)
    )
    for threads in (1, 3):
        monkeypatch.setattr(container, "for_each_picture", lambda n=threads: n)
        for use in (
            lambda: list(decode.read_frames(track, [0, 5], lambda f, _: f.to_ndarray())),
            lambda: decode.recount(track),
        ):
            seen.clear()
            use()
            assert {*seen} == {threads}


def test_items_are_made_ahead_but_not_too_far() -> None:
    made = []
    third = threading.Event()

    def items():
        for item in count():
            made.append((item, threading.current_thread()))
            if item == 2:
                third.set()
            yield item

    found = ahead(items(), 3)
    assert next(found) == 0
    assert third.wait(5)  # 1 and 2 are made although nobody asked for them
    assert next(found) == 1
    found.close()
    assert len(made) <= 2 + 3
    assert threading.current_thread() not in {maker for _, maker in made}
    assert not {maker for _, maker in made} & set(threading.enumerate())


def test_what_making_raises_is_raised_in_its_place() -> None:
    def items():
        yield 1
        raise OSError("gone")

    found = ahead(items(), 4)
    assert next(found) == 1
    with pytest.raises(OSError, match="gone"):
        next(found)
    assert list(ahead([], 2)) == []
    assert list(ahead([None, 0], 2)) == [None, 0]


def test_a_detector_that_fails_leaves_no_thread(tmp_path) -> None:
    class Failing:
        name = "failing"

        def detect(self, frame):
            raise RuntimeError("no")

    before = set(threading.enumerate())
    path = write(tmp_path / "a.mp4", ramp(40), tone(1.0))
    with pytest.raises(RuntimeError, match="no"):
        load_clip(path, ClipSpec(num_frames=4), detector=Failing(), frames_ahead=4)
    assert set(threading.enumerate()) <= before


def test_sound_and_faces_of_frames_decoded_meanwhile_are_those_of_the_file(
    tmp_path, monkeypatch
) -> None:
    class Bright:
        name = "bright"

        def detect(self, frame):
            return np.array([[frame.mean() / 8, 8, 24, 24, 1]], np.float32)

    path = write(tmp_path / "a.mp4", ramp(40), tone(1.0))
    spec = ClipSpec(num_frames=4, size_px=32)

    def noted(items, most):
        depths.append(most)
        return ahead(items, most)

    depths = []
    monkeypatch.setattr(clips, "ahead", noted)
    again = load_clip(path, spec, detector=Bright())
    assert depths == []
    found = load_clip(path, spec, detector=Bright(), frames_ahead=3)
    assert depths == [3]
    assert np.array_equal(found.frames, again.frames)
    assert np.array_equal(found.face_boxes_px, again.face_boxes_px)
    assert len(np.unique(found.face_boxes_px[..., 0])) == found.frames.shape[0] * 4
    assert len(found.waveforms[0]) == pytest.approx(48_000, abs=100)
    assert np.array_equal(found.waveforms[0], again.waveforms[0])
