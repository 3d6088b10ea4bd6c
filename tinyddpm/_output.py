"""Samples that are written as they come, so that their number takes no memory, and lines for whoever is waiting."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tinyddpm import pictures
from tinyddpm._files import replacing

LARGE = 16_000_000  # pixels: a larger grid is not zoomed
TOO_LARGE = 100_000_000  # pixels, which a viewer hardly opens
PAUSE = 30.0  # seconds between two lines


def is_first() -> bool:
    """Whether this is the first of the processes of `torchrun`, which speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def say(line: str) -> None:
    """A line for the user, on stderr."""
    if is_first():
        print(f"tinyddpm: {' '.join(line.split())}", file=sys.stderr, flush=True)


class Now:
    """Says now and then how far the work is: at most once in PAUSE seconds."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for a line. Then there is one, and the next has to wait."""
        if time.monotonic() < self.last + PAUSE:
            return False
        self.last = time.monotonic()
        return True


def check(name: str) -> Path:
    """The file to write, which can be written: this shows before all the work."""
    out = Path(name)
    if out.suffix.lower() not in (".png", ".npy"):
        raise ValueError(f"--out {out} ends in {out.suffix!r}, expected .png or .npy")
    real = Path(os.path.realpath(out))
    places = [place for place in (real, real.parent) if place.exists()] if not real.exists() or real.is_file() else [real]
    if out.is_dir() or not real.parent.is_dir() or not all(os.access(place, os.W_OK) for place in places):
        raise ValueError(f"--out {out} cannot be written: is its folder there, and yours to write to?")
    return out


def check_room(out: Path, n: int, shape: tuple[int, ...]) -> None:
    """Raises an error if n samples of a shape, in float32, do not fit on the disk."""
    needed, free = 4 * n * math.prod(shape), shutil.disk_usage(Path(os.path.realpath(out)).parent).free
    if needed > free:
        raise ValueError(f"--n {n} needs {needed / 1e9:.3g} GB for {out}, and {free / 1e9:.3g} GB are free there")


def check_grid(n: int, shape: tuple[int, ...], side: int) -> int:
    """How many pixels wide and high each of theirs becomes in a grid of n pictures, for about `side` pixels each.

    Raises:
        ValueError: there are too many for one picture.
    """
    height, width = pictures._grid_size(n, shape)
    if height * width > TOO_LARGE:
        raise ValueError(
            f"{n} samples make a picture of {width}x{height} pixels, expected at most {TOO_LARGE // 10**6} million:"
            " use --out samples.npy, or a smaller --n"
        )
    zoom = max(1, side // shape[1])
    return zoom if height * width * zoom**2 <= LARGE else 1


def write(out: Path, n: int, parts: Iterable[Tensor], side: int, as_drawn: Callable[[Tensor], Tensor] = lambda x: x) -> None:
    """Writes n samples as they come: as numbers, or as a picture, of points as a density, else in a grid.

    Args:
        out: the file, of which `check` has been asked.
        n: how many samples there are in all parts.
        parts: some samples at a time.
        side: how many pixels wide each picture should about be.
        as_drawn: where points are in the density, which reaches from -3 to 3.
    """
    if out.suffix.lower() == ".npy":
        begin: Any = np.lib.format.write_array_header_1_0
        with replacing(out) as file:
            for i, x in enumerate(parts):
                array = np.ascontiguousarray(x.detach().cpu().numpy())
                if i == 0:
                    header = {"descr": array.dtype.str, "fortran_order": False, "shape": (n, *array.shape[1:])}
                    begin(file, header)
                file.write(array.data)
        return
    drawn: pictures._Density | pictures._Grid | None = None
    for x in parts:
        if drawn is None:
            shape = tuple(x.shape[1:])
            drawn = pictures._Density() if x.ndim == 2 else pictures._Grid(n, shape, zoom=check_grid(n, shape, side))
        drawn.add(as_drawn(x) if x.ndim == 2 else x)
    assert drawn is not None
    pictures.write(out, drawn.pixels())
