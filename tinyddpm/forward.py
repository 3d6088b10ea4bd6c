"""The forward process q: noise is added step by step until nothing of the data is left (the chapter of that name)."""

from __future__ import annotations

from torch import Tensor

from tinyddpm._checks import Time, check_like, check_tensor, check_type
from tinyddpm.gaussian import Gaussian
from tinyddpm.schedule import Schedule


def q_step(schedule: Schedule, x_prev: Tensor, t: Time) -> Gaussian:
    """q(x_t | x_{t-1}), one step: N(sqrt(1 - beta_t) x_{t-1}, beta_t). Eq. (1.2); Ho et al. 2020, Eq. 2

    Args:
        schedule: the noise schedule, with T steps.
        x_prev: x_{t-1}, a floating-point tensor (batch, ...).
        t: the step in 1..T: a LongTensor (batch,), or an integer for the whole batch.

    Returns:
        A Gaussian in the shape, dtype and device of `x_prev`.

    Raises:
        TypeError: x_prev is not a floating-point tensor, or t not an integer or a tensor of integers.
        ValueError: t is outside 1..T, or has not one entry for each row.

    Example:
        >>> import torch
        >>> q_step(Schedule([0.19]), torch.ones(1, 2), 1).mean
        tensor([[0.9000, 0.9000]])
    """
    check_type("schedule", schedule, Schedule)
    check_tensor("x_prev", x_prev)
    alpha, beta = schedule.rows(("alpha", "beta"), t, x_prev, "x_prev")
    return Gaussian(alpha.sqrt().to(x_prev) * x_prev, beta.to(x_prev).expand_as(x_prev))


def q_marginal(schedule: Schedule, x0: Tensor, t: Time) -> Gaussian:
    """q(x_t | x_0), t steps at once: N(sqrt(alpha_bar_t) x_0, 1 - alpha_bar_t). Eq. (1.17); Ho et al. 2020, Eq. 4

    Args:
        schedule: the noise schedule, with T steps.
        x0: the data, a floating-point tensor (batch, ...).
        t: the step in 1..T: a LongTensor (batch,), or an integer for the whole batch.

    Returns:
        A Gaussian in the shape, dtype and device of `x0`.

    Raises:
        TypeError, ValueError: as for `q_step`.

    Example:
        >>> import torch
        >>> q_marginal(Schedule([0.1, 0.2]), torch.ones(1, 2), 2).var
        tensor([[0.2800, 0.2800]])
    """
    check_type("schedule", schedule, Schedule)
    check_tensor("x0", x0)
    signal, noise = schedule.rows(("alpha_bar", "one_minus_alpha_bar"), t, x0, "x0")
    return Gaussian(signal.sqrt().to(x0) * x0, noise.to(x0).expand_as(x0))


def q_sample(schedule: Schedule, x0: Tensor, t: Time, eps: Tensor) -> Tensor:
    """x_t from the data and the noise: sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps. Eq. (1.16)

    With eps drawn from N(0, I), x_t is a draw from `q_marginal`.

    Args:
        schedule: the noise schedule, with T steps.
        x0: the data, a floating-point tensor (batch, ...).
        t: the step in 1..T: a LongTensor (batch,), or an integer for the whole batch.
        eps: the noise from x_0 to x_t, in the shape of `x0`.

    Returns:
        x_t, in the shape of `x0`.

    Raises:
        TypeError, ValueError: as for `q_step`; and eps has another shape than x0.

    Example:
        >>> import torch
        >>> q_sample(Schedule([0.19]), torch.ones(1, 2), 1, torch.zeros(1, 2))
        tensor([[0.9000, 0.9000]])
    """
    check_type("schedule", schedule, Schedule)
    check_tensor("x0", x0)
    check_like("eps", eps, "x0", x0)
    signal, noise = schedule.rows(("alpha_bar", "one_minus_alpha_bar"), t, x0, "x0")
    return signal.sqrt().to(x0) * x0 + noise.sqrt().to(x0) * eps
