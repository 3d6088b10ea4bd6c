"""What a training run needs around its loss: the optimiser, the average of the weights, processes, checkpoints.

It knows no diffusion: it trains any module with a loss of a batch.
"""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tinyddpm import checkpoint as checkpoints
from tinyddpm._checks import check_callable, check_count, check_flag, check_number, check_path, check_seed, shown
from tinyddpm._model import in_mode
from tinyddpm._progress import bar
from tinyddpm._registry import differences, plain_name
from tinyddpm.checkpoint import Checkpoint, Where
from tinyddpm.examples import Survey

WARM_UP = 100  # steps over which the learning rate rises
LOOK = 20  # steps between two looks at the loss, or a hundredth of all, if that is more: on a GPU each means to wait for it


def train(
    thing: nn.Module,
    loss: Callable[..., Tensor],
    batches: Callable[[torch.device, slice, int], Iterator[tuple[Tensor, ...]]],
    found: Survey,
    description: dict[str, Any],
    *,
    steps: int,
    batch_size: int,
    lr: float,
    ema: float,
    seed: int,
    max_grad_norm: float,
    checkpoint: Where | None,
    resume: Where | None,
    save_every: int,
    progress: bool,
    device: torch.device | str | None,
    mixed_precision: bool | None,
    callback: Callable[[int, Tensor], object] | None = None,
    **same: Any,
) -> Tensor:
    """Trains a thing: Adam on the loss of one batch after the other. Eqs. (5.3) and (5.4)

    Args:
        thing: its parameters are trained; afterwards they are the average.
        loss: the loss of a batch, a scalar: loss(*batch) calls the thing, or a part of it.
        batches: called with a device, the rows of a batch that are this process's, and how many steps are done, it yields batches
            made there, without end: tuples of tensors of these rows of `batch_size`. It draws from PyTorch's default generators
            alone, which the run seeds and keeps in its checkpoints, or by the number of the step.
        found: a look at the data, by which a checkpoint knows them again.
        description: what is trained, as `describe` puts it.
        steps, ...: as for `fit`.
        same: what else must be the same when a run is resumed, in plain values.

    Returns:
        The loss of each step, float32 (steps,) on the CPU.
    """
    check_flag("progress", progress)
    if mixed_precision is not None:
        check_flag("mixed_precision", mixed_precision)
    for name, folder in (("checkpoint", checkpoint), ("resume", resume)):
        if folder is not None:
            check_path(name, folder)
    if callback is not None:
        check_callable("callback", callback)
    if not 0 <= check_number("ema", ema, -math.inf, math.inf) < 1:
        raise ValueError(f"ema = {ema} is outside [0, 1)")
    steps, save_every = check_count("steps", steps), check_count("save_every", save_every)
    seed, batch_size = check_seed("seed", seed), check_count("batch_size", batch_size)
    lr, max_grad_norm = check_number("lr", lr, 0, math.inf), check_number("max_grad_norm", max_grad_norm, 0, math.inf)
    settings = {"batch_size": batch_size, "lr": lr, "ema": float(ema), "seed": seed, "max_grad_norm": max_grad_norm, **same}

    with _processes(batch_size) as (rank, world), _at(thing, device) as place, _seeded(seed, place), ExitStack() as held:
        run = _Training(thing, description, settings, found, steps, place, world)
        anew = checkpoint is not None and not _same(checkpoint, resume)
        if checkpoint is not None and anew and checkpoints.is_begun(checkpoint):
            raise FileExistsError(f"{checkpoint} has a checkpoint already: resume it, remove it, or name another folder")
        if world > 1:
            distributed.barrier()  # until all have looked, none may write
        if resume is not None:
            run.load(resume)
        stop = held.enter_context(_Stop(checkpoint))
        if checkpoint is not None and anew:
            run.save(checkpoint, rank)  # so that there is one to resume from the start, and a bad folder is found at once
        if checkpoint is not None and rank == 0:
            held.enter_context(checkpoints.writing(checkpoint))
        loss_of = DistributedDataParallel(_WithLoss(thing, loss)) if world > 1 else loss
        mine = slice(rank * batch_size // world, (rank + 1) * batch_size // world)
        source = place if place.type == "cuda" else torch.device("cpu")  # of the data and of the randomness
        bf16 = has_bf16(place) if mixed_precision is None else mixed_precision
        precision = torch.autocast(place.type, torch.bfloat16) if bf16 else None
        weights, drawn, look = [*thing.parameters()], batches(source, mine, run.step), max(LOOK, steps // 100)
        steps_left = bar(range(run.step, steps), progress and rank == 0, "training", initial=run.step, total=steps)
        for step in steps_left:
            batch = next(drawn)
            if source != place:
                batch = tuple(part.to(place) for part in batch)
            if precision:
                with precision:
                    value = loss_of(*batch)
            else:
                value = loss_of(*batch)
            run.optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(weights, max_grad_norm)
            run.advance(value.detach(), learning_rate(step, steps, lr))
            if run.step % look == 0:
                run.check()
                if progress and rank == 0:
                    steps_left.set_postfix(loss=f"{run.losses[step + 1 - look : step + 1].mean():.4f}")
            if callback is not None and rank == 0:
                callback(run.step, value.detach())
            stopped = stop.asked(place, world) if world == 1 or run.step % look == 0 else False
            if checkpoint is not None and (run.step % save_every == 0 or run.step == steps or stopped):
                run.save(checkpoint, rank)
            if stopped:
                raise Stopped(run.step, checkpoint, stop.signum)
        run.check(weights=True)
        run.use_average()
        run.optimizer.zero_grad()  # no gradient is left for what comes after
        return run.losses_of_all().cpu()


class Stopped(KeyboardInterrupt):
    """A training has been stopped, by Ctrl-C or by SIGTERM, and has kept what it had.

    Attributes:
        step: how many steps are done.
        signum: the signal, 2 or 15.
    """

    def __init__(self, step: int, checkpoint: Where | None, signum: int) -> None:
        super().__init__(f"stopped after step {step}, which is saved in {checkpoint}")
        self.step, self.signum = step, signum


class _Stop:
    """While a training keeps checkpoints, Ctrl-C and SIGTERM let it end its step; the second time they end it at once."""

    def __init__(self, checkpoint: Where | None) -> None:
        self.signum = 0
        self.active = checkpoint is not None and threading.current_thread() is threading.main_thread()
        self.before: dict[int, Any] = {}

    def __enter__(self) -> _Stop:
        if self.active:
            self.before = {which: signal.signal(which, self._called) for which in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for which, handler in self.before.items():
            signal.signal(which, handler)

    def _called(self, signum: int, _: object) -> None:
        self.signum = signum
        signal.signal(signum, self.before[signum])

    def asked(self, place: torch.device, world: int) -> bool:
        """Whether to stop now, as one of several processes, which all have to ask."""
        if world == 1:
            return self.signum != 0
        which = torch.tensor(self.signum, device=place)
        distributed.all_reduce(which, distributed.ReduceOp.MAX)
        self.signum = int(which)
        return self.signum != 0


def has_bf16(place: torch.device) -> bool:
    """Whether a device computes in bfloat16 by itself: older cards emulate it, slower than float32."""
    return place.type == "cuda" and torch.cuda.is_bf16_supported() and torch.cuda.get_device_capability(place) >= (8, 0)


def learning_rate(step: int, steps: int, highest: float) -> float:
    """The learning rate of step number `step` of 0, ..., steps - 1: up along a line, and down along half a cosine. Eq. (5.3)

    Example:
        >>> [round(learning_rate(step, 1000, 1.0), 3) for step in (0, 99, 500, 999)]
        [0.01, 0.976, 0.5, 0.0]
    """
    return highest * min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2


def averaged(average: list[Tensor], weights: list[Tensor], decay: float) -> list[Tensor]:
    """The moving average of weights after a step, in place: decay * average + (1 - decay) * weights. Eq. (5.4)

    Example:
        >>> averaged([torch.tensor([1.0])], [torch.tensor([2.0])], decay=0.9)
        [tensor([1.1000])]
    """
    torch._foreach_lerp_(average, weights, 1 - decay)  # all at once, as PyTorch's optimisers do it
    return average


class _Training:
    """What changes while a thing is trained, and what a checkpoint must hold to go on in the same way."""

    def __init__(
        self,
        thing: nn.Module,
        description: dict[str, Any],
        settings: dict[str, Any],
        found: Survey,
        steps: int,
        place: torch.device,
        world: int,
    ) -> None:
        self.thing, self.description, self.settings, self.found = thing, description, settings, found
        self.place, self.world, self.step, self.good = place, world, 0, 0
        self.losses = torch.zeros(steps, device=place)
        fused = place.type in ("cpu", "cuda")  # one call for all weights: faster, and nothing else
        self.optimizer = torch.optim.Adam(thing.parameters(), settings["lr"], fused=fused)
        self.parameters = [p.detach() for p in thing.parameters()]
        self.averages = [p.clone() for p in self.parameters]

    def advance(self, loss: Tensor, rate: float) -> None:
        """One step of Adam along the gradients that are there, and of the average."""
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        averaged(self.averages, self.parameters, min(self.settings["ema"], (1 + self.step) / (10 + self.step)))
        self.losses[self.step] = loss
        self.step += 1

    def check(self, weights: bool = False) -> None:
        """Raises an error if a loss since the last look was not finite, or a weight is not."""
        bad = (~self.losses[self.good : self.step].isfinite()).nonzero()
        if len(bad):
            step = self.good + int(bad[0])
            lr = self.settings["lr"]
            raise FloatingPointError(f"the loss is {self.losses[step]} at step {step + 1}: try an lr below {lr}")
        self.good = self.step
        if weights and not all(p.isfinite().all() for p in self.parameters):
            raise FloatingPointError(f"the network has weights that are NaN or infinite after step {self.step}")

    def losses_of_all(self) -> Tensor:
        """The losses so far, as means over the processes, which all have to ask."""
        losses = self.losses[: self.step].clone()
        if self.world > 1:
            distributed.all_reduce(losses)
        return losses / self.world

    def save(self, path: Where, rank: int) -> None:
        """Writes a checkpoint, if all is well. All processes take part, the first one writes."""
        self.check(weights=True)
        losses = self.losses_of_all()
        if rank > 0:
            return
        weights, random = checkpoints.plain_state(self.thing), {"cpu": torch.get_rng_state()}
        if self.place.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.place)
        average = {**weights, **{name: self.averages[i] for name, i in self._names()}}
        adam = self.optimizer.state_dict()["state"]
        run = checkpoints.Run(self.settings, self.step, len(self.losses), losses, self.found.known, average, adam, random)
        checkpoints.write(path, Checkpoint(self.description, weights, self.found.shape, run, checkpoints.dtype_of(self.thing)))

    def load(self, path: Where) -> None:
        """Takes up a run where a checkpoint has left it."""
        saved = checkpoints.read(path)
        run = saved.run
        if run is None:
            raise ValueError(f"the checkpoint in {path} holds a network, but no training to resume")
        was, now = {"trained": saved.description, **run.settings}, {"trained": self.description, **self.settings}
        if different := next(differences("run", was, now), None):
            name, *values = different
            saved_one, own = (value if isinstance(value, str) else shown(value) for value in values)
            raise ValueError(f"{name} = {saved_one} in the checkpoint in {path}, expected {own} as in this run")
        rounding = 1e-5 * self.found.size  # another machine may sum up in another order
        if not torch.allclose(run.data, self.found.known, rtol=0, atol=rounding):
            raise ValueError(f"the checkpoint in {path} is of a run with other data, though of as many examples")
        if run.step > len(self.losses):
            raise ValueError(f"the checkpoint in {path} is after step {run.step}, expected at most steps = {len(self.losses)}")
        checkpoints.load_weights(self.thing, saved.weights, path)
        self.step = self.good = run.step
        self.losses[: self.step] = run.losses
        for name, i in self._names():
            self.averages[i] = run.average[name].to(self.parameters[i])
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": run.adam})
        torch.set_rng_state(run.random["cpu"])
        if self.place.type == "cuda" and "cuda" in run.random:
            torch.cuda.set_rng_state(run.random["cuda"], self.place)

    def _names(self) -> list[tuple[str, int]]:
        """Each name of a parameter, and which parameter it is: tied ones have several names."""
        place = {p.data_ptr(): i for i, p in enumerate(self.parameters)}
        named = self.thing.named_parameters(remove_duplicate=False)
        return [(plain_name(self.thing, name), place[p.data_ptr()]) for name, p in named]

    def use_average(self) -> None:
        """Gives the thing the averaged weights."""
        for parameter, average in zip(self.parameters, self.averages, strict=True):
            parameter.copy_(average)


class _WithLoss(nn.Module):
    """A thing and its loss as one module, as DistributedDataParallel wants it."""

    def __init__(self, thing: nn.Module, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.thing, self.loss = thing, loss

    def forward(self, *batch: Tensor) -> Tensor:
        return self.loss(*batch)


@contextmanager
def _processes(batch_size: int) -> Iterator[tuple[int, int]]:
    """The number of this process among those that `torchrun` has started, and how many there are."""
    world = int(os.environ.get("WORLD_SIZE") or 1)
    ours = world > 1 and not distributed.is_initialized()
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if ours and name not in os.environ]
    if missing:
        left = f"WORLD_SIZE = {world} is set in the environment, but not {', '.join(missing)}"
        raise ValueError(f"{left}: start several processes with torchrun, or remove it")
    if ours:
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        rank, world = (distributed.get_rank(), distributed.get_world_size()) if world > 1 else (0, 1)
        if batch_size % world:
            raise ValueError(f"batch_size = {batch_size} is not divisible by {world}, the number of processes")
        yield rank, world
    finally:
        if ours:
            distributed.destroy_process_group()


@contextmanager
def _at(thing: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """The place to train at, with a module there and ready for it; afterwards it is again where and as it was."""
    home = next(thing.parameters()).device
    if device is None:
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else home
    try:
        place = torch.device(device)
        torch.empty(0, device=place)  # which says so if it is not there
    except (AssertionError, RuntimeError, TypeError) as error:
        raise ValueError(f"device = {device!r} is no device of this machine: {str(error).splitlines()[0]}") from error
    if place.type == "meta":
        raise ValueError("device = 'meta' has no numbers, expected a device such as 'cpu' or 'cuda'")
    try:
        with in_mode(thing.to(place), training=True), torch.inference_mode(False), torch.enable_grad():
            yield place
    finally:
        thing.to(home)


@contextmanager
def _seeded(seed: int, place: torch.device) -> Iterator[None]:
    """PyTorch's default generators, seeded, for the time of the training: a network's dropout follows the seed too."""
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _same(a: Where, b: Where | None) -> bool:
    return b is not None and os.path.realpath(a) == os.path.realpath(b)
