"""The model in the box: whole, small, told truly of, and it reads faces and voices."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from claip_emo import EmotionRecognizer
from claip_emo.corpora.voted_faces import read_voted_faces
from claip_emo.labels import SEVEN
from claip_emo.media.clip import Clip
from claip_emo.model.batching import score, stack
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.packaged import SUMS, packaged
from claip_emo.model.processing import ClaipEmoProcessor

from .conftest import SHARED
from .media.make_media import ramp, tone, write

HERE = Path(__file__).resolve().parents[1]
MOST_PARAMETERS, MOST_BYTES = 7_000_000, 14_000_000
CARD, RESULTS = HERE / "docs" / "model-card.md", HERE / "docs" / "results.md"
HELD_OUT = HERE / "benchmarks" / "results" / "held_out.json"
FIGURE = re.compile(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]")


def test_every_file_is_the_one_that_was_shipped() -> None:
    folder = packaged()
    listed = dict(reversed(line.split("  ")) for line in (folder / SUMS).read_text().splitlines())
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert listed.keys() == there - {SUMS}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def test_it_is_small_and_its_terms_lie_beside_it() -> None:
    folder = packaged()
    assert sum(p.stat().st_size for p in folder.rglob("*.safetensors")) <= MOST_BYTES
    model = ClaipEmoModel.from_pretrained(folder)
    assert sum(p.numel() for p in model.parameters()) <= MOST_PARAMETERS
    assert (model.config.adaptation, model.config.labels) == ("lora", list(SEVEN))
    assert (folder / "LICENSE").read_text("utf-8") == (HERE / "LICENSE-mini").read_text("utf-8")
    assert (folder / "README.md").read_text("utf-8") == CARD.read_text("utf-8")


def test_card_and_results_say_what_was_measured() -> None:
    found = json.loads(HELD_OUT.read_text("utf-8"))
    measured = set()

    def collect(told) -> None:
        if isinstance(told, dict) and {"figure", "interval"} <= told.keys():
            low, high = told["interval"]
            measured.add(f"{told['figure']:.3f} [{low:.3f}, {high:.3f}]")
        elif isinstance(told, dict):
            for inner in told.values():
                collect(inner)

    collect(found)
    card = CARD.read_text("utf-8")
    assert len(set(FIGURE.findall(card))) > 15
    assert set(FIGURE.findall(card)) <= measured
    section = (
        RESULTS.read_text("utf-8").partition("## The model in the box")[2].partition("\n## ")[0]
    )
    for headline in (found["face"], found["pairs"]["audio"], found["pairs"]["audiovisual"]):
        low, high = headline["war"]["interval"]
        said = f"{headline['war']['figure']:.3f} [{low:.3f}, {high:.3f}]"
        assert said in card
        assert said in section


def test_prediction_takes_it_where_no_model_is_named(tmp_path) -> None:
    file = write(tmp_path / "a.mp4", ramp(24), tone(1.0), fps=12)
    result = EmotionRecognizer.from_pretrained(face_detector="none")(file)
    assert result.error is None
    assert result.scores.keys() == set(SEVEN)
    assert result.modalities == ("video", "audio")


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the shared data are not here")
def test_it_reads_faces_that_chose_it() -> None:
    torch.manual_seed(0)
    faces = read_voted_faces(SHARED / "data", "select")
    known = np.flatnonzero(faces.majority >= 0)[::8]
    model = ClaipEmoModel.from_pretrained(packaged()).eval()
    processor = ClaipEmoProcessor.from_pretrained(packaged())
    clips = [
        Clip(faces.names[place], np.repeat(faces.pixels[place][None, None, ..., None], 3, -1),
             None, (), (), 0.0)
        for place in known
    ]  # fmt: skip
    said = score(model, processor, stack(clips), ("v",))["v"].probabilities.argmax(axis=1)
    assert np.mean(said == faces.majority[known]) > 0.7
