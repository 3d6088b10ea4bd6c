"""Loops by hand, plain and with diffusers: what tinyddpm is compared with."""

import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

LR, WARM_UP, EMA, MAX_GRAD_NORM = 2e-3, 100, 0.999, 1.0  # the defaults of td.fit


def optional(name: str) -> Any:
    """A module, or None if it is not installed."""
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def train(net: nn.Module, data: Tensor, steps: int, batch: int, loss_of: Callable[[Tensor], Tensor]) -> Tensor:
    """What `td.fit` does, in a loop by hand: the same rate, clipped gradient, Adam, moving average and record of the losses."""
    weights: list[Tensor] = [*net.parameters()]
    optimizer = torch.optim.Adam(weights, LR)
    averages = [w.detach().clone() for w in weights]
    losses = torch.zeros(steps, device=data.device)
    for step in range(steps):
        loss = loss_of(data[torch.randint(len(data), (batch,), device=data.device)])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, MAX_GRAD_NORM)
        optimizer.param_groups[0]["lr"] = LR * min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, weights, 1 - min(EMA, (1 + step) / (10 + step)))
        losses[step] = loss.detach()
    with torch.no_grad():
        torch._foreach_copy_(weights, averages)
    return losses


def diffusers_scheduler(T: int, variance_type: str) -> Any:
    """The DDPMScheduler that is td.Schedule.cosine(T); its variance "fixed_large" is beta, "fixed_small" is beta_tilde."""
    return optional("diffusers").DDPMScheduler(
        num_train_timesteps=T, beta_schedule="squaredcos_cap_v2", variance_type=variance_type, clip_sample=False
    )


def diffusers_loss(scheduler: Any, net: Callable[[Tensor, Tensor], Tensor], x0: Tensor) -> Tensor:
    """The mean squared error of the predicted noise; t runs 0..T-1 there."""
    t = torch.randint(scheduler.config.num_train_timesteps, (len(x0),), device=x0.device)
    eps = torch.randn_like(x0)
    return F.mse_loss(net(scheduler.add_noise(x0, eps, t), t), eps)


@torch.no_grad()
def diffusers_sample(scheduler: Any, net: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
    """From noise to data, by all steps."""
    scheduler.set_timesteps(scheduler.config.num_train_timesteps)
    for t in scheduler.timesteps:
        eps = net(x, torch.full((len(x),), int(t), device=x.device))
        x = scheduler.step(eps, t, x).prev_sample
    return x
