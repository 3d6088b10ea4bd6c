"""Two small networks: one for points, one for pictures. Each takes x_t and t, and answers in the shape of x_t.

Both are made of residual blocks: h + f(h, t). The step t enters each block as a scale and a shift of its features. What a network
is told besides, c, is added to what its blocks are told about t: see `guidance` for what a condition is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tinyddpm._checks import check_batch, check_count, check_integers, check_type
from tinyddpm._registry import known
from tinyddpm.guidance import condition_of


def time_embedding(t: Tensor, size: int) -> Tensor:
    """The step t (batch,) as sines and cosines, (batch, size), of wavelengths from 2 pi steps up towards 20000 pi.

    Steps that are close get vectors that are close (Vaswani et al. 2017, section 3.5).

    Example:
        >>> time_embedding(torch.tensor([0]), 4)
        tensor([[0., 0., 1., 1.]])
    """
    check_type("t", t, Tensor)
    if t.ndim != 1:
        raise ValueError(f"t has shape {tuple(t.shape)}, expected (batch,)")
    if check_count("size", size, least=2) % 2:
        raise ValueError(f"size = {size} is not a multiple of 2")
    return _time_embedding(t, size)


def _time_embedding(t: Tensor, size: int) -> Tensor:
    rates = torch.exp(-math.log(10000) * torch.arange(size // 2, dtype=torch.float32, device=t.device) / (size // 2))
    angles = t[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class _Time(nn.Module):
    """What every block is told: about t (batch,), and about c where there is a condition: (batch, size)."""

    def __init__(self, size: int, condition: Any) -> None:
        super().__init__()
        self.size = size
        self.from_condition = None if condition is None or hasattr(condition, "attention") else nn.Linear(condition.size, size)
        self.mlp = nn.Sequential(nn.Linear(size, size), nn.SiLU(), nn.Linear(size, size), nn.SiLU())

    def forward(self, t: Tensor, told: Tensor | None) -> Tensor:
        answer: Tensor = self.mlp(_time_embedding(t, self.size).to(next(self.mlp.parameters()).dtype))
        return answer if told is None or self.from_condition is None else answer + self.from_condition(told)


@known
class MLP(nn.Module):
    """A network for points: x_t (batch, dim) and t (batch,) to (batch, dim).

    Args:
        dim: how many coordinates a point has.
        width: the number of features.
        depth: the number of residual blocks.
        condition: turns c into features, such as `Labels`; without it, the network is told nothing but t.

    Example:
        >>> MLP(dim=2)(torch.zeros(5, 2), torch.ones(5).long()).shape
        torch.Size([5, 2])
    """

    def __init__(self, dim: int = 2, width: int = 96, depth: int = 3, *, condition: Any = None) -> None:
        super().__init__()
        given = {"dim": dim, "width": width, "depth": depth}
        self.arguments = {name: check_count(name, value) for name, value in given.items()} | _described(condition)
        if hasattr(condition, "attention"):
            raise TypeError(f"condition is a {type(condition).__name__}, which an MLP has no places to look at: take a UNet")
        self.dim, self.condition = dim, condition
        self.time = _Time(64, condition)
        self.first = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(_PointBlock(width, 64) for _ in range(depth))
        self.last = nn.Linear(width, dim)

    def forward(self, xt: Tensor, t: Tensor, c: Tensor | None = None) -> Tensor:
        """The answer for x_t at t, told c (batch, ...) where it knows a condition; in training, the predicted noise.

        Example:
            >>> MLP(dim=3).forward(torch.zeros(5, 3), torch.ones(5).long()).shape
            torch.Size([5, 3])
        """
        check_batch("xt", xt)
        if xt.ndim != 2 or xt.shape[1] != self.dim:
            raise ValueError(f"xt has shape {tuple(xt.shape)}, expected (batch, {self.dim})")
        _check_input(xt, t, self.first.weight)
        time, h = self.time(t, _told(self, c, xt)), self.first(xt)
        for block in self.blocks:
            h = block(h, time)
        answer: Tensor = self.last(F.silu(h))
        return answer

    if TYPE_CHECKING:  # for type checkers, which otherwise know nothing of a call of a module
        __call__ = forward


class _PointBlock(nn.Module):
    def __init__(self, width: int, time: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.from_time = nn.Linear(time, 2 * width)
        self.inner, self.outer = nn.Linear(width, width), _zero(nn.Linear(width, width))

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.from_time(time).chunk(2, dim=1)
        f: Tensor = self.outer(F.silu(self.inner(self.norm(h) * (1 + scale) + shift)))
        return h + f


@known
class UNet(nn.Module):
    """A network for pictures: x_t (batch, channels, height, width) and t (batch,) to the same shape.

    Going down, each level halves the picture's sides and doubles the features. At the bottom, every place sees every
    other through attention. Going up, each level is given what the level of its size on the way down has found.
    Sides that cannot be halved so often are made longer inside: the last row and the last column are repeated.

    Args:
        channels: the channels of a picture: 1 for grey, 3 for colour.
        width: the number of features at full size, a multiple of 8.
        levels: how many sizes there are, 2 for pictures of 8x8 pixels, 3 or 4 for 32x32 and 64x64. Sides divisible by
            2 ** (levels - 1) waste nothing.
        condition: as for `MLP`.

    Example:
        >>> UNet(channels=1, width=8)(torch.zeros(5, 1, 8, 8), torch.ones(5).long()).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(self, channels: int = 1, width: int = 32, levels: int = 2, *, condition: Any = None) -> None:
        super().__init__()
        given = {"channels": channels, "width": width, "levels": levels}
        self.arguments = {name: check_count(name, value) for name, value in given.items()} | _described(condition)
        self.condition = condition
        if width % 8:
            raise ValueError(f"width = {width} is not a multiple of 8")
        self.channels, self.factor = channels, 2 ** (levels - 1)
        widths = [width * 2**level for level in range(levels)]
        time = 2 * width
        self.time = _Time(time, condition)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(_PictureBlock(a, b, time) for a, b in zip([width, *widths], widths, strict=False))
        self.middle = _Attention(widths[-1])
        looks, at = hasattr(condition, "attention"), (*widths, widths[-1])  # at features that are a row, and not one vector
        self.heed = nn.ModuleList(map(condition.attention, at)) if looks else [_as_it_is] * len(at)
        self.up = nn.ModuleList(_PictureBlock(2 * b, a, time) for a, b in zip([width, *widths], widths, strict=False))
        self.last = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), _zero(nn.Conv2d(width, channels, 3, padding=1)))

    def forward(self, xt: Tensor, t: Tensor, c: Tensor | None = None) -> Tensor:
        """The answer for x_t at t, told c (batch, ...) where it knows a condition; in training, the predicted noise.

        Example:
            >>> UNet(channels=3, width=8, levels=3).forward(torch.zeros(5, 3, 16, 32), torch.ones(5).long()).shape
            torch.Size([5, 3, 16, 32])
        """
        check_batch("xt", xt)
        if xt.ndim != 4 or xt.shape[1] != self.channels or 0 in xt.shape[2:]:
            raise ValueError(f"xt has shape {tuple(xt.shape)}, expected (batch, {self.channels}, height, width)")
        _check_input(xt, t, self.first.weight)
        told = _told(self, c, xt)
        time, h, found = self.time(t, told), self.first(_padded(xt, self.factor)), []
        for level, block in enumerate(self.down):
            h = self.heed[level](block(F.avg_pool2d(h, 2) if level else h, time), told)
            found.append(h)
        h = self.heed[-1](self.middle(h), told)
        for level in reversed(range(len(self.up))):
            h = self.up[level](torch.cat([h, found[level]], dim=1), time)
            h = F.interpolate(h, scale_factor=2.0) if level else h
        answer: Tensor = self.last(h)[:, :, : xt.shape[2], : xt.shape[3]]
        return answer

    if TYPE_CHECKING:
        __call__ = forward


def _padded(x: Tensor, factor: int) -> Tensor:
    """Pictures with sides divisible by `factor`: what is missing on the right and below repeats the edge."""
    for side in (2, 3):
        if lacking := -x.shape[side] % factor:  # not by F.pad, whose gradient on a GPU is another in every run
            x = torch.cat([x, *[x.narrow(side, x.shape[side] - 1, 1)] * lacking], dim=side)
    return x


class _PictureBlock(nn.Module):
    def __init__(self, inside: int, outside: int, time: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, inside), nn.GroupNorm(8, outside, affine=False)
        self.from_time = nn.Linear(time, 2 * outside)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.conv2 = _zero(nn.Conv2d(outside, outside, 3, padding=1))
        self.skip = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.from_time(time)[..., None, None].chunk(2, dim=1)
        f = self.norm2(self.conv1(F.silu(self.norm1(h)))) * (1 + scale) + shift
        answer: Tensor = self.skip(h) + self.conv2(F.silu(f))
        return answer


class _Attention(nn.Module):
    """Each place of the picture takes from all places what is like it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.GroupNorm(8, width), nn.Conv2d(width, 3 * width, 1), _zero(nn.Conv2d(width, width, 1))

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(h)).flatten(2).mT.chunk(3, dim=2)  # (batch, places, width) each
        f: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).mT.reshape(h.shape))
        return h + f


def _check_input(xt: Tensor, t: Tensor, weight: Tensor) -> None:
    """A step for each row, and the dtype and device of the network: PyTorch's own errors name none of them."""
    if xt.dtype != weight.dtype and (xt.is_meta or not torch.is_autocast_enabled(xt.device.type)):
        raise TypeError(f"xt has dtype {xt.dtype}, expected {weight.dtype}, that of the network")
    check_integers("t", t)
    for name, value in (("xt", xt), ("t", t)):
        if value.device != weight.device:
            raise ValueError(f"{name} is on {value.device}, expected {weight.device}, where the network is")
    if t.shape != xt.shape[:1]:
        raise ValueError(f"t has shape {tuple(t.shape)}, expected {tuple(xt.shape[:1])}, a step for each row of xt")


def _described(condition: Any) -> dict[str, Any]:
    """The argument, where it is given: a network without a condition is described as it was before there were any."""
    if condition is not None and not all(hasattr(condition, name) for name in ("size", "null", "_checked")):
        raise TypeError(f"condition is of type {type(condition).__name__}, expected a condition such as Labels(10)")
    return {} if condition is None else {"condition": condition}


def _told(network: Any, c: Tensor | None, xt: Tensor) -> Tensor | None:
    """The features of what a network is told, nothing if c is None; None for a network without a condition."""
    if c is None and network.condition is None:
        return None
    condition = condition_of(network)
    shape = len(xt), *condition.null.shape
    c = condition.null.expand(shape) if c is None else c
    check_type("c", c, Tensor)
    if c.device != xt.device:
        raise ValueError(f"c is on {c.device}, expected {xt.device}, where xt is")
    if c.shape != shape:
        raise ValueError(f"c has shape {tuple(c.shape)}, expected {shape}, one for each row of xt")
    features: Tensor = condition(c)
    return features


def _as_it_is(h: Tensor, _: Tensor | None) -> Tensor:
    return h


def _zero(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """A layer that starts at 0, so that its block starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
