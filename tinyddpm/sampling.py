"""From noise to data: the learned reverse process, step by step or in few steps (the chapter of that name)."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor

from tinyddpm._checks import check_batch, check_callable, check_count, check_generator, check_number, check_type, values_can_be_read
from tinyddpm._model import Model, ask
from tinyddpm._progress import bar
from tinyddpm.gaussian import standard_normal
from tinyddpm.posterior import Variance, reverse_variance
from tinyddpm.schedule import Schedule

Callback: TypeAlias = Callable[[int, Tensor], object]  # called with t and x_t


def sample(
    schedule: Schedule,
    model: Model,
    x_T: Tensor,
    variance: Variance = "beta",
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> Tensor:
    """Ancestral sampling, Algorithm 2: one draw of x_{t-1} for each t = T, ..., 2, and the mean at t = 1. Eq. (6.1)

    Each draw is one of `p_step`. Ho et al. 2020, Algorithm 2.

    Args:
        schedule: the noise schedule, with T steps.
        model: a callable; model(x_t, t) predicts the noise in x_t, in its shape, for a LongTensor t (batch,). It must leave
            x_t as it is.
        x_T: the start, pure noise: a floating-point tensor (batch, ...), which also gives dtype and device.
        variance: the variance of the steps, "beta" or "beta_tilde", as for `p_step`.
        generator: where the noise of the steps comes from; without it, PyTorch's default generator.
        callback: called with t and x_t for each state, from T and x_T down to 0 and x_0.
        progress: whether to show a progress bar (needs tqdm).

    Returns:
        x_0, in the shape of `x_T`.

    Raises:
        TypeError, ValueError: as for `p_step`; the model returns no floating-point tensor in the shape of x_t.
        FloatingPointError: the model returns NaN or an infinity; the message says at which t. Under torch.compile and
            torch.func.vmap, where no value can be looked at, it is not raised.

    Example:
        >>> sample(Schedule([0.19]), lambda xt, t: 0 * xt, torch.ones(1, 2))
        tensor([[1.1111, 1.1111]])
    """
    _check(schedule, x_T, generator, callback)
    steps = torch.arange(schedule.T + 1, device="cpu").clamp(min=1)  # row 0 of each table is never used
    # Tensors of one number each, as torch.compile can trace no float from a tensor. They stand second in a product: only
    # there are they, like floats, not rounded first to the 16 bits of another factor.
    shrink = schedule.alpha.sqrt().unbind()
    share = (schedule.beta / schedule.one_minus_alpha_bar.sqrt()).unbind()
    std = reverse_variance(schedule, steps, steps, variance).sqrt().unbind()
    x = x_T
    with torch.no_grad():
        for t in bar(range(schedule.T, 0, -1), progress, "sampling"):
            if callback is not None:
                callback(t, x)
            x = (x - _finite(ask(model, x, t), t, x) * share[t]) / shrink[t]
            if t > 1:  # the last step adds no noise
                x = x + standard_normal(x, generator) * std[t]
    if callback is not None:
        callback(0, x)
    return x


def sample_ddim(
    schedule: Schedule,
    model: Model,
    x_T: Tensor,
    steps: int = 50,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> Tensor:
    """Sampling in fewer steps (DDIM): from t to an earlier time s, through the x_0 that the model sees. Eqs. (6.7) and (6.9)

    With eta = 0 nothing is random but `x_T`. With eta = 1 and `steps` = T it is `sample` with the variance
    "beta_tilde". Song et al. 2021, Eqs. 12 and 16.

    Args:
        schedule: the noise schedule, with T steps.
        model, x_T, generator, callback, progress: as for `sample`; the states are those of the `ddim_times`.
        steps: how many steps to take, 1..T.
        eta: how much of the noise of the ancestral sampler to add, 0 to 1.

    Returns:
        x_0, in the shape of `x_T`.

    Raises:
        TypeError, ValueError, FloatingPointError: as for `sample`; and steps is outside 1..T, or eta outside 0..1.

    Example:
        >>> sample_ddim(Schedule([0.19, 0.5]), lambda xt, t: 0 * xt, torch.ones(1, 2), steps=1)
        tensor([[1.5713, 1.5713]])
    """
    _check(schedule, x_T, generator, callback)
    if not 0 <= check_number("eta", eta, -math.inf, math.inf) <= 1:
        raise ValueError(f"eta = {eta} is outside 0..1")
    times = ddim_times(schedule.T, steps)
    noises = schedule.one_minus_alpha_bar[times].sqrt()
    # The log of alpha_bar_t / alpha_bar_s, from which follows 1 minus that ratio without cancellation.
    left = torch.stack([torch.log1p(-schedule.beta[s + 1 : t + 1]).sum() for s, t in pairwise(times)])
    fresh_ones = eta * noises[:-1] / noises[1:] * (-left.expm1()).sqrt()
    old_ones = (noises[:-1] ** 2 - fresh_ones**2).clamp(min=0).sqrt()
    noise, grow, fresh, old = (table.unbind() for table in (noises, (-left / 2).exp(), fresh_ones, old_ones))  # as in `sample`
    x = x_T
    with torch.no_grad():
        for i in bar(range(steps, 0, -1), progress, "sampling"):
            t = times[i]
            if callback is not None:
                callback(t, x)
            eps = _finite(ask(model, x, t), t, x)
            # sqrt(alpha_bar_s) x_0 for the x_0 that the model sees, which itself may be beyond the dtype; and the noise in it.
            x = (x - eps * noise[i]) * grow[i - 1] + eps * old[i - 1]
            if eta > 0 and i > 1:  # the last step adds no noise
                x = x + standard_normal(x, generator) * fresh[i - 1]
    if callback is not None:
        callback(0, x)
    return x


def ddim_times(T: int, steps: int) -> list[int]:
    """The times at which `sample_ddim` stops: `steps` + 1 of them, from 0 to T, as evenly as whole numbers allow.

    Raises:
        TypeError, ValueError: steps is not an integer in 1..T.

    Example:
        >>> ddim_times(1000, 4)
        [0, 250, 500, 750, 1000]
    """
    if check_count("steps", steps) > T:
        raise ValueError(f"steps = {steps} is above T = {T}")
    return [T * i // steps for i in range(steps + 1)]


def _check(schedule: Schedule, x_T: Tensor, generator: torch.Generator | None, callback: Callback | None) -> None:
    check_type("schedule", schedule, Schedule)
    check_batch("x_T", x_T)
    check_generator(generator)
    if callback is not None:
        check_callable("callback", callback)


def _finite(eps: Tensor, t: int, x: Tensor) -> Tensor:
    # One sum tells of almost every finite tensor that it is finite, at a fraction of the cost of a look at each element.
    if values_can_be_read(eps) and not math.isfinite(eps.sum()) and not eps.isfinite().all():
        bad = int((~eps.isfinite()).sum())
        raise FloatingPointError(f"model(x_t, t) has {bad} of {eps.numel()} elements that are NaN or infinite, at t = {t}")
    return eps.to(x.dtype)
