"""The look of figures, and what a notebook stores of a live one."""

import json
import re

import matplotlib.pyplot as plt
import pytest
import torch
from bs4 import BeautifulSoup
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from tinyddpm.book import figures


def made(alt="A line that turns.", **given):
    fig, ax = plt.subplots(figsize=(1, 1))
    ax.plot([0, 1], [0, 1])
    return figures.live("forward", fig, alt, **given)


def test_a_live_figure_is_a_picture_and_what_its_script_is_given():
    page = BeautifulSoup(made(t=3, digits=torch.tensor([[0.1, 1 / 3]])).html, "html.parser")
    given = page.find(class_="live")
    assert given["data-figure"] == "forward" and json.loads(given["data-settings"]) == {"t": 3, "digits": [[0.1, 0.333333]]}
    assert page.img["alt"] == "A line that turns." and page.img["src"].startswith("data:image/png;base64,")
    assert page.p.text and page.script is None and "data-weights" not in given.attrs
    assert not re.search(r"https?://", str(page))


def test_a_live_figure_says_how_large_its_weights_are():
    page = BeautifulSoup(made(weights=["eight_gaussians", "digits"]).html, "html.parser").find(class_="live")
    assert page["data-weights"] == "eight_gaussians digits" and page["data-size"] == "0.7 MB"


def test_any_description_is_shown_as_it_is():
    assert 'alt="q \\1 \\bar &quot;x&quot; &lt;b&gt;"' in made(alt='q \\1 \\bar "x" <b>').html


def test_the_same_figure_twice_is_the_same_and_reads_as_text():
    assert made().html == made().html == made()._repr_html_() and repr(made()) == "<live figure: A line that turns.>"


def test_the_style_is_opaque():
    figures.style()
    assert plt.rcParams["figure.facecolor"] == "white" and len(set(figures.COLOR.values())) == len(figures.COLOR)


def test_the_map_fills_the_boxes_of_its_chapter():
    """One box for each equation, filled with their numbers in white; an arrow is dark where it touches one of them."""
    for chapter, (_, equations) in enumerate(figures.EQUATIONS):
        (ax,) = figures.derivation(chapter).axes
        filled = {text.get_text().split("\n")[0].strip("()") for text in ax.texts if text.get_color() == "white"}
        assert filled == {tag for tag, _ in equations.values()}
        boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
        assert len(boxes) == sum(len(line) for _, line in figures.EQUATIONS)
        assert sum(box.get_facecolor()[:3] == (0, 0, 0) for box in boxes) == len(filled)
        arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
        assert len(arrows) == len(figures.LEADS_TO)
        dark = sum(arrow.get_edgecolor()[:3] == (0, 0, 0) for arrow in arrows)
        assert dark == sum(bool(filled & set(arrow)) for arrow in figures.LEADS_TO)
        assert [t.get_text() for t in ax.texts if "you are here" in t.get_text()] == [ax.texts[_index(ax, chapter)].get_text()]


def _index(ax, chapter):
    return next(i for i, text in enumerate(ax.texts) if text.get_text().startswith(f"{chapter} ·"))


@pytest.mark.parametrize("chapter", range(len(figures.EQUATIONS)))
def test_no_text_of_the_map_leaves_its_box(chapter):
    fig = figures.derivation(chapter)
    fig.canvas.draw()
    (ax,) = fig.axes
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    for text in ax.texts:
        drawn = text.get_window_extent()
        if text.get_text().startswith("("):
            assert any(box.x0 < drawn.x0 and drawn.x1 < box.x1 and box.y0 < drawn.y0 and drawn.y1 < box.y1 for box in boxes)
        else:
            assert drawn.x0 >= 0 and not any(drawn.padded(3).overlaps(box) for box in boxes)
