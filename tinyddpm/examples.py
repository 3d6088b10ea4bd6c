"""Where the examples of a batch come from: a tensor in memory, an array on the disk, or a Dataset. Bytes stay bytes until then."""

from __future__ import annotations

import contextlib
import mmap
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from tinyddpm._checks import check_examples, check_finite

Examples: TypeAlias = "Tensor | NDArray[Any] | Dataset[Any]"
Batch: TypeAlias = tuple[Tensor, Any]  # examples, and what is told of them, a tensor if it can be one

PIXELS = {torch.uint8: 127.5, torch.uint16: 32767.5}  # the middle of their range, which becomes 0
LOOK = 1024  # rows that are looked at together
PIECE = 2**21  # numbers: of large examples, fewer rows are, because meanwhile each number takes some ten times its place
ENOUGH = 100_000_000  # numbers: of larger data, so many are looked at, in rows that are evenly spread
LEAST, MOST = 0.05, 20.0  # of the variance of all numbers, and of the mean square of a coordinate: a schedule fits between
ALIKE = 1e-14  # a variance over the square of a mean that is there by rounding, in float64
FEW = 64  # examples of a Dataset that are looked at: each may be a file


def numbers(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Examples as a network takes them: bytes and 16-bit numbers are pixels, the darkest becomes -1 and the brightest 1."""
    return x.to(dtype) / PIXELS[x.dtype] - 1 if x.dtype in PIXELS else x.to(dtype)


def check_data(name: str, x0: Any) -> None:
    """Something that examples can be drawn from."""
    if isinstance(x0, Tensor) and x0.layout != torch.strided:
        raise TypeError(f"{name} has the layout {x0.layout}, expected a dense tensor: {name}.to_dense() is one")
    if isinstance(x0, Tensor) and x0.dtype not in PIXELS:
        check_examples(name, x0)
        check_finite(name, x0)
        return
    if hasattr(x0, "to_numpy"):  # a table of pandas or polars, whose [0] is a column
        raise TypeError(f"{name} is a {type(x0).__name__}, expected an array: {name}.to_numpy() is one")
    if isinstance(x0, np.ma.MaskedArray) and np.any(x0.mask):
        raise ValueError(f"{name} has masked entries, expected numbers")
    if isinstance(x0, Tensor | np.ndarray) and not x0.ndim:
        raise ValueError(f"{name} has shape (), expected (n, ...)")
    if isinstance(x0, DataLoader):
        raise TypeError(f"{name} is a DataLoader, expected its Dataset: batches are drawn here, by as many processes as workers=")
    if isinstance(x0, IterableDataset) or not (hasattr(x0, "__len__") and hasattr(x0, "__getitem__")) or isinstance(x0, str | dict):
        expected = "a tensor, an array, or a Dataset with a length, of which any example can be asked for"
        raise TypeError(f"{name} is of type {type(x0).__name__}, expected {expected}")
    if isinstance(x0, np.ndarray) and x0.dtype.kind != "f" and x0.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise TypeError(f"{name} has dtype {x0.dtype}, expected floating-point numbers, or pixels in 8 or 16 bits")
    if not len(x0) or (isinstance(x0, Tensor | np.ndarray) and 0 in x0.shape):
        shape = f"shape {tuple(x0.shape)}" if isinstance(x0, Tensor | np.ndarray) else "length 0"
        raise ValueError(f"{name} has {shape}, expected at least one example")


@dataclass(frozen=True)
class Survey:
    """What a look at the data has found, pixels as numbers in [-1, 1].

    Attributes:
        rows: how many examples there are.
        shape: of one example.
        mean, variance: of points (n, d) for each coordinate, (d,); of anything else over all numbers, (1,); float64.
        low, high: the least and the greatest number.
        known: (4,), by which the data are known again: a random projection of all of them, in float64.
        pixels: whether they are pixels in 8 or 16 bits.
    """

    rows: int
    shape: tuple[int, ...]
    mean: Tensor
    variance: Tensor
    low: float
    high: float
    known: Tensor
    pixels: bool = False

    @property
    def size(self) -> float:
        """The root of the mean square."""
        return float((self.variance + self.mean**2).mean().sqrt())


def survey(name: str, x0: Examples) -> Survey:
    """Looks at the data, a part at a time: at all of them, at evenly spread rows of very large ones, at few examples of a Dataset.

    The projection is sum a_n (x_n · b) over the rows n, with random numbers a and b, over the root of how many numbers it sums.
    Other data have another one, up to a chance; the last digits of the data hardly change it.
    """
    rows, parts = len(x0), _parts(name, x0)  # type: ignore[arg-type]
    totals: list[Tensor] = []
    for part, which in parts:
        pixels = part.dtype in PIXELS
        part = numbers(part, torch.float32) if pixels else part
        if not part.isfinite().all():
            bad = int(which[(~part.isfinite()).flatten(1).any(dim=1).nonzero()[0, 0].cpu()])
            raise ValueError(f"{name}[{bad}] has an entry that is NaN or infinite, expected finite numbers")
        shape, flat = tuple(part.shape[1:]), part.detach().double().reshape(len(part), -1).cpu()
        draw = torch.Generator().manual_seed(1)
        b = torch.randn(flat.shape[1], 4, generator=draw, dtype=torch.float64)
        a = torch.randn(len(flat), 4, generator=draw.manual_seed(2 + int(which[0])), dtype=torch.float64)
        per = flat if len(shape) == 1 else flat.reshape(-1, 1)
        ends = torch.stack([flat.min(), flat.max()])
        found = [torch.tensor([float(len(per))]), per.sum(0), (per**2).sum(0), ends, (a * (flat @ b)).sum(0)]
        if totals and totals[1].shape != found[1].shape:
            raise ValueError(f"{name}[{int(which[0])}] has shape {shape}, expected that of the other examples")
        if totals:
            found[3] = torch.stack([torch.minimum(totals[3], ends)[0], torch.maximum(totals[3], ends)[1]])
            found = [old + new if i != 3 else new for i, (old, new) in enumerate(zip(totals, found, strict=True))]
        totals = found
    count, total, squares, ends, known = totals
    mean = total / count
    variance = (squares / count - mean**2).clamp(min=0)
    many = float(count) * (len(mean) if len(shape) == 1 else 1)
    return Survey(rows, shape, mean, variance, float(ends[0]), float(ends[1]), known / many**0.5, pixels)


def _parts(name: str, x0: Examples) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """Examples as they are, some at a time, and which they are."""
    rows = len(x0)  # type: ignore[arg-type]
    if not isinstance(x0, Tensor | np.ndarray):
        which = np.unique(np.linspace(0, rows - 1, min(rows, FEW)).round().astype(np.int64))
        x, _ = _Drawn(name, x0)._examples([(int(i), int(i)) for i in which])
        yield x, which
        return
    each = max(1, x0[0].numel() if isinstance(x0, Tensor) else x0[0].size)
    stride = max(1, -(-rows * each // ENOUGH))
    together = stride * max(1, min(LOOK, PIECE // each))
    for start in range(0, rows, together):
        which = np.arange(start, min(rows, start + together), stride)
        some = x0[start : start + together : stride]
        yield some if isinstance(some, Tensor) else _tensor(some), which
        forget(x0)


def warnings_of(found: Survey, shift: Any = None, scale: Any = None) -> Iterator[str]:
    """What in the data will probably not do, and what would, one sentence each.

    Args:
        found: the look at them.
        shift, scale: what a model takes from the data and divides them by.
    """
    picture = len(found.shape) > 1
    mean, variance = found.mean, found.variance
    if scale is not None:
        mean, variance = (mean - _per(shift, mean)) / _per(scale, mean), variance / _per(scale, mean) ** 2
    elif picture and found.low >= 0 and found.high > 0 and not found.pixels:
        high = next((top for top in (1, 255, 65535) if found.high <= top), None)
        hint = "" if high is None else f"; x0 / {high / 2:g} - 1 does that"
        yield f"x0 has numbers from {found.low:g} to {found.high:g} and none below 0: pictures are expected in [-1, 1]{hint}"
        return
    square = variance + mean**2
    worst = int(square.argmax())
    small = float((square if picture else variance).mean()) < LEAST  # pictures may all be as good as black
    large = float(square[worst]) > MOST
    if found.rows > 1 and small and bool((found.variance <= ALIKE * found.mean**2).all()):
        yield "x0 has examples that are all the same, up to rounding: there is nothing else to learn"
    elif found.rows > 1 and (small or large):
        where = f" in coordinate {worst}" if len(square) > 1 else ""
        yield (
            f"x0 has mean {mean[worst]:.3g} and standard deviation {variance[worst].sqrt():.3g}{where}, expected about 0 and 1, as"
            " noise has: other data are learned badly. DDPM(..., shift=x0.mean(0), scale=x0.std(0)) takes points of any size"
        )


def _per(value: Any, like: Tensor) -> Tensor:
    """A shift or a scale for each entry of a table, one for all if they do not match."""
    each: Tensor = torch.as_tensor(value).double().flatten().cpu()
    return each if len(each) == len(like) else each.mean().expand(len(like))


def asked_for(
    name: str, x0: Examples, batch_size: int, seed: int, step: int, mine: slice, workers: int
) -> Iterator[tuple[Tensor, Any, Tensor]]:
    """Batch after batch of an array or a Dataset, without end: the part `mine` of each batch, from number `step` on.

    Each is the examples, what a Dataset says of them besides, and which they are.

    What a batch holds depends on the seed and its number alone: neither on the number of the processes that read, nor on what came
    before it. So a run can go on from any step, and a Dataset may be random.
    """
    loader = DataLoader(
        _Drawn(name, x0),
        batch_sampler=_Rows(len(x0), batch_size, seed, step, mine),  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_in_a_worker,
        generator=torch.Generator(),  # its own, else it would take a number from the run's, and again after a kill
    )
    yield from loader


class _Rows(Sampler[list[tuple[int, int]]]):
    """For each batch, which examples, drawn with replacement, and a seed for each, for its own randomness."""

    def __init__(self, rows: int, batch_size: int, seed: int, step: int, mine: slice) -> None:
        self.rows, self.batch_size, self.seed, self.step, self.mine = rows, batch_size, seed, step, mine

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        step = self.step
        while True:
            draw = np.random.default_rng([self.seed, step])
            rows, seeds = draw.integers(self.rows, size=self.batch_size), draw.integers(2**31, size=self.batch_size)
            yield [*zip(rows[self.mine].tolist(), seeds[self.mine].tolist(), strict=True)]
            step += 1


class _Drawn(Dataset[Any]):
    """Data of which a whole batch is asked for at once: the examples, and a seed for each."""

    def __init__(self, name: str, x0: Examples) -> None:
        self.name, self.x0 = name, x0

    def __getitems__(self, drawn: list[tuple[int, int]]) -> tuple[Tensor, Any, Tensor]:
        rows = np.array([row for row, _ in drawn])
        if isinstance(self.x0, np.ndarray):
            x, told = _tensor(self.x0[rows]), None
            forget(self.x0)
        else:
            x, told = self._examples(drawn)
        return x, told, torch.from_numpy(rows)

    def _examples(self, drawn: list[tuple[int, int]]) -> Batch:
        """Examples of a Dataset, each with the randomness of its seed."""
        found = []
        with _own_randomness():
            for row, seed in drawn:
                random.seed(seed)
                np.random.seed(seed)
                torch.manual_seed(seed)
                found.append(_example(f"{self.name}[{row}]", self.x0[row]))
        for (row, _), (x, _) in zip(drawn, found, strict=True):
            if x.shape != found[0][0].shape or x.dtype != found[0][0].dtype:
                like = f"{found[0][0].dtype} of shape {tuple(found[0][0].shape)} as {self.name}[{drawn[0][0]}]"
                raise ValueError(f"{self.name}[{row}] is {x.dtype} of shape {tuple(x.shape)}, expected {like}")
        told: Any = None if found[0][1] is None else [label for _, label in found]
        with contextlib.suppress(TypeError, ValueError, RuntimeError):  # of others the condition judges, if there is one
            told = told and torch.as_tensor(told)
        return torch.stack([x for x, _ in found]), told


def _example(name: str, item: Any) -> tuple[Tensor, Any]:
    """An example of a Dataset: a tensor, an array or a picture of Pillow's, alone or first in a pair with a label."""
    label = None
    if isinstance(item, tuple | list) and len(item) == 2:
        item, label = item
    elif isinstance(item, tuple) and len(item) == 1:  # as of a TensorDataset of one tensor
        (item,) = item
    if hasattr(item, "convert") and hasattr(item, "getbands"):  # a picture of Pillow's: height, width, channels
        ways = {"1": "L", "P": "RGB", "PA": "RGBA"}  # numbers in a palette are no brightness
        pixels = np.array(item.convert(ways[item.mode]) if item.mode in ways else item)
        item = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if isinstance(item, np.ndarray):
        item = _tensor(item)
    if not isinstance(item, Tensor):
        expected = "a tensor, an array or a picture, or a pair of one and a label"
        raise TypeError(f"{name} is of type {type(item).__name__}, expected {expected}")
    if not item.is_floating_point() and item.dtype not in PIXELS:
        raise TypeError(f"{name} has dtype {item.dtype}, expected floating-point numbers, or pixels in 8 or 16 bits")
    return item, label


def _tensor(array: NDArray[Any]) -> Tensor:
    """A copy of an array, in the order of bytes of this machine, and in a precision that PyTorch has."""
    longer = array.dtype.kind == "f" and array.dtype.itemsize > 8
    return torch.from_numpy(np.array(array, dtype=np.float64 if longer else array.dtype.newbyteorder("="), order="C"))


@contextlib.contextmanager
def _own_randomness() -> Iterator[None]:
    """Python's, NumPy's and PyTorch's generators may be seeded; afterwards they are as they were."""
    pythons, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([]):
            yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)


def pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """All rows, some at a time. Of a file, what has been looked at does not stay in memory."""
    rows = max(1, PIECE // max(1, array[0].size))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
        forget(array)


def forget(x0: Any) -> None:
    """Lets go of the pages of a memory-mapped array that have been read: they stay on the disk, and in its cache."""
    held = getattr(x0, "_mmap", None)
    if held is not None and hasattr(held, "madvise"):
        held.madvise(mmap.MADV_DONTNEED)


def _in_a_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes: the first one ends the others when it has saved


def _as_it_is(batch: Any) -> Any:
    return batch
