"""Features that are kept on disk are found again by what they follow from."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from claip_emo.corpora.base import Sample
from claip_emo.corpora.load import load_corpus
from claip_emo.data.cache import ClipCache
from claip_emo.data.dataset import ClipDataset
from claip_emo.media.faces import Haar
from claip_emo.model.backbones import resolve
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe_files import parse_recipe
from claip_emo.training import features
from claip_emo.training.initial import configured

from .conftest import frozen


def prepared(
    recipe: dict, folder, change: Callable[[ClipDataset], None] | None = None, **settings: object
) -> features.Features:
    """The features of the validation part, of a model as a run would begin with."""
    described = parse_recipe(recipe)
    backbone = resolve(described.model.backbone)
    processor = ClaipEmoProcessor.for_backbone(backbone, **described.model.processor)
    corpus = load_corpus(described.data).part("validation")
    torch.manual_seed(described.train.seed)
    model = ClaipEmoModel(configured(described.model, backbone, processor, corpus.labels))
    dataset = ClipDataset(corpus, processor.clip_spec(), None, described.train.seed)
    if change is not None:
        change(dataset)
    return features.cached_features(folder, model, processor, dataset, **settings)


def test_several_processes_share_the_towers(clips, tmp_path, monkeypatch) -> None:
    """The second of two encodes every other shard, and has all when the first has done the rest."""
    monkeypatch.setattr(features, "CLIPS_A_SHARD", 2)
    recipe, folder = frozen(clips, "cached"), tmp_path / "two"
    whole = prepared(recipe, tmp_path / "one")
    made, told = [], []

    def first_does_its_share() -> None:
        made.append(sorted(int(path.stem) for path in folder.glob("*/*.safetensors")))
        with monkeypatch.context() as first:
            first.setattr(features.processes, "rank", lambda: 0)
            first.setattr(features.processes, "wait", lambda: None)
            prepared(recipe, folder)

    monkeypatch.setattr(features.processes, "count", lambda: 2)
    monkeypatch.setattr(features.processes, "rank", lambda: 1)
    monkeypatch.setattr(features.processes, "wait", first_does_its_share)
    shared = prepared(recipe, folder, progress=lambda *now: told.append(now))
    assert made == [[2, 6]]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert len(shared) == len(whole) == 7
    for clip in range(7):
        for one, other in zip(shared.view(clip, 0), whole.view(clip, 0), strict=True):
            assert torch.equal(one, other)


def test_features_are_found_again_by_what_they_follow_from(clips, tmp_path) -> None:
    """Other towers, clips, windows, settings or another number format: other features."""
    folder = tmp_path / "features"

    def folders(recipe: dict, **settings: object) -> set[str]:
        prepared(recipe, folder, **settings)
        return {path.name for path in folder.iterdir()}

    def by(**changes: object) -> Callable[[ClipDataset], None]:
        return lambda dataset: vars(dataset).update(changes)

    def turned_round(dataset: ClipDataset) -> None:
        dataset.corpus = replace(dataset.corpus, samples=dataset.corpus.samples[::-1])

    def one_view(dataset: ClipDataset) -> None:
        dataset.spec = replace(dataset.spec, views=1)

    def from_cache(dataset: ClipDataset) -> None:
        dataset.cache = ClipCache(tmp_path / "cache", dataset.spec, None)
        dataset.cache.look(dataset.corpus.samples)

    recipe = frozen(clips, "cached")
    known = folders(recipe)
    assert folders(recipe) == known
    assert len(known) == 1
    bright = frozen(clips, "cached")
    bright["model"]["processor"] |= {"image_mean": [0.1, 0.1, 0.1]}
    others = frozen(clips, "cached")
    others["train"]["seed"] = 1
    for changed, settings in (
        (bright, {}),
        (others, {}),  # random towers of another seed
        (recipe, {"epochs": 1}),
        (recipe, {"epochs": 2}),
        (recipe, {"epochs": 2, "change": by(seed=5)}),
        (recipe, {"precision": "bf16"}),
        (recipe, {"change": turned_round}),
        (recipe, {"change": one_view}),
        (recipe, {"change": by(detector=Haar())}),
        (recipe, {"change": from_cache}),
    ):
        now = folders(changed, **settings)
        assert len(now - known) == 1, settings
        known = now
    assert folders(recipe, change=by(seed=5)) == known  # test views are not drawn


@pytest.mark.parametrize("cache", [False, True])
def test_a_clip_that_was_replaced_is_encoded_again(clips, tmp_path, cache: bool) -> None:
    shutil.copytree(clips.parent, tmp_path / "corpus")
    recipe = frozen(tmp_path / "corpus" / clips.name, "cached")

    def found(folder: str) -> features.Features:
        def looked(dataset: ClipDataset) -> None:
            if cache:
                dataset.cache = ClipCache(tmp_path / "cache", dataset.spec, None)
                dataset.cache.look(dataset.corpus.samples)

        return prepared(recipe, tmp_path / folder, looked)

    first, again = found("kept"), found("kept")
    assert len(list((tmp_path / "kept").iterdir())) == 1
    samples = load_corpus(parse_recipe(recipe).data).part("validation").samples
    shutil.copy(samples[3].path, samples[0].path)
    then, fresh = found("kept"), found("new")
    for before, same, now, new in zip(
        *(f.view(0, 0) for f in (first, again, then, fresh)), strict=True
    ):
        assert torch.equal(before, same)
        assert torch.equal(now, new)
        assert not torch.equal(now, before)


def test_every_file_of_a_clip_counts(tmp_path) -> None:
    frames, sound = tmp_path / "frames", tmp_path / "sound.wav"
    frames.mkdir()
    for file in (frames / "1.png", frames / "2.png", sound):
        file.write_bytes(b"one")
    sample = Sample("a", frames, "anger", audio_path=sound)
    known = [features._content(sample, SimpleNamespace(cache=None))]
    for file in (frames / "2.png", sound, frames / "3.png"):
        file.write_bytes(b"three")
        known.append(features._content(sample, SimpleNamespace(cache=None)))
        assert known[-1] not in known[:-1]
    os.utime(sound, ns=(1, 1))  # as one of the same size
    assert features._content(sample, SimpleNamespace(cache=None)) not in known
    sound.unlink()
    assert features._content(sample, SimpleNamespace(cache=None)) is None
