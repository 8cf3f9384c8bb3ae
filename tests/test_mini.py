"""The model in the box: whole, small, told truly of, and it reads faces and voices."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.held_out_tables import blocks, in_results

from claip_emo import EmotionRecognizer
from claip_emo.corpora.voted_faces import read_voted_faces
from claip_emo.labels import SEVEN
from claip_emo.media.clip import Clip
from claip_emo.model.batching import score, stack
from claip_emo.model.checkpoint_folder import SUMS, packaged
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor

from .conftest import SHARED
from .media.make_media import ramp, tone, write

HERE = Path(__file__).resolve().parents[1]
MOST_PARAMETERS, MOST_BYTES = 7_000_000, 14_000_000
CARD, RESULTS = HERE / "docs" / "model-card.md", HERE / "docs" / "results.md"
HELD_OUT = HERE / "benchmarks" / "results" / "held_out.json"


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


def test_what_was_measured_is_the_model_in_the_box() -> None:
    found = json.loads(HELD_OUT.read_text("utf-8"))
    listed = dict(
        reversed(line.split("  ")) for line in (packaged() / SUMS).read_text().splitlines()
    )
    assert len(found["model"]) > 4
    assert {name: listed[name] for name in found["model"]} == found["model"]


def test_card_and_results_say_what_was_measured() -> None:
    found = json.loads(HELD_OUT.read_text("utf-8"))
    card, results = CARD.read_text("utf-8"), RESULTS.read_text("utf-8")
    section = results.partition("## The model in the box")[2].partition("\n## ")[0]
    told = list(blocks(found))
    for table in told:
        assert table in card
    for table in in_results(told):
        assert table in section
    assert len(in_results(told)) >= 3
    assert f"{found['face']['calibration_error']:.3f} from its accuracy" in card
    readme = (HERE / "README.md").read_text("utf-8")
    face, both, voice = (
        f"{scores['war']['figure']:.0%}".replace("%", " %")
        for scores in (found["face"], found["pairs"]["audiovisual"], found["pairs"]["audio"])
    )
    assert f"{face} of faces from the web, and in {both} of acted voices beside" in readme
    assert f"({voice} of the voices alone)" in readme


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
