"""Language-supervised pre-training of small towers: a recipe becomes two checkpoints with text.

``OUT/vision`` and ``OUT/audio`` each hold an encoder, a text encoder, their projections, a
tokenizer and what the tower wants to see: ``model.vision`` and ``model.audio`` of a recipe take
them as they take CLIP and CLAP.
"""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, default_collate

from claip_emo.corpora.base import CorpusError
from claip_emo.model.backbones import WEIGHTS
from claip_emo.model.checkpoint_folder import is_failed_write, written_whole
from claip_emo.model.precision import has_bf16
from claip_emo.model.prompts import Role
from claip_emo.model.towers import DUAL_PREFIX
from claip_emo.pretrain_recipe import FacesRecipe, PretrainRecipe, VoicesRecipe
from claip_emo.training.audio_teacher import AudioTeacher
from claip_emo.training.claim import claim, refuse_another
from claip_emo.training.pretrain_courses import Course, FaceCourse, Told, VoiceCourse, language_of
from claip_emo.training.pretrain_network import Former, Learner, Lesson, former_of, logit_adjustment
from claip_emo.training.pretrain_samples import Key, Shuffled
from claip_emo.whole_files import written

STATE, HISTORY, METRICS = "state.pt", "history.jsonl", "metrics.json"
WARM_UP = 0.05  # of all steps
MOMENTUM = 0.9
LARGEST_GRADIENT = 5.0
LESSONS = 7  # distinguishes the draws of a step from those of samples
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A tower that was taught: where it is, its best epoch, and its scores."""

    role: Role
    folder: Path
    epoch: int
    scores: dict[str, float]


def pretrain(
    recipe: PretrainRecipe,
    out: Path,
    *,
    audio_teacher: Path | None = None,
    init: Path | None = None,
    tell: Told,
    on_epoch: Callable[[Role, Line], None] = lambda role, line: None,
) -> list[Pretrained]:
    """Teach the towers that a recipe names; what was done before is gone on from.

    Args:
        recipe: data, towers, lessons.
        out: folder of the run.
        audio_teacher: folder of a speech encoder that teaches the audio tower; the recipe's own
            unless it is given. Without any nobody does.
        init: folder of a former pre-training whose towers and text encoders this one begins with;
            the recipe's own unless it is given. It must stay there until this one is done; without
            any all begins at random.
        tell: from what is being done to what is told (done, total).
        on_epoch: told each line of the history.

    Raises:
        CorpusError: if faces or voices cannot be read.
        RecipeError: if ``out`` holds a pre-training of another recipe.
        TeacherError: if the speech encoder cannot be read.
        BackboneError: if the towers to begin with cannot be read, or are of other sizes.
    """
    if recipe.data.root is None:
        raise CorpusError(["Name the folder of faces and voices with --data DIR (data.root)."])
    root = Path(recipe.data.root)
    recipe = _with_sources(recipe, audio_teacher, init)
    refuse_another(recipe, out)
    finished = {role: _finished(role, out / role) for role in recipe.data.roles}
    settings = {"vision": recipe.faces, "audio": recipe.voices}
    formers = {
        role: former_of(Path(recipe.init) / role, role, settings[role].tower, recipe.language)
        for role in recipe.data.roles
        if recipe.init is not None and finished[role] is None
    }
    done = []
    for role, found in finished.items():
        if found is not None:
            done.append(found)
            continue
        if role == "vision":
            course: Course = FaceCourse(recipe, root)
        else:
            course = VoiceCourse(recipe, root, tell, teacher=_teacher_of(recipe.voices))
        school = School(course, recipe, out, tell, on_epoch, former=formers.get(role))
        # Only what begins claims the folder: a slip in the command does not.
        claim(recipe.to_yaml(), out)
        done.append(school.teach(out / role))
    return done


def _with_sources(
    recipe: PretrainRecipe, audio_teacher: Path | None, init: Path | None
) -> PretrainRecipe:
    """Note in a recipe which folders it begins with and is taught by."""
    teacher = recipe.voices.teacher if audio_teacher is None else str(audio_teacher)
    start = recipe.init if init is None else str(init)
    taught = recipe.voices.model_copy(update={"teacher": teacher})
    return recipe.model_copy(update={"voices": taught, "init": start})


def _teacher_of(voices: VoicesRecipe) -> AudioTeacher | None:
    if voices.teacher is None:
        return None
    return AudioTeacher.from_folder(Path(voices.teacher), voices.teacher_layer)


def _finished(role: Role, folder: Path) -> Pretrained | None:
    try:
        kept = json.loads((folder / METRICS).read_text("utf-8"))
    except OSError:
        return None
    return Pretrained(role, folder, kept["epoch"], kept["select"])


class School:
    """Teaches one tower, epoch by epoch, and keeps the best."""

    def __init__(
        self,
        course: Course,
        recipe: PretrainRecipe,
        out: Path,
        tell: Told,
        on_epoch: Callable[[Role, Line], None],
        *,
        former: Former | None = None,
    ):
        """Build the learner, its optimisers and the average of its weights."""
        self.course, self.recipe, self.tell, self.on_epoch = course, recipe, tell, on_epoch
        self.state, self.history = out / f"{course.role}-{STATE}", out / f"{course.role}-{HISTORY}"
        torch.manual_seed(recipe.seed)
        settings = course.settings
        self.learner = Learner(
            course.role, settings.tower, recipe.language, course.texts, course.teacher_width,
            logit_adjustment(course.samples.targets, settings.balance),
        )  # fmt: skip
        if former is not None:
            self.learner.begin_with(former)
        count = len(course.samples)  # type: ignore[arg-type]
        self.order = Shuffled(count, settings.batch_size, recipe.seed)
        self.steps = settings.epochs * len(self.order)
        decay = 1 - 1 / max(2.0, settings.average_epochs * len(self.order))
        self.average = AveragedModel(
            self.learner, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
        )
        self.optimisers = optimisers(self.learner, settings, recipe.language.text_learning_rate)
        self.best: Line = {}
        self.best_weights: dict[str, Tensor] = {}

    def teach(self, folder: Path) -> Pretrained:
        """Go through the epochs that are left, and write the best average into a folder."""
        role, first = self.course.role, self._resume()
        epochs = self.course.settings.epochs
        loader = self._loader()
        for epoch in range(first, epochs):
            self._keep(epoch, self._epoch(epoch, loader))
        self.average.load_state_dict(self.best_weights)
        save_tower(self.average.module, self.course, folder, self.best)
        self.state.unlink(missing_ok=True)
        return Pretrained(role, folder, self.best["epoch"], self.best["select"])

    def _loader(self) -> DataLoader[Any]:
        workers = self.recipe.workers
        return DataLoader(
            _Keyed(self.course.samples),
            batch_sampler=self.order,
            num_workers=workers,
            collate_fn=_collated,
            prefetch_factor=4 if workers else None,
        )

    def _epoch(self, epoch: int, loader: DataLoader[Any]) -> dict[str, float]:
        """Teach one epoch; return the mean of each loss."""
        told = self.tell(f"Epoch {epoch + 1} of {self.course.settings.epochs} ({self.course.role})")
        self.order.epoch, count = epoch, len(self.order)
        self.learner.train()
        sums: dict[str, float] = {}
        for place, (keys, batch) in enumerate(loader):
            step = epoch * count + place
            rng = np.random.default_rng((self.recipe.seed, LESSONS, step))
            for name, loss in self._step(self.course.lesson(keys, batch, rng), step).items():
                sums[name] = sums.get(name, 0.0) + loss / count
            told(place + 1, count)
        return sums

    def _step(self, lesson: Lesson, step: int) -> dict[str, float]:
        factor = schedule(step, self.steps)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * factor
            optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16("cpu")):
            losses = self.learner.losses(lesson, self.course.weights)
        total = sum(self.course.weights[name] * loss for name, loss in losses.items())
        total.backward()  # type: ignore[union-attr]
        nn.utils.clip_grad_norm_(self.learner.parameters(), LARGEST_GRADIENT)
        for optimiser in self.optimisers:
            optimiser.step()
        self.average.update_parameters(self.learner)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _keep(self, epoch: int, losses: dict[str, float]) -> None:
        """Examine the average, note the epoch, and save what going on needs."""
        learner = self.average.module.eval()
        found = self.course.examine(learner, language_of(learner))
        line = {"epoch": epoch + 1, "losses": losses, "select": found}
        if not self.best or _merit(found) > _merit(self.best["select"]):
            self.best = line
            self.best_weights = {n: v.clone() for n, v in self.average.state_dict().items()}
        with self.history.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
        self._save(epoch)
        self.on_epoch(self.course.role, line)

    def _save(self, epoch: int) -> None:
        state = {
            "epoch": epoch + 1,
            "learner": self.learner.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "best": self.best,
            "best_weights": self.best_weights,
        }
        try:
            with written(self.state) as partial:
                torch.save(state, partial)
        except RuntimeError as error:
            if is_failed_write(error):  # torch's full disk
                raise OSError(
                    errno.ENOSPC, "the file could not be written completely", str(self.state)
                ) from error
            raise

    def _resume(self) -> int:
        """Take up a saved state; return the first epoch that is left."""
        if not self.state.is_file():
            self.history.unlink(missing_ok=True)
            return 0
        try:
            state = torch.load(self.state, weights_only=True)
        except (OSError, MemoryError):  # the file may be good
            raise
        except Exception as error:  # what a torn file makes of a zip and a pickle is many types
            raise CorpusError([f"{self.state} cannot be read; delete it to begin anew."]) from error
        self.learner.load_state_dict(state["learner"])
        self.average.load_state_dict(state["average"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.best, self.best_weights = state["best"], state["best_weights"]
        lines = self.history.read_text("utf-8").splitlines()[: state["epoch"]]
        self.history.write_text("".join(line + "\n" for line in lines), "utf-8")
        return int(state["epoch"])


def _merit(scores: dict[str, float]) -> float:
    return scores["war"] + scores["uar"]


def schedule(step: int, steps: int) -> float:
    """Return the share of the peak rate: a linear warm-up, then a cosine down to nothing."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def optimisers(
    learner: Learner, settings: Any, text_learning_rate: float
) -> list[torch.optim.Optimizer]:
    """Return SGD for a tower of faces, AdamW for one of voices, and AdamW for the text encoder."""
    text = [*learner.language.text_model.parameters(), learner.language.logit_scale]
    text += learner.language.text_projection.parameters()
    ours = {id(parameter) for parameter in text}
    rest = [parameter for parameter in learner.parameters() if id(parameter) not in ours]
    of_tower = _groups(rest, settings.learning_rate, settings.weight_decay)
    of_text = _groups(text, text_learning_rate, 0.0)
    if isinstance(settings, FacesRecipe):
        tower: torch.optim.Optimizer = torch.optim.SGD(
            of_tower, lr=settings.learning_rate, momentum=MOMENTUM, nesterov=True
        )
    else:
        tower = torch.optim.AdamW(of_tower, lr=settings.learning_rate, fused=True)
    return [tower, torch.optim.AdamW(of_text, lr=text_learning_rate, fused=True)]


def _groups(parameters: Sequence[Tensor], peak: float, decay: float) -> list[dict[str, Any]]:
    """Divide parameters into matrices, which decay, and the others, which do not."""
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() <= 1]
    return [
        {"params": group, "weight_decay": rate, "peak": peak}
        for group, rate in ((matrices, decay), (others, 0.0))
        if group
    ]


def save_tower(learner: Learner, course: Course, folder: Path, line: Line) -> None:
    """Write encoder, language side, tokenizer, processor and scores into a folder."""
    language = language_of(learner)
    with written_whole(folder) as partial:
        language.save(partial)
        state = {DUAL_PREFIX + name: value for name, value in learner.tower.state_dict().items()}
        state |= dict(language.network.state_dict().items())
        plain = {name: value.detach().clone().contiguous() for name, value in state.items()}
        save_file(plain, partial / WEIGHTS[0], metadata={"format": "pt"})
        course.processor.save_pretrained(partial)
        (partial / METRICS).write_text(json.dumps(line, indent=2) + "\n", "utf-8")


class _Keyed(torch.utils.data.Dataset[tuple[Key, Any]]):
    """Samples with the keys that they were drawn by."""

    def __init__(self, samples: torch.utils.data.Dataset[Any]):
        self.samples = samples

    def __getitem__(self, key: Key) -> tuple[Key, Any]:  # type: ignore[override]
        return key, self.samples[key]  # type: ignore[index]


def _collated(drawn: Sequence[tuple[Key, Any]]) -> tuple[list[Key], Any]:
    return [key for key, _ in drawn], default_collate([sample for _, sample in drawn])
