"""How good samples are, as numbers: distances between two sets of samples, and what is right or wrong with one set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tinyddpm._checks import check_batch, check_count, check_finite, check_number, check_tensor
from tinyddpm.data import EIGHT_GAUSSIANS_STD
from tinyddpm.exact import eight_gaussians


def sliced_wasserstein(x: Tensor, y: Tensor, directions: int = 256) -> float:
    """The sliced Wasserstein-2 distance between two sets of as many points: how far points must move, seen from all sides.

    Along one direction, the best way to move one set onto the other is in sorted order. The squares of these moves are
    averaged over points and directions, and the root is taken (Bonneel et al. 2015). The directions are always the same.

    Args:
        x, y: floating-point tensors (n, ...) of the same shape.
        directions: how many directions to look from.

    Example:
        >>> sliced_wasserstein(torch.zeros(3, 1), torch.ones(3, 1))
        1.0
    """
    a, b = _pair(x, y)
    if a.shape != b.shape:
        raise ValueError(f"y has shape {tuple(y.shape)}, expected {tuple(x.shape)}, the shape of x")
    shape, zero = (a.shape[1], check_count("directions", directions)), torch.Generator().manual_seed(0)
    normal = torch.randn(shape, generator=zero, dtype=torch.float32, device="cpu").double()
    sides = normal / normal.norm(dim=0)
    return float(((a @ sides).sort(dim=0).values - (b @ sides).sort(dim=0).values).square().mean().sqrt())


def energy_distance(x: Tensor, y: Tensor) -> float:
    """Twice the mean distance between the sets, less the mean distances within each (Székely and Rizzo 2013).

    For the laws themselves it is 0 only if they are equal.
    The estimate is unbiased: for two samples of one law it is 0 on average, and below 0 half of the time.

    Args:
        x, y: floating-point tensors (n, ...) and (m, ...) of at least two points each.

    Example:
        >>> energy_distance(torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [1.0]]))
        2.0
    """
    a, b = _pair(x, y, least=2)
    n, m = len(a), len(b)
    within = _distances(a, a).sum() / (n * (n - 1)) + _distances(b, b).sum() / (m * (m - 1))
    return float(2 * _distances(a, b).mean() - within)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """The Fréchet distance of two sets, as if both were Gaussian (Heusel et al. 2017).

    With the means m, n and the covariances A, B of the sets it is (m - n)² + tr(A + B - 2 (A B)^(1/2)): the squared
    Wasserstein-2 distance between Gaussians of these moments. Of the features of a classifier of pictures it is the
    "FID". It falls with the number of samples: compare only numbers from equally many.

    Args:
        x, y: floating-point tensors (n, d) and (m, d) of at least two points each.

    Example:
        >>> frechet_distance(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [5.0]]))
        9.0
    """
    a, b = _pair(x, y, least=2)
    A, B = (torch.cov(s.T).reshape(s.shape[1], -1) for s in (a, b))
    values, vectors = torch.linalg.eigh(A)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ B @ root).clamp(min=0).sqrt().sum()  # the trace of (A B)^(1/2)
    return float((a.mean(0) - b.mean(0)).square().sum() + A.trace() + B.trace() - 2 * cross)


def nearest(x: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """For each point of `x` (n, ...) the distance to the nearest of `among` (m, ...), and which it is: (n,) and (n,).

    The distances are in the dtype of `x`, and both are on its device.

    Example:
        >>> nearest(torch.tensor([[0.0], [5.0]]), among=torch.tensor([[1.0], [4.0], [9.0]]))
        (tensor([1., 1.]), tensor([0, 1]))
    """
    a, b = _pair(x, among, names=("x", "among"), finite=False)
    distance, index = _distances(a, b).min(dim=1)
    return distance.to(x), index.to(x.device)


@dataclass(frozen=True)
class Modes:
    """How points fall on the modes of a mixture.

    Attributes:
        counts: (K,), how many points are within the radius of each mode; on the CPU.
        covered: how many modes have at least a tenth of their fair share.
        off: the share of points that are near no mode.

    Example:
        >>> ring_modes(torch.tensor([[1.4, 0.0], [0.0, 0.0]]))
        Modes(counts=tensor([1, 0, 0, 0, 0, 0, 0, 0]), covered=1, off=0.5)
    """

    counts: Tensor
    covered: int
    off: float


def ring_modes(x: Tensor, sigmas: float = 3.0) -> Modes:
    """How points fall on the eight Gaussians of `data.eight_gaussians`: within 3 standard deviations are 98.9 % of true ones.

    Args:
        x: points (n, 2).
        sigmas: the radius of a mode in standard deviations.

    Example:
        >>> ring_modes(torch.tensor([[1.4, 0.0], [0.0, 0.0]])).off
        0.5
    """
    check_number("sigmas", sigmas, 0, math.inf)
    check_tensor("x", x)
    if x.ndim != 2 or x.shape[1] != 2 or not len(x):
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (n, 2) with at least one point")
    distance, index = nearest(x.to("cpu", torch.float64), eight_gaussians().means)
    near = distance < sigmas * EIGHT_GAUSSIANS_STD
    counts = torch.bincount(index[near], minlength=8)
    return Modes(counts, int((counts >= len(x) / 80).sum()), 1 - float(near.double().mean()))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")  # exact, also between near points far from 0


def _pair(x: Tensor, y: Tensor, least: int = 1, names: tuple[str, str] = ("x", "y"), finite: bool = True) -> tuple[Tensor, Tensor]:
    """Two sets of flat points of the same size, in float64."""
    for name, value in zip(names, (x, y), strict=True):
        check_batch(name, value)
        if len(value) < least or not value.numel():
            raise ValueError(f"{name} has shape {tuple(value.shape)}, expected at least {least} points")
        if finite:
            check_finite(name, value)
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"{names[1]} has points of shape {tuple(y.shape[1:])}, expected {tuple(x.shape[1:])}, as {names[0]} has")
    flat = [value.detach().to("cpu", torch.float64).reshape(len(value), -1) for value in (x, y)]
    return flat[0], flat[1]
