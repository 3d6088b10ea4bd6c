"""Trains the models that come with the package, and writes their weights in half precision to tinyddpm/weights.

    python tools/train_pretrained.py [NAME ...]

Without names, all of them: the four sets of points take about ten seconds each on two cores, the digits two minutes.
"""

import sys
from pathlib import Path

import torch

import tinyddpm as td
from tinyddpm import checkpoint
from tinyddpm.ddpm import PRETRAINED

FOLDER = Path(td.__file__).parent / "weights"


def digits() -> td.DDPM:
    """The training part of the digits."""
    ddpm = td.DDPM(td.UNet(channels=1, width=32), td.Schedule.cosine(200), variance="beta_tilde", clip=(-1, 1))
    td.fit(ddpm, td.data.digits("train"), steps=2500, batch_size=128, lr=4e-3, seed=0)
    return ddpm


def points(name: str) -> td.DDPM:
    """One of the sets of points."""
    ddpm = td.DDPM(td.MLP(width=64), td.Schedule.cosine(200), predict="v", variance="beta_tilde")
    x0 = getattr(td.data, name)(50_000, torch.Generator().manual_seed(0))
    td.fit(ddpm, x0, steps=3000, batch_size=256, seed=0)
    return ddpm


def main() -> None:
    """Trains those that are named."""
    for name in sys.argv[1:] or PRETRAINED:
        torch.manual_seed(0)  # of the first weights
        ddpm = digits() if name == "digits" else points(name)
        tensors = {key: value.half() if key.startswith("model.") else value for key, value in ddpm.tensors().items()}
        checkpoint.write(FOLDER / name, tensors, ddpm.description())
        print(name, sum(p.numel() for p in ddpm.parameters()), "weights")


if __name__ == "__main__":
    main()
