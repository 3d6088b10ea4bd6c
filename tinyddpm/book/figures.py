"""The look of the book's figures: one style, one colour for each thing that is drawn, and figures that can be moved."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from tinyddpm._checks import check_integer, check_type
from tinyddpm.checkpoint import PRETRAINED, PRETRAINED_HOME

__all__ = ["COLOR", "derivation", "live", "style"]

# One colour for one thing, through the whole book: from the palette of Okabe and Ito, which the colour-blind can read.
COLOR = {
    "data": "#0072B2",
    "noise": "#E69F00",
    "posterior": "#009E73",
    "learned": "#D55E00",
    "exact": "#000000",
    "other": "#CC79A7",
}

# The equations that carry the book: a row for each chapter, in it the column, the number, and what the equation gives.
EQUATIONS = [
    ("Three ways", {0: ("0.3", "the bound\nof a VAE")}),
    ("The forward\nprocess", {0: ("1.2", "one step"), 1: ("1.16", "many steps\nat once"), 2: ("1.17", "their density")}),
    ("The reverse\nstep", {0: ("2.4", "the learned\nchain"), 1: ("2.23", "its mean,\nby the noise"), 2: ("2.19", "the posterior")}),
    ("The bound", {0: ("3.6", "the bound"), 2: ("3.17", "its term\nfor one step")}),
    ("The loss", {0: ("4.1", "the learned\nmean"), 1: ("4.6", "the error of\nthe noise"), 2: ("4.12", "the simplified\nloss")}),
    ("Training", {1: ("5.2", "floor and\nexcess"), 2: ("5.1", "the loss of\na batch")}),
    ("Sampling", {0: ("6.1", "Algorithm 2"), 1: ("6.3", "what comes\nout of it"), 2: ("6.11", "fewer steps:\nDDIM")}),
    ("Told what\nto draw", {0: ("7.5", "guidance"), 1: ("7.7", "its field"), 2: ("7.11", "what that\nlacks")}),
    ("A smaller\nspace", {0: ("8.5", "a VAE with\na weight"), 1: ("8.12", "the scale\nof its codes"), 2: ("8.1", "noisy codes")}),
    ("Stable\nDiffusion", {0: ("9.7", "a negative\nprompt"), 1: ("9.1", "attention"), 2: ("9.3", "what it\nfinds")}),
]
LEADS_TO = [
    ("0.3", "3.6"), ("1.2", "1.16"), ("1.16", "1.17"), ("1.16", "2.23"), ("1.17", "2.19"), ("2.4", "3.6"), ("2.19", "2.23"),
    ("2.19", "3.17"), ("2.23", "4.1"), ("3.6", "3.17"), ("3.17", "4.6"), ("4.1", "4.6"), ("4.1", "6.1"), ("4.6", "4.12"),
    ("4.12", "5.1"), ("5.1", "5.2"), ("6.1", "6.3"), ("6.1", "6.11"), ("6.1", "7.5"), ("7.5", "7.7"), ("7.7", "7.11"),
    ("0.3", "8.5"), ("8.5", "8.12"), ("7.5", "9.7"), ("8.1", "9.3"), ("9.1", "9.3"),
]  # fmt: skip
# How far an arrow bends around what stands between.
AROUND = {("0.3", "3.6"): 0.47, ("6.1", "6.11"): -0.35, ("0.3", "8.5"): -0.2, ("7.5", "9.7"): -0.5}


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
        }
    )


def derivation(chapter: int) -> Figure:
    """The map of the book that stands at the end of a chapter: which equation leads to which, and where the reader is.

    Args:
        chapter: its number. Its equations are filled; dark arrows are those that begin or end in it.

    Example:
        >>> len(derivation(chapter=2).axes)
        1
    """
    check_integer("chapter", chapter)
    if not 0 <= chapter < len(EQUATIONS):
        raise ValueError(f"chapter = {chapter} is not in the book, expected 0 to {len(EQUATIONS) - 1}")
    fig: Figure = plt.figure(figsize=(4.2, 0.66 * len(EQUATIONS)), dpi=120, layout="none")  # narrow, to be read on a phone
    ax = fig.add_axes((0, 0, 1, 1))
    boxes = {}
    for row, (title, equations) in enumerate(EQUATIONS):
        here = row == chapter
        name = f"{row} · {title}" + "\n(you are here)" * here
        ax.text(-1.35, -row, name, fontsize=8, va="center", weight="bold" if here else "normal")
        for column, (tag, gives) in equations.items():
            boxes[tag] = FancyBboxPatch((column - 0.41, -row - 0.32), 0.82, 0.64, "round,pad=0,rounding_size=0.06",
                                        facecolor="black" if here else "white", edgecolor="black", linewidth=0.8)  # fmt: skip
            ax.add_patch(boxes[tag])
            ax.text(column, -row, f"({tag})\n{gives}", color="white" if here else "black", fontsize=8, ha="center", va="center")
    own = {tag for tag, _ in EQUATIONS[chapter][1].values()}
    for start, end in LEADS_TO:
        ax.add_patch(
            FancyArrowPatch(
                _middle(boxes[start]), _middle(boxes[end]), patchA=boxes[start], patchB=boxes[end], arrowstyle="-|>",
                connectionstyle=f"arc3,rad={AROUND.get((start, end), 0)}", mutation_scale=10, zorder=0,
                color="black" if {start, end} & own else "0.7",
            )
        )  # fmt: skip
    ax.set(xlim=(-1.4, 2.45), ylim=(0.4 - len(EQUATIONS), 0.4))
    ax.axis("off")
    plt.close(fig)  # else a notebook shows it twice, as what the cell returns and as a figure that is open
    return fig


def _middle(box: FancyBboxPatch) -> tuple[float, float]:
    return box.get_x() + box.get_width() / 2, box.get_y() + box.get_height() / 2


class _Live:
    """HTML that is a picture, until the book's own page puts the figure of that name in its place."""

    def __init__(self, html: str, alt: str):
        self.html, self.alt = html, alt

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"<live figure: {self.alt}>"


def live(name: str, fig: Figure, alt: str, weights: Sequence[str] = (), **settings: Any) -> _Live:
    """A figure that readers of the built book can move; a notebook and the PDF show the picture that is stored here.

    Args:
        name: that of its script, in the folder `live`.
        fig: the picture; it is closed afterwards.
        alt: what the picture shows, in words.
        weights: the names of the pretrained models that the script needs. They are loaded when the reader asks for them.
        settings: what the script is given besides: numbers, texts, lists, and tensors, which become lists.

    Returns:
        An object that a notebook displays as the picture.

    Raises:
        TypeError: a setting is none of these.
        ValueError: no pretrained model has that name.

    Example:
        >>> fig, ax = plt.subplots()
        >>> live("forward", fig, alt="An empty figure.", t=20)
        <live figure: An empty figure.>
    """
    check_type("name", name, str)
    check_type("fig", fig, Figure)
    _check_alt(alt)
    for model in weights:
        if model not in PRETRAINED:
            raise ValueError(f"weights has {model!r}, which is not one of {', '.join(PRETRAINED)}")
    file = io.BytesIO()
    fig.savefig(file, format="png")
    plt.close(fig)
    picture = base64.b64encode(file.getvalue()).decode()
    given = {"figure": name, "settings": json.dumps(settings, default=_plain)}
    if weights:
        stored = [file for name in weights for file in PRETRAINED_HOME.joinpath(name).glob("*.safetensors")]
        given |= {"weights": " ".join(weights), "size": f"{sum(file.stat().st_size for file in stored) * 4 / 3 / 1e6:.1f} MB"}
    attributes = " ".join(f'data-{key}="{escape(value)}"' for key, value in given.items())
    image = f'<img alt="{escape(alt)}" src="data:image/png;base64,{picture}" style="max-width: 100%">'
    return _Live(f'<div class="live" {attributes}>{image}<p>On the page of the book, this figure can be moved.</p></div>', alt)


def _plain(value: Any) -> Any:
    """A tensor as lists, for JSON, to six digits."""
    check_type("settings", value, Tensor)
    return json.loads(json.dumps(value.tolist()), parse_float=lambda number: float(f"{float(number):.6g}"))


def _check_alt(alt: str) -> None:
    check_type("alt", alt, str)
    if not alt.strip():
        raise ValueError(f"alt = {alt!r} is empty, expected what is shown, in words")
