"""What the world does to a face: each step alone is what it says, and off is off."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from claip_emo.data.face_world import (
    FaceWorld,
    hide,
    motion_kernel,
    shade,
    spent_quality,
    turn,
)
from claip_emo.media.picture import square
from claip_emo.pretrain_recipe import FaceWorldRecipe

SAME = {
    "side": (1, 1), "shift": 0, "rotation_deg": 0, "squeeze": 0, "flip": 0,
    "brightness": (1, 1), "contrast": (1, 1), "gamma": (1, 1), "side_light": 0,
    "blur": 0, "rescale": 0, "jpeg": 0, "noise": 0, "occlusion": 0,
}  # fmt: skip


def world(size_px: int = 48, **changed) -> FaceWorld:
    return FaceWorld(FaceWorldRecipe(**{**SAME, **changed}), size_px)


def rough(size: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size)).astype(np.uint8)


def smooth(size: int = 48, seed: int = 0) -> np.ndarray:
    face = cv2.GaussianBlur(rough(size, seed).astype(np.float32), (0, 0), size / 12)
    return cv2.normalize(face, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def dot(x: float, y: float, size: int = 48, deviation: float = 2.0) -> np.ndarray:
    """Return a light dot on black; the first px lies from 0 to 1."""
    across, down = np.arange(size) + 0.5 - x, np.arange(size) + 0.5 - y
    far = across[None] ** 2 + down[:, None] ** 2
    return np.rint(250 * np.exp(-far / (2 * deviation**2))).astype(np.uint8)


def place(picture: np.ndarray) -> np.ndarray:
    """Return x and y of the middle of the light, in shares of the picture."""
    weights = picture / picture.sum()
    middle = np.arange(len(picture)) + 0.5
    return np.array([weights.sum(0) @ middle, weights.sum(1) @ middle]) / len(picture)


def draws(made: FaceWorld, face: np.ndarray, count: int) -> list[np.ndarray]:
    return [made(face, np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize(("from_px", "to_px"), [(48, 64), (48, 48), (160, 64)])
def test_without_anything_it_is_a_plain_resize(from_px, to_px) -> None:
    face = rough(from_px)
    way = cv2.INTER_AREA if to_px < from_px else cv2.INTER_CUBIC
    plain = cv2.resize(face, (to_px, to_px), interpolation=way)
    assert np.array_equal(world(to_px)(face, np.random.default_rng(0)), plain)


@pytest.mark.parametrize(
    "off",
    [
        {"blur": 0, "blur_px": 9.0, "rescale": 0, "rescale_px": (2, 3), "jpeg": 0,
         "jpeg_quality": (1, 1), "noise": 0, "noise_levels": 99.0, "occlusion": 0,
         "occlusion_area": (0.9, 0.9)},
        {"blur": 1, "blur_px": 0.0},
        {"rescale": 1, "rescale_px": (48, 60)},
        {"noise": 1, "noise_levels": 0.0},
        {"occlusion": 1, "occlusion_area": (0, 0)},
    ],
)  # fmt: skip
def test_off_is_exactly_off(off) -> None:
    face = rough()
    for seen in draws(world(**off), face, 20):
        assert np.array_equal(seen, face)


def test_the_generator_decides_and_the_face_is_left_alone() -> None:
    made, face = FaceWorld(FaceWorldRecipe(), 64), smooth()
    kept = face.copy()
    for seed in range(20):
        one, same = (made(face, np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(one, same)
    assert (one.shape, one.dtype, one.flags.c_contiguous) == ((64, 64), np.uint8, True)
    assert len({seen.tobytes() for seen in draws(made, face, 20)}) == 20
    assert np.array_equal(face, kept)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"gamma": (0, 1)}, "gamma must be two numbers above 0"),
     ({"side": (1.2, 0.8)}, "the smaller first; it is 1.2, 0.8"),
     ({"occlusion_area": (-0.1, 0.2)}, "occlusion_area must be two numbers of at least 0")],
)  # fmt: skip
def test_ranges_that_are_none(wrong, says) -> None:
    with pytest.raises(ValueError, match=says):
        world(**wrong)
    with pytest.raises(ValueError, match="size_px"):
        world(0)


@pytest.mark.parametrize("to_px", [30, 48, 64])
def test_mirrored_is_mirrored(to_px) -> None:
    face = smooth()
    mirrored = world(to_px, flip=1)(face, np.random.default_rng(0)).astype(int)
    plain = world(to_px)(face, np.random.default_rng(0))[:, ::-1]
    assert np.abs(mirrored - plain).max() <= 3
    often = sum(not np.array_equal(s, face) for s in draws(world(flip=0.3), face, 300))
    assert 60 < often < 120


@pytest.mark.parametrize("side", [0.75, 1.25])
@pytest.mark.parametrize(("from_px", "to_px"), [(48, 64), (160, 64)])
def test_the_side_decides_how_much_is_seen(side, from_px, to_px) -> None:
    face = smooth(from_px)
    seen = world(to_px, side=(side, side))(face, np.random.default_rng(0)).astype(int)
    edge = from_px * (1 - side) / 2
    box = np.array([edge, edge, from_px - edge, from_px - edge], np.float32)
    expected = square(face[..., None].repeat(3, 2), box, to_px)[..., 0]
    assert np.abs(seen - expected).max() <= 6


def test_a_large_face_is_averaged_not_sampled() -> None:
    fine = rough(160)
    box = np.array([8, 8, 152, 152], np.float32)
    averaged = square(fine[..., None].repeat(3, 2), box, 32)[..., 0]
    seen = world(32, side=(0.9, 0.9))(fine, np.random.default_rng(0))
    assert averaged.std() < 20  # of 74
    assert seen.std() < 20


def test_shift_and_rotation_reach_their_ends_and_no_further() -> None:
    moved = np.array([place(s) for s in draws(world(64, shift=0.2), dot(24, 24), 200)]) - 0.5
    assert np.abs(moved).max() == pytest.approx(0.2, abs=0.01)
    assert moved.min(axis=0) == pytest.approx([-0.2, -0.2], abs=0.02)
    assert np.abs(np.corrcoef(moved.T)[0, 1]) < 0.3
    turned = np.array([place(s) for s in draws(world(64, rotation_deg=30), dot(36, 24), 200)]) - 0.5
    angles = np.degrees(np.arctan2(turned[:, 1], turned[:, 0]))
    assert (angles.min(), angles.max()) == pytest.approx((-30, 30), abs=1.5)
    np.testing.assert_allclose(np.hypot(*turned.T), 0.25, atol=0.005)
    # A larger square makes shares of its side larger too, and the face smaller.
    both = world(64, side=(1.5, 1.5), shift=0.1)
    wide = np.array([place(s) for s in draws(both, dot(24, 24), 200)]) - 0.5
    assert np.abs(wide).max() == pytest.approx(0.1, abs=0.01)


def test_what_lies_outside_repeats_the_border() -> None:
    face = np.full((48, 48), 200, np.uint8)
    for seen in draws(world(64, side=(1.5, 1.5), shift=0.3, rotation_deg=45), face, 20):
        assert (seen == 200).all()


@pytest.mark.parametrize("squeeze", [0.25, 0.5])
def test_a_turned_head_has_one_narrow_half(squeeze) -> None:
    right, left = (place(turn(dot(24, 24), s))[0] for s in (squeeze, -squeeze))
    assert (1 - right) / right == pytest.approx(1 - squeeze, abs=0.02)
    assert left == pytest.approx(1 - right, abs=0.002)
    flat = np.full((48, 48), 77, np.uint8)
    assert np.array_equal(turn(flat, squeeze), flat)
    middles = [place(s)[0] for s in draws(world(squeeze=squeeze), dot(24, 24), 200)]
    assert max(middles) == pytest.approx(right, abs=0.01)
    assert min(middles) == pytest.approx(left, abs=0.01)


def test_light_is_a_factor_a_contrast_and_an_exponent() -> None:
    face = smooth()
    rng = np.random.default_rng(0)
    dark = world(brightness=(0.15, 0.15))(face, rng)
    assert np.array_equal(dark, np.rint(face * np.float32(0.15)))
    assert len(np.unique(dark)) <= 40  # levels are lost, as a dark recording loses them
    bright = world(brightness=(1.5, 1.5))(face, rng)
    assert np.array_equal(bright, np.minimum(np.rint(face * 1.5), 255))
    gamma = world(gamma=(1.7, 1.7))(face, rng)
    np.testing.assert_allclose(gamma, 255 * (face / 255) ** 1.7, atol=0.51)
    contrast = world(contrast=(0.5, 0.5))(face, rng)
    np.testing.assert_allclose(contrast, face.mean() + (face - face.mean()) / 2, atol=0.51)
    means = [
        s.mean() for s in draws(world(brightness=(0.1, 1)), np.full((8, 8), 250, np.uint8), 300)
    ]
    assert (min(means), max(means)) == pytest.approx((25, 250), abs=6)
    assert np.median(means) == pytest.approx(250 * 0.1**0.5, rel=0.2)  # even in ratios


def test_side_light_falls_off_to_one_side() -> None:
    light = shade((48, 48), 0.6, 0.0)
    assert (light[:, 0] == light[0, 0]).all()
    assert light[0, 0] == pytest.approx(1, abs=1e-6)
    assert light[0, -1] == pytest.approx(0.4, abs=0.02)
    assert (np.diff(light[0]) < 0).all()
    around = [shade((48, 48), 0.5, a) for a in np.linspace(0, 6, 13)]
    assert all(s.min() >= 0.5 and s.max() <= 1 for s in np.round(around, 4))
    flat = np.full((48, 48), 200, np.uint8)
    seen = draws(world(side_light=0.5), flat, 200)
    lit = [s for s in seen if not np.array_equal(s, flat)]
    assert 70 < len(lit) < 130
    assert all(s.min() < 150 and s.max() > 190 for s in lit)


@pytest.mark.parametrize("angle", [0.0, 0.7, 1.6])
def test_motion_smears_along_its_path(angle) -> None:
    kernel = motion_kernel(1.5, angle)
    assert kernel.sum() == pytest.approx(1)
    y, x = np.indices(kernel.shape) - len(kernel) // 2
    along = (kernel * (x * np.cos(angle) + y * np.sin(angle)) ** 2).sum() ** 0.5
    beside = (kernel * (y * np.cos(angle) - x * np.sin(angle)) ** 2).sum() ** 0.5
    assert along == pytest.approx(1.5, abs=0.12)
    assert beside < 0.5


@pytest.mark.parametrize("size", [48, 96])
def test_blur_is_relative_to_the_face(size) -> None:
    point = dot(size / 2, size / 2, size)
    spread = []
    for seen in draws(world(size, blur=1, blur_px=1.5), point, 60):
        weights, middle = seen / seen.sum(), np.arange(size) + 0.5 - size / 2
        variance = max(weights.sum(0) @ middle**2, weights.sum(1) @ middle**2)
        spread.append(max(variance - 4, 0) ** 0.5)
    assert max(spread) <= 1.5 * size / 48 * 1.1
    assert max(spread) > 1.2 * size / 48


def test_rescaling_loses_detail() -> None:
    fine = (np.indices((48, 48)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert all(s.std() < 60 for s in draws(world(rescale=1, rescale_px=(14, 40)), fine, 20))
    coarse = smooth()
    for seen in draws(world(rescale=1, rescale_px=(24, 24)), coarse, 3):
        assert 0 < np.abs(seen.astype(int) - coarse).mean() < 12


def test_noise_grows_with_the_root_of_the_light() -> None:
    made = world(noise=1, noise_levels=10)
    spread = {}
    for level in (200, 50):
        seen = draws(made, np.full((48, 48), level, np.uint8), 100)
        spread[level] = max(s.std() for s in seen)
        assert spread[level] == pytest.approx(10 * (level / 255) ** 0.5, abs=0.6)
        assert np.mean([s.mean() for s in seen]) == pytest.approx(level, abs=0.3)
    often = sum(
        (s != 50).any() for s in draws(world(noise=0.3), np.full((9, 9), 50, np.uint8), 300)
    )
    assert 60 < often < 120


def test_jpeg_is_jpeg_and_dark_faces_keep_more() -> None:
    face = np.clip(smooth() * 1.6 - 77, 0, 255).astype(np.uint8)
    assert face.std() > 54
    for quality in (15, 80):
        stored = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        seen = world(jpeg=1, jpeg_quality=(quality, quality))(face, np.random.default_rng(0))
        assert np.array_equal(seen, cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE))
    # Half of the quantisation at a quarter of the contrast: steps of 50 / q, or 2 - q / 50.
    assert [spent_quality(q, 54 / 4) for q in (10, 25, 50, 80, 100)] == [20, 50, 75, 90, 100]
    assert spent_quality(30, 80.0) == 30
    assert spent_quality(30, 0.0) == 100


def test_what_hides_a_face_has_the_wanted_size() -> None:
    shares, tones = [], []
    for seed in range(200):
        scene = rough(144, seed).astype(np.float32)
        before = scene.copy()
        hide(scene, 1.0, 0.15, np.random.default_rng(seed))
        changed = np.abs(scene - before) > 1e-3
        shares.append(changed.mean())
        tones.append(scene[changed].mean())
        assert 0 <= scene.min() <= scene.max() <= 255
    # Edges are smooth: a px on them is hidden in part.
    assert 0.14 < np.percentile(shares, 1) < 0.16
    assert 0.15 < np.percentile(shares, 99) < 0.18
    assert np.mean(shares) == pytest.approx(0.153, abs=0.01)
    assert min(tones) < 60
    assert max(tones) > 180
    often = [not np.array_equal(s, rough()) for s in draws(world(occlusion=0.25), rough(), 300)]
    assert 50 < sum(often) < 100


def test_what_hides_a_face_is_in_the_same_light() -> None:
    for seed in range(60):
        scene = np.full((48, 48), 10, np.float32)
        hide(scene, 0.1, 0.2, np.random.default_rng(seed))
        assert scene.max() <= 25.5
