"""The Vietnamese book in a browser: what test_browser.py asks of the English pages, and the ways from one language to the other."""
# ruff: noqa: F401, F811, for fixtures and tests that are taken from there

import re

import notebooks
import pytest
import test_browser
import test_live
from test_browser import (
    CHAPTERS,
    FOLDS,
    at_desk,
    browser,
    desk,
    on_phone,
    phone,
    test_every_citation_leads_to_its_equation,
    test_every_formula_is_typeset,
    test_nothing_hinders_readers_in_dark_colours_on_a_phone,
    test_nothing_went_wrong_in_the_page,
    test_phones_do_not_scroll_sideways,
    test_text_shows_no_markup,
    visit,
)

PAGES = [f"vi/{page}" for page in test_browser.PAGES]
chapters_only = pytest.mark.parametrize("name", PAGES[: len(CHAPTERS)], indirect=True)


@pytest.fixture(scope="module", params=PAGES)
def name(request) -> str:
    return request.param


@chapters_only
def test_every_equation_bears_its_number(desk, name):
    test_browser.test_every_equation_bears_its_number(desk, name)


@chapters_only
def test_buttons_give_this_notebook(desk, html, name):
    test_browser.test_buttons_give_this_notebook(desk, html, name)


@chapters_only
def test_figures_say_what_they_show(desk):
    test_browser.test_figures_say_what_they_show(desk)


@chapters_only
def test_the_switch_of_ideas_and_the_copy_buttons_speak_vietnamese(desk):
    """And the choice that was made in one language holds in the other."""
    ideas, everything = (desk.get_by_role("button", name=name, exact=True) for name in ("ý tưởng", "tất cả"))
    everything.dispatch_event("click")
    assert all(desk.evaluate(FOLDS)) and everything.get_attribute("aria-pressed") == "true"
    assert desk.evaluate("localStorage.tinyddpmShow") == "everything"
    ideas.dispatch_event("click")
    assert not any(desk.evaluate(FOLDS))
    assert {*desk.locator("button.copybtn").evaluate_all("all => all.map(one => one.dataset.tooltip)")} == {"Chép"}
    assert desk.evaluate("[...document.querySelectorAll('article pre')].every(code => code.closest('[lang]').lang === 'en')")


def read(page, place):
    """Scrolls to a place, and again when the live figures above it have begun, and with them the page has changed its length."""
    test_browser.typeset(page)
    for _ in range(2):
        page.evaluate("place => document.getElementById(place).scrollIntoView({ behavior: 'instant' })", place)
        page.wait_for_timeout(500)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_language_switch_leads_to_the_place_that_is_read(browser, html, width):
    """There and back, from an equation in the middle of a chapter; from its head, to the head."""
    with visit(browser, (html / "chapters/posterior.html").as_uri(), width) as page:
        page.get_by_role("link", name="Tiếng Việt").click()
        page.wait_for_url("**/vi/chapters/posterior.html")
        page.go_back()
        for name, there in (("Tiếng Việt", "**/vi/chapters/posterior.html#*"), ("English", "**/html/chapters/posterior.html#*")):
            read(page, "eq-2-15")
            page.get_by_role("link", name=name).press("Enter")
            page.wait_for_url(there)
            assert page.url.endswith("#eq-2-15"), page.url
        assert page.faults == []


# With marks, without, in capitals; of one syllable and one letter; with words that form no pair; of a formula's neighbour.
SOUGHT = {
    "phương sai": "posterior", "phuong sai": "posterior", "PHƯƠNG SAI": "posterior", "can duoi bien phan": "elbo",
    "độ lệch": "forward", "ĐỘ LỆCH": "forward", "do lech": "forward", "trường có dẫn hướng": "guidance",
    "ở đâu": "forward", "nhiễu": "loss", "chỉ số": "elbo", "flow matching": "stable-diffusion", "DDIM": "sampling",
}  # fmt: skip


def test_search_finds_words_with_their_marks_and_without(browser, html):
    with visit(browser, (html / "vi/search.html").as_uri(), 1280) as page:
        for words, chapter in SOUGHT.items():
            page.goto((html / "vi/search.html").as_uri() + f"?q={words}")
            page.locator(f"#search-results a[href*='chapters/{chapter}.html']").first.wait_for(timeout=10_000)
        assert page.faults == []


def test_search_says_in_vietnamese_that_it_found_nothing(browser, html):
    with visit(browser, (html / "vi/search.html").as_uri() + "?q=xyzzy", 1280) as page:
        page.get_by_text("Không trang nào có những từ này").wait_for()


def test_the_first_page_asks_in_vietnamese_and_draws(browser, html):
    with visit(browser, (html / "vi/index.html").as_uri(), 1280) as page:
        page.get_by_role("button", name="Vẽ", exact=True).click()
        page.get_by_text("vẽ xong sau").wait_for(timeout=120_000)
        page.get_by_label("Vẽ gì (bằng tiếng Anh)").fill("a blu circle")
        page.keyboard.press("Enter")
        page.get_by_text("Mô hình không vẽ được câu này: có từ lạ “blu”, từ gần nhất là “blue”").wait_for()
        page.get_by_label("Vẽ gì (bằng tiếng Anh)").fill("a red circle " * 9)
        page.keyboard.press("Enter")
        page.get_by_text(re.compile(r"có 27 từ, nhiều nhất được \d+ từ$")).wait_for()
        assert page.faults == []


@pytest.mark.parametrize("page", [page for page in notebooks.pages() if notebooks.live_figures(page)])
def test_live_figures_begin(browser, html, page):
    """As in the English book, whose scripts they are; the words in a chapter's figures stay English."""
    with visit(browser, (html / f"vi/{page}.html").as_uri(), 1280) as seen:
        assert seen.locator(".live").count() == notebooks.live_figures(page)
        for i in range(notebooks.live_figures(page)):
            figure = test_live.begin(seen, i)
            begun = "Hình tương tác: " if page == "index" else "Live figure: "  # the language that its words are in
            assert figure.get_by_role("group").first.get_attribute("aria-label").startswith(begun)
        assert seen.faults == []
