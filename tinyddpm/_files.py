"""Files that are whole or not there, and a file that nobody sees."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


@contextlib.contextmanager
def in_one_step(path: Path, new: Path) -> Iterator[IO[bytes]]:
    """A file to write in the place of `path`: until it is complete on the disk, by the name `new`, the old one stays."""
    try:
        with open(new, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write in the place of `path`: it gets there in one step, once it is complete. An error leaves all as it was.

    A link stays one: what it leads to is replaced. What is no plain file, such as /dev/stdout, is written to as it stands.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with open(path, "wb") as file:
            yield file
        return
    new = path.with_name(f".tinyddpm-{os.getpid()}.new")
    with in_one_step(path, new) as file:
        yield file
        if path.exists():
            shutil.copymode(path, new)


def stored(pieces: Iterable[NDArray[Any]], near: Path | None) -> NDArray[Any]:
    """An array on the disk from its rows, some at a time, in a file without a name that is gone with its process, however it ends.

    Args:
        pieces: the rows, all of one shape and dtype.
        near: a path that may not be there yet, on the disk to use; without it, the disk of the system's temporary files.
    """
    there = None if near is None else next((str(p) for p in (near, *near.absolute().parents) if p.is_dir()), None)
    n, dtype, shape = 0, np.dtype(np.uint8), tuple[int, ...]()
    with tempfile.TemporaryFile(dir=there if there is not None and os.access(there, os.W_OK) else None) as file:
        for piece in pieces:
            file.write(np.ascontiguousarray(piece).data)
            n, dtype, shape = n + len(piece), piece.dtype, piece.shape[1:]
        file.flush()
        return np.memmap(file, dtype, "r", shape=(n, *shape)) if n else np.zeros(0)  # a map keeps what it is of
