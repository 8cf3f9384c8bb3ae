"""What towers want to see and hear, as the checkpoints they come from describe it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from claip_emo.hub import reachable
from claip_emo.model.backbones import Backbone
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.processor_settings import (
    CLIP_MEAN,
    CLIP_STD,
    PROCESSOR_CONFIG,
    ProcessorSettings,
)

SEEN = ("image_", "face_")
"""How the settings begin that belong to a vision tower."""
HEARD = ("audio_", "mel_", "sampling_", "fft_", "hop")
"""How the settings begin that belong to an audio tower."""


def settings_for(backbone: Backbone, changes: dict[str, Any]) -> ProcessorSettings:
    """Return the settings of a backbone's towers, with changes.

    Raises:
        ValueError: for an unknown setting or a choice out of range.
    """
    known = {field.name for field in dataclasses.fields(ProcessorSettings)}
    if unknown := sorted(changes.keys() - known):
        near = get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}."
        raise ValueError(f"model.processor.{unknown[0]}: unknown key{hint}")
    described = dict(backbone.processor)
    if backbone.vision_source is not None:
        described |= _of_source(backbone.vision_source, SEEN, _vision)
    if backbone.audio_source is not None:
        described |= _of_source(backbone.audio_source, HEARD, _audio)
    return ProcessorSettings(**(described | changes))


def _of_source(
    source: str, prefixes: tuple[str, ...], read: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """Read what a tower's source says of its input, in this package's file or in transformers'."""
    own = _described(source, PROCESSOR_CONFIG) or {}
    if own.get("processor_class") == ClaipEmoProcessor.__name__:
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in own.items()
            if name.startswith(prefixes)
        }
    theirs = _described(source, "preprocessor_config.json")
    return read(theirs) if theirs else {}


def _described(source: str, file: str) -> dict[str, Any] | None:
    """Read what a checkpoint says of its own inputs; None where it says nothing (known ids)."""
    path = cached_file(
        source,
        file,
        local_files_only=not reachable(),
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return json.loads(Path(path).read_text("utf-8")) if path else None


def _vision(described: dict[str, Any]) -> dict[str, Any]:
    size = described.get("crop_size", described.get("size", 224))
    if isinstance(size, dict):
        size = size.get("height", size.get("shortest_edge", 224))
    return {
        "image_size_px": int(size),
        "image_mean": tuple(described.get("image_mean", CLIP_MEAN)),
        "image_std": tuple(described.get("image_std", CLIP_STD)),
    }


def _audio(described: dict[str, Any]) -> dict[str, Any]:
    ours = {
        "mel_mode": "truncation",
        "sampling_rate_hz": "sampling_rate",
        "audio_s": "max_length_s",
        "fft_size": "fft_window_size",
        "hop": "hop_length",
        "mel_bins": "feature_size",
        "mel_min_hz": "frequency_min",
        "mel_max_hz": "frequency_max",
    }
    return {name: described[theirs] for name, theirs in ours.items() if theirs in described}
