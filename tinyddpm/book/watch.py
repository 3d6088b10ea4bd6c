"""What a check's code does while it runs: which functions it calls, and whether its answer comes from the package."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode


@dataclass
class Seen:
    """What was seen of a function: its answer, the functions that it calls, and the values of the notebook that it reads."""

    answer: Any = None
    functions: set[str] = field(default_factory=set)  # of the package, and of the notebook
    values: set[str] = field(default_factory=set)

    @property
    def of_the_package(self) -> set[str]:
        """The names of the package's functions among them."""
        return {name for name in self.functions if name.startswith("td.")}


def watch(function: Callable[[], Any], scope: dict[str, Any]) -> Seen:
    """Runs a function, and sees the functions that it calls, of the package ("td.q_step") and of `scope`, its notebook."""
    seen, names = Seen(), {v.__code__: k for k, v in scope.items() if isinstance(v, FunctionType)}
    done: set[CodeType] = set()  # what has been seen once, and may be called a million times

    def look(frame: FrameType, event: str, _: Any) -> None:  # at each call of a function of Python's, and at nothing within it
        if frame.f_code in done:
            return
        if _in_package(frame):
            if not (frame.f_back and _in_package(frame.f_back)):
                seen.functions.add("td." + _name(frame))
            return
        done.add(frame.f_code)
        if frame.f_globals is scope:
            seen.functions |= {names[frame.f_code]} if frame.f_code in names else set()
            seen.values |= {name for name in _globals(frame.f_code) if _is_value(scope.get(name))}

    before = sys.gettrace()
    sys.settrace(look)
    try:
        seen.answer = function()
    finally:
        sys.settrace(before)
    return seen


def _in_package(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return name.startswith("tinyddpm.") and not name.startswith("tinyddpm.book")


def _name(frame: FrameType) -> str:
    own, name = frame.f_locals.get("self"), frame.f_code.co_name
    if own is None:
        return name
    return type(own).__name__ + (f".{name}" if not name.startswith("__") else "")


def _globals(code: CodeType) -> set[str]:
    return {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}


def _is_value(thing: Any) -> bool:
    return thing is not None and not isinstance(thing, type | ModuleType) and not callable(thing)


class Origin(TorchFunctionMode):
    """Follows arguments through a computation: an answer must depend on them through the package alone.

    So a cell cannot compute by itself what it is meant to ask the package for. Nor may it turn an argument into a plain number,
    which could not be followed.
    """

    def __init__(self, arguments: list[Tensor]) -> None:
        super().__init__()
        self.raw = {id(argument): argument for argument in arguments}  # what the package has not had yet

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        followed = any(id(arg) in self.raw for arg in _tensors([*args, *(kwargs or {}).values()]))
        frame: FrameType | None = sys._getframe(1)
        while frame and frame.f_globals.get("__name__", "").startswith("torch"):
            frame = frame.f_back
        inside = frame is not None and _in_package(frame)
        if followed and not inside and func.__name__ in ("item", "tolist", "numpy", "__float__", "__int__", "__array__"):
            raise TypeError(f"the code makes a plain number of an argument, by {func.__name__}: hand it to the package as it is")
        answer = func(*args, **(kwargs or {}))
        if inside:
            if func.__name__.endswith("_"):  # in place: the package's from now on
                for changed in _tensors(args[:1]):
                    self.raw.pop(id(changed), None)
        elif followed:
            self.raw.update((id(t), t) for t in _tensors([answer]))  # kept, so that no other tensor gets its address
        return answer


def _tensors(things: Any) -> list[Tensor]:
    return [t for thing in things for t in ([thing] if isinstance(thing, Tensor) else
                                            _tensors(thing) if isinstance(thing, list | tuple) else [])]  # fmt: skip
