"""Predictions: one row per clip and modality, and the figures that follow from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from claip_emo.intervals import bootstrap_difference, bootstrap_interval
from claip_emo.labels import LabelSet
from claip_emo.metrics import (
    is_distribution,
    reliability,
    summarise,
    uar_of,
    war_of,
)
from claip_emo.whole_files import written

MODALITY_NAMES = {"av": "audiovisual", "v": "video", "a": "audio"}
COLUMNS = ("id", "path", "fold", "modality", "label", "predicted")
STATISTICS = {"war": war_of, "uar": uar_of}


class PredictionsError(ValueError):
    """Predictions that contradict themselves, or a file that holds none."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Rows of predictions, sorted by id and modality.

    Attributes:
        labels: the classes, in the order of the columns.
        ids: (row,), names of the clips.
        paths: (row,), their files.
        folds: (row,), the fold they were tested in, or None.
        modality: (row,), ``av``, ``v`` or ``a``.
        label_index: (row,), true class.
        logits: (row, class), mean over the views of a clip.
        scores: (row, class), mean over the views of the softmax.
    """

    labels: LabelSet
    ids: tuple[str, ...]
    paths: tuple[str, ...]
    folds: tuple[int | None, ...]
    modality: tuple[str, ...]
    label_index: NDArray[np.int64]
    logits: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)

    @property
    def predicted_index(self) -> NDArray[np.int64]:
        """The class with the highest score, per row."""
        return self.scores.argmax(axis=1).astype(np.int64)

    @classmethod
    def from_rows(
        cls,
        labels: LabelSet,
        *,
        ids: Sequence[str],
        paths: Sequence[str],
        folds: Sequence[int | None],
        modality: str | Sequence[str],
        true_labels: Sequence[str],
        logits: NDArray[np.floating],
        scores: NDArray[np.floating],
    ) -> Predictions:
        """Build predictions from columns.

        Raises:
            PredictionsError: if columns differ in length, a number is not finite, a row of scores
                is no distribution, or one id stands for two files or two labels.
            LabelError: for an unknown label.
        """
        count = len(ids)
        kinds = [modality] * count if isinstance(modality, str) else list(modality)
        lengths = {len(paths), len(folds), len(kinds), len(true_labels), len(logits), len(scores)}
        if lengths != {count} or np.shape(logits) != np.shape(scores):
            raise PredictionsError("The columns of predictions differ in length.")
        if count and np.shape(scores)[1] != len(labels):
            raise PredictionsError(f"{np.shape(scores)[1]} scores a row for {len(labels)} labels.")
        if not (np.isfinite(logits).all() and np.isfinite(scores).all()):
            raise PredictionsError("Logits and scores must be finite.")
        if not is_distribution(np.asarray(scores, np.float64)):
            raise PredictionsError("Every row of scores must be a distribution: it sums to 1.")
        if unknown := set(kinds) - MODALITY_NAMES.keys():
            raise PredictionsError(f"Unknown modality {unknown.pop()!r}; it is av, v or a.")
        return cls(
            labels,
            tuple(ids),
            tuple(paths),
            tuple(folds),
            tuple(kinds),
            np.array([labels.index_of(name) for name in true_labels], np.int64),
            np.asarray(logits, np.float64),
            np.asarray(scores, np.float64),
        )._sorted()

    @classmethod
    def concat(cls, parts: Sequence[Predictions]) -> Predictions:
        """Join predictions; of a row that stands twice (padding of processes) the first is kept.

        Raises:
            PredictionsError: if there is nothing to join, the parts have different labels, or one
                id stands for two files or two labels.
        """
        if not parts:
            raise PredictionsError("There are no predictions to join.")
        if len({part.labels.names for part in parts}) != 1:
            raise PredictionsError("Predictions over different labels cannot be joined.")
        joined = cls(
            parts[0].labels,
            tuple(i for part in parts for i in part.ids),
            tuple(p for part in parts for p in part.paths),
            tuple(f for part in parts for f in part.folds),
            tuple(m for part in parts for m in part.modality),
            np.concatenate([part.label_index for part in parts]),
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )
        return joined._sorted()

    def _sorted(self) -> Predictions:
        order = sorted(range(len(self)), key=lambda row: (self.ids[row], self.modality[row]))
        kept: list[int] = []
        for row in order:
            if not kept or self.ids[kept[-1]] != self.ids[row]:
                kept.append(row)
                continue
            former = kept[-1]
            for what, values in (("files", self.paths), ("labels", self.label_index)):
                if values[former] != values[row]:
                    raise PredictionsError(
                        f"The id {self.ids[row]!r} stands for two {what} "
                        f"({self.paths[former]} and {self.paths[row]}): give every clip its own."
                    )
            if self.modality[former] != self.modality[row]:
                kept.append(row)
        return self.take(kept)

    def take(self, rows: Sequence[int]) -> Predictions:
        """Return some of the rows."""
        return Predictions(
            self.labels,
            tuple(self.ids[row] for row in rows),
            tuple(self.paths[row] for row in rows),
            tuple(self.folds[row] for row in rows),
            tuple(self.modality[row] for row in rows),
            self.label_index[list(rows)],
            self.logits[list(rows)],
            self.scores[list(rows)],
        )

    def for_modality(self, modality: str) -> Predictions:
        """Return the rows of one modality."""
        return self.take([row for row, kind in enumerate(self.modality) if kind == modality])

    def write(self, path: Path) -> None:
        """Write ``predictions.parquet`` whole."""
        names = self.labels.names
        columns: dict[str, Any] = {
            "id": list(self.ids),
            "path": list(self.paths),
            "fold": pa.array(self.folds, pa.int32()),
            "modality": list(self.modality),
            "label": [names[index] for index in self.label_index],
            "predicted": [names[index] for index in self.predicted_index],
        }
        columns |= {f"score_{name}": self.scores[:, place] for place, name in enumerate(names)}
        columns |= {f"logit_{name}": self.logits[:, place] for place, name in enumerate(names)}
        table = pa.table(columns).replace_schema_metadata({"labels": json.dumps(list(names))})
        with written(path) as partial:
            pq.write_table(table, partial)

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read ``predictions.parquet``.

        Raises:
            PredictionsError: if it is no such file, or its columns and its labels disagree.
        """
        try:
            table = pq.read_table(path)
            names = json.loads((table.schema.metadata or {}).get(b"labels", b"null"))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise PredictionsError(f"{path} holds no predictions: {error}") from error
        if not isinstance(names, list):
            raise PredictionsError(f"{path} holds no predictions: its metadata names no labels.")
        needed = [*COLUMNS, *(f"{kind}_{name}" for kind in ("score", "logit") for name in names)]
        if missing := [name for name in needed if name not in table.column_names]:
            raise PredictionsError(f"{path} lacks the columns {', '.join(missing)}.")
        columns = {name: table[name].to_pylist() for name in COLUMNS}
        try:
            labels = LabelSet(names)
            return cls.from_rows(
                labels,
                ids=columns["id"],
                paths=columns["path"],
                folds=columns["fold"],
                modality=columns["modality"],
                true_labels=columns["label"],
                logits=_matrix(table, "logit", labels),
                scores=_matrix(table, "score", labels),
            )
        except ValueError as error:
            raise PredictionsError(f"{path}: {error}") from error


def metrics(
    predictions: Predictions,
    *,
    speakers: Mapping[str, str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the content of ``metrics.json``.

    The headline is of face and voice together; where only one was scored, of that one.

    Args:
        predictions: rows of the test part.
        speakers: the speaker of each id; intervals are then over resampled speakers, not clips.
        resamples: draws of the bootstrap.
        seed: of the draws.

    Raises:
        PredictionsError: if there are no rows, or a clip has no speaker.
    """
    if not len(predictions):
        raise PredictionsError("There are no predictions to compute metrics from.")
    headline = next(kind for kind in MODALITY_NAMES if kind in predictions.modality)
    rows = predictions.for_modality(headline)
    classes = len(rows.labels)
    if speakers is not None and (nameless := set(rows.ids) - speakers.keys()):
        raise PredictionsError(f"There is no speaker for the clip {min(nameless)!r}.")
    draws: dict[str, Any] = {"num_classes": classes, "resamples": resamples, "seed": seed}
    summary = summarise(rows.label_index, rows.predicted_index, classes)
    by_modality = {}
    for kind, name in MODALITY_NAMES.items():
        of_kind = predictions.for_modality(kind)
        if len(of_kind):
            scored = summarise(of_kind.label_index, of_kind.predicted_index, classes)
            by_modality[name] = {
                "war": scored.war,
                "uar": scored.uar,
                "interval_95": _intervals(of_kind, speakers, draws),
                "calibration_error": reliability(of_kind.scores, of_kind.label_index).error,
            }
    return {
        "war": summary.war,
        "uar": summary.uar,
        "n": len(rows),
        "modality": MODALITY_NAMES[headline],
        "macro_f1": summary.macro_f1,
        "per_class": {
            name: {
                "recall": _number(summary.recall[place]),
                "precision": _number(summary.precision[place]),
                "f1": _number(summary.f1[place]),
                "support": int(summary.support[place]),
            }
            for place, name in enumerate(rows.labels)
        },
        "confusion": {"labels": list(rows.labels), "matrix": summary.confusion.tolist()},
        "interval_95": by_modality[MODALITY_NAMES[headline]]["interval_95"],
        "interval_over": "clips" if speakers is None else "speakers",
        "calibration_error": reliability(rows.scores, rows.label_index).error,
        "chance": {
            "uniform": 1 / classes,
            "majority": float(summary.support.max() / summary.support.sum()),
        },
        "by_modality": by_modality,
        "advantage": _advantage(predictions, speakers, draws),
    }


def _intervals(
    rows: Predictions,
    speakers: Mapping[str, str] | None,
    draws: dict[str, Any],
    against: NDArray[np.int64] | None = None,
) -> dict[str, list[float]]:
    """Return the intervals of WAR and UAR, or of what they are above those of other predictions."""
    draws = draws | {"groups": speakers and [speakers[name] for name in rows.ids]}
    true, said = rows.label_index, rows.predicted_index
    return {
        name: list(
            bootstrap_interval(true, said, statistic, **draws)
            if against is None
            else bootstrap_difference(true, said, against, statistic, **draws)
        )
        for name, statistic in STATISTICS.items()
    }


def _advantage(
    predictions: Predictions, speakers: Mapping[str, str] | None, draws: dict[str, Any]
) -> dict[str, Any]:
    """Return what face and voice together gain over each alone, on the clips that have both."""
    both = predictions.for_modality("av")
    found: dict[str, Any] = {}
    for kind in ("v", "a"):
        alone = predictions.for_modality(kind)
        said = dict(zip(alone.ids, alone.predicted_index, strict=True))
        rows = both.take([row for row, name in enumerate(both.ids) if name in said])
        if not len(rows):
            continue
        other = np.array([said[name] for name in rows.ids])
        first = summarise(rows.label_index, rows.predicted_index, len(rows.labels))
        second = summarise(rows.label_index, other, len(rows.labels))
        found[MODALITY_NAMES[kind]] = {
            "war": first.war - second.war,
            "uar": first.uar - second.uar,
            "interval_95": _intervals(rows, speakers, draws, other),
        }
    return found


def _matrix(table: pa.Table, kind: str, labels: LabelSet) -> NDArray[np.float64]:
    columns = [np.asarray(table[f"{kind}_{name}"], np.float64) for name in labels]
    return np.stack(columns, axis=1)  # (row, class)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
