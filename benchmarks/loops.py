"""Loops by hand, plain and with diffusers: what tinyddpm is compared with."""

import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import tinyddpm as td

FIT = {name: parameter.default for name, parameter in inspect.signature(td.fit).parameters.items()}


def optional(name: str) -> Any:
    """A module, or None if it is not installed."""
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def train(net: nn.Module, data: Tensor, steps: int, batch: int, loss_of: Callable[[Tensor], Tensor]) -> Tensor:
    """What `td.fit` does, in a loop by hand: the same rate, clipped gradient, Adam, moving average and record of the losses."""
    weights: list[Tensor] = [*net.parameters()]
    optimizer = torch.optim.Adam(weights, FIT["lr"], fused=True)
    averages = [w.detach().clone() for w in weights]
    losses = torch.zeros(steps, device=data.device)
    for step in range(steps):
        loss = loss_of(data[torch.randint(len(data), (batch,), device=data.device)])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, FIT["max_grad_norm"])
        rate = min(1, (step + 1) / td.engine.WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.param_groups[0]["lr"] = FIT["lr"] * rate
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, weights, 1 - min(FIT["ema"], (1 + step) / (10 + step)))
        losses[step] = loss.detach()
    with torch.no_grad():
        torch._foreach_copy_(weights, averages)
    return losses


class ByHand:
    """Loss and samplers written out for one network, with numbers that are computed once; no checks, no looks for NaN."""

    def __init__(
        self, net: nn.Module, schedule: td.Schedule, predict: str = "eps", clip: tuple[float, float] | None = None
    ) -> None:
        self.net, self.predict, self.clip, self.T = net, predict, clip, schedule.T
        bar, lost, beta, alpha = schedule.alpha_bar, schedule.one_minus_alpha_bar, schedule.beta, schedule.alpha
        device = next(net.parameters()).device
        self.signal_of, self.noise_of = bar.sqrt().float().to(device), lost.sqrt().float().to(device)
        self.signal, self.noise = bar.sqrt().tolist(), lost.sqrt().tolist()
        self.share, self.grow, self.std = (beta / lost.sqrt()).tolist(), alpha.rsqrt().tolist(), beta.sqrt().tolist()
        self.from_x0 = [0.0, *(bar[:-1].sqrt() * beta[1:] / lost[1:]).tolist()]
        self.from_xt = [0.0, *(alpha[1:].sqrt() * lost[:-1] / lost[1:]).tolist()]

    def loss(self, x0: Tensor) -> Tensor:
        """Algorithm 1: the mean squared error of what is predicted."""
        t = torch.randint(1, self.T + 1, (len(x0),), device=x0.device)
        eps = torch.randn_like(x0)
        shape = (-1, *[1] * (x0.ndim - 1))
        signal, noise = self.signal_of[t].view(shape), self.noise_of[t].view(shape)
        answer = self.net(signal * x0 + noise * eps, t)
        return F.mse_loss(answer, eps if self.predict == "eps" else x0 if self.predict == "x0" else signal * eps - noise * x0)

    def x0(self, x: Tensor, answer: Tensor, t: int) -> Tensor:
        """The clean data that an answer stands for, cut off."""
        if self.predict == "eps":
            answer = (x - self.noise[t] * answer) / self.signal[t]
        elif self.predict == "v":
            answer = self.signal[t] * x - self.noise[t] * answer
        return answer if self.clip is None else answer.clamp(*self.clip)

    @torch.no_grad()
    def sample(self, x: Tensor) -> Tensor:
        """Algorithm 2, by eps or by x_0, whichever is nearer to what is predicted."""
        for t in range(self.T, 0, -1):
            answer = self.net(x, torch.full((len(x),), t, device=x.device))
            if self.predict == "x0" or self.clip:
                x = self.from_x0[t] * self.x0(x, answer, t) + self.from_xt[t] * x
            else:
                eps = answer if self.predict == "eps" else self.noise[t] * x + self.signal[t] * answer
                x = (x - self.share[t] * eps) * self.grow[t]
            if t > 1:
                x = x + self.std[t] * torch.randn_like(x)
        return x

    @torch.no_grad()
    def sample_ddim(self, x: Tensor, times: list[int]) -> Tensor:
        """DDIM without noise."""
        for t, s in zip(times[:0:-1], times[-2::-1], strict=True):
            answer = self.net(x, torch.full((len(x),), t, device=x.device))
            x0 = self.x0(x, answer, t)
            if self.predict == "x0" or self.clip:
                eps = (x - self.signal[t] * x0) / self.noise[t]
            else:
                eps = answer if self.predict == "eps" else self.noise[t] * x + self.signal[t] * answer
            x = self.signal[s] * x0 + self.noise[s] * eps
        return x


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
