"""The forward process q: noise is added step by step until nothing of the data is left (the chapter of that name)."""

from __future__ import annotations

from torch import Tensor

from tinyddpm._checks import Time
from tinyddpm._rates import check_states, rates
from tinyddpm.gaussian import Gaussian
from tinyddpm.schedule import Schedule


def q_step(schedule: Schedule, x_prev: Tensor, t: Time) -> Gaussian:
    """q(x_t | x_{t-1}), one step: N(sqrt(1 - beta_t) x_{t-1}, beta_t). Eq. (1.2); Ho et al. 2020, Eq. 2

    Args:
        x_prev: x_{t-1}, (batch, ...). The Gaussian is in its shape, dtype and device.
        t: the step in 1..T, a LongTensor (batch,) or an integer for the whole batch.

    Example:
        >>> q_step(Schedule([0.19]), torch.ones(1, 2), 1).mean
        tensor([[0.9000, 0.9000]])
    """
    t = check_states(schedule, t, x_prev=x_prev)
    alpha, beta = schedule._rows(("alpha", "beta"), t, x_prev)
    return Gaussian._known(alpha.sqrt().to(x_prev) * x_prev, beta.to(x_prev).expand_as(x_prev))


def q_marginal(schedule: Schedule, x0: Tensor, t: Time) -> Gaussian:
    """q(x_t | x_0), t steps at once: N(sqrt(alpha_bar_t) x_0, 1 - alpha_bar_t). Eq. (1.17); Ho et al. 2020, Eq. 4

    Args:
        x0: the data, (batch, ...). The Gaussian is in their shape, dtype and device.
        t: as for `q_step`.

    Example:
        >>> q_marginal(Schedule([0.1, 0.2]), torch.ones(1, 2), 2).var
        tensor([[0.2800, 0.2800]])
    """
    return marginal(schedule, x0, check_states(schedule, t, x0=x0))


def marginal(schedule: Schedule, x0: Tensor, t: Time) -> Gaussian:
    """`q_marginal`, for arguments that are known to be good."""
    kept, lost = schedule._rows(("alpha_bar", "one_minus_alpha_bar"), t, x0)
    return Gaussian._known(kept.sqrt().to(x0) * x0, lost.to(x0).expand_as(x0))


def q_sample(schedule: Schedule, x0: Tensor, t: Time, eps: Tensor) -> Tensor:
    """x_t from the data and the noise: sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps. Eq. (1.16)

    With eps drawn from N(0, I), x_t is a draw from `q_marginal`.

    Args:
        x0, eps: the data and the noise from x_0 to x_t, (batch, ...) both, as x_t is.
        t: as for `q_step`.

    Example:
        >>> q_sample(Schedule([0.19]), torch.ones(1, 2), 1, torch.zeros(1, 2))
        tensor([[0.9000, 0.9000]])
    """
    t = check_states(schedule, t, x0=x0, eps=eps)
    return rates(schedule, t, x0).mix(x0, eps)
