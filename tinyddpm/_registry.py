"""What can be made again from a checkpoint: classes whose objects say how they were made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from torch import nn
from torch.nn.parallel import DistributedDataParallel

Class = TypeVar("Class", bound=type)
KNOWN: dict[str, type] = {}
BASES: list[type] = []
PLAIN = (bool, int, float, str, list, tuple, type(None))


def known(cls: Class) -> Class:
    """Registers a class whose objects have `arguments`, those of its constructor: plain values, or objects of such classes."""
    KNOWN[cls.__name__] = cls
    return cls


def known_base(cls: Class) -> Class:
    """The same for a class as which its subclasses are made again too: what they have besides is not kept."""
    BASES.append(cls)
    return known(cls)


def wraps(module: Any) -> str | None:
    """The name by which a wrapper holds its module: of torch.compile, or for several GPUs; None for any other module."""
    if isinstance(module, nn.DataParallel | DistributedDataParallel):
        return "module"
    return "_orig_mod" if isinstance(module, nn.Module) and "_orig_mod" in module._modules else None


def unwrapped(module: Any) -> Any:
    """The module within all its wrappers."""
    while name := wraps(module):
        module = getattr(module, name)
    return module


def plain_name(thing: nn.Module, name: str) -> str:
    """The name of a weight, as if no part of the thing were wrapped."""
    parts, at = [], thing
    for part in name.split("."):
        if part != wraps(at):
            parts.append(part)
        at = getattr(at, part, None)  # type: ignore[assignment]
    return ".".join(parts)


class Unknown(Exception):
    """A class that is not known here, by its name."""


def describe(thing: Any) -> Any:
    """A thing in plain values for JSON: the class to make it as and, if that is known, its arguments, described like it."""
    if isinstance(thing, PLAIN):
        return list(thing) if isinstance(thing, tuple) else thing
    thing = unwrapped(thing)
    cls = next((base for base in BASES if isinstance(thing, base)), type(thing))
    if KNOWN.get(cls.__name__) is not cls:
        return {"class": cls.__name__}
    return {"class": cls.__name__, "arguments": {key: describe(value) for key, value in thing.arguments.items()}}


def build(description: Any, **given: Any) -> Any:
    """The thing that a description is of, but for arguments that are given. What is no description stands for itself.

    Raises:
        Unknown: its class is not known, so that it has no arguments.
    """
    if not isinstance(description, dict):
        return description
    if description["class"] not in KNOWN or "arguments" not in description:
        raise Unknown(description["class"])
    arguments = {**description["arguments"], **given}
    return KNOWN[description["class"]](**{key: build(value) for key, value in arguments.items()})


def differences(name: str, saved: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """Where two descriptions differ: by what name, and what stands there."""
    inner = [x["arguments"] if isinstance(x, dict) and "arguments" in x else x for x in (saved, now)]
    if saved == now:
        return
    if isinstance(saved, dict) and isinstance(now, dict) and saved.get("class") != now.get("class"):
        yield from differences(name, saved.get("class"), now.get("class"))
    elif isinstance(inner[0], dict) and isinstance(inner[1], dict):
        for key, value in inner[1].items():
            yield from differences(key, inner[0].get(key), value)
        for key in inner[0]:  # such as labels, or a scale, which are no more
            if key not in inner[1] and key != "class":
                yield from differences(key, inner[0][key], None)
    elif isinstance(saved, list) and isinstance(now, list) and len(now) > 9:  # not to be shown whole
        yield from differences(f"len({name})", len(saved), len(now))
        for i, pair in enumerate(zip(saved, now, strict=False)):
            yield from differences(f"{name}[{i}]", *pair)
    else:
        yield name, saved, now
