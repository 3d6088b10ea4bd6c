"""What is public: the callables of the package that the reference shows and that the tests go through."""

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType

import tinyddpm as td
from tinyddpm import book, nets


def public() -> Iterator[tuple[str, Callable]]:
    """Each public function, class and method, by its name: "q_sample", "exact.GaussianMixture", "DDPM.sample"."""
    seen = set()
    for module in [td, nets, book, book.figures, *(m for m in map(td.__dict__.get, td.__all__) if isinstance(m, ModuleType))]:
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", [n for n in own if n[0] != "_" and callable(vars(module)[n])]):
            thing = getattr(module, name)
            if not (inspect.isroutine(thing) or isinstance(thing, type)) or thing in seen:
                continue
            seen.add(thing)
            name = name if module is td else f"{module.__name__.removeprefix('tinyddpm.')}.{name}"
            yield name, thing
            for method in vars(thing) if isinstance(thing, type) else ():
                if method[0] != "_" and inspect.isroutine(getattr(thing, method)):
                    yield f"{name}.{method}", getattr(thing, method)
