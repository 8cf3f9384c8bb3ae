"""What carried the labels of the surest mistakes: for the report, while the model is there."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from claip_emo.data.dataset import ClipDataset
from claip_emo.evaluation.predictions import Predictions
from claip_emo.evaluation.report import explanation_name, headline_of, surest_mistakes
from claip_emo.inference.explain import explain, write
from claip_emo.model.scoring import ArrayEncoder

logger = logging.getLogger(__name__)


def write_explanations(
    folder: Path, predictions: Predictions, dataset: ClipDataset, encoder: ArrayEncoder, count: int
) -> None:
    """Write a figure and a JSON for each of the surest mistakes.

    A clip that cannot be explained, or whose score is so close that it has another label alone
    than in a batch, is left out.

    Args:
        folder: of the explanations.
        predictions: rows of the test part.
        dataset: the test part.
        encoder: of the model that scored.
        count: how many mistakes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = {sample.id: index for index, sample in enumerate(dataset.corpus.samples)}
    for mistake in surest_mistakes(predictions, count):
        try:
            clip = dataset[place[mistake["id"]]].clip
            found = explain(encoder, clip, headline_of(predictions))
            if found.label == mistake["predicted"]:
                found = replace(found, path=mistake["path"])
                write(found, clip, folder / explanation_name(mistake["id"]))
        except Exception as error:  # the scores are what was asked for
            logger.warning("%s could not be explained: %s", mistake["id"], error)
