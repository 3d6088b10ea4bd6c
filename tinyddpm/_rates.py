"""x_t = signal x_0 + noise eps: how much of a state is data and how much is noise, and the equation solved for each part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from tinyddpm._checks import Time, check_like, check_tensor, check_time, check_type
from tinyddpm.schedule import Schedule

Rate: TypeAlias = Tensor | float
SMALLEST = {  # the smallest number above 0 of each dtype
    dtype: torch.finfo(dtype).tiny * torch.finfo(dtype).eps
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
}


@dataclass
class Rates:
    """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), neither of them 0, to multiply x_t and to divide it.

    Whoever has them has looked at the schedule, the state and t: nothing here looks again. Beside x_0 and eps stands the velocity
    v = signal eps - noise x_0, which turns as x_t does: Eq. (4.13).
    """

    signal: Rate
    noise: Rate

    def mix(self, x0: Tensor, eps: Tensor) -> Tensor:
        """x_t: Eq. (1.16)."""
        return self.signal * x0 + self.noise * eps

    def v(self, x0: Tensor, eps: Tensor) -> Tensor:
        """The velocity from what is mixed: nothing cancels, as it would with x_t."""
        return self.signal * eps - self.noise * x0

    def x0_from_eps(self, xt: Tensor, eps: Tensor) -> Tensor:
        """Eq. (2.21)."""
        return (xt - self.noise * eps) / self.signal

    def x0_from_v(self, xt: Tensor, v: Tensor) -> Tensor:
        """Eq. (4.14)."""
        return self.signal * xt - self.noise * v

    def eps_from_x0(self, xt: Tensor, x0: Tensor) -> Tensor:
        """Eq. (1.16), solved for eps."""
        return (xt - self.signal * x0) / self.noise

    def eps_from_v(self, xt: Tensor, v: Tensor) -> Tensor:
        """Eq. (4.15)."""
        return self.noise * xt + self.signal * v

    def v_from_eps(self, xt: Tensor, eps: Tensor) -> Tensor:
        """Eq. (4.13)."""
        return (eps - self.noise * xt) / self.signal

    def v_from_x0(self, xt: Tensor, x0: Tensor) -> Tensor:
        """Eq. (4.13)."""
        return (self.signal * xt - x0) / self.noise


def rates(schedule: Schedule, t: Time, x: Tensor) -> Rates:
    """The rates at t, as `check_time` returns it, shaped to multiply a tensor `x` of as many rows and in its dtype."""
    both = schedule._table("_both32" if x.dtype == torch.float32 else "_both", x.device)
    if isinstance(t, Tensor) and t.ndim:
        both = both.index_select(1, t).to(x.dtype).view(2, -1, *[1] * (x.ndim - 1))
    else:
        both = both.index_select(1, torch.as_tensor(t, device=x.device).reshape(1)).to(x.dtype).view(2)
    return Rates(*not_0(both, schedule, x.dtype).unbind())


def not_0(rate: Tensor, schedule: Schedule, dtype: torch.dtype) -> Tensor:
    """Where so little signal or noise is left that the dtype makes it 0: the smallest number instead, because 0 / 0 is NaN."""
    may_be_0 = torch.compiler.is_compiling() or schedule._least < SMALLEST[dtype]  # a graph shall serve for every schedule
    return rate.clamp(min=SMALLEST[dtype]) if may_be_0 else rate


def check_states(schedule: Schedule, t: Time, **tensors: Tensor) -> int | Tensor:
    """The border of most functions: a schedule, a tensor and others like it, and steps for its rows, which are returned."""
    check_type("schedule", schedule, Schedule)
    (name, first), *others = tensors.items()
    check_tensor(name, first)
    for other, value in others:
        check_like(other, value, name, first)
    return check_time(t, schedule.T, name, first)
