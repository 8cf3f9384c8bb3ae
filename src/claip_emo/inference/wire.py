"""Messages between processes: JSON and arrays, of known kinds; nothing in them is ever run.

Whoever decodes a hostile file may be taken over by it. What it sends is therefore not unpickled:
numbers, texts, lists, arrays and the dataclasses named here are all that can come out.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claip_emo.inference.timeline_result import (
    ScoredWindow,
    Segment,
    Stretch,
    Timeline,
    TimelinePerson,
)
from claip_emo.inference.windows import Curve
from claip_emo.media.clip import Clip

KINDS: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (Clip, Timeline, TimelinePerson, Stretch, Segment, ScoredWindow, Curve)
}
NUMBERS = ("uint8", "int16", "int64", "float32", "float64", "bool")
ALIGNMENT = 16  # bytes, of every array
LENGTH = struct.Struct("<I")
ARRAY, KIND, FIELDS = "array", "kind", "fields"


class WireError(ValueError):
    """Bytes that are no message."""


def pack(message: Any) -> bytes:
    """Turn a message into bytes.

    Args:
        message: numbers, texts, None, lists, tuples, mappings by text, arrays, and dataclasses
            named in ``KINDS``. An array that stands in it twice is sent once.

    Raises:
        WireError: if there is anything else in it.
    """
    arrays: dict[int, tuple[int, NDArray[Any]]] = {}
    plain = _plain(message, arrays)
    table = [{"dtype": str(each.dtype), "shape": each.shape} for _, each in arrays.values()]
    head = json.dumps({"message": plain, "arrays": table}, separators=(",", ":")).encode()
    parts = [LENGTH.pack(len(head)), head]
    end = LENGTH.size + len(head)
    for _, each in arrays.values():
        gap = -end % ALIGNMENT
        parts += [bytes(gap), each.tobytes()]
        end += gap + each.nbytes
    return b"".join(parts)


def unpack(data: bytes) -> Any:
    """Return the message that was packed; lists and tuples become tuples, arrays are read-only.

    Raises:
        WireError: if it is none.
    """
    try:
        (length,) = LENGTH.unpack_from(data)
        end = LENGTH.size + length
        head = json.loads(data[LENGTH.size : end].decode())
        arrays = []
        for each in head["arrays"]:
            end += -end % ALIGNMENT
            array = _array(data, end, each["dtype"], each["shape"])
            arrays.append(array)
            end += array.nbytes
        if end != len(data):
            raise WireError(f"A message of {len(data)} bytes tells of {end}.")
        return _made(head["message"], arrays)
    except WireError:
        raise
    except Exception as error:  # whatever its sender made of it
        raise WireError(f"This is no message ({type(error).__name__}: {error}).") from error


def _array(data: bytes, begin: int, dtype: str, shape: list[int]) -> NDArray[Any]:
    if dtype not in NUMBERS or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise WireError(f"An array of {dtype!r} and shape {shape!r} is not taken.")
    return np.frombuffer(data, dtype, prod(shape), begin).reshape(shape)


def _plain(value: Any, arrays: dict[int, tuple[int, NDArray[Any]]]) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        if str(value.dtype) not in NUMBERS:
            raise WireError(f"An array of {value.dtype} cannot be sent.")
        place, _ = arrays.setdefault(id(value), (len(arrays), value))
        return {ARRAY: place}
    if isinstance(value, list | tuple):
        return [_plain(each, arrays) for each in value]
    if isinstance(value, Mapping):
        return {FIELDS: {str(name): _plain(each, arrays) for name, each in value.items()}}
    kind = type(value).__name__
    if is_dataclass(value) and KINDS.get(kind) is type(value):
        own = {each.name: _plain(getattr(value, each.name), arrays) for each in fields(value)}
        return {KIND: kind, FIELDS: own}
    raise WireError(f"A {kind} cannot be sent.")


def _made(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return tuple(_made(each, arrays) for each in value)
    if not isinstance(value, dict):
        return value
    if ARRAY in value:
        return arrays[value[ARRAY]]
    named = {name: _made(each, arrays) for name, each in value[FIELDS].items()}
    return KINDS[value[KIND]](**named) if KIND in value else named
