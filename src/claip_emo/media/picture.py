"""A decoded frame becomes an upright RGB array of the wanted size."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
# Without these swscale rounds down: frames come out one to two levels too dark.
LONGEST_RATIO = 8  # of a picture that is scaled by its shorter side: of it the middle is shown
POINT = int(Interpolation.POINT)
EXACT = int(Interpolation.ACCURATE_RND) | int(Interpolation.FULL_CHR_H_INT)
SMALLEST_FOR_SWSCALE = 16  # px; below it the scaler of the decoder refuses or reads past the edge


def upright(
    frame: Any, aspect: float = 1.0, *, short_px: int | None = None, long_px: int | None = None
) -> Frame:
    """Scale while converting to RGB, and apply the rotation tag and the shape of the pixels.

    Args:
        frame: a decoded video frame.
        aspect: width of its pixels relative to their height.
        short_px: scale so that the shorter side has this length.
        long_px: scale down so that the longer side has at most this length.

    Returns:
        (height, width, 3), uint8 RGB.
    """
    width, height = max(1, round(frame.width * aspect)), frame.height
    scale = 1.0
    if short_px is not None:
        scale = short_px / min(width, height)
    elif long_px is not None:
        scale = min(1.0, long_px / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if short_px is not None and max(width, height) > LONGEST_RATIO * min(width, height):
        plain = resized(frame.to_ndarray(format="rgb24"), (width, height))
        array = fit(plain, short_px=short_px)
    elif min(frame.width, frame.height) < SMALLEST_FOR_SWSCALE:
        array = resized(frame.to_ndarray(format="rgb24"), size)
    else:
        way = int(_interpolation(scale)) | EXACT
        # One thread: a process that was forked waits for ever for those of a scaler it inherited.
        scaled = frame.reformat(*size, format="rgb24", interpolation=way, threads=1)
        array = scaled.to_ndarray()
    return turned(np.asarray(array, np.uint8), _matrix(frame))


def _matrix(frame: Any) -> Any | None:
    """Return the display matrix of a frame; None: there is none.

    Whose ``side_data`` was asked for lives until Python looks for garbage, as the two know each
    other: hundreds of large pictures. So a tiny copy is asked, which has it too.
    """
    if min(frame.width, frame.height) >= SMALLEST_FOR_SWSCALE:
        side = SMALLEST_FOR_SWSCALE
        frame = frame.reformat(side, side, format="gray", interpolation=POINT, threads=1)
    return frame.side_data.get(Type.DISPLAYMATRIX)


def _interpolation(scale: float) -> Interpolation:
    """Return how a frame is scaled; at its own size only its colours are, in half of the time."""
    if scale == 1:
        return Interpolation.BICUBLIN  # colours bilinear, as JPEG decoders have it
    return Interpolation.AREA if scale < 1 else Interpolation.BICUBIC


def turned(picture: Frame, matrix: Any | None) -> Frame:
    """Apply a display matrix: quarter turns and mirrorings; angles between are rounded.

    Args:
        picture: (height, width, 3), uint8, as stored.
        matrix: nine 32-bit integers a b u c d v x y w as bytes, which take a stored point (x, y) to
            (a x + c y, b x + d y); None: shown as stored.
    """
    if matrix is None:
        return np.ascontiguousarray(picture)
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    swapped = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if swapped else (a, d)
    upright = picture.swapaxes(0, 1) if swapped else picture
    upright = upright[:, ::-1] if across < 0 else upright
    return np.ascontiguousarray(upright[::-1] if down < 0 else upright)


def resized(picture: Frame, size: tuple[int, int]) -> Frame:
    """Scale to (width, height): by area downwards, bicubic upwards."""
    if picture.shape[1::-1] == size:
        return picture
    down = size[0] < picture.shape[1] or size[1] < picture.shape[0]
    way = cv2.INTER_AREA if down else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=way), dtype=np.uint8)


def coarse(picture: Frame, least_px: int) -> Frame:
    """Leave out rows and columns of a large picture, for who takes means of it anyway.

    Args:
        picture: (height, width, 3), uint8.
        least_px: length that the shorter side keeps at least.
    """
    step = max(1, min(picture.shape[:2]) // least_px)
    return np.ascontiguousarray(picture[::step, ::step])


def fit(picture: Frame, *, short_px: int | None = None, long_px: int | None = None) -> Frame:
    """Scale a picture as ``upright`` scales a frame."""
    height, width = picture.shape[:2]
    if short_px is not None:  # a ribbon would become huge; only its middle is wanted
        longest = LONGEST_RATIO * min(height, width)
        top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
        picture = picture[top : top + longest, left : left + longest]
        height, width = picture.shape[:2]
    scale = 1.0
    if short_px is not None:
        scale = short_px / min(width, height)
    elif long_px is not None:
        scale = min(1.0, long_px / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return resized(np.ascontiguousarray(picture), size)


def crop(
    picture: Frame, box_px: NDArray[np.float32] | None, size_px: int
) -> tuple[Frame, NDArray[np.float32]]:
    """Cut out a square, or the largest one in the middle where there is no box (None or NaN).

    Returns:
        (S, S, 3), uint8, and the box that was cut out.
    """
    if box_px is None or np.isnan(box_px).any():
        box_px = middle_square(*picture.shape[:2])
    return square(picture, box_px, size_px), box_px


def square(picture: Frame, box_px: NDArray[np.float32], size_px: int) -> Frame:
    """Crop a square and scale it; what lies outside the picture repeats its border.

    Args:
        picture: (height, width, 3), uint8.
        box_px: x0, y0, x1, y1.
        size_px: side S of the result.

    Returns:
        (S, S, 3), uint8.
    """
    height, width = picture.shape[:2]
    side = max(1, round(float(box_px[2] - box_px[0])))
    left = round(float(box_px[0] + box_px[2]) / 2 - side / 2)
    top = round(float(box_px[1] + box_px[3]) / 2 - side / 2)
    if left >= 0 and top >= 0 and left + side <= width and top + side <= height:
        inside = picture[top : top + side, left : left + side]
        return resized(np.ascontiguousarray(inside), (size_px, size_px))
    rows, above, below = _inside(top, side, height)
    columns, before, after = _inside(left, side, width)
    whole = cv2.copyMakeBorder(
        picture[rows, columns], above, below, before, after, cv2.BORDER_REPLICATE
    )
    return resized(np.asarray(whole, np.uint8), (size_px, size_px))


def _inside(start: int, length: int, end: int) -> tuple[slice, int, int]:
    """Return the part of a stretch that lies within [0, end), or the border next to it.

    Returns:
        The part, at least 1 long, and how much of the stretch comes before and after it.
    """
    first, last = (min(max(place, 0), end - 1) for place in (start, start + length - 1))
    before = min(max(first - start, 0), length - 1)
    return slice(first, last + 1), before, length - 1 - (last - first) - before


def middle_square(height: int, width: int) -> NDArray[np.float32]:
    """Return the box of the largest square in the middle of a picture."""
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return np.array([left, top, left + side, top + side], np.float32)
