"""Training and scoring from prepared clips."""

import json
from pathlib import Path

import numpy as np
import pytest

from claip_emo.corpora.base import CorpusError
from claip_emo.data.dataset import ClipDataset
from claip_emo.evaluation.evaluate import evaluate_data
from claip_emo.evaluation.predictions import Predictions
from claip_emo.recipe import DataRecipe
from claip_emo.recipe_files import RecipeError, parse_recipe
from claip_emo.training.fit import train

from .conftest import described


def recipe_of(clips: Path, cache: Path | str, **data: object):
    recipe = described(clips, epochs=2)
    recipe["data"] |= {"cache": str(cache), **data}
    return parse_recipe(recipe)


def scores(run: Path) -> np.ndarray:
    return Predictions.read(run / "predictions.parquet").scores


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(clips, cache, tmp_path_factory) -> Path:
    """Trained with nothing prepared before."""
    out = tmp_path_factory.mktemp("runs") / "cached"
    return train(recipe_of(clips, cache), out, device="cpu").out


def test_a_run_from_the_cache_is_a_run_from_the_files(
    clips, cache, run, tmp_path, quiet, monkeypatch
) -> None:
    plain = train(recipe_of(clips, "none"), tmp_path / "plain", device="cpu", console=quiet).out
    held = train(recipe_of(clips, "memory"), tmp_path / "held", device="cpu", console=quiet).out
    assert np.abs(scores(held) - scores(plain)).max() < 0.002  # where pieces of sound begin
    assert np.abs(scores(run) - scores(plain)).max() < 0.02  # what JPEG changes
    shards = sorted(cache.glob("*/*.arrow"))
    monkeypatch.setattr("claip_emo.data.dataset.load_clip", None)  # no file is opened
    again = train(recipe_of(clips, cache), tmp_path / "again", device="cpu", console=quiet).out
    assert np.array_equal(scores(run), scores(again))
    assert sorted(cache.glob("*/*.arrow")) == shards


def test_scoring_from_the_cache(clips, cache, run, tmp_path, quiet, monkeypatch) -> None:
    data = DataRecipe(root=str(clips))
    options = {"split": "test", "device": "cpu", "face_detector": "none", "console": quiet}
    options["workers"] = 0
    evaluate_data(run, data, tmp_path / "plain", **options)
    monkeypatch.setattr("claip_emo.data.dataset.load_clip", None)
    for name in ("one", "two"):
        evaluate_data(run, data, tmp_path / name, cache=cache, **options)
    assert np.array_equal(scores(tmp_path / "one"), scores(tmp_path / "two"))
    assert np.allclose(scores(tmp_path / "one"), scores(run), atol=1e-6)  # its adapters are merged
    assert np.abs(scores(tmp_path / "one") - scores(tmp_path / "plain")).max() < 0.02


def test_a_clip_that_could_not_be_prepared_is_unreadable(clips, tmp_path, quiet) -> None:
    lines = clips.read_text().splitlines()
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "broken.mp4").write_bytes(b"x")
    table = folder / "clips.csv"
    header, first, *rest = lines
    place = header.split(",").index("path")
    cells = [row.split(",") for row in (first, *rest)]
    for number, row in enumerate(cells):
        row[place] = str(clips.parent / row[place]) if number else "broken.mp4"
    table.write_text("\n".join([header, *(",".join(row) for row in cells)]) + "\n")
    for _ in range(2):  # prepared by it, and prepared before
        with pytest.raises(CorpusError, match=r"1 clips cannot be read\. .*data\.missing=skip"):
            train(recipe_of(table, tmp_path / "c"), tmp_path / "r", device="cpu", console=quiet)
    skipping = recipe_of(table, tmp_path / "c", missing="skip")
    out = train(skipping, tmp_path / "r", device="cpu", console=quiet).out
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert sum(counts.values()) == len(lines) - 2


def test_every_part_is_read_from_the_cache(clips, tmp_path, quiet, monkeypatch) -> None:
    caches = []
    keep = ClipDataset.__init__

    def init(self, *args, **kwargs) -> None:
        keep(self, *args, **kwargs)
        caches.append(self.cache)

    monkeypatch.setattr(ClipDataset, "__init__", init)
    train(recipe_of(clips, tmp_path / "c"), tmp_path / "r", device="cpu", console=quiet)
    assert [cache.folder for cache in caches] == [tmp_path / "c"] * len(caches) != []


@pytest.mark.parametrize("slip", ["None", "memmory", ""])
def test_a_slip_is_no_folder(clips, slip: str) -> None:
    with pytest.raises(RecipeError, match="cache is none, memory or a folder"):
        recipe_of(clips, slip)
