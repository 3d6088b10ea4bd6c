"""The reverse step: q(x_{t-1} | x_t, x_0) in closed form, the learned step, and x_0, eps and v turned into one another.

For a given x_t, to know the clean data x_0, the noise eps or the velocity v is to know all three: they are tied by
x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps and v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from torch import Tensor

from tinyddpm._checks import Time, check_choice
from tinyddpm._rates import SMALLEST, check_states, rates
from tinyddpm.gaussian import Gaussian
from tinyddpm.schedule import Schedule

Variance: TypeAlias = Literal["beta", "beta_tilde"]


def q_posterior(schedule: Schedule, x0: Tensor, xt: Tensor, t: Time) -> Gaussian:
    """q(x_{t-1} | x_t, x_0), the reverse step for known data. Eq. (2.19); Ho et al. 2020, Eqs. 6 and 7

    At t = 1 it is certain: the mean is x_0, the variance 0.

    Args:
        x0, xt: the data and the state after t steps, (batch, ...) both, as the Gaussian is.
        t: as for `q_step`.

    Example:
        >>> q_posterior(Schedule([0.1, 0.2]), torch.ones(1, 2), torch.ones(1, 2), 2).var
        tensor([[0.0714, 0.0714]])
    """
    return posterior(schedule, x0, xt, check_states(schedule, t, x0=x0, xt=xt))


def posterior(schedule: Schedule, x0: Tensor, xt: Tensor, t: Time) -> Gaussian:
    """`q_posterior`, for arguments that are known to be good."""
    alpha, beta, lost, var = schedule._rows(("alpha", "beta", "one_minus_alpha_bar", "beta_tilde"), t, x0)
    signal_before, lost_before = schedule._rows(("_signal", "one_minus_alpha_bar"), t, x0, back=1)
    from_x0, from_xt = signal_before * beta / lost, alpha.sqrt() * lost_before / lost
    mean = from_x0.to(x0) * x0 + from_xt.to(x0) * xt
    return Gaussian._known(mean, var.to(mean).expand_as(mean))


def p_step(schedule: Schedule, xt: Tensor, t: Time, eps: Tensor, variance: Variance = "beta") -> Gaussian:
    """p(x_{t-1} | x_t), the learned step, for a prediction `eps` of the noise in x_t. Eqs. (4.1) and (4.2)

    Its mean is the one of `q_posterior` for the x_0 that follows from `eps`: Ho et al. 2020, Eq. 11.

    Args:
        xt, eps: the state after t steps and the prediction, (batch, ...) both, as the Gaussian is.
        t: as for `q_step`.
        variance: "beta" for the variance beta_t, or "beta_tilde" for beta_tilde_t and, as that is 0 at t = 1,
            beta_tilde_2 there (beta_1 if T = 1).

    Example:
        >>> p_step(Schedule([0.19]), torch.ones(1, 2), 1, torch.zeros(1, 2)).mean
        tensor([[1.1111, 1.1111]])
    """
    t = check_states(schedule, t, xt=xt, eps=eps)
    check_choice("variance", variance, get_args(Variance))
    return learned_step(schedule, xt, t, eps, variance)


def learned_step(schedule: Schedule, xt: Tensor, t: Time, eps: Tensor, variance: Variance) -> Gaussian:
    """`p_step`, for arguments that are known to be good."""
    alpha, beta, noise = schedule._rows(("alpha", "beta", "_noise"), t, xt)
    mean = (xt - (beta / noise).to(xt) * eps) / alpha.sqrt().to(xt).clamp(min=SMALLEST[xt.dtype])
    return Gaussian._known(mean, reverse_variance(schedule, t, mean, variance).to(mean).expand_as(mean))


def reverse_variance(schedule: Schedule, t: Time, x: Tensor, variance: Variance) -> Tensor:
    """sigma_t², the variance of the learned step, in float64, shaped to multiply `x`, for arguments that are known to be good."""
    if variance == "beta" or schedule.T == 1:
        return schedule._rows(("beta",), t, x)[0]
    return schedule._rows(("beta_tilde",), t.clamp(min=2) if isinstance(t, Tensor) else max(t, 2), x)[0]


# The conversions: each takes x_t and what is known, (batch, ...) both, and t as for `q_step`, and answers in their shape.


def x0_from_eps(schedule: Schedule, xt: Tensor, t: Time, eps: Tensor) -> Tensor:
    """The data from the state and its noise: (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t). Eq. (2.21)

    As sqrt(alpha_bar_t) falls, errors in `eps` grow in it.

    Example:
        >>> x0_from_eps(Schedule([0.19]), torch.full((1, 2), 0.9), 1, torch.zeros(1, 2))
        tensor([[1., 1.]])
    """
    t = check_states(schedule, t, xt=xt, eps=eps)
    return rates(schedule, t, xt).x0_from_eps(xt, eps)


def eps_from_x0(schedule: Schedule, xt: Tensor, t: Time, x0: Tensor) -> Tensor:
    """The noise from the state and the data: (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t). Eq. (1.16)

    Example:
        >>> eps_from_x0(Schedule([0.19]), torch.ones(1, 2), 1, torch.zeros(1, 2))
        tensor([[2.2942, 2.2942]])
    """
    t = check_states(schedule, t, xt=xt, x0=x0)
    return rates(schedule, t, xt).eps_from_x0(xt, x0)


def v_from_eps(schedule: Schedule, xt: Tensor, t: Time, eps: Tensor) -> Tensor:
    """The velocity from the state and its noise: (eps - sqrt(1 - alpha_bar_t) x_t) / sqrt(alpha_bar_t). Eq. (4.13)

    The velocity is from Salimans and Ho 2022, appendix D.

    Example:
        >>> v_from_eps(Schedule([0.19]), torch.zeros(1, 2), 1, torch.ones(1, 2))
        tensor([[1.1111, 1.1111]])
    """
    t = check_states(schedule, t, xt=xt, eps=eps)
    return rates(schedule, t, xt).v_from_eps(xt, eps)


def v_from_x0(schedule: Schedule, xt: Tensor, t: Time, x0: Tensor) -> Tensor:
    """The velocity from the state and the data: (sqrt(alpha_bar_t) x_t - x_0) / sqrt(1 - alpha_bar_t). Eq. (4.13)

    Example:
        >>> v_from_x0(Schedule([0.19]), torch.ones(1, 2), 1, torch.ones(1, 2))
        tensor([[-0.2294, -0.2294]])
    """
    t = check_states(schedule, t, xt=xt, x0=x0)
    return rates(schedule, t, xt).v_from_x0(xt, x0)


def x0_from_v(schedule: Schedule, xt: Tensor, t: Time, v: Tensor) -> Tensor:
    """The data from the state and the velocity: sqrt(alpha_bar_t) x_t - sqrt(1 - alpha_bar_t) v. Eq. (4.14)

    Example:
        >>> x0_from_v(Schedule([0.19]), torch.ones(1, 2), 1, torch.zeros(1, 2))
        tensor([[0.9000, 0.9000]])
    """
    t = check_states(schedule, t, xt=xt, v=v)
    return rates(schedule, t, xt).x0_from_v(xt, v)


def eps_from_v(schedule: Schedule, xt: Tensor, t: Time, v: Tensor) -> Tensor:
    """The noise from the state and the velocity: sqrt(1 - alpha_bar_t) x_t + sqrt(alpha_bar_t) v. Eq. (4.15)

    Example:
        >>> eps_from_v(Schedule([0.19]), torch.zeros(1, 2), 1, torch.ones(1, 2))
        tensor([[0.9000, 0.9000]])
    """
    t = check_states(schedule, t, xt=xt, v=v)
    return rates(schedule, t, xt).eps_from_v(xt, v)
