"""Makes the picture of the book's first page: forty digits that come out of noise, as a film that plays once and as a still.

python tools/make_hero.py writes both into _static, from the trained model that comes with the package.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

import tinyddpm as td

ROWS, COLUMNS, SIDE, GAP = 4, 10, 52, 4
TARGET = Path(__file__).parents[1] / "_static" / "noise-to-digits"
PAPER, INK = np.array([255, 255, 255]), np.array([12, 45, 92])  # a pixel of -1 and one of 1; what lies beyond is cut


def picture(digits: torch.Tensor) -> Image.Image:
    """The digits on paper, smoothed for the eye."""
    sheet = Image.new("RGB", (COLUMNS * (SIDE + GAP) + GAP, ROWS * (SIDE + GAP) + GAP), tuple(PAPER.tolist()))
    for i, digit in enumerate(digits):
        large = Image.fromarray(digit[0].numpy()).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        share = (np.asarray(large).clip(-1, 1)[..., None] + 1) / 2
        colours = Image.fromarray((PAPER + share * (INK - PAPER)).round().astype("uint8"))
        sheet.paste(colours, (GAP + i % COLUMNS * (SIDE + GAP), GAP + i // COLUMNS * (SIDE + GAP)))
    return sheet


def main() -> None:
    """Draws the digits and writes the files."""
    model, states = td.load_pretrained("digits"), {}
    x_T = torch.randn(ROWS * COLUMNS, *model.example_shape, generator=torch.Generator().manual_seed(5))
    start = torch.Generator().manual_seed(6)
    model.sample(x_T.shape, x_T, generator=start, callback=lambda t, x: states.update({t: x.clone()}))
    times = [round(model.schedule.T * (1 - i / 40) ** 1.5) for i in range(41)]  # slower where the digits appear
    frames = [picture(states[t]) for t in dict.fromkeys(times)]
    wait = [500, *[90] * (len(frames) - 2), 3000]
    frames[0].save(
        TARGET.with_suffix(".webp"), save_all=True, append_images=frames[1:], duration=wait, loop=1, quality=55, method=6
    )
    # The still shows the way: each column of digits is further along than the one to its left.
    along = [times[round(i / (COLUMNS - 1) * 40)] for i in range(COLUMNS)]
    picture(torch.stack([states[along[i % COLUMNS]][i] for i in range(ROWS * COLUMNS)])).save(
        TARGET.with_suffix(".png"), optimize=True
    )


if __name__ == "__main__":
    main()
