"""The reverse step: q(x_{t-1} | x_t, x_0) in closed form, the learned step, and x_0, eps and v turned into one another.

For a given x_t, to know the clean data x_0, the noise eps or the velocity v is to know all three: they are tied by
x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps and v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from tinyddpm._checks import Time, check_like, check_tensor, check_type
from tinyddpm.gaussian import Gaussian
from tinyddpm.schedule import Schedule

Variance: TypeAlias = Literal["beta", "beta_tilde"]


def q_posterior(schedule: Schedule, x0: Tensor, xt: Tensor, t: Time) -> Gaussian:
    """q(x_{t-1} | x_t, x_0), the reverse step for known data. Eq. (2.19); Ho et al. 2020, Eqs. 6 and 7

    At t = 1 it is certain: the mean is x_0, the variance 0.

    Args:
        schedule: the noise schedule, with T steps.
        x0: the data, a floating-point tensor (batch, ...).
        xt: the state after t steps, in the shape of `x0`.
        t: the step in 1..T: a LongTensor (batch,), or an integer for the whole batch.

    Returns:
        A Gaussian in the shape and on the device of `x0`, and in its dtype, if `xt` has the same.

    Raises:
        TypeError, ValueError: as for `q_step`; and xt has another shape than x0.

    Example:
        >>> import torch
        >>> q_posterior(Schedule([0.1, 0.2]), torch.ones(1, 2), torch.ones(1, 2), 2).var
        tensor([[0.0714, 0.0714]])
    """
    check_type("schedule", schedule, Schedule)
    check_tensor("x0", x0)
    check_like("xt", xt, "x0", x0)
    alpha, beta, noise, var = schedule.rows(("alpha", "beta", "one_minus_alpha_bar", "beta_tilde"), t, x0, "x0")
    signal_before, noise_before = schedule.rows(("alpha_bar", "one_minus_alpha_bar"), t, x0, back=1)
    from_x0, from_xt = signal_before.sqrt() * beta / noise, alpha.sqrt() * noise_before / noise
    mean = from_x0.to(x0) * x0 + from_xt.to(x0) * xt
    return Gaussian(mean, var.to(mean).expand_as(mean))


def p_step(schedule: Schedule, xt: Tensor, t: Time, eps: Tensor, variance: Variance = "beta") -> Gaussian:
    """p(x_{t-1} | x_t), the learned step, for a prediction `eps` of the noise in x_t. Eqs. (4.1) and (4.2)

    Its mean is the one of `q_posterior` for the x_0 that follows from `eps`: Ho et al. 2020, Eq. 11.

    Args:
        schedule: the noise schedule, with T steps.
        xt: the state after t steps, a floating-point tensor (batch, ...).
        t: the step in 1..T: a LongTensor (batch,), or an integer for the whole batch.
        eps: the prediction, in the shape of `xt`.
        variance: "beta" for the variance beta_t, or "beta_tilde" for beta_tilde_t and, as that is 0 at t = 1,
            beta_tilde_2 there (beta_1 if T = 1).

    Returns:
        A Gaussian in the shape and on the device of `xt`, and in its dtype, if `eps` has the same.

    Raises:
        TypeError, ValueError: as for `q_step`; eps has another shape than xt, or there is no such variance.

    Example:
        >>> import torch
        >>> p_step(Schedule([0.19]), torch.ones(1, 2), 1, torch.zeros(1, 2)).mean
        tensor([[1.1111, 1.1111]])
    """
    check_type("schedule", schedule, Schedule)
    check_tensor("xt", xt)
    check_like("eps", eps, "xt", xt)
    alpha, beta, noise = schedule.rows(("alpha", "beta", "one_minus_alpha_bar"), t, xt, "xt")
    mean = (xt - (beta / noise.sqrt()).to(xt) * eps) / _root(alpha, xt)
    return Gaussian(mean, reverse_variance(schedule, t, xt, variance, "xt").to(mean).expand_as(mean))


def reverse_variance(schedule: Schedule, t: Time, x: Tensor, variance: Variance, name: str = "x") -> Tensor:
    """sigma_t², the variance of the learned step, in float64 and shaped to multiply `x`. Arguments as for `p_step`."""
    if variance not in ("beta", "beta_tilde"):
        raise ValueError(f"variance = {variance!r} is not one of 'beta', 'beta_tilde'")
    beta = schedule.at("beta", t, x, name)
    if variance == "beta" or schedule.T == 1:
        return beta
    later = t.to(torch.int64).clamp(min=2) if isinstance(t, Tensor) else max(t, 2)  # t itself has been checked above
    return schedule.at("beta_tilde", later, x, name)


def x0_from_eps(schedule: Schedule, xt: Tensor, t: Time, eps: Tensor) -> Tensor:
    """The data from the state and its noise: (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t). Eq. (2.21)

    Args:
        schedule: the noise schedule, with T steps.
        xt: the state after t steps, a floating-point tensor (batch, ...).
        t: the step in 1..T: a LongTensor (batch,), or an integer for the whole batch.
        eps: the noise from x_0 to x_t, in the shape of `xt`.

    Returns:
        x_0, in the shape of `xt`. As sqrt(alpha_bar_t) falls, errors in `eps` grow in it.

    Raises:
        TypeError, ValueError: as for `q_step`; and eps has another shape than xt.

    Example:
        >>> import torch
        >>> x0_from_eps(Schedule([0.19]), torch.full((1, 2), 0.9), 1, torch.zeros(1, 2))
        tensor([[1., 1.]])
    """
    signal, noise = _rates(schedule, xt, t, "eps", eps)
    return (xt - noise * eps) / signal


def eps_from_x0(schedule: Schedule, xt: Tensor, t: Time, x0: Tensor) -> Tensor:
    """The noise from the state and the data: (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t). Eq. (1.16)

    Args, result and errors as for `x0_from_eps`, with the data `x0` for `eps`.

    Example:
        >>> import torch
        >>> eps_from_x0(Schedule([0.19]), torch.ones(1, 2), 1, torch.zeros(1, 2))
        tensor([[2.2942, 2.2942]])
    """
    signal, noise = _rates(schedule, xt, t, "x0", x0)
    return (xt - signal * x0) / noise


def v_from_eps(schedule: Schedule, xt: Tensor, t: Time, eps: Tensor) -> Tensor:
    """The velocity from the state and its noise: (eps - sqrt(1 - alpha_bar_t) x_t) / sqrt(alpha_bar_t). Eq. (4.13)

    Args, result and errors as for `x0_from_eps`. The velocity is from Salimans and Ho 2022, appendix D.

    Example:
        >>> import torch
        >>> v_from_eps(Schedule([0.19]), torch.zeros(1, 2), 1, torch.ones(1, 2))
        tensor([[1.1111, 1.1111]])
    """
    signal, noise = _rates(schedule, xt, t, "eps", eps)
    return (eps - noise * xt) / signal


def v_from_x0(schedule: Schedule, xt: Tensor, t: Time, x0: Tensor) -> Tensor:
    """The velocity from the state and the data: (sqrt(alpha_bar_t) x_t - x_0) / sqrt(1 - alpha_bar_t). Eq. (4.13)

    Args, result and errors as for `x0_from_eps`, with the data `x0` for `eps`.

    Example:
        >>> import torch
        >>> v_from_x0(Schedule([0.19]), torch.ones(1, 2), 1, torch.ones(1, 2))
        tensor([[-0.2294, -0.2294]])
    """
    signal, noise = _rates(schedule, xt, t, "x0", x0)
    return (signal * xt - x0) / noise


def x0_from_v(schedule: Schedule, xt: Tensor, t: Time, v: Tensor) -> Tensor:
    """The data from the state and the velocity: sqrt(alpha_bar_t) x_t - sqrt(1 - alpha_bar_t) v. Eq. (4.14)

    Args, result and errors as for `x0_from_eps`, with the velocity `v` for `eps`.

    Example:
        >>> import torch
        >>> x0_from_v(Schedule([0.19]), torch.ones(1, 2), 1, torch.zeros(1, 2))
        tensor([[0.9000, 0.9000]])
    """
    signal, noise = _rates(schedule, xt, t, "v", v)
    return signal * xt - noise * v


def eps_from_v(schedule: Schedule, xt: Tensor, t: Time, v: Tensor) -> Tensor:
    """The noise from the state and the velocity: sqrt(1 - alpha_bar_t) x_t + sqrt(alpha_bar_t) v. Eq. (4.15)

    Args, result and errors as for `x0_from_eps`, with the velocity `v` for `eps`.

    Example:
        >>> import torch
        >>> eps_from_v(Schedule([0.19]), torch.zeros(1, 2), 1, torch.ones(1, 2))
        tensor([[0.9000, 0.9000]])
    """
    signal, noise = _rates(schedule, xt, t, "v", v)
    return noise * xt + signal * v


def _rates(schedule: Schedule, xt: Tensor, t: Time, name: str, known: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), after a check of what stands beside them."""
    check_type("schedule", schedule, Schedule)
    check_tensor("xt", xt)
    check_like(name, known, "xt", xt)
    signal, noise = schedule.rows(("alpha_bar", "one_minus_alpha_bar"), t, xt, "xt")
    return _root(signal, xt), _root(noise, xt)


def _root(share: Tensor, x: Tensor) -> Tensor:
    """The root of a share of the variance, in the dtype of x; not 0 where rounding would make it so, because 0 / 0 is NaN."""
    limits = torch.finfo(x.dtype)
    return share.sqrt().to(x).clamp(min=limits.tiny * limits.eps)
