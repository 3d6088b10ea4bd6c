"""Pictures to look at and to keep: many of them in a grid, points as a density, and files.

A picture is a tensor (channels, height, width) with values in [-1, 1]; its pixels are bytes, as matplotlib and Pillow take them.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tinyddpm._checks import check_batch, check_count, check_finite, check_number, check_path, check_type
from tinyddpm._files import replacing

Pixels = NDArray[np.uint8]


def grid(x: Tensor, columns: int | None = None, zoom: int = 1) -> Pixels:
    """Pictures side by side, in rows, with white lines between them, as pixels.

    Args:
        x: pictures (n, channels, height, width), grey (1 channel) or in colour (3). What is outside [-1, 1] is cut off.
        columns: how many stand in a row; without it, about as many as there are rows.
        zoom: how many pixels wide and high each of theirs becomes.

    Returns:
        Bytes (height, width), or (height, width, 3) if in colour.

    Example:
        >>> grid(torch.zeros(6, 1, 8, 8), columns=3).shape
        (19, 28)
    """
    check_batch("x", x)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not x.numel():
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (n, 1 or 3, height, width), n at least 1")
    check_finite("x", x)
    columns = check_count("columns", _columns(len(x)) if columns is None else columns)
    zoom = check_count("zoom", zoom)
    filled = _Grid(len(x), tuple(x.shape[1:]), columns, zoom)
    filled.add(x)
    return filled.pixels()


def density(x: Tensor, side: int = 256, reach: float = 3.0) -> Pixels:
    """Points (n, 2) as a picture of the square from -reach to reach: the more points, the darker.

    Args:
        x: the points; those outside are left out.
        side: how many pixels wide and high the picture is.
        reach: half the side of the square.

    Example:
        >>> density(torch.zeros(5, 2), side=3)
        array([[255, 255, 255],
               [255,   0, 255],
               [255, 255, 255]], dtype=uint8)
    """
    check_batch("x", x)
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected points (n, 2)")
    filled = _Density(check_count("side", side), check_number("reach", reach, 0, math.inf))
    filled.add(x)
    return filled.pixels()


class _Grid:
    """A grid that is filled piece by piece, so that the pictures need not be there all at once. `grid` says how it looks.

    Args:
        n: how many pictures will be added.
        shape: that of one picture, (channels, height, width).
        columns, zoom: as for `grid`.
    """

    def __init__(self, n: int, shape: tuple[int, ...], columns: int | None = None, zoom: int = 1) -> None:
        channels = shape[0]
        self.columns, self.zoom, self.there = _columns(n) if columns is None else columns, zoom, 0
        self.whole = np.full((*_grid_size(n, shape, self.columns), channels), 255, np.uint8)

    def add(self, x: Tensor) -> None:
        """Puts the next pictures in their places."""
        pixels = ((x.detach().cpu().float().clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
        _, height, width, _ = pixels.shape
        for one in pixels:
            row, column = divmod(self.there, self.columns)
            down, right = row * (height + 1) + 1, column * (width + 1) + 1  # a line above and to the left of each
            self.whole[down : down + height, right : right + width] = one
            self.there += 1

    def pixels(self) -> Pixels:
        """The grid."""
        whole = self.whole[..., 0] if self.whole.shape[2] == 1 else self.whole
        return whole if self.zoom == 1 else whole.repeat(self.zoom, axis=0).repeat(self.zoom, axis=1)


def _grid_size(n: int, shape: tuple[int, ...], columns: int | None = None) -> tuple[int, int]:
    """The height and the width of a `_Grid` of those arguments, without zoom."""
    columns = _columns(n) if columns is None else columns
    return math.ceil(n / columns) * (shape[1] + 1) + 1, columns * (shape[2] + 1) + 1


def _columns(n: int) -> int:
    return math.ceil(math.sqrt(n))


class _Density:
    """A density that is counted piece by piece. `density` says how it looks, and what `side` and `reach` are."""

    def __init__(self, side: int = 256, reach: float = 3.0) -> None:
        self.range, self.counts = [[-reach, reach]] * 2, np.zeros((side, side))

    def add(self, x: Tensor) -> None:
        """Counts the next points."""
        points = x.detach().cpu().double().numpy()
        self.counts += np.histogram2d(-points[:, 1], points[:, 0], bins=len(self.counts), range=self.range)[0]

    def pixels(self) -> Pixels:
        """The density."""
        dark = np.minimum(self.counts / max(float(np.quantile(self.counts, 0.99)), 1.0), 1)
        pixels: Pixels = (255 * (1 - dark)).astype(np.uint8)
        return pixels


def write(path: str | os.PathLike[str], pixels: Pixels) -> None:
    """Writes pixels, such as those of `grid`, to the file `path`; its name says in which format: .png keeps every pixel.

    The file is there once it is complete: after an error, such as a full disk, all is as it was.

    Raises:
        ValueError: there is no such format.

    Example:
        >>> write(folder / "grid.png", grid(torch.zeros(6, 1, 8, 8)))
        >>> read(folder / "grid.png").shape
        torch.Size([1, 19, 28])
    """
    check_path("path", path)
    check_type("pixels", pixels, np.ndarray)
    if pixels.dtype != np.uint8 or (pixels.ndim != 2 and pixels.shape[2:] != (3,)):
        raise ValueError(f"pixels are {pixels.dtype} of shape {pixels.shape}, expected bytes (height, width) or (height, width, 3)")
    kind = Image.registered_extensions().get(Path(path).suffix.lower())
    if kind not in Image.SAVE:
        raise ValueError(f"path = {str(path)!r} is of no known format of pictures, expected one such as .png")
    with replacing(path) as file:
        Image.fromarray(pixels).save(file, format=kind)


def read(path: str | os.PathLike[str]) -> Tensor:
    """A picture from the file `path`: float32 in [-1, 1], (1, height, width) if it is stored as grey, else (3, height, width).

    Raises:
        OSError: there is no such file, or it is no picture.

    Example:
        >>> write(folder / "grey.png", np.full((4, 6), 255, dtype=np.uint8))
        >>> read(folder / "grey.png").max()
        tensor(1.)
    """
    check_path("path", path)
    with Image.open(path) as image:
        deep, grey = image.mode.startswith("I"), image.mode in ("1", "L", "LA")  # deep: grey in 16 bits, which Pillow would cut off
        pixels = np.asarray(image if deep else image.convert("L" if grey else "RGB"), dtype=np.float32)
    whole = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)
    middle = 32767.5 if deep else 127.5
    return (whole / middle - 1).contiguous()
