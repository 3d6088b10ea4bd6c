"""Checks of arguments, each with an error that names the argument, its value and what was expected."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

Time: TypeAlias = int | Tensor  # one step for the whole batch, or a LongTensor (batch,)


def unknown_word(said: Iterable[str], known: Sequence[str]) -> str | None:
    """What is wrong with the first word that is not known, and which known one is like it; None if all are known."""
    for word in said:
        if word not in known:
            near = get_close_matches(word, known, n=1)
            hint = f"the nearest known word is {near[0]!r}" if near else f"the known words are {', '.join(known)}"
            return f"has the unknown word {word!r}: {hint}"
    return None


def shown(value: object) -> str:
    """A value for a message: not all of it, where it is long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:150]} ... {text[-40:]}"


def wrong_type(name: str, value: object, expected: str) -> TypeError:
    """The error for an argument of another type, with its value."""
    return TypeError(f"{name} = {shown(value)} is of type {type(value).__name__}, expected {expected}")


def check_integer(name: str, value: int, expected: str = "an integer") -> int:
    """An integer, also one of NumPy's."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise wrong_type(name, value, expected)
    return int(value)


def check_count(name: str, value: int, least: int = 1) -> int:
    """An integer that is at least `least`."""
    if check_integer(name, value) < least:
        raise ValueError(f"{name} = {value} is below {least}")
    return int(value)


def check_seed(name: str, value: int) -> int:
    """An integer that a generator takes as its seed."""
    if check_count(name, value, least=0) >= 2**63:
        raise ValueError(f"{name} = {value} is above 2**63 - 1")
    return int(value)


def check_number(name: str, value: float, low: float, high: float) -> float:
    """A number strictly between `low` and `high`, also one of NumPy's."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise wrong_type(name, value, "a number")
    if not low < value < high:
        raise ValueError(f"{name} = {value} is outside ({low:g}, {high:g})")
    return float(value)


def check_type(name: str, value: object, expected: type) -> None:
    """An instance of a class."""
    if not isinstance(value, expected):
        raise TypeError(f"{name} is of type {type(value).__name__}, expected a {expected.__name__}")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """One of some names or numbers."""
    if value not in choices:
        raise ValueError(f"{name} = {value!r} is not one of {', '.join(map(repr, choices))}")


def check_range(name: str, value: tuple[float, float]) -> tuple[float, float]:
    """Two numbers in ascending order."""
    try:
        low, high = (float(number + 0.0) for number in value)  # to which no string can be added
    except (TypeError, ValueError) as wrong:
        raise TypeError(f"{name} = {value!r} is not a pair of numbers (low, high)") from wrong
    if not low < high:
        raise ValueError(f"{name} = {value!r} is not a range: expected low < high")
    return low, high


def check_flag(name: str, value: bool) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise wrong_type(name, value, "True or False")


def check_callable(name: str, value: object) -> None:
    """A function, or anything else that can be called."""
    if not callable(value):
        raise TypeError(f"{name} is of type {type(value).__name__}, expected a callable")


def check_generator(value: torch.Generator | None) -> None:
    """A generator, or None; a seed is none."""
    if value is not None and not isinstance(value, torch.Generator):
        raise wrong_type("generator", value, "a torch.Generator or None")


def check_path(name: str, value: str | os.PathLike[str]) -> None:
    """A path, as a string or as a Path."""
    if not isinstance(value, str | os.PathLike):
        raise wrong_type(name, value, "a path")


def check_tensor(name: str, value: Tensor) -> None:
    """A tensor of real floating-point numbers."""
    check_type(name, value, Tensor)
    if not value.is_floating_point():
        raise TypeError(f"{name} has dtype {value.dtype}, expected a floating-point dtype")


def check_integers(name: str, value: Tensor) -> None:
    """A tensor of integers."""
    check_type(name, value, Tensor)
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f"{name} has dtype {value.dtype}, expected an integer dtype such as torch.int64")


def check_batch(name: str, value: Tensor) -> None:
    """A floating-point tensor whose first dimension is the batch."""
    check_tensor(name, value)
    if value.ndim == 0:
        raise ValueError(f"{name} has shape (), expected (batch, ...)")


def check_examples(name: str, value: Tensor) -> None:
    """A floating-point tensor of one example or more, the first dimension."""
    check_batch(name, value)
    if not value.numel():
        raise ValueError(f"{name} has shape {tuple(value.shape)}, expected at least one example")


def check_finite(name: str, value: Tensor) -> None:
    """A tensor of numbers that are neither NaN nor infinite."""
    if value.is_meta:
        raise ValueError(f"{name} is on meta, expected a device where its numbers are")
    if not value.isfinite().all():
        row = f"[{int((~value.isfinite()).nonzero()[0, 0])}]" if value.ndim else ""
        raise ValueError(f"{name}{row} has an entry that is NaN or infinite, expected finite numbers")


def check_betas(beta: ArrayLike | Tensor) -> list[float]:
    """The variances of a schedule: one dimension of real numbers inside (0, 1), at least one."""
    try:
        table = np.asarray(beta.detach().cpu().double() if isinstance(beta, Tensor) and beta.is_floating_point() else beta)
        steps = np.reshape([float(b) for b in table.ravel()], table.shape) if table.dtype.kind in "fiuO" else None
    except (TypeError, ValueError, RuntimeError):
        steps = None
    if steps is None:
        raise TypeError(f"beta = {shown(beta)} is not a sequence of real numbers")
    if steps.ndim != 1 or not len(steps):
        raise ValueError(f"beta has shape {steps.shape}, expected one dimension with at least one entry")
    for i, b in enumerate(steps):
        if not 0 < b < 1:
            raise ValueError(f"beta[{i}] = {b} is outside (0, 1)")
    return [float(b) for b in steps]


def check_like(name: str, value: Tensor, like_name: str, like: Tensor) -> None:
    """A floating-point tensor of the shape and on the device of another: nothing is broadcast."""
    check_tensor(name, value)
    if value.shape != like.shape:
        raise ValueError(f"{name} has shape {tuple(value.shape)}, expected {tuple(like.shape)}, the shape of {like_name}")
    if value.device != like.device:
        raise ValueError(f"{name} is on {value.device}, expected {like.device}, where {like_name} is")


def check_time(t: Time, T: int, name: str, x: Tensor) -> int | Tensor:
    """A step of 1..T for each row of `x`, which errors call `name`, or one step for all of them.

    It is returned as it is used: an integer as an int, a tensor as a LongTensor on the device of `x`.
    """
    if not isinstance(t, Tensor):
        if not 1 <= check_integer("t", t, "an integer, or a tensor of integers (batch,)") <= T:
            raise ValueError(f"t = {t} is outside 1..{T}")
        return int(t)
    check_integers("t", t)
    if t.ndim and t.shape != x.shape[:1]:
        raise ValueError(f"t has shape {tuple(t.shape)}, expected {tuple(x.shape[:1])}: a step for each row of {name}")
    if t.is_meta and not x.is_meta:
        raise ValueError(f"t is on meta, expected {x.device}, where {name} is")
    t = t.to(torch.int64)
    if not values_can_be_read(t):
        t = t.where((t >= 1) & (t <= T), 2 * (T + 1))  # so that a look-up finds no row, before the first as after the last
    elif t.numel() and not (t.min() >= 1 and t.max() <= T):
        i = int(((t < 1) | (t > T)).flatten().nonzero()[0])
        raise ValueError(f"t{f'[{i}]' if t.ndim else ''} = {int(t.flatten()[i])} is outside 1..{T}")
    return t.to(device=x.device)


def values_can_be_read(x: Tensor) -> bool:
    """Whether Python may look at the values of `x`: not while torch.compile traces, under torch.func.vmap, or on "meta"."""
    if torch.compiler.is_compiling():
        return False
    while torch._C._functorch.is_functorch_wrapped_tensor(x):  # grad inside vmap wraps what vmap has wrapped
        if torch._C._functorch.is_batchedtensor(x):
            return False
        x = torch._C._functorch.get_unwrapped(x)
    return not x.is_meta
