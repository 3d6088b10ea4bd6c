"""Data for which everything is known: the law of every x_t, the best possible prediction of the noise, the true reverse
step. What a network learns can be held against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tinyddpm._checks import (
    Time,
    check_count,
    check_finite,
    check_generator,
    check_integer,
    check_tensor,
    check_time,
    check_type,
    shown,
)
from tinyddpm.data import EIGHT_GAUSSIANS_RADIUS, EIGHT_GAUSSIANS_STD
from tinyddpm.schedule import Schedule

CHUNK = 2**22  # elements of the largest intermediate tensor


class GaussianMixture:
    """A mixture of K Gaussians with independent coordinates.

    Attributes:
        means: float64 (K, ...): a data point has the shape that follows K.
        variances: float64, in the shape of `means`.
        weights: float64 (K,), the probabilities of the components.

    Args:
        means: the K means, a list, an array or a tensor.
        variances: 0 or more: a number, one for each component (K,), or one for each coordinate of each (K, ...).
        weights: 0 or more and with sum 1; without them, all components are equally likely.

    Example:
        >>> data = GaussianMixture([-1.0, 1.0], 0.25, [0.3, 0.7])
        >>> data.marginal(Schedule([0.36]), 1).means
        tensor([-0.8000,  0.8000], dtype=torch.float64)
    """

    def __init__(
        self,
        means: Tensor | ArrayLike,
        variances: Tensor | ArrayLike,
        weights: Tensor | ArrayLike | None = None,
    ) -> None:
        self.means = _table("means", means)
        if self.means.ndim == 0 or not self.means.numel():
            raise ValueError(f"means has shape {tuple(self.means.shape)}, expected (K, ...) with at least one mean")
        K = len(self.means)
        given = _table("variances", variances, at_least_0=True)
        if given.shape not in ((), (K,), self.means.shape):
            raise ValueError(f"variances has shape {tuple(given.shape)}, expected (), ({K},) or {tuple(self.means.shape)}")
        one_each = given if given.ndim == self.means.ndim else given.expand(K).reshape(K, *[1] * (self.means.ndim - 1))
        self.variances = one_each.expand_as(self.means).clone()
        self._m = self.means.reshape(K, -1)
        self._v = one_each.reshape(K, -1)  # (K, 1) if the components are round, which saves most of the work
        self.weights = _table("weights", [1 / K] * K if weights is None else weights, at_least_0=True)
        if self.weights.shape != (K,):
            raise ValueError(f"weights has shape {tuple(self.weights.shape)}, expected ({K},), one for each mean")
        if abs(self.weights.sum() - 1) > 1e-6:
            raise ValueError(f"weights has the sum {self.weights.sum():.6g}, expected 1")
        self.weights = self.weights / self.weights.sum()

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """`n` draws, float64 (n, ...), from `generator` or else PyTorch's default one.

        Example:
            >>> GaussianMixture([[-1.0, 0.0], [1.0, 0.0]], 0.04).sample(3).shape
            torch.Size([3, 2])
        """
        check_generator(generator)
        which = torch.multinomial(self.weights, check_count("n", n), replacement=True, generator=generator)
        noise = torch.randn(n, *self.means.shape[1:], dtype=torch.float64, device="cpu", generator=generator)
        return self.means[which] + self.variances[which].sqrt() * noise

    def log_prob(self, x: Tensor) -> Tensor:
        """The log density of each point of `x` (batch, ...), in nats: (batch,) in the dtype and on the device of `x`.

        Example:
            >>> GaussianMixture([[0.0, 0.0]], 1.0).log_prob(torch.zeros(1, 2))  # -log(2 pi)
            tensor([-1.8379])
        """
        self._check_points("x", x)
        clean = x.new_ones(len(x), 1), x.new_zeros(len(x), 1)
        return self._by_rows(lambda x, kept, lost: self._joint(x, kept, lost, clean=True)[0].logsumexp(dim=1), x, *clean).to(x)

    def marginal(self, schedule: Schedule, t: int) -> GaussianMixture:
        """The law of x_t, which is a mixture again; that of the data for t = 0. Eq. (2.1)

        Args:
            t: an integer in 0..T.

        Example:
            >>> GaussianMixture([-1.0, 1.0], 0.25).marginal(Schedule([0.36]), 1).variances
            tensor([0.5200, 0.5200], dtype=torch.float64)
        """
        check_type("schedule", schedule, Schedule)
        if not 0 <= check_integer("t", t) <= schedule.T:
            raise ValueError(f"t = {t} is outside 0..{schedule.T}")
        kept, lost = schedule.alpha_bar[t], schedule.one_minus_alpha_bar[t]
        return GaussianMixture(kept.sqrt() * self.means, kept * self.variances + lost, self.weights)

    def reverse_step(self, schedule: Schedule, xt: Tensor, t: int) -> GaussianMixture:
        """q(x_{t-1} | x_t), the true reverse step from one state: a mixture of one Gaussian for each component. Eq. (2.2)

        Args:
            xt: one state, a floating-point tensor in the shape of a data point.
            t: the step, an integer in 1..T.

        Example:
            >>> before = GaussianMixture([-1.0, 1.0], 0.25).reverse_step(Schedule([0.1, 0.36]), torch.tensor(0.0), 2)
            >>> before.weights
            tensor([0.5000, 0.5000], dtype=torch.float64)
        """
        check_type("schedule", schedule, Schedule)
        check_tensor("xt", xt)
        if xt.shape != self.means.shape[1:]:
            raise ValueError(f"xt has shape {tuple(xt.shape)}, expected {tuple(self.means.shape[1:])}, that of one point")
        check_finite("xt", xt)
        check_time(check_integer("t", t), schedule.T, "xt", xt)
        now, before, x = self.marginal(schedule, t), self.marginal(schedule, t - 1), xt.to("cpu", torch.float64)
        # Within a component all is Gaussian: x_{t-1} and the noise of the step add up to x_t.
        gain = schedule.alpha[t].sqrt() * before.variances / now.variances
        means = before.means + gain * (x - now.means)
        variances = before.variances * schedule.beta[t] / now.variances
        joint, _ = now._joint(x.reshape(1, -1), x.new_ones(1, 1), x.new_zeros(1, 1))
        return GaussianMixture(means, variances, joint.softmax(dim=1)[0])

    def given(self, k: int | Sequence[int]) -> GaussianMixture:
        """The law of a data point that comes from component k, or from one of several.

        Args:
            k: an integer in 0..K - 1, or several, of which one at least has a weight.

        Example:
            >>> GaussianMixture([-1.0, 0.0, 1.0], 0.25, [0.2, 0.4, 0.4]).given([1, 2]).weights
            tensor([0.5000, 0.5000], dtype=torch.float64)
        """
        K, chosen = len(self.means), list(k) if isinstance(k, Sequence) and not isinstance(k, str) else [k]
        for one in chosen:
            if not 0 <= check_integer("k", one) < K:
                raise ValueError(f"k = {one} is outside 0..{K - 1}")
        if not chosen or not self.weights[chosen].sum() > 0 or len({*chosen}) < len(chosen):
            raise ValueError(f"k = {k} is not one component or several different ones, with a weight above 0")
        return GaussianMixture(self.means[chosen], self.variances[chosen], self.weights[chosen] / self.weights[chosen].sum())

    def chances(self, schedule: Schedule, xt: Tensor, t: Time) -> Tensor:
        """q(k | x_t): how probable it is that x_t came from each component, (batch, K) in the dtype of x_t. Eq. (7.4)

        Args as for the model of `eps`.

        Example:
            >>> GaussianMixture([-1.0, 1.0], 0.25).chances(Schedule([0.36]), torch.tensor([0.0, 0.5]), 1)
            tensor([[0.5000, 0.5000],
                    [0.1768, 0.8232]])
        """
        check_type("schedule", schedule, Schedule)
        return self._of_rows(lambda *rows: self._joint(*rows)[0].softmax(dim=1), schedule, xt, t).to(xt)

    def eps(self, schedule: Schedule) -> Callable[[Tensor, Time], Tensor]:
        """The best prediction of the noise in x_t, its mean given x_t, as a model: a callable of (x_t, t). Eq. (4.18)

        No network has a smaller squared error. It computes in float64 and answers in the dtype and on the device of
        x_t (batch, ...), for t a LongTensor (batch,) or an integer.

        Example:
            >>> GaussianMixture([0.0], 1.0).eps(Schedule([0.36]))(torch.tensor([1.0]), 1)  # sqrt(0.36) x_t
            tensor([0.6000])
        """
        check_type("schedule", schedule, Schedule)

        def rows(x: Tensor, kept: Tensor, lost: Tensor) -> Tensor:
            joint, pull = self._joint(x, kept, lost)
            return lost.sqrt() * (joint.softmax(dim=1)[..., None] * pull).sum(dim=1)

        def model(xt: Tensor, t: Time) -> Tensor:
            return self._of_rows(rows, schedule, xt, t).reshape(xt.shape).to(xt)

        return model

    def _of_rows(self, function: Callable[..., Tensor], schedule: Schedule, xt: Tensor, t: Time) -> Tensor:
        """A function of x_t (batch, D), alpha_bar_t and 1 - alpha_bar_t, each (batch, 1), for points of any shape."""
        self._check_points("xt", xt)
        tables = schedule._rows(("alpha_bar", "one_minus_alpha_bar"), check_time(t, schedule.T, "xt", xt), xt)
        return self._by_rows(function, xt, *(table.reshape(-1, 1).expand(len(xt), 1) for table in tables))

    def _joint(self, x: Tensor, kept: Tensor, lost: Tensor, clean: bool = False) -> tuple[Tensor, Tensor]:
        """For x_t (batch, D), with alpha_bar_t and 1 - alpha_bar_t (batch, 1): what each component has to do with it.

        Returns the log of its weight times its density, (batch, K), for noised data but for a constant, and the distance
        of x_t from its mean over its variance, (batch, K, D).
        """
        means, variances, weights = (table.to(x) for table in (self._m, self._v, self.weights))
        var = kept[..., None] * variances + lost[..., None]
        gap = x[:, None] - kept.sqrt()[..., None] * means
        if not clean:
            pull = gap / var
            return -0.5 * (pull * gap + var.log()).sum(dim=2) + weights.log(), pull
        certain = var == 0  # a component without width, where there is no noise
        pull = gap / torch.where(certain, 1.0, var)
        each = torch.where(certain, math.inf, -0.5 * (pull * gap + (2 * math.pi * var).log()))
        impossible = (certain & (gap != 0)).any(dim=2) | (weights == 0)
        return torch.where(impossible, -math.inf, each.sum(dim=2) + weights.log()), pull

    def _by_rows(self, function: Callable[..., Tensor], x: Tensor, *tables: Tensor) -> Tensor:
        """A function of flat float64 rows, some at a time, so that memory stays bounded for many data and components."""
        home = torch.device("cpu") if x.device.type == "mps" else x.device  # that device has no float64
        flat = x[..., None].flatten(1).to(home, torch.float64)
        size = max(1, CHUNK // self.means.numel())
        chunks = zip(*(torch.split(rows.to(flat), size) for rows in (flat, *tables)), strict=True)
        return torch.cat([function(*rows) for rows in chunks])

    def _check_points(self, name: str, x: Tensor) -> None:
        check_tensor(name, x)
        if x.ndim == 0 or x.shape[1:] != self.means.shape[1:]:
            shape = ", ".join(["batch", *map(str, self.means.shape[1:])]) + "," * (self.means.ndim == 1)
            raise ValueError(f"{name} has shape {tuple(x.shape)}, expected ({shape})")


class Empirical(GaussianMixture):
    """A finite data set as the whole truth: each of its points is equally likely, and nothing else is possible.

    Its `eps` is what a network would predict that has learned the training set by heart.

    Args:
        data: the points, a floating-point tensor (n, ...).

    Example:
        >>> Empirical(torch.tensor([-1.0, 1.0])).eps(Schedule([0.36]))(torch.tensor([0.8]), 1)
        tensor([0.0741])
    """

    def __init__(self, data: Tensor) -> None:
        check_tensor("data", data)
        if data.ndim == 0 or not data.numel():
            raise ValueError(f"data has shape {tuple(data.shape)}, expected (n, ...) with at least one point")
        super().__init__(_table("data", data), 0.0)


def eight_gaussians() -> GaussianMixture:
    """The law that `data.eight_gaussians` draws from: eight round Gaussians on a ring.

    Example:
        >>> ring = eight_gaussians()
        >>> ring.means.shape, round(ring.variances[0, 0].item(), 4)
        (torch.Size([8, 2]), 0.01)
    """
    angle = torch.arange(8, dtype=torch.float64, device="cpu") * (math.pi / 4)
    ring = torch.stack([angle.cos(), angle.sin()], dim=1)
    return GaussianMixture(EIGHT_GAUSSIANS_RADIUS * ring, EIGHT_GAUSSIANS_STD**2)


def _table(name: str, value: Tensor | ArrayLike, at_least_0: bool = False) -> Tensor:
    """Numbers as a float64 tensor of their own."""
    try:
        table = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64, device="cpu")
        if table.is_complex() or table.dtype == torch.bool:
            raise TypeError(f"its dtype is {table.dtype}")
        table = table.detach().to("cpu", torch.float64).clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} = {shown(value)} does not hold real numbers") from error
    if not table.isfinite().all():
        raise ValueError(f"{name} has an entry that is not finite: {table[~table.isfinite()][0].item()}")
    if at_least_0 and (table < 0).any():
        raise ValueError(f"{name} has an entry {table.min().item()}, expected 0 or more")
    return table
