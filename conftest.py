"""What the examples of the docstrings may take for granted."""

from pathlib import Path

import pytest
import torch

import tinyddpm as td


@pytest.fixture(autouse=True)
def _examples(doctest_namespace: dict[str, object], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest):
    if isinstance(request.node, pytest.DoctestItem):
        folder: Path = tmp_path_factory.mktemp("folder")
        doctest_namespace.update(torch=torch, td=td, folder=folder)
