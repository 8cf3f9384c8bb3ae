"""What happens beside the steps: history, the best epoch, early stopping, interrupts, progress."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

from rich.progress import Progress, TaskID
from safetensors.torch import save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from claip_emo.data.dataset import DrawSampler
from claip_emo.evaluation.processes import is_first
from claip_emo.evaluation.report import read_history
from claip_emo.model.checkpoint_folder import written_whole
from claip_emo.training.trainer import BEST, TRAINED


class EpochOrder(TrainerCallback):
    """Tells the sampler which epoch begins, also where a run goes on in the middle of one."""

    def __init__(self, draws: DrawSampler):
        """Take the sampler of the training part."""
        self.draws = draws

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Set the epoch that the order is drawn from."""
        self.draws.epoch = int((state.epoch or 0) + 1e-6)


class History(TrainerCallback):
    """Writes ``history.jsonl``: a line per logging step and per validation."""

    def __init__(self, path: Path, resumed_step: int, metric: str, *, part: str = "validation"):
        """Keep the lines up to the step that the run goes on from; ``part`` is what is scored."""
        self.path = path
        self.metric = metric
        self.part = part
        self.start = time.monotonic()
        lines = read_history(path)
        kept = [line for line in lines if line["step"] <= resumed_step]
        self.earlier_s = max((line.get("seconds", 0.0) for line in kept), default=0.0)
        if is_first():
            path.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")

    @property
    def seconds(self) -> float:
        """Time spent training so far, over all the runs of the command."""
        return self.earlier_s + time.monotonic() - self.start

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Append one line."""
        logs = logs or {}
        line: dict[str, Any] = {"step": state.global_step, "epoch": round(state.epoch or 0, 4)}
        if "eval_loss" in logs:
            line |= {"event": "validation", "part": self.part}
            line |= {
                key.removeprefix("eval_"): logs[key] for key in logs if key.startswith("eval_")
            }
            line["best"] = epochs_since_best(state, self.metric) == 0
        elif "loss" in logs:
            line["event"] = "train"
            line |= {
                key: logs[key] for key in ("loss", "learning_rate", "grad_norm") if key in logs
            }
        else:
            return
        line["seconds"] = round(self.seconds, 2)
        if not is_first():
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class SaveOften(TrainerCallback):
    """Saves every so many steps as well as at the end of each epoch.

    The last step of an epoch is left to its end: what is saved before the validation would, when it
    goes on, do without it.
    """

    def __init__(self, every: int | None):
        """Take the number of steps; None: only epochs are saved."""
        self.every = every

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Save if it is time."""
        if self.every and state.global_step % self.every == 0 and not _ends_an_epoch(state):
            control.should_save = True


class BestEpoch(TrainerCallback):
    """Keeps the weights of the best epoch on the validation part and stops without gain."""

    def __init__(self, state_dir: Path, metric: str, patience: int):
        """Take the folder, the metric (``war`` or ``uar``) and the epochs to wait; 0: for ever."""
        self.folder = state_dir / BEST
        self.metric = metric
        self.patience = patience

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Save the weights if this epoch is the best so far; stop when patience ends."""
        waited = epochs_since_best(state, self.metric)
        if waited == 0 and args.should_save:
            weights = {n: t.contiguous() for n, t in more["model"].trained_state().items()}
            with written_whole(self.folder) as partial:
                save_file(weights, partial / TRAINED, {"epoch": str(round(state.epoch or 0))})
        if self.patience and waited >= self.patience:
            control.should_training_stop = True


class Interrupt(TrainerCallback):
    """Ctrl-C once: finish the step, save, stop. Ctrl-C twice: stop at once."""

    def __init__(self) -> None:
        """Wait for the signal from the start of the training."""
        self.asked = False
        self._former: Any = None

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Listen for the signal (only possible in the main thread)."""
        try:
            self._former = signal.signal(signal.SIGINT, self._ask)
        except ValueError:
            self._former = None

    def _ask(self, *_: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Save and stop if asked to; the last step of an epoch leaves both to the epoch's end."""
        if self.asked:
            control.should_save = not _ends_an_epoch(state)
            control.should_training_stop = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Do not evaluate half an epoch."""
        if self.asked and not _ends_an_epoch(state):
            control.should_evaluate = False
            control.should_save = False  # the step has saved it

    def restore(self) -> None:
        """Give the signal back, however the training ended."""
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)
            self._former = None


class ProgressBar(TrainerCallback):
    """Shows steps, epoch, loss, the validation's scores and the time left."""

    def __init__(self, progress: Progress, task: TaskID):
        """Draw on a running rich progress display."""
        self.progress = progress
        self.task = task
        self.facts: dict[str, str] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start at the step that the run goes on from."""
        self.progress.update(self.task, total=state.max_steps, completed=state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Move on by one step."""
        epoch = f"epoch {int(state.epoch or 0)}/{int(args.num_train_epochs)}"
        text = "  ".join([epoch, *self.facts.values()])
        self.progress.update(self.task, completed=state.global_step, facts=text)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Take up the newest figures."""
        for key, label in (("loss", "loss"), ("eval_war", "WAR"), ("eval_uar", "UAR")):
            if key in (logs or {}):
                self.facts[key] = f"{label} {logs[key]:.3f}"


def _ends_an_epoch(state: TrainerState) -> bool:
    epoch = state.epoch or 0
    return abs(epoch - round(epoch)) < 1e-6


def epochs_since_best(state: TrainerState, metric: str) -> int:
    """Return how many validations have passed since the best one; 0: the newest is the best."""
    values = [line[f"eval_{metric}"] for line in state.log_history if f"eval_{metric}" in line]
    return len(values) - 1 - values.index(max(values)) if values else 0
