"""A Gaussian with independent coordinates: the one family of distributions that the derivation needs."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

import torch
from torch import Tensor

from tinyddpm._checks import check_generator, check_like, check_tensor, check_type, values_can_be_read
from tinyddpm._random import standard_normal


@dataclass(frozen=True, eq=False, init=False)
class Gaussian:
    """N(mean, var): a Gaussian for each element of `mean`, independent of the others.

    Attributes:
        mean: a floating-point tensor of any shape.
        var: the variances, 0 or more, in the shape of `mean`; a number stands for all of them. Where it is 0, the
            value is certain.

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

    @classmethod
    def _known(cls, mean: Tensor, var: Tensor) -> Gaussian:
        """The same for a mean and variances, a tensor, that are known to be good."""
        law = cls.__new__(cls)
        object.__setattr__(law, "mean", mean)
        object.__setattr__(law, "var", var)
        return law

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw of each element, in the shape, dtype and device of `mean`.

        Example:
            >>> Gaussian(torch.ones(2), 0.0).sample()
            tensor([1., 1.])
        """
        check_generator(generator)
        return self.mean + self.var.sqrt() * standard_normal(self.mean, generator)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log density at `x`, element by element, in nats. Eq. (1.1)

        `x` is in the shape of `mean`. Where `var` is 0, the density is infinite at the mean and zero elsewhere.

        Example:
            >>> Gaussian(torch.zeros(2), torch.tensor([1.0, 4.0])).log_prob(torch.tensor([0.0, 2.0]))
            tensor([-0.9189, -2.1121])
        """
        check_like("x", x, "mean", self.mean)
        return self._log_prob(x)

    def _log_prob(self, x: Tensor) -> Tensor:
        certain = self.var == 0
        var = torch.where(certain, 1.0, self.var)  # what is not selected below must not spoil the gradient
        z = (x - self.mean) / var.sqrt()
        density = -0.5 * z * z - 0.5 * (var.log() + math.log(2 * math.pi))  # halved first: z² may leave the range of the dtype
        return torch.where(certain, torch.where(x == self.mean, math.inf, -math.inf).to(density), density)

    def kl(self, other: Gaussian) -> Tensor:
        """KL(self || other), element by element, in nats: how much is lost by taking `other`, of the same shape, for `self`.

        With the ratio r of the variances and the difference d of the means in standard deviations of `other`, it is
        (r - 1 - log(r) + d²) / 2. Eq. (3.20); Eq. (1.18) is the case of a standard normal `other`.

        Example:
            >>> Gaussian(torch.zeros(2), 1.0).kl(Gaussian(torch.tensor([0.0, 2.0]), 1.0))
            tensor([0., 2.])
        """
        check_type("other", other, Gaussian)
        check_like("other.mean", other.mean, "mean", self.mean)
        return self._kl(other)

    def _kl(self, other: Gaussian) -> Tensor:
        certain = other.var == 0
        var = torch.where(certain, 1.0, other.var)  # what is not selected below must not spoil the gradient
        d = (self.mean - other.mean) / var.sqrt()
        density = 0.5 * _excess(self.var, var) + 0.5 * d * d  # halved first: d² may leave the range of the dtype
        same = (self.mean == other.mean) & (self.var == 0)
        return torch.where(certain, torch.where(same, 0.0, math.inf).to(density), density)


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
