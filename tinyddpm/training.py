"""Training: Algorithm 1 (the chapter of that name). What a run needs around it is the engine's."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tinyddpm import engine
from tinyddpm._checks import check_count, check_number, check_type
from tinyddpm._registry import describe, unwrapped
from tinyddpm.checkpoint import Where
from tinyddpm.examples import Batch, Examples, asked_for, check_data, numbers, survey, warnings_of
from tinyddpm.guidance import condition_of

if TYPE_CHECKING:
    from tinyddpm.ddpm import DDPM


def fit(
    ddpm: DDPM,
    x0: Examples,
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
    workers: int = 0,
    callback: Callable[[int, Tensor], object] | None = None,
) -> Tensor:
    """Trains a DDPM: Algorithm 1 with Adam, `steps` times. Eq. (5.1); Ho et al. 2020, Algorithm 1

    The learning rate rises over the first 100 steps and then falls to 0 along half a cosine. Afterwards the network has
    the exponential moving average of its weights, which samples better than the last ones, and is where it was before.

    All randomness comes from `seed`: the same call gives the same weights, bit for bit, on the same machine. A run that
    was killed and goes on from its checkpoint ends in the same weights too, but on the way the last steps are done again.

    Under `torchrun`, each process takes its part of every batch, so that their number changes only the rounding.

    Ctrl-C or SIGTERM, where there is a `checkpoint`, end the training after its step, and save that.

    Args:
        ddpm: what to train: its network, a module, changes.
        x0: the data, n at least 1: a tensor (n, ...) of floating-point numbers, or of pixels in 8 or 16 bits, of which the darkest
            is -1 and the brightest 1; an array of either, such as `np.load(file, mmap_mode="r")`, which stays on the disk; or a
            `torch.utils.data.Dataset` of tensors, arrays or Pillow's pictures, or of pairs of one and its c. Batches are drawn from
            it with replacement.
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
            Without it, such a network is told what a Dataset of pairs says, or else nothing in each step.
        drop: for which share of the examples c is forgotten, drawn anew in each step, so that the network also learns to be told
            nothing: guidance compares the two. 0 never forgets, for a network that is to be used with guidance 1 alone.
        workers: by how many processes an array or a Dataset is read ahead; 0 reads in this one. It changes no number: each example
            of a Dataset has a seed of its own, for Python's, NumPy's and PyTorch's generators.
        callback: called with the number of the step, from 1, and its loss, a tensor () on the device of the training.

    Returns:
        The loss of each step, float32 (steps,) on the CPU, those before `resume` included.

    Raises:
        ValueError: the checkpoint to resume is damaged, or of another run, network or schedule, or of other data or labels (of
            very large data some rows are compared, of a Dataset 64 examples); the network knows no condition, or there is not one
            label for each example, or one is outside 0, ..., classes - 1.
        FileExistsError: `checkpoint` has one already, and it is neither the one to resume nor of a run before its first step.
        BlockingIOError: another process is writing to `checkpoint`.
        KeyboardInterrupt: of the kind `engine.Stopped`, after Ctrl-C or SIGTERM; the message says which step is saved where.
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
    check_data("x0", x0)
    check_count("workers", workers, least=0)
    found = survey("x0", x0)
    for sentence in warnings_of(found, plain.shift, plain.scale):
        warnings.warn(sentence, stacklevel=2)
    if not 0 <= check_number("drop", drop, -math.inf, math.inf) <= 1:
        raise ValueError(f"drop = {drop} is outside [0, 1]")
    same: dict[str, Any] = {"data": [found.rows, *found.shape]}
    condition = getattr(plain.model, "condition", None)
    if c is not None:
        condition = condition_of(plain.model)
        c = condition._checked(c)
        if c.shape != (found.rows, *condition.null.shape):
            raise ValueError(
                f"c has shape {tuple(c.shape)}, expected {(found.rows, *condition.null.shape)}, one for each example of x0"
            )
        known_by = {"shape of c": list(c.shape), "checksum of c (what is told)": zlib.crc32(c.cpu().numpy().tobytes())}
        same |= {"drop": float(drop), "c": known_by}

    dtype = next(p.dtype for p in plain.parameters() if p.is_floating_point())

    def batches(place: torch.device, mine: slice, step: int) -> Iterator[tuple[Tensor, ...]]:
        """Algorithm 1, without end: examples, a step for each, and noise; and what is told of each, if it is not forgotten."""
        drawn = _in_memory(x0, c, batch_size, dtype, place, mine) if isinstance(x0, Tensor) else _asked_for(place, mine, step)
        for x, known in drawn:
            t = torch.randint(1, ddpm.schedule.T + 1, (batch_size,), device=place)
            noise = torch.randn((batch_size, *x.shape[1:]), dtype=x.dtype, device=place)
            batch = x, t[mine], noise[mine]
            if known is None:
                yield batch
            else:
                forgotten = torch.rand(batch_size, device=place)[mine] < drop
                null = condition_of(plain.model).null.to(place)
                yield *batch, torch.where(forgotten.reshape(-1, *[1] * null.ndim), null, known)

    def _asked_for(place: torch.device, mine: slice, step: int) -> Iterator[Batch]:
        for x, known, rows in asked_for("x0", x0, batch_size, seed, step, mine, workers):
            if c is not None:
                known = c[rows]
            elif condition is not None and known is not None:
                known = condition._checked(known)
            else:
                known = None
            yield numbers(x.to(place), dtype), None if known is None else known.to(place)

    def told(x0: Tensor, t: Tensor, eps: Tensor, c: Tensor | None = None) -> Tensor:
        value: Tensor = loss(x0, t, eps) if c is None else loss(x0, t, eps, c=c)
        return value

    losses = engine.train(
        plain, loss if condition is None else told, batches, found, describe(plain), steps=steps, batch_size=batch_size, lr=lr,
        ema=ema, seed=seed, checkpoint=checkpoint, resume=resume, progress=progress, max_grad_norm=max_grad_norm,
        save_every=save_every, device=device, mixed_precision=mixed_precision, callback=callback, **same,
    )  # fmt: skip
    plain.example_shape = found.shape
    return losses


def _in_memory(
    x0: Tensor, c: Tensor | None, batch_size: int, dtype: torch.dtype, place: torch.device, mine: slice
) -> Iterator[Batch]:
    """Rows of a tensor, which is where they are needed, and what is told of them."""
    data, known = x0.detach().to(place), None if c is None else c.to(place)
    while True:
        which = torch.randint(len(data), (batch_size,), device=place)[mine]
        x = data[which]
        yield x if x.is_floating_point() else numbers(x, dtype), None if known is None else known[which]
