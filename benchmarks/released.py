"""The released way, rebuilt as the baseline: what it costs, with the weights of our model.

What is as released: 16 frames with stride 4; two temporal segments x two spatial crops, always all
four, although the crops of a square frame are the same pixels; frames decoded from JPEG for each
sample and transformed one by one with Pillow and NumPy; sound read and its mel computed for each
view; float32; transformers' forward of both towers with LoRA beside the weights; AdamW as it comes.

What is not: the mistakes that change predictions (ImageNet's mean, Kaldi's front end, random
loudness at test, a random clip through the branch for longer sound), so that both ways answer alike
and can be compared. Only the 16 frames of a view are decoded, not the whole clip.
"""

from __future__ import annotations

import itertools
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import ClapFeatureExtractor

from benchmarks.released_augment import augment, erase, mask_mel
from claip_emo.corpora.base import Sample
from claip_emo.media.sampling import sound_span, test_views, train_window
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import AugmentRecipe

SEGMENTS, CROPS = 2, 2  # test views: temporal x spatial


class ReleasedReader:
    """Reads a folder of JPEG frames and a wav, once per view or training sample."""

    def __init__(self, processor: ClaipEmoProcessor):
        """Take what the towers want to see."""
        self.settings = processor.settings
        self.extractor = ClapFeatureExtractor(
            feature_size=self.settings.mel_bins,
            sampling_rate=self.settings.sampling_rate_hz,
            hop_length=self.settings.hop,
            fft_window_size=self.settings.fft_size,
            frequency_min=self.settings.mel_min_hz,
            frequency_max=self.settings.mel_max_hz,
            truncation=self.settings.mel_mode,
        )

    def view(self, sample: Sample, segment: int, crop: int) -> tuple[np.ndarray, np.ndarray]:
        """Read one test view.

        Returns:
            Frames (time, 3, S, S), normalised, and the log-mel (1, time, mel).
        """
        files = _frames_of(sample.path)
        places = test_views(
            len(files),
            length=self.settings.num_frames,
            stride=self.settings.frame_stride,
            views=SEGMENTS,
        )[segment]
        size = self.settings.image_size_px
        frames = [_cropped(_resized(_picture(files[i]), size), size, crop) for i in places]
        return self._to_array(frames), self.mel(self._heard(sample, places, len(files)))

    def sample(
        self, sample: Sample, recipe: AugmentRecipe, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read one augmented training sample; shapes as ``view``."""
        files = _frames_of(sample.path)
        places = train_window(
            len(files), rng, length=self.settings.num_frames, stride=self.settings.frame_stride
        )
        frames = [_picture(files[i]) for i in places]
        frames = augment(frames, self.settings.image_size_px, recipe, rng)
        pixels = self._to_array(frames)
        erase(pixels, recipe.erase, rng)
        sound = self._heard(sample, places, len(files))
        mel = self.mel(sound * np.float32(rng.uniform(0.5, 1.5)))
        mask_mel(mel, recipe, rng)
        return pixels, mel

    def mel(self, sound: np.ndarray) -> np.ndarray:
        """Turn sound (samples,) into CLAP's log-mel (1, time, mel)."""
        found = self.extractor(
            sound,
            max_length=self.settings.samples,
            sampling_rate=self.settings.sampling_rate_hz,
        )
        return found["input_features"][0][:1].astype(np.float32)  # four times the same

    def _heard(self, sample: Sample, places: np.ndarray, count: int) -> np.ndarray:
        """Read the sound and cut out the seconds around the frames: ours are the same."""
        rate = self.settings.sampling_rate_hz
        sound = _sound(sample.audio_path)
        end_s = len(sound) / rate
        centre_s = (places[0] + places[-1]) / 2 * end_s / count
        begin_s, _ = sound_span(centre_s, 0.0, end_s, self.settings.audio_s)
        first = round(begin_s * rate)
        return sound[first : first + self.settings.samples]

    def _to_array(self, frames: Sequence[Image.Image]) -> np.ndarray:
        """Turn frames one by one into numbers in [0, 1], normalise them, and stack them."""
        mean = np.array(self.settings.image_mean, np.float32)
        deviation = np.array(self.settings.image_std, np.float32)
        ready = []
        for frame in frames:
            pixels = np.asarray(frame, np.float32) / np.float32(255)
            ready.append(((pixels - mean) / deviation).transpose(2, 0, 1))
        return np.stack(ready)


class ReleasedModel(nn.Module):
    """transformers' own forward of both towers, then our temporal module and head.

    Args:
        model: whose weights are taken; its LoRA must not be merged.
    """

    def __init__(self, model: ClaipEmoModel):
        """Take the model."""
        super().__init__()
        if model.merged:
            raise ValueError("The released way keeps LoRA beside the weights; do not merge it.")
        self.model = model

    def forward(self, pixel_values: Tensor, input_features: Tensor) -> Tensor:
        """Return the logits (batch, classes).

        Args:
            pixel_values: (batch, time, 3, S, S).
            input_features: (batch, 1, time, mel).
        """
        batch = len(pixel_values)
        seen = self.model.vision_tower(pixel_values=pixel_values.flatten(0, 1)).pooler_output
        video = self.model.temporal(seen.view(batch, -1, seen.shape[-1]))  # (B, D)
        audio = self.model.audio_tower(input_features=input_features).pooler_output  # (B, 768)
        return self.model.head(audio, video)


@torch.no_grad()
def probabilities(released: ReleasedModel, reader: ReleasedReader, sample: Sample) -> np.ndarray:
    """Score one clip: the mean over its four views of the softmax, (classes,).

    View after view, which is a fifth faster on the CPU than all four at once.
    """
    released.eval()
    logits = []
    for segment, crop in itertools.product(range(SEGMENTS), range(CROPS)):
        frames, mel = reader.view(sample, segment, crop)
        logits.append(released(torch.from_numpy(frames)[None], torch.from_numpy(mel)[None]))
    return torch.cat(logits).double().softmax(dim=-1).mean(dim=0).numpy()


class ReleasedTraining:
    """One optimiser step after the other, as the released way takes it.

    Args:
        released: what is trained.
        reader: of the clips.
        recipe: strengths of the augmentation.
        learning_rate: of AdamW.
    """

    def __init__(
        self,
        released: ReleasedModel,
        reader: ReleasedReader,
        recipe: AugmentRecipe,
        learning_rate: float = 4e-5,
    ):
        """Make the optimiser."""
        self.released = released.train()
        self.reader = reader
        self.recipe = recipe
        trained = [p for p in released.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.05)

    def step(
        self, samples: Sequence[Sample], labels: Sequence[int], rng: np.random.Generator
    ) -> float:
        """Read a batch, augment it, and move the weights once; return the loss."""
        read = [self.reader.sample(sample, self.recipe, rng) for sample in samples]
        pixels, mels = (torch.from_numpy(np.stack(part)) for part in zip(*read, strict=True))
        classes = len(self.released.model.config.labels)
        targets = functional.one_hot(torch.tensor(labels), classes).float()
        targets = 0.9 * targets + 0.1 / classes  # label smoothing
        kept, kept_sound = rng.beta(self.recipe.mixup, self.recipe.mixup, 2).tolist()
        pixels = kept * pixels + (1 - kept) * pixels.flip(0)
        mels = kept_sound * mels + (1 - kept_sound) * mels.flip(0)  # another draw, as released
        targets = kept * targets + (1 - kept) * targets.flip(0)
        loss = functional.cross_entropy(self.released(pixels, mels), targets)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item()


def _frames_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jpg"))


def _picture(file: Path) -> Image.Image:
    with Image.open(file) as picture:
        return picture.convert("RGB")


def _resized(picture: Image.Image, size: int) -> Image.Image:
    """Scale the shorter side to ``size``."""
    scale = size / min(picture.size)
    across, down = (round(side * scale) for side in picture.size)
    return picture.resize((across, down), Image.Resampling.BICUBIC)


def _cropped(picture: Image.Image, size: int, crop: int) -> Image.Image:
    """Cut the first or the last square along the longer side."""
    left = (picture.width - size) * crop // (CROPS - 1)
    top = (picture.height - size) * crop // (CROPS - 1)
    return picture.crop((left, top, left + size, top + size))


def _sound(path: Path | None) -> np.ndarray:
    """Read a wav of 16 bits, (samples,), float32 in [-1, 1]."""
    with wave.open(str(path), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float32) / np.float32(32768)
