"""Runs chapters from top to bottom in a fresh kernel and stores their outputs: python tools/run_chapters.py FILE...

What differs from run to run without a change in the chapter (times, versions of the kernel) is not stored, so that a
diff shows only what changed. For the same reason they run on one thread: sums that several threads share out differ in
their last digits, and with them the curve of a training run.
"""

import os
import sys
from pathlib import Path

import nbformat
from check_notebooks import METADATA
from nbclient import NotebookClient


def run(path: Path) -> None:
    """Executes one chapter in its own folder and writes it back."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", coalesce_streams=True, resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute(env={**os.environ, "OMP_NUM_THREADS": "1"})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata = METADATA
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        run(Path(name))
        print(f"ran {name}")
