"""Draws depend on (seed, epoch, sample) and on nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.synthetic import make_corpus
from claip_emo.corpora.table import read_table
from claip_emo.data.dataset import ClipDataset, Draw, DrawSampler, collate
from claip_emo.labels import SEVEN
from claip_emo.media.clip import ClipSpec

SPEC = ClipSpec(num_frames=4, stride=4, size_px=32, audio_s=0.3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    table = make_corpus(
        tmp_path_factory.mktemp("made"), people=3, clips_per_emotion=1, test_people=1,
        validation_people=1, size_px=32, duration_s=2.0, processes=1,
    )  # fmt: skip
    return read_table(table, labels=SEVEN).part("train")


def test_windows_are_drawn_anew_in_every_epoch_and_the_same_in_every_run(corpus) -> None:
    one, other = (ClipDataset(corpus, SPEC, None, seed=3) for _ in range(2))
    frames = [one[Draw(epoch, 0)].clip.frame_times_s[0, 0] for epoch in range(12)]
    assert frames == [other[Draw(epoch, 0)].clip.frame_times_s[0, 0] for epoch in range(12)]
    assert len(set(frames)) > 3


def test_what_is_remembered_gives_the_same_draws(corpus) -> None:
    direct = ClipDataset(corpus, SPEC, None, seed=3)
    kept = ClipDataset(corpus, SPEC, None, seed=3)
    kept.remember(for_training=True)
    for draw in (Draw(0, 0), Draw(4, 2)):
        assert np.array_equal(kept[draw].clip.frames, direct[draw].clip.frames)
    views = ClipDataset(corpus, SPEC, None)
    views.remember(for_training=False)
    assert views[1].clip is views[1].clip


def test_every_unreadable_clip_is_named(corpus, tmp_path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"x")
    samples = [replace(s, path=broken) for s in corpus.samples[:2]]
    dataset = ClipDataset(replace(corpus, samples=tuple(samples)), SPEC, None)
    with pytest.raises(CorpusError) as caught:
        dataset.remember(for_training=True)
    assert len(caught.value.problems) == 2


def test_a_batch(corpus) -> None:
    dataset = ClipDataset(corpus, SPEC, None)
    batch = collate([dataset[Draw(0, index)] for index in range(3)])
    assert batch["frames"][batch["frame"]].shape == (3, 4, 32, 32, 3)
    assert batch["frames"].dtype == torch.uint8
    assert batch["waveforms"].shape == (3, 14_400)
    assert batch["labels"].tolist() == [SEVEN.index_of(s.label) for s in corpus.samples[:3]]
    assert batch["ids"] == [s.id for s in corpus.samples[:3]]


def test_views_share_their_sound(corpus) -> None:
    dataset = ClipDataset(corpus, ClipSpec(num_frames=4, stride=4, size_px=32, audio_s=9), None)
    batch = collate([dataset[0], dataset[1]])
    assert batch["clip"].tolist() == [0, 0, 1, 1]
    assert batch["segment"].tolist() == [0, 0, 1, 1]
    assert len(batch["waveforms"]) == 2


def test_the_order_is_a_permutation_that_the_epoch_decides() -> None:
    sampler = DrawSampler([0] * 10, seed=1)
    first = list(sampler)
    assert sorted(draw.index for draw in first) == list(range(10))
    sampler.epoch = 1
    assert [d.index for d in sampler] != [d.index for d in first]
    sampler.epoch = 0
    assert list(sampler) == first


def test_balanced_sampling_draws_rare_classes_as_often() -> None:
    sampler = DrawSampler([0] * 900 + [1] * 100, seed=1, balanced=True)
    rare = sum(draw.index >= 900 for draw in sampler)
    assert rare == pytest.approx(500, abs=60)


def test_a_face_meets_another_voice_of_its_class_in_every_epoch(corpus) -> None:
    labels = ["anger"] * 3 + ["fear"] * (len(corpus) - 3)
    samples = [replace(s, label=label) for s, label in zip(corpus, labels, strict=True)]
    acted = replace(corpus, samples=tuple(samples))
    kept, redrawn = (ClipDataset(acted, SPEC, None, seed=1, new_pairs=new) for new in (False, True))
    heard = set()
    for epoch in range(16):
        own, met = (dataset[Draw(epoch, 1)].clip for dataset in (kept, redrawn))
        assert np.array_equal(met.frames, own.frames)
        voices = [kept[Draw(epoch, place)].clip.waveforms[0] for place in range(len(corpus))]
        (place,) = (n for n, v in enumerate(voices) if np.array_equal(v, met.waveforms[0]))
        heard.add(place)
        again = redrawn[Draw(epoch, 1)].clip.waveforms[0]
        assert np.array_equal(again, met.waveforms[0])
    assert heard == {0, 1, 2}
    assert np.array_equal(redrawn[1].clip.waveforms[0], kept[1].clip.waveforms[0])  # test views
