"""Pictures of one or two things, drawn from their centres, and the search for the drawings that are nearest to a picture.

What they mean is said in `scenes`. Here, `things` (n, 2) are places in THINGS, and -1 is none; `upright` (n,) says that the first
is above the second, not left of it; `centres` (n, 2, 2) are the (x, y) of each thing, in pixels from the upper left corner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

SIDE = 64  # of a picture, in pixels, as all lengths are
SIZES = {"small": 7.25, "large": 11.5}  # the radius of the circle
COLOURS = {"red": (216, 60, 70), "green": (58, 166, 86), "blue": (50, 98, 190), "yellow": (246, 178, 2)}  # bytes, 0 to 255
KINDS = {"circle": 1.0, "square": 0.94, "triangle": 0.66}  # the radius of the circle that fits inside, over that of the size
PAPER = (247, 244, 236)  # bytes
MARGIN, GAP, ASIDE = 2.0, 6.0, 6.0  # the least space to the edge and between two things; how far they are out of line at most
ASTRAY = 12.0  # and how far they may be to be read: a model need not draw as neatly as `places`
TRIED, STEPS = 4, 4  # how many scenes the search draws, of those that seem best, and its steps to their best centres
THINGS = tuple(map(" ".join, product(SIZES, COLOURS, KINDS)))


def places(things: Tensor, upright: Tensor, chance: Tensor) -> Tensor:
    """Centres from as many uniform numbers `chance` (n, 2, 2)."""
    low, high, _ = _bounds(things, upright)
    along, aside = chance.unbind(2)
    along = low[..., 0] + (high - low)[..., 0] * torch.where(things[:, 1:] >= 0, along.sort(1).values, along)
    first = low[:, 0, 1] + (high - low)[:, 0, 1] * aside[:, 0]
    least, most = (first - ASIDE).maximum(low[:, 1, 1]), (first + ASIDE).minimum(high[:, 1, 1])
    return _turned(torch.stack([along, torch.stack([first, least + (most - least) * aside[:, 1]], dim=1)], dim=2), upright)


def _kept(things: Tensor, upright: Tensor, centres: Tensor) -> Tensor:
    """The centres, moved to where the scene is still read; those of `places` stay where they are."""
    low, high, apart = _bounds(things, upright)
    first, second = _turned(centres, upright).unbind(1)
    first = first.clamp(low[:, 0], high[:, 0])
    least = torch.stack([first[:, 0] + apart, first[:, 1] - ASTRAY], dim=1).maximum(low[:, 1])
    most = torch.stack([high[:, 1, 0], first[:, 1] + ASTRAY], dim=1).minimum(high[:, 1])
    return _turned(torch.stack([first, second.clamp(least, most)], dim=1), upright)


def _bounds(things: Tensor, upright: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The least and the largest centres, as (along, aside), and how far the second is along from the first, at the least (n,)."""
    reach = _turned(_REACH[things], upright)
    low, high, apart = MARGIN + reach, SIDE - MARGIN - reach, GAP + reach[..., 0].sum(1)
    two = things[:, 1] >= 0
    low[two, 1, 0] = low[two, 0, 0] + apart[two]
    high[two, 0, 0] = high[two, 1, 0] - apart[two]
    return low, high, apart


def _turned(centres: Tensor, upright: Tensor) -> Tensor:
    """Turns (x, y) into (along, aside) the relation, and back: along is y where one is above the other."""
    return torch.where(upright[:, None, None], centres.flip(2), centres)


def render(things: Tensor, centres: Tensor) -> Tensor:
    """The pictures (n, 3, 64, 64): a function of the things and their centres, and of nothing else."""
    picture = _PAPER.repeat(len(things), 1, SIDE, SIDE)
    for thing, centre in zip(things.unbind(1), centres.unbind(1), strict=True):
        there = (thing >= 0).nonzero()[:, 0]
        picture[there] += _INK[thing[there]][:, :, None, None] * coverage(thing[there], centre[there])[:, None]
    return picture


def coverage(things: Tensor, centres: Tensor) -> Tensor:
    """How much of each pixel a thing covers, (m, 64, 64) in [0, 1], for things (m,) with centres (m, 2).

    It is 1 where the middle of the pixel is half a pixel or more inside, 0 where it is as far outside, and linear between.
    """
    middle = torch.arange(SIDE, dtype=torch.float32) + 0.5
    x, y = middle - centres[:, :1], middle - centres[:, 1:]
    cover = x.new_empty(len(things), SIDE, SIDE)
    for kind, far in enumerate([_circle, _square, _triangle]):
        rows = (things % len(KINDS) == kind).nonzero()[:, 0]
        radius = _RADIUS[things[rows]][:, None, None]
        cover[rows] = (radius + 0.5 - far(x[rows, None, :], y[rows, :, None], radius)).clamp_(0, 1)
    return cover


def _circle(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """How far from the centre; the radius is for the triangle."""
    return (x.square() + y.square()).sqrt_()


def _square(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """How far along the farther of two directions, nearly: a high power rounds the corners."""
    return (x**16 + y**16).sqrt_().sqrt_().sqrt_().sqrt_()


def _triangle(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """As `_square`, of the three directions that the sides face."""
    y = y - (_TIP - 1) / 2 * (radius + 0.5)  # the centre is half way from the tip to the base
    right, left = (math.sqrt(3) / 2 * x - y / 2).relu_(), (-math.sqrt(3) / 2 * x - y / 2).relu_()
    return (right**8 + left**8 + y.relu() ** 8).sqrt_().sqrt_().sqrt_()


def _float(values: Sequence[object]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


_PAPER = _float(PAPER)[:, None, None] / 127.5 - 1  # (3, 1, 1)
_INK = (_float([COLOURS[thing.split()[1]] for thing in THINGS]) - _float(PAPER)) / 127.5  # (24, 3), what a thing adds to the paper
_RADIUS = _float([SIZES[size] * KINDS[kind] for size, _, kind in map(str.split, THINGS)])  # (24,), of the circle that fits inside
_TIP, _CORNER = 2 ** (7 / 8), ((3 / 4) ** (-4 / 7) + 3 ** (-4 / 7)) ** (7 / 8)  # how far up and aside a triangle reaches
_REACHES = {"circle": [1, 1], "square": [1, 1], "triangle": [_CORNER, (1 + _TIP) / 2]}  # (x, y), from the centre
_REACH = (_RADIUS + 0.5)[:, None] * _float([_REACHES[thing.split()[2]] for thing in THINGS])  # (24, 2): covers no pixel farther off


def nearest(pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The scenes of which drawings are nearest to pictures (n, 3, 64, 64).

    Returns:
        The things, upright, and how far each picture is from the drawing, root mean square per number (n,).
    """
    ink = pictures - _PAPER
    row, things, upright, centres = _candidates(ink)
    scale = _INK[things] / _INK[things].square().sum(2, keepdim=True)
    wanted = torch.einsum("mchw,mkc->mkhw", ink[row], scale)  # what each thing of each candidate should cover
    for _ in range(STEPS):
        centres = _kept(things, upright, centres + _step(wanted, things, centres))
    deviation = (render(things, centres) - pictures[row]).square().mean((1, 2, 3)).sqrt().view(-1, TRIED)
    best = deviation.argmin(1) + TRIED * torch.arange(len(pictures))
    return things[best], upright[best], deviation.amin(1)


def _step(wanted: Tensor, things: Tensor, centres: Tensor) -> Tensor:
    """A step of Gauss and Newton towards the centres with which the things cover most nearly what is wanted, (m, 2, 64, 64)."""
    flat, at = things.flatten(), centres.flatten(0, 1)
    halves = _float([[0.5, 0], [0, 0.5]])
    slope = torch.stack([coverage(flat, at + half) - coverage(flat, at - half) for half in halves], dim=1).flatten(2)
    error = wanted.flatten(0, 1).flatten(1) - coverage(flat, at).flatten(1)
    step: Tensor = torch.linalg.solve(slope @ slope.mT, slope @ error[..., None])
    return step.view_as(centres).clamp(-1, 1)


_FIELD = slice(8, SIDE - 8)  # the pixels among which centres are; none is on the last of them
_SHAPES = [slice(i + kind, i + 12, 3) for i in (0, 12) for kind in range(3)]  # the four colours of each shape and size
_ALONE = coverage(torch.arange(24), torch.full((24, 2), SIDE / 2 + 0.5))
_ENERGY = _ALONE.square().sum((1, 2)) * _INK.square().sum(1)
_NEAR = (torch.arange(SIDE)[_FIELD] + 0.5 - SIDE / 2).abs() < (SIDE / 2 - MARGIN + 0.5 - _REACH)[..., None]  # (24, 2, pixels)
_FITS = _NEAR[:, 1, :, None] & _NEAR[:, 0, None, :]
_APART = (_REACH.T[:, :, None] + _REACH.T[:, None] + GAP).ceil().long() - 1  # (2, 24, 24): how many pixels, rounded in favour


def _candidates(ink: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The scenes with centres on pixels that are nearest to each picture, of which `ink` (n, 3, 64, 64) is what is not paper.

    Returns:
        The row of the picture, the things, upright and the centres, for TRIED scenes of the first picture, then of the next.
    """
    gains = _gains(ink)
    gains = torch.stack([gains.mT, gains], dim=1)  # (n, 2, 24, along, aside)
    wide = int(ASTRAY) + 1
    ahead = F.max_pool2d(gains.flatten(1, 2), (1, 2 * wide + 1), 1, (0, wide)).view_as(gains)
    ahead = ahead.flip(3).cummax(3).values.flip(3)  # the best that stands there or farther along
    pairs = gains.new_empty(len(ink), 2, 24, 24)
    for axis, a, b in product(range(2), _SHAPES, _SHAPES):
        least = int(_APART[axis, a.start, b.start])
        pairs[:, axis, a, b] = (gains[:, axis, a, None, :-least] + ahead[:, axis, None, b, least:]).amax((3, 4))
    scores = torch.cat([gains[:, 0].amax((2, 3)), pairs.flatten(1)], dim=1)
    number = scores.topk(TRIED, dim=1).indices.flatten() - 24  # those below 0 are of one thing
    row, alone = torch.arange(len(ink)).repeat_interleave(TRIED), number < 0
    first, second = torch.where(alone, number, number // 24) % 24, torch.where(alone, -1, number % 24)
    way = number.clamp(min=0) // 24**2
    along, apart = torch.arange(gains.shape[3]), _APART[way, first, second][:, None]
    later = (along + apart).clamp(max=len(along) - 1)
    both = gains[row, way, first] + ahead[row[:, None], way[:, None], second[:, None], later].masked_fill(alone[:, None, None], 0)
    one = _peak(both)
    free = (along >= one[:, :1] + apart)[:, :, None] & ((along - one[:, 1:]).abs() <= wide)[:, None]
    two = _peak(gains[row, way, second].masked_fill(~free, -math.inf))
    centres = torch.stack([one, two], dim=1) + (_FIELD.start + 0.5)
    return row, torch.stack([first, second], dim=1), way == 1, _turned(centres, way == 1)


def _gains(ink: Tensor) -> Tensor:
    """By how much each thing, its centre on each pixel, lowers the squared error of the paper alone: (n, 24, rows, columns).

    With the thing's own ink d it is |ink|² - |ink - d|² = 2 <ink, d> - |d|². Those of two things that do not overlap add up.
    """
    coloured = torch.fft.rfft2(torch.einsum("nchw,kc->nkhw", ink, _INK[:12:3]))
    overlap = torch.fft.irfft2(coloured.repeat_interleave(3, 1).repeat(1, 2, 1, 1) * torch.fft.rfft2(_ALONE).conj())
    gains: Tensor = 2 * overlap.roll((SIDE // 2, SIDE // 2), (2, 3)) - _ENERGY[:, None, None]
    return gains[..., _FIELD, _FIELD].masked_fill(~_FITS, -math.inf)


def _peak(maps: Tensor) -> Tensor:
    """The row and the column at which each map (m, rows, columns) is largest, (m, 2)."""
    at = maps.flatten(1).argmax(1)
    return torch.stack([at // maps.shape[2], at % maps.shape[2]], dim=1)
