"""Training: Algorithm 1 (the chapter of that name). What a run needs around it is the engine's."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tinyddpm import engine
from tinyddpm._checks import check_examples, check_finite, check_number, check_type
from tinyddpm._registry import describe, unwrapped
from tinyddpm.checkpoint import Where
from tinyddpm.guidance import condition_of

if TYPE_CHECKING:
    from tinyddpm.ddpm import DDPM


def fit(
    ddpm: DDPM,
    x0: Tensor,
    steps: int = 3000,
    batch_size: int = 256,
    lr: float = 2e-3,
    ema: float = 0.999,
    seed: int = 0,
    *,
    checkpoint: Where | None = None,
    resume: Where | None = None,
    progress: bool = True,
    max_grad_norm: float = 1.0,
    save_every: int = 1000,
    device: torch.device | str | None = None,
    mixed_precision: bool | None = None,
    c: Any = None,
    drop: float = 0.1,
) -> Tensor:
    """Trains a DDPM: Algorithm 1 with Adam, `steps` times. Eq. (5.1); Ho et al. 2020, Algorithm 1

    The learning rate rises over the first 100 steps and then falls to 0 along half a cosine. Afterwards the network has
    the exponential moving average of its weights, which samples better than the last ones, and is where it was before.

    All randomness comes from `seed`: the same call gives the same weights, bit for bit, on the same machine. A run that
    was killed and goes on from its checkpoint ends in the same weights too, but on the way the last steps are done again.

    Under `torchrun`, each process takes its part of every batch, so that their number changes only the rounding.

    Args:
        ddpm: what to train: its network, a module, changes.
        x0: the data, a floating-point tensor (n, ...), n at least 1. Batches are drawn from it with replacement.
        steps: how many steps in all; after `resume`, those before included.
        batch_size: the examples in one step, over all processes.
        lr: the highest learning rate.
        ema: the decay of the moving average, 0 or more and below 1; 0 keeps the last weights. In the first steps it is lower:
            (1 + step) / (10 + step).
        seed: an integer in 0..2**63 - 1.
        checkpoint: a folder for checkpoints: one now, one every `save_every` steps and one at the end, each in the
            place of the one before. `load` reads it.
        resume: the folder of a checkpoint to go on from, of a run with the same arguments; `steps` may differ.
        progress: whether to show a bar with the loss (needs tqdm).
        max_grad_norm: a gradient with a larger norm is cut to this norm.
        save_every: see `checkpoint`.
        device: where to train. Without it, on the GPU if there is one, else where the network is.
        mixed_precision: whether the network computes in bfloat16. Without it, on a GPU that is able to.
        c: what a network with a condition, such as `Labels`, is told of each example: its label, (n,) in 0, ..., classes - 1.
            Without it, such a network is told nothing in each step.
        drop: for which share of the examples c is forgotten, drawn anew in each step, so that the network also learns to be told
            nothing: guidance compares the two. 0 never forgets, for a network that is to be used with guidance 1 alone.

    Returns:
        The loss of each step, float32 (steps,) on the CPU, those before `resume` included.

    Raises:
        ValueError: the checkpoint to resume is damaged, or of another run, network or schedule, or of other labels; the network
            knows no condition, or there is not one label for each example, or one is outside 0, ..., classes - 1.
        FileExistsError: `checkpoint` has one already, and it is neither the one to resume nor of a run before its first step.
        BlockingIOError: another process is writing to `checkpoint`.
        FloatingPointError: the loss is NaN or infinite; the message says at which step.
        OSError: a checkpoint cannot be written; the one before is intact.
        ModuleNotFoundError: progress is True, and tqdm is not installed.

    Example:
        >>> _ = torch.manual_seed(0)  # of the network's first weights
        >>> ddpm = td.DDPM(td.MLP(dim=2, width=32), td.Schedule.cosine(T=100), predict="v")
        >>> losses = fit(ddpm, td.data.two_moons(1000, torch.Generator().manual_seed(0)), steps=300, progress=False)
        >>> losses[-100:].mean() < losses[:50].mean()
        tensor(True)
    """
    if not isinstance(ddpm, nn.Module) or not hasattr(ddpm, "_loss"):
        raise TypeError(f"ddpm is of type {type(ddpm).__name__}, expected a DDPM")
    plain = unwrapped(ddpm)  # of what torch.compile makes of it
    loss = plain._loss if plain is ddpm else ddpm
    check_type("ddpm.model", ddpm.model, nn.Module)
    if not any(p.requires_grad for p in ddpm.parameters()):
        raise ValueError("ddpm.model has no parameters to train")
    check_examples("x0", x0)
    check_finite("x0", x0)
    if not 0 <= check_number("drop", drop, -math.inf, math.inf) <= 1:
        raise ValueError(f"drop = {drop} is outside [0, 1]")
    same: dict[str, Any] = {"data": list(x0.shape)}
    if c is not None:
        condition = condition_of(plain.model)
        c = condition._checked(c)
        if c.shape != (len(x0), *condition.null.shape):
            raise ValueError(
                f"c has shape {tuple(c.shape)}, expected {(len(x0), *condition.null.shape)}, one for each example of x0"
            )
        known_by = {"shape of c": list(c.shape), "checksum of c (what is told)": zlib.crc32(c.cpu().numpy().tobytes())}
        same |= {"drop": float(drop), "c": known_by}

    def batches(place: torch.device) -> Iterator[tuple[Tensor, ...]]:
        """Algorithm 1, without end: examples, a step for each, and noise; and what is told of each, if it is not forgotten."""
        data, known = x0.detach().to(place), None if c is None else c.to(place)
        while True:
            which = torch.randint(len(data), (batch_size,), device=place)
            t = torch.randint(1, ddpm.schedule.T + 1, (batch_size,), device=place)
            x = data[which]
            drawn = x, t, torch.randn_like(x)
            if known is None:
                yield drawn
            else:
                forgotten = torch.rand(batch_size, device=place) < drop
                null = condition.null.to(place)
                yield *drawn, torch.where(forgotten.reshape(-1, *[1] * null.ndim), null, known[which])

    def told(x0: Tensor, t: Tensor, eps: Tensor, c: Tensor) -> Tensor:
        value: Tensor = loss(x0, t, eps, c=c)
        return value

    losses = engine.train(
        plain, loss if c is None else told, batches, x0[0], describe(plain), steps=steps, batch_size=batch_size, lr=lr,
        ema=ema, seed=seed, checkpoint=checkpoint, resume=resume, progress=progress, max_grad_norm=max_grad_norm,
        save_every=save_every, device=device, mixed_precision=mixed_precision, **same,
    )  # fmt: skip
    plain.example_shape = tuple(x0.shape[1:])
    return losses
