"""Where the tokens of HTS-AT lie: windows of a grid, plain and shifted, as permutations of rows.

Layer norms, projections and MLPs treat every token alike, so only attention cares for the order.
The tokens therefore stay in the order of their windows from block to block, windows first and
samples second, and each change between plain and shifted windows is one permutation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

APART = -100.0  # what modeling_clap adds to the scores of tokens that are no neighbours


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of one stage.

    Attributes:
        height: of the grid of tokens.
        width: of the grid of tokens.
        side: of a window, in tokens.
        shift: of the windows in every second block; 0 where one window spans the grid.
        orders: by shift, which token of the padded grid lies where: (windows, side * side).
            Shifted windows are grouped by kind: inner ones, those at the right edge, those at the
            lower edge, the one in the corner.
        masks: by shift, what is added to the scores: (kinds, side * side, side * side).
        real: by shift, 1 for tokens of the grid and 0 for what fills it up to whole windows:
            (windows, 1, side * side, 1); empty where nothing does. As in modeling_clap the filling
            takes part in attention, as tokens that are zero behind its layer norm.
    """

    height: int
    width: int
    side: int
    shift: int
    orders: dict[int, Tensor]
    masks: dict[int, Tensor]
    real: dict[int, Tensor]

    @classmethod
    def of(cls, height: int, width: int, side: int, device: torch.device) -> Windows:
        """Lay windows over a grid; one is no larger than the grid's shorter side."""
        shorter = min(height, width)
        shift = side // 2 if shorter > side else 0
        side = min(side, shorter)
        rows, columns = -(-height // side), -(-width // side)
        grid = torch.arange(rows * columns * side * side, device=device)
        grid = grid.view(rows * side, columns * side)
        orders = {0: _cut(grid, side).flatten(0, 1)}
        masks = {0: torch.zeros(1, side * side, side * side, device=device)}
        if shift:
            windows = _cut(grid.roll((-shift, -shift), (0, 1)), side)
            kinds = windows[:-1, :-1], windows[:-1, -1:], windows[-1:, :-1], windows[-1:, -1:]
            orders[shift] = torch.cat([kind.flatten(0, 1) for kind in kinds])
            masks[shift] = _wrapped(side, shift, device)
        inside = torch.ones(height, width, device=device)
        inside = functional.pad(inside, (0, columns * side - width, 0, rows * side - height))
        real = {}
        if inside.numel() > height * width:
            real = {by: inside.flatten()[order][:, None, :, None] for by, order in orders.items()}
        return cls(height, width, side, shift, orders, masks, real)

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width in whole windows."""
        rows, columns = -(-self.height // self.side), -(-self.width // self.side)
        return rows * self.side, columns * self.side

    def counts(self, shift: int) -> list[int]:
        """Return how many windows there are of each kind."""
        rows, columns = (length // self.side for length in self.padded)
        if not shift:
            return [rows * columns]
        return [(rows - 1) * (columns - 1), rows - 1, columns - 1, 1]


def _cut(grid: Tensor, side: int) -> Tensor:
    """Return (rows of windows, columns of windows, tokens) of a grid (height, width)."""
    rows, columns = (length // side for length in grid.shape)
    return grid.view(rows, side, columns, side).transpose(1, 2).flatten(2)


def _wrapped(side: int, shift: int, device: torch.device) -> Tensor:
    """Return the masks of the four kinds of shifted windows.

    Shifting is cyclic: the last window of a row or column holds tokens from opposite sides of the
    grid, which do not see each other.
    """
    wrapped = torch.arange(side, device=device) >= side - shift
    across = wrapped.expand(side, side).flatten()
    down = wrapped[:, None].expand(side, side).flatten()
    right, below = (token[:, None] != token for token in (across, down))
    return torch.stack([torch.zeros_like(right), right, below, right | below]) * APART


@dataclass(frozen=True, slots=True)
class Rows:
    """Token rows of a batch in the order of windows.

    Attributes:
        taken: for each row in that order its row in (sample, token of the padded grid).
        given: the way back.
    """

    taken: Tensor
    given: Tensor

    @classmethod
    def of(cls, order: Tensor, batch: int) -> Rows:
        """Return the rows of a batch; the order is that of one sample, (windows, tokens)."""
        starts = torch.arange(batch, device=order.device) * order.numel()
        taken = (order[:, None] + starts[:, None]).flatten()  # (windows * batch * tokens)
        given = torch.empty_like(taken)
        given[taken] = torch.arange(len(taken), device=order.device)
        return cls(taken, given)

    def enter(self, tokens: Tensor) -> Tensor:
        """Bring (sample, token) rows (rows, width) into this order."""
        return _Permuted.apply(tokens, self.taken, self.given)

    def leave(self, tokens: Tensor) -> Tensor:
        """Bring rows in this order back into that of (sample, token)."""
        return _Permuted.apply(tokens, self.given, self.taken)

    def cross(self, tokens: Tensor, to: Rows) -> Tensor:
        """Bring rows in this order into another one of the same grid, in one step."""
        return _Permuted.apply(tokens, self.given[to.taken], to.given[self.taken])


class _Permuted(torch.autograd.Function):
    """Rows in another order; backward is the inverse permutation, not an addition by index."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return gradient.index_select(0, inverse), None, None


def padded(tokens: Tensor, windows: Windows) -> Tensor:
    """Fill (batch, height * width, channels) with zeros up to whole windows."""
    if not windows.real:
        return tokens
    height, width = windows.padded
    right, below = width - windows.width, height - windows.height
    tokens = tokens.unflatten(1, (windows.height, windows.width))
    return functional.pad(tokens, (0, 0, 0, right, 0, below)).flatten(1, 2)


def cropped(tokens: Tensor, windows: Windows) -> Tensor:
    """Take away what ``padded`` added."""
    if not windows.real:
        return tokens
    tokens = tokens.unflatten(1, windows.padded)
    return tokens[:, : windows.height, : windows.width].flatten(1, 2)


def quadrupled(tokens: Tensor, windows: Windows) -> Tensor:
    """Join squares of four tokens, columns outermost: (batch, tokens / 4, 4 * channels)."""
    batch, _, width = tokens.shape
    squares = tokens.view(batch, windows.height // 2, 2, windows.width // 2, 2, width)
    return squares.permute(0, 1, 3, 4, 2, 5).reshape(batch, -1, 4 * width)
