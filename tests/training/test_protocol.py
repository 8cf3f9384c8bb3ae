"""Which part chooses the epoch, and which parts it must not see."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from claip_emo import ClaipEmoModel
from claip_emo.corpora.base import CorpusError
from claip_emo.evaluation.predictions import Predictions
from claip_emo.metrics import summarise
from claip_emo.recipe_files import parse_recipe
from claip_emo.training.fit import train
from claip_emo.training.trainer import newest_checkpoint

from .conftest import described


def history_of(run) -> list[dict]:
    rows = [json.loads(line) for line in (run.out / "history.jsonl").open()]
    return [row for row in rows if row["event"] == "validation"]


@pytest.fixture(scope="module")
def unsplit(clips, tmp_path_factory):
    """The same clips without a validation part of their own: 21 to train, 7 to test."""
    lines = clips.read_text().splitlines()
    folder = clips.parent
    rows = [
        line.replace("clips/person", f"{folder}/clips/person", 1).replace(",validation,", ",train,")
        for line in lines[1:]
    ]
    path = tmp_path_factory.mktemp("table") / "clips.csv"
    path.write_text("\n".join([lines[0], *rows]) + "\n")
    return path


def test_the_best_epoch_on_the_test_part(unsplit, tmp_path, quiet) -> None:
    recipe = described(unsplit, epochs=4)
    recipe["protocol"] |= {"selection": "best_on_test"}
    run = train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)
    checked = history_of(run)
    assert [row["part"] for row in checked] == ["test"] * 4
    # What is reported is the best of the scores on the test part, of all epochs.
    assert run.metrics["war"] == pytest.approx(max(row["war"] for row in checked))
    facts = json.loads((run.out / "run.json").read_text())
    assert facts["selection"] == "best_on_test"
    # Nothing is split off: published practice trains on the whole training part.
    assert facts["counts"] == {"train": 21, "validation": 0, "test": 7}
    page = (run.out / "report.html").read_text()
    assert "picked by its score on these very test clips" in page


@pytest.mark.parametrize("selection", ["validation", "best_on_test", "last"])
def test_the_weights_are_those_of_the_epoch_that_was_chosen(
    unsplit, tmp_path, quiet, monkeypatch, selection: str
) -> None:
    """The second of three epochs scores best; only ``last`` does not care."""
    told = iter([0.2, 0.9, 0.3])
    monkeypatch.setattr(
        "claip_emo.training.trainer.summarise",
        lambda *_: SimpleNamespace(war=(score := next(told)), uar=score),
    )
    recipe = described(unsplit, epochs=3)
    recipe["protocol"] |= {"selection": selection}
    run = train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)
    state = run.out / "training_state"
    chosen = state / "best" / "trained.safetensors"
    last = newest_checkpoint(state) / "trained.safetensors"
    if selection != "last":
        with safe_open(chosen, "pt") as weights:
            assert weights.metadata()["epoch"] == "2"
    expected = load_file(last if selection == "last" else chosen)
    model = dict(ClaipEmoModel.from_pretrained(run.out).named_parameters())
    assert all(torch.equal(model[name], value) for name, value in expected.items())
    if selection != "last":
        other = load_file(last)
        assert any(not torch.equal(other[name], value) for name, value in expected.items())


def test_the_last_epoch_needs_no_validation(unsplit, tmp_path, quiet) -> None:
    recipe = described(unsplit, epochs=2)
    recipe["protocol"] |= {"selection": "last"}
    run = train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)
    assert history_of(run) == []
    assert json.loads((run.out / "run.json").read_text())["counts"]["train"] == 21


def test_the_validation_chooses_by_default(unsplit, tmp_path, quiet) -> None:
    recipe = parse_recipe(described(unsplit, epochs=2))
    run = train(recipe, tmp_path / "r", device="cpu", console=quiet)
    assert {row["part"] for row in history_of(run)} == {"validation"}
    facts = json.loads((run.out / "run.json").read_text())
    assert facts["counts"]["train"] + facts["counts"]["validation"] == 21
    assert facts["counts"]["validation"] > 0
    assert facts["unseen_people"] is True
    rows = Predictions.read(run.out / "predictions.parquet").for_modality("av")
    scored = summarise(rows.label_index, rows.predicted_index, 7)
    assert scored.war == pytest.approx(run.metrics["war"])
    assert np.trace(scored.confusion) == round(7 * scored.war)


def test_the_test_part_cannot_choose_where_there_is_none(clips, tmp_path, quiet) -> None:
    table = tmp_path / "clips.csv"
    text = clips.read_text().replace("clips/person", f"{clips.parent}/clips/person")
    rows = [line for line in text.splitlines() if ",test," not in line]
    table.write_text("\n".join(rows) + "\n")
    recipe = described(table, epochs=1)
    recipe["protocol"] |= {"selection": "best_on_test"}
    with pytest.raises(CorpusError, match="needs a test part"):
        train(parse_recipe(recipe), tmp_path / "r", device="cpu", console=quiet)
