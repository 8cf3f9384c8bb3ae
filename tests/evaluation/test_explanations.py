"""What carried the surest mistakes: made for the right clips, shown where it is whole."""

import json
from types import SimpleNamespace

import numpy as np
from PIL import Image

from claip_emo.evaluation.explanations import write_explanations
from claip_emo.evaluation.predictions import Predictions
from claip_emo.evaluation.report import (
    EXPLANATIONS,
    explanation_name,
    forget_pictures,
    picture_names,
    surest_mistakes,
    write_report,
)
from claip_emo.labels import LabelSet

from ..inference.made_world import LABELS, World, made_clip


def mistaken(labels=LABELS, said=(1, 1, 1, 2, 1)) -> Predictions:
    """Five clips that are calm and taken for something else; the first ones most surely."""
    logits = np.eye(3)[list(said)] * np.linspace(9, 5, 5)[:, None]
    return Predictions.from_rows(
        LabelSet(labels), ids=[f"c{i}" for i in range(5)], paths=[f"c{i}.mp4" for i in range(5)],
        folds=[None] * 5, modality="av", true_labels=[labels[0]] * 5, logits=logits,
        scores=np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
    )  # fmt: skip


class Dataset:
    """Clips c4 to c0, in which the label is carried as in the made one; c1 cannot be read."""

    corpus = SimpleNamespace(samples=[SimpleNamespace(id=f"c{i}") for i in range(5)][::-1])

    def __getitem__(self, index: int):
        if index == 3:
            raise OSError("gone")
        return SimpleNamespace(clip=made_clip(path=f"cached {4 - index}"))


def test_the_surest_are_explained_and_no_others(tmp_path, caplog) -> None:
    write_explanations(tmp_path, mistaken(), Dataset(), World(), count=4)
    told = {path.name: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    # c1 cannot be read, c3 was taken for sad in its batch and is angry alone, c4 is the fifth.
    assert sorted(one["path"] for one in told.values()) == ["c0.mp4", "c2.mp4"]
    figures = {path.name for path in tmp_path.glob("*.webp")}
    assert figures == {explanation_name("c0"), explanation_name("c2")}
    assert {name.replace(".json", ".webp") for name in told} == figures
    assert caplog.messages == ["c1 could not be explained: gone"]


def test_the_page_shows_what_is_whole(tmp_path) -> None:
    predictions = mistaken()
    predictions.write(tmp_path / "predictions.parquet")
    folder = tmp_path / EXPLANATIONS
    folder.mkdir()
    for place, mistake in enumerate(surest_mistakes(predictions)[:4]):
        figure = folder / explanation_name(mistake["id"])
        if place != 1:
            Image.new("RGB", (8, 8)).save(figure)
        said = {"sentence": f"It is <{place}>.", "note": "How & why."}
        text = json.dumps(said if place != 2 else {"sentence": "alone"})
        figure.with_suffix(".json").write_text(text if place != 3 else text[:9])
    page = write_report(tmp_path).read_text()
    assert page.count("<figure>") == page.count("data:image/webp;base64,") == 1
    assert "<strong>calm</strong> taken for <strong>angry</strong>: It is &lt;0&gt;." in page
    assert page.count("How &amp; why.") == 1
    assert "- c0: It is &lt;0>." in (tmp_path / "report.md").read_text()

    forget_pictures(tmp_path)
    assert list(folder.iterdir()) == []
    assert "<figure>" not in write_report(tmp_path).read_text()


def test_pictures_of_a_clip_are_where_they_are_written(tmp_path) -> None:
    names = picture_names("a/b c")
    assert names[0].startswith("thumbnails/a-b-c-")
    assert names[1:] == (
        f"explanations/{explanation_name('a/b c')}",
        f"explanations/{explanation_name('a/b c')}".replace(".webp", ".json"),
    )
