"""Messages between processes: what is sent arrives, and what is no message is refused."""

import json
import pickle
import struct
from contextlib import suppress
from dataclasses import fields

import numpy as np
import pytest

from claip_emo.inference.timeline_result import Stretch
from claip_emo.inference.wire import WireError, pack, unpack
from claip_emo.media.clip import Clip, ClipSpec, load_clip

from ..media.make_media import ramp, tone, write
from .test_timeline_files import TWO


def same(one, other) -> bool:
    """Whether two values are equal, arrays to the bit and of one type."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype != bool)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dataclass_fields__"):
        return type(one) is type(other) and all(
            same(getattr(one, each.name), getattr(other, each.name)) for each in fields(one)
        )
    return one == other and type(one) is type(other)


def test_a_clip_arrives_as_it_was(tmp_path) -> None:
    spec = ClipSpec(views=3, size_px=32)
    for path in (
        write(tmp_path / "both.mp4", ramp(20), tone(0.8)),
        write(tmp_path / "mute.mp4", ramp(20)),
        write(tmp_path / "voice.wav", None, tone(0.8)),
    ):
        clip = load_clip(path, spec)
        again = unpack(pack(clip))
        assert isinstance(again, Clip)
        assert same(again, clip)


def test_a_timeline_arrives_as_it_was() -> None:
    again = unpack(pack({"timeline": TWO}))["timeline"]
    assert same(again, TWO)
    assert isinstance(again.people[0].stretches[0], Stretch)
    assert again.to_dict() == TWO.to_dict()


def test_plain_values() -> None:
    message = {
        "none": None, "yes": True, "n": np.int64(3), "x": np.float32(0.5), "big": 2**70,
        "text": 'Grüße\n"😀\udcff"', "inf": float("inf"), "nested": [1, [2.5, "a"], {}],
    }  # fmt: skip
    found = unpack(pack(message))
    assert found == {**message, "nested": (1, (2.5, "a"), {})}
    assert type(found["n"]) is int


def test_words_that_name_parts_of_a_message_are_no_parts() -> None:
    tricky = {"array": 0, "kind": "Clip", "fields": {"array": 5}}
    assert unpack(pack(tricky)) == tricky


def test_an_array_that_is_shared_is_sent_once() -> None:
    sound = np.arange(100_000, dtype=np.float32)
    data = pack({"a": sound, "b": [sound, sound]})
    assert len(data) < 1.1 * sound.nbytes
    found = unpack(data)
    assert np.array_equal(found["a"], sound)
    assert found["b"][1] is found["a"]


def test_views_of_arrays_and_empty_ones() -> None:
    base = np.arange(24, dtype=np.int64).reshape(4, 6)
    found = unpack(pack([base[::2, ::-1], base.T, np.zeros((0, 3), np.uint8), np.array(2.5)]))
    assert np.array_equal(found[0], base[::2, ::-1])
    assert np.array_equal(found[1], base.T)
    assert found[2].shape == (0, 3)
    assert found[3] == 2.5
    with pytest.raises(ValueError, match="read-only"):
        found[0][0, 0] = 1


@pytest.mark.parametrize("value", [ClipSpec(), object(), b"bytes", {1, 2}, np.array(["a"])])
def test_other_things_are_not_sent(value) -> None:
    with pytest.raises(WireError, match="cannot be sent"):
        pack({"x": value})


def of(head: object, rest: bytes = b"") -> bytes:
    text = json.dumps(head).encode()
    return struct.pack("<I", len(text)) + text + rest


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"abc",
        b"\xff\xff\xff\xff{}",
        pickle.dumps({"message": 1, "arrays": []}),
        of(3),
        of({"message": 1}),
        of({"message": {"kind": "Path", "fields": {}}, "arrays": []}),
        of({"message": {"kind": "Clip", "fields": {"path": "a"}}, "arrays": []}),
        of({"message": {"array": 0}, "arrays": []}),
        of({"message": 1, "arrays": [{"dtype": "O", "shape": [1]}]}, bytes(40)),
        of({"message": 1, "arrays": [{"dtype": "uint8", "shape": [-1]}]}, bytes(40)),
        of({"message": 1, "arrays": [{"dtype": "uint8", "shape": [2**62]}]}, bytes(40)),
        of({"message": 1, "arrays": [{"dtype": "uint8", "shape": [2.5]}]}, bytes(40)),
        of({"message": 1, "arrays": []}, b"more"),
        of({"message": 1, "arrays": [{"dtype": "uint8", "shape": [2**70]}]}, bytes(40)),
        of({"message": {"fields": []}, "arrays": []}),
        of({"message": {"array": "x"}, "arrays": []}),
        struct.pack("<I", 200_000) + b"[" * 200_000,
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        unpack(data)


@pytest.mark.parametrize("seed", range(5))
def test_messages_with_wrong_bytes_yield_a_message_or_an_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = np.frombuffer(pack({"timeline": TWO}), np.uint8)
    for _ in range(200):
        wrong = whole.copy()
        places = rng.integers(0, len(wrong), rng.integers(1, 9))
        wrong[places] = rng.integers(0, 256, len(places))
        end = rng.integers(1, len(wrong) + 1) if rng.random() < 0.3 else None
        with suppress(WireError):
            unpack(wrong.tobytes()[:end])
