"""The typed description of a pre-training: small towers taught with language, to and from YAML.

Attribute docstrings are the reference of the recipe's keys.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from claip_emo.recipe import Section

Range = tuple[float, float]
SELECT_SPEAKERS, TEST_SPEAKERS = ("actor15", "actor16"), ("actor17", "actor18")


class FaceWorldRecipe(Section):
    """What happens to a face between the world and the crop; shares are of the faces."""

    side: Range = (0.85, 1.2)
    """Side of the square relative to the face's own: how tightly a detector frames it."""
    shift: float = Field(0.08, ge=0, le=0.5)
    """Largest shift of the square, in shares of its side, in either direction."""
    rotation_deg: float = Field(15.0, ge=0, le=90)
    """Largest rotation."""
    squeeze: float = Field(0.2, ge=0, lt=1)
    """Largest narrowing of one half of a face against the other: it is turned to the side."""
    flip: float = Field(0.5, ge=0, le=1)
    """Share that is mirrored."""
    brightness: Range = (0.15, 1.2)
    """Factor of the light; crops of real video with a mean of 0.1 are common."""
    contrast: Range = (0.5, 1.4)
    """Factor of the differences from the mean."""
    gamma: Range = (0.6, 1.7)
    """Exponent of the light."""
    side_light: float = Field(0.3, ge=0, le=1)
    """Share that is lit from one side."""
    blur: float = Field(0.3, ge=0, le=1)
    """Share that is out of focus or moves."""
    blur_px: float = Field(1.2, ge=0)
    """Largest deviation of the blur, in px of a face 48 px wide."""
    rescale: float = Field(0.3, ge=0, le=1)
    """Share that is scaled down and up again."""
    rescale_px: Range = (18, 40)
    """Side that they are scaled down to."""
    jpeg: float = Field(0.4, ge=0, le=1)
    """Share that is compressed."""
    jpeg_quality: tuple[int, int] = (20, 85)
    """Quality of the compression, of 100."""
    noise: float = Field(0.3, ge=0, le=1)
    """Share with sensor noise."""
    noise_levels: float = Field(10.0, ge=0)
    """Largest deviation of the noise, of 255 levels."""
    occlusion: float = Field(0.25, ge=0, le=1)
    """Share that something hides in part: a hand, hair, a mask, the edge of the picture."""
    occlusion_area: Range = (0.03, 0.2)
    """Share of the crop that is hidden."""


class VoiceWorldRecipe(Section):
    """What happens to a voice between the world and the recording; shares are of the voices."""

    speed: Range = (0.88, 1.12)
    """Factor of the tempo and the pitch together, as a tape runs faster."""
    pitch: float = Field(0.3, ge=0, le=1)
    """Share whose pitch alone is shifted."""
    pitch_semitones: float = Field(2.0, ge=0, le=12)
    """Largest shift, up or down."""
    noise: float = Field(0.4, ge=0, le=1)
    """Share with noise, from white to deep."""
    babble: float = Field(0.25, ge=0, le=1)
    """Share with other voices behind, three to eight of them."""
    music: float = Field(0.15, ge=0, le=1)
    """Share with chords of tones behind."""
    snr_db: Range = (3, 30)
    """Level of the voice above what lies behind it."""
    reverberation: float = Field(0.35, ge=0, le=1)
    """Share that is spoken in a room, far from the microphone."""
    decay_s: Range = (0.1, 0.8)
    """Time in which the room's sound falls by 60 dB."""
    equaliser: float = Field(0.5, ge=0, le=1)
    """Share that a microphone colours."""
    equaliser_db: float = Field(8.0, ge=0)
    """Largest rise or fall of a band."""
    band: float = Field(0.3, ge=0, le=1)
    """Share without the lowest and the highest sounds, as over a telephone."""
    low_cut_hz: Range = (50, 350)
    """Where the band begins."""
    high_cut_hz: Range = (3000, 9000)
    """Where the band ends."""
    codec: float = Field(0.1, ge=0, le=1)
    """Share that went through a lossy codec."""
    level_db: Range = (-20, 10)
    """Level against the recording's; what exceeds full scale is clipped."""


class FacesRecipe(Section):
    """The vision tower: a ResNet over face crops."""

    tower: dict[str, Any] = Field(
        default_factory=lambda: {
            "num_channels": 1,
            "embedding_size": 48,
            "hidden_sizes": [48, 96, 160, 256],
            "depths": [2, 2, 2, 2],
            "layer_type": "basic",
        }
    )
    """Sizes of transformers' ResNetModel."""
    size_px: int = Field(64, ge=16)
    """Side of the crops that it sees."""
    margin: float = Field(0.0, ge=0)
    """Share of the face's height that prediction adds on each side of the crop."""
    epochs: int = Field(20, ge=1)
    """Passes over the faces."""
    batch_size: int = Field(64, ge=2)
    """Faces per step."""
    learning_rate: float = Field(0.05, gt=0)
    """Peak rate of SGD with momentum 0.9; it falls as a cosine."""
    weight_decay: float = Field(5e-4, ge=0)
    """Decay of matrices and kernels."""
    mixup: float = Field(0.2, ge=0)
    """Alpha of mixup's Beta; 0 switches it off."""
    balance: float = Field(0.5, ge=0, le=1)
    """How far rare classes are raised: the loss counts each class's logit as higher by this times
    the logarithm of its share (Menon et al. 2021); 1: as if all were equally frequent."""
    average_epochs: float = Field(0.5, gt=0)
    """Epochs over which the weights that are kept are averaged, exponentially."""
    world: FaceWorldRecipe = FaceWorldRecipe()
    """Augmentation."""


class VoicesRecipe(Section):
    """The audio tower: a ResNet over CLAP's log-mel."""

    tower: dict[str, Any] = Field(
        default_factory=lambda: {
            "num_channels": 1,
            "embedding_size": 32,
            "hidden_sizes": [32, 64, 128, 256],
            "depths": [2, 2, 2, 2],
            "layer_type": "basic",
        }
    )
    """Sizes of transformers' ResNetModel."""
    audio_s: float = Field(10.0, gt=0)
    """Seconds of a view; the tower's features are averaged over windows of it."""
    window_s: float = Field(3.84, gt=0)
    """Seconds that it hears at once."""
    rms: float = Field(0.05, gt=0)
    """Root mean square that sound is brought to."""
    trim_db: float = Field(35.0, gt=0)
    """Silence at both ends is cut off, as far below the loudest 20 ms."""
    epochs: int = Field(40, ge=1)
    """Passes over the voices."""
    batch_size: int = Field(32, ge=2)
    """Voices per step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak rate of AdamW; it falls as a cosine."""
    weight_decay: float = Field(0.05, ge=0)
    """Decay of matrices and kernels."""
    mixup: float = Field(0.3, ge=0)
    """Alpha of mixup's Beta; 0 switches it off."""
    balance: float = Field(0.0, ge=0, le=1)
    """How far rare classes are raised, as for the faces."""
    average_epochs: float = Field(2.0, gt=0)
    """Epochs over which the weights that are kept are averaged, exponentially."""
    time_masks: int = Field(2, ge=0)
    """SpecAugment: masks over time, each up to an eighth of it."""
    frequency_masks: int = Field(2, ge=0)
    """SpecAugment: masks over frequency, each up to an eighth of it."""
    teacher: str | None = None
    """Folder of a speech encoder that is distilled; `--audio-teacher` sets it."""
    teacher_layer: int = Field(3, ge=0)
    """Hidden state of the speech encoder that is distilled."""
    teacher_pooled: float = Field(1.0, ge=0)
    """Weight of the teacher's mean over time as a target."""
    teacher_frames: float = Field(0.5, ge=0)
    """Weight of the teacher's features frame by frame as targets."""
    teacher_labels: float = Field(0.5, ge=0, le=1)
    """Share of the soft labels that a linear reader of the teacher gives, of voices whose speaker
    it did not hear."""
    world: VoiceWorldRecipe = VoiceWorldRecipe()
    """Augmentation."""


class LanguageRecipe(Section):
    """The text towers and the space that they share with the media."""

    width: int = Field(64, ge=2)
    """Width of the text encoders, and of the shared space."""
    layers: int = Field(2, ge=1)
    """Layers of the text encoders."""
    heads: int = Field(4, ge=1)
    """Heads of the text encoders."""
    contrast: float = Field(0.5, ge=0)
    """Weight of the contrast of samples with captions beside the soft labels' loss of 1."""
    text_learning_rate: float = Field(1e-3, gt=0)
    """Peak rate of the text encoders (AdamW)."""


class PretrainDataRecipe(Section):
    """What is learned from, and who is kept apart."""

    root: str | None = None
    """Folder of the faces, their votes and the voices; `--data`."""
    roles: tuple[Literal["vision", "audio"], ...] = ("vision", "audio")
    """Which towers are taught."""
    select_speakers: tuple[str, ...] = SELECT_SPEAKERS
    """Speakers who choose: scored after every epoch, never trained on."""
    test_speakers: tuple[str, ...] = TEST_SPEAKERS
    """Speakers who are neither trained on nor looked at."""


class PretrainRecipe(Section):
    """One pre-training: data, faces, voices, language."""

    command: ClassVar[str] = "pretrain"

    name: str = "mini"
    """Name of the towers."""
    data: PretrainDataRecipe = PretrainDataRecipe()
    faces: FacesRecipe = FacesRecipe()
    voices: VoicesRecipe = VoicesRecipe()
    language: LanguageRecipe = LanguageRecipe()
    init: str | None = None
    """Folder of a former pre-training to start the towers from; `--init` sets it."""
    workers: int = Field(1, ge=0)
    """Processes that augment samples."""
    seed: int = 0
    """Seed of weights, order, captions and augmentation."""

    @model_validator(mode="after")
    def _apart(self) -> PretrainRecipe:
        both = set(self.data.select_speakers) & set(self.data.test_speakers)
        if both:
            raise ValueError(f"data.select_speakers and data.test_speakers share {sorted(both)}")
        return self
