"""From a clean face to a crop of a real video: what the world, a camera and a detector do to it.

The steps follow each other as in the world: the head turns, light falls on it, something comes in
front of it, a lens and a sensor take it, a codec stores it, a detector frames it. So dark faces
lose levels as dark recordings do, and noise is compressed with the face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from claip_emo.media.picture import square
from claip_emo.pretrain_recipe import FaceWorldRecipe, Range

Grey = NDArray[np.uint8]
Light = NDArray[np.float32]

FACTORS = ("side", "brightness", "contrast", "gamma")
RANGES = (*FACTORS, "rescale_px", "occlusion_area", "jpeg_quality")
FACE_PX = 48  # side of a face that lengths of the recipe refer to
LEVELS = np.arange(256, dtype=np.float32)
TURNS = 128  # steps from a frontal face to one half of which is gone
CUBIC = -0.75  # sharpness of bicubic interpolation, as OpenCV has it
SHADE = (0.3, 0.75)  # share of the light that is lacking on the far side of a face lit from one
ELONGATION = 2.5  # largest length of what hides a face, relative to its width
HIDING = ("ellipse", "box", "strap", "edge")
ELLIPSE = np.array([(math.cos(a), math.sin(a)) for a in np.arange(0, 2 * np.pi, np.pi / 16)])
BOX = np.array([(1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (-1.0, 1.0)])
EYES_Y, MOUTH_Y = 0.38, 0.76  # height of eyes and mouth in a detector's crop
FRACTION_BITS = 4  # of coordinates in OpenCV's drawing
TYPICAL_CONTRAST = 54.0  # median deviation of FER2013's faces, in levels


@dataclass(frozen=True, slots=True)
class _Camera:
    """What lens, sensor and codec do to a picture."""

    motion: Light | None  # kernel of the blur
    defocus_px: float
    small_px: float | None  # height of the picture on the sensor
    noise_levels: float
    jpeg_quality: int | None


class FaceWorld:
    """Shows a face as a detector would crop it from a recording.

    Args:
        recipe: shares and strengths.
        size_px: side S of the crops.

    Raises:
        ValueError: for a range that ends before it begins, or a factor that is not above 0.
    """

    def __init__(self, recipe: FaceWorldRecipe, size_px: int):
        """Take the settings; every draw comes from the generator of the call."""
        if size_px < 1:
            raise ValueError(f"size_px must be at least 1; it is {size_px}.")
        for name in RANGES:
            low, high = getattr(recipe, name)
            if high < low or low < 0 or (low == 0 and name in FACTORS):
                what = "above 0" if name in FACTORS else "of at least 0"
                raise ValueError(
                    f"{name} must be two numbers {what}, the smaller first; it is {low}, {high}."
                )
        self.recipe = recipe
        self.size_px = size_px
        y, x = np.indices((size_px, size_px), np.float32).reshape(2, -1) - (size_px - 1) / 2
        self._grid = np.stack([x, y, np.ones_like(x)]).astype(np.float32)  # px from the middle

    def __call__(self, face: Grey, rng: np.random.Generator) -> Grey:
        """Return the face as one draw of the world shows it.

        Args:
            face: (height, width), uint8 grey; the square in its middle, as high as it is, counts
                as the face's own.
            rng: generator of every draw.

        Returns:
            (S, S), uint8 grey.
        """
        scene = self._scene(face, rng)
        taken = _taken(scene, self._camera(len(face), rng), rng)
        return self._framed(taken, rng.uniform(-1, 1, 4), rng.random() < self.recipe.flip)

    def _scene(self, face: Grey, rng: np.random.Generator) -> Light:
        """Turn, light and hide a face; (height, width), in levels of 0 to 255."""
        squeeze = _uniform((-self.recipe.squeeze, self.recipe.squeeze), rng)
        scene, light = self._lit(turn(face, squeeze), rng)
        if rng.random() < self.recipe.occlusion:
            hide(scene, light, _uniform(self.recipe.occlusion_area, rng), rng)
        return scene

    def _lit(self, face: Grey, rng: np.random.Generator) -> tuple[Light, Light | float]:
        """Return the lit face and the light itself, relative to that in which it was taken."""
        recipe = self.recipe
        light: Light | float = _factor(recipe.brightness, rng)
        contrast, gamma = _factor(recipe.contrast, rng), _factor(recipe.gamma, rng)
        if rng.random() < recipe.side_light:
            light = light * shade(face.shape, _uniform(SHADE, rng), _uniform((0, 2 * np.pi), rng))
        table: NDArray[Any] = LEVELS
        if gamma != 1:
            table = 255 * (LEVELS / 255) ** np.float32(gamma)
        if contrast != 1:
            mean = np.float32(cv2.mean(cv2.LUT(face, table))[0])
            table = np.clip(mean + np.float32(contrast) * (table - mean), 0, 255)
        return np.minimum(cv2.LUT(face, table) * light, 255, dtype=np.float32), light

    def _camera(self, side_px: int, rng: np.random.Generator) -> _Camera:
        """Draw what a camera does to a face of some size."""
        recipe = self.recipe
        motion, defocus_px, small_px, noise, quality = None, 0.0, None, 0.0, None
        if rng.random() < recipe.blur:
            deviation_px = _uniform((0, recipe.blur_px), rng) * side_px / FACE_PX
            if rng.random() < 0.5:
                motion = motion_kernel(deviation_px, _uniform((0, np.pi), rng))
            else:
                defocus_px = deviation_px
        if rng.random() < recipe.rescale:
            small_px = _uniform(recipe.rescale_px, rng)
        if rng.random() < recipe.noise:
            noise = _uniform((0, recipe.noise_levels), rng)
        if rng.random() < recipe.jpeg:
            low, high = recipe.jpeg_quality
            quality = int(rng.integers(low, high + 1))
        return _Camera(motion, defocus_px, small_px, noise, quality)

    def _framed(self, picture: Grey, place: NDArray[np.float64], mirrored: bool) -> Grey:
        """Crop a picture where a detector might.

        Args:
            picture: (height, width), uint8.
            place: side, shift to the right, shift down, rotation: -1 to 1 through each range.
            mirrored: whether right becomes left.
        """
        recipe = self.recipe
        height, width = picture.shape
        low, high = recipe.side
        side_px = height * low * (high / low) ** ((float(place[0]) + 1) / 2)
        right_px, down_px = (recipe.shift * side_px * place[1:3]).tolist()
        angle = math.radians(recipe.rotation_deg) * float(place[3])
        if side_px == height and not (right_px or down_px or angle or mirrored):
            own = np.array([(width - height) / 2, 0, (width + height) / 2, height], np.float32)
            return square(picture, own, self.size_px)
        # What shrinks is averaged before it is warped. What grows is doubled first and warped
        # bilinearly: as sharp as a bicubic warp, in half of its time.
        scale = self.size_px / side_px if self.size_px < side_px else 2.0
        size = max(1, round(width * scale)), max(1, round(height * scale))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        scaled = cv2.resize(picture, size, interpolation=way)
        # From px of the crop to px of the scaled picture; the first px has its middle at 0.5.
        x_scale, y_scale = size[0] / width, size[1] / height
        step = side_px / self.size_px
        cos, sin, sign = step * math.cos(angle), step * math.sin(angle), -1 if mirrored else 1
        x_row = x_scale * sign * cos, -x_scale * sin, x_scale * (width / 2 + right_px) - 0.5
        y_row = y_scale * sign * sin, y_scale * cos, y_scale * (height / 2 + down_px) - 0.5
        affine = np.array([x_row, y_row], np.float32)
        columns, rows = (affine @ self._grid).reshape(2, self.size_px, self.size_px)
        # As cv2.warpAffine, in a third of its time.
        crop = cv2.remap(scaled, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(crop, np.uint8)


def turn(face: Grey, squeeze: float) -> Grey:
    """Turn a head to the side: one half becomes narrower than the other.

    Args:
        face: (height, width), uint8 grey.
        squeeze: share of its width that the right half lacks against the left one; below 0, the
            left half lacks it.
    """
    step = round(squeeze * TURNS)
    if not step:
        return face
    turned = face.astype(np.float32) @ _turning(face.shape[1], step)
    return np.asarray(np.clip(np.rint(turned), 0, 255), np.uint8)


@lru_cache(maxsize=1024)
def _turning(width: int, step: int) -> Light:
    """Return the weight of each column of a face in each column of the turned one."""
    ratio = max(1 - abs(step) / TURNS, 1 / TURNS) ** (1 if step > 0 else -1)
    # A projection: the middle of the face lands where its halves are in this ratio.
    x = (np.arange(width) + 0.5) / width
    x = width * x * ratio / (x * ratio + 1 - x) - 0.5
    away = np.abs(np.clip(x, 0, width - 1)[None] - np.arange(width)[:, None])
    near = (CUBIC + 2) * away**3 - (CUBIC + 3) * away**2 + 1
    far = CUBIC * (away**3 - 5 * away**2 + 8 * away - 4)
    weights = np.where(away < 1, near, np.where(away < 2, far, 0))
    return np.asarray(weights / weights.sum(axis=0), np.float32)


def shade(shape: tuple[int, ...], depth: float, angle: float) -> Light:
    """Return light from one side, (height, width): 1 there, less by ``depth`` on the far side."""
    cos, sin = math.cos(angle), math.sin(angle)
    steepness = depth / 2 / (abs(cos) + abs(sin))
    down, across = (np.arange(count, dtype=np.float32) * 2 / count - 1 for count in shape)
    slope = across * np.float32(cos * steepness) + down[:, None] * np.float32(sin * steepness)
    return np.asarray(np.float32(1 - depth / 2) - slope, np.float32)


def motion_kernel(deviation_px: float, angle: float) -> Light | None:
    """Return the kernel of a straight motion during the exposure, or None for none.

    Args:
        deviation_px: of the points on its path; a path of length L has the deviation L / sqrt(12).
        angle: of its direction.
    """
    length = deviation_px * math.sqrt(12)
    reach = math.ceil(length / 2)
    if not reach:
        return None
    steps = np.arange(-reach, reach + 1)
    along = np.abs(steps * math.cos(angle) + steps[:, None] * math.sin(angle))
    beside = np.abs(steps[:, None] * math.cos(angle) - steps * math.sin(angle))
    weights = np.clip((length + 1) / 2 - along, 0, 1) * np.clip(1 - beside, 0, None)
    return np.asarray(weights / weights.sum(), np.float32)


def _uniform(between: Range, rng: np.random.Generator) -> float:
    low, high = between
    return low + (high - low) * rng.random()


def _factor(between: Range, rng: np.random.Generator) -> float:
    """Draw a factor: half as much is as likely as twice as much."""
    low, high = between
    return float(low * (high / low) ** rng.random())


def _taken(scene: Light, camera: _Camera, rng: np.random.Generator) -> Grey:
    """Return a scene as a camera stores it, (height, width)."""
    height, width = scene.shape
    seen: NDArray[Any] = scene
    if camera.motion is not None:
        seen = cv2.filter2D(seen, -1, camera.motion, borderType=cv2.BORDER_REPLICATE)
    if camera.defocus_px > 0:
        seen = cv2.GaussianBlur(seen, (0, 0), camera.defocus_px, borderType=cv2.BORDER_REPLICATE)
    if camera.small_px is not None and camera.small_px < height:
        small = max(1, round(width * camera.small_px / height)), max(1, round(camera.small_px))
        seen = cv2.resize(seen, small, interpolation=cv2.INTER_AREA)
        seen = cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR)
    if camera.noise_levels > 0:
        # Photons are counted: noise grows with the root of the light, up to its full deviation.
        grain = rng.standard_normal(seen.shape, dtype=np.float32)
        seen = seen + np.float32(camera.noise_levels) * np.sqrt(seen / 255) * grain
    levels = np.asarray(np.clip(np.rint(seen), 0, 255), np.uint8)
    if camera.jpeg_quality is None:
        return levels
    quality = spent_quality(camera.jpeg_quality, float(cv2.meanStdDev(levels)[1][0, 0]))
    stored = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), np.uint8)


def spent_quality(quality: int, contrast: float) -> int:
    """Return JPEG's quality for a picture of some deviation, in levels.

    Encoders of video have bits to spend, and a flat, dark picture needs fewer of them: its levels
    are quantised more finely. At one quality for all of them nothing of a dark face would be left.
    """
    step = 50 / quality if quality < 50 else 2 - quality / 50  # as libjpeg scales its table
    step *= math.sqrt(min(1.0, contrast / TYPICAL_CONTRAST))
    return round(50 / step if step > 1 else 100 - 50 * step)


def hide(scene: Light, light: Light | float, share: float, rng: np.random.Generator) -> None:
    """Hide a share of a scene in place, behind something or beyond the edge of the picture.

    Args:
        scene: (height, width), in levels of 0 to 255.
        light: (height, width) or one number; it falls on what hides the scene too.
        share: of the scene.
        rng: generator of every draw.
    """
    if share == 0:
        return
    what = HIDING[rng.integers(len(HIDING))]
    size = np.array(scene.shape[::-1], np.float64)  # x, y
    if what == "edge":  # crops repeat the last pixels
        inwards = np.rot90(scene, int(rng.integers(4)))  # a view
        depth = min(round(share * len(inwards)), len(inwards) - 1)
        inwards[:depth] = inwards[depth]
        return
    if what == "strap":
        half, angle = size * (1, share / 2), _uniform((-0.15, 0.15), rng)
        centre = size * (0.5, (EYES_Y, MOUTH_Y)[rng.integers(2)] + _uniform((-0.05, 0.05), rng))
    else:
        longer = math.sqrt(_uniform((1, ELONGATION), rng))
        mean = math.sqrt(share * scene.size / (math.pi if what == "ellipse" else 4))
        half, angle = np.array([mean * longer, mean / longer]), _uniform((0, math.pi), rng)
        centre = size * rng.random(2)
    cos, sin = math.cos(angle), math.sin(angle)
    outline = (ELLIPSE if what == "ellipse" else BOX) * half @ np.array([[cos, sin], [-sin, cos]])
    if what != "strap":  # hands come in from an edge: what would lie outside is moved to it
        reach = np.minimum(outline.max(axis=0), size / 2)
        centre = np.clip(centre, reach, size - reach)
    mask = np.zeros(scene.shape, np.uint8)
    points = np.rint((outline + centre - 0.5) * 2**FRACTION_BITS).astype(np.int32)
    cv2.fillConvexPoly(mask, points, 255, cv2.LINE_AA, FRACTION_BITS)
    scene += (np.minimum(_tone(scene, light, rng), 255) - scene) * (mask / np.float32(255))


def _tone(scene: Light, light: Light | float, rng: np.random.Generator) -> Light | float:
    """Draw how light it is what hides a scene: dark, light, like skin, or textured."""
    kind = rng.integers(4)
    if kind == 0:
        return _uniform((5, 60), rng) * light
    if kind == 1:
        return _uniform((180, 250), rng) * light
    if kind == 2:
        return float(scene.mean() / np.mean(light)) * _uniform((0.8, 1.2), rng) * light
    patches = 20 + 215 * rng.random(rng.integers(3, 13, 2), dtype=np.float32)
    texture = cv2.resize(patches, scene.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(texture * light, np.float32)
