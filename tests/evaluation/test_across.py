"""A model of one corpus on the clips of another: what is scored, and by which scores."""

import json
from pathlib import Path

import numpy as np
import pytest

from claip_emo.corpora.base import Corpus, CorpusError, Sample
from claip_emo.evaluation.across import project_corpus, project_scores, projected_scorer
from claip_emo.labels import LabelSet, project
from claip_emo.model.stacking import Scores

MODEL = LabelSet(("anger", "neutral", "calm", "contempt", "joy"))
CLIPS = LabelSet(("happy", "boredom", "angry", "neutral"))
PROJECTION = project(MODEL, CLIPS)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_projection_of_these_tests() -> None:
    assert PROJECTION.labels.names == ("happy", "angry", "neutral")
    assert PROJECTION.dropped == ("contempt",)
    assert PROJECTION.excluded == ("boredom",)


def test_scores_by_hand() -> None:
    scores = np.array([[0.1, 0.2, 0.1, 0.5, 0.1]])  # contempt drops out, calm joins neutral
    logits, shared = project_scores(np.log(scores), scores, PROJECTION)
    np.testing.assert_allclose(shared, [[0.2, 0.2, 0.6]])
    np.testing.assert_allclose(np.exp(logits), [[0.1, 0.1, 0.3]])


def test_for_one_view_it_is_the_softmax_over_the_remaining_logits() -> None:
    logits = np.random.default_rng(0).normal(size=(9, 5))
    shared, scores = project_scores(logits, softmax(logits), PROJECTION)
    np.testing.assert_allclose(scores, softmax(shared))
    plain = project(MODEL, LabelSet(("joy", "contempt", "anger")))
    kept, scores = project_scores(logits, softmax(logits), plain)
    np.testing.assert_allclose(kept, logits[:, [4, 3, 0]])
    np.testing.assert_allclose(scores, softmax(logits[:, [4, 3, 0]]))


def test_all_the_mass_on_a_dropped_class() -> None:
    logits = np.array([[0.0, 1.0, -50.0, 900.0, 0.0]])
    _, scores = project_scores(logits, np.array([[0.0, 0.0, 0.0, 1.0, 0.0]]), PROJECTION)
    np.testing.assert_allclose(scores, softmax(np.array([[0.0, 0.0, 1.0]])))


def corpus(*labels: str) -> Corpus:
    return Corpus("made", CLIPS, tuple(
        Sample(f"c{i}", Path(f"c{i}.mp4"), label) for i, label in enumerate(labels)
    ))  # fmt: skip


def test_clips_that_the_model_does_not_know_are_not_even_read() -> None:
    left, told = project_corpus(corpus("happy", "boredom", "neutral", "boredom"), PROJECTION)
    assert [sample.id for sample in left] == ["c0", "c2"]
    assert left.labels == PROJECTION.labels
    assert left.counts() == {"happy": 1, "angry": 0, "neutral": 1}
    assert (told["scored"], told["excluded"], told["n_excluded"]) == (2, {"boredom": 2}, 2)
    assert (told["dropped"], told["counts_as"]["calm"]) == (["contempt"], "neutral")
    json.dumps(told)
    with pytest.raises(CorpusError, match="both know happy, angry, neutral"):
        project_corpus(corpus("boredom"), PROJECTION)


def test_a_scorer_over_the_shared_classes() -> None:
    logits = np.random.default_rng(2).normal(size=(3, 5))

    def scorer(batch, modalities):
        assert batch == {"ids": ["a"]}
        return {kind: Scores(logits, softmax(logits)) for kind in modalities}

    found = projected_scorer(scorer, PROJECTION)({"ids": ["a"]}, ("av", "a"))
    assert set(found) == {"av", "a"}
    expected = project_scores(logits, softmax(logits), PROJECTION)
    np.testing.assert_array_equal(found["a"].logits, expected[0])
    np.testing.assert_array_equal(found["a"].probabilities, expected[1])
