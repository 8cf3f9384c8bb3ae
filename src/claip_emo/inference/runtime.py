"""Predict with an exported model where torch is not installed.

``python -m claip_emo.inference.runtime MODEL FILE... --json`` prints the rows of
``claip-emo predict --json``. It needs numpy, av, opencv-python-headless and onnxruntime.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from claip_emo.allocation import keep_freed_memory
from claip_emo.printing import print_json, printable
from claip_emo.threads import use

if TYPE_CHECKING:
    from claip_emo.inference.result import EmotionResult

EXIT_SOME_FAILED, EXIT_WRONG_USAGE, EXIT_INTERRUPTED = 1, 2, 130
COLUMNS = ("file", "emotion", "score", "next", "used", "face")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, as ``claip-emo predict`` has it."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=os.environ.get("CLAIP_EMO_LOG", "WARNING"), format="%(message)s")
    keep_freed_memory()
    if given.threads:
        use(given.threads)
    try:
        return predict(given)
    except KeyboardInterrupt:
        _say("Interrupted.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_SOME_FAILED
    except (ValueError, RuntimeError, OSError) as error:
        if os.environ.get("CLAIP_EMO_DEBUG"):
            raise
        _say(str(error) or type(error).__name__)
        return EXIT_WRONG_USAGE if isinstance(error, ValueError) else EXIT_SOME_FAILED


def predict(given: argparse.Namespace) -> int:
    """Print a row for each file; return the exit code.

    Raises:
        AbstainError: if the model cannot abstain so.
        CheckpointError: if the folder holds no exported model, or an incomplete one.
        FaceModelError: if the detector's model file is missing or broken.
        MissingExtraError: if ONNX Runtime is not installed.
        ModalityError: if the model does not read the modality that is asked for.
    """
    from claip_emo.inference.abstention import asked_for
    from claip_emo.inference.inputs import expand
    from claip_emo.inference.onnx_model import OnnxModel
    from claip_emo.inference.reader import Reader
    from claip_emo.inference.recognizer import EmotionRecognizer

    paths, failed = expand(given.files), False
    reader = Reader.of_checkpoint(
        given.model, face_detector=given.face_detector, face_model=given.face_model
    )
    with closing(reader):
        if len(paths) == 1:
            reader.begin(paths[0], given.modality)  # while the model is loaded
        model = OnnxModel.of_folder(given.model)
        recognizer = EmotionRecognizer(model, reader=reader, abstain_below=asked_for(given.abstain))
        rows = recognizer.many(paths, modality=given.modality, batch_size=given.batch_size)
        shown = []
        with closing(rows):
            for row in rows:
                failed |= row.error is not None
                if given.json:
                    print_json(row.to_dict())
                else:
                    shown.append(row)
    if not given.json:
        _show(shown)
    return EXIT_SOME_FAILED if failed else 0


def _parser() -> argparse.ArgumentParser:
    from claip_emo.inference.reader import ModalityChoice
    from claip_emo.media.faces import FACE_MODEL_VARIABLE
    from claip_emo.media.spec import DetectorKind

    parser = argparse.ArgumentParser(
        prog="python -m claip_emo.inference.runtime",
        description="Say which emotion each file shows, with an exported model and without torch.",
    )
    parser.add_argument("model", type=Path, help="folder that claip-emo export wrote")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="as predict takes them")
    parser.add_argument("--json", action="store_true", help="one JSON object per line on stdout")
    parser.add_argument("--modality", choices=get_args(ModalityChoice), default="av")
    parser.add_argument("--abstain", metavar="SCORE|auto", help='"uncertain" below this score')
    parser.add_argument("--face-detector", choices=get_args(DetectorKind))
    parser.add_argument(
        "--face-model", type=Path, metavar="FILE", help=f"YuNet's; or {FACE_MODEL_VARIABLE}"
    )
    parser.add_argument("--threads", type=_count, metavar="N", help="of the model")
    parser.add_argument("--batch-size", type=_count, metavar="N", default=8, help="views at once")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it is at least 1, not {text}")
    return int(text)


def _show(results: Iterable[EmotionResult]) -> None:
    """Print a table of the files, and under it what is to be said of them."""
    rows, said = [COLUMNS], []
    for result in results:
        rows.append(_cells(result))
        said += [f"{result.path}: {warning}." for warning in result.warnings]
        if result.error:
            told = result.error.startswith(result.path)
            said.append(result.error if told else f"{result.path}: {result.error}")
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(printable("  ".join(cells).rstrip()))
    for line in said:
        print(printable(line))


def _cells(result: EmotionResult) -> tuple[str, ...]:
    if result.scores is None:
        return result.path, "error", "", "", "", ""
    ranked = sorted(result.scores.items(), key=lambda item: -item[1])
    others = ranked[result.label in result.scores : 2]  # an uncertain answer shows both
    told = ", ".join(f"{emotion} {score:.2f}" for emotion, score in others)
    face = "" if result.face_rate is None else f"{result.face_rate:.0%}"
    used = " + ".join(result.modalities)
    return result.path, str(result.label), f"{ranked[0][1]:.2f}", told, used, face


def _say(text: str) -> None:
    print(f"claip-emo: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
