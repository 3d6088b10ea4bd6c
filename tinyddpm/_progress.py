"""A progress bar, where one is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinyddpm._checks import check_flag


def bar(steps: Iterable[int], progress: bool, what: str, **options: Any) -> Any:
    """The steps, with a bar around them if `progress`."""
    check_flag("progress", progress)
    if not progress:
        return steps
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("progress=True needs tqdm: pip install 'tinyddpm[book]'", name="tqdm") from error
    return tqdm(steps, desc=what, **options)
