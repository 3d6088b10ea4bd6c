"""Trains the model of the scenes from nothing, an autoencoder and a DDPM on its codes, and writes it to tinyddpm/weights/scenes.

    python tools/train_scenes.py RUN

RUN is a folder for checkpoints: stopped and started again with the same folder, it goes on where it was. It trains on a GPU where
there is one. No picture with one of the withheld things is drawn for it. At the end it prints how long it took.

On two cores: the autoencoder 13 minutes, the codes 2, and the DDPM 65.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from train_pretrained import keep

import tinyddpm as td
from tinyddpm._progress import bar
from tinyddpm.checkpoint import exists

SEEDS = {"pictures": 0, "autoencoder": 0, "codes": 1, "ddpm": 0}
PICTURES, CODES = 20_000, 60_000
STEPS = {"autoencoder": 4000, "ddpm": 14_000}
PART = 500  # pictures that are drawn and encoded at once


def run(name: str, folder: Path) -> dict[str, Any]:
    """Where a training keeps its checkpoints, for `fit` to begin or to go on."""
    place = folder / name
    return {"checkpoint": place, "resume": place if exists(place) else None, "save_every": 500}


def autoencoder(folder: Path) -> td.Autoencoder:
    """The autoencoder, from pictures drawn once."""
    generator = torch.Generator().manual_seed(SEEDS["pictures"])
    pictures = td.scenes.draw(td.scenes.captions(PICTURES, generator), generator)
    torch.manual_seed(SEEDS["autoencoder"])  # of the first weights
    made = td.Autoencoder()
    td.fit_autoencoder(made, pictures, STEPS["autoencoder"], seed=SEEDS["autoencoder"], **run("autoencoder", folder))
    return made.eval()


def codes(made: td.Autoencoder) -> tuple[torch.Tensor, list[str]]:
    """Codes of new pictures, and what each shows: one of the ways to tell it, as likely as the other."""
    generator = torch.Generator().manual_seed(SEEDS["codes"])
    said = td.scenes.captions(CODES, generator)
    with torch.no_grad():
        starts = bar(range(0, CODES, PART), True, "codes")
        parts = [made.encode(td.scenes.draw(said[i : i + PART], generator)).mean for i in starts]
    ways = [td.scenes.scene(caption).captions for caption in said]
    chosen = torch.rand(CODES, generator=generator).tolist()
    return torch.cat(parts), [way[int(which * len(way))] for way, which in zip(ways, chosen, strict=True)]


def ddpm(x0: torch.Tensor, told: list[str], folder: Path) -> td.DDPM:
    """The DDPM on the codes."""
    torch.manual_seed(SEEDS["ddpm"])
    network = td.UNet(4, 64, 2, condition=td.Text(td.scenes.WORDS))
    made = td.DDPM(network, td.Schedule.cosine(200), predict="v", variance="beta_tilde")
    td.fit(made, x0, STEPS["ddpm"], batch_size=128, seed=SEEDS["ddpm"], c=told, **run("ddpm", folder))
    return made


def main() -> None:
    """All of it, and how long it took."""
    folder = Path(sys.argv[1])
    began = time.perf_counter()
    coder = autoencoder(folder)
    halfway = time.perf_counter()
    made = td.LatentDDPM(coder, ddpm(*codes(coder), folder))
    done = time.perf_counter()
    keep("scenes", made)
    minutes = {"autoencoder": (halfway - began) / 60, "codes and ddpm": (done - halfway) / 60}
    print(json.dumps({"minutes": minutes, "threads": torch.get_num_threads(), "cuda": torch.cuda.is_available(), "seeds": SEEDS}))


if __name__ == "__main__":
    main()
