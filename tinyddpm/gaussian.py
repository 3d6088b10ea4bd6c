"""A Gaussian with independent coordinates: the one family of distributions that the derivation needs."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

import torch
from torch import Tensor

from tinyddpm._checks import check_generator, check_like, check_tensor, check_type, values_can_be_read


@dataclass(frozen=True, eq=False, init=False)
class Gaussian:
    """N(mean, var): a Gaussian for each element of `mean`, independent of the others.

    Attributes:
        mean: a floating-point tensor of any shape.
        var: the variances, 0 or more, in the shape of `mean`; a number stands for all of them. Where it is 0, the
            value is certain.

    Raises:
        TypeError: mean is not a floating-point tensor, or var neither such a tensor of the same dtype nor a number.
        ValueError: var has another shape than mean, is negative, NaN or infinite.

    Example:
        >>> Gaussian(torch.zeros(2), 1.0).log_prob(torch.zeros(2))
        tensor([-0.9189, -0.9189])
    """

    mean: Tensor
    var: Tensor

    def __init__(self, mean: Tensor, var: Tensor | float) -> None:
        check_tensor("mean", mean)
        if isinstance(var, numbers.Real) and not isinstance(var, bool):
            if math.isfinite(var) and abs(var) > torch.finfo(mean.dtype).max:
                raise ValueError(f"var = {var} is beyond the largest number of {mean.dtype}, the dtype of mean")
            var = torch.full_like(mean, float(var))
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "var", var)
        check_like("var", self.var, "mean", self.mean)
        if self.var.dtype != self.mean.dtype:
            raise TypeError(f"var has dtype {self.var.dtype}, expected {self.mean.dtype}, the dtype of mean")
        if values_can_be_read(self.var) and self.var.numel():
            for worst in self.var.aminmax():
                if not 0 <= worst < math.inf:
                    raise ValueError(f"var has an entry {worst.item()}, expected finite variances of 0 or more")

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw of each element, in the shape, dtype and device of `mean`.

        Args:
            generator: where the randomness comes from; without it, PyTorch's default generator.

        Raises:
            TypeError: generator is not a torch.Generator.

        Example:
            >>> Gaussian(torch.ones(2), 0.0).sample()
            tensor([1., 1.])
        """
        check_generator(generator)
        return self.mean + self.var.sqrt() * standard_normal(self.mean, generator)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log density at `x`, element by element, in nats. Eq. (1.1)

        Where `var` is 0, the density is infinite at the mean and zero elsewhere.

        Args:
            x: a tensor of the shape of `mean`.

        Raises:
            TypeError, ValueError: x is not a floating-point tensor of that shape, or on another device.

        Example:
            >>> Gaussian(torch.zeros(2), torch.tensor([1.0, 4.0])).log_prob(torch.tensor([0.0, 2.0]))
            tensor([-0.9189, -2.1121])
        """
        check_like("x", x, "mean", self.mean)
        certain = self.var == 0
        var = torch.where(certain, 1.0, self.var)  # what is not selected below must not spoil the gradient
        z = (x - self.mean) / var.sqrt()
        density = -0.5 * z * z - 0.5 * (var.log() + math.log(2 * math.pi))  # halved first: z² may leave the range of the dtype
        return torch.where(certain, torch.where(x == self.mean, math.inf, -math.inf).to(density), density)

    def kl(self, other: Gaussian) -> Tensor:
        """KL(self || other), element by element, in nats: how much is lost by taking `other` for `self`.

        With the ratio r of the variances and the difference d of the means in standard deviations of `other`, it is
        (r - 1 - log(r) + d²) / 2. Eq. (3.20); Eq. (1.18) is the case of a standard normal `other`.

        Args:
            other: a Gaussian of the same shape.

        Raises:
            TypeError, ValueError: other is not a Gaussian, or of another shape, or on another device.

        Example:
            >>> Gaussian(torch.zeros(2), 1.0).kl(Gaussian(torch.tensor([0.0, 2.0]), 1.0))
            tensor([0., 2.])
        """
        check_type("other", other, Gaussian)
        check_like("other.mean", other.mean, "mean", self.mean)
        certain = other.var == 0
        var = torch.where(certain, 1.0, other.var)  # what is not selected below must not spoil the gradient
        d = (self.mean - other.mean) / var.sqrt()
        density = 0.5 * _excess(self.var, var) + 0.5 * d * d  # halved first: d² may leave the range of the dtype
        same = (self.mean == other.mean) & (self.var == 0)
        return torch.where(certain, torch.where(same, 0.0, math.inf).to(density), density)


def standard_normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Noise in the shape, dtype and device of a tensor; which numbers does not depend on its layout in memory.

    A generator draws where it lives: one on the CPU gives the same numbers on every device.
    """
    place = like.device if generator is None else generator.device
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=place).to(like.device)


def _excess(a: Tensor, b: Tensor) -> Tensor:
    """r - 1 - log(r) for the ratio r = a / b, to full precision also near r = 1, where the two parts nearly cancel.

    There, with u = r - 1 and s = u / (2 + u), log(r) = 2 artanh(s) = 2 (s + s³/3 + s⁵/5 + ...) and u = 2s + us.
    """
    u = (a - b) / b
    near = u.abs() < 0.25
    s = u / (2 + u)
    tail = sum(s ** (2 * k) / (2 * k + 3) for k in range(10))
    far = u - torch.where(near, 0.0, a.log() - b.log())  # not log(a / b): the ratio may leave the range of the dtype
    return torch.where(near, s * (u - 2 * s * s * tail), far)
