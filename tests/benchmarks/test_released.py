"""The baseline answers as our model does, in its own expensive way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.models import build
from benchmarks.released_augment import OPERATIONS, augment, erase

from benchmarks import clips, loader, released
from claip_emo.corpora.base import Corpus
from claip_emo.data.dataset import ClipDataset
from claip_emo.evaluation.evaluate import predict
from claip_emo.media.sampling import test_views as views_of
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import AugmentRecipe

TWO_VIEWS, ONE_VIEW = 130, 30  # frames


@pytest.fixture(scope="module")
def built() -> tuple[ClaipEmoModel, ClaipEmoProcessor]:
    return build("tiny-clip")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return clips.dfew_like(tmp_path_factory.mktemp("made"), [TWO_VIEWS, ONE_VIEW], size_px=32)


def test_views_of_the_longer_clip_share_no_frame() -> None:
    assert len(np.unique(views_of(TWO_VIEWS))) == 32


def test_the_released_way_gives_our_probabilities(built, corpus) -> None:
    model, processor = built
    dataset = ClipDataset(corpus, processor.clip_spec(), None)
    ours = predict(model, processor, dataset, modalities=("av",)).scores
    way, reader = released.ReleasedModel(model), released.ReleasedReader(processor)
    for row, sample in zip(ours, corpus, strict=True):
        assert np.abs(released.probabilities(way, reader, sample) - row).max() < 1e-5


def test_adapters_work_and_are_not_merged(built) -> None:
    model, _ = built
    assert any("lora_B" in n and p.abs().max() > 0 for n, p in model.named_parameters())
    with pytest.raises(ValueError, match="do not merge"):
        released.ReleasedModel(build("tiny-clip")[0].merge())


def test_all_four_views_are_computed_although_they_are_equal(built, corpus, monkeypatch) -> None:
    model, processor = built
    seen: list[torch.Size] = []
    way = released.ReleasedModel(model)
    way.register_forward_pre_hook(lambda _, inputs: seen.extend(tensor.shape for tensor in inputs))
    released.probabilities(way, released.ReleasedReader(processor), corpus.samples[1])
    frames, sounds = seen[::2], seen[1::2]
    assert frames == [(1, 16, 3, 32, 32)] * 4
    assert len(sounds) == 4
    assert {len(sound) for sound in sounds} == {4}
    assert {sound[0] for sound in sounds} == {1}


def test_spatial_crops_of_a_wide_frame_are_its_ends() -> None:
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 20:] = 255
    picture = released.Image.fromarray(wide)
    left, right = (np.asarray(released._cropped(picture, 20, crop)) for crop in (0, 1))
    assert left.max() == 0
    assert right.min() == 255


def test_a_training_step_moves_what_is_trained_and_nothing_else(corpus) -> None:
    model, processor = build("tiny-clip")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training = released.ReleasedTraining(
        released.ReleasedModel(model), released.ReleasedReader(processor), AugmentRecipe()
    )
    assert training.step(corpus.samples, [0, 1], np.random.default_rng(0)) > 0
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    moved = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert moved <= trained
    assert {n for n in trained if "lora_A" in n or n.startswith(("head", "temporal"))} <= moved


def test_augmentation_draws_once_for_all_frames_of_a_clip() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    picture = released.Image.fromarray(noise)
    for seed in range(20):
        frames = augment([picture] * 3, 32, AugmentRecipe(), np.random.default_rng(seed))
        one, *others = (np.asarray(frame) for frame in frames)
        assert one.shape == (32, 32, 3)
        assert all(np.array_equal(one, other) for other in others)


def test_every_operation_changes_a_frame() -> None:
    noise = np.random.default_rng(0).integers(20, 200, (48, 48, 3), np.uint8)
    picture = released.Image.fromarray(noise)
    for operation in OPERATIONS:
        assert not np.array_equal(np.asarray(operation(picture, 0.7)), noise)


def test_erasing_fills_one_box_of_every_frame() -> None:
    pixels = np.zeros((4, 3, 32, 32), np.float32)
    erase(pixels, 1.0, np.random.default_rng(0))
    filled = pixels != 0
    assert filled.any()
    assert (filled == filled[0, 0]).all()
    erase(same := np.zeros((4, 3, 32, 32), np.float32), 0.0, np.random.default_rng(0))
    assert not same.any()


def test_reading_alone_does_what_reading_prepared_clips_does(
    built, corpus, tmp_path, monkeypatch
) -> None:
    """The same frames and the same seconds, and nothing done to them."""
    _, processor = built
    reader = released.ReleasedReader(processor)
    kept = clips.prepared(corpus, processor.clip_spec(), tmp_path)
    monkeypatch.setattr(released, "augment", None)
    for name in ("mel", "_to_array"):
        monkeypatch.setattr(reader, name, None)
    for index, sample in enumerate(corpus):
        ours = kept[index].clip
        for view, (seen, heard) in enumerate(zip(ours.frames, ours.waveforms, strict=True)):
            choose = lambda n, view=view: views_of(n)[view]  # noqa: E731
            frames, sound = loader.released_read(reader, sample, choose)
            assert np.abs(np.stack(frames).astype(int) - seen).mean() < 2
            assert abs(len(sound) - len(heard)) <= 1


def test_each_pair_of_the_loader_is_timed(built, corpus, tmp_path) -> None:
    _, processor = built
    jobs = loader._jobs(clips.prepared(corpus, processor.clip_spec(), tmp_path), corpus, processor)
    assert [*jobs] == [name for what in loader.PAIRS for name in (what, f"released {what}")]
    found = {what: job() for what, job in jobs.items()}
    assert found["whole sample"].keys() >= {"pixel_values", "input_features"}
    assert found["sample"]["frames"].dtype == torch.uint8
    assert found["released sample"][0][0].dtype == np.uint8
    assert len(found["released views"]) == len(found["released whole views"]) == 4
