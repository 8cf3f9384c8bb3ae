"""Towers laid out for prediction: for good, or for a while."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from torch import nn

from claip_emo.model.parameters import count_parameters
from claip_emo.model.precision import Precision
from claip_emo.model.towers import TowerKind


class LaidOut(nn.Module):
    """A model whose towers can be packed.

    Attributes:
        laid_out: the precision that the towers are packed in now; None: they are as trained.
        merged: whether that is for good.
    """

    vision_tower: nn.Module | None
    audio_tower: nn.Module | None
    _vision: TowerKind
    _audio: TowerKind
    laid_out: Precision | None = None
    merged = False
    _counted: dict[str, Any] | None = None  # of before the towers were packed for good

    def count_parameters(self) -> dict[str, Any]:
        """Count parameters: ``total``, ``trainable``, ``share``, and ``parts`` of the trainable."""
        return self._counted or count_parameters(self)

    def merge(self, precision: Precision = "fp32") -> Self:
        """Fold LoRA into the towers and lay their weights out for prediction, in place.

        A merged model cannot be trained or saved.

        Args:
            precision: of the towers; the temporal module and the head stay as they are.

        Raises:
            TowerError: if a tower is there in float32 only.
            ValueError: for int8 on another device than the CPU, another precision than it was
                merged in before, or inside ``packed``. The model is left as it was then.
        """
        counted = self.count_parameters()
        self._lay_out(precision, for_good=True)
        self._counted, self.merged = counted, True
        return self.eval()

    @contextmanager
    def packed(self, precision: Precision = "fp32") -> Iterator[None]:
        """Predict as a merged model does for a while, with the weights of now, then be as before.

        Towers that cannot be laid out anew stay as they are.

        Raises:
            ValueError: for int8 on another device than the CPU, or another precision than the
                model is merged or packed in already.
        """
        towers, training = (self.vision_tower, self.audio_tower), self.training
        former = self.laid_out
        try:
            self._lay_out(precision, for_good=False)
            self.eval()
            yield
        finally:
            self.vision_tower, self.audio_tower = towers
            self.laid_out = former
            self.train(training)

    def _lay_out(self, precision: Precision, *, for_good: bool) -> None:
        """Put packed towers in the place of the towers: of all that can be, or of none."""
        if self.laid_out is not None:
            if precision != self.laid_out or (for_good and not self.merged):
                how = "merged" if self.merged else "packed"
                raise ValueError(
                    f"This model is {how} in {self.laid_out} already; load it again, or leave "
                    "packed(), to lay it out in another way."
                )
            return
        packed: dict[str, nn.Module] = {}
        for role in ("vision", "audio"):
            tower = getattr(self, f"{role}_tower")
            if tower is None:
                continue
            kind: TowerKind = getattr(self, f"_{role}")
            if kind.packed is not None:
                packed[role] = kind.pack(tower, precision)
            elif for_good:  # its adapters are merged in place
                packed[role] = kind.pack(copy.deepcopy(tower), precision)
        for role, tower in packed.items():
            setattr(self, f"{role}_tower", tower)
        self.laid_out = precision
