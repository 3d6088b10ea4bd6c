"""Makes the picture of the book's first page: twelve sentences that are drawn from noise, as a film that plays once and as a still.

python tools/make_hero.py writes both into _static, from the trained model that comes with the package.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import tinyddpm as td

COLUMNS, SIDE, GAP, STEPS = 6, 124, 6, 50
TARGET = Path(__file__).parents[1] / "_static" / "noise-to-pictures"
PROMPTS = [
    "a small red circle above a large blue square",
    "a large yellow triangle left of a small green circle",
    "a large green square",
    "a small blue circle right of a large red triangle",
    "a small yellow square below a large green triangle",
    "a large red circle above a small yellow triangle",
    "a large blue circle",
    "a small green triangle left of a large yellow square",
    "a small red square above a small blue square",
    "a large green circle below a small red triangle",
    "a large yellow square right of a small blue circle",
    "a small green circle left of a small red circle",
]


def tiles(code: Tensor, picture: Tensor, noise: float) -> Tensor:
    """Pictures (n, 3, 128, 128) in [0, 1]: the decoded state and, as thickly as it is noise, the state itself as colours."""
    colours = (code[:, :3] / 5 + 0.5).clamp(0, 1)
    state = torch.nn.functional.interpolate(colours, size=(SIDE, SIDE))
    decoded = torch.nn.functional.interpolate(picture / 2 + 0.5, size=(SIDE, SIDE), mode="bicubic")
    return noise * state + (1 - noise) * decoded


def sheet(pictures: Tensor) -> Image.Image:
    """The tiles side by side, on nothing."""
    rows = -(-len(pictures) // COLUMNS)
    whole = Image.new("RGBA", (COLUMNS * (SIDE + GAP) - GAP, rows * (SIDE + GAP) - GAP))
    for i, picture in enumerate(pictures):
        pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        whole.paste(Image.fromarray(np.ascontiguousarray(pixels)), (i % COLUMNS * (SIDE + GAP), i // COLUMNS * (SIDE + GAP)))
    return whole


def main() -> None:
    """Draws the pictures and writes the files."""
    scenes, states = td.load_pretrained("scenes"), {}
    told = scenes.ddpm.given(scenes.ddpm.model.condition._checked(PROMPTS), guidance=3.0)
    shape = (len(PROMPTS), *scenes.ddpm.example_shape)
    generator = torch.Generator().manual_seed(5)
    told.sample_ddim(shape, STEPS, generator=generator, callback=lambda t, z: states.update({t: z.clone()}))
    lost = scenes.ddpm.schedule.one_minus_alpha_bar
    found = {t: tiles(z, scenes._decoded(z), float(lost[t])) for t, z in states.items()}
    pictures = scenes._decoded(states[0])
    for prompt, reading in zip(PROMPTS, td.scenes.read(pictures), strict=True):
        assert td.scenes.scene(prompt) == td.scenes.scene(reading.caption), (prompt, reading)
    frames = [sheet(found[t]) for t in sorted(found, reverse=True)]
    wait = [600, *[80] * (len(frames) - 2), 4000]
    frames[0].save(
        TARGET.with_suffix(".webp"), save_all=True, append_images=frames[1:], duration=wait, loop=1, quality=60, method=6
    )
    # The still shows the way: each column is further along than the one to its left.
    times = [min(found, key=lambda t: abs(lost[t] - (1 - i / (COLUMNS - 1)))) for i in range(COLUMNS)]
    sheet(torch.stack([found[times[i % COLUMNS]][i] for i in range(len(PROMPTS))])).save(TARGET.with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
