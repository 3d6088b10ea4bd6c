"""What a model is, and the one place where one is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

from tinyddpm._checks import Time, check_callable, check_like

Model: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # the predicted noise, from x_t (batch, ...) and t (batch,)


def ask(model: Model, xt: Tensor, t: Time) -> Tensor:
    """The model's answer for x_t (batch, ...), which must have its shape; `t` is known to be in 1..T."""
    check_callable("model", model)
    if not isinstance(t, Tensor):
        t = torch.full(xt.shape[:1], t, device=xt.device)
    answer = model(xt, t)
    check_like("model(x_t, t)", answer, "x_t", xt)
    return answer


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
