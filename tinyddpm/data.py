"""Small data: four sets of points in the plane, and scikit-learn's real 8x8 digits.

Each set of points has mean 0 and variance 1 in both coordinates, so that the same schedule suits all of them.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from tinyddpm._checks import check_batch, check_choice, check_count, check_finite, check_generator

Part: TypeAlias = Literal["all", "train", "test"]

EIGHT_GAUSSIANS_STD = 0.1  # of each of the eight; their centres lie on a circle of the radius that makes the variance 1
EIGHT_GAUSSIANS_RADIUS = math.sqrt(2 * (1 - EIGHT_GAUSSIANS_STD**2))


def eight_gaussians(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Eight round Gaussians on a ring, equally likely: `n` draws, float32 (n, 2).

    Args:
        n: how many points, 1 or more.
        generator: where the randomness comes from; without it, PyTorch's default generator.

    Example:
        >>> eight_gaussians(3, torch.Generator().manual_seed(0)).shape
        torch.Size([3, 2])
    """
    angle = torch.randint(8, (_checked(n, generator),), generator=generator) * (math.pi / 4)
    centre = EIGHT_GAUSSIANS_RADIUS * torch.stack([angle.cos(), angle.sin()], dim=1)
    return (centre + EIGHT_GAUSSIANS_STD * torch.randn(n, 2, generator=generator)).float()


def eight_gaussians_labels(points: Tensor) -> Tensor:
    """Which of the eight Gaussians each point of `eight_gaussians` was drawn from, 0..7: int64 (n,).

    It is the nearest one; that this is another than the point came from has a probability of less than one in ten million.

    Args:
        points: a floating-point tensor (n, 2).

    Example:
        >>> eight_gaussians_labels(torch.tensor([[1.4, 0.1], [0.0, 1.5], [1.0, -1.0]]))
        tensor([0, 2, 7])
    """
    check_batch("points", points)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points has shape {tuple(points.shape)}, expected (n, 2)")
    check_finite("points", points)
    return (torch.atan2(points[:, 1], points[:, 0]) / (math.pi / 4)).round().long() % 8


def two_moons(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Two half ellipses that reach into one another, with a little noise: `n` draws, float32 (n, 2).

    Args as for `eight_gaussians`.

    Example:
        >>> two_moons(3, torch.Generator().manual_seed(0)).shape
        torch.Size([3, 2])
    """
    angle = math.pi * torch.rand(_checked(n, generator), generator=generator)
    side = torch.randint(2, (n,), generator=generator) * 2 - 1  # the upper moon, and its image under a half turn
    points = side[:, None] * torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], dim=1)
    return _standardised(points, torch.tensor([3 / 4, 9 / 16 - 1 / math.pi]), 0.1, generator)


def swiss_roll(n: int, generator: torch.Generator | None = None) -> Tensor:
    """A spiral of one and a half turns, with a little noise: `n` draws, float32 (n, 2).

    Args as for `eight_gaussians`.

    Example:
        >>> swiss_roll(3, torch.Generator().manual_seed(0)).shape
        torch.Size([3, 2])
    """
    angle = math.pi * (1.5 + 3 * torch.rand(_checked(n, generator), generator=generator))
    points = angle[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    mean = torch.tensor([2.0, 2 / (3 * math.pi)])  # of a cos a and a sin a, for a uniform on (1.5 pi, 4.5 pi)
    square = torch.tensor([39 * math.pi**2 / 8 - 0.25, 39 * math.pi**2 / 8 + 0.25])  # and the means of their squares
    return _standardised(points - mean, square - mean**2, 0.05, generator)


def checkerboard(n: int, generator: torch.Generator | None = None) -> Tensor:
    """The dark squares of a four by four board, evenly filled: `n` draws, float32 (n, 2).

    Args as for `eight_gaussians`.

    Example:
        >>> checkerboard(3, torch.Generator().manual_seed(0)).shape
        torch.Size([3, 2])
    """
    column = torch.randint(4, (_checked(n, generator),), generator=generator)
    row = 2 * torch.randint(2, (n,), generator=generator) + column % 2
    corner = torch.stack([column, row], dim=1) - 2.0
    return ((corner + torch.rand(n, 2, generator=generator)) * math.sqrt(12) / 4).float()  # a side of √12 has variance 1


def _checked(n: int, generator: torch.Generator | None) -> int:
    check_generator(generator)
    return check_count("n", n)


def _standardised(points: Tensor, variance: Tensor, noise_std: float, generator: torch.Generator | None) -> Tensor:
    """Scales centred points of a known variance (2,), and adds noise, so that the variance is 1 in all."""
    noise = noise_std * torch.randn(points.shape, generator=generator)
    return (points * ((1 - noise_std**2) / variance).sqrt() + noise).float()


def digits(part: Part = "all") -> Tensor:
    """1797 handwritten digits of 8x8 pixels, float32 (1797, 1, 8, 8): their 17 grey levels lie evenly in [-1, 1].

    They come with scikit-learn (the test part of the UCI set "Optical Recognition of Handwritten Digits").

    Args:
        part: "all" of them, or one of two parts that share no image: "test" is every fourth, 449 in all, and "train" the
            other 1348.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.

    Example:
        >>> digits("test").shape
        torch.Size([449, 1, 8, 8])
    """
    return _part(torch.from_numpy(_load_digits().images).float()[:, None] / 8 - 1, part)


def digit_labels(part: Part = "all") -> Tensor:
    """Which digit each image of `digits` shows: int64 (1797,), values 0..9. Args and errors as for `digits`.

    Example:
        >>> digit_labels("test")[:4]
        tensor([3, 7, 1, 5])
    """
    return _part(torch.from_numpy(_load_digits().target).long(), part)


def _part(rows: Tensor, part: Part) -> Tensor:
    check_choice("part", part, get_args(Part))
    test = torch.arange(len(rows), device=rows.device) % 4 == 3
    return rows if part == "all" else rows[test if part == "test" else ~test]


def _load_digits() -> Any:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the digits need scikit-learn: pip install 'tinyddpm[book]'", name="sklearn") from error
    return load_digits()
