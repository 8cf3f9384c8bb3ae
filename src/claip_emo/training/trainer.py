"""transformers' Trainer, with what this model needs: raw batches, seeded steps, whole checkpoints.

Every draw of a step is seeded by (seed, step): windows in the data set, augmentation and dropout
here. A run that was killed and goes on from its newest complete checkpoint therefore ends with the
same weights as one that was never interrupted.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState, PrinterCallback

from claip_emo.data.augment import Augmentation
from claip_emo.data.dataset import ClipDataset, DrawSampler, collate
from claip_emo.evaluation.evaluate import predict
from claip_emo.metrics import summarise
from claip_emo.model.checkpoint_folder import written_whole
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.precision import Precision
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.towers import AUDIO, VISION, kind_of
from claip_emo.recipe import Recipe
from claip_emo.recipe_files import RecipeError
from claip_emo.training.arithmetic import adamw, compile_towers, scoring
from claip_emo.training.schedule import learning_rates, parameter_groups

logger = logging.getLogger(__name__)

TRAINED = "trained.safetensors"
STATE = "trainer_state.json"
BEST = "best"


class NonFiniteLossError(RuntimeError):
    """Loss or gradients became infinite or not a number; the message names the batch's clips."""


class ClaipEmoTrainer(Trainer):
    """Trains a ClaipEmoModel on stacked uint8 frames and waveforms.

    Args:
        model: the model to train.
        processor: what its towers want to see.
        recipe: augmentation, optimiser, schedule, selection.
        train: the training part.
        validation: the part that is scored after each epoch; None: none is.
        state_dir: folder of the resumable state.
        precision: number format of products, ``fp32`` or ``bf16``.
        use_cpu: stay on the CPU although there is a GPU.
    """

    def __init__(
        self,
        model: ClaipEmoModel,
        processor: ClaipEmoProcessor,
        recipe: Recipe,
        train: ClipDataset,
        validation: ClipDataset | None,
        state_dir: Path,
        *,
        precision: Precision = "fp32",
        use_cpu: bool = False,
    ):
        """Translate the recipe into TrainingArguments."""
        settings = recipe.train
        self.precision = precision
        if settings.gradient_checkpointing:
            _check_checkpointing(model)
            model.gradient_checkpointing_enable()
        on_cuda = torch.cuda.is_available() and not use_cpu
        if settings.compile and on_cuda:
            compile_towers(model)
        elif settings.compile:
            logger.warning("train.compile is left out: it makes towers faster on CUDA only.")
        cached = recipe.data.cache == "memory"
        super().__init__(
            model=model,
            args=TrainingArguments(
                output_dir=str(state_dir),
                num_train_epochs=settings.epochs,
                per_device_train_batch_size=settings.batch_size,
                gradient_accumulation_steps=settings.accumulation,
                max_grad_norm=settings.max_grad_norm,
                eval_strategy="epoch" if validation is not None else "no",
                save_strategy="epoch",  # after the validation; ``SaveOften`` adds to it
                logging_steps=settings.log_every_steps,
                logging_nan_inf_filter=False,
                bf16=precision == "bf16",
                dataloader_num_workers=0 if cached else recipe.data.workers,
                dataloader_pin_memory=on_cuda,
                remove_unused_columns=False,
                report_to=["tensorboard"] if settings.tensorboard else [],
                seed=settings.seed,
                use_cpu=use_cpu,
                disable_tqdm=True,
                log_level="error",
                ddp_find_unused_parameters=True,
            ),
            train_dataset=train,
            eval_dataset=validation,
            data_collator=collate,
        )
        self.remove_callback(PrinterCallback)
        self.add_callback(FiniteGradients(self))
        self.model_accepts_loss_kwargs = False  # the loss is a mean over clips of one batch
        self.recipe = recipe
        self.processor = processor
        self.augmentation = Augmentation(
            recipe.augment, processor, len(model.config.labels), settings.label_smoothing
        )
        self.draws = DrawSampler(
            train.label_indices, settings.seed, balanced=settings.balance == "sampling"
        )
        self._class_weights: Tensor | None = None
        if settings.balance == "class_weights":
            counts = np.bincount(train.label_indices, minlength=len(model.config.labels))
            weights = len(train) / (len(counts) * np.maximum(counts, 1))
            self._class_weights = torch.tensor(weights, dtype=torch.float32)
        self._step, self._micro_step = -1, 0
        self._ids: list[str] = []  # of the clips of this step

    def _get_train_sampler(self, *_: Any) -> DrawSampler:
        return self.draws

    def create_optimizer(self, *_: Any) -> torch.optim.Optimizer:
        """Return AdamW with decay on matrices only."""
        if self.optimizer is None:
            groups = parameter_groups(self.model.named_parameters(), self.recipe.train.weight_decay)
            self.optimizer = adamw(groups, self.recipe.train.learning_rate)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LambdaLR:
        """Return the warm-up and cosine of the recipe, step by step."""
        if self.lr_scheduler is None:
            settings = self.recipe.train
            rates = learning_rates(
                peak=settings.learning_rate,
                final=settings.final_learning_rate,
                epochs=settings.epochs,
                steps_per_epoch=math.ceil(num_training_steps / settings.epochs),
                warmup_epochs=settings.warmup_epochs,
            )
            rates.append(rates[-1])  # the rate after the last step is asked for, but never used
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer,
                lambda step: rates[min(step, len(rates) - 1)] / settings.learning_rate,
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *rest: Any, **more: Any):
        """Seed the step, then do as the Trainer does."""
        if self._step != self.state.global_step:
            self._step, self._micro_step = self.state.global_step, 0
            self._ids = []
        place = (self.args.seed, self._step, self._micro_step, self.args.process_index)
        self._rng = np.random.default_rng(place)
        torch.manual_seed(int(self._rng.integers(2**31)))  # dropout and stochastic depth
        self._micro_step += 1
        return super().training_step(model, inputs, *rest, **more)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: Any
    ):
        """Augment a raw batch on the device and return the soft-target cross-entropy.

        Raises:
            NonFiniteLossError: naming the clips of the batch.
        """
        self._ids += inputs["ids"]
        ready = self.augmentation(inputs, self._rng)
        targets = ready.pop("labels")
        outputs = model(**ready)
        weights = self._class_weights
        loss = functional.cross_entropy(
            outputs.logits.float(),
            targets,
            weight=None if weights is None else weights.to(targets.device),
        )
        if not bool(torch.isfinite(loss)):
            self._stop(f"The loss is {loss.item()}")
        return (loss, outputs) if return_outputs else loss

    def check_gradients(self) -> None:
        """Look at the gradients before the weights move.

        Raises:
            NonFiniteLossError: naming the clips of the batch.
        """
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norms = torch._foreach_norm(gradients) if gradients else []
        if norms and not bool(torch.isfinite(torch.stack([n.float() for n in norms])).all()):
            self._stop("A gradient is not finite")

    def _stop(self, what: str) -> None:
        raise NonFiniteLossError(
            f"{what} at step {self.state.global_step}. The clips of this batch: "
            f"{', '.join(self._ids)}. A smaller train.learning_rate, or train.max_grad_norm=1, "
            "often helps; a broken clip is found with `claip-emo predict`."
        )

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Count nothing: the Trainer's estimate is one for text."""
        return 0

    def scores(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Score the validation part: labels (clip,), logits (clip, classes), classes (clip,)."""
        model = self.accelerator.unwrap_model(self.model)
        own = (model.config.modality,)
        with scoring(model, self.precision):
            rows = predict(model, self.processor, self.eval_dataset, modalities=own)
        model.train()
        return rows.label_index, rows.logits, rows.predicted_index

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score the validation part and log its loss, WAR and UAR."""
        labels, logits, predicted = self.scores()
        summary = summarise(labels, predicted, logits.shape[1])
        chosen = logits[np.arange(len(labels)), labels]
        shifted = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1))
        loss = float(np.mean(shifted + logits.max(1) - chosen))
        metrics = {"eval_loss": loss, "eval_war": summary.war, "eval_uar": summary.uar}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a complete checkpoint under a temporary name, then rename it; keep the newest."""
        if not self.args.should_save:
            return
        root = Path(self.args.output_dir)
        folder = root / f"checkpoint-{self.state.global_step}"
        with written_whole(folder) as partial:
            state = self.accelerator.unwrap_model(self.model).trained_state()
            save_file({n: t.contiguous() for n, t in state.items()}, partial / TRAINED)
            self._save_optimizer_and_scheduler(str(partial))
            for callback in [*self.callback_handler.callbacks, self.control]:
                if isinstance(callback, ExportableState):
                    self.state.stateful_callbacks[type(callback).__name__] = callback.state()
            self.state.save_to_json(str(partial / STATE))
        for other in root.glob("checkpoint-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.model.load_trained_state(load_file(Path(resume_from_checkpoint) / TRAINED))


class FiniteGradients(TrainerCallback):
    """Stops a run before what is not finite reaches the weights, and from there a checkpoint."""

    def __init__(self, trainer: ClaipEmoTrainer):
        """Take the trainer, which knows the clips of the step."""
        self.trainer = trainer

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Check the gradients of the step, after accumulation and clipping."""
        self.trainer.check_gradients()


def _check_checkpointing(model: ClaipEmoModel) -> None:
    """Refuse gradient checkpointing where no tower can do it (ResNets cannot).

    Raises:
        RecipeError: naming the backbone.
    """
    config, kinds = model.config, []
    if config.reads_video:
        kinds.append(kind_of(config.vision_config, VISION))
    if config.reads_audio:
        kinds.append(kind_of(config.audio_config, AUDIO))
    if not any(kind.checkpoints for kind in kinds):
        raise RecipeError(
            f"train.gradient_checkpointing: no tower of {config.backbone} can do it; set it "
            "to false."
        )


def newest_checkpoint(state_dir: Path) -> Path | None:
    """Return the newest complete checkpoint of a run, or None; broken ones are passed over."""
    folders = sorted(
        state_dir.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True
    )
    for folder in folders:
        try:
            json.loads((folder / STATE).read_text("utf-8"))
            with safe_open(folder / TRAINED, "pt") as weights:
                weights.keys()
        except (OSError, ValueError, SafetensorError):
            continue
        return folder
    return None
