"""Which frames, which seconds of sound and which region carried a label: JSON and a figure."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claip_emo.inference.explain_words import NOTE, headline, region_name, sentence
from claip_emo.inference.explanation import Explanation
from claip_emo.inference.occlusion import COVER, COVERED_FRAMES, Drops, Hider
from claip_emo.inference.outputs import check_folder, unique_name
from claip_emo.inference.reader import ModalityChoice
from claip_emo.inference.result import EmotionResult, failed
from claip_emo.media.clip import Clip
from claip_emo.model.description import Modality
from claip_emo.model.scoring import ArrayEncoder
from claip_emo.whole_files import write_text, written

if TYPE_CHECKING:
    from claip_emo.inference.recognizer import EmotionRecognizer

logger = logging.getLogger(__name__)

KEYS = frozenset(("headline", "shares", "frames"))
"""By which the JSON of an explanation is known."""


def explain(model: ArrayEncoder, clip: Clip, modality: Modality = "av") -> Explanation:
    """Say which frames, seconds and regions carried the most probable label of a clip.

    Besides the clip itself the vision tower sees 147 crops (49 places, covered in the three frames
    that matter most), and the audio tower hears about 16 pieces silenced, one after the other, in
    each distinct sound that has them.

    Args:
        model: what scores.
        clip: what was scored.
        modality: what is left unmasked.

    Raises:
        ModalityError: if the model does not read what is asked for.
    """
    hider = Hider(model, clip, modality)
    frames, pieces = hider.without_frames(), hider.pieces_s()
    most = (-frames.log_odds).argsort(kind="stable")[:COVERED_FRAMES]
    covered = tuple(sorted(most.tolist()))
    names = model.config.label_set.names
    used = [name for name in ("face", "voice") if getattr(hider, name).any()]
    return Explanation(
        path=clip.path,
        label=names[hider.label],
        scores=dict(zip(names, hider.scores.tolist(), strict=True)),
        values=hider.whole(),
        used=tuple(used),
        frame_times_s=hider.times_s,
        frame_drops=frames,
        attention=hider.attention(),
        pieces_s=pieces,
        piece_drops=hider.without_seconds(pieces),
        covered=covered,
        region_drops=hider.without_regions(covered) if covered else None,
        face_margin=model.settings.face_margin if clip.face_rate else None,
    )


def explain_files(
    recognizer: EmotionRecognizer,
    paths: Iterable[str | Path],
    folder: Path,
    *,
    modality: ModalityChoice = "av",
) -> Iterator[EmotionResult]:
    """Recognise files one by one, and write ``NAME.png`` and ``NAME.json`` for each.

    Args:
        recognizer: reads and scores them.
        paths: what ``EmotionRecognizer.__call__`` takes.
        folder: where to write; made if it is missing.
        modality: use face and voice, or only one of them.

    Yields:
        One row per file, in their order; what cannot be read or explained is a row with its error.

    Raises:
        ModalityError: if the model does not read the modality that is asked for.
        OSError: if the folder cannot be made.
    """
    mask = recognizer.reader.mask(modality)
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for path in paths:
        name = unique_name(Path(path), taken)
        try:
            clip = recognizer.load(path, modality)
            row = recognizer.recognize(clip, modality, path=str(path))
        except Exception as error:  # whatever one file does, the others go on
            yield failed(str(path), error)
            continue
        try:
            explanation = replace(explain(recognizer.predictor, clip, mask), path=str(path))
            write(explanation, clip, folder / f"{name}.png")
        except Exception as error:
            logger.info("%s could not be explained", path, exc_info=error)
            why = str(error) or type(error).__name__
            row = replace(row, error=f"{path}: it could not be explained ({why}).")
        yield row


def check_out(paths: Sequence[Path], folder: Path) -> None:
    """Refuse a folder in which explanations would take the place of what is not theirs.

    Raises:
        ValueError: naming the mend.
    """
    check_folder(folder, paths, (".png", ".json"), KEYS)


def write(explanation: Explanation, clip: Clip, figure: Path) -> None:
    """Write an explanation as a figure, and as JSON beside it; each whole or not at all.

    Args:
        explanation: of the clip.
        clip: what was explained.
        figure: where to; its ending says the format, such as ``.png`` or ``.webp``.
    """
    from claip_emo.inference.explain_figure import draw  # matplotlib takes a while to import

    with written(figure) as partial:
        draw(explanation, clip, partial, figure.suffix[1:])
        # The JSON comes first: by it a later run knows that the figure is an explanation's.
        write_text(figure.with_suffix(".json"), json.dumps(to_dict(explanation), indent=1) + "\n")


def to_dict(explanation: Explanation) -> dict[str, Any]:
    """Return what is written as JSON."""
    attention = explanation.attention
    regions = explanation.region_drops
    return {
        "path": explanation.path,
        "label": explanation.label,
        "scores": explanation.scores,
        "headline": headline(explanation),
        "sentence": sentence(explanation),
        "note": NOTE,
        "modalities": {
            name: {"probability": probability, "log_odds": odds}
            for name, (probability, odds) in explanation.values.items()
        },
        "shares": explanation.shares,
        "frames": [
            {
                "time_s": float(time),
                "attention": None if attention is None else float(attention[place]),
                "drop": drop,
            }
            for place, (time, drop) in enumerate(
                zip(explanation.frame_times_s, _listed(explanation.frame_drops), strict=True)
            )
        ],
        "seconds": [
            {"begin_s": begin, "end_s": end, "drop": drop}
            for (begin, end), drop in zip(
                explanation.pieces_s.tolist(), _listed(explanation.piece_drops), strict=True
            )
        ],
        "regions": None
        if regions is None
        else {
            "frames_s": explanation.frame_times_s[list(explanation.covered)].tolist(),
            "side": COVER,
            "drop": {
                "probability": regions.probability.tolist(),
                "log_odds": regions.log_odds.tolist(),
            },
            "strongest": {
                "box": explanation.strongest_region,
                "name": region_name(explanation),
            },
        },
    }


def _listed(drops: Drops) -> list[dict[str, float]]:
    pairs = zip(drops.probability.tolist(), drops.log_odds.tolist(), strict=True)
    return [{"probability": probability, "log_odds": odds} for probability, odds in pairs]
