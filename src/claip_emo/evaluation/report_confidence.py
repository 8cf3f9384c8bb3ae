"""What the report of a run says of confidence: of its own scores, and of a later calibration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from claip_emo.evaluation import figures
from claip_emo.evaluation.confidence import answers, bins_of, curve, measured
from claip_emo.evaluation.predictions import Predictions
from claip_emo.metrics import reliability
from claip_emo.model.checkpoint_folder import CALIBRATION

THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)


def confidence_section(run: Path, rows: Predictions) -> dict[str, Any]:
    """Return what the section on confidence shows.

    Args:
        run: the run's folder, which may hold ``calibration/calibration.json``.
        rows: predictions of the modality that the headline is of.
    """
    calibration = reliability(rows.scores, rows.label_index)
    drawn = curve(rows.scores, rows.label_index)
    return {
        "calibration": measured(rows.scores, rows.label_index)["calibration_error"],
        "diagram": figures.reliability_diagram(calibration),
        "bins": bins_of(calibration),
        "coverage": figures.coverage_curve(drawn, len(rows)),
        "answers": [
            {"below": limit, **answers(rows.scores, rows.label_index, np.full(len(rows), limit))}
            for limit in THRESHOLDS
        ],
        "calibrated": _calibrated(run / CALIBRATION / "calibration.json"),
    }


def _calibrated(path: Path) -> list[dict[str, Any]]:
    """Return a row for each modality that was calibrated since; none where nothing was."""
    try:
        parts = json.loads(path.read_text("utf-8"))["modalities"]
        return [
            {
                "there": there,
                "n": part["judged_on"],
                "temperature": part["temperature"],
                "before": part["before"]["calibration_error"],
                "after": part["after"]["calibration_error"],
                "change": part["change"]["calibration_error"],
            }
            for there, part in parts.items()
            if "after" in part
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
