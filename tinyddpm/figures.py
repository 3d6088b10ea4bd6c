"""The look of the book's figures: one style, one colour for each thing that is drawn, and a player for motion."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from html import escape

from tinyddpm._checks import check_callable, check_number, check_type, wrong_type

try:
    import matplotlib.pyplot as plt
    from matplotlib.animation import FuncAnimation
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("tinyddpm.figures needs matplotlib: pip install 'tinyddpm[book]'", name="matplotlib") from error

__all__ = ["COLOR", "player", "style"]

# One colour for one thing, through the whole book: from the palette of Okabe and Ito, which the colour-blind can read.
COLOR = {
    "data": "#0072B2",
    "noise": "#E69F00",
    "posterior": "#009E73",
    "learned": "#D55E00",
    "exact": "#000000",
    "other": "#CC79A7",
}

# What matplotlib's player takes from an icon font on another server, as characters that are on every machine.
ICONS = {"minus": "−", "fast-backward": "⏮", "step-backward": "⏪", "play fa-flip-horizontal": "◀", "pause": "⏸", "play": "▶",
         "step-forward": "⏩", "fast-forward": "⏭", "plus": "+"}  # fmt: skip


def style() -> None:
    """Sets the look of all figures that follow. Their background is opaque, so that they read on dark pages too.

    Example:
        >>> style()
        >>> plt.rcParams["figure.facecolor"]
        'white'
    """
    plt.rcParams.update(
        {
            "figure.figsize": (7, 3),
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "white",
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": False,
            "image.cmap": "gray",
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "animation.embed_limit": 3,
        }
    )


class _Player:
    """HTML with its own script, which runs in a built page, in Jupyter and in Colab, and asks no server for anything."""

    def __init__(self, html: str, alt: str):
        self.html, self.alt = html, alt

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"<player: {self.alt}>"


def player(fig: Figure, draw: Callable[[int], object], steps: Sequence[int], alt: str, fps: float = 6) -> _Player:
    """A figure with a slider over `steps`: matplotlib's player, made to work offline and to be read aloud.

    Args:
        fig: the figure; it is closed afterwards.
        draw: changes the figure to what it shows at one step.
        steps: the steps, one frame each. Keep them few: each frame is a picture inside the page.
        alt: what the frames show, in words.
        fps: frames per second while it plays.

    Returns:
        An object that a notebook displays as the player.

    Raises:
        TypeError, ValueError: an argument is of another type; there are no steps or no words, or the frames are more than
            fit into a page.

    Example:
        >>> fig, ax = plt.subplots()
        >>> player(fig, lambda t: ax.set_title(f"t = {t}"), steps=[1, 2], alt="an empty figure, with t in its title")
        <player: an empty figure, with t in its title>
    """
    check_type("fig", fig, Figure)
    check_callable("draw", draw)
    if not hasattr(steps, "__len__") or isinstance(steps, str):
        raise wrong_type("steps", steps, "a sequence of steps")
    if not len(steps):
        raise ValueError(f"steps = {steps!r} is empty, expected at least one step")
    check_type("alt", alt, str)
    if not alt.strip():
        raise ValueError(f"alt = {alt!r} is empty, expected what the frames show, in words")
    check_number("fps", fps, 0, math.inf)
    html = FuncAnimation(fig, draw, frames=steps, interval=1000 / fps).to_jshtml(default_mode="once")  # type: ignore[arg-type]
    plt.close(fig)
    frames = re.findall(r'frames\[\d+\] = "(data:[^"]*)"', html)
    if len(frames) != len(steps):
        raise ValueError(
            f"steps has {len(steps)} entries, of which {len(frames)} fit into a page of 3 MB: draw fewer or smaller ones"
        )
    html = re.sub(r'<link rel="stylesheet"\s+href="[^"]*">', "", html)
    html = re.sub(r'<i class="fa fa-([^"]*)"></i>', lambda icon: ICONS[icon[1]] + "\ufe0e", html)  # as text, not as emoji
    html = html.replace("width: 374px;", "width: 374px; max-width: 90%;")
    # The first picture also stands in the page itself, for readers without scripts (a code host, a printer).
    first = re.sub(r"\\\n", "", frames[0]).replace("\\n", "")
    picture = f'alt="{escape(alt)}" src="{first}" style="max-width: 100%"'
    html = re.sub(r'<img id="(\w+)">', lambda image: f'<img id="{image[1]}" {picture}>', html)
    html = html.replace('type="range"', f'type="range" aria-label="step, from {steps[0]} to {steps[-1]}"')
    identity = re.search(r"_anim_img(\w+)", html)
    assert identity is not None
    return _Player(html.replace(identity[1], hashlib.sha256("".join([alt, *frames]).encode()).hexdigest()[:12]), alt)
