"""Clips that cannot be read: all of them told before work begins, or left out and counted."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.published import Place, read_fold
from claip_emo.evaluation.evaluate import evaluate_data
from claip_emo.evaluation.intake import known_to, plainly, readable
from claip_emo.evaluation.predictions import Predictions
from claip_emo.labels import LabelSet
from claip_emo.media.decode import MediaError
from claip_emo.recipe import DataRecipe
from claip_emo.recipe_files import parse_recipe
from claip_emo.training.fit import train
from claip_emo.training.trainer import ClaipEmoTrainer

from ..corpora.trees import clip_ids, make_tree

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> tuple[Path, set[str]]:
    """DFEW with two clips that are junk: one to train on, one to test on in the first fold."""
    whole = make_tree("dfew", tmp_path_factory.mktemp("whole"))
    parts = {s.split: s.id for s in read_fold("dfew", Place(whole), 1)}
    ids = set(parts.values())
    assert len(ids & set(clip_ids("dfew"))) == 2
    return make_tree("dfew", tmp_path_factory.mktemp("broken"), broken=ids), ids


def recipe_of(root: Path, **data: object):
    settings = {"corpus": "dfew", "root": str(root), "face_detector": "none", "workers": 2}
    return parse_recipe(
        {
            "data": settings | data,
            "model": {"backbone": "tiny", "processor": {"num_frames": 2, "audio_s": 0.5}},
            "train": {"epochs": 1, "warmup_epochs": 0, "batch_size": 4},
            "protocol": {"selection": "last"},
        }
    )


def test_every_unreadable_clip_is_told_before_anything_is_trained(
    broken, tmp_path, monkeypatch
) -> None:
    root, ids = broken
    monkeypatch.setattr(ClaipEmoTrainer, "training_step", None)  # would fail if it were called
    with pytest.raises(CorpusError) as caught:
        train(recipe_of(root), tmp_path / "r", device="cpu", console=QUIET)
    first, *each = caught.value.problems
    assert first.startswith("2 clips cannot be read.")
    assert "data.missing=skip" in first
    assert {line.partition(":")[0] for line in each} == ids
    assert "Traceback" not in str(caught.value)
    # The folder is free for the command with the mend that was named.
    assert not (tmp_path / "r" / "recipe.yaml").exists()


def test_what_is_left_out_is_left_out_by_a_run_that_goes_on(broken, tmp_path, caplog) -> None:
    root, ids = broken
    recipe = recipe_of(root, missing="skip")
    run = train(recipe, tmp_path / "r", device="cpu", console=QUIET)
    assert "2 of 28 clips cannot be read and are left out" in caplog.text
    whole = len(read_fold("dfew", Place(root), 1).samples)
    counts = json.loads((run.out / "run.json").read_text())["counts"]
    assert sum(counts.values()) == whole - 2
    kept = run.out / "training_state" / "left_out.json"
    assert set(json.loads(kept.read_text())) == ids
    rows = Predictions.read(run.out / "predictions.parquet")
    assert not ids & set(rows.ids)
    kept.write_text(json.dumps([*ids, rows.ids[0]]))  # is it read?
    again = train(recipe, tmp_path / "r", device="cpu", console=QUIET)
    assert set(rows.ids) - set(Predictions.read(again.out / "predictions.parquet").ids) == {
        rows.ids[0]
    }


@pytest.fixture(scope="module")
def model(broken, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "r"
    return train(recipe_of(broken[0], missing="skip"), out, device="cpu", console=QUIET).out


def test_scoring_names_them_too_or_leaves_them_out(broken, model, tmp_path) -> None:
    root, ids = broken
    options = {"device": "cpu", "face_detector": "none", "workers": 2, "console": QUIET}
    data = DataRecipe(corpus="dfew", root=str(root), fold=1)
    with pytest.raises(CorpusError, match=r"1 clips cannot be read\. .*--missing skip"):
        evaluate_data(model, data, tmp_path / "e", **options)
    skipping = data.model_copy(update={"missing": "skip"})
    figures = evaluate_data(model, skipping, tmp_path / "e", **options)
    test = read_fold("dfew", Place(root), 1).part("test")
    assert figures["n"] == len(test) - len(ids & {s.id for s in test})


def test_a_clip_that_fails_midway_says_so_in_its_own_words(broken, tmp_path, monkeypatch) -> None:
    """It opened, but then its file was gone, in a process of the loader."""
    from claip_emo.training import fit

    root, ids = broken
    monkeypatch.setattr(fit, "readable", lambda corpus, *_, **__: corpus)
    with pytest.raises(MediaError) as caught:
        train(recipe_of(root), tmp_path / "r", device="cpu", console=QUIET)
    assert "Traceback" not in str(caught.value)
    assert "worker" not in str(caught.value)
    assert "cannot be read as video or sound" in str(caught.value)
    assert any(f"/{int(name)}.mp4" in str(caught.value) for name in ids)


def test_other_errors_are_left_as_they_are() -> None:
    error = MediaError("a.mp4: MediaError: is in its name")
    assert plainly(error) is error


def test_readable_clips_pass(broken) -> None:
    corpus = read_fold("dfew", Place(broken[0]), 1)
    told: list[tuple[int, int]] = []
    kept = readable(corpus, "skip", progress=lambda done, total: told.append((done, total)))
    assert [s.id for s in kept] == [s.id for s in corpus if s.id not in broken[1]]
    assert told[-1] == (len(corpus), len(corpus))


def test_classes_come_in_the_order_of_the_logits(broken) -> None:
    """A model trained on a table has its classes in alphabetical order, the corpus its own."""
    corpus = read_fold("dfew", Place(broken[0]), 1)
    own = LabelSet(sorted(corpus.labels))
    assert own != corpus.labels
    assert known_to(own, corpus).labels == own
    with pytest.raises(CorpusError, match="--across"):
        known_to(LabelSet(["anger", "fear"]), corpus)


def test_processes_share_the_batches_of_one(broken, monkeypatch) -> None:
    """Each scores its own; together all; in batches that one process would have made."""
    import numpy as np

    from claip_emo.data.dataset import ClipDataset
    from claip_emo.evaluation import processes
    from claip_emo.evaluation.evaluate import score_corpus
    from claip_emo.media.clip import ClipSpec
    from claip_emo.model.stacking import Scores

    corpus = readable(read_fold("dfew", Place(broken[0]), 1), "skip")
    dataset = ClipDataset(corpus, ClipSpec(num_frames=1, size_px=16, audio_s=0.2), None)
    batches: list[tuple[str, ...]] = []

    def scorer(batch, wanted):
        batches.append(tuple(batch["ids"]))
        even = np.full((len(batch["ids"]), 7), 1 / 7)
        return {kind: Scores(np.log(even), even) for kind in wanted}

    score_corpus(dataset, scorer, modalities=("av",), batch_size=4)
    whole = [*batches]
    monkeypatch.setattr(processes, "count", lambda: 2)
    shares = []
    for rank in (0, 1):
        batches.clear()
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        rows = score_corpus(dataset, scorer, modalities=("av",), batch_size=4)
        assert sorted(rows.ids) == sorted(name for batch in batches for name in batch)
        shares.append([*batches])
    assert not set(shares[0]) & set(shares[1])
    assert sorted([*shares[0], *shares[1]]) == sorted(whole)
    assert abs(len(shares[0]) - len(shares[1])) <= 1
