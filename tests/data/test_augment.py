"""Augmentation: one draw for frames, sound and labels."""

import numpy as np
import pytest
import torch

from claip_emo.data.augment import Augmentation, crop_and_flip, cut_box, fewer, soft_targets
from claip_emo.model.processing import ClaipEmoProcessor, ProcessorSettings
from claip_emo.recipe import AugmentRecipe

OFF = AugmentRecipe(
    randaugment_layers=0,
    crop_scale=(1, 1),
    flip=0,
    erase=0,
    time_masks=0,
    frequency_masks=0,
    mixup=0,
    cutmix=0,
)
SIZE = 16


def augmentation(**changes) -> Augmentation:
    settings = ProcessorSettings(image_size_px=SIZE, audio_s=0.5)
    return Augmentation(OFF.model_copy(update=changes), ClaipEmoProcessor(settings), 4)


def flat(values: list[float], has: list[bool] | None = None) -> dict[str, torch.Tensor]:
    """Inputs whose samples are constant, so that what was mixed can be read off."""
    level = torch.tensor(values)
    count = len(values)
    present = torch.tensor(has) if has else torch.ones(count, dtype=torch.bool)
    return {
        "pixel_values": level.view(-1, 1, 1, 1, 1).expand(count, 2, 3, SIZE, SIZE).clone(),
        "input_features": level.view(-1, 1, 1, 1).expand(count, 1, 100, 8).clone(),
        "has_video": present.clone(),
        "has_audio": torch.ones(count, dtype=torch.bool),
        "labels": torch.eye(count),
    }


def test_soft_targets() -> None:
    targets = soft_targets(torch.tensor([1]), 4, 0.1)
    assert targets[0].tolist() == pytest.approx([0.025, 0.925, 0.025, 0.025])


@pytest.mark.parametrize("seed", range(5))
def test_mixup_blends_everything_with_one_weight(seed: int) -> None:
    mixed = augmentation(mixup=0.8).mix(flat([0.0, 1.0]), np.random.default_rng(seed))
    weight = mixed["pixel_values"][0, 0, 0, 0, 0]
    assert (mixed["pixel_values"][0] == weight).all()
    assert (mixed["input_features"][0] == weight).all()
    assert mixed["labels"][0, 1] == pytest.approx(float(weight), abs=1e-6)
    assert mixed["labels"].sum(1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("seed", range(12))
def test_cutmix_pastes_a_box_and_the_same_share_of_time(seed: int) -> None:
    mixed = augmentation(cutmix=1.0).mix(flat([0.0, 1.0]), np.random.default_rng(seed))
    share = float(mixed["labels"][0, 1])
    assert float(mixed["pixel_values"][0].mean()) == pytest.approx(share, abs=1e-6)
    assert float(mixed["input_features"][0].mean()) == pytest.approx(share, abs=0.006)
    assert (mixed["pixel_values"][0, 0] == mixed["pixel_values"][0, 1]).all()
    time = mixed["input_features"][0, 0, :, 0]
    assert (time.diff() != 0).sum() <= 2  # one piece of time, every frequency
    assert (mixed["input_features"][0, 0] == time[:, None]).all()


def test_the_share_really_pasted_decides_at_the_border() -> None:
    clipped = 0
    for seed in range(50):
        top, left, height, width = cut_box(0.5, SIZE, np.random.default_rng(seed))
        assert 0 <= top <= SIZE - height
        assert 0 <= left <= SIZE - width
        clipped += height * width < 0.45 * SIZE**2
    assert clipped > 5


@pytest.mark.parametrize("how", ["mixup", "cutmix"])
def test_a_sample_without_a_picture_takes_its_partner_s(how: str) -> None:
    swapped = 0
    for seed in range(20):
        given = flat([5.0, 1.0], [False, True])
        mixed = augmentation(**{how: 1.0}).mix(given, np.random.default_rng(seed))
        assert mixed["has_audio"].all()
        if not mixed["labels"][0, 1] > 0:  # each is its own partner, or nothing was pasted
            continue
        swapped += 1
        # What lies where there is no picture (5.0) is never mixed in, and never shown.
        assert (mixed["pixel_values"] == 1.0).all()
        assert mixed["has_video"].all()
        # The sound, which both have, is mixed as the labels are.
        share = float(mixed["labels"][0, 1])
        assert float(mixed["input_features"][0].mean()) == pytest.approx(5 - 4 * share, abs=0.04)
    assert swapped > 5


def test_mixing_can_be_switched_off_and_the_generator_decides() -> None:
    given = flat([0.0, 1.0, 2.0])
    assert augmentation().mix(given, np.random.default_rng(0)) is given
    never = augmentation(mixup=0.8, mix_probability=0.0)
    assert never.mix(given, np.random.default_rng(0)) is given
    mix = augmentation(mixup=0.8, cutmix=1.0).mix
    one, other = (mix(flat([0.0, 1.0, 2.0]), np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(one["pixel_values"], other["pixel_values"])


def test_spec_augment_masks_with_the_mean() -> None:
    mel = torch.arange(100.0)[None, None, :, None].expand(1, 1, 100, 8).clone()
    masked = augmentation(
        time_masks=2, time_mask_share=0.2, frequency_masks=1, frequency_mask_share=0.5
    ).spectrogram(mel, np.random.default_rng(1))
    changed = masked != mel
    assert changed.any()
    assert (masked[changed] == mel.mean()).all()
    columns = changed[0, 0].all(dim=0)
    rows = changed[0, 0].all(dim=1)
    assert columns.sum() <= 4
    assert rows.sum() <= 40
    covered = changed[0, 0] == (rows[:, None] | columns[None])
    assert covered[mel[0, 0] != mel.mean()].float().mean() > 0.95


def test_crop_keeps_the_wanted_share_and_flip_mirrors() -> None:
    ramp = torch.linspace(0, 1, SIZE).expand(1, 2, 3, SIZE, SIZE).clone()
    mirrored = crop_and_flip(ramp, (1.0, 1.0), 1.0, np.random.default_rng(0))
    torch.testing.assert_close(mirrored, ramp.flip(-1), atol=1e-5, rtol=0)
    same = crop_and_flip(ramp, (1.0, 1.0), 0.0, np.random.default_rng(0))
    assert torch.equal(same, ramp)
    spans = [
        float(crop_and_flip(ramp, (0.25, 0.25), 0.0, np.random.default_rng(s))[0, 0, 0, 0, [0, -1]]
              .diff()) for s in range(40)
    ]  # fmt: skip
    assert np.mean(spans) == pytest.approx(0.5, abs=0.08)


def test_erasing_takes_one_box_in_every_frame_of_some_clips() -> None:
    augment = augmentation(erase=0.5)
    frames = torch.full((40, 2, SIZE, SIZE, 3), 128, dtype=torch.uint8)
    out = augment.frames(frames, np.random.default_rng(0))
    plain = augmentation().frames(frames, np.random.default_rng(0))
    changed = (out != plain).flatten(2).any(-1)  # (clip, frame)
    assert (changed[:, 0] == changed[:, 1]).all()
    assert 8 < int(changed[:, 0].sum()) < 32


def test_modality_dropout_takes_one_of_two_and_never_both() -> None:
    inputs = flat([0.0] * 4)
    counts = {"video": 0, "audio": 0}
    for seed in range(100):
        given = {k: v.clone() for k, v in inputs.items()}
        from claip_emo.data.augment import drop_modalities

        drop_modalities(given, 0.5, np.random.default_rng(seed))
        assert (given["has_video"] | given["has_audio"]).all()
        counts["video"] += int((~given["has_video"]).sum())
        counts["audio"] += int((~given["has_audio"]).sum())
    assert counts["video"] == pytest.approx(100, abs=30)
    assert counts["audio"] == pytest.approx(100, abs=30)


def test_modality_dropout_leaves_the_only_one_there_is() -> None:
    from claip_emo.data.augment import drop_modalities

    inputs = flat([0.0] * 4, [False, True, False, True])
    inputs["has_audio"] = torch.tensor([True, False, True, True])
    for seed in range(20):
        given = {k: v.clone() for k, v in inputs.items()}
        drop_modalities(given, 1.0, np.random.default_rng(seed))
        assert given["has_video"].tolist()[:3] == [False, True, False]
        assert given["has_audio"].tolist()[:3] == [True, False, True]
        assert given["has_video"][3] != given["has_audio"][3]


def test_fewer_frames_are_seen_in_their_order_and_each_at_times() -> None:
    frame = torch.arange(600).view(100, 6) + 10_000
    seen = fewer(frame, 2, np.random.default_rng(0))
    assert seen.shape == (100, 2)
    places = seen - frame[:, :1]
    assert (places[:, 0] < places[:, 1]).all()  # of the clip's own six, none twice
    assert set(places[:, 0].tolist()) == set(range(5))
    assert set(places[:, 1].tolist()) == set(range(1, 6))
    assert not torch.equal(seen, fewer(frame, 2, np.random.default_rng(1)))
    for count in (None, 6, 9):
        assert fewer(frame, count, np.random.default_rng(0)) is frame


def test_the_tower_gets_as_many_frames_as_the_recipe_says() -> None:
    batch = {
        "frames": torch.zeros(8, SIZE, SIZE, 3, dtype=torch.uint8),
        "frame": torch.arange(8).view(2, 4),
        "has_video": torch.ones(2, dtype=torch.bool),
        "has_audio": torch.zeros(2, dtype=torch.bool),
        "labels": torch.tensor([0, 1]),
    }
    inputs = augmentation(frames=3)(batch, np.random.default_rng(0))
    assert inputs["pixel_values"].shape[:2] == (2, 3)


def test_the_tower_gets_as_many_windows_as_the_recipe_says() -> None:
    settings = ProcessorSettings(
        image_size_px=SIZE, audio_s=1.5, audio_window_s=0.5, audio_fill="tile"
    )
    batch = {
        "waveforms": torch.arange(72_000).expand(8, -1) / 72_000,  # each window has a level
        "lengths": torch.full((4,), 72_000),
        "segment": torch.tensor([3, 1, 2, 0] * 2),
        "has_video": torch.zeros(8, dtype=torch.bool),
        "has_audio": torch.ones(8, dtype=torch.bool),
        "labels": torch.zeros(8, dtype=torch.long),
    }
    processor = ClaipEmoProcessor(settings)
    hearing = Augmentation(OFF.model_copy(update={"windows": 1}), processor, 4)
    one = hearing(batch, np.random.default_rng(0))["input_features"]
    every = Augmentation(OFF, processor, 4)(batch, np.random.default_rng(0))["input_features"]
    assert (every.shape[:2], one.shape[:2]) == ((8, 3), (8, 1))
    which = [[torch.equal(one[clip, 0], w) for w in every[clip]].index(True) for clip in range(8)]
    assert set(which) == {0, 1, 2}
