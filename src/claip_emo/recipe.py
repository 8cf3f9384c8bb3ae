"""The typed description of an experiment, to and from YAML.

The defaults are the paper's settings as its released code has them for DFEW. Attribute docstrings
are the reference of the recipe's keys.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

NO_FOLDER = ("none", "memory")  # values of data.cache


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors, attribute docstrings describe the keys."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_default=True)

    command: ClassVar[str] = "train"
    """What takes a recipe whose outermost part this is: ``claip-emo COMMAND``."""

    def to_yaml(self) -> str:
        """Return every key, every default resolved, as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class DataRecipe(Section):
    """Which clips, how they are split and read."""

    corpus: Literal["table", "synthetic", "dfew", "mafw", "crema_d", "ravdess", "meld", "lists"] = (
        "table"
    )
    """Kind of corpus: `table` is any CSV with `path,label`; `synthetic` makes its clips itself."""
    root: str | None = None
    """The CSV, the publisher's folder, or for `synthetic` where clips are made; `--data`."""
    clips: str | None = None
    """Folder of the clips, where they do not lie under the publisher's folder."""
    variant: str | None = None
    """Edition of a corpus that has several, such as with_caption or compound of mafw."""
    label_order: str | list[str] | None = None
    """For `lists`: the names of its integers, or the name of a known order."""
    missing: Literal["error", "skip"] = "error"
    """What is done about clips that cannot be read, or of a published corpus are not there."""
    labels: list[str] | None = None
    """Class names in order; null takes the table's labels, alphabetically."""
    split: dict[str, dict[str, Any]] | None = None
    """Rule for a table without a `split` column: {test: {speaker: [actor17, actor18]}}."""
    fold: int | None = None
    """The fold to test on; the others train. Published corpora take 1 where it is not given."""
    validation_share: float = Field(0.15, ge=0, lt=1)
    """Share split off the training part where no validation part is named; by speaker if known."""
    face_detector: Literal["auto", "yunet", "haar", "none"] = "auto"
    """How faces are found in the corpus; `none` for clips that are cropped already."""
    face_model: str | None = None
    """YuNet's model file, where it is not to come from the hub."""
    cache: str = "none"
    """`none` decodes a clip whenever it is drawn, `memory` once in a run; a folder keeps prepared
    clips for all runs (`claip-emo prepare`)."""
    pairs: Literal["kept", "redrawn"] = "kept"
    """`redrawn` trains on the face of each clip beside the voice of any clip of the same class,
    another one in every epoch: for corpora whose faces and voices never met."""
    workers: int = Field(2, ge=0)
    """Processes that decode clips."""
    synthetic: dict[str, int] = Field(default_factory=dict)
    """Size of a synthetic corpus: people, clips_per_emotion, test_people, validation_people."""

    @property
    def cache_folder(self) -> Path | None:
        """The folder of prepared clips; None: there is none."""
        return None if self.cache in NO_FOLDER else Path(self.cache).expanduser()

    @model_validator(mode="after")
    def _no_slip(self) -> DataRecipe:
        near = get_close_matches(self.cache.lower(), NO_FOLDER, n=1, cutoff=0.75)
        if not self.cache or (near and self.cache not in NO_FOLDER):
            hint = f"; did you mean {near[0]!r}? (./{self.cache} is a folder)" if near else ""
            raise ValueError(f"cache is none, memory or a folder{hint}")
        return self


class LoraRecipe(Section):
    """Low-rank adapters on both towers."""

    rank: int = Field(8, ge=1)
    """Rank r of W0 + (alpha / r) B A."""
    alpha: int = Field(32, ge=1)
    """Scale alpha."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout on the adapters' input."""


class ModelRecipe(Section):
    """Towers, adaptation, temporal module and head."""

    backbone: Literal["vit-b32", "vit-b16", "vit-l14", "mini", "tiny", "tiny-clip"] = "vit-b32"
    """The pair of towers."""
    vision: str | None = None
    """Hub id or folder to take the vision tower from instead."""
    audio: str | None = None
    """Hub id or folder to take the audio tower from instead."""
    adaptation: Literal["lora", "frozen", "full"] = "lora"
    """LoRA on frozen towers, frozen towers alone, or everything trained."""
    lora: LoraRecipe = LoraRecipe()
    """The adapters' size."""
    temporal: Literal["transformer", "mean", "lstm"] = "transformer"
    """How frames become one feature."""
    fusion: Literal["concat", "sum", "gated", "cross_attention"] = "concat"
    """How face and voice become logits."""
    head: Literal["random", "language"] = "random"
    """What a new head says at first: nothing, or what the towers know of the labels' words; that
    takes temporal=mean, fusion=concat and towers with text encoders."""
    modality: Literal["av", "v", "a"] = "av"
    """Face and voice, or one of them alone: the other's tower is not built."""
    processor: dict[str, Any] = Field(default_factory=dict)
    """Changes to what the towers see, such as num_frames, frame_stride, audio_s, face_margin."""


class AugmentRecipe(Section):
    """Augmentation on the device; the defaults are the paper's."""

    frames: int | None = Field(None, ge=1)
    """Frames of a training window that the tower sees, drawn anew each time, in their order; null:
    all. Takes model.temporal=mean or lstm, which read any number of them."""
    windows: int | None = Field(None, ge=1)
    """Windows of sound (processor's audio_window_s) that the tower hears, drawn anew each time;
    null: all that cover audio_s."""
    randaugment_layers: int = Field(4, ge=0)
    """Operations per clip; each is applied with probability 0.5."""
    randaugment_magnitude: float = Field(7.0, ge=0, le=10)
    """Strength from 0 to 10, with a deviation of 0.5."""
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Share of the frame's area that a random crop keeps; [1, 1] switches it off."""
    flip: float = Field(0.5, ge=0, le=1)
    """Probability of mirroring a clip."""
    erase: float = Field(0.25, ge=0, le=1)
    """Probability of filling a box of the frames with noise."""
    time_masks: int = Field(2, ge=0)
    """SpecAugment: masks over time."""
    time_mask_share: float = Field(64 / 1024, ge=0, le=1)
    """Longest time mask, as a share of the spectrogram (64 of 1024 frames)."""
    frequency_masks: int = Field(2, ge=0)
    """SpecAugment: masks over frequency."""
    frequency_mask_share: float = Field(8 / 64, ge=0, le=1)
    """Widest frequency mask, as a share of the mel bins (8 of 64)."""
    mixup: float = Field(0.8, ge=0)
    """Alpha of the Beta that mixup's weight is drawn from; 0 switches it off."""
    cutmix: float = Field(1.0, ge=0)
    """Alpha of the Beta that cutmix's share is drawn from; 0 switches it off."""
    mix_probability: float = Field(1.0, ge=0, le=1)
    """Probability that a batch is mixed at all."""
    cutmix_probability: float = Field(0.5, ge=0, le=1)
    """Probability that a mixed batch is cut rather than blended."""
    modality_dropout: float = Field(0.0, ge=0, le=1)
    """Probability that a clip with face and voice loses one of them; 0 in the paper."""


WEIGHT_PARTS = ("vision_tower", "audio_tower", "temporal", "head")
"""What the names of a model's trained weights begin with."""


def _shares(given: object) -> object:
    """Say in one sentence what neither a share nor shares of parts are."""
    shares = list(given.values()) if isinstance(given, dict) else [given]
    numbers = [s for s in shares if isinstance(s, int | float) and 0 <= s <= 1]
    strange = isinstance(given, dict) and not given.keys() <= {*WEIGHT_PARTS}
    if len(numbers) < len(shares) or strange:
        raise ValueError(f"a share between 0 and 1, or shares of {', '.join(WEIGHT_PARTS)}")
    return given


class TrainRecipe(Section):
    """Optimisation, schedule, and what is kept."""

    epochs: int = Field(100, ge=1)
    """Epochs at most."""
    batch_size: int = Field(32, ge=1)
    """Clips per step and process."""
    accumulation: int = Field(1, ge=1)
    """Steps whose gradients are added before the weights move."""
    learning_rate: float = Field(4e-5, gt=0)
    """Peak rate; the paper's is 1e-5 x total batch / 8: 4e-5 for 32 (DFEW), 2e-5 for 16 (MAFW)."""
    final_learning_rate: float = Field(1.25e-7, ge=0)
    """Rate at the end of the cosine; the paper's is 1e-6 x total batch / 256."""
    warmup_epochs: float = Field(5, ge=0)
    """Epochs of linear warm-up from 0."""
    weight_decay: float = Field(0.05, ge=0)
    """AdamW's decoupled decay, on matrices only."""
    max_grad_norm: float = Field(0.0, ge=0)
    """Gradient clipping; 0: none, as in the paper."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Share of the target spread evenly over the classes."""
    balance: Literal["none", "class_weights", "sampling"] = "none"
    """Against rare classes: weigh the loss, or draw clips evenly over classes."""
    early_stopping: int = Field(20, ge=0)
    """Stop after this many epochs without gain; 0: never."""
    interpolation: Annotated[float | dict[str, float], BeforeValidator(_shares)] = 1.0
    """How far the kept weights go from the start's to the trained ones, all of them or part by
    part (those not named go all the way, those that the model lacks do not matter); below 1 more
    stays of what the towers knew (Wortsman et al. 2022, on zero-shot models). Both matrices of
    LoRA go it each, so that what they make together goes a little less. Epochs are selected
    without it."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of products; weights stay float32. `auto` is bfloat16 where the device
    multiplies it in hardware and the towers are CLIP and CLAP, else float32. A run that goes on
    where `auto` means another format does so, with a warning: its weights fit either."""
    compile: bool = False
    """torch.compile of the towers on CUDA; elsewhere it gains nothing and is left out, with a
    warning."""
    features: Literal["auto", "live", "cached"] = "auto"
    """`cached` runs frozen towers once over each frame and each span of sound that will be drawn,
    and trains on what they return; `auto` does so where model.adaptation is frozen and no
    augmentation touches frames or sound. Faces are then cut as with data.cache=memory."""
    gradient_checkpointing: bool = False
    """Trade time for memory: recompute the towers' activations in the backward pass."""
    save_every_steps: int | None = Field(None, ge=1)
    """Save a resumable state this often as well; null: once an epoch."""
    log_every_steps: int = Field(10, ge=1)
    """Steps between two lines of history.jsonl."""
    tensorboard: bool = False
    """Also write TensorBoard events (pip install tensorboard)."""
    init: str | None = None
    """Checkpoint to start the weights from; `--init` sets it."""
    seed: int = 0
    """Seed of weights, order, windows and augmentation."""

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, described: Any) -> Any:
        if isinstance(described, dict) and "bf16" in described:
            raise ValueError("bf16 is now called precision: write precision: bf16, fp32 or auto")
        return described


class ProtocolRecipe(Section):
    """What decides which weights are tested."""

    selection: Literal["validation", "last", "best_on_test"] = "validation"
    """Which epoch is kept: the best on a validation part split off the training part, the last, or
    the best on the test part itself, which reproduces published practice and flatters."""
    selection_metric: Literal["war", "uar"] = "war"
    """What the best epoch is the best in."""
    zero_shot: bool = True
    """Score what the towers know without training beside it, where they have text encoders."""


class Recipe(Section):
    """One experiment: data, model, augmentation, training, protocol."""

    name: str = "clips"
    """Name of the experiment, shown in reports."""
    note: str | None = None
    """What a reader of the report must know of the corpus."""
    data: DataRecipe = DataRecipe()
    model: ModelRecipe = ModelRecipe()
    augment: AugmentRecipe = AugmentRecipe()
    train: TrainRecipe = TrainRecipe()
    protocol: ProtocolRecipe = ProtocolRecipe()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.train.warmup_epochs > self.train.epochs:
            raise ValueError(
                f"train.warmup_epochs ({self.train.warmup_epochs:g}) is more than train.epochs "
                f"({self.train.epochs}); lower it with --set train.warmup_epochs=..."
            )
        if self.augment.frames is not None and self.model.temporal == "transformer":
            raise ValueError(
                "augment.frames leaves frames out, and the temporal Transformer knows each by its "
                "place; set model.temporal to mean or lstm, or augment.frames to null."
            )
        seen = self.model.modality != "a" and self.model.temporal != "mean"
        fused = self.model.modality == "av" and self.model.fusion != "concat"
        if self.model.head == "language" and (seen or fused):
            raise ValueError(
                "model.head=language needs features that reach a linear head as the towers give "
                "them: set model.temporal=mean and model.fusion=concat."
            )
        if self.model.head == "language" and self.train.init is not None:
            raise ValueError(
                "model.head=language begins anew and train.init goes on from another head: set one."
            )
        if self.augment.crop_scale[0] > self.augment.crop_scale[1]:
            raise ValueError("augment.crop_scale is [smallest, largest]; its order is reversed.")
        return self

    def of_fold(self, fold: int) -> Recipe:
        """Return the same recipe for one fold of its corpus."""
        return self.model_copy(update={"data": self.data.model_copy(update={"fold": fold})})
