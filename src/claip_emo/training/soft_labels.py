"""Soft labels of voices by a linear reader that has never heard their speakers.

A reader that was trained on a voice returns its label; one that was trained on others only returns
what can be heard in it. Without scikit-learn, which is no dependency of the package.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from claip_emo.corpora.base import CorpusError

# Of the squared weights, beside the mean loss of a voice; from strong to weak, since each solution
# is where the search for the next begins.
STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
DRAWS = 200  # of speakers into folds, until no fold has all speakers of a class
STEPS = 1000  # of LBFGS at most
STEEPEST = 1e-6  # gradient at which a reader is fitted


def out_of_speaker(
    features: Tensor,
    labels: Sequence[int | None],
    speakers: Sequence[str],
    classes: int,
    *,
    folds: int = 5,
    seed: int = 0,
) -> Tensor:
    """Return probabilities of each voice by a reader of the voices of other speakers.

    Speakers are divided into folds; a multinomial logistic regression on standardised features
    reads each fold after it was trained on the others. Of several strengths of the L2 penalty, the
    one whose readers have the lowest log loss on the folds that they read is taken, for all alike.

    Each speaker's mean is subtracted first. It takes away how somebody always sounds, and with it
    the balance of the speaker's classes: each is to speak the whole range. Of acted voices read by
    Whisper's third layer, 0.79 are read rightly without, 0.86 with.

    Args:
        features: (voice, width).
        labels: (voice,), class of each; None: the voice is read and trains nobody.
        speakers: (voice,), who speaks.
        classes: number of classes.
        folds: parts of the speakers, at most one a speaker.
        seed: of their division; it depends on nothing else but the speakers' names and classes.

    Returns:
        (voice, classes), float32; rows sum to 1.

    Raises:
        CorpusError: if there are fewer than two speakers, if a class is known of fewer than two, or
            if lengths, labels or features are not as described.
    """
    features = features.detach().double().cpu()
    _check(features, labels, speakers, classes, folds)
    truth = torch.tensor([-1 if label is None else label for label in labels])
    known = truth >= 0
    fold = _divide(labels, speakers, classes, folds, seed)
    features = _centre(features, speakers)
    readings = torch.zeros(len(STRENGTHS), len(features), classes, dtype=torch.float64)
    for number in range(int(fold.max()) + 1):
        heard = fold == number
        taught = known & ~heard
        mean, deviation = features[taught].mean(dim=0), features[taught].std(dim=0, correction=0)
        scaled = (features - mean) / torch.where(deviation > 0, deviation, 1)
        readers = _fit(scaled[taught], truth[taught], classes)
        for place, (weight, bias) in enumerate(readers):
            readings[place, heard] = (scaled[heard] @ weight + bias).log_softmax(dim=-1)
    losses = [functional.nll_loss(log[known], truth[known]) for log in readings]
    return readings[int(torch.stack(losses).argmin())].exp().float()


def _check(
    features: Tensor,
    labels: Sequence[int | None],
    speakers: Sequence[str],
    classes: int,
    folds: int,
) -> None:
    """Raise an error that names everything that is wrong with the voices."""
    if features.dim() != 2 or not len(features) == len(labels) == len(speakers):
        raise CorpusError(
            [
                "Soft labels need a row of features, a label (or None) and a speaker per voice; "
                f"there are features {tuple(features.shape)}, {len(labels)} labels and "
                f"{len(speakers)} speakers."
            ]
        )
    if len(set(speakers)) < 2 or folds < 2:
        raise CorpusError(
            [
                "Soft labels are read by those who know other speakers: there must be at least 2 "
                f"speakers and 2 folds, not {len(set(speakers))} and {folds}."
            ]
        )
    problems = []
    if not features.isfinite().all():
        bad = int((~features.isfinite().all(dim=1)).sum())
        problems.append(f"The features of {bad} voices are not finite.")
    strange = sorted({c for c in labels if c is not None and not 0 <= c < classes})
    if strange:
        problems.append(f"Labels must lie in 0 to {classes - 1}; there are {strange}.")
    for number, names in _speakers_of(labels, speakers, classes).items():
        if len(names) < 2:
            known = f"only of {min(names)}" if names else "of no speaker"
            problems.append(
                f"Class {number} is known {known}: nobody else can teach it. Add voices of it by "
                "other speakers, or leave the class out."
            )
    if problems:
        raise CorpusError(problems)


def _speakers_of(
    labels: Sequence[int | None], speakers: Sequence[str], classes: int
) -> dict[int, set[str]]:
    """Return who is known to have spoken each class."""
    found: dict[int, set[str]] = {number: set() for number in range(classes)}
    for label, speaker in zip(labels, speakers, strict=True):
        if label in found:
            found[label].add(speaker)
    return found


def _divide(
    labels: Sequence[int | None], speakers: Sequence[str], classes: int, folds: int, seed: int
) -> Tensor:
    """Return the fold of each voice, (voice,): no class is spoken in one fold only."""
    names = sorted(set(speakers))
    spoken = _speakers_of(labels, speakers, classes).values()
    rng = np.random.default_rng(seed)
    for _ in range(DRAWS):
        order = rng.permutation(len(names))
        fold = {names[who]: place % folds for place, who in enumerate(order)}
        if all(len({fold[name] for name in who}) > 1 for who in spoken):
            return torch.tensor([fold[speaker] for speaker in speakers])
    raise CorpusError(
        [
            f"No division of {len(names)} speakers into {folds} folds has speakers of every class "
            f"in two of them; take more folds, {len(names)} at most."
        ]
    )


def _centre(features: Tensor, speakers: Sequence[str]) -> Tensor:
    """Subtract each speaker's mean from the speaker's features."""
    names = sorted(set(speakers))
    row = torch.tensor([names.index(speaker) for speaker in speakers])
    belongs = functional.one_hot(row, len(names)).double()  # (voice, speaker)
    means = belongs.T @ features / belongs.sum(dim=0)[:, None]
    return features - means[row]


def _fit(features: Tensor, truth: Tensor, classes: int) -> list[tuple[Tensor, Tensor]]:
    """Fit a reader, weight (width, classes) and bias (classes,), for each of the strengths."""
    weight = torch.zeros(features.shape[1], classes, dtype=torch.float64)
    bias = torch.zeros(classes, dtype=torch.float64)
    wanted = functional.one_hot(truth, classes).double()
    readers = []
    for strength in STRENGTHS:
        _minimise(features, wanted, strength, weight, bias)
        readers.append((weight.clone(), bias.clone()))
    return readers


def _minimise(
    features: Tensor, wanted: Tensor, strength: float, weight: Tensor, bias: Tensor
) -> None:
    """Move weight and bias, in place, to where the penalised loss is lowest."""
    search = torch.optim.LBFGS(
        [weight, bias],
        max_iter=STEPS,
        tolerance_grad=STEEPEST,
        tolerance_change=0.0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        log = (features @ weight + bias).log_softmax(dim=-1)
        miss = (log.exp() - wanted) / len(features)  # the gradient of the logits
        weight.grad = features.T @ miss + strength * weight
        bias.grad = miss.sum(dim=0)
        loss = -(wanted * log).sum() / len(features) + strength / 2 * weight.square().sum()
        return float(loss)

    search.step(closure)
