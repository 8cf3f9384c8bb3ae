"""Reading in the background: in order, bounded, paused, and ended when nobody waits any more."""

import threading
import time
from contextlib import suppress
from itertools import count

import numpy as np
import pytest

from claip_emo.inference.pipeline import (
    AbandonedError,
    Failing,
    Pace,
    PacedDetector,
    batches,
    read_ahead,
    work,
)
from claip_emo.media.clip import Clip


def clip(frames: int = 0, views: int = 1, sounds: int = 0) -> Clip:
    """A clip of so many distinct frames, spread over its views, and so many pieces of sound."""
    times = np.resize(np.arange(frames, dtype=float), (views, 4)) if frames else None
    return Clip(
        path="clip",
        frames=np.zeros((views, 4, 2, 2, 3), np.uint8) if frames else None,
        frame_times_s=times,
        waveforms=(np.zeros(1, np.float32),) * max(sounds, 0),
        audio_spans_s=tuple((float(piece), piece + 1.0) for piece in range(sounds)),
        duration_s=1.0,
    )


def readers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("claip-emo-reader")]


def test_the_order_is_that_of_the_keys_whichever_is_read_first() -> None:
    second_is_read = threading.Event()
    made = clip(4)

    def load(key: int) -> Clip:
        if key == 0:
            assert second_is_read.wait(5)  # fails where they are read one after another
        if key == 1:
            second_is_read.set()
        if key == 2:
            raise ValueError("no")
        return made

    found = list(read_ahead(load, range(5), Pace(), readers=2, most=3))
    assert [key for key, _ in found] == list(range(5))
    assert [type(outcome) for _, outcome in found] == [Clip, Clip, ValueError, Clip, Clip]
    assert not readers()


def test_no_more_is_begun_than_there_is_room_for() -> None:
    begun = []

    def load(key: int) -> Clip:
        begun.append(key)
        return clip(4)

    reading = read_ahead(load, count(), Pace(), readers=2, most=3)
    for taken in range(4):
        assert next(reading)[0] == taken
        time.sleep(0.02)  # whoever reads too far ahead has the time to do so
        assert len(begun) <= taken + 3
    reading.close()
    assert not readers()


def test_closing_ends_what_runs_and_begins_nothing_more() -> None:
    pace = Pace()
    begun, ended = [], []

    def load(key: int) -> Clip:
        begun.append(key)
        for _ in range(3000 if key else 1):
            pace.wait()
            time.sleep(0.001)
        ended.append(key)
        return clip(4)

    reading = read_ahead(load, range(10), pace, readers=1, most=5)
    next(reading)
    while len(begun) < 2:
        time.sleep(0.001)
    reading.close()
    assert (begun, ended) == ([0, 1], [0])
    assert not readers()
    with pytest.raises(AbandonedError):
        pace.wait()


def test_what_is_raised_for_the_keys_ends_the_threads() -> None:
    def keys():
        yield 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(read_ahead(lambda _: clip(4), keys(), Pace(), readers=2, most=3))
    assert not readers()


def test_a_pause_holds_the_detector_until_it_is_over() -> None:
    class Detector:
        name = "counting"
        calls = 0

        def detect(self, frame):
            self.calls += 1
            return np.zeros((0, 5), np.float32)

    pace, detector = Pace(), Detector()
    paced = PacedDetector(detector, pace)
    frame = np.zeros((4, 4, 3), np.uint8)
    assert paced.name == "counting"
    assert paced.detect(frame).shape == (0, 5)
    held = threading.Thread(target=paced.detect, args=(frame,))
    with suppress(RuntimeError), pace.paused():
        held.start()
        held.join(0.05)
        assert held.is_alive()
        assert detector.calls == 1
        raise RuntimeError  # whatever happens in a pause, it ends
    held.join(5)
    assert detector.calls == 2


@pytest.mark.parametrize(
    ("made", "frames"),
    [
        (clip(4), 4),
        (clip(6, views=2), 6),  # two of eight are shared
        (clip(8, views=2, sounds=1), 8),
        (clip(4, sounds=2), 8),  # a second piece of sound costs as much as a view
        (clip(sounds=1), 4),
    ],
)
def test_work_is_the_distinct_frames_or_the_pieces_of_sound(made, frames) -> None:
    assert work(made, 4) == frames


def test_batches_are_filled_with_neighbours_up_to_their_size() -> None:
    one, two, many = clip(4), clip(8, views=2), clip(24, views=6)
    loaded = [one, one, two, two, many, ValueError(), one, one, one, one]
    found = list(batches(enumerate(loaded), 4, 3))
    sizes = [len(batch) for batch in found]
    assert sizes == [2, 1, 1, 1, 3, 2]
    assert [key for batch in found for key, _ in batch] == list(range(10))


def test_a_full_batch_does_not_wait_for_the_next_clip() -> None:
    def loaded():
        yield "a", clip(8, views=2)
        pytest.fail("the batch was full")

    assert [key for key, _ in next(batches(loaded(), 4, 2))] == ["a"]


def test_what_was_taken_before_a_failure_is_finished_first() -> None:
    def keys():
        yield from "ab"
        raise OSError("the share is gone")

    asked = Failing(keys())
    assert list(asked) == ["a", "b"]
    assert str(asked.error) == "the share is gone"
    assert list(asked) == []
    whole = Failing("ab")
    assert (list(whole), whole.error) == (["a", "b"], None)


def test_what_is_ended_is_what_runs_and_nothing_begins_afterwards() -> None:
    ended, pace = [], Pace()
    with pace.ended_by(lambda: ended.append("over")):
        pass
    with pace.ended_by(lambda: ended.append("runs")):
        pace.end()
    assert ended == ["runs"]
    with pytest.raises(AbandonedError), pace.ended_by(lambda: None):
        pytest.fail("it has ended")
