"""Checkpoints: tensors in a safetensors file and the rest in a small JSON file, written so that one is always whole.

A checkpoint is a folder. `ddpm.json` names the file of tensors that belongs to it and its SHA-256. A new file of tensors
is written beside the old one, then `ddpm.json` is replaced, in one step, and only then the old file is deleted: whenever
the process dies, `ddpm.json` names a file that is complete. No pickle is ever loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeAlias

import safetensors.torch
from torch import Tensor, nn

from tinyddpm._checks import check_path

Where: TypeAlias = str | os.PathLike[str]
INDEX = "ddpm.json"
FORMAT = 1


def write(path: Where, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Writes a checkpoint to the folder `path`, in place of the one that may be there.

    Args:
        path: the folder; it is made if it is missing.
        tensors: what goes into the safetensors file.
        info: what goes into the JSON file.

    Raises:
        OSError: it cannot be written, because the disk is full for instance; the checkpoint that was there is intact.
    """
    check_path("path", path)
    folder = Path(path)
    data = safetensors.torch.save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    weights = f"weights-{digest[:12]}.safetensors"
    index = {"format": FORMAT, "weights": weights, "sha256": digest, **info}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / weights, data)
        _replace(folder / INDEX, json.dumps(index, indent=1).encode())
        for old in folder.glob("weights-*"):
            if old.name != weights:
                old.unlink(missing_ok=True)
    except OSError as error:
        kept = "the one that was there is intact" if exists(folder) else "no other was there before"
        raise OSError(error.errno, f"the checkpoint could not be written, {kept}: {error.strerror}", str(folder)) from error


def read(path: Where) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the rest of the checkpoint in the folder `path`.

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
    try:
        info = json.loads((folder / INDEX).read_text())
        made_by, weights, digest = info["format"], folder / Path(info["weights"]).name, info["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / INDEX} is damaged, or not of a checkpoint: {error}") from error
    if made_by != FORMAT:
        raise ValueError(f"{folder / INDEX} has the format {made_by!r}, expected {FORMAT}")
    if not weights.is_file():
        raise ValueError(f"{folder} lacks {weights.name}, the tensors of its checkpoint")
    data = weights.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{weights} is damaged: its {len(data)} bytes are not those that were written (no pickle is ever loaded)")
    try:
        return safetensors.torch.load(data), info
    except safetensors.SafetensorError as error:
        raise ValueError(f"{weights} is not a safetensors file: {error} (no pickle is ever loaded)") from error


def exists(path: Where) -> bool:
    """Whether there is a checkpoint in the folder `path`."""
    return (Path(path) / INDEX).is_file()


def load_weights(network: nn.Module, tensors: dict[str, Tensor], prefix: str, path: Where) -> None:
    """Gives a network the weights among the tensors of a checkpoint whose names begin with `prefix`.

    Raises:
        ValueError: they are those of another architecture.
    """
    weights = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    own = network.state_dict()
    wrong = [f"it lacks {name}" for name in own if name not in weights]
    wrong += [f"{name} is not in the network" for name in weights if name not in own]
    for name in own.keys() & weights.keys():
        if own[name].shape != weights[name].shape:
            wrong.append(f"{name} has shape {tuple(weights[name].shape)}, expected {tuple(own[name].shape)}")
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ValueError(f"the checkpoint in {path} is of another architecture than {type(network).__name__}: {min(wrong)}{more}")
    network.load_state_dict(weights)


def _replace(path: Path, data: bytes) -> None:
    """Writes a file in one step: until it is complete on the disk, the old one stays."""
    new = path.with_name(path.name + ".new")
    try:
        with open(new, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
