"""The player: it needs nothing from elsewhere, and says what it shows."""

import re

import matplotlib.pyplot as plt
import pytest

from tinyddpm import figures


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
