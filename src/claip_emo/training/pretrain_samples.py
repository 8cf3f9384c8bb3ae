"""What pre-training learns from: faces and voices with targets and facts, augmented as drawn.

Every draw of a sample comes from a generator of (seed, epoch, sample): a pre-training that goes on
sees what an uninterrupted one sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, Sampler

from claip_emo.corpora.acted_voices import ActedVoice
from claip_emo.corpora.voted_faces import VotedFaces
from claip_emo.data.augment import masked
from claip_emo.data.face_world import FaceWorld
from claip_emo.data.voice_world import VoiceWorld
from claip_emo.labels import SEVEN
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.processor_settings import ProcessorSettings
from claip_emo.pretrain_recipe import FacesRecipe, VoicesRecipe
from claip_emo.training.captions import MANNERS, UNKNOWN, Facts

TEACHER_FPS = 50  # frames of the speech encoder
STEPS = 192  # in time at which the teacher is looked up in a window
MASKED = 1 / 8  # of time or frequency, the longest mask
OTHERS = 8  # voices that may babble behind one

Key = tuple[int, int]
"""Epoch and place of a sample."""


class FaceSamples(Dataset[Tensor]):
    """Faces as they look in the world.

    Attributes:
        targets: (face, 7), float32, shares of the votes.
        facts: what captions may tell.
    """

    def __init__(self, faces: VotedFaces, recipe: FacesRecipe, seed: int):
        """Take the faces."""
        self.faces, self.seed = faces, seed
        self.world = FaceWorld(recipe.world, recipe.size_px)
        self.targets = torch.from_numpy(faces.targets)
        self.facts = face_facts(faces.targets)

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.faces)

    def __getitem__(self, key: Key) -> Tensor:  # type: ignore[override]
        """Return a face (S, S), uint8 grey, as it is drawn in an epoch."""
        rng = np.random.default_rng((self.seed, *key))
        return torch.from_numpy(self.world(self.faces.pixels[key[1]], rng))


class VoiceSamples(Dataset[dict[str, Tensor]]):
    """Voices as they sound in the world.

    Attributes:
        targets: (voice, 7), float32; rows of zeros where a voice has no class.
        facts: what captions may tell.
    """

    def __init__(
        self,
        voices: Sequence[ActedVoice],
        recipe: VoicesRecipe,
        processor: ClaipEmoProcessor,
        seed: int,
        *,
        teacher: Sequence[Tensor] | None = None,
        columns: int = 1,
    ):
        """Take the voices.

        Args:
            voices: speakers who are trained on.
            recipe: window, masks, augmentation.
            processor: of the towers.
            seed: of every draw.
            teacher: features (frame, width) of each voice, at 50 a second.
            columns: of time in what the tower hears in a window, to which they are brought.
        """
        self.voices, self.recipe, self.seed = voices, recipe, seed
        self.rate = processor.settings.sampling_rate_hz
        self.world = VoiceWorld(recipe.world, self.rate)
        self.processor = ClaipEmoProcessor(one_window(processor.settings))
        self.teacher, self.columns = teacher, columns
        self.targets = voice_targets(voices)
        self.facts = voice_facts(voices)

    def __len__(self) -> int:
        """Return the number of voices."""
        return len(self.voices)

    def __getitem__(self, key: Key) -> dict[str, Tensor]:  # type: ignore[override]
        """Return ``mel`` (1, time, mel) of a window and ``teacher`` (width, column) if there is."""
        rng = np.random.default_rng((self.seed, *key))
        voice = self.voices[key[1]]
        others = [
            self.voices[place].samples for place in rng.integers(len(self.voices), size=OTHERS)
        ]
        sound = self.world(voice.samples, rng, others)
        wanted = self.processor.settings.samples
        room = len(sound) - wanted
        start = int(rng.integers(room + 1 if room > 0 else len(sound)))
        window = sound[(start + np.arange(wanted)) % len(sound)]
        mel = self.processor.hear(torch.from_numpy(window)[None])[0]
        masks = (1, self.recipe.time_masks, MASKED), (2, self.recipe.frequency_masks, MASKED)
        sample = {"mel": masked(mel, masks, rng)}
        if self.teacher is not None:
            frames = self.teacher[key[1]]
            times = (start + (np.arange(STEPS) + 0.5) * wanted / STEPS) % len(sound)
            seconds = (
                times / len(sound) * len(voice.samples) / self.rate
            )  # before any change of speed
            places = np.minimum((seconds * TEACHER_FPS).astype(np.int64), len(frames) - 1)
            heard = frames[torch.from_numpy(places)].float().t()[None]  # (1, width, step)
            sample["teacher"] = functional.adaptive_avg_pool1d(heard, self.columns)[0]
        return sample


class Shuffled(Sampler[list[Key]]):
    """Batches of one epoch in an order of its own; the last, if it is not full, is left out."""

    def __init__(self, count: int, batch_size: int, seed: int):
        """Take sizes and seed."""
        self.count, self.batch_size, self.seed = count, min(batch_size, count), seed
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield the keys of each batch of ``epoch``."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield [(self.epoch, int(place)) for place in order[start : start + self.batch_size]]


def one_window(settings: ProcessorSettings) -> ProcessorSettings:
    """Return the settings with one window as a view; silence is cut off before."""
    window = settings.audio_window_s or settings.audio_s
    return replace(settings, audio_s=window, audio_window_s=None, audio_trim_db=None)


def face_facts(targets: NDArray[np.float32]) -> Facts:
    """Return what is known of faces: the shares of the votes, (face, 7)."""
    manners = np.zeros((len(targets), len(MANNERS)), np.float32)
    manners[:, [MANNERS.index(name) for name in SEVEN]] = targets
    return Facts.of_manners(manners)


def voice_targets(voices: Sequence[ActedVoice]) -> Tensor:
    """Return (voice, 7), one where the class is; zeros where a voice has none."""
    places = [UNKNOWN if v.label is None else SEVEN.index_of(v.label) for v in voices]
    return (torch.tensor(places)[:, None] == torch.arange(len(SEVEN))).float()


def voice_facts(voices: Sequence[ActedVoice]) -> Facts:
    """Return what is known of voices; one that is calm is neutral too."""
    texts = tuple(sorted({voice.statement for voice in voices if voice.statement}))
    manners = np.zeros((len(voices), len(MANNERS)), np.float32)
    for place, voice in enumerate(voices):
        for name in {voice.manner, voice.label} - {None}:
            manners[place, MANNERS.index(name)] = 1

    def places(names: Sequence[Any], known: Sequence[str]) -> NDArray[np.int64]:
        return np.array([known.index(n) if n in known else UNKNOWN for n in names], np.int64)

    return Facts(
        manners,
        places([voice.gender for voice in voices], ("woman", "man")),
        places([voice.intensity for voice in voices], ("normal", "strong")),
        places([voice.statement for voice in voices], texts),
        texts,
    )
