"""Trains with each of the three losses of Chapter 5, ten seeds each, and stores the results: python tools/compare_losses.py

The losses and the run are taken from the chapter's own cells, so that there is one of each. About three minutes.
"""

import json

import notebooks
import torch

import tinyddpm as td

PARTS = (
    "import json\n",
    "data = td.data.eight_gaussians(50_000)",
    "fresh = td.data.eight_gaussians(2000",
    "class Weighted(td.DDPM)",
    "def one_run(",
)
SEEDS = 10


def main() -> None:
    """Runs the chapter's cells that define the experiment, and then the experiment."""
    torch.set_num_threads(1)
    cells = [cell["source"] for cell in notebooks.cells(notebooks.ROOT / "chapters/training.ipynb") if cell["cell_type"] == "code"]
    scope: dict = {"td": td}
    for part in PARTS:
        (cell,) = (cell for cell in cells if part in cell)
        exec(cell.split("\nfor step in range")[0], scope)  # the data, and not the loop that trains on them
    results = {}
    for name, loss in scope["kinds"].items():
        results[name] = [[round(value, 4) for value in scope["one_run"](loss, seed)] for seed in range(SEEDS)]
        print(name, results[name], flush=True)
    target = notebooks.ROOT / "tinyddpm/book/losses.json"
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
