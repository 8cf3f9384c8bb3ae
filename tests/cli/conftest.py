"""A trained model that the command line can use, and the command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from claip_emo.corpora.synthetic import make_corpus
from claip_emo.recipe_files import parse_recipe
from claip_emo.training.fit import train

from ..training.conftest import described


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    return make_corpus(
        tmp_path_factory.mktemp("corpus"), people=4, clips_per_emotion=1, test_people=1,
        validation_people=1, size_px=32, duration_s=0.7, processes=1,
    )  # fmt: skip


@pytest.fixture(scope="session")
def run_folder(clips, tmp_path_factory) -> Path:
    recipe = parse_recipe(described(clips, epochs=1))
    return train(recipe, tmp_path_factory.mktemp("runs") / "run", device="cpu").out


@pytest.fixture
def process():
    """Run the command as a process of its own, as its users do."""

    def call(*arguments: object, **env: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "claip_emo.cli.main", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=180,
            env={**os.environ, "COLUMNS": "200", **env},
        )

    return call
