"""From noise to data: the learned reverse process, step by step or in few steps (the chapter of that name).

A sampler is two columns of numbers: how much of the state each of its steps keeps, and how much fresh noise it adds. The rest is
the one loop, `_walk`.
"""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor

from tinyddpm._checks import check_batch, check_callable, check_choice, check_count, check_generator, check_number, check_type
from tinyddpm._model import Model, Prediction
from tinyddpm._walk import Callback, Steps, log_ratio, walk
from tinyddpm.posterior import Variance, reverse_variance
from tinyddpm.schedule import Schedule


def sample(
    schedule: Schedule, model: Model | Prediction, x_T: Tensor, variance: Variance = "beta", *,
    generator: torch.Generator | None = None, callback: Callback | None = None, progress: bool = False,
) -> Tensor:  # fmt: skip
    """Ancestral sampling, Algorithm 2: one draw of x_{t-1} for each t = T, ..., 2, and the mean at t = 1. Eq. (6.1)

    Each draw is one of `p_step`. Ho et al. 2020, Algorithm 2.

    Args:
        model: a callable that predicts the noise: model(x_t, t) is like x_t, for a LongTensor t (batch,). It leaves x_t as it is.
        x_T: the start, pure noise, (batch, ...). What is returned, x_0, is in its shape, dtype and device.
        variance: the variance of the steps, as for `p_step`.
        callback: called with t and x_t for each state, from T and x_T down to 0 and x_0.

    Raises:
        FloatingPointError: the model returns NaN or an infinity; the message says at which t. It comes up to an eighth of the
            run later, so that a GPU is seldom waited for, and not under torch.compile and torch.func.vmap, where no value can
            be looked at.

    Example:
        >>> sample(Schedule([0.19]), lambda xt, t: 0 * xt, torch.ones(1, 2))
        tensor([[1.1111, 1.1111]])
    """
    prediction = Prediction.of(model)
    _check(schedule, x_T, generator, callback)
    check_choice("variance", variance, get_args(Variance))
    beta, alpha, lost, t = (
        schedule.beta,
        schedule.alpha,
        schedule.one_minus_alpha_bar,
        torch.arange(1, schedule.T + 1, device="cpu"),
    )
    share = beta[1:] / lost[1:].sqrt()  # of eps in Eq. (6.1)
    keep = alpha[1:].sqrt() * lost[:-1] / lost[1:]  # the same in the words of x_0: of x_t in the posterior's mean, Eq. (2.19)
    fresh = reverse_variance(schedule, t, t, variance).sqrt()
    return walk(schedule, prediction, x_T, Steps([*range(schedule.T + 1)], keep, fresh, share), generator, callback, progress)


def sample_ddim(
    schedule: Schedule, model: Model | Prediction, x_T: Tensor, steps: int = 50, eta: float = 0.0, *,
    generator: torch.Generator | None = None, callback: Callback | None = None, progress: bool = False,
) -> Tensor:  # fmt: skip
    """Sampling in fewer steps (DDIM): from t to an earlier time s, through the x_0 that the model sees. Eqs. (6.7) and (6.9)

    With eta = 0 nothing is random but `x_T`. With eta = 1 and `steps` = T it is `sample` with the variance
    "beta_tilde". Song et al. 2021, Eqs. 12 and 16. Errors are as for `sample`.

    Args:
        model, x_T, callback: as for `sample`; the states are those of the `ddim_times`.
        steps: how many steps to take, 1..T.
        eta: how much of the noise of the ancestral sampler to add, 0 to 1.

    Example:
        >>> sample_ddim(Schedule([0.19, 0.5]), lambda xt, t: 0 * xt, torch.ones(1, 2), steps=1)
        tensor([[1.5713, 1.5713]])
    """
    prediction = Prediction.of(model)
    _check(schedule, x_T, generator, callback)
    if not 0 <= check_number("eta", eta, -math.inf, math.inf) <= 1:
        raise ValueError(f"eta = {eta} is outside 0..1")
    times = ddim_times(schedule.T, steps)
    noise, fresh = schedule._noise[times], None
    old = noise[:-1]  # the noise of x_s is what is kept of that of x_t and what is new
    if eta:
        fresh = eta * noise[:-1] / noise[1:] * (-log_ratio(schedule, times).expm1()).sqrt()
        old = (old**2 - fresh**2).clamp(min=0).sqrt()
    return walk(schedule, prediction, x_T, Steps(times, old / noise[1:], fresh), generator, callback, progress)


def ddim_times(T: int, steps: int) -> list[int]:
    """The times at which `sample_ddim` stops: `steps` + 1 of them, from 0 to T, as evenly as whole numbers allow.

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
