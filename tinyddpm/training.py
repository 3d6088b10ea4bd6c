"""Training: Algorithm 1, with what a real run needs around it (the chapter of that name)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tinyddpm import checkpoint as checkpoints
from tinyddpm._checks import check_count, check_examples, check_finite, check_flag, check_number, check_path, check_seed
from tinyddpm._model import in_mode
from tinyddpm._progress import bar
from tinyddpm.checkpoint import Where

if TYPE_CHECKING:
    from tinyddpm.ddpm import DDPM

WARM_UP = 100  # steps over which the learning rate rises
LOOK = 20  # steps between two looks at the loss, which on a GPU means to wait for it


def fit(
    ddpm: DDPM,
    x0: Tensor,
    steps: int = 3000,
    batch_size: int = 256,
    lr: float = 2e-3,
    ema: float = 0.999,
    seed: int = 0,
    checkpoint: Where | None = None,
    resume: Where | None = None,
    progress: bool = True,
    *,
    max_grad_norm: float = 1.0,
    save_every: int = 1000,
    device: torch.device | str | None = None,
    mixed_precision: bool | None = None,
) -> Tensor:
    """Trains a DDPM: Algorithm 1 with Adam, `steps` times. Eq. (5.1); Ho et al. 2020, Algorithm 1

    The learning rate rises over the first 100 steps and then falls to 0 along half a cosine. Afterwards the network has
    the exponential moving average of its weights, which samples better than the last ones, and is where it was before.

    All randomness comes from `seed`: the same call gives the same weights, bit for bit, on the same machine. A run that
    was killed and goes on from its checkpoint ends in the same weights too, but on the way the last steps are done again.

    Under `torchrun`, each process takes its part of every batch, so that their number changes only the rounding.

    Args:
        ddpm: what to train: its network changes.
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

    Returns:
        The loss of each step, float32 (steps,) on the CPU, those before `resume` included.

    Raises:
        TypeError, ValueError: an argument is wrong; x0 is empty or has an entry that is not finite; the checkpoint to
            resume is damaged, or of another run, network or schedule.
        FileExistsError: `checkpoint` has one already, and it is not the one to resume.
        FloatingPointError: the loss is NaN or infinite; the message says at which step.
        OSError: a checkpoint cannot be written; the one before is intact.
        ModuleNotFoundError: progress is True, and tqdm is not installed.

    Example:
        >>> from tinyddpm import DDPM, MLP, Schedule, data
        >>> ddpm = DDPM(MLP(dim=2, width=32), Schedule.cosine(T=100), predict="v")
        >>> losses = fit(ddpm, data.two_moons(1000, torch.Generator().manual_seed(0)), steps=150, progress=False)
        >>> losses[-20:].mean() < losses[:20].mean()
        tensor(True)
    """
    if not isinstance(ddpm, nn.Module) or not hasattr(ddpm, "schedule"):
        raise TypeError(f"ddpm is of type {type(ddpm).__name__}, expected a DDPM")
    check_examples("x0", x0)
    check_finite("x0", x0)
    check_flag("progress", progress)
    if mixed_precision is not None:
        check_flag("mixed_precision", mixed_precision)
    for name, folder in (("checkpoint", checkpoint), ("resume", resume)):
        if folder is not None:
            check_path(name, folder)
    if not 0 <= check_number("ema", ema, -math.inf, math.inf) < 1:
        raise ValueError(f"ema = {ema} is outside [0, 1)")
    if not any(p.requires_grad for p in ddpm.model.parameters()):
        raise ValueError("ddpm.model has no parameters to train")
    steps, save_every = check_count("steps", steps), check_count("save_every", save_every)
    seed, batch_size = check_seed("seed", seed), check_count("batch_size", batch_size)
    lr, max_grad_norm = check_number("lr", lr, 0, math.inf), check_number("max_grad_norm", max_grad_norm, 0, math.inf)
    settings = {"batch_size": batch_size, "lr": lr, "ema": float(ema), "seed": seed, "max_grad_norm": max_grad_norm}

    with _processes(batch_size) as (rank, world), _at(ddpm, device) as place, _seeded(seed, place):
        run = _Run(ddpm, {**settings, "data": list(x0.shape)}, x0[0].detach().cpu(), steps, place, world)
        if checkpoint is not None and not _same(checkpoint, resume) and checkpoints.exists(checkpoint):
            raise FileExistsError(f"{checkpoint} has a checkpoint already: resume it, remove it, or name another folder")
        if world > 1:
            distributed.barrier()  # until all have looked, none may write
        if resume is not None:
            run.load(resume)
        if checkpoint is not None and not _same(checkpoint, resume):
            run.save(checkpoint, rank)  # so that there is one to resume from the start, and a bad folder is found at once
        loss_of = DistributedDataParallel(ddpm) if world > 1 else ddpm
        mine = slice(rank * batch_size // world, (rank + 1) * batch_size // world)
        source = place if place.type == "cuda" else torch.device("cpu")  # of the data and of the randomness
        data = x0.detach().to(source)
        bf16 = (place.type == "cuda" and torch.cuda.is_bf16_supported()) if mixed_precision is None else mixed_precision
        steps_left = bar(range(run.step, steps), progress and rank == 0, "training", initial=run.step, total=steps)
        for step in steps_left:
            which = torch.randint(len(data), (batch_size,), device=source)
            t = torch.randint(1, ddpm.schedule.T + 1, (batch_size,), device=source)
            eps = torch.randn(batch_size, *data.shape[1:], dtype=data.dtype, device=source)
            with torch.autocast(place.type, torch.bfloat16, enabled=bf16):
                loss = loss_of(data[which[mine]].to(place), t[mine].to(place), eps[mine].to(place))
            run.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(ddpm.model.parameters(), max_grad_norm)
            run.advance(loss.detach(), learning_rate(step, steps, lr))
            if run.step % LOOK == 0:
                run.check()
                if progress and rank == 0:
                    steps_left.set_postfix(loss=f"{run.losses[step + 1 - LOOK : step + 1].mean():.4f}")
            if checkpoint is not None and (run.step % save_every == 0 or run.step == steps):
                run.save(checkpoint, rank)
        run.check(weights=True)
        run.use_average()
        run.optimizer.zero_grad()  # no gradient is left for what comes after
        return run.losses_of_all().cpu()


def learning_rate(step: int, steps: int, highest: float) -> float:
    """The learning rate of step number `step` of 0, ..., steps - 1: up along a line, and down along half a cosine. Eq. (5.3)

    Example:
        >>> [round(learning_rate(step, 1000, 1.0), 3) for step in (0, 99, 500, 999)]
        [0.01, 0.976, 0.5, 0.0]
    """
    return highest * min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2


def averaged(average: Tensor, weights: Tensor, decay: float) -> Tensor:
    """The moving average of the weights after a step: decay * average + (1 - decay) * weights. Eq. (5.4)"""
    return average.lerp(weights, 1 - decay)


class _Run:
    """What changes while a network is trained, and what a checkpoint must hold to go on in the same way."""

    def __init__(self, ddpm: DDPM, settings: dict[str, Any], first: Tensor, steps: int, place: torch.device, world: int) -> None:
        self.ddpm, self.settings, self.first, self.place, self.world, self.step = ddpm, settings, first, place, world, 0
        self.losses = torch.zeros(steps, device=place)
        fused = place.type in ("cpu", "cuda")  # one call for all weights: faster, and nothing else
        self.optimizer = torch.optim.Adam(ddpm.model.parameters(), settings["lr"], fused=fused)
        self.parameters = [p.detach() for p in ddpm.model.parameters()]
        self.averages = [p.clone() for p in self.parameters]

    def advance(self, loss: Tensor, rate: float) -> None:
        """One step of Adam along the gradients that are there, and of the average."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        decay = min(self.settings["ema"], (1 + self.step) / (10 + self.step))
        self.averages = [averaged(*pair, decay) for pair in zip(self.averages, self.parameters, strict=True)]
        self.losses[self.step] = loss
        self.step += 1

    def check(self, weights: bool = False) -> None:
        """Raises an error if a loss so far was not finite, or a weight is not."""
        bad = (~self.losses[: self.step].isfinite()).nonzero()
        if len(bad):
            step = int(bad[0])
            lr = self.settings["lr"]
            raise FloatingPointError(f"the loss is {self.losses[step]} at step {step + 1}: try an lr below {lr}")
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
        tensors = self.ddpm.tensors() | {"losses": losses, "random.cpu": torch.get_rng_state(), "data.first": self.first}
        if self.place.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.place)
        tensors |= {f"average.{name}": value for name, value in self.ddpm.model.state_dict().items()}
        tensors |= {f"average.{name}": self.averages[i] for name, i in self._names()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{key}": value for key, value in state.items()}
        checkpoints.write(
            path, tensors, {**self.ddpm.description(), "step": self.step, "steps": len(self.losses), "training": self.settings}
        )

    def load(self, path: Where) -> None:
        """Takes up a run where a checkpoint has left it."""
        tensors, info = checkpoints.read(path)
        if "training" not in info:
            raise ValueError(f"the checkpoint in {path} holds a network, but no training to resume")
        try:
            self._take(tensors, info, path)
        except KeyError as error:
            raise ValueError(f"the checkpoint in {path} lacks {error}") from error

    def _take(self, tensors: dict[str, Tensor], info: dict[str, Any], path: Where) -> None:
        saved, now = {**info, **info["training"]}, {**self.ddpm.description(), **self.settings}
        for name, value in now.items():
            if saved[name] != value:
                raise ValueError(f"{name} = {saved[name]} in the checkpoint in {path}, expected {value} as in this run")
        if not torch.equal(tensors["schedule.beta"], self.ddpm.schedule.beta[1:]):
            raise ValueError(f"the checkpoint in {path} has another beta than this schedule")
        first = tensors["data.first"].to(self.first)
        if not torch.allclose(first, self.first, rtol=0, atol=1e-4):  # another machine may compute other last digits
            raise ValueError(f"the checkpoint in {path} is of a run with other data: the first example of x0 is another")
        if info["step"] > len(self.losses):
            raise ValueError(f"the checkpoint in {path} is after step {info['step']}, expected at most steps = {len(self.losses)}")
        checkpoints.load_weights(self.ddpm.model, tensors, "model.", path)
        self.step = info["step"]
        self.losses[: self.step] = tensors["losses"]
        for name, i in self._names():
            self.averages[i] = tensors[f"average.{name}"].to(self.parameters[i])
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, number, entry = key.split(".")
                state.setdefault(int(number), {})[entry] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        torch.set_rng_state(tensors["random.cpu"])
        if self.place.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], self.place)

    def _names(self) -> list[tuple[str, int]]:
        """Each name of a parameter, and which parameter it is: tied ones have several names."""
        place = {p.data_ptr(): i for i, p in enumerate(self.parameters)}
        return [(name, place[p.data_ptr()]) for name, p in self.ddpm.model.named_parameters(remove_duplicate=False)]

    def use_average(self) -> None:
        """Gives the network the averaged weights."""
        for parameter, average in zip(self.parameters, self.averages, strict=True):
            parameter.copy_(average)


@contextmanager
def _processes(batch_size: int) -> Iterator[tuple[int, int]]:
    """The number of this process among those that `torchrun` has started, and how many there are."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    ours = world > 1 and not distributed.is_initialized()
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
def _at(ddpm: DDPM, device: torch.device | str | None) -> Iterator[torch.device]:
    """The place to train at, with the DDPM there and ready for it; afterwards it is again where and as it was."""
    home = next(ddpm.model.parameters()).device
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
        with in_mode(ddpm.to(place), training=True), torch.inference_mode(False), torch.enable_grad():
            yield place
    finally:
        ddpm.to(home)


@contextmanager
def _seeded(seed: int, place: torch.device) -> Iterator[None]:
    """PyTorch's default generators, seeded, for the time of the training: a network's dropout follows the seed too."""
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _same(a: Where, b: Where | None) -> bool:
    return b is not None and os.path.realpath(a) == os.path.realpath(b)
