"""The network that diffusers calls UNet2DModel, with the same names of weights: published DDPMs of pictures are of this kind.

Its blocks are those of Ho et al. 2020, appendix B. `UNet` in `nets` is smaller and quicker to read; this one is for weights that
come from there, or are to go there. Attributes are named as there, because the names of the weights follow from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tinyddpm._checks import check_batch, check_choice, check_count, check_flag, check_integer, check_number, wrong_type
from tinyddpm._registry import known
from tinyddpm.nets import _check_input

Block: TypeAlias = Callable[..., nn.Module]  # which makes one, of some width
Function: TypeAlias = Callable[[Tensor], Tensor]

# By the type of a level: whether there is attention in it, and how it changes the size; None: as the argument says.
DOWN = {"DownBlock2D": (False, "conv"), "ResnetDownsampleBlock2D": (False, "resnet"), "AttnDownBlock2D": (True, None)}
UP = {"UpBlock2D": (False, "conv"), "ResnetUpsampleBlock2D": (False, "resnet"), "AttnUpBlock2D": (True, None)}
ACTIVATIONS: dict[str, Function] = {"silu": F.silu, "swish": F.silu, "mish": F.mish, "gelu": F.gelu, "relu": F.relu}
_halved = partial(F.avg_pool2d, kernel_size=2)
_doubled = partial(F.interpolate, scale_factor=2.0)


@known
class UNet2D(nn.Module):
    """The network for pictures of diffusers, UNet2DModel: x_t (batch, channels, height, width) and t (batch,) to the same shape.

    Arguments, their defaults and the names of the weights are those of diffusers, so that `load_state_dict` takes what comes from
    there and the other way round. Only t is ours: it runs from 1, and the network subtracts 1 before it looks at it.

    Args:
        sample_size: the side of the pictures, or (height, width): a note for whoever samples. Every size will do whose
            sides are divisible by 2 ** (levels - 1).
        in_channels: the channels of a picture.
        out_channels: the same. Twice as many would be a learned variance, which is refused.
        center_input_sample: whether x_t is in [0, 1] and is to be stretched to [-1, 1] first.
        time_embedding_type: "positional" for sines and cosines of t - 1, or "learned" for a table of `num_train_timesteps` rows.
        time_embedding_dim: how many features of t the blocks are told; None: four times the first of `block_out_channels`.
        freq_shift: makes the slowest wave of the sines and cosines slower: 1 as in Ho et al., 0 as in the text of Vaswani et al.
        flip_sin_to_cos: whether the cosines come first.
        down_block_types: what each level is on the way down: "DownBlock2D", "AttnDownBlock2D" with attention after each block, or
            "ResnetDownsampleBlock2D", which is halved by a residual block.
        up_block_types: the same on the way up, from the bottom: "UpBlock2D", "AttnUpBlock2D" or "ResnetUpsampleBlock2D".
        block_out_channels: the features of each level, from the top: multiples of `norm_num_groups`.
        layers_per_block: the residual blocks of a level on the way down; on the way up there is one more.
        mid_block_scale_factor: what the sums of the blocks at the bottom are divided by.
        downsample_padding: 1 where a convolution that halves has zeros on all sides, 0 where it has them below and on the right.
        downsample_type: what halves the size after levels with attention: a convolution, "conv", or a residual block, "resnet".
        upsample_type: the same for what doubles it.
        dropout: the share of the features that each residual block forgets in training.
        act_fn: the function between the layers: "silu" or "swish", which are the same, "mish", "gelu" or "relu".
        attention_head_dim: the features of a head of attention; None: there is one head, with all features.
        norm_num_groups: the groups in which features are normalised.
        attn_norm_num_groups: the same for the attention at the bottom; None: as elsewhere, or for "scale_shift" no normalisation.
        norm_eps: what is added to the variances that features are divided by.
        resnet_time_scale_shift: how blocks are told of t: by a shift, "default", or a scale and a shift, "scale_shift".
        add_attention: whether there is attention at the bottom.
        num_train_timesteps: for "learned": how many t there are.

    Example:
        >>> levels = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
        >>> network = UNet2D(in_channels=1, out_channels=1, block_out_channels=[8, 16], norm_num_groups=4, **levels)
        >>> network(torch.zeros(5, 1, 8, 8), torch.ones(5).long()).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        *,
        sample_size: int | Sequence[int] | None = None,
        in_channels: int = 3,
        out_channels: int = 3,
        center_input_sample: bool = False,
        time_embedding_type: str = "positional",
        time_embedding_dim: int | None = None,
        freq_shift: float = 0,
        flip_sin_to_cos: bool = True,
        down_block_types: Sequence[str] = ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types: Sequence[str] = ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        block_out_channels: Sequence[int] = (224, 448, 672, 896),
        layers_per_block: int = 2,
        mid_block_scale_factor: float = 1,
        downsample_padding: int = 1,
        downsample_type: str = "conv",
        upsample_type: str = "conv",
        dropout: float = 0.0,
        act_fn: str = "silu",
        attention_head_dim: int | None = 8,
        norm_num_groups: int = 32,
        attn_norm_num_groups: int | None = None,
        norm_eps: float = 1e-5,
        resnet_time_scale_shift: str = "default",
        add_attention: bool = True,
        num_train_timesteps: int | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        _check(given)
        self.arguments = {name: list(value) if isinstance(value, list | tuple) else value for name, value in given.items()}
        self.channels, self.center, self.table = in_channels, center_input_sample, time_embedding_type == "learned"
        self.factor = 2 ** (len(block_out_channels) - 1)
        widths, time = list(block_out_channels), time_embedding_dim or 4 * block_out_channels[0]
        scaled, act = resnet_time_scale_shift == "scale_shift", ACTIVATIONS[act_fn]
        resnet = partial(_Resnet, time=time, groups=norm_num_groups, eps=norm_eps, act=act, dropout=dropout, scaled=scaled)
        attention = partial(_Attention, head=attention_head_dim, eps=norm_eps)

        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        waves = partial(_waves, size=widths[0], freq_shift=freq_shift, flip=flip_sin_to_cos)
        self.time_proj: Any = nn.Embedding(num_train_timesteps or 0, widths[0]) if self.table else waves
        self.time_embedding = _Time(widths[0], time)
        here, found = widths[0], [widths[0]]  # the features of h, and of what the way down leaves for the way up
        self.down_blocks = nn.ModuleList()
        for width, kind in zip(widths, down_block_types, strict=True):
            attends, how = DOWN[kind]
            insides = [here, *[width] * (layers_per_block - 1)]
            down = _Down(insides, width, attends, resnet, partial(attention, groups=norm_num_groups))
            found += [width] * layers_per_block
            if len(self.down_blocks) < len(widths) - 1:
                halve = (how or downsample_type) == "conv"
                down.downsamplers.append(_Halve(width, downsample_padding) if halve else resnet(width, width, resize=_halved))
                found.append(width)
            self.down_blocks.append(down)
            here = width
        groups = attn_norm_num_groups or (None if scaled else norm_num_groups)
        parts = partial(resnet, over=mid_block_scale_factor), partial(attention, groups=groups, over=mid_block_scale_factor)
        self.mid_block = _Middle(here, add_attention, *parts)
        self.up_blocks = nn.ModuleList()
        for width, kind in zip(reversed(widths), up_block_types, strict=True):
            attends, how = UP[kind]
            insides = [(width if i else here) + found.pop() for i in range(layers_per_block + 1)]
            up = _Up(insides, width, attends, resnet, partial(attention, groups=norm_num_groups))
            if len(self.up_blocks) < len(widths) - 1:
                double = (how or upsample_type) == "conv"
                up.upsamplers.append(_Double(width) if double else resnet(width, width, resize=_doubled))
            self.up_blocks.append(up)
            here = width
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, widths[0], norm_eps)
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """The answer for x_t at t, 1..T; in training, the predicted noise.

        Example:
            >>> levels = {"block_out_channels": [8], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
            >>> network = UNet2D(norm_num_groups=4, **levels)
            >>> network.forward(torch.zeros(5, 3, 7, 9), torch.ones(5).long()).shape
            torch.Size([5, 3, 7, 9])
        """
        check_batch("xt", xt)
        if xt.ndim != 4 or xt.shape[1] != self.channels or xt.shape[2] % self.factor or xt.shape[3] % self.factor:
            expected = f"(batch, {self.channels}, height, width) with sides divisible by {self.factor}"
            raise ValueError(f"xt has shape {tuple(xt.shape)}, expected {expected}")
        _check_input(xt, t, self.conv_in.weight)
        time = self.time_embedding(self._features(t).to(self.conv_in.weight.dtype))
        h = self.conv_in(2 * xt - 1 if self.center else xt)
        found = [h]
        for block in self.down_blocks:
            h = block(h, time, found)
        h = self.mid_block(h, time)
        for block in self.up_blocks:
            h = block(h, time, found)
        answer: Tensor = self.conv_out(F.silu(self.conv_norm_out(h)))
        return answer

    if TYPE_CHECKING:  # for type checkers, which otherwise know nothing of a call of a module
        __call__ = forward

    def _features(self, t: Tensor) -> Tensor:
        """What is known of t before the first layer: (batch, features). The first step is 0 there."""
        try:
            features: Tensor = self.time_proj(t - 1)
        except IndexError as error:  # of the table, on the CPU; a GPU stops, and says less
            raise ValueError(f"t has steps outside 1..{self.arguments['num_train_timesteps']}, those of the network") from error
        return features


class _Time(nn.Module):
    def __init__(self, inside: int, size: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(inside, size), nn.Linear(size, size)

    def forward(self, features: Tensor) -> Tensor:
        answer: Tensor = self.linear_2(F.silu(self.linear_1(features)))
        return answer


class _Resnet(nn.Module):
    """h + f(h, time), where h and f may change their size on the way; the sum is divided by `over`."""

    def __init__(
        self, inside: int, outside: int, *, time: int, groups: int, eps: float, act: Function, dropout: float,
        scaled: bool, resize: Function | None = None, over: float = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.act, self.scaled, self.resize, self.over = act, scaled, resize, over
        self.norm1 = nn.GroupNorm(groups, inside, eps)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, 2 * outside if scaled else outside)
        self.norm2 = nn.GroupNorm(groups, outside, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        f = self.act(self.norm1(h))
        if self.resize is not None:
            h, f = self.resize(h), self.resize(f)
        f, told = self.conv1(f), self.time_emb_proj(self.act(time))[..., None, None]
        if self.scaled:
            scale, shift = told.chunk(2, dim=1)
            f = self.norm2(f) * (1 + scale) + shift
        else:
            f = self.norm2(f + told)
        answer: Tensor = (self.conv_shortcut(h) + self.conv2(self.dropout(self.act(f)))) / self.over
        return answer


class _Attention(nn.Module):
    """Each place of the picture takes from all places what is like it, in each head for itself."""

    def __init__(self, width: int, *, head: int | None, groups: int | None, eps: float, over: float = 1) -> None:
        super().__init__()
        head = head or width
        self.heads, self.over = width // head, over
        size = self.heads * head  # less than the width, where that is not a multiple of the head's
        self.group_norm = nn.Identity() if groups is None else nn.GroupNorm(groups, width, eps)
        self.to_q, self.to_k, self.to_v = nn.Linear(width, size), nn.Linear(width, size), nn.Linear(width, size)
        self.to_out = nn.ModuleList([nn.Linear(size, width)])  # in a list, as there, where a dropout follows

    def forward(self, h: Tensor) -> Tensor:
        places = self.group_norm(h).flatten(2).mT  # (batch, places, width)
        q, k, v = (to(places).unflatten(2, (self.heads, -1)).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v))
        f = self.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        answer: Tensor = (h + f.mT.reshape(h.shape)) / self.over
        return answer


class _Level(nn.Module):
    """Residual blocks of one size, with attention after each or none; a change of size may follow."""

    def __init__(self, insides: Sequence[int], width: int, attends: bool, resnet: Block, attention: Block) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(attention(width) if attends else nn.Identity() for _ in insides)
        self.resnets = nn.ModuleList(resnet(inside, width) for inside in insides)

    def _layers(self) -> Iterator[tuple[Any, Any]]:
        return zip(self.resnets, self.attentions, strict=True)


class _Down(_Level):
    def __init__(self, insides: Sequence[int], width: int, attends: bool, resnet: Block, attention: Block) -> None:
        super().__init__(insides, width, attends, resnet, attention)
        self.downsamplers = nn.ModuleList()

    def forward(self, h: Tensor, time: Tensor, found: list[Tensor]) -> Tensor:
        for resnet, attention in self._layers():
            h = attention(resnet(h, time))
            found.append(h)
        for downsampler in self.downsamplers:
            h = downsampler(h, time)
            found.append(h)
        return h


class _Up(_Level):
    def __init__(self, insides: Sequence[int], width: int, attends: bool, resnet: Block, attention: Block) -> None:
        super().__init__(insides, width, attends, resnet, attention)
        self.upsamplers = nn.ModuleList()

    def forward(self, h: Tensor, time: Tensor, found: list[Tensor]) -> Tensor:
        for resnet, attention in self._layers():
            h = attention(resnet(torch.cat([h, found.pop()], dim=1), time))
        for upsampler in self.upsamplers:
            h = upsampler(h, time)
        return h


class _Middle(nn.Module):
    def __init__(self, width: int, attends: bool, resnet: Block, attention: Block) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([attention(width) if attends else nn.Identity()])
        self.resnets = nn.ModuleList([resnet(width, width), resnet(width, width)])

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        answer: Tensor = self.resnets[1](self.attentions[0](self.resnets[0](h, time)), time)
        return answer


class _Halve(nn.Module):
    def __init__(self, width: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=padding)

    def forward(self, h: Tensor, _: Tensor) -> Tensor:
        answer: Tensor = self.conv(h if self.conv.padding[0] else F.pad(h, (0, 1, 0, 1)))
        return answer


class _Double(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h: Tensor, _: Tensor) -> Tensor:
        answer: Tensor = self.conv(_doubled(h))
        return answer


def _waves(t: Tensor, size: int, freq_shift: float, flip: bool) -> Tensor:
    """The sines and cosines of t (batch,), as `time_embedding` but for the last wavelength and the order: (batch, size).

    In float32, with the operations in the order of diffusers: angles go up to 1000, so that another order would be seen.
    """
    half = size // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / (half - freq_shift))
    angles = t[:, None] * rates
    sine, cosine = angles.sin(), angles.cos()
    return torch.cat([cosine, sine] if flip else [sine, cosine], dim=1)


def _check(given: dict[str, Any]) -> None:
    """What is wrong with the arguments, by their names."""
    for name in ("down_block_types", "up_block_types", "block_out_channels"):
        if not isinstance(given[name], Sequence) or isinstance(given[name], str):
            raise wrong_type(name, given[name], "a sequence with one entry for each level")
    widths: Sequence[int] = given["block_out_channels"]
    if not widths:
        raise ValueError("block_out_channels is empty, expected at least one level")
    for name, known_types in (("down_block_types", DOWN), ("up_block_types", UP)):
        for i, kind in enumerate(given[name]):
            check_choice(f"{name}[{i}]", kind, tuple(known_types))
        if len(given[name]) != len(widths):
            raise ValueError(f"{name} has {len(given[name])} entries, expected {len(widths)}, one for each of block_out_channels")
    check_choice("time_embedding_type", given["time_embedding_type"], ("positional", "learned"))
    check_choice("downsample_padding", given["downsample_padding"], (0, 1))
    check_integer("downsample_padding", given["downsample_padding"])  # True is 1 to Python, and 1.0 too, but not to a convolution
    for name in ("downsample_type", "upsample_type"):
        check_choice(name, given[name], ("conv", "resnet"))
    check_choice("act_fn", given["act_fn"], tuple(ACTIVATIONS))
    check_choice("resnet_time_scale_shift", given["resnet_time_scale_shift"], ("default", "scale_shift"))
    for name in ("center_input_sample", "flip_sin_to_cos", "add_attention"):
        check_flag(name, given[name])
    for name in ("in_channels", "out_channels", "layers_per_block", "norm_num_groups"):
        check_count(name, given[name])
    for name in ("time_embedding_dim", "attention_head_dim", "attn_norm_num_groups", "num_train_timesteps"):
        if given[name] is not None:
            check_count(name, given[name])
    if given["out_channels"] != given["in_channels"]:
        learned = " (a learned variance is not supported)" if given["out_channels"] == 2 * given["in_channels"] else ""
        raise ValueError(f"out_channels = {given['out_channels']} is not {given['in_channels']}, the value of in_channels{learned}")
    if given["time_embedding_type"] == "learned" and given["num_train_timesteps"] is None:
        raise ValueError("num_train_timesteps = None, expected the number of steps, for the time_embedding_type 'learned'")
    for i, width in enumerate(widths):
        if check_count(f"block_out_channels[{i}]", width) % given["norm_num_groups"]:
            raise ValueError(f"block_out_channels[{i}] = {width} is not a multiple of {given['norm_num_groups']}, norm_num_groups")
        levels = given["down_block_types"][i], given["up_block_types"][-1 - i]
        attends = DOWN[levels[0]][0] or UP[levels[1]][0] or (i == len(widths) - 1 and given["add_attention"])
        if attends and (given["attention_head_dim"] or 0) > width:
            raise ValueError(f"attention_head_dim = {given['attention_head_dim']} is above {width}, block_out_channels[{i}]")
    if widths[0] % 2:
        raise ValueError(f"block_out_channels[0] = {widths[0]} is not a multiple of 2")
    if widths[-1] % (given["attn_norm_num_groups"] or 1):
        raise ValueError(f"attn_norm_num_groups = {given['attn_norm_num_groups']} does not divide {widths[-1]}, the last width")
    check_number("freq_shift", given["freq_shift"], -math.inf, widths[0] // 2)
    check_number("mid_block_scale_factor", given["mid_block_scale_factor"], 0, math.inf)
    check_number("norm_eps", given["norm_eps"], 0, math.inf)
    if check_number("dropout", given["dropout"], -math.inf, 1) < 0:
        raise ValueError(f"dropout = {given['dropout']} is below 0")
    size = given["sample_size"]
    if size is not None:
        sides = (size, size) if isinstance(size, int) else size
        if not isinstance(sides, Sequence) or isinstance(sides, str) or len(sides) != 2:
            raise wrong_type("sample_size", size, "a side, a pair (height, width) or None")
        for side in sides:
            check_count("sample_size", side)
