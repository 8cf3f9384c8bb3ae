"""Options that several commands share, and what they do before work begins."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from claip_emo.allocation import keep_freed_memory
from claip_emo.printing import print_json as print_json
from claip_emo.printing import printable as printable


class Detector(StrEnum):
    """How faces are found."""

    AUTO = "auto"
    YUNET = "yunet"
    HAAR = "haar"
    NONE = "none"


class ModalityOption(StrEnum):
    """What is used of a clip."""

    AV = "av"
    VIDEO = "video"
    AUDIO = "audio"


class FacesOption(StrEnum):
    """Whom a timeline follows."""

    MAIN = "main"
    ALL = "all"


class MissingOption(StrEnum):
    """What is done about clips that cannot be read."""

    ERROR = "error"
    SKIP = "skip"


class Precision(StrEnum):
    """In which number format the towers compute."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


ModelOption = Annotated[
    str, typer.Option("--model", help="A run's folder, its model/, or a hub id.", metavar="DIR")
]
PredictingModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A run's folder, its model/, or a hub id; default: the small model in the box.",
        metavar="DIR",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or mps.", metavar="NAME")
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads of the model.", metavar="N")
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="Numbers of the towers; auto: the faster of fp32 and bf16. int8: CPU only.",
    ),
]
AbstainOption = Annotated[
    str | None,
    typer.Option(
        "--abstain",
        help='Answer "uncertain" below this score; auto: below what calibrate found.',
        metavar="SCORE|auto",
    ),
]
ViewsAtOnceOption = Annotated[
    int,
    typer.Option(
        "--batch-size",
        min=1,
        help="Views that are scored at once; a file of up to 10 s has one or two.",
        metavar="N",
    ),
]
DetectorOption = Annotated[
    Detector | None,
    typer.Option("--face-detector", help="Overrides the checkpoint's way of finding faces."),
]
FaceModelOption = Annotated[
    Path | None,
    typer.Option(
        "--face-model",
        envvar="CLAIP_EMO_FACE_MODEL",
        help="YuNet's model file, where it is not to come from the hub.",
        metavar="FILE",
    ),
]
OnMissingOption = Annotated[
    MissingOption, typer.Option("--missing", help="What is done about clips that cannot be read.")
]
ClipsAtOnceOption = Annotated[
    int, typer.Option("--batch-size", min=1, help="Clips that are scored at once.")
]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Decoding processes.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a key of the recipe; may stand often.", metavar="KEY=VALUE"),
]
DataOption = Annotated[
    str | None, typer.Option("--data", help="The CSV or folder (data.root).", metavar="PATH")
]
BackboneOption = Annotated[
    str | None,
    typer.Option("--backbone", help="vit-b32, vit-b16, vit-l14, tiny, ...", metavar="NAME"),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of every draw.")]
ClipsOption = Annotated[
    Path | None,
    typer.Option("--clips", help="Folder of a corpus's clips, where they lie elsewhere."),
]
VariantOption = Annotated[
    str | None,
    typer.Option("--variant", help="Edition: with_caption or compound of mafw.", metavar="V"),
]
LabelOrderOption = Annotated[
    str | None,
    typer.Option(
        "--label-order",
        help="What the integers of lists mean: dfew, mafw, mafw_alphabetical, mafw_dfer_clip, "
        "or the names in order, with commas. For dfew: 1-7 or 0-6.",
        metavar="O",
    ),
]
ExplainOption = Annotated[
    int,
    typer.Option(
        "--explain", min=0, help="Surest mistakes that the report explains; 0: none.", metavar="N"
    ),
]
EXPLAINED = 4
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON on stdout and everything else on stderr.")
]

console = Console(stderr=True)


def overrides_of(
    changes: list[str] | None,
    *,
    data: str | None = None,
    backbone: str | None = None,
    seed: int | None = None,
) -> list[str]:
    """Return the changes of a recipe of ``train`` that ``--set`` and its short forms ask for."""
    return changed(changes, {"data.root": data, "model.backbone": backbone, "train.seed": seed})


def changed(changes: list[str] | None, short: Mapping[str, object]) -> list[str]:
    """Return ``--set``'s changes and those of short forms: values of keys, None where not given."""
    given = [f"{key}={value}" for key, value in short.items() if value is not None]
    return [*(changes or []), *given]


@contextmanager
def importing() -> Iterator[None]:
    """Import without looking for garbage in between: there is none, and it takes a tenth less."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def begin(threads: int | None = None) -> None:
    """Set up logging to stderr, memory and the number of threads, which torch is told."""
    logging.basicConfig(
        level=os.environ.get("CLAIP_EMO_LOG", "WARNING"),
        format="%(message)s",
        handlers=[RichHandler(console=console, show_path=False, show_time=False)],
    )
    keep_freed_memory()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if threads is not None:
        import torch  # noqa: F401 - is told too

        use_threads(threads)


def use_threads(threads: int | None) -> None:
    """Compute with so many threads; None: as many as NumPy and torch take by themselves."""
    if threads is not None:
        from claip_emo.threads import use

        use(threads)
