"""From the data section of a recipe to a corpus whose every sample has its part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from claip_emo.corpora.base import Corpus, CorpusError, OnProgress, split_off_validation
from claip_emo.corpora.published import NAMES, Place, published, read_fold
from claip_emo.corpora.synthetic import make_corpus
from claip_emo.corpora.table import read_table
from claip_emo.labels import LabelSet
from claip_emo.recipe import DataRecipe

NOT_NAMED = (
    "No corpus is named: give your CSV, or the publisher's folder, with --data PATH (data.root)."
)


def load_corpus(
    data: DataRecipe,
    *,
    labels: LabelSet | None = None,
    seed: int = 0,
    validation: bool = True,
    check_files: bool = True,
    progress: OnProgress | None = None,
) -> Corpus:
    """Read or make the corpus that a recipe names and divide it into its parts.

    Args:
        data: the recipe's section.
        labels: the classes of a trained model; None: the recipe's, else the table's.
        seed: seed of a validation part that is split off, and of synthetic clips.
        validation: split a validation part off the training part where none is named.
        check_files: whether clips whose file is not there are problems.
        progress: told how many clips are made, where clips are made.

    Raises:
        CorpusError: if the corpus cannot be used; every bad row is named.
    """
    if not data.root:
        raise CorpusError([NOT_NAMED])
    root = Path(data.root)
    if data.corpus in NAMES:
        kept = data.missing if check_files else "keep"
        corpus = read_fold(data.corpus, place_of(data), fold_of(data), missing=kept)
    else:
        corpus = _table(data, root, labels, seed, progress, check_files=check_files)
    if validation and data.validation_share and not corpus.part("validation").samples:
        corpus = split_off_validation(corpus, share=data.validation_share, seed=seed)
    return corpus


def place_of(data: DataRecipe) -> Place:
    """Return where a published corpus lies, and which edition of it is wanted."""
    order = data.label_order
    return Place(
        Path(data.root or "."),
        clips=Path(data.clips) if data.clips else None,
        variant=data.variant,
        label_order=(order,) if isinstance(order, str) else tuple(order) if order else None,
    )


def fold_of(data: DataRecipe) -> int:
    """Return the fold of a published corpus that a recipe tests on; its first unless named."""
    return published(data.corpus).folds[0] if data.fold is None else data.fold


def _table(
    data: DataRecipe,
    root: Path,
    labels: LabelSet | None,
    seed: int,
    progress: OnProgress | None,
    *,
    check_files: bool,
) -> Corpus:
    split = data.split
    if data.corpus == "synthetic":
        root = make_corpus(root, seed=seed, progress=progress, **data.synthetic)
        split = None
    wanted = labels or (LabelSet(data.labels) if data.labels else None)
    corpus = read_table(root, labels=wanted, split=split, check_files=check_files)
    return corpus if data.fold is None else _tested_on(corpus, data.fold)


def _tested_on(corpus: Corpus, fold: int) -> Corpus:
    """Make one fold the test part and the others the training part."""
    folds = sorted({sample.fold for sample in corpus.samples if sample.fold is not None})
    if fold not in folds:
        raise CorpusError([f"Fold {fold} is not in the table; its folds are {folds or 'none'}."])
    return replace(
        corpus,
        samples=tuple(
            replace(sample, split="test" if sample.fold == fold else sample.split or "train")
            for sample in corpus.samples
        ),
    )


def folds_of(data: DataRecipe) -> list[int]:
    """Return the folds that a corpus has, in order; none for made clips.

    Raises:
        CorpusError: if the table cannot be read.
    """
    if data.corpus in NAMES:
        return list(published(data.corpus).folds)
    if data.corpus == "synthetic" or not data.root:
        return []
    corpus = read_table(data.root, split=data.split)
    return sorted({sample.fold for sample in corpus.samples if sample.fold is not None})
