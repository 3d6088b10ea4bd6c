"""Checkpoints: tensors in a safetensors file and the rest in a small JSON file, written so that one is always whole.

A checkpoint is a folder. `ddpm.json` names the file of tensors that belongs to it, and the SHA-256 of both. A new file of tensors
is written beside the old one, then `ddpm.json` is replaced, in one step, and only then the file that it named before is deleted:
whenever the process dies, `ddpm.json` names a file that is complete. One process at a time writes; any number may read meanwhile.
No pickle is ever loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import safetensors.torch
import torch
from torch import Tensor, nn

from tinyddpm._checks import check_path, check_type
from tinyddpm._files import in_one_step
from tinyddpm._registry import Unknown, build, describe, plain_name

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from tinyddpm.ddpm import DDPM
    from tinyddpm.latent_ddpm import LatentDDPM

Where: TypeAlias = str | os.PathLike[str]
Tensors: TypeAlias = dict[str, Tensor]
INDEX = "ddpm.json"
FORMAT = 2
POINTS = ("eight_gaussians", "two_moons", "swiss_roll", "checkerboard")
PRETRAINED = ("digits", *POINTS, "scenes")
PRETRAINED_HOME = Path(__file__).parent / "weights"


@dataclass
class Run:
    """Where a training is, for it to go on in the same way.

    Attributes:
        settings: what must be the same when it goes on, by name: plain values.
        step, steps: how many steps are done, and how many there will be.
        losses: (step,), of the steps that are done.
        data: (4,), what the data are known by: `examples.Survey.known`.
        average: the moving average of the weights, by name.
        adam: the state of the optimiser: for each parameter, by its number, what Adam keeps.
        random: the states of the generators, by the type of their device.
    """

    settings: dict[str, Any]
    step: int
    steps: int
    losses: Tensor
    data: Tensor
    average: Tensors
    adam: dict[int, Tensors]
    random: Tensors


@dataclass
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        description: what was trained, as `describe` puts it.
        weights: its weights, by name.
        example: the shape of one example of the data, if that is known.
        run: the training, if it is of one.
        dtype: in what the thing computes, such as "float16"; without it, in float32, or in float64 if a weight has that.
    """

    description: dict[str, Any]
    weights: Tensors
    example: tuple[int, ...] | None
    run: Run | None = None
    dtype: str | None = None


def dtype_of(thing: nn.Module) -> str | None:
    """The dtype of all its parameters, by its name; None where they have several."""
    found = {p.dtype for p in thing.parameters() if p.is_floating_point()}
    return str(found.pop()).removeprefix("torch.") if len(found) == 1 else None


def plain_state(thing: nn.Module) -> Tensors:
    """The weights of a thing by their names, as if no part of it were wrapped by torch.compile, or for several GPUs."""
    return {plain_name(thing, name): value for name, value in thing.state_dict().items()}


def of(thing: nn.Module, example: tuple[int, ...] | None) -> Checkpoint:
    """A thing as it is, without a training."""
    return Checkpoint(describe(thing), plain_state(thing), example, dtype=dtype_of(thing))


@contextlib.contextmanager
def writing(path: Where) -> Iterator[None]:
    """The folder `path`, made if it is missing, for this process alone to write to; it may ask more than once.

    Raises:
        BlockingIOError: another process writes there. (Not on Windows, whose folders know no such lock.)
    """
    folder = Path(path).resolve()
    if folder in _WRITING:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = _locked(folder)
    _WRITING.add(folder)
    try:
        yield
    finally:
        _WRITING.remove(folder)
        if lock is not None:
            os.close(lock)


_WRITING: set[Path] = set()  # by this process


def _locked(folder: Path) -> int | None:
    """A lock on a folder, which ends with its process at the latest, and leaves no file."""
    if fcntl is None:
        return None
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        message = "another process is writing a checkpoint there: wait until it is done, or name another folder"
        raise BlockingIOError(error.errno, message, str(folder)) from error
    except OSError:  # a file system without locks
        os.close(lock)
        return None
    return lock


def write(path: Where, saved: Checkpoint) -> None:
    """Writes a checkpoint to the folder `path`, which is made if it is missing, in place of the one that may be there.

    Raises:
        BlockingIOError: another process writes there.
        OSError: it cannot be written, because the disk is full for instance; the checkpoint that was there is intact.
    """
    check_path("path", path)
    folder = Path(path)
    tensors, info = _taken_apart(saved)
    data = safetensors.torch.save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    weights = f"weights-{digest[:12]}.safetensors"
    index = {"format": FORMAT, "weights": weights, "sha256": digest, "sha256 of the rest": _digest(info), **info}
    try:
        with writing(folder):
            old = _index(folder).get("weights")
            _replace(folder / weights, data, folder / "weights.new")
            _replace(folder / INDEX, json.dumps(index).encode(), folder / "ddpm.new")
            if isinstance(old, str) and old != weights:
                (folder / Path(old).name).unlink(missing_ok=True)
    except BlockingIOError:
        raise
    except OSError as error:
        kept = "the one that was there is intact" if exists(folder) else "no other was there before"
        raise OSError(error.errno, f"the checkpoint could not be written, {kept}: {error.strerror}", str(folder)) from error


def _index(folder: Path) -> dict[str, Any]:
    """What the index in a folder says, in any format; nothing where there is none that can be read."""
    try:
        info = json.loads((folder / INDEX).read_bytes())
    except (OSError, ValueError):
        return {}
    return info if isinstance(info, dict) else {}


def read(path: Where) -> Checkpoint:
    """The checkpoint in the folder `path`, also while another process replaces it: the one before, or the one after.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged, or something else; a pickle is refused unread.
    """
    check_path("path", path)
    folder = Path(path)
    if folder.is_file():
        raise ValueError(f"{folder} is a file, expected the folder of a checkpoint (no pickle is ever loaded)")
    if not exists(folder):
        raise FileNotFoundError(f"there is no checkpoint in {folder}: it has no {INDEX}")
    while True:
        with open(folder / INDEX, "rb") as index:
            try:
                return _read(folder, index.read())
            except (OSError, ValueError):
                # While it is open, no other file can pass for it: not even one that says the same again, two saves later.
                if os.path.samestat(os.fstat(index.fileno()), os.stat(folder / INDEX)):
                    raise  # nobody has replaced it: it is as bad as that


def _read(folder: Path, index: bytes) -> Checkpoint:
    """The checkpoint that an index is of."""
    try:
        info = json.loads(index)
        made_by, weights, digest = info.pop("format"), folder / Path(info.pop("weights")).name, info.pop("sha256")
        rest = info.pop("sha256 of the rest", None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{folder / INDEX} is damaged, or not of a checkpoint: {error}") from error
    if made_by != FORMAT:
        raise ValueError(f"{folder / INDEX} has the format {made_by!r}, expected {FORMAT}")
    if not weights.is_file():
        raise ValueError(f"{folder} lacks {weights.name}, the tensors of its checkpoint")
    data = weights.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{weights} is damaged: its {len(data)} bytes are not those that were written (no pickle is ever loaded)")
    if _digest(info) != rest:
        raise ValueError(f"{folder / INDEX} is damaged: it does not say what was written")
    try:
        tensors = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{weights} is not a safetensors file: {error} (no pickle is ever loaded)") from error
    try:
        return _put_together(tensors, info)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the checkpoint in {folder} lacks {error}") from error


# The names in the files: they are spelled here and nowhere else.


def _taken_apart(saved: Checkpoint) -> tuple[Tensors, dict[str, Any]]:
    """The tensors of a checkpoint, and the rest of it in plain values."""
    tensors = _under("weights", saved.weights)
    info: dict[str, Any] = {"description": saved.description, "example": None if saved.example is None else list(saved.example)}
    if saved.dtype is not None:
        info["dtype"] = saved.dtype
    if run := saved.run:
        tensors |= _under("average", run.average) | _under("random", run.random) | {"losses": run.losses, "data": run.data}
        for number, state in run.adam.items():
            tensors |= _under(f"adam/{number}", state)
        info |= {"step": run.step, "steps": run.steps, "training": run.settings}
    return tensors, info


def _put_together(tensors: Tensors, info: dict[str, Any]) -> Checkpoint:
    example, run = info["example"], None
    if "training" in info:
        adam: dict[int, Tensors] = {}
        for name, value in _below("adam", tensors).items():
            number, entry = name.split("/")
            adam.setdefault(int(number), {})[entry] = value
        average, random = _below("average", tensors), _below("random", tensors)
        run = Run(info["training"], info["step"], info["steps"], tensors["losses"], tensors["data"], average, adam, random)
    return Checkpoint(
        info["description"], _below("weights", tensors), None if example is None else tuple(example), run, info.get("dtype")
    )


def _under(folder: str, tensors: Tensors) -> Tensors:
    return {f"{folder}/{name}": value for name, value in tensors.items()}


def _below(folder: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(f"{folder}/"): value for name, value in tensors.items() if name.startswith(f"{folder}/")}


def exists(path: Where) -> bool:
    """Whether there is a checkpoint in the folder `path`."""
    return (Path(path) / INDEX).is_file()


def is_begun(path: Where) -> bool:
    """Whether the folder `path` has a checkpoint in which something would be lost: not of a run before its first step."""
    info = _index(Path(path))
    return exists(path) and not ("training" in info and info.get("step") == 0)


def load(path: Where, model: nn.Module | None = None) -> Any:
    """The DDPM in a checkpoint, of `DDPM.save` or of `fit`: there with the averaged weights, the ones to sample with.

    Or the LatentDDPM of its `save`. It is in evaluation mode; `fit` trains it further all the same.

    Args:
        path: the folder.
        model: the network, of the architecture that was saved, which gets the weights. Not needed for the networks of
            this package.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged, or something else (no pickle is ever loaded); the network is not known here, or the
            weights are those of another architecture.

    Example:
        >>> td.DDPM(td.MLP(dim=2), td.Schedule.cosine(T=100), predict="v").save(folder)
        >>> load(folder).sample((3, 2)).shape
        torch.Size([3, 2])
    """
    if model is not None:
        check_type("model", model, nn.Module)
    saved = read(path)
    try:
        with torch.random.fork_rng(devices=[]):  # the first weights of a network are drawn, in vain
            thing = build(saved.description, **({} if model is None else {"model": model}))
    except Unknown as unknown:
        raise ValueError(f"{path} holds the weights of a {unknown}, which is not of this package: pass it as model") from unknown
    except (KeyError, TypeError) as wrong:
        raise ValueError(f"{path} is not the checkpoint of a DDPM: {wrong}") from wrong
    if not hasattr(thing, "example_shape"):
        raise ValueError(f"{path} is not the checkpoint of a DDPM, but of a {type(thing).__name__}")
    if any(value.dtype == torch.float64 for value in saved.weights.values()):
        thing.double()
    elif saved.dtype is not None:
        thing.to(_dtype(saved.dtype, path))
    weights = saved.run.average if saved.run else saved.weights
    parts = {f"{name}." for name, _ in thing.named_children()}
    ours = {name: value for name, value in weights.items() if name.startswith((*parts,))}  # not what a subclass has besides
    load_weights(thing, ours, path)
    getattr(thing, "ddpm", thing).example_shape = saved.example
    return thing.eval()


@overload
def load_pretrained(name: Literal["scenes"]) -> LatentDDPM: ...


@overload
def load_pretrained(name: Literal["digits", "eight_gaussians", "two_moons", "swiss_roll", "checkerboard"]) -> DDPM: ...


@overload
def load_pretrained(name: str) -> Any: ...


def load_pretrained(name: str) -> Any:
    """A trained DDPM that comes with the package, or for "scenes" a trained LatentDDPM.

    Args:
        name: "digits" for pictures like `data.digits`, "scenes" for pictures of captions like `scenes.draw`, or the name of one of
            the sets of points in `data`: "eight_gaussians", "two_moons", "swiss_roll", "checkerboard".

    Example:
        >>> ddpm = load_pretrained("digits")
        >>> ddpm.sample_ddim((2, *ddpm.example_shape), steps=10).shape
        torch.Size([2, 1, 8, 8])
    """
    if name not in PRETRAINED:
        raise ValueError(f"name = {name!r} is not one of {', '.join(PRETRAINED)}")
    return load(PRETRAINED_HOME / name)


def load_weights(thing: nn.Module, weights: Tensors, path: Where) -> None:
    """Gives a thing the weights of a checkpoint.

    Raises:
        ValueError: they are those of another architecture.
    """
    own = plain_state(thing)
    wrong = [f"it lacks {name}" for name in own if name not in weights]
    wrong += [f"{name} is not in the network" for name in weights if name not in own]
    for name in own.keys() & weights.keys():
        if own[name].shape != weights[name].shape:
            wrong.append(f"{name} has shape {tuple(weights[name].shape)}, expected {tuple(own[name].shape)}")
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        kind = type(getattr(thing, "model", thing)).__name__
        raise ValueError(f"the checkpoint in {path} is of another architecture than {kind}: {min(wrong)}{more}")
    thing.load_state_dict({name: weights[plain_name(thing, name)] for name in thing.state_dict()})


def _dtype(name: str, path: Where) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"the checkpoint in {path} has the dtype {name!r}, expected one such as float32")
    return dtype


def _digest(info: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(info, sort_keys=True).encode()).hexdigest()


def _replace(path: Path, data: bytes, new: Path) -> None:
    with in_one_step(path, new) as file:
        file.write(data)
