"""The variational bound on -log p(x_0), term by term and whole (the chapter of that name)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar, get_args

import torch
from torch import Tensor
from torch.special import log_ndtr

from tinyddpm._checks import (
    check_batch,
    check_choice,
    check_count,
    check_generator,
    check_like,
    check_number,
    check_tensor,
    check_type,
    values_can_be_read,
)
from tinyddpm._model import Model, Prediction, ask
from tinyddpm._progress import bar
from tinyddpm._random import standard_normal
from tinyddpm._rates import rates
from tinyddpm.forward import marginal
from tinyddpm.gaussian import Gaussian
from tinyddpm.posterior import Variance, learned_step, posterior, reverse_variance
from tinyddpm.schedule import Schedule

Nats = TypeVar("Nats", Tensor, float)


@dataclass(frozen=True, eq=False)
class VLB:
    """The terms of the bound, in nats, for each example: in float64 from `vlb_terms`.

    Attributes:
        L_T: (batch,), how far x_T is from pure noise. Eq. (3.16)
        L_t: (batch, T-1), the divergence of the learned step t from the true one in column t-2, for t = 2..T. Eq. (3.17)
        L_0: (batch,), minus the log-likelihood of the data in the last step, t = 1. Eq. (3.18)
        total: (batch,), their sum, which is never below -log p(x_0) on average. Eq. (3.19)

    Example:
        >>> VLB(L_T=torch.tensor([0.1]), L_t=torch.tensor([[0.2, 0.3]]), L_0=torch.tensor([1.0])).total
        tensor([1.6000])
    """

    L_T: Tensor
    L_t: Tensor
    L_0: Tensor

    def __post_init__(self) -> None:
        for name, value, ndim in (("L_T", self.L_T, 1), ("L_t", self.L_t, 2), ("L_0", self.L_0, 1)):
            check_tensor(name, value)
            if value.ndim != ndim or len(value) != len(self.L_T):
                raise ValueError(f"{name} has shape {tuple(value.shape)}, expected {'(batch,)' if ndim == 1 else '(batch, T-1)'}")

    @property
    def total(self) -> Tensor:
        """(batch,), the sum of the terms."""
        return self.L_T + self.L_t.sum(dim=1) + self.L_0


def vlb_terms(
    schedule: Schedule, model: Model | Prediction, x0: Tensor, variance: Variance = "beta", levels: int | None = None,
    eps: Tensor | None = None, *, generator: torch.Generator | None = None, progress: bool = False,
) -> VLB:  # fmt: skip
    """Every term of the variational bound, for each example of a batch. Eqs. (3.16) to (3.19); Ho et al. 2020, Eq. 5

    The divergences are exact for the x_t that are drawn; over the draws, the terms are unbiased estimates of the
    bound's. The arithmetic is in float64 (in float32 on devices without it); the model sees x_t in the dtype of `x0`. It
    is called once for each t = 1, ..., T, on the batch as it is, without gradients, and no state is kept.

    Args:
        model: a callable that predicts the noise: model(x_t, t) is like x_t, for a LongTensor t (batch,).
        x0: the data, (batch, ...).
        variance: the variance of the learned steps, as for `p_step`.
        levels: if the data have that many equally spaced values in [-1, 1], and no other, L_0 is minus the log of the
            probability of these values, `discretised_log_prob`. Without it, L_0 is minus the log of a density.
        eps: the noise to use at every t, in the shape of `x0`. Without it, noise is drawn at each t.

    Example:
        >>> x0 = torch.tensor([[-1.0, 1.0]])
        >>> vlb_terms(Schedule([0.1, 0.9]), lambda xt, t: 0 * xt, x0, eps=torch.zeros(1, 2)).L_T
        tensor([0.0943], dtype=torch.float64)
    """
    prediction = Prediction.of(model)
    check_type("schedule", schedule, Schedule)
    check_batch("x0", x0)
    if levels is not None:
        _check_levels("x0", x0, levels)
    if eps is not None:
        check_like("eps", eps, "x0", x0)
    check_choice("variance", variance, get_args(Variance))
    check_generator(generator)
    wide = torch.float32 if x0.device.type == "mps" else torch.float64
    with torch.no_grad():
        data = x0.to(wide)
        L_T = _per_example(marginal(schedule, data, schedule.T)._kl(Gaussian._known(torch.zeros_like(data), torch.ones_like(data))))
        terms = []
        for t in bar(range(1, schedule.T + 1), progress, "bound"):
            at, noise = rates(schedule, t, data), standard_normal(x0, generator) if eps is None else eps
            xt = at.mix(data, noise.to(wide))
            answer = ask(prediction.model, xt.to(x0.dtype), t)
            if prediction.by_eps:
                step = learned_step(schedule, xt, t, answer.to(wide), variance)
            else:
                mean = posterior(schedule, prediction.x0(at, xt, answer.to(wide)), xt, t).mean
                step = Gaussian._known(mean, reverse_variance(schedule, t, mean, variance).expand_as(mean))
            if t > 1:
                term = posterior(schedule, data, xt, t)._kl(step)
            else:
                term = -(step._log_prob(data) if levels is None else _log_bin(step, data, levels))
            terms.append(_per_example(term))
    L_0, *L_t = terms
    return VLB(L_T, torch.stack(L_t, dim=1) if L_t else L_T.new_empty(len(x0), 0), L_0)


def discretised_log_prob(law: Gaussian, x: Tensor, levels: int) -> Tensor:
    """The log of the probability of `x`, one of `levels` equally spaced values in [-1, 1]. Eq. (3.24); Ho et al. 2020, Eq. 13

    Each value owns the bin from half-way to the value below it to half-way to the one above; the outermost bins reach
    to infinity, so that the probabilities of all the values sum to 1.

    `x` is in the shape of `law.mean` and has no other values. The nats are too, exact also far out in the tails, where the
    probability itself would be 0.

    Example:
        >>> law = Gaussian(torch.zeros(3), 1.0)
        >>> discretised_log_prob(law, torch.tensor([-1.0, 0.0, 1.0]), 3).exp()
        tensor([0.3085, 0.3829, 0.3085])
    """
    check_type("law", law, Gaussian)
    check_like("x", x, "law.mean", law.mean)
    return _log_bin(law, x, _check_levels("x", x, levels))


def _log_bin(law: Gaussian, x: Tensor, levels: int) -> Tensor:
    dtype = torch.promote_types(law.mean.dtype, x.dtype)
    wide = torch.promote_types(dtype, torch.float32)  # PyTorch has no log_ndtr in 16 bits
    x, mean, var = x.to(wide), law.mean.to(wide), law.var.to(wide)
    half, std = 1 / (levels - 1), var.clamp(min=torch.finfo(wide).tiny).sqrt()  # a certain value has its bin
    z, width = (x - mean) / std, half / std
    z = torch.where(x < 0, -z, z)  # the bins are symmetric: the lowest value becomes the highest
    low, high = z - width, torch.where(x.abs() > 1 - half, math.inf, z + width)
    low, high = torch.where(low + high > 0, -high, low), torch.where(low + high > 0, -low, high)  # where nothing cancels
    log_high: Tensor = log_ndtr(high)
    ratio = log_ndtr(low) - log_high  # the log of the share below the bin; 1 minus it, to full precision:
    inside = torch.where(ratio > -math.log(2), (-torch.expm1(ratio)).log(), torch.log1p(-ratio.exp()))
    return torch.where(log_high == -math.inf, -math.inf, log_high + inside).to(dtype)


def bits_per_dim(nats: Nats, dims: int) -> Nats:
    """Nats for an example of `dims` numbers, as bits for each of them: nats / (dims log 2). Eq. (3.23)

    `nats` are a tensor of any shape or a number, `dims` is an integer, such as 64 for a picture of 8x8 pixels.

    Example:
        >>> bits_per_dim(torch.tensor([math.log(2)]), 1)
        tensor([1.])
    """
    if isinstance(nats, Tensor):
        check_tensor("nats", nats)
    else:
        check_number("nats", nats, -math.inf, math.inf)
    return nats / (check_count("dims", dims) * math.log(2))


def _check_levels(name: str, x: Tensor, levels: int) -> int:
    """The number of levels, if all of `x` lies on them: up to what rounding in the dtype of `x` may do."""
    steps = check_count("levels", levels, least=2) - 1
    if values_can_be_read(x) and x.numel():
        place = (x.double() + 1) / 2 * steps
        on = (place - place.round()).abs() <= min(max(1e-4, steps * torch.finfo(x.dtype).eps), 0.26)
        on &= (place.round() >= 0) & (place.round() <= steps)
        if not on.all():
            raise ValueError(f"{name} has a value {x[~on][0].item():g}, which is none of {levels} equally spaced levels in [-1, 1]")
    return steps + 1


def _per_example(x: Tensor) -> Tensor:
    """(batch, ...) summed to (batch,)."""
    return x[..., None].flatten(1).sum(dim=1)
