"""Soft labels against scikit-learn's logistic regression, fold by fold, and on made speakers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from claip_emo.corpora.base import CorpusError
from claip_emo.training.soft_labels import STRENGTHS, out_of_speaker

CLASSES = 3
Voices = tuple[torch.Tensor, list[int | None], list[str]]


def made(
    speakers: int = 6, voices: int = 12, width: int = 8, offset: float = 0.0, noise: float = 1.0
) -> Voices:
    """Speakers who say each class in turn; each has a place of their own, ``offset`` away."""
    rng = np.random.default_rng(0)
    meaning = rng.standard_normal((CLASSES, width))
    rows, labels, names = [], [], []
    for speaker in range(speakers):
        place = offset * rng.standard_normal(width)
        for voice in range(voices):
            rows.append(meaning[voice % CLASSES] + place + noise * rng.standard_normal(width))
            labels.append(voice % CLASSES)
            names.append(f"speaker{speaker}")
    scale = np.logspace(-2, 2, width)  # standardised features do not mind
    return torch.tensor(np.array(rows) * scale + 5 * scale, dtype=torch.float32), labels, names


def accuracy(probabilities: torch.Tensor, labels: list[int | None]) -> float:
    return float((probabilities.argmax(dim=1) == torch.tensor(labels)).float().mean())


def test_each_speaker_is_read_as_scikit_learn_reads_him_after_the_others() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.preprocessing import StandardScaler

    features, labels, speakers = made(offset=1.0, noise=2.0)
    own = out_of_speaker(features, labels, speakers, CLASSES, folds=6)
    rows, truth, who = features.double().numpy(), np.array(labels), np.array(speakers)
    for name in set(speakers):
        rows[who == name] -= rows[who == name].mean(axis=0)
    candidates = []
    for strength in STRENGTHS:
        expected = np.zeros((len(rows), CLASSES))
        for name in set(speakers):
            others, heard = who != name, who == name
            scaler = StandardScaler().fit(rows[others])
            reader = LogisticRegression(
                C=1 / (strength * others.sum()), tol=1e-8, max_iter=5000
            ).fit(scaler.transform(rows[others]), truth[others])
            expected[heard] = reader.predict_proba(scaler.transform(rows[heard]))
        candidates.append((log_loss(truth, expected), expected))
    losses = [loss for loss, _ in candidates]
    best = int(np.argmin(losses))
    assert max(losses) - min(losses) > 0.01  # the choice matters
    assert 0 < best < len(STRENGTHS) - 1
    np.testing.assert_allclose(own.numpy(), candidates[best][1], atol=1e-4)


def test_a_voice_has_no_part_in_its_own_label_nor_have_its_speakers_other_voices() -> None:
    features, labels, speakers = made(noise=2.0)
    before = out_of_speaker(features, labels, speakers, CLASSES, folds=6)
    lies = [
        (label + 1) % CLASSES if who == "speaker2" else label
        for label, who in zip(labels, speakers, strict=True)
    ]
    after = out_of_speaker(features, lies, speakers, CLASSES, folds=6)
    heard = torch.tensor([who == "speaker2" for who in speakers])
    # The strength, one number for all, may follow from the lies; which class is likely does not.
    assert accuracy(after[heard], labels[24:36]) == accuracy(before[heard], labels[24:36])
    assert not torch.allclose(after[~heard], before[~heard], atol=1e-3)
    strangers = [f"one{number}" for number in range(len(speakers))]
    split = out_of_speaker(features, lies, strangers, CLASSES, folds=6)
    assert not torch.allclose(split[heard], after[heard], atol=1e-2)


def test_voices_without_a_label_are_read_and_teach_nobody() -> None:
    features, labels, speakers = made(noise=0.4)
    partly = [None if place % 4 == 0 else label for place, label in enumerate(labels)]
    speakers[-12:] = ["silent"] * 12
    partly[-12:] = [None] * 12
    out = out_of_speaker(features, partly, speakers, CLASSES)
    unknown = [place for place, label in enumerate(partly) if label is None]
    assert accuracy(out[unknown], [labels[place] for place in unknown]) > 0.9
    changed = features.clone()
    changed[-12:] = features[-12:].flip(0)  # of whom no label is known
    again = out_of_speaker(changed, partly, speakers, CLASSES)
    torch.testing.assert_close(again[:-12], out[:-12])
    torch.testing.assert_close(again[-12:], out[-12:].flip(0))
    assert not torch.allclose(again[-12:], out[-12:], atol=1e-2)


def test_rows_are_probabilities_and_the_same_for_the_same_seed_in_any_order() -> None:
    features, labels, speakers = made(noise=2.0)
    out = out_of_speaker(features, labels, speakers, CLASSES, folds=3, seed=1)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.sum(dim=1), torch.ones(len(out)))
    with torch.inference_mode(False), torch.no_grad():
        again = out_of_speaker(features, labels, speakers, CLASSES, folds=3, seed=1)
    assert torch.equal(again, out)
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = out_of_speaker(
        features[order],
        [labels[place] for place in order],
        [speakers[place] for place in order],
        CLASSES,
        folds=3,
        seed=1,
    )
    torch.testing.assert_close(shuffled, out[order], atol=1e-4, rtol=0)
    other = out_of_speaker(features, labels, speakers, CLASSES, folds=3, seed=2)
    assert not torch.allclose(other, out, atol=1e-4)


def test_the_penalty_keeps_what_cannot_be_heard_unsure() -> None:
    features, labels, speakers = made(width=40)
    deaf = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    out = out_of_speaker(deaf, labels, speakers, CLASSES)
    loss = -out[range(len(labels)), labels].log().mean()
    assert float(loss) < 1.35 * math.log(CLASSES)
    assert float(out.max()) < 0.95


def test_how_a_speaker_always_sounds_is_taken_away() -> None:
    features, labels, speakers = made(noise=0.4)
    apart = features + torch.arange(6).repeat_interleave(12)[:, None] * features.std(dim=0)
    read = out_of_speaker(features, labels, speakers, CLASSES)
    again = out_of_speaker(apart, labels, speakers, CLASSES)
    torch.testing.assert_close(again, read, atol=1e-3, rtol=0)
    assert accuracy(read, labels) > 0.9


def test_a_feature_that_never_changes_is_no_division_by_zero() -> None:
    features, labels, speakers = made()
    features[:, 0] = 3.0
    assert out_of_speaker(features, labels, speakers, CLASSES).isfinite().all()


def test_speakers_of_a_rare_class_are_never_in_the_same_fold() -> None:
    features, labels, speakers = made(speakers=6)
    rare = [0 if label == 2 and who not in ("speaker0", "speaker5") else label
            for label, who in zip(labels, speakers, strict=True)]  # fmt: skip
    for seed in range(4):
        out = out_of_speaker(features, rare, speakers, CLASSES, folds=2, seed=seed)
        for who in ("speaker0", "speaker5"):
            said = [p for p, (n, c) in enumerate(zip(speakers, rare, strict=True))
                    if n == who and c == 2]  # fmt: skip
            assert float(out[said, 2].mean()) > 0.02  # a class never heard of would have 0


def test_folds_that_cannot_be_divided_say_so() -> None:
    # Each class by two of three speakers, each pair another one: two folds hold one pair together.
    speakers = ["a", "a", "b", "b", "c", "c"]
    labels = [0, 1, 1, 2, 2, 0]
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(CorpusError, match=r"3 speakers into 2 folds.*more folds, 3 at most"):
        out_of_speaker(features, labels, speakers, CLASSES, folds=2)
    assert out_of_speaker(features, labels, speakers, CLASSES, folds=9).isfinite().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f, y, s: (f, y, ["one"] * len(s)), "at least 2 speakers and 2 folds, not 1"),
        (lambda f, y, s: (f[:-1], y, s), r"features \(71, 8\), 72 labels"),
        (lambda f, y, s: (f[:, 0], y, s), r"features \(72,\)"),
        (lambda f, y, s: (f, y[1:], s), "71 labels"),
        (lambda f, y, s: (f * torch.tensor([torch.nan] + [1.0] * 7), y, s), "72 voices"),
        (lambda f, y, s: (f, [3, -2, *y[2:]], s), r"0 to 2; there are \[-2, 3\]"),
        (lambda f, y, s: (f, [min(c, 1) for c in y], s), "Class 2 is known of no speaker"),
        (
            lambda f, y, s: (
                f,
                [c if w == "speaker3" else min(c, 1) for c, w in zip(y, s, strict=True)],
                s,
            ),
            "Class 2 is known only of speaker3",
        ),
    ],
)
def test_voices_that_cannot_be_read_are_an_error(change, said: str) -> None:
    features, labels, speakers = change(*made())
    with pytest.raises(CorpusError, match=said):
        out_of_speaker(features, labels, speakers, CLASSES)
