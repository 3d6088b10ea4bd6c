"""The one loop of every sampler: from x_T down to x_0. In each step, from t to an earlier time s,

    x_s = keep x_t + (sqrt(alpha_bar_s) - keep sqrt(alpha_bar_t)) x_0 + fresh z,

with the x_0 that the model sees and new noise z: some of the state stays, and as much x_0 comes as the signal of x_s lacks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from tinyddpm._checks import values_can_be_read
from tinyddpm._model import Prediction, ask
from tinyddpm._progress import bar
from tinyddpm._random import default_generator, standard_normal
from tinyddpm._rates import Rates, not_0
from tinyddpm.schedule import Schedule

Callback: TypeAlias = Callable[[int, Tensor], object]  # called with t and x_t
LOOKS = 8  # how often in a run the states are looked at, which on a GPU means to wait for it


class Steps(NamedTuple):
    """The steps of a sampler: step i leads from times[i + 1] to times[i]."""

    times: list[int]  # 0, ..., T
    keep: Tensor
    fresh: Tensor | None  # None: nothing is drawn


def walk(
    schedule: Schedule, prediction: Prediction, x: Tensor, walked: Steps, generator: torch.Generator | None,
    callback: Callback | None, progress: bool,
) -> Tensor:  # fmt: skip
    """The loop of every sampler."""
    times, keep, fresh = walked
    steps, clipped = len(times) - 1, prediction.clip is not None
    signal, noise = schedule._signal[times], schedule._noise[times[1:]]
    signal, lacks = signal[1:], signal[:-1] - keep * signal[1:]
    # The step in the words of the answer, so that nothing is turned into x_0 that need not be: x_s = stays x_t + comes answer.
    if clipped or prediction.predict == "x0":
        stays, comes = keep, lacks
    elif prediction.predict == "v":
        stays, comes = keep + lacks * signal, -lacks * noise
    else:
        stays = (-log_ratio(schedule, times) / 2).exp()  # the ratio of the signals, which may both be 0
        comes = (keep - stays) * noise
    stay, come, new = _numbers(stays), _numbers(comes), None if fresh is None else _numbers(fresh)
    at = [*map(Rates, _numbers(not_0(signal, schedule, x.dtype)), _numbers(noise))] if clipped else []

    def answered(i: int, x: Tensor) -> Tensor:
        answer = ask(prediction.model, x, times[i + 1]).to(x.dtype)
        return prediction.x0(at[i], x, answer) if clipped else answer

    def moved(i: int, x: Tensor, answer: Tensor) -> Tensor:
        x = _plus(x * stay[i], answer, come[i])
        return x if new is None or i == 0 else _plus(x, standard_normal(x, generator), new[i])  # the last step adds no noise

    def blame(i: int, found: Tensor, j: int, x: Tensor, state: Tensor) -> None:
        """Walks once more from where all was well, step j, to what was found in step i, with a look at each answer."""
        source.set_state(state)
        for k in range(j - 1, i - 1, -1):
            answer = answered(k, x)
            if bad := int((~answer.isfinite()).sum()):
                many = f"{bad} of {answer.numel()} elements that are NaN or infinite"
                raise FloatingPointError(f"model(x_t, t) has {many}, at t = {times[k + 1]}")
            x = moved(k, x, answer)
        if not torch.allclose(x, found, rtol=0, atol=0, equal_nan=True):  # else the answers were finite, and x_t left its dtype
            raise FloatingPointError(f"model(x_t, t) had a NaN or an infinity, at a t in {times[i + 1]}..{times[j]}")

    source = generator or default_generator(x.device)
    well = (steps, x, source.get_state()) if values_can_be_read(x) else None
    with torch.no_grad():
        for i in bar(range(steps - 1, -1, -1), progress, "sampling"):
            if callback is not None:
                callback(times[i + 1], x)
            x = moved(i, x, answered(i, x))
            if (i % max(1, steps // LOOKS) == 0 or i == steps - 1) and values_can_be_read(x):
                if well and not _finite(x):
                    blame(i, x, *well)
                well = i, x, source.get_state()
    if callback is not None:
        callback(0, x)
    return x


def log_ratio(schedule: Schedule, times: Sequence[int]) -> Tensor:
    """log(alpha_bar_t / alpha_bar_s) for neighbouring times: from it follows 1 minus the ratio without cancellation."""
    way = torch.bucketize(torch.arange(1, schedule.T + 1, device="cpu"), torch.tensor(times, device="cpu")) - 1
    nothing = torch.zeros(len(times) - 1, dtype=torch.float64, device="cpu")
    return nothing.index_add(0, way, torch.log1p(-schedule.beta[1:]))


def _plus(x: Tensor, y: Tensor, factor: float | Tensor) -> Tensor:
    return x + y * factor if isinstance(factor, Tensor) else torch.add(x, y, alpha=factor)  # in one pass


def _numbers(table: Tensor) -> Sequence[float] | Sequence[Tensor]:
    """The entries as floats; where no value can be read, as tensors of one number each: torch.compile traces no float from those.

    They stand second in a product: only there are such tensors, like floats, not rounded first to the 16 bits of another factor.
    """
    return table.tolist() if values_can_be_read(table) else table.unbind()


def _finite(x: Tensor) -> bool:
    # One sum tells of almost every finite tensor that it is finite, at a fraction of the cost of a look at each element.
    return math.isfinite(x.sum()) or bool(x.isfinite().all())
