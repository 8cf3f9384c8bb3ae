"""RandAugment's operations against Pillow's."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from claip_emo.data import randaugment as ra


@pytest.fixture
def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = rng.integers(20, 220, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC)


def tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def levels(frames: torch.Tensor) -> np.ndarray:
    return (frames.clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda t: ra.autocontrast(t, 0.7), ImageOps.autocontrast),
        (lambda t: ra.equalize(t, 0.7), ImageOps.equalize),
        (lambda t: ra.invert(t, 0.7), ImageOps.invert),
        (lambda t: ra.posterize(t, 0.7), lambda p: ImageOps.posterize(p, 2)),
        (lambda t: ra.posterize(t, 0.1), lambda p: ImageOps.posterize(p, 4)),
        (lambda t: ra.solarize(t, 0.5), lambda p: ImageOps.solarize(p, 128)),
        (lambda t: ra.color(t, 0.5), lambda p: ImageEnhance.Color(p).enhance(1.45)),
        (lambda t: ra.color(t, -0.5), lambda p: ImageEnhance.Color(p).enhance(0.55)),
        (lambda t: ra.contrast(t, 0.5), lambda p: ImageEnhance.Contrast(p).enhance(1.45)),
        (lambda t: ra.brightness(t, -0.5), lambda p: ImageEnhance.Brightness(p).enhance(0.55)),
        (lambda t: ra.sharpness(t, -1.0), lambda p: ImageEnhance.Sharpness(p).enhance(0.1)),
    ],
)
def test_equals_pillow(picture: Image.Image, ours, theirs) -> None:
    difference = np.abs(levels(ours(tensor(picture))) - np.array(theirs(picture)).astype(float))
    assert np.percentile(difference, 99) <= 2


def test_geometry() -> None:
    frames = torch.zeros(1, 3, 41, 41)
    frames[..., 20, 30] = 1  # right of the middle
    moved = ra.translate_x(frames, 0.5)
    assert moved[0, 0, 20].argmax() == pytest.approx(30 - 0.45 * 41 / 2, abs=1)
    turned = ra.rotate(frames, 1.0)[0, 0]
    row, column = divmod(int(turned.argmax()), 41)
    assert np.hypot(row - 20, column - 20) == pytest.approx(10, abs=1)
    assert abs(np.degrees(np.arctan2(row - 20, column - 20))) == pytest.approx(30, abs=6)


def test_every_frame_of_a_clip_gets_the_same_and_the_generator_decides() -> None:
    clip = torch.rand(1, 3, 16, 16).expand(4, 3, 16, 16)
    results = [
        ra.randaugment(clip, layers=4, magnitude=7, rng=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    for result in results:
        assert (result == result[:1]).all()
        assert result.min() >= 0
        assert result.max() <= 1


def test_all_operations_stay_finite_at_any_strength() -> None:
    frames = torch.rand(2, 3, 16, 16)
    for operation in ra.OPERATIONS.values():
        for strength in (-1.0, 0.0, 1.0):
            assert torch.isfinite(operation(frames, strength)).all()
