"""tinyddpm: denoising diffusion (DDPM) as a small, checked library. One module per chapter of the book.

`tinyddpm.ledger` (needs SymPy) and `tinyddpm.figures` (needs matplotlib) are loaded when they are first used.
"""

import importlib
from types import ModuleType

from tinyddpm import data
from tinyddpm.forward import q_marginal, q_sample, q_step
from tinyddpm.gaussian import Gaussian
from tinyddpm.schedule import Schedule

__version__ = "0.1.0"  # the one place: pyproject.toml reads it here

__all__ = ["Gaussian", "Schedule", "data", "q_marginal", "q_sample", "q_step"]


def __getattr__(name: str) -> ModuleType:
    if name in ("figures", "ledger"):
        return importlib.import_module(f"tinyddpm.{name}")
    raise AttributeError(f"module 'tinyddpm' has no attribute {name!r}")
