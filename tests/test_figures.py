"""The player: it needs nothing from elsewhere, and says what it shows."""

import re

import matplotlib.pyplot as plt
import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from tinyddpm.book import figures


def made(alt="A line that turns.", steps=(0, 5, 10)):
    fig, ax = plt.subplots(figsize=(1, 1))
    (line,) = ax.plot([0, 1], [0, 1])
    return figures.player(fig, lambda step: line.set_ydata([0, step]), steps, alt=alt)


def test_one_picture_for_each_step_and_the_first_without_scripts():
    html = made().html
    frames = re.findall(r'frames\[\d+\] = "(data:image/png;base64,[^"]*)"', html)
    assert len(set(frames)) == 3
    shown = re.search(r'<img id="[^"]*" alt="A line that turns." src="([^"]*)"', html)[1]
    assert shown == frames[0].replace("\\\n", "")


def test_nothing_comes_from_elsewhere():
    assert not re.search(r"https?://", made().html) and "<link" not in made().html and "fa-" not in made().html


def test_the_same_player_twice_and_two_players_apart():
    assert made().html == made().html
    assert re.search(r"_anim_img(\w+)", made().html)[1] != re.search(r"_anim_img(\w+)", made(alt="Another.").html)[1]


def test_any_description_is_shown_as_it_is():
    assert 'alt="q \\1 \\bar &quot;x&quot; &lt;b&gt;"' in made(alt='q \\1 \\bar "x" <b>').html


def test_reads_as_text():
    assert repr(made()) == "<player: A line that turns.>" and made()._repr_html_() == made().html


def test_too_many_frames_are_named():
    with plt.rc_context({"animation.embed_limit": 0.0005}), pytest.raises(ValueError, match="steps has 3 entries, of which"):
        made()


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
