"""Live figures in a real browser, from disk and without a network: they begin, answer to a keyboard, and say what they show."""

import json
import re

import notebooks
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from test_browser import PHONES, browser, hindrances, visit  # noqa: F401, the first a fixture

import tinyddpm as td

PAGES = [f"{page}.html" for page in notebooks.pages() if notebooks.live_figures(page)]
WAYS = [(1280, "light"), (PHONES[0], "dark")]
# What a canvas shows, as a number; and whether it shows anything.
DRAWN = """canvases => canvases.map(canvas => {
    const pen = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    pen.drawImage(canvas, 0, 0);
    const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
    let sum = 0;
    for (let i = 0; i < data.length; i++) sum = (sum * 31 + data[i]) | 0;
    return [sum, new Set(data).size];
})"""
STILL = "() => new Promise(go => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(go, 60))))"


def begin(page, i):
    """The live figure with that number on its page, begun as a reader begins it."""
    figure = page.locator(".live").nth(i)
    figure.scroll_into_view_if_needed()
    start = figure.locator(".live-start")
    if start.count():
        start.press("Enter")
    figure.locator(".live-stage canvas").first.wait_for()
    page.evaluate(STILL)
    return figure


def drawn(page, figure):
    page.evaluate(STILL)
    return figure.locator(".live-stage canvas").evaluate_all(DRAWN)


@pytest.fixture(scope="module", params=WAYS, ids=["desk", "phone"])
def way(request):
    return request.param


@pytest.fixture(scope="module", params=PAGES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def seen(browser, html, name, way):  # noqa: F811
    """A page, and its live figures, all begun."""
    width, scheme = way
    with visit(browser, (html / name).as_uri(), width, color_scheme=scheme) as page:
        count = page.locator(".live").count()
        assert count == notebooks.live_figures(name.removesuffix(".html"))
        yield page, [begin(page, i) for i in range(count)]


def test_they_take_the_place_of_their_pictures(seen, way):
    page, figures = seen
    assert page.evaluate("document.documentElement.scrollWidth") <= way[0]
    for figure in figures:
        assert not figure.locator("> img, > p").evaluate_all("nodes => nodes.some(node => node.checkVisibility())")
        assert all(shades > 1 for _, shades in drawn(page, figure))
        box = figure.bounding_box()
        for canvas in figure.locator("canvas").all():
            assert canvas.bounding_box()["x"] + canvas.bounding_box()["width"] <= box["x"] + box["width"] + 1


def test_they_say_what_they_are_and_what_they_show(seen):
    for figure in seen[1]:
        assert figure.get_by_role("group").first.get_attribute("aria-label").startswith("Live figure: ")
        assert len(figure.locator(".live-says").inner_text()) > 20
        labels = figure.locator("canvas").evaluate_all("all => all.map(one => one.ariaLabel)")
        assert all(len(label) > 4 for label in labels), labels


def test_every_control_has_a_name_and_a_value_and_answers_to_keys(seen):
    page, figures = seen
    for figure in figures:
        sliders, choices = figure.get_by_role("slider", disabled=False).all(), figure.get_by_role("combobox").all()
        assert sliders + choices + figure.get_by_role("textbox").all()
        changed = not sliders or figure.get_attribute("data-figure") == "draw"  # which waits for a sentence
        for slider in sliders:
            assert slider.evaluate("input => input.labels[0].firstChild.textContent") and slider.get_attribute("aria-valuetext")
            slider.press("Home")
            before = drawn(page, figure)
            assert slider.input_value() == slider.get_attribute("min")
            slider.press("End")
            changed |= drawn(page, figure) != before
            assert not re.search("NaN|undefined|Infinity|null", figure.inner_text())
        for choice in choices:
            assert choice.evaluate("select => select.labels[0].firstChild.textContent")
            before = choice.input_value()
            choice.press("ArrowDown")
            assert choice.input_value() != before
        assert changed


def test_nothing_hinders_readers(seen):
    assert hindrances(seen[0]) == []


def test_on_paper_the_pictures_are_back(seen, name):
    page, figures = seen
    page.emulate_media(media="print")
    for figure in figures:
        assert not figure.locator(".live-stage").is_visible() and figure.locator("> p").is_visible()
        assert name == "index.html" or figure.locator("> img").is_visible()
    page.emulate_media(media="screen")


def test_nothing_went_wrong(seen):
    assert seen[0].faults == []


def test_without_scripts_the_pictures_stand_there(browser, html, name):  # noqa: F811
    with visit(browser, (html / name).as_uri(), 1280, java_script_enabled=False) as page:
        for figure in page.locator(".live").all():
            assert figure.locator("> p").is_visible()
            for picture in figure.locator("> img").all():
                assert picture.is_visible() and picture.evaluate("picture => picture.naturalWidth > 100")


def test_a_notebook_has_a_picture_with_the_same_caption():
    """In each chapter the output of a live figure is a picture and a note, without scripts; its caption follows."""
    for path in notebooks.chapters():
        cells = notebooks.cells(path)
        for i, cell in enumerate(cells):
            for output in cell.get("outputs", []):
                page = BeautifulSoup("".join(output.get("data", {}).get("text/html", "")), "html.parser")
                if page.find(class_="live") is None:
                    continue
                assert page.find("script") is None and len(page.find("img")["alt"]) > 40
                assert page.find("img")["src"].startswith("data:image/png;base64,")
                json.loads(page.find(class_="live")["data-settings"])
                following = next(cell["source"] for cell in cells[i + 1 :] if cell["cell_type"] == "markdown")
                assert following.startswith("*") and "(live)" in following.splitlines()[0]


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_only_the_film_moves_by_itself_and_not_for_who_asked_for_less(browser, html, motion):  # noqa: F811
    with visit(browser, (html / "index.html").as_uri(), 1280, reduced_motion=motion) as page:
        film = page.locator("img.hero").evaluate("picture => picture.currentSrc")
        assert film.endswith(".png" if motion == "reduce" else ".webp")
    with visit(browser, (html / "chapters/forward.html").as_uri(), 1280, reduced_motion=motion) as page:
        figure = begin(page, 0)
        before = drawn(page, figure)
        page.wait_for_timeout(400)
        assert drawn(page, figure) == before
        figure.get_by_role("button", name="Play").click()
        page.wait_for_function("document.querySelectorAll('.live-slider input')[1].value > 20")
        assert drawn(page, figure) != before


def test_it_is_drawn_anew_when_the_colours_change(browser, html):  # noqa: F811
    with visit(browser, (html / "chapters/forward.html").as_uri(), 1280, color_scheme="light") as page:
        figure = begin(page, 1)
        before = drawn(page, figure)
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        assert drawn(page, figure) != before


# ---- The first page draws -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def studio(browser, html):  # noqa: F811
    with visit(browser, (html / "index.html").as_uri(), 1280) as page:
        yield page, begin(page, 0)


def said(page, word):
    """What the figure says, once it says that."""
    page.wait_for_function("word => document.querySelector('.live-says').textContent.includes(word)", arg=word, timeout=60_000)
    return page.locator(".live-says").inner_text()


def test_what_is_typed_is_drawn(studio):
    page, figure = studio
    weights = "() => performance.getEntriesByType('resource').filter(file => file.name.includes('weights/')).length"
    assert page.evaluate(weights) == 0  # nothing of the model is there before it is asked for
    figure.get_by_role("textbox").fill("A small yellow square below a large red circle.")
    figure.get_by_role("textbox").press("Enter")
    assert "drawn in 25 steps" in said(page, "drawn in")
    bar = figure.get_by_role("progressbar")
    assert bar.evaluate("bar => bar.value") == 1
    assert "small yellow square" in figure.locator(".live-easel canvas").get_attribute("aria-label")
    assert figure.locator(".live-shelf li").count() == 1


def test_pictures_show_what_was_asked_for(studio):
    """As a program reads them: the noises are the page's own."""
    page, _ = studio
    prompts = td.scenes.captions(6, torch.Generator().manual_seed(3))
    pictures = page.evaluate(
        """async prompts => {
            const found = [];
            for (const [i, prompt] of prompts.entries()) {
                const { picture } = await tinyddpm.artist.draw(prompt, { seed: i });
                found.push([...picture]);
            }
            return found;
        }""",
        prompts,
    )
    readings = td.scenes.read(torch.tensor(pictures).view(-1, 3, 64, 64).clamp(-1, 1))
    right = [td.scenes.grade(prompt, reading.caption)["all"] for prompt, reading in zip(prompts, readings, strict=True)]
    assert sum(right) >= 5, [(p, r.caption) for p, r in zip(prompts, readings, strict=True)]  # in 9 of 10 cases each is


def test_the_page_draws_what_the_package_draws(studio):
    """A whole run from the same noise: text, guidance, DDIM and decoder. In 64 bits, which 32 are less near to than the page is."""
    page, _ = studio
    scenes, prompt = td.load_pretrained("scenes").double(), "a small red circle above a large blue square"
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    told = scenes.ddpm.given(prompt, guidance=3.0)
    expected = scenes.autoencoder.decode(told.sample_ddim(z.shape, 25, x_T=z.double())).detach().flatten()
    found = page.evaluate(
        "async ([prompt, start]) => [...(await tinyddpm.artist.draw(prompt, { start })).picture]", [prompt, z.flatten().tolist()]
    )
    assert np.abs(np.array(found) - expected.numpy()).max() < 1e-4


def test_what_it_cannot_draw_is_said(studio):
    page, figure = studio
    figure.get_by_role("textbox").fill("a large purple circel")
    figure.get_by_role("textbox").press("Enter")
    assert "purple" in said(page, "cannot")
    for typed, shown in (("", "Nothing said"), ("“A small red circle!”", "“A small red circle”")):
        figure.get_by_role("textbox").fill(typed)
        figure.get_by_role("button", name="Draw", exact=True).click()
        assert shown in said(page, f"{shown}, drawn in")


def test_a_script_that_is_missing_can_be_asked_for_again(studio):
    page, _ = studio
    asked = "() => tinyddpm.script('nothing').catch(error => error.message)"
    assert page.evaluate(asked) == page.evaluate(asked) == "nothing.js could not be loaded"
    page.faults.clear()  # the browser's own words about the file


def test_what_is_not_wanted_needs_guidance(browser, html):  # noqa: F811
    with visit(browser, (html / "chapters/stable-diffusion.html").as_uri(), 1280) as page:
        figure = begin(page, 0)
        unlike, guidance = figure.get_by_label("but not"), figure.get_by_label("guidance")
        assert unlike.is_enabled()
        guidance.press("Home")
        assert not unlike.is_enabled()
        guidance.press("End")
        assert unlike.is_enabled()


def test_another_sentence_takes_the_place_of_the_one_at_hand(studio):
    page, _ = studio
    first, second = page.evaluate(
        """async () => {
            const first = tinyddpm.artist.draw("a large red circle"), second = tinyddpm.artist.draw("a large blue square");
            return [await first, (await second).left];
        }"""
    )
    assert first is None and second == 0
    assert page.faults == []
