"""What every corpus can do, and how a validation part is split off."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claip_emo.corpora.base import Corpus, CorpusError, Sample, split_off_validation
from claip_emo.labels import LabelSet


def test_an_error_crosses_processes_whole() -> None:
    error = pickle.loads(pickle.dumps(CorpusError(["one", "two"], where="clips.csv")))
    assert (error.problems, str(error)) == (("one", "two"), "clips.csv:\none\ntwo")
    assert str(CorpusError(["one"])) == "one"


def test_an_unknown_part_is_told() -> None:
    with pytest.raises(CorpusError, match="no part 'val'"):
        made(True).part("val")


def made(speakers: bool, count: int = 60) -> Corpus:
    names = ("x", "y", "z")
    samples = tuple(
        Sample(
            f"c{i}",
            Path(f"c{i}"),
            names[i % 3],
            split="train" if i % 10 else "test",
            speaker=f"p{i % 12}" if speakers else None,
        )
        for i in range(count)
    )
    return Corpus("made", LabelSet(names), samples)


def test_validation_has_speakers_of_its_own() -> None:
    corpus = split_off_validation(made(True), share=0.2, seed=0)
    parts = {n: {s.speaker for s in corpus.part(n)} for n in ("train", "validation")}
    assert not parts["train"] & parts["validation"]
    assert 0.1 < len(corpus.part("validation")) / 54 < 0.3
    assert corpus.part("test").samples == made(True).part("test").samples


def test_validation_without_speakers_is_even_over_classes() -> None:
    corpus = split_off_validation(made(False), share=0.2, seed=0)
    counts = corpus.part("validation").counts().values()
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == pytest.approx(0.2 * 54, abs=2)


@pytest.mark.parametrize("speakers", [True, False])
def test_the_choice_depends_on_the_seed_and_not_on_the_order(speakers: bool) -> None:
    def chosen(corpus: Corpus, seed: int) -> set[str]:
        part = split_off_validation(corpus, share=0.2, seed=seed).part("validation")
        return {s.id for s in part}

    corpus = made(speakers)
    turned = Corpus(corpus.name, corpus.labels, corpus.samples[::-1])
    assert chosen(corpus, 1) == chosen(turned, 1)
    assert len({frozenset(chosen(corpus, seed)) for seed in range(8)}) > 2


def corpus_of(rows: list[tuple[str, str]]) -> Corpus:
    samples = tuple(
        Sample(f"c{i}", Path(f"c{i}"), label, split="train", speaker=speaker)
        for i, (speaker, label) in enumerate(rows)
    )
    return Corpus("made", LabelSet.found_in(label for _, label in rows), samples)


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_validated_where_speakers_allow_it(seed: int) -> None:
    # Only p0 and p1 show fear: one of them must be validated on, and one must be trained on.
    rows = [(f"p{i}", label) for i in range(10) for label in ("joy", "anger")]
    corpus = split_off_validation(
        corpus_of([*rows, ("p0", "fear"), ("p1", "fear")]), share=0.2, seed=seed
    )
    assert all(corpus.part("validation").counts().values())
    assert all(corpus.part("train").counts().values())


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_one_speaker_stays_in_training(seed: int) -> None:
    rows = [(f"p{i}", "joy") for i in range(6)]
    corpus = split_off_validation(corpus_of([*rows, ("p3", "fear")]), share=0.3, seed=seed)
    assert corpus.part("train").counts()["fear"] == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_speaker_of_most_clips_is_trained_on(seed: int) -> None:
    rows = [("big", "joy")] * 80 + [(f"p{i}", "joy") for i in range(20)]
    corpus = split_off_validation(corpus_of(rows), share=0.1, seed=seed)
    assert len(corpus.part("validation")) == pytest.approx(10, abs=3)


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(CorpusError, match="between 0 and 1"):
        split_off_validation(made(True), share=share, seed=0)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("pqrst"), st.sampled_from(["x", "y"])), min_size=4, max_size=40
    ),
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 99),
)
def test_nothing_is_lost_and_training_is_never_empty(rows, share, seed) -> None:
    before = corpus_of(rows)
    after = split_off_validation(before, share=share, seed=seed)
    assert [s.id for s in after] == [s.id for s in before]
    train, validation = after.part("train"), after.part("validation")
    assert len(train) + len(validation) == len(before)
    assert len(train) > 0
    speakers = {s.speaker for s in before}
    if len(speakers) > 1:
        assert len(validation) > 0
        assert not {s.speaker for s in train} & {s.speaker for s in validation}
