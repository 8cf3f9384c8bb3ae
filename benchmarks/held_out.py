"""The model in the box on what was held out: faces, voices, both together, real recordings.

python -m benchmarks.held_out [--model DIR] [--data DIR] [--out FILE.json] [--part select]

- Faces of part ``test`` on whose class ten people agree.
- Constructed pairs of actors 17 and 18: face alone, voice alone, both, and the gain of both. They
  hold nearly as many of each class, so that nothing is told there of how frequent classes are
  (``logit_shift``): to the face alone it would be a handicap that flatters both together.
- The same by words alone: the towers and their text encoders, without what training added.
- The real recordings of ``DATA/real``, once with YuNet (CLAIP_EMO_FACE_MODEL) and once with Haar.

``--part select`` scores the part that chooses instead (faces of part ``select``, actors 15 and 16),
and no recordings: what a model was told of frequencies was chosen on these faces. Brackets are 95 %
intervals: of WAR, UAR and differences over resampled clips (those of pairs over the clips of two
speakers, who stand for themselves only), of a class's recall Wilson's. The last line on stdout is
the JSON; what holds goes to stderr.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import machine
from benchmarks.claim import Check, rounded
from benchmarks.measuring import say
from claip_emo.corpora.table import read_table
from claip_emo.corpora.voted_faces import unpack_faces
from claip_emo.evaluation.class_prior import write_shifted
from claip_emo.evaluation.evaluate import evaluate_data
from claip_emo.evaluation.zero_shot_run import evaluate_zero_shot
from claip_emo.inference.recognizer import EmotionRecognizer
from claip_emo.intervals import wilson_interval
from claip_emo.labels import SEVEN
from claip_emo.model.checkpoint_folder import resolve
from claip_emo.pretrain_recipe import SELECT_SPEAKERS, TEST_SPEAKERS
from claip_emo.recipe import DataRecipe

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
GOALS = {"face WAR": 0.80, "face UAR": 0.62, "voice WAR": 0.64}
SPEAKERS = {"test": TEST_SPEAKERS, "select": SELECT_SPEAKERS}
Scores = dict[str, Any]


def measure(model: Path, data: Path, part: str) -> Scores:
    """Score a checkpoint on a part: ``test``, or ``select``, which chooses."""
    # What lacks for the recordings is told before the work.
    recognizers = _recognizers(model) if part == "test" else {}
    with TemporaryDirectory() as folder:
        out = Path(folder)
        faces, pairs = write_tables(data, part, out)
        untold = out / "untold"
        write_shifted(resolve(model), untold, None)
        given: dict[str, Any] = {"face_detector": "none"}
        say("faces")
        of_faces = evaluate_data(model, DataRecipe(root=str(faces)), out / "faces", **given)
        say("pairs")
        of_pairs = evaluate_data(untold, DataRecipe(root=str(pairs)), out / "pairs", **given)
        shipped = evaluate_data(model, DataRecipe(root=str(pairs)), out / "shipped", **given)
        say("by words alone")
        words = {
            name: evaluate_zero_shot(
                DataRecipe(root=str(table)), out / f"{name}-words", source=model, **given
            )
            for name, table in (("faces", faces), ("pairs", pairs))
        }
    return {
        "part": part,
        "face": _alone(of_faces, "video"),
        "pairs": {
            "n": of_pairs["n"],
            **{name: _figures(of_pairs, name) for name in of_pairs["by_modality"]},
            "gain": of_pairs["advantage"],
            "per_class": _recalls(of_pairs),
            "shipped": {
                name: {
                    **_figures(shipped, name),
                    "calibration_error": shipped["by_modality"][name]["calibration_error"],
                }
                for name in shipped["by_modality"]
            },
        },
        "by_words": {
            "face": _figures(words["faces"], "video"),
            "pairs": {name: _figures(words["pairs"], name) for name in ("video", "audio")},
        },
        "recordings": _recordings(recognizers, data / "real"),
    }


def write_tables(data: Path, part: str, folder: Path) -> tuple[Path, Path]:
    """Write the tables of a part's faces and of its speakers' pairs."""
    faces = unpack_faces(data, part, folder / "pictures")
    pairs = folder / "pairs.csv"
    clips = read_table(data / "constructed" / "clips.csv", labels=SEVEN)
    with pairs.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "speaker"))
        for sample in clips:
            if sample.speaker in SPEAKERS[part]:
                writer.writerow((sample.path.resolve(), sample.label, sample.speaker))
    return faces, pairs


def _figures(metrics: Scores, modality: str) -> Scores:
    found = metrics["by_modality"][modality]
    return {
        name: {"figure": found[name], "interval": found["interval_95"][name]}
        for name in ("war", "uar")
    }


def _alone(metrics: Scores, modality: str) -> Scores:
    return {
        "n": metrics["n"],
        **_figures(metrics, modality),
        "per_class": _recalls(metrics),
        "calibration_error": metrics["calibration_error"],
        "confusion": metrics["confusion"]["matrix"],
    }


def _recalls(metrics: Scores) -> Scores:
    """Return each class's recall with its interval; of the headline's modality."""
    found = {}
    for name, told in metrics["per_class"].items():
        count = told["support"]
        right = round((told["recall"] or 0) * count)
        found[name] = {
            "figure": told["recall"],
            "interval": list(wilson_interval(right, count)),
            "n": count,
        }
    return found


def _recognizers(model: Path) -> dict[str, EmotionRecognizer]:
    return {
        detector: EmotionRecognizer.from_pretrained(model, face_detector=detector)
        for detector in ("yunet", "haar")
    }


def _recordings(recognizers: dict[str, EmotionRecognizer], folder: Path) -> list[Scores]:
    found = []
    for detector, recognizer in recognizers.items():
        say(f"recordings, {detector}")
        for modality in ("av", "video", "audio"):
            for result in recognizer.many(sorted(folder.glob("*.mp4")), modality=modality):
                found.append(
                    {
                        "file": Path(result.path).name,
                        "detector": detector,
                        "used": modality,
                        "label": result.label,
                        "face_rate": result.face_rate,
                        "scores": result.scores,
                        "error": result.error,
                    }
                )
    return found


def checks_of(found: Scores) -> list[Check]:
    """Return what is claimed of the model in the box beside its goals."""
    pairs = found["pairs"]
    figures = {
        "face WAR": found["face"]["war"]["figure"],
        "face UAR": found["face"]["uar"]["figure"],
        "voice WAR": pairs["audio"]["war"]["figure"],
    }
    checks = [Check(what, figure, "", GOALS[what]) for what, figure in figures.items()]
    for other, gain in pairs["gain"].items():
        lowest = gain["interval_95"]["war"][0]
        checks.append(Check(f"both above {other}, WAR, low end", lowest, "", 0.0))
    chance = 1 / len(SEVEN)
    by_words = {
        "face by words": found["by_words"]["face"],
        "voice by words": found["by_words"]["pairs"]["audio"],
    }
    for what, told in by_words.items():
        checks.append(Check(f"{what}, UAR, low end", told["uar"]["interval"][0], "", chance))
    return checks


def digests(model: Path) -> dict[str, str]:
    """Return the SHA-256 of all that decides what a checkpoint says."""
    return {
        path.relative_to(model).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(model.rglob("*"))
        if path.suffix == ".safetensors" or path.name in ("config.json", "processor_config.json")
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.held_out",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, help="a checkpoint; default: the one in the box")
    parser.add_argument("--data", type=Path, default=DATA, help="faces, voices, recordings")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    parser.add_argument("--part", choices=SPEAKERS, default="test", help="select: what chooses")
    given = parser.parse_args(arguments)
    with redirect_stdout(sys.stderr):
        model = resolve(given.model)
        found = measure(model, given.data, given.part)
    for check in checks_of(found):
        say(f"{'holds' if check.holds else 'FAILS'}  {check.what}: {check.figure:.4f}")
    result = rounded(
        {
            **found,
            "model": digests(model),
            "checks": [check.to_dict() for check in checks_of(found)],
            "machine": machine.describe(),
            "commit": machine.commit(),
            "command": machine.command("benchmarks.held_out"),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        digits=6,
    )
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
