"""A small made corpus and a recipe that trains on it within seconds."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from claip_emo.corpora.synthetic import make_corpus
from claip_emo.recipe import Recipe
from claip_emo.recipe_files import parse_recipe
from claip_emo.training.fit import train


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """A table of 28 clips of 4 people: 14 to train, 7 to validate, 7 to test."""
    return make_corpus(
        tmp_path_factory.mktemp("corpus"), people=4, clips_per_emotion=1, test_people=1,
        validation_people=1, size_px=32, duration_s=0.7, processes=1,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _quickly(plain_figures) -> None:
    """Runs are trained by the dozen here."""


@pytest.fixture
def quiet() -> Console:
    return Console(file=io.StringIO())


def described(clips: Path, **settings: object) -> dict:
    return {
        "name": "small",
        "data": {"root": str(clips), "face_detector": "none", "workers": 0, "cache": "memory"},
        "model": {
            "backbone": "tiny-clip",
            "processor": {"num_frames": 2, "frame_stride": 2, "audio_s": 0.5},
        },
        "augment": {"modality_dropout": 0.2, "randaugment_layers": 1},
        "protocol": {"zero_shot": False},  # a third of the time of such a small run
        "train": {
            "epochs": 3,
            "batch_size": 4,
            "learning_rate": 1e-2,
            "warmup_epochs": 0.5,
            "log_every_steps": 1,
            **settings,
        },
    }


def small(clips: Path, **settings: object) -> Recipe:
    return parse_recipe(described(clips, **settings))


@pytest.fixture(scope="session")
def uninterrupted(clips, tmp_path_factory) -> Path:
    """A finished run of three epochs, to compare with and not to be changed."""
    return train(small(clips), tmp_path_factory.mktemp("runs") / "whole", device="cpu").out


STILL = {
    "randaugment_layers": 0, "crop_scale": [1.0, 1.0], "flip": 0.0, "erase": 0.0, "mixup": 0.0,
    "cutmix": 0.0, "time_masks": 0, "frequency_masks": 0,
}  # fmt: skip
"""Augmentation that touches neither frames nor sound."""


def frozen(clips, how: str, **model: object) -> dict:
    recipe = described(clips, features=how, epochs=2, learning_rate=1e-3, precision="fp32")
    recipe["data"]["cache"] = "memory"
    recipe["model"] |= {"adaptation": "frozen"} | model
    recipe["augment"] = STILL | {"modality_dropout": 0.5}
    return recipe
