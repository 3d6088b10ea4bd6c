"""The simplified loss, and the weights that it drops from the bound (the chapter of that name)."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tinyddpm._checks import Time, check_choice, check_examples, check_generator, check_like, check_time, check_type
from tinyddpm._model import Model, Predict, ask, check_model
from tinyddpm._random import standard_normal
from tinyddpm._rates import rates
from tinyddpm.posterior import Variance, reverse_variance
from tinyddpm.schedule import Schedule


def simple_loss(
    schedule: Schedule, model: Model, x0: Tensor, t: Time | None = None, eps: Tensor | None = None, *,
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """L_simple: the mean squared error of the predicted noise. Eq. (4.11); Ho et al. 2020, Eq. 14

    Args:
        model: a callable that predicts the noise: model(x_t, t) is like x_t, for a LongTensor t (batch,).
        x0: the data, (batch, ...), at least one example.
        t: the steps, as for `q_step`. Without it, each is drawn uniformly from 1..T.
        eps: the noise, in the shape of `x0`. Without it, it is drawn.

    Returns:
        The mean over the batch and over the elements of an example, a scalar through which gradients flow. The squared
        norm of Eq. (4.11) is this times the number of elements of an example.

    Example:
        >>> simple_loss(Schedule([0.1, 0.2]), lambda xt, t: 0 * xt, torch.ones(2, 3), eps=torch.ones(2, 3))
        tensor(1.)
    """
    check_type("schedule", schedule, Schedule)
    check_model(model)
    return error(schedule, model, "eps", x0, *drawn(schedule, x0, t, eps, generator))


def drawn(
    schedule: Schedule, x0: Tensor, t: Time | None, eps: Tensor | None, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """The steps (batch,) and the noise of a training example: what is given is checked, what is not is drawn, the steps first."""
    check_examples("x0", x0)
    check_generator(generator)
    if t is None:
        place = x0.device if generator is None else generator.device
        t = torch.randint(1, schedule.T + 1, x0.shape[:1], generator=generator, device=place).to(x0.device)
    else:
        t = torch.as_tensor(check_time(t, schedule.T, "x0", x0), device=x0.device).expand(len(x0))
    if eps is None:
        return t, standard_normal(x0, generator)
    check_like("eps", eps, "x0", x0)
    return t, eps


def error(schedule: Schedule, model: Model, predict: Predict, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """The mean squared error of what a model predicts, for arguments that are known to be good."""
    at = rates(schedule, t, x0)
    answer = ask(model, at.mix(x0, eps), t)
    target = eps if predict == "eps" else x0 if predict == "x0" else at.v(x0, eps)
    return F.mse_loss(answer, target) if answer.dtype == target.dtype else (answer - target).square().mean()


def vlb_weight(schedule: Schedule, t: Time, variance: Variance = "beta") -> Tensor:
    """The factor before the squared error of the noise in the bound, which L_simple drops. Eq. (4.8); Ho et al. 2020, Eq. 12

    beta_t² / (2 sigma_t² alpha_t (1 - alpha_bar_t)), in nats: float64, in the shape of `t`.

    Args:
        t: steps in 1..T: a LongTensor (n,), or an integer.
        variance: what sigma_t² is, as for `p_step`.

    Example:
        >>> vlb_weight(Schedule([0.2, 0.5]), torch.tensor([1, 2]))
        tensor([0.6250, 0.8333], dtype=torch.float64)
    """
    check_type("schedule", schedule, Schedule)
    check_choice("variance", variance, get_args(Variance))
    if isinstance(t, Tensor) and t.ndim > 1:
        raise ValueError(f"t has shape {tuple(t.shape)}, expected (n,)")
    x = t if isinstance(t, Tensor) else schedule.beta
    t = check_time(t, schedule.T, "t", x)
    beta, alpha, lost = schedule._rows(("beta", "alpha", "one_minus_alpha_bar"), t, x)
    return beta / reverse_variance(schedule, t, x, variance) * beta / (2 * alpha * lost)
