"""The trainer of runs whose towers are frozen: only temporal module and head are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import Dataset

from claip_emo.data.dataset import ClipDataset, Draw
from claip_emo.evaluation.run import progress_task
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.stacking import scores_of
from claip_emo.training.features import FEATURES, Features, cached_features
from claip_emo.training.trainer import ClaipEmoTrainer

VIEWS_AT_ONCE = 256  # through temporal module and head


class LabelledFeatures(NamedTuple):
    """Features of one view: frames (time, width) and sound (width,), or None; label and clip."""

    frames: Tensor | None
    sound: Tensor | None
    label: int
    id: str


class FeatureDataset(Dataset[LabelledFeatures]):
    """The training windows of a part's clips, as features.

    Args:
        dataset: the clips that they are of.
        features: a view per clip and epoch.
    """

    def __init__(self, dataset: ClipDataset, features: Features):
        """Take the clips and their features."""
        self.corpus = dataset.corpus
        self.label_indices = dataset.label_indices
        self.features = features

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.features)

    def __getitem__(self, draw: Draw) -> LabelledFeatures:
        """Return the window of a clip in an epoch."""
        frames, sound = self.features.view(draw.index, draw.epoch)
        sample = self.corpus.samples[draw.index]
        return LabelledFeatures(frames, sound, self.label_indices[draw.index], sample.id)


class Collate:
    """Stacks views as ``data.dataset.collate`` stacks clips, features in the place of frames.

    Args:
        model: how wide features are, and how many frames a view has.
    """

    def __init__(self, model: ClaipEmoModel):
        """Take the sizes."""
        self.no_frames = torch.zeros(model.config.num_frames, model.video_width)
        self.no_sound = torch.zeros(model.audio_width)

    def __call__(self, items: Sequence[LabelledFeatures]) -> dict[str, Any]:
        """Stack some views; what is missing is zeros."""
        frames = [self.no_frames if item.frames is None else item.frames for item in items]
        sounds = [self.no_sound if item.sound is None else item.sound for item in items]
        return {
            "frames": torch.cat(frames),
            "frame": torch.arange(len(items) * len(self.no_frames)).view(len(items), -1),
            "waveforms": torch.stack(sounds),
            "lengths": torch.full((len(items),), len(self.no_sound)),
            "segment": torch.arange(len(items)),
            "has_video": torch.tensor([item.frames is not None for item in items]),
            "has_audio": torch.tensor([item.sound is not None for item in items]),
            "labels": torch.tensor([item.label for item in items]),
            "ids": [item.id for item in items],
        }


class AsTheyAre:
    """Takes the processor's place where what it would process are features already."""

    def resize(self, frames: Tensor) -> Tensor:
        """Return the features of frames."""
        return frames

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return the features of frames."""
        return pixels

    def __call__(self, waveforms: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Return the features of sound (segment, width), shaped as a log-mel is."""
        return {"input_features": waveforms[:, None, None]}


@contextmanager
def on_features(model: ClaipEmoModel) -> Iterator[None]:
    """Let a model take the features of frames and sound in the place of frames and sound."""
    encoders: dict[str, Callable[[Tensor], Tensor]] = {
        "encode_frames": lambda frames: frames,
        "encode_audio": lambda sound: sound.flatten(1),
    }
    former = {name: vars(model).pop(name) for name in encoders if name in vars(model)}
    vars(model).update(encoders)
    try:
        yield
    finally:
        for name in encoders:
            del vars(model)[name]
        vars(model).update(former)


class FeatureTrainer(ClaipEmoTrainer):
    """Trains on features that frozen towers returned once, before the first step.

    Args:
        rest: those of ``ClaipEmoTrainer``.
        bar: where the progress of the towers is shown.
        more: those of ``ClaipEmoTrainer``.
    """

    def __init__(self, *rest: Any, bar: Progress, **more: Any):
        """Prepare for training; the towers run when it begins."""
        super().__init__(*rest, **more)
        self.bar = bar
        self.watched: Features | None = None

    def train(self, *rest: Any, **more: Any) -> Any:
        """Run the towers, as far as a former run has not, then train what is behind them."""
        model = self.accelerator.unwrap_model(self.model)
        clips = self.train_dataset
        epochs = self.recipe.train.epochs
        features = self._features(clips, "training", epochs)
        if self.eval_dataset is not None:
            self.watched = self._features(self.eval_dataset, "validation")
        self.train_dataset = FeatureDataset(clips, features)
        self.data_collator = Collate(model)
        self.augmentation.processor = AsTheyAre()
        self.args.dataloader_num_workers = 0
        with on_features(model):
            return super().train(*rest, **more)

    def _features(self, clips: ClipDataset, what: str, epochs: int | None = None) -> Features:
        return cached_features(
            Path(self.args.output_dir) / FEATURES,
            self.accelerator.unwrap_model(self.model),
            self.processor,
            clips,
            epochs=epochs,
            precision=self.precision,
            workers=self.args.dataloader_num_workers,
            progress=progress_task(self.bar, f"Encoding {what} clips", len(clips)),
        )

    @torch.inference_mode()
    def scores(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Score the validation part: labels (clip,), logits (clip, classes), classes (clip,)."""
        model = self.accelerator.unwrap_model(self.model)
        samples, labels = self.eval_dataset.corpus.samples, self.eval_dataset.label_indices
        owner = [clip for clip in range(len(labels)) for _ in range(self.watched.views(clip))]
        first = np.flatnonzero(np.diff(owner, prepend=-1))  # of each clip's views
        items = [
            LabelledFeatures(*self.watched.view(clip, row - first[clip]), labels[clip], name)
            for row, (clip, name) in enumerate((clip, samples[clip].id) for clip in owner)
        ]
        model.eval()
        logits, has_video, has_audio = [], [], []
        for start in range(0, len(items), VIEWS_AT_ONCE):
            batch = self._prepare_inputs(self.data_collator(items[start : start + VIEWS_AT_ONCE]))
            # The class's forward pass is float32; the instance's has the training's precision.
            found = type(model).forward(
                model,
                batch["frames"][batch["frame"]],
                batch["waveforms"],
                has_video=batch["has_video"],
                has_audio=batch["has_audio"],
            )
            logits.append(found.logits.cpu().double().numpy())
            has_video.append(batch["has_video"].cpu().numpy())
            has_audio.append(batch["has_audio"].cpu().numpy())
        model.train()
        scored = scores_of(
            model.config,
            "av",
            np.concatenate(logits),  # (view, classes)
            has_video=np.concatenate(has_video),
            has_audio=np.concatenate(has_audio),
            clip=np.array(owner),
        )
        return np.array(labels), scored.logits, scored.probabilities.argmax(axis=1)
