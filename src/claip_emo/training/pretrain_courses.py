"""The courses of pre-training: what a tower of faces, and one of voices, is taught and asked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from transformers import ResNetConfig

from claip_emo.corpora.acted_voices import (
    CONSTRUCTED,
    EMODB,
    RATE_HZ,
    ActedVoice,
    read_constructed_voices,
    read_emodb,
)
from claip_emo.corpora.base import CorpusError, OnProgress
from claip_emo.corpora.voted_faces import read_voted_faces
from claip_emo.evaluation.zero_shot import embed_labels
from claip_emo.labels import SEVEN
from claip_emo.metrics import summarise
from claip_emo.model.language import LanguageTower
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.processor_settings import ProcessorSettings
from claip_emo.model.prompts import Role
from claip_emo.model.resnet_layout import side_of
from claip_emo.model.waveforms import over_windows
from claip_emo.pretrain_recipe import FacesRecipe, PretrainRecipe, VoicesRecipe
from claip_emo.training.audio_teacher import AudioTeacher, pooled
from claip_emo.training.captions import Captions, draw_captions, every_caption
from claip_emo.training.pretrain_network import Learner, Lesson
from claip_emo.training.pretrain_samples import FaceSamples, Key, VoiceSamples
from claip_emo.training.soft_labels import out_of_speaker

EXAMINED_AT_ONCE = 256
Told = Callable[[str], OnProgress]
"""From what is being done to what is told (done, total)."""


class Course(Protocol):
    """What a tower is taught from, and how it is examined."""

    role: Role
    settings: FacesRecipe | VoicesRecipe
    processor: ClaipEmoProcessor
    samples: Dataset[Any]
    weights: dict[str, float]
    texts: list[str]
    teacher_width: int

    def lesson(self, keys: Sequence[Key], batch: Any, rng: np.random.Generator) -> Lesson:
        """Make a lesson of samples that were drawn."""
        ...

    def examine(self, learner: Learner, language: LanguageTower) -> dict[str, float]:
        """Return scores on the part that chooses."""
        ...


class FaceCourse:
    """Faces with the votes of ten people."""

    role: Role = "vision"
    teacher_width = 0

    def __init__(self, recipe: PretrainRecipe, root: Path):
        """Read the faces.

        Raises:
            CorpusError: if they cannot be read.
        """
        self.settings = recipe.faces
        self.processor = ClaipEmoProcessor(
            ProcessorSettings(
                image_size_px=recipe.faces.size_px,
                image_channels=recipe.faces.tower.get("num_channels", 3),
                image_normalisation="per_crop",
                face_margin=recipe.faces.margin,
            )
        )
        self.samples = FaceSamples(read_voted_faces(root, "train"), recipe.faces, recipe.seed)
        self.weights = {"labels": 1.0, "captions": recipe.language.contrast}
        self.texts = every_caption(())
        self.select = read_voted_faces(root, "select")

    def lesson(self, keys: Sequence[Key], batch: Tensor, rng: np.random.Generator) -> Lesson:
        """Make a lesson of faces (batch, S, S), uint8."""
        places = [place for _, place in keys]
        captions = draw_captions(self.samples.facts[places], self.role, rng)
        return mixed(
            Lesson(
                self._seen(batch),
                self.samples.targets[places],
                captions.texts,
                captions.matches(self.samples.facts[places]),
            ),
            self.settings.mixup,
            rng,
        )

    @torch.inference_mode()
    def examine(self, learner: Learner, language: LanguageTower) -> dict[str, float]:
        """Return scores on the faces of part ``select`` on which most people agree."""
        truth = self.select.majority
        faces = torch.from_numpy(self.select.pixels[truth >= 0])
        features = torch.cat([learner(self._seen(few)) for few in faces.split(EXAMINED_AT_ONCE)])
        return scores(learner, language, features, truth[truth >= 0])

    def _seen(self, faces: Tensor) -> Tensor:
        """Turn (batch, H, W) uint8 into (batch, channel, S, S), normalised."""
        colour = faces[None, ..., None].expand(-1, -1, -1, -1, 3)
        return self.processor(frames=colour)["pixel_values"][0]


class VoiceCourse:
    """Acted voices, whose names tell who speaks, what, how, and how strongly."""

    role: Role = "audio"

    def __init__(
        self,
        recipe: PretrainRecipe,
        root: Path,
        tell: Told,
        *,
        teacher: AudioTeacher | None = None,
    ):
        """Read the voices, and let the teacher hear those that are trained on.

        Raises:
            CorpusError: if they cannot be read.
        """
        self.settings = recipe.voices
        self.processor = ClaipEmoProcessor(
            ProcessorSettings(
                audio_s=recipe.voices.audio_s,
                audio_window_s=recipe.voices.window_s,
                audio_fill="tile",
                audio_rms=recipe.voices.rms,
                audio_trim_db=recipe.voices.trim_db,
            )
        )
        every = read_constructed_voices(root / CONSTRUCTED, tell("Reading voices"))
        if (root / EMODB).is_file():
            every += read_emodb(root / EMODB, tell("Reading voices (EmoDB)"))
        apart = {*recipe.data.select_speakers, *recipe.data.test_speakers}
        taught = [voice for voice in every if voice.speaker not in apart]
        self.select = [v for v in every if v.speaker in recipe.data.select_speakers and v.label]
        if not taught or not self.select:
            raise CorpusError([f"{root}: there are no voices to learn from, or none that choose."])
        self.weights = {"labels": 1.0, "captions": recipe.language.contrast}
        self.teacher_width, features = 0, None
        if teacher is not None:
            self.teacher_width = teacher.width
            self.weights |= {
                "pooled": recipe.voices.teacher_pooled,
                "frames": recipe.voices.teacher_frames,
            }
            features = _heard_by(teacher, taught, tell("The teacher listens"))
        self.samples = VoiceSamples(
            taught, recipe.voices, self.processor, recipe.seed,
            teacher=None if features is None else standardised(features),
            columns=side_of(
                ResNetConfig(**recipe.voices.tower), self.processor.settings.mel_shape[1]
            ),
        )  # fmt: skip
        if features is not None and recipe.voices.teacher_labels:
            self._soften(features, recipe)
        self.texts = every_caption(self.samples.facts.texts)

    def _soften(self, features: list[Tensor], recipe: PretrainRecipe) -> None:
        """Blend the voices' classes with what a reader of the teacher says of strangers."""
        voices, share = self.samples.voices, recipe.voices.teacher_labels
        read = out_of_speaker(
            torch.stack([pooled(frames.float()) for frames in features]),
            [None if voice.label is None else SEVEN.index_of(voice.label) for voice in voices],
            [voice.speaker for voice in voices],
            len(SEVEN),
            seed=recipe.seed,
        )
        known = self.samples.targets.sum(dim=1, keepdim=True)
        # A voice without a class stays without: none of the seven is bored.
        self.samples.targets = torch.lerp(self.samples.targets, read, share) * known

    def lesson(
        self, keys: Sequence[Key], batch: dict[str, Tensor], rng: np.random.Generator
    ) -> Lesson:
        """Make a lesson of windows of voices."""
        places = [place for _, place in keys]
        captions: Captions = draw_captions(self.samples.facts[places], self.role, rng)
        matches = captions.matches(self.samples.facts[places])
        return mixed(
            Lesson(
                batch["mel"],
                self.samples.targets[places],
                captions.texts,
                matches,
                batch.get("teacher"),
            ),
            self.settings.mixup,
            rng,
        )

    @torch.inference_mode()
    def examine(self, learner: Learner, language: LanguageTower) -> dict[str, float]:
        """Return scores on the speakers that choose."""
        features = []
        for voice in self.select:
            mel = self.processor.hear(torch.from_numpy(voice.samples)[None])
            features.append(over_windows(learner, mel))
        truth = np.array([SEVEN.index_of(str(voice.label)) for voice in self.select])
        return scores(learner, language, torch.cat(features), truth)


def scores(
    learner: Learner, language: LanguageTower, features: Tensor, truth: NDArray[np.int64]
) -> dict[str, float]:
    """Return accuracy and mean recall of the head, and of the captions' language alone."""
    read = summarise(truth, learner.head(features).argmax(dim=1).numpy(), len(SEVEN))
    told = language.embed_media(features) @ embed_labels(language, list(SEVEN), learner.role).t()
    zero_shot = summarise(truth, told.argmax(dim=1).numpy(), len(SEVEN))
    return {
        "war": read.war,
        "uar": read.uar,
        "zero_shot_war": zero_shot.war,
        "zero_shot_uar": zero_shot.uar,
    }


def language_of(learner: Learner) -> LanguageTower:
    """Return the language side of a learner as it is now, frozen."""
    return LanguageTower(copy.deepcopy(learner.language), learner.tokenizer, "pre-training")


def mixed(lesson: Lesson, alpha: float, rng: np.random.Generator) -> Lesson:
    """Blend each sample with another of the batch, and what is asked of it."""
    if not alpha:
        return lesson
    kept = float(rng.beta(alpha, alpha))
    partner = torch.from_numpy(rng.permutation(len(lesson.inputs)))

    def blend(values: Tensor) -> Tensor:
        return torch.lerp(values[partner], values, kept)

    return Lesson(
        blend(lesson.inputs),
        blend(lesson.targets),
        lesson.captions,
        blend(lesson.matches),
        None if lesson.teacher is None else blend(lesson.teacher),
    )


def standardised(features: Sequence[Tensor]) -> list[Tensor]:
    """Bring features (frame, width) to mean 0 and deviation 1 over all frames, float16."""
    every = torch.cat([frames.float() for frames in features])
    mean, deviation = every.mean(dim=0), every.std(dim=0).clamp(min=1e-6)
    return [((frames.float() - mean) / deviation).half() for frames in features]


def _heard_by(
    teacher: AudioTeacher, voices: Sequence[ActedVoice], tell: OnProgress
) -> list[Tensor]:
    heard = []
    for place, voice in enumerate(voices):
        heard.append(teacher.features(voice.samples, RATE_HZ).half())
        tell(place + 1, len(voices))
    return heard
