"""What a model is, the one place where one is asked, and what its answer means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from tinyddpm._checks import Time, check_callable, check_like
from tinyddpm._rates import Rates

Model: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # the predicted noise, from x_t (batch, ...) and t (batch,)
Predict: TypeAlias = Literal["eps", "x0", "v"]


def check_model(model: Model) -> None:
    """A callable; a class of networks is not one yet."""
    check_callable("model", model)
    if isinstance(model, type):
        raise TypeError("model is of type type, expected a callable")


def ask(model: Model, xt: Tensor, t: Time) -> Tensor:
    """The model's answer for x_t (batch, ...), which must have its shape; `t` is known to be in 1..T."""
    if not isinstance(t, Tensor):
        t = torch.full(xt.shape[:1], t, device=xt.device)
    elif not t.ndim:
        t = t.expand(xt.shape[:1])
    answer = model(xt, t)
    check_like("model(x_t, t)", answer, "x_t", xt)
    return answer


@dataclass
class Prediction:
    """A model, what it answers, and the range that its x_0 is cut off to. Of one answer, x_0 and eps need the same rates."""

    model: Model
    predict: Predict = "eps"
    clip: tuple[float, float] | None = None

    @classmethod
    def of(cls, model: Model | Prediction) -> Prediction:
        """A prediction as it is; another callable predicts the noise."""
        if isinstance(model, Prediction):
            return model
        check_model(model)
        return cls(model)

    @property
    def by_eps(self) -> bool:
        """Whether what follows is computed from eps as it is answered; else from x_0, which is cut off or nearer at hand."""
        return self.predict == "eps" and self.clip is None

    def x0(self, rates: Rates, xt: Tensor, answer: Tensor) -> Tensor:
        """The clean data that an answer stands for, after `clip`."""
        if self.predict == "eps":
            answer = rates.x0_from_eps(xt, answer)
        elif self.predict == "v":
            answer = rates.x0_from_v(xt, answer)
        return answer if self.clip is None else answer.clamp(*self.clip)

    def eps(self, rates: Rates, xt: Tensor, answer: Tensor) -> Tensor:
        """The noise that an answer stands for: where x_0 is cut off, the one that belongs to it."""
        if self.by_eps:
            return answer
        if self.clip is None and self.predict == "v":
            return rates.eps_from_v(xt, answer)
        return rates.eps_from_x0(xt, self.x0(rates, xt, answer))


@contextmanager
def in_mode(module: nn.Module, training: bool) -> Iterator[None]:
    """A module in training mode or out of it, for a while; afterwards each of its parts is as it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
