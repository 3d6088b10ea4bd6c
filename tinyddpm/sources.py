"""What DATA names on the command line: data of the package, a folder of pictures, one picture, or a file of numbers.

Whatever it is, it becomes what `fit` takes, and it may be larger than memory: a large file .npy stays where it is, and what has to
be made of other data, such as pictures that are resized, goes to a file on the disk that nobody sees.
"""

from __future__ import annotations

import os
import re
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from tinyddpm import data
from tinyddpm._files import stored
from tinyddpm.checkpoint import POINTS
from tinyddpm.examples import _tensor, pieces, survey

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]

KNOWN = ("digits", *POINTS)
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")  # of pictures
EXPECTED = f"{', '.join(KNOWN)}, a folder of pictures, a picture, or a file .npy or .npz"
MANY = 1_000_000  # more classes than that are no classes: each has features of its own in the network
OWN_SIZE = 64  # pictures that all have one size, up to this, are taken as they are
SIZE = 32  # else: what a CPU can train on while someone waits
LARGEST = 4096  # a side for which no machine trains such a network any more
SMALL = 2**25  # bytes of data that are held in memory
CLOSE = 1e-3  # a number so little outside of [-1, 1] is there by rounding
FAR = 1e5  # a mean of so many standard deviations leaves float32 two digits or less for what differs
LABELS = re.compile(r"(^|_)(y|labels?|targets?|classes)(_|$)", re.IGNORECASE)  # names of labels in an archive


@dataclass
class Asked:
    """What is asked for besides the name.

    Attributes:
        part: of data that the package knows, or of an archive: what to train with, or what to test with.
        seed: of points that are drawn.
        labels: none, the name of a file of them, or True for those that belong to the data.
        classes: labels are below it.
        size: the side of pictures.
        channels: where an array of pictures has its channels.
        shape: of one example, where a model says so.
        rows: how many examples at most.
        out: where a run is written: that is not data, and there is room on its disk.
        packaged: whether the name is meant as the package's, whatever is here.
        tell: called with how far the reading is, in words.
    """

    part: Literal["train", "test"] = "train"
    seed: int = 0
    labels: str | Literal[True] | None = None
    classes: int = MANY
    size: int | None = None
    channels: Literal["first", "last"] | None = None
    shape: Shape | None = None
    rows: int | None = None
    out: Path | None = None
    packaged: bool = False
    tell: Callable[[str], None] = lambda _: None


@dataclass
class Source:
    """Data, as `fit` takes them.

    Attributes:
        x: (n, d) or (n, channels, height, width): floats, or pixels in 8 or 16 bits.
        labels: int64 (n,), if they were asked for.
        shift, scale: of points from a file: the mean and the standard deviation of each coordinate, 1 where it does not change.
        levels: the values that a number can have, where the package knows.
        lines: what the user should know.
    """

    x: Tensor | Array
    labels: Tensor | None = None
    shift: list[float] | None = None
    scale: list[float] | None = None
    levels: int | None = None
    lines: list[str] = field(default_factory=list)


def source(name: str, asked: Asked) -> Source:
    """The data that a name stands for.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it holds something else, or it is not clear what.
    """
    path, suffix, lines = Path(name), Path(name).suffix.lower(), list[str]()
    of_package = name in KNOWN and (asked.packaged or not _is_meant(path, asked, lines))
    album = bool(name) and not of_package and (path.is_dir() or suffix in SUFFIXES)
    if asked.size is not None and not album:
        raise ValueError(f"--size is for a folder of pictures, and {name} is none")
    if asked.size is not None and asked.size > LARGEST:
        raise ValueError(f"--size {asked.size} is above {LARGEST}")
    if asked.channels is not None and suffix not in (".npy", ".npz"):
        raise ValueError(f"--channels is for pictures in a file .npy or .npz, and {name} is none")
    if of_package:
        made = _known(name, asked)
    elif album:
        made = _album(path, asked)
    elif suffix == ".npy":
        made = _array(_npy(name), name, asked)
    elif suffix == ".npz":
        array, labels = _npz(name, asked, lines)
        made = _array(array, name, asked)
        made.labels = None if labels is None else _labels(labels, f"those in {name}", name, len(array), asked.classes)
    else:
        raise ValueError(f"DATA {name} is not one of {EXPECTED}")
    made.lines = lines + made.lines
    if isinstance(asked.labels, str):
        if not asked.labels.lower().endswith(".npy"):
            raise ValueError(f"--labels {asked.labels} is no file .npy of integers")
        made.labels = _labels(_npy(asked.labels), asked.labels, name, len(made.x), asked.classes)
    elif asked.labels and made.labels is None:
        raise ValueError(f"--labels needs a file .npy of integers: {name} has no labels of its own")
    if made.labels is not None and len(absent := made.labels.bincount().eq(0).nonzero()):
        classes = f"0..{int(made.labels.max())}"
        made.lines.append(f"labels: {len(absent)} of the classes {classes} have no example, the first is {int(absent[0])}")
    if isinstance(made.x, np.ndarray) and made.x.nbytes <= SMALL:
        held = _tensor(made.x)
        made.x = held.float() if held.is_floating_point() else held
    return made


def _is_meant(path: Path, asked: Asked, lines: list[str]) -> bool:
    """Whether a folder here is meant, and not the data of the package that have its name."""
    if not path.is_dir() or _is_out(path, asked.out):
        return False
    meant = any(_is_picture(file) for file in _files(path, asked.out))
    here = f"the folder {path} here, and not" if meant else f"not the folder {path} here, which holds no pictures, but"
    lines.append(f"the data are {here} those of that name that come with the package")
    return meant


def _known(name: str, asked: Asked) -> Source:
    """The digits, or points as `data` draws them."""
    if name == "digits":
        labels = data.digit_labels(asked.part) if asked.labels is True else None
        return Source(data.digits(asked.part)[: asked.rows], labels, levels=17)
    points: Tensor = getattr(data, name)(50000, torch.Generator().manual_seed(asked.seed))
    labels = data.eight_gaussians_labels(points) if asked.labels is True and name == "eight_gaussians" else None
    return Source(points[: asked.rows], labels)


def _labels(array: Array, name: str, of: str, n: int, classes: int) -> Tensor:
    """Labels that are one for each of n examples, and classes."""
    if array.dtype.kind not in "iu" or array.shape != (n,):
        raise ValueError(
            f"--labels {name} has shape {array.shape} and dtype {array.dtype}, expected ({n},) integers, one for each of {of}"
        )
    for i in np.flatnonzero((array < 0) | (array >= classes))[:1]:
        raise ValueError(f"--labels {name} has {array[i]} in row {i}, expected labels in 0..{classes - 1}")
    return torch.from_numpy(array.astype(np.int64))


# ---- arrays ----


def _npy(name: str) -> Array:
    """The array in a file .npy, which stays on the disk. No archive, and no pickle."""
    opened: Any = np.lib.format.open_memmap  # where np.load would also take an archive or a pickle for what it is not
    try:
        array: Array = opened(name, mode="r")
    except ValueError as error:
        raise ValueError(f"{name} is no whole file .npy of numbers: {error}") from error
    return array


def _npz(name: str, asked: Asked, lines: list[str]) -> tuple[Array, Array | None]:
    """The array in an archive that is the data, and the one of its labels if they are asked for."""
    try:
        opened: Any = np.load(name, mmap_mode="r", allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise ValueError("it is one array, whose name ends in .npy")
        with opened as archive:
            keys = [*getattr(archive, "files", ())]
            found = _one([key for key in keys if not LABELS.search(key)], asked.part, r"^(x|data|images?)$")
            if found is None:
                listed = ", ".join(keys) or "none"
                raise ValueError(f"expected one array, or one of the name x, data, images or {asked.part}: it holds {listed}")
            if len(keys) > 1:
                lines.append(f"{name}: the data are its array {found}")
            if asked.labels is not True:
                return archive[found], None
            told = _one([key for key in keys if LABELS.search(key)], asked.part, r"^(y|labels?)$")
            if told is None:
                raise ValueError(f"--labels needs an array of integers of the name labels or y: it holds {', '.join(keys)}")
            labels = archive[told]
            return archive[found], labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    except (ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{name} is no file .npz of data: {error}") from error


def _one(keys: list[str], part: str, usual: str) -> str | None:
    """The only one, or the only one with the usual name, or with that of the part."""
    for pattern in ("", usual, part):
        if len(found := [key for key in keys if re.search(pattern, key.lower())]) == 1:
            return found[0]
    return None


def _array(array: Array, name: str, asked: Asked) -> Source:
    """Points or pictures from an array."""
    hint = ": black and white pictures are x.astype('uint8') * 255" if array.dtype == bool else ""
    if array.dtype.kind not in "fiu" or not array.ndim or not array.size:
        raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}, expected numbers (n, ...), n at least 1{hint}")
    count, array = len(array), array[: asked.rows]
    if asked.channels is not None and array.ndim != 4:
        raise ValueError(f"--channels is for pictures in four dimensions, and {name} has shape {array.shape}")
    if array.dtype == np.uint8 and array.ndim < 3:
        raise ValueError(
            f"{name} has bytes of shape {array.shape}, expected (n, height, width) or (n, height, width, channels):"
            " rows of pixels can be reshaped to that, and points are floats"
        )
    if array.ndim == 3 and array.shape[2] in (1, 3, 4):
        one, many, kind = (1, *array.shape), (*array.shape[:2], array.shape[2], 1), "grey" if array.shape[2] == 1 else "colour"
        raise ValueError(f"{name} has shape {array.shape}: a picture in {kind} is {one}, and grey ones are {many}")
    if array.ndim in (3, 4):
        made = _pictures(_channels_first(array, name, asked), name, asked)
        if array.ndim == 3 and count in (3, 4):
            made.lines.append(f"{name}: taken for {count} pictures in grey, where one in colour is (1, {count}, height, width)")
        return made
    if array.ndim == 2:
        return _points(array, name, asked)
    hint = f": points on a line are ({len(array)}, 1)" if array.ndim == 1 else ""
    raise ValueError(f"{name} has shape {array.shape}, expected points (n, d) or pictures (n, channels, height, width){hint}")


def _points(array: Array, name: str, asked: Asked) -> Source:
    """Points as they are, with the mean and the standard deviation of each coordinate."""
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        kind = np.float32 if array.dtype.itemsize <= 2 else np.float64  # in which all of them stay apart, or nearly
        array = stored((piece.astype(kind) for piece in pieces(array)), asked.out)
    found = survey(name, array)
    if max(-found.low, found.high) > float(np.finfo(np.float32).max):
        raise ValueError(f"{name} has numbers from {found.low:g} to {found.high:g}, more than float32 can hold")
    mean, std = found.mean.numpy(), found.variance.sqrt().numpy()
    still = std <= 1e-7 * np.abs(mean)  # in float32, which they are trained in
    lines = [
        f"{name}: coordinate {i} has mean {mean[i]:g} and standard deviation {std[i]:g} only, which float32 can hardly tell:"
        " subtract the mean first"
        for i in np.flatnonzero(~still & (np.abs(mean) > FAR * std))[:1]
    ]
    if len(which := np.flatnonzero(still & (mean != 0))):
        changes = np.any([(piece[:, which] != array[0, which]).any(0) for piece in pieces(array)], axis=0)
        for i in which[changes][:1]:
            lines.append(f"{name}: coordinate {i} changes by less than float32 can tell at {mean[i]:g}: subtract the mean first")
    return Source(array, shift=mean.tolist(), scale=np.where(still, 1, std).tolist(), lines=lines)


def _channels_first(array: Array, name: str, asked: Asked) -> Array:
    """Pictures (n, channels, height, width) from either layout; grey ones may lack the channels."""
    if array.ndim == 3:
        return array[:, None]
    ways = {"first": array, "last": np.moveaxis(array, -1, 1)}
    if asked.channels is not None:
        return ways[asked.channels]
    of_model = [way for way in ways.values() if asked.shape is not None and way.shape[2:] == asked.shape[1:]]
    likely = next((found for found in (of_model, [way for way in ways.values() if way.shape[1] <= 4]) if found), [])
    if len(likely) == 1:
        return likely[0]
    _, a, b, c = array.shape
    raise ValueError(
        f"{name} has shape {array.shape}: is that {a} channels of {b}x{c} pixels (--channels first), or {a}x{b} pixels of"
        f" {c} channels (--channels last)?"
    )


def _pictures(array: Array, name: str, asked: Asked) -> Source:
    """Pictures as pixels in 8 or 16 bits, or as floats in [-1, 1]. What the numbers mean follows from the range that they fill."""
    low, high = _ends(array, name)
    kind, whole, signed = array.dtype.type, array.dtype.kind in "iu", low < 0
    white = 65535 if kind is np.uint16 and high > 255 else 255 if high > 1 + CLOSE or (whole and high == 0) else 1
    if low < (-1 - CLOSE if white == 1 else 0) or high > white + CLOSE or (not whole and 1 + CLOSE < high < 128):
        hint = ": 16 bits are x.astype('uint16')" if whole and low >= 0 and high < 2**16 else ""
        expected = "pictures as numbers in [-1, 1], in [0, 1] or in [0, 255], or as bytes"
        raise ValueError(f"{name} has numbers from {low:g} to {high:g}, expected {expected}{hint}")
    bits = {255: np.uint8, 65535: np.uint16}.get(white) if whole else None
    clear, lines = array.shape[1] in (2, 4) and not signed, []
    if bits and 0 < high < white / 2:
        lines.append(f"{name}: pictures that never go above {high:g} of {white}, which is dark")
    elif not signed and bits is not kind:
        lines.append(f"{name}: numbers from {low:g} to {high:g}, where 0 is taken for black and {white} for white")
    if clear:
        lines.append(f"{name}: the last of {array.shape[1]} channels is taken for alpha, and the pictures are laid over white")
    elif ((signed and not whole and array.dtype.itemsize <= 8) or bits is kind) and array.dtype.isnative:
        return Source(array, lines=lines)

    def converted() -> Iterator[Array]:
        for piece in pieces(array):
            share = (piece + 1) / 2 if signed else piece / white  # of white
            if clear:
                share = share[:, :-1] * share[:, -1:] + 1 - share[:, -1:]
            yield (share * white).round().astype(bits) if bits else (2 * share - 1).astype(np.float32)

    return Source(stored(converted(), asked.out), lines=lines)


def _ends(array: Array, name: str) -> tuple[float, float]:
    """The least and the greatest number."""
    ends = np.array([(piece.min(), piece.max()) for piece in pieces(array)], dtype=np.float64)
    if not np.isfinite(ends).all():
        raise ValueError(f"{name} has a number that is NaN or infinite")
    return float(ends[:, 0].min()), float(ends[:, 1].max())


# ---- pictures ----


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _is_out(path: Path, out: Path | None) -> bool:
    return out is not None and os.path.realpath(path) == os.path.realpath(out)


def _files(folder: Path, out: Path | None) -> Iterator[Path]:
    """All files in a folder and below, except hidden ones and those of the run."""
    seen = set()  # a link may lead to where it comes from
    for where, folders, names in os.walk(folder, followlinks=True):
        here = Path(where)
        seen.add(os.path.realpath(here))
        shown = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        folders[:] = [name for name in shown if not _is_out(here / name, out) and os.path.realpath(here / name) not in seen]
        yield from (here / name for name in names if not name.startswith("."))


def _album(root: Path, asked: Asked) -> Source:
    """The pictures of a folder, or one picture, in one size, as bytes on the disk, and what there is to know about them."""
    files = sorted(_files(root, asked.out), key=lambda path: path.parts) if root.is_dir() else [root]
    paths, others = [path for path in files if _is_picture(path)], [path for path in files if not _is_picture(path)]
    if not paths:
        there = f"there is {_some(others, root)}" if others else "it is empty"
        raise ValueError(f"the folder {root} holds no pictures ({', '.join(SUFFIXES)}): {there}")
    paths, drawn = paths[: asked.rows], dict[Path, bool]()  # whether something is transparent in those that can be read
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of large pictures and odd metadata, which are no matter here
        heads = {path: head for path in paths if (head := _tried(_head, path)) is not None}
        shape = _target(heads.values(), root, asked)

        def rows() -> Iterator[Array]:
            for i, path in enumerate(heads):
                if (made := _tried(_drawn, path, shape)) is not None:
                    pixels, drawn[path] = made
                    yield pixels[None]
                asked.tell(f"{i + 1} of {len(heads)} pictures are read")

        x = stored(rows(), asked.out)
    if not drawn:
        if not root.is_dir():
            open(root, "rb").close()  # which says so where there is none
        raise ValueError(f"{root} is no picture that can be read" if root in paths else f"no picture in {root} can be read")
    lines = [f"{root}: {_described([heads[path][0] for path in drawn], shape, asked)}"]
    if 0 < (high := int(x.max())) < 128:
        lines.append(f"{root}: pictures that never go above {high} of 255, which is dark")
    if clear := sum(drawn.values()):
        lines.append(f"{root}: something is transparent in {clear} of {len(drawn)}, and white behind it")
    if bad := [path for path in paths if path not in drawn]:
        lines.append(f"{root}: left out, as they cannot be read: {_some(bad, root)}")
    if others:
        lines.append(f"{root}: left out, as they are no pictures: {_some(others, root)}")
    return Source(x, _subfolders(list(drawn), root, asked, lines) if asked.labels is True else None, lines=lines)


def _tried(read: Callable[..., Any], path: Path, *more: Any) -> Any:
    """What a function makes of a picture; None for one that is broken: the decoders raise all kinds of errors."""
    try:
        return read(path, *more)
    except Exception:
        return None


def _head(path: Path) -> tuple[tuple[int, int], bool]:
    """The size of a picture as it is to be seen, and whether it is grey. Its pixels are not read."""
    if path.exists() and not path.is_file():
        raise ValueError("a pipe, for which one would wait")
    with Image.open(path) as image:
        if image.mode == "F":
            raise ValueError("nobody can say which of its numbers is white")
        width, height = image.size
        turned = image.getexif().get(0x0112, 1) >= 5
        return (height, width) if turned else (width, height), image.mode in ("1", "L", "LA") or image.mode.startswith("I")


def _target(heads: Collection[tuple[tuple[int, int], bool]], root: Path, asked: Asked) -> Shape:
    """The shape that all pictures get, (channels, height, width)."""
    if asked.shape is not None:
        if len(asked.shape) != 3 or asked.shape[0] not in (1, 3):
            raise ValueError(f"{root} has pictures, expected examples of shape {asked.shape}")
        return asked.shape
    sizes, channels = {size for size, _ in heads}, 1 if all(grey for _, grey in heads) else 3
    if asked.size is None and len(sizes) == 1:
        ((width, height),) = sizes
        if max(width, height) <= OWN_SIZE:
            return channels, height, width
    return channels, asked.size or SIZE, asked.size or SIZE


def _drawn(path: Path, shape: Shape) -> tuple[Array, bool]:
    """A picture in that shape, as bytes: its shorter side fitted, its middle taken. And whether it was transparent somewhere."""
    channels, height, width = shape
    with Image.open(path) as opened:
        opened.draft(None, (2 * max(height, width),) * 2)  # a large JPEG is decoded in a smaller size, still larger than needed
        image = ImageOps.exif_transpose(opened) or opened
        clear = False
        if image.mode.startswith("I"):  # grey in 16 bits, which Pillow would cut off
            deep = np.asarray(image, dtype=np.float64) / 257
            if deep.min() < 0 or deep.max() > 255:
                raise ValueError("more than 16 bits, of which nobody can say which is white")
            image = Image.fromarray(deep.round().astype(np.uint8))
        elif image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")
            clear = int(np.asarray(image.getchannel("A")).min()) < 255
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        image = image.convert("L" if channels == 1 else "RGB")
        fitted = np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS))
    return fitted.reshape(height, width, channels).transpose(2, 0, 1), clear


def _described(sizes: list[tuple[int, int]], shape: Shape, asked: Asked) -> str:
    """What pictures there are, and what becomes of them."""
    channels, height, width = shape
    many = f"{len(sizes)} picture{'s' * (len(sizes) > 1)} in {'grey' if channels == 1 else 'colour'}"
    by_area = sorted({*sizes}, key=lambda size: (size[0] * size[1], size))
    (w, h), (most_w, most_h) = by_area[0], by_area[-1]
    if by_area == [(width, height)]:
        return f"{many} of {width}x{height}"
    kinds = f"of {w}x{h}" if len(by_area) == 1 else f"of {len(by_area)} sizes from {w}x{h} to {most_w}x{most_h}"
    small = sum(w < width or h < height for w, h in sizes)
    enlarged = f", {small} of them enlarged" if small else ""
    more = f" (--size {2 * SIZE} for larger ones)" if asked.size is None and asked.shape is None else ""
    return f"{many} {kinds}, resized and cropped to {width}x{height}{enlarged}{more}"


def _subfolders(paths: list[Path], root: Path, asked: Asked, lines: list[str]) -> Tensor:
    """The class of each picture: the name of the subfolder that it is in, by its place in the alphabet."""
    parts = [path.relative_to(root).parts for path in paths]
    for path, where in zip(paths, parts, strict=True):
        if len(where) < 2:
            raise ValueError(f"--labels: {path} is in no subfolder of {root}, whose name would be its label")
    counts = Counter(where[0] for where in parts)
    names = sorted(counts)
    if not 2 <= len(names) <= asked.classes:
        expected = "two classes or more" if len(names) < 2 else f"the {asked.classes} of the run"
        raise ValueError(f"--labels: the pictures of {root} are in subfolders of {len(names)} names, expected {expected}")
    shown = [f"{i} = {name} ({counts[name]})" for i, name in enumerate(names)]
    lines.append(f"labels: {', '.join(shown if len(shown) <= 12 else [*shown[:10], '...', shown[-1]])}")
    return torch.tensor([names.index(where[0]) for where in parts])


def _some(paths: Sequence[Path], root: Path) -> str:
    """The names of the first files."""
    names = [str(path.relative_to(root)) if path != root else str(path) for path in paths[:3]]
    return ", ".join(names) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
