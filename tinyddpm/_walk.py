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
WIDE = (torch.float32, torch.float64)


class Steps(NamedTuple):
    """The steps of a sampler: step i leads from t = times[i + 1] to s = times[i]."""

    times: list[int]  # 0, ..., T
    keep: Tensor  # of x_t
    fresh: Tensor | None  # the standard deviation of the new noise; None: there is none
    share: Tensor | None = None  # of eps, where x_s is (x_t - share eps) / sqrt(alpha_t), as for neighbouring times: Eq. (6.1)


def walk(
    schedule: Schedule, prediction: Prediction, x: Tensor, steps: Steps, generator: torch.Generator | None,
    callback: Callback | None, progress: bool,
) -> Tensor:  # fmt: skip
    """From x_T to x_0."""
    times, count = steps.times, len(steps.times) - 1
    step = _Step(schedule, prediction, steps, x, generator)
    watch = _Watch(step, times, x, generator)
    with torch.no_grad():
        for i in bar(range(count - 1, -1, -1), progress, "sampling"):
            if callback is not None:
                callback(times[i + 1], x)
            x = step.move(i, x, step.ask(i, x))
            if i % max(1, count // LOOKS) == 0 or i == count - 1:
                watch.look(i, x)
    if callback is not None:
        callback(0, x)
    return x


class _Step:
    """Each step in numbers: by eps where the model predicts that, else by x_0, so that no way goes back and forth."""

    def __init__(
        self, schedule: Schedule, prediction: Prediction, steps: Steps, x: Tensor, generator: torch.Generator | None
    ) -> None:
        self.prediction, self.by_eps, self.times, self.generator = prediction, prediction.by_eps, steps.times, generator
        self.fresh, self.back = None if steps.fresh is None else _numbers(steps.fresh), None
        both = schedule._both[:, steps.times]
        signal, noise = both[0], both[1, 1:]
        if self.by_eps:
            # x_0 may be beyond the dtype where little signal is left, sqrt(alpha_bar_s) x_0 = (x_t - noise eps) grow is not.
            self.grow = _numbers((-log_ratio(schedule, steps.times) / 2).exp())
            self.take = _numbers(noise if steps.share is None else steps.share)
            self.back = _numbers(steps.keep * noise) if steps.share is None else None
        else:
            self.keep, self.come = _numbers(steps.keep), _numbers(signal[:-1] - steps.keep * signal[1:])
            self.rates = [*map(Rates, *map(_numbers, not_0(both[:, 1:], schedule, x.dtype)))]

    def ask(self, i: int, x: Tensor) -> Tensor:
        """What the model answers in step i: eps, or the x_0 that it stands for."""
        answer = ask(self.prediction.model, x, self.times[i + 1]).to(x.dtype)
        return answer if self.by_eps else self.prediction.x0(self.rates[i], x, answer)

    def move(self, i: int, x: Tensor, answer: Tensor) -> Tensor:
        """x_s from x_t and that answer."""
        if self.by_eps:
            x = _plus(x, answer, -self.take[i]) * self.grow[i]  # what nearly cancels comes first
            x = x if self.back is None else _plus(x, answer, self.back[i])
        else:
            x = _plus(x * self.keep[i], answer, self.come[i])
        if self.fresh is None or i == 0:  # the last step adds no noise
            return x
        return _plus(x, standard_normal(x, self.generator), self.fresh[i])


class _Watch:
    """Looks at some of the states. What is found bad is walked once more, with a look at each answer, to name its t."""

    def __init__(self, step: _Step, times: list[int], x: Tensor, generator: torch.Generator | None) -> None:
        self.step, self.times, self.source = step, times, generator or default_generator(x.device)
        self.well = (len(times) - 1, x, self.source.get_state()) if values_can_be_read(x) else None  # where all was well

    def look(self, i: int, x: Tensor) -> None:
        """Raises an error if x, after step i, is not finite because the model's answer was not."""
        if self.well is None or not values_can_be_read(x):
            return
        # One sum tells of almost every finite tensor that it is finite, at a fraction of the cost of a look at each element.
        if math.isfinite(x.sum()) or x.isfinite().all():
            self.well = i, x, self.source.get_state()
        else:
            self.blame(i, x)
            self.well = None  # the answers were finite: x has left its dtype, or the start was not finite

    def blame(self, i: int, found: Tensor) -> None:
        """Raises the error, unless all answers up to step i are finite and lead to what was found."""
        assert self.well is not None
        j, x, state = self.well
        self.source.set_state(state)
        for k in range(j - 1, i - 1, -1):
            answer = self.step.ask(k, x)
            if bad := int((~answer.isfinite()).sum()):
                many = f"{bad} of {answer.numel()} elements that are NaN or infinite"
                raise FloatingPointError(f"model(x_t, t) has {many}, at t = {self.times[k + 1]}")
            x = self.step.move(k, x, answer)
        if not torch.allclose(x, found, rtol=0, atol=0, equal_nan=True):  # the model answers differently each time
            raise FloatingPointError(f"model(x_t, t) had a NaN or an infinity, at a t in {self.times[i + 1]}..{self.times[j]}")


def log_ratio(schedule: Schedule, times: Sequence[int]) -> Tensor:
    """log(alpha_bar_t / alpha_bar_s) for neighbouring times: from it follows 1 minus the ratio without cancellation."""
    way = torch.bucketize(torch.arange(1, schedule.T + 1, device="cpu"), torch.tensor(times, device="cpu")) - 1
    nothing = torch.zeros(len(times) - 1, dtype=torch.float64, device="cpu")
    return nothing.index_add(0, way, torch.log1p(-schedule.beta[1:]))


def _plus(x: Tensor, y: Tensor, factor: float | Tensor) -> Tensor:
    """x + factor y: in one pass where that does not round the factor first, as it does in 16 bits."""
    if isinstance(factor, float) and x.dtype in WIDE:
        return torch.add(x, y, alpha=factor)
    return x + y * factor


def _numbers(table: Tensor) -> Sequence[float] | Sequence[Tensor]:
    """The entries as floats; where no value can be read, as tensors of one number each: torch.compile traces no float from those.

    They stand second in a product: only there are such tensors, like floats, not rounded first to the 16 bits of another factor.
    """
    return table.tolist() if values_can_be_read(table) else table.unbind()
