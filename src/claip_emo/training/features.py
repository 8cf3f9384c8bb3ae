"""Features of frozen towers, computed once for all epochs of a run.

A frozen tower returns the same for the same frame and the same seconds of sound in every epoch, as
long as no augmentation touches them. Which windows are drawn follows from (seed, epoch, sample), so
that every frame and every span of sound that the run will see is known before its first step.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from claip_emo.corpora.base import OnProgress, Sample
from claip_emo.data.cache import picture_settings
from claip_emo.data.dataset import ClipDataset
from claip_emo.evaluation import processes
from claip_emo.model.batching import encode_mirrored
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.precision import Precision
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.towers import towers_of
from claip_emo.recipe import Recipe
from claip_emo.recipe_files import RecipeError
from claip_emo.training.views import NOTHING, ClipViews, Views
from claip_emo.whole_files import written

FEATURES = "features"  # a folder of the resumable state
FRAMES_AT_ONCE, SOUNDS_AT_ONCE = 64, 8  # through a tower
CLIPS_A_SHARD = 64  # a run that is killed loses at most so many


def features_of(recipe: Recipe) -> Literal["live", "cached"]:
    """Say whether a run trains on features that are computed once, or runs its towers in each step.

    Raises:
        RecipeError: if cached features are asked for and the towers see something new each time;
            the message names the keys.
    """
    augment, wanted = recipe.augment, recipe.train.features
    mixes = (augment.mixup > 0 or augment.cutmix > 0) and augment.mix_probability > 0
    changes = {
        "model.adaptation=frozen": recipe.model.adaptation != "frozen",
        "augment.randaugment_layers=0": augment.randaugment_layers > 0,
        "augment.crop_scale=[1,1]": augment.crop_scale != (1.0, 1.0),
        "augment.flip=0": augment.flip > 0,
        "augment.erase=0": augment.erase > 0,
        "augment.windows=null": augment.windows is not None,
        "augment.time_masks=0": augment.time_masks > 0,
        "augment.frequency_masks=0": augment.frequency_masks > 0,
        "augment.mixup=0": mixes and augment.mixup > 0,
        "augment.cutmix=0": mixes and augment.cutmix > 0,
        "data.pairs=kept": recipe.data.pairs != "kept",
    }
    needed = [mend for mend, changing in changes.items() if changing]
    if wanted == "cached" and needed:
        raise RecipeError(
            "train.features=cached needs towers that see and return the same in every epoch: set "
            f"{', '.join(needed)}; or train.features=live."
        )
    return "live" if wanted == "live" or needed else "cached"


class Features:
    """Features of the views of a part's clips.

    Args:
        shards: what ``encode`` returned for so many clips each, in the order of the part.
    """

    def __init__(self, shards: Iterable[dict[str, Tensor]]):
        """Take the shards; their tensors may be mapped from disk."""
        self.shards = list(shards)
        self._place = [
            (number, clip)
            for number, shard in enumerate(self.shards)
            for clip in range(len(shard["first_view"]) - 1)
        ]

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._place)

    def views(self, clip: int) -> int:
        """Return how many views a clip has."""
        number, place = self._place[clip]
        first = self.shards[number]["first_view"]
        return int(first[place + 1] - first[place])

    def view(self, clip: int, view: int) -> tuple[Tensor | None, Tensor | None]:
        """Return the features of one view: frames (time, width), and sound (width,)."""
        number, place = self._place[clip]
        shard = self.shards[number]
        row = int(shard["first_view"][place]) + view
        shown, heard = shard["shown"][row], int(shard["heard"][row])
        return (
            None if shown[0] == NOTHING else shard["frames"][shown],
            None if heard == NOTHING else shard["sounds"][heard],
        )


@torch.inference_mode()
def encode(
    model: ClaipEmoModel,
    processor: ClaipEmoProcessor,
    clips: Iterable[Views],
    precision: Precision,
    mirrored: bool = False,
) -> dict[str, Tensor]:
    """Run the towers over some clips; ``mirrored``: over each frame's mirror image as well.

    Returns:
        ``frames`` (frame, width) and ``sounds`` (segment, width), float32; ``shown`` (view, time)
        and ``heard`` (view,), rows of them; ``first_view`` (clip + 1,), where the views of each
        clip begin.
    """
    config, device = model.config, model.device
    frames, sounds = [torch.zeros(0, model.video_width)], [torch.zeros(0, model.audio_width)]
    shown, heard, counts = [], [], [0]
    seen = listened = 0
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for clip in clips:
            pictures = clip.frames if config.reads_video and clip.frames is not None else ()
            voices = clip.sounds if config.reads_audio else ()
            shown.append(_moved(clip.shown, seen, len(pictures)))
            heard.append(_moved(clip.heard, listened, len(voices)))
            counts.append(len(clip.heard))
            seen, listened = seen + len(pictures), listened + len(voices)
            for start in range(0, len(pictures), FRAMES_AT_ONCE):
                few = pictures[start : start + FRAMES_AT_ONCE][None].to(device)
                pixels = processor(frames=few)["pixel_values"][0]
                frames.append(encode_mirrored(model, pixels, mirrored).float().cpu())
            for start in range(0, len(voices), SOUNDS_AT_ONCE):
                some = voices[start : start + SOUNDS_AT_ONCE]
                lengths = torch.tensor([len(samples) for samples in some], device=device)
                waveforms = pad_sequence(some, batch_first=True).to(device)
                mel = processor(waveforms=waveforms, lengths=lengths)["input_features"]
                sounds.append(model.encode_audio(mel).float().cpu())
    return {
        "frames": torch.cat(frames),
        "sounds": torch.cat(sounds),
        "shown": torch.cat(shown),
        "heard": torch.cat(heard),
        "first_view": torch.tensor(counts).cumsum(0),
    }


def _moved(rows: Tensor, by: int, count: int) -> Tensor:
    """Move the rows of a clip behind those of the clips before it; without any, all are nothing."""
    return torch.where(rows == NOTHING, NOTHING, rows + by) if count else rows.fill_(NOTHING)


def cached_features(
    folder: Path,
    model: ClaipEmoModel,
    processor: ClaipEmoProcessor,
    dataset: ClipDataset,
    *,
    epochs: int | None = None,
    precision: Precision = "fp32",
    workers: int = 0,
    progress: OnProgress | None = None,
) -> Features:
    """Return the features of a part, computing what is not on disk; a killed run goes on.

    Several processes share the work.

    Args:
        folder: where shards are written, in a folder named by what they follow from.
        model: its towers are frozen.
        processor: what they want to see.
        dataset: the clips of the part.
        epochs: of the training whose windows are wanted; None: the test views.
        precision: number format of the towers' products.
        workers: processes that decode clips.
        progress: told how many clips of this process's share are done.

    Raises:
        MediaError: if a clip cannot be read.
    """
    own = folder / _key(model, processor, dataset, epochs, precision)
    starts = range(0, len(dataset), CLIPS_A_SHARD)
    paths = {start: own / f"{start:08d}.safetensors" for start in starts}
    mine = list(starts[processes.rank() :: processes.count()])
    missing = [start for start in mine if _read(paths[start]) is None]
    share = sum(len(_clips(start, dataset)) for start in mine)
    done = share - sum(len(_clips(start, dataset)) for start in missing)
    loader = iter(
        DataLoader(
            ClipViews(dataset, epochs),
            batch_size=None,
            sampler=[clip for start in missing for clip in _clips(start, dataset)],
            num_workers=workers,
        )
    )
    own.mkdir(parents=True, exist_ok=True)

    def told(clips: Iterator[Views], count: int) -> Iterator[Views]:
        nonlocal done
        for _ in range(count):
            yield next(clips)
            done += 1
            if progress is not None:
                progress(done, share)

    model.eval()
    mirrored = epochs is None and processor.settings.image_mirrored
    for start in missing:
        clips = told(loader, len(_clips(start, dataset)))
        shard = encode(model, processor, clips, precision, mirrored)
        with written(paths[start]) as partial:
            save_file(shard, partial)
    processes.wait()
    return Features(load_file(path) for path in paths.values())


def _clips(start: int, dataset: ClipDataset) -> range:
    return range(start, min(start + CLIPS_A_SHARD, len(dataset)))


def _read(path: Path) -> dict[str, Tensor] | None:
    """Return a shard, or None where there is none that can be read."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None


def _key(
    model: ClaipEmoModel,
    processor: ClaipEmoProcessor,
    dataset: ClipDataset,
    epochs: int | None,
    precision: Precision,
) -> str:
    """Return a name for everything that features follow from: towers, settings, clips, windows."""
    digest = hashlib.blake2b(digest_size=16)
    for tower in towers_of(model):
        for name, value in tower.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    described: dict[str, Any] = {
        "processor": asdict(processor.settings),
        "spec": asdict(dataset.spec),
        "pictures": picture_settings(dataset.spec, dataset.detector),
        "clips": [[s.id, _content(s, dataset)] for s in dataset.corpus.samples],
        "windows": [dataset.seed, epochs] if epochs is not None else None,
        "precision": precision,
    }
    digest.update(json.dumps(described, sort_keys=True).encode())
    return digest.hexdigest()


def _content(sample: Sample, dataset: ClipDataset) -> Any:
    """Return what changes with the content of a clip: sizes and times of its files.

    Prepared clips are told by their digests; as JPEG they differ a little from their files. What
    cannot be looked at is None: to say so is for who reads it.
    """
    if dataset.cache is not None:
        return dataset.cache.digest(sample)
    files: list[Path] = []
    for path in filter(None, (sample.path, sample.audio_path)):
        files += sorted(path.iterdir()) if path.is_dir() else [path]
    try:
        stats = [file.stat() for file in files]
    except OSError:
        return None
    return [
        (str(file), stat.st_size, stat.st_mtime_ns) for file, stat in zip(files, stats, strict=True)
    ]


def forget(state_dir: Path) -> None:
    """Remove the features of a run that needs them no more."""
    if processes.is_first():
        shutil.rmtree(state_dir / FEATURES, ignore_errors=True)
