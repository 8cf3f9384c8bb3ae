"""ClaipEmoProcessor: uint8 frames and waveforms become tensors, on the device, in batches.

Without randomness. The log-mel is CLAP's own (48 kHz, Hann window of 1024, hop 480, 64 bins up to
14 kHz, decibels), computed from a float64 spectrum: with float32 a pure 440 Hz tone is 1 dB off.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from claip_emo.media.clip import ClipSpec
from claip_emo.model import checkpoint_folder as store
from claip_emo.model.mel import MEL_FLOOR, mel_filters
from claip_emo.model.processor_settings import (
    GREY_WEIGHTS,
    PROCESSOR_CONFIG,
    ProcessorSettings,
    read_settings,
)
from claip_emo.model.waveforms import filled, levelled, trimmed, windowed

if TYPE_CHECKING:
    from claip_emo.model.backbones import Backbone

MEL_AT_ONCE = 2  # waveforms; 2.5 to 3 times as fast as a whole batch, and equal bit for bit


class ClaipEmoProcessor:
    """Turns stacked uint8 frames and waveforms into what the towers take."""

    def __init__(self, settings: ProcessorSettings | None = None):
        """Prepare filter bank and window for the given settings (default: CLIP and fused CLAP)."""
        self.settings = settings or ProcessorSettings()
        filters = mel_filters(self.settings)
        self._mel_filters = torch.from_numpy(filters)  # (frequency, mel), float64
        self._window = torch.hann_window(self.settings.fft_size, dtype=torch.float64)

    def clip_spec(self, **overrides: Any) -> ClipSpec:
        """Return what must be taken from a file for these towers."""
        return self.settings.clip_spec(**overrides)

    def __call__(
        self,
        frames: Tensor | None = None,
        waveforms: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Process frames and sound; either may be missing.

        Args:
            frames: (batch, time, height, width, 3), uint8 RGB.
            waveforms: (batch, samples), float32 in [-1, 1], padded behind ``lengths``.
            lengths: (batch,), samples of each waveform; None: all of them.

        Returns:
            ``pixel_values`` (batch, time, channel, S, S) and ``input_features``
            (batch, window, time, mel), on the device of their input.
        """
        outputs = {}
        if frames is not None:
            outputs["pixel_values"] = self.normalise(self.resize(frames))
        if waveforms is not None:
            outputs["input_features"] = self.hear(waveforms, lengths)
        return outputs

    def resize(self, frames: Tensor) -> Tensor:
        """Scale the shorter side to S (bicubic, antialiased) and cut the middle square.

        Args:
            frames: (batch, time, height, width, 3), uint8 RGB.

        Returns:
            (batch, time, 3, S, S), float32 in [0, 1].
        """
        batch, time, height, width, _ = frames.shape
        size = self.settings.image_size_px
        pixels = frames.flatten(0, 1).permute(0, 3, 1, 2)  # (B * T, 3, H, W)
        if (height, width) != (size, size):
            short = min(height, width)
            scaled = (int(size * height / short), int(size * width / short))
            pixels = functional.interpolate(
                pixels.float(), scaled, mode="bicubic", antialias=True, align_corners=False
            )
            pixels = pixels.round().clamp(0, 255)
            top, left = (scaled[0] - size) // 2, (scaled[1] - size) // 2
            pixels = pixels[:, :, top : top + size, left : left + size]
        return (pixels.float() / 255).view(batch, time, 3, size, size)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Bring (batch, time, 3, S, S) in [0, 1] to the channels and the scale of the tower."""
        if self.settings.image_channels == 1:
            weights = pixels.new_tensor(GREY_WEIGHTS).view(3, 1, 1)
            pixels = (pixels * weights).sum(dim=-3, keepdim=True)
        if self.settings.image_normalisation == "per_crop":
            mean = pixels.mean(dim=(-3, -2, -1), keepdim=True)
            deviation = pixels.std(dim=(-3, -2, -1), keepdim=True, correction=0)
            return (pixels - mean) / deviation.clamp(min=1 / 255)
        channels = self.settings.image_channels
        mean = pixels.new_tensor(self.settings.image_mean[:channels]).view(-1, 1, 1)
        deviation = pixels.new_tensor(self.settings.image_std[:channels]).view(-1, 1, 1)
        return (pixels - mean) / deviation

    def hear(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Turn the sound of views (batch, samples) into log-mels (batch, window, time, mel) in dB.

        Args:
            waveforms: (batch, samples).
            lengths: (batch,), valid samples of each; None: all.
        """
        seen = self.settings
        whole = self.fill(waveforms, lengths)
        windows = windowed(whole, window=seen.window_samples, count=seen.windows)
        return self.log_mel(windows.flatten(0, 1)).view(-1, *seen.mel_shape)

    def fill(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Cut to ``audio_s`` and repeat shorter sound, trimmed and levelled as the settings say.

        Args:
            waveforms: (batch, samples).
            lengths: (batch,), valid samples of each; None: all.

        Returns:
            (batch, audio_s x rate).
        """
        seen = self.settings
        if lengths is None:
            lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
        if seen.audio_trim_db is not None:
            waveforms, lengths = trimmed(
                waveforms, lengths, rate_hz=seen.sampling_rate_hz, below_db=seen.audio_trim_db
            )
        if seen.audio_rms is not None:
            waveforms = levelled(waveforms, lengths, rms=seen.audio_rms)
        tiled = seen.audio_fill == "tile"
        return filled(waveforms, lengths, samples=seen.samples, tiled=tiled)

    def log_mel(self, waveforms: Tensor) -> Tensor:
        """Turn (batch, samples) into CLAP's log-mel (batch, 1, time, mel) in dB, float32."""
        device = waveforms.device
        if device.type == "mps":  # no float64 there
            return self.log_mel(waveforms.cpu()).to(device)
        if device.type == "cpu" and len(waveforms) > MEL_AT_ONCE:  # what fits into the cache
            return torch.cat([self.log_mel(few) for few in waveforms.split(MEL_AT_ONCE)])
        spectrum = torch.stft(
            waveforms.double(),
            self.settings.fft_size,
            hop_length=self.settings.hop,
            window=self._window.to(device),
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )  # (B, frequency, time)
        power = spectrum.real.square() + spectrum.imag.square()
        mel = power.transpose(1, 2) @ self._mel_filters.to(device)  # (B, time, mel)
        return 10 * mel.clamp(min=MEL_FLOOR).log10().float().unsqueeze(1)

    @classmethod
    def for_backbone(cls, backbone: Backbone, **changes: Any) -> ClaipEmoProcessor:
        """Return the processor of a backbone, as the checkpoints of its towers describe theirs.

        Args:
            backbone: what ``backbones.resolve`` returned.
            changes: settings that override the backbone's.

        Raises:
            ValueError: for an unknown setting or a choice out of range.
        """
        from claip_emo.model.processor_sources import settings_for  # needs transformers

        return cls(settings_for(backbone, changes))

    def save_pretrained(self, save_directory: str | os.PathLike[str], **settings: Any) -> None:
        """Write ``processor_config.json`` into a folder."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        described = {"processor_class": type(self).__name__, **dataclasses.asdict(self.settings)}
        (folder / PROCESSOR_CONFIG).write_text(json.dumps(described, indent=2) + "\n", "utf-8")
        if settings.get("push_to_hub"):
            self.push_to_hub(settings.get("repo_id") or folder.name)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload processor",
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> Any:
        """Upload ``processor_config.json`` to a repository of the hub.

        Args:
            repo_id: of the repository, which is made if it is missing.
            commit_message: of the commit.
            private: whether a new repository is private; None: as its owner's are.
            token: of the hub; None: the one that is stored.
            revision: branch, which is made if it is missing; None: ``main``.
            create_pr: whether to open a pull request instead.

        Returns:
            The hub's ``CommitInfo``.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None and not revision.startswith("refs/pr"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return api.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=commit_message,
                revision=revision, create_pr=create_pr,
            )  # fmt: skip

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **hub: Any
    ) -> ClaipEmoProcessor:
        """Read the processor of a checkpoint: a run's folder, its ``model/``, or a hub id.

        Raises:
            CheckpointError: if the file is missing or names unknown settings.
        """
        return cls(read_settings(store.resolve(pretrained_model_name_or_path, **hub)))
