"""Does the shipped model of scenes draw what it is told? Prompts kept back, read by program, by guidance and by steps.

    python benchmarks/scenes.py [--n N] [--model FOLDER]

For each setting N prompts (default 400) of things that were seen in training, and N with a thing that was withheld. A share stands
with its Wilson interval of 95 %. The reader's own ceiling, and what the autoencoder alone costs, come first.
"""

import argparse
from collections.abc import Sequence

import torch
from scipy import stats

import tinyddpm as td

SETTINGS = [(1.0, 25), (2.0, 25), (3.0, 25), (5.0, 25), (8.0, 25), (3.0, 5), (3.0, 10), (3.0, 50)]
PART = 100  # pictures that are drawn at once


def row(name: str, asked: Sequence[str], pictures: torch.Tensor) -> None:
    """How many are right in everything, and in each part."""
    readings = td.scenes.read(pictures)
    grades = [td.scenes.grade(a, reading.caption) for a, reading in zip(asked, readings, strict=True)]
    n, right = len(grades), {part: sum(grade[part] for grade in grades) for part in grades[0]}
    low, high = stats.binomtest(right["all"], n).proportion_ci(method="wilson")
    parts = "  ".join(f"{part} {right[part] / n:6.1%}" for part in ("size", "colour", "kind", "relation"))
    deviation = sum(reading.deviation for reading in readings) / n
    print(f"{name:34}all {right['all'] / n:6.1%} ({low:.1%} to {high:.1%})  {parts}  deviation {deviation:.3f}", flush=True)


def main() -> None:
    """All settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--model")
    options = parser.parse_args()
    model = td.load(options.model) if options.model else td.load_pretrained("scenes")
    kept_back = {
        name: td.scenes.captions(options.n, torch.Generator().manual_seed(100 + withheld), withheld)
        for name, withheld in (("seen", False), ("withheld", True))
    }
    for name, asked in kept_back.items():
        true = td.scenes.draw(asked, torch.Generator().manual_seed(102))
        row(f"{name}: true pictures", asked, true)
        with torch.no_grad():
            row(f"{name}: through the autoencoder", asked, model.autoencoder.decode(model.autoencoder.encode(true).mean))
    for guidance, steps in SETTINGS:
        for name, asked in kept_back.items():
            generator = torch.Generator().manual_seed(103)
            parts = [asked[i : i + PART] for i in range(0, len(asked), PART)]
            drawn = torch.cat([model.draw(part, guidance, steps, generator=generator) for part in parts])
            row(f"{name}: guidance {guidance:g}, {steps} steps", asked, drawn)


if __name__ == "__main__":
    main()
