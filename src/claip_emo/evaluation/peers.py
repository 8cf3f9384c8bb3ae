"""What others have published on the same corpora, and a run beside it.

Figures are percentages as they are printed. What a paper does not print is None. How its epochs
were chosen is told where the released code shows it: MMA-DFER a8e231c (every epoch overwrites the
weights that are tested), HiCMAE 70a7808 (the validation list of MAFW, CREMA-D and RAVDESS is the
test list; the last and the best epoch are printed), S4D 452e875 (its scripts run five folds).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from claip_emo.corpora.published import NAMES, published
from claip_emo.evaluation.baseline import LABEL
from claip_emo.evaluation.comparison import MODALITY_LETTERS, comparability

ON_TEST = "epoch picked on the test fold"
EPOCHS = {
    "validation": "epoch picked on a validation part",
    "last": "last epoch",
    "best_on_test": ON_TEST,
}
UNKNOWN = "not known"
SINGLE_CLASSES: Mapping[str, tuple[str | None, ...]] = {"mafw": (None, "single")}
"""Editions that the published figures are of, where a corpus has several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One method's published figures on one corpus.

    Attributes:
        method: its name.
        modality: what it reads, face and voice or the face alone.
        war: in percent.
        uar: in percent.
        arxiv: id of the paper.
        trainable_m: trained parameters in millions.
        total_m: all parameters in millions.
        gmacs: multiply-accumulates of one clip, in 10^9.
        folds: over what it was tested, where known.
        epoch: which epoch was tested, where known.
        basis: what folds and epoch are known from.
    """

    method: str
    modality: Literal["AV", "V"]
    war: float
    uar: float | None = None
    arxiv: str
    trainable_m: float | None = None
    total_m: float | None = None
    gmacs: float | None = None
    folds: str | None = None
    epoch: str | None = None
    basis: str | None = None

    @property
    def protocol(self) -> str:
        """Folds and epoch in words."""
        if self.folds is None and self.epoch is None:
            return UNKNOWN
        said = f"{self.folds or f'folds {UNKNOWN}'}; {self.epoch or f'epoch {UNKNOWN}'}"
        return f"{said} ({self.basis})" if self.basis else said


_CODE = "released code"
_LAST_OR_BEST = f"epoch {UNKNOWN}, the last or the best on the test fold"
_CLAIP: dict[str, Any] = {
    "method": "CLAIP-Emo ViT-L/14", "modality": "AV", "arxiv": "2509.14527", "trainable_m": 8.2,
    "total_m": 341.6, "folds": "five folds", "epoch": ON_TEST, "basis": _CODE,
}  # fmt: skip
_MMA: dict[str, Any] = {
    "method": "MMA-DFER", "modality": "AV", "arxiv": "2404.09010", "trainable_m": 7.6,
    "total_m": 179.3, "folds": "five folds, their mean", "epoch": "last epoch", "basis": _CODE,
}  # fmt: skip
_HICMAE: dict[str, Any] = {
    "method": "HiCMAE-B", "modality": "AV", "arxiv": "2401.05698", "trainable_m": 80.8,
    "gmacs": 46.1,
}  # fmt: skip
_HICMAE_FOLDS: dict[str, Any] = {"folds": "five folds", "epoch": _LAST_OR_BEST, "basis": _CODE}
_S4D: dict[str, Any] = {
    "method": "S4D / UniLearn", "modality": "V", "arxiv": "2409.06154", "folds": "five folds",
    "basis": _CODE,
}  # fmt: skip
_FINECLIPER: dict[str, Any] = {
    "method": "FineCLIPER", "modality": "V", "arxiv": "2407.02157", "trainable_m": 20.0,
}  # fmt: skip
_HUMANOMNI: dict[str, Any] = {
    "method": "HumanOmni", "modality": "AV", "arxiv": "2501.15111", "total_m": 7000.0,
}  # fmt: skip

PEERS: Mapping[str, tuple[Peer, ...]] = {
    "dfew": (
        Peer(war=80.14, **_CLAIP),
        Peer(war=77.51, uar=67.01, **_MMA),
        Peer(war=75.01, uar=63.76, **_HICMAE),
        Peer(war=76.68, uar=66.8, **_S4D),
        Peer(war=76.21, uar=65.98, **_FINECLIPER),
        Peer(war=82.46, uar=74.86, **_HUMANOMNI),
    ),
    "mafw": (
        Peer(war=61.18, **_CLAIP),
        Peer(war=58.52, uar=44.11, **_MMA),
        Peer(war=56.17, uar=42.65, **_HICMAE, **_HICMAE_FOLDS),
        Peer(war=58.44, **_S4D),
        Peer(war=56.91, uar=45.01, **_FINECLIPER),
        Peer(war=68.40, uar=52.94, **_HUMANOMNI),
    ),
    "crema_d": (Peer(war=84.89, uar=84.91, **_HICMAE, **_HICMAE_FOLDS),),
    "ravdess": (
        Peer(
            method="HiCMAE",  # of which size is not said
            modality="AV",
            war=87.99,
            arxiv=_HICMAE["arxiv"],
            epoch=_LAST_OR_BEST,
            basis=_CODE,
        ),
    ),
}
"""Corpus -> published results."""


def peers_of(corpus: object, variant: object = None) -> tuple[Peer, ...]:
    """Return what is published on a corpus; nothing for another one, or another edition of it."""
    name = str(corpus)
    if name not in PEERS or variant not in SINGLE_CLASSES.get(name, (variant,)):
        return ()
    return PEERS[name]


def beside(
    facts: Mapping[str, Any],
    scored: Mapping[str, Any],
    folds: Mapping[str, Any] | None,
    baseline: Mapping[str, Any] | None,
) -> dict[str, Any] | None:
    """Set a run beside the published results on its corpus.

    Args:
        facts: content of ``run.json``.
        scored: content of ``metrics.json``.
        folds: content of ``folds.json``, if the run is of several folds: their mean is compared.
        baseline: what ``baseline.zero_shot`` found.

    Returns:
        ``rows`` (the baseline first, then all by WAR, the highest first), ``notes`` (sentences on
        what can be compared); None where nothing is published on the corpus.
    """
    peers = peers_of(facts.get("corpus_name"), facts.get("corpus_variant"))
    if not peers:
        return None
    compared = [_own(facts, scored, folds)]
    compared += [
        {
            "kind": "peer",
            "method": peer.method,
            "modality": peer.modality,
            "war": peer.war,
            "uar": peer.uar,
            "size": size_of(peer.trainable_m, peer.total_m),
            "gmacs": peer.gmacs,
            "protocol": peer.protocol,
            "arxiv": peer.arxiv,
        }
        for peer in peers
    ]
    compared.sort(key=lambda row: -row["war"])
    first = [] if baseline is None else [_zero_shot(scored, folds, baseline)]
    tested = _tested(facts, scored, folds)
    on_test = [peer.method for peer in peers if peer.epoch == ON_TEST]
    return {"rows": first + compared, "notes": comparability(facts, tested, on_test)}


def size_of(trainable_m: float | None, total_m: float | None) -> str | None:
    """Return parameters as one reads them: ``8.2 of 341.6 M``."""
    if trainable_m is None:
        return None if total_m is None else f"{_millions(total_m)} in all"
    if total_m is None:
        return _millions(trainable_m)
    return f"{trainable_m:,.1f} of {_millions(total_m)}"


def _millions(count_m: float) -> str:
    return f"{count_m / 1000:g} B" if count_m >= 1000 else f"{count_m:.1f} M"


def _own(
    facts: Mapping[str, Any], scored: Mapping[str, Any], folds: Mapping[str, Any] | None
) -> dict[str, Any]:
    figures = scored if folds is None else folds["mean"]
    parts = [facts.get(key) for key in ("backbone", "adaptation")]
    model = ", ".join(str(part) for part in parts if part)
    counts = facts.get("parameters")
    counts = counts if isinstance(counts, dict) else {}
    in_m = [
        counts[key] / 1e6 if isinstance(counts.get(key), int | float) else None
        for key in ("trainable", "total")
    ]
    epoch = EPOCHS.get(str(facts.get("selection")), f"epoch {UNKNOWN}")
    return {
        "kind": "own",
        "method": f"This run ({model})" if model else "This run",
        "modality": MODALITY_LETTERS[scored["modality"]],
        "war": 100 * figures["war"],
        "uar": 100 * figures["uar"],
        "size": size_of(*in_m),
        "gmacs": None,
        "protocol": f"{_over(_tested(facts, scored, folds))}; {epoch}",
        "arxiv": None,
    }


def _zero_shot(
    scored: Mapping[str, Any], folds: Mapping[str, Any] | None, baseline: Mapping[str, Any]
) -> dict[str, Any]:
    figures = (baseline["mean"] if folds is not None else None) or baseline
    mean_taken = figures is baseline["mean"]
    if figures["war"] is None:
        figures, mean_taken = baseline["mean"], True
    over = f"mean of {len(baseline['folds'])} folds" if mean_taken else f"{baseline['n']:,} clips"
    return {
        "kind": "baseline",
        "method": LABEL,
        "modality": MODALITY_LETTERS[scored["modality"]],
        "war": 100 * figures["war"],
        "uar": 100 * figures["uar"],
        "size": None,
        "gmacs": None,
        "protocol": f"{over}; no epoch",
        "arxiv": None,
    }


def _tested(
    facts: Mapping[str, Any], scored: Mapping[str, Any], folds: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return which folds were tested, how many there are, and clips scored and published."""
    name, variant = str(facts.get("corpus_name")), facts.get("corpus_variant")
    if folds is not None:
        tested = [int(fold) for fold in folds["folds"]]
    else:
        tested = [facts["fold"]] if isinstance(facts.get("fold"), int) else []
    there = published(name).folds if name in NAMES else ()
    wanted = [_published_test_clips(name, variant, fold) for fold in tested if fold in there]
    known = bool(wanted) and None not in wanted
    return {
        "folds": tested,
        "of": len(there) or None,
        "n": scored["n"],
        "published_n": sum(n for n in wanted if n is not None) if known else None,
    }


def _published_test_clips(name: str, variant: Any, fold: int) -> int | None:
    corpus = published(name)
    edition = variant or (corpus.variants[0] if corpus.variants else None)
    test = (corpus.expected(edition, fold) or {}).get("test")
    return test if test is None or isinstance(test, int) else sum(test.values())


def _over(tested: Mapping[str, Any]) -> str:
    folds, there = tested["folds"], tested["of"]
    if not folds:
        return f"folds {UNKNOWN}"
    if len(folds) == 1:
        return f"fold {folds[0]} alone"
    if len(folds) == there:
        return f"all {there} folds, their mean"
    return f"folds {', '.join(map(str, folds))}, their mean"
