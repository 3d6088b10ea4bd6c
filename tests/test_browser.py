"""The built book in a real browser, read from disk with the network cut: what readers see, click and have read to them.

Each page is opened twice: in light colours at a desk, and in dark ones on a phone. pytest sorts the tests by page, so that a
page is closed before the next one opens.
"""

import io
import re
from contextlib import contextmanager
from pathlib import Path

import browsers
import nbformat
import notebooks
import numpy as np
import pytest
from PIL import Image
from set_repository import repository_url

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright, which drives a browser, is not installed")
axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed: it knows what hinders readers")
if browsers.program() is None:
    pytest.skip(browsers.MISSING, allow_module_level=True)

HERE = ("file:", "data:", "blob:", "about:")
PHONES = [375, 390]
CHAPTERS = [path.relative_to(notebooks.ROOT).with_suffix(".html").as_posix() for path in notebooks.chapters()]
# The chapters stand first, so that a test of chapters alone and a test of all pages count them alike, and share a visit.
PAGES = CHAPTERS + sorted({f"{page}.html" for page in notebooks.pages()} - {*CHAPTERS})
PAGES += ["search.html", "genindex.html"]
chapters_only = pytest.mark.parametrize("name", CHAPTERS, indirect=True)


@pytest.fixture(scope="module")  # not longer: while it is open, nothing else in the process may use asyncio
def browser():
    with (
        sync_api.sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=browsers.program(), args=browsers.FLAGS) as browser,
    ):
        yield browser


@contextmanager
def window(browser, width, **settings):
    """An empty page, with a list of what will go wrong in it."""
    with browser.new_context(offline=True, viewport={"width": width, "height": 800}, **settings) as context:
        page = context.new_page()
        page.faults = []
        page.on("console", lambda message: page.faults.append(message.text))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        context.on("request", lambda request: request.url.startswith(HERE) or page.faults.append(request.url))
        yield page


@contextmanager
def visit(browser, address, width, **settings):
    """A page once its formulas are typeset."""
    with window(browser, width, **settings) as page:
        page.goto(address)
        typeset(page)
        yield page


def typeset(page):
    page.evaluate("() => window.MathJax?.startup?.promise?.then(() => null)")


@contextmanager
def desktop(browser, width, **settings):
    """A window that pages are visited in one after the other, each as if it were the first: what takes longest is to open one."""
    with window(browser, width, **settings) as page:
        page.add_init_script("if (location.protocol === 'file:') { localStorage.clear(); sessionStorage.clear(); }")

        def go(address):
            page.faults.clear()
            page.set_viewport_size({"width": width, "height": 800})
            page.mouse.move(0, 0)
            page.goto(address)
            typeset(page)
            return page

        yield go


@pytest.fixture(scope="module", params=PAGES)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def at_desk(browser):
    with desktop(browser, 1280, color_scheme="light") as go:
        yield go


@pytest.fixture(scope="module")
def on_phone(browser):
    with desktop(browser, PHONES[0], color_scheme="dark") as go:
        yield go


@pytest.fixture(scope="module")
def desk(at_desk, html, name):
    return at_desk((html / name).as_uri())


@pytest.fixture(scope="module")
def phone(on_phone, html, name):
    return on_phone((html / name).as_uri())


def source(name: str) -> Path:
    """The notebook of a chapter's page."""
    return (notebooks.ROOT / name).with_suffix(".ipynb")


def test_every_page_is_visited(html):
    """Here, and those of the Vietnamese book in test_browser_vietnamese.py."""
    pages = {page.relative_to(html).as_posix() for page in html.rglob("*.html") if not {"_static", "_sources"} & {*page.parts}}
    assert pages == {*PAGES, *(f"vi/{page}" for page in PAGES)}


def test_text_shows_no_markup(desk):
    text = desk.evaluate("""() => {
        document.querySelectorAll("details").forEach(details => details.open = true);
        const sheet = document.head.appendChild(document.createElement("style"));
        sheet.textContent = "pre, code, mjx-container { display: none !important }";
        const text = document.title + document.body.innerText;
        sheet.remove();
        return text;
    }""")
    assert len(text) > 300
    assert not re.findall(r".{,30}(?:\$|\\[(\[\])]|:::|\{[a-z]+\}`|\{eq\}|\\tag|\\begin|<!--).{,30}", text)


def test_every_formula_is_typeset(desk):
    assert desk.evaluate("""() => [...document.querySelectorAll("article .math, article mjx-container")]
        .filter(math => !(math.querySelector("svg")?.getBoundingClientRect().width > 1))
        .map(math => math.outerHTML.slice(0, 200))""") == []  # fmt: skip
    assert desk.locator("mjx-merror, [data-mjx-error], [data-mml-node=merror]").count() == 0


@chapters_only
def test_every_equation_bears_its_number(desk, name):
    # The strokes of a number are known by the characters that they draw. In the Vietnamese book it is written, as words are there.
    shown = desk.evaluate("""() => Object.fromEntries([...document.querySelectorAll("[id^=eq-]")].map(place => {
        let math = place;
        while (math && !math.matches("div.math")) math = math.nextElementSibling;
        const labels = math ? math.querySelectorAll("svg [data-labels] [data-mml-node=mtd]") : [];
        const drawn = label =>
            [...label.querySelectorAll("use[data-c], text")].filter(node => node.getBoundingClientRect().width > 1);
        const letter = node => node.matches("text") ? node.textContent : String.fromCodePoint(parseInt(node.dataset.c, 16));
        const text = label => drawn(label).map(letter).join("");
        return [place.id, [...labels].map(text).join(" ")];
    }))""")
    assert shown == {equation.anchor: f"({equation.tag})" for equation in notebooks.equations(source(name))}


def test_every_citation_leads_to_its_equation(desk, html, name):
    book = html / "vi" if name.startswith("vi/") else html
    equations = [equation for path in notebooks.chapters() for equation in notebooks.equations(path)]
    places = {f"({e.tag})": f"{(book / e.chapter).as_uri()}.html#{e.anchor}" for e in equations}
    links = desk.evaluate(r"""() => [...document.querySelectorAll("a")]
        .filter(link => /^\s*\(\d+\.\d+\)\s*$/.test(link.textContent) || link.hash.startsWith("#eq-"))
        .map(link => [link.textContent.trim(), link.href])""")
    assert [(text, href) for text, href in links if places.get(text) != href] == []


@pytest.mark.parametrize("width", [1280, PHONES[0]])
def test_a_click_on_a_citation_shows_the_equation(browser, html, width):
    with visit(browser, (html / CHAPTERS[-1]).as_uri(), width) as page:
        for link in (
            "article a[href*='.html#eq-']:visible",
            "article a[href^='#eq-']:visible",
        ):  # to another chapter, and inside that one
            page.locator(link).last.click()
            page.wait_for_load_state()
            typeset(page)
            assert page.evaluate("""() => {
                let math = document.getElementById(location.hash.slice(1));
                while (!math.matches("div.math")) math = math.nextElementSibling;
                const box = math.getBoundingClientRect();
                return math.contains(document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2));
            }"""), page.url  # fmt: skip


LENGTH = "document.querySelector('article').scrollHeight"
FOLDS = "[...document.querySelectorAll('details:is(.fold, .machinery)')].map(fold => fold.open)"


@chapters_only
def test_a_page_of_ideas_is_a_fifth_shorter_than_one_of_everything(desk):
    """At a desk and on a phone, and the reader stays where he is when he asks for the other."""
    ideas, everything = (desk.get_by_role("button", name=name, exact=True) for name in ("ideas", "everything"))
    for width in (1280, PHONES[0]):
        desk.set_viewport_size({"width": width, "height": 800})
        ideas.dispatch_event("click")  # another test may have opened some
        assert not any(desk.evaluate(FOLDS)) and ideas.get_attribute("aria-pressed") == "true"
        short = desk.evaluate(LENGTH)
        desk.evaluate("document.querySelector('#what-is-now-known').scrollIntoView({ behavior: 'instant' })")
        before = desk.evaluate("document.querySelector('#what-is-now-known').getBoundingClientRect().top")
        everything.dispatch_event("click")
        assert all(desk.evaluate(FOLDS)) and everything.get_attribute("aria-pressed") == "true"
        assert abs(desk.evaluate("document.querySelector('#what-is-now-known').getBoundingClientRect().top") - before) < 3
        assert short < 0.8 * desk.evaluate(LENGTH)


def test_the_choice_between_ideas_and_everything_is_remembered_on_all_pages(browser, html):
    with visit(browser, (html / CHAPTERS[1]).as_uri(), 1280) as page:
        assert not any(page.evaluate(FOLDS))
        page.get_by_role("button", name="everything").click()
        for name in CHAPTERS[1:3]:
            page.goto((html / name).as_uri())
            assert all(page.evaluate(FOLDS))
        page.get_by_role("button", name="ideas").click()
        page.reload()
        assert not any(page.evaluate(FOLDS)) and page.faults == []


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_the_mark_of_a_check_opens_its_verdict(browser, html, scripts):
    """It stands beside its equation, on no line of its own, and answers to the mouse and to a key."""
    with visit(browser, (html / "chapters/posterior.html").as_uri(), 1280, java_script_enabled=scripts) as page:
        mark = page.locator("#eq-2-15 ~ details.check").first.locator("summary")
        formula = page.locator("#eq-2-15 ~ div.math").first
        assert mark.bounding_box()["y"] < formula.bounding_box()["y"] + formula.bounding_box()["height"] + 5
        verdict = page.get_by_text("✓ (2.15) proved")
        assert not verdict.is_visible()
        mark.click()
        assert verdict.is_visible()
        mark.press("Enter")
        assert not verdict.is_visible()


def test_a_place_in_a_fold_is_shown_to_who_comes_for_it(browser, html):
    with visit(browser, (html / "chapters/posterior.html").as_uri() + "?highlight=btilde_t", 1280) as page:
        page.evaluate("document.querySelector('details.check pre').id = 'there'")
        assert not page.locator("#there").is_visible()
        page.evaluate("location.hash = '#there'")
        page.locator("#there").wait_for(state="visible")


def test_search_finds_the_chapter(browser, html):
    found = "#search-results a[href*='chapters/posterior.html']"
    with visit(browser, (html / "search.html").as_uri() + "?q=posterior", 1280) as page:
        page.locator(found).first.wait_for()
        page.goto((html / CHAPTERS[0]).as_uri())
        page.get_by_role("button", name="Search").first.click()
        page.get_by_role("searchbox").fill("posterior")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search.html?q=posterior*")
        page.locator(found).first.click()
        page.wait_for_url("**/chapters/posterior.html*")
        assert page.faults == []


@chapters_only
def test_buttons_give_this_notebook(desk, html, name):
    repository = repository_url(html.parents[1] / "_config.yml").removeprefix("https://github.com/")
    assert repository == "somebody/their-fork"
    notebook = source(name).relative_to(notebooks.ROOT).as_posix()
    desk.evaluate("scrollTo(0, 0)")
    run, take = (
        ("Chạy trang này", "Tải trang này về") if name.startswith("vi/") else ("Launch interactive content", "Download this page")
    )
    desk.get_by_role("button", name=run).click()
    colab = desk.get_by_role("link", name="Colab")
    sync_api.expect(colab).to_be_visible()
    assert colab.get_attribute("href") == f"https://colab.research.google.com/github/{repository}/blob/trunk/{notebook}"
    desk.get_by_role("button", name=take).click()
    download = desk.get_by_role("link", name=".ipynb")
    sync_api.expect(download).to_be_visible()
    given = nbformat.read(html.joinpath(name).parent / download.get_attribute("href"), as_version=nbformat.NO_CONVERT)
    nbformat.validate(given)
    assert given == nbformat.read(html.parents[1] / notebook, as_version=nbformat.NO_CONVERT)


@chapters_only
def test_figures_say_what_they_show(desk):
    figures = desk.locator("article img").evaluate_all("figures => figures.map(figure => [figure.alt, figure.naturalWidth])")
    assert figures
    for alt, width in figures:
        assert len(alt) > 40 and width > 100, alt


def test_figures_are_light_on_a_dark_page(phone):
    assert phone.evaluate("document.documentElement.dataset.theme") == "dark"
    text = phone.evaluate("getComputedStyle(document.querySelector('main')).color")
    page = phone.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(levels(page)) < 80 and min(levels(text)) > 150
    for figure in phone.locator("article img:not(.hero, .live img)").all():  # which is a picture, without paper around it
        seen = np.asarray(Image.open(io.BytesIO(figure.screenshot())).convert("L"))
        edge = np.concatenate([seen[10], seen[-11], seen[:, 10], seen[:, -11]])  # within the frame that the theme puts around it
        assert np.median(edge) > 150, figure.get_attribute("alt")


def levels(color: str) -> list[int]:
    return [int(level) for level in re.findall(r"\d+", color)[:3]]


@pytest.mark.parametrize("unfolded", [False, True], ids=["folded", "unfolded"])
@pytest.mark.parametrize("width", PHONES)
def test_phones_do_not_scroll_sideways(phone, width, unfolded):
    phone.set_viewport_size({"width": width, "height": 800})
    phone.evaluate("open => document.querySelectorAll('details').forEach(details => details.open = open)", unfolded)
    wide, moved, out = phone.evaluate("""() => {
        scrollTo(1000, 0);
        const moved = scrollX, wide = document.scrollingElement.scrollWidth - innerWidth;
        scrollTo(0, 0);
        const scrolls = box => /auto|scroll/.test(getComputedStyle(box).overflowX);
        const outside = box => box.width > 1 && (box.right > innerWidth + 1 || box.left < -1);
        const boxed = node => node && node.tagName !== "ARTICLE" && (scrolls(node) || boxed(node.parentElement));
        const out = [...document.querySelectorAll("article *")]
            .filter(node => outside(node.getBoundingClientRect()) && !boxed(node.parentElement));
        return [wide, moved, out.map(node => node.outerHTML.slice(0, 200))];
    }""")
    assert (wide <= 0, moved, out[:5]) == (True, 0, [])


@chapters_only
def test_wide_formulas_scroll_in_their_own_box(phone, name):
    boxes = phone.locator("article :is(div.math, [display=true], .wide mjx-container)").evaluate_all("""boxes => boxes
        .filter(box => box.scrollWidth > box.clientWidth + 1)
        .map(box => { box.scrollLeft = 9; return [getComputedStyle(box).overflowX, box.scrollLeft > 0, box.tabIndex]; })""")
    assert {*map(tuple, boxes)} <= {("auto", True, 0)}  # the last: a keyboard can move it
    if name == max(CHAPTERS, key=lambda name: len(notebooks.equations(source(name)))):
        assert boxes


@chapters_only
def test_at_a_desk_every_formula_is_as_wide_as_the_text_at_most(desk):
    desk.set_viewport_size({"width": 1280, "height": 800})
    wide = desk.locator("article div.math mjx-container").evaluate_all("""boxes => boxes
        .filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.textContent.slice(0, 80))""")
    assert wide == []


def hindrances(page) -> list[str]:
    """What axe finds on a page that hinders readers seriously, with the pointer where nothing is, not where a test has left it."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)  # a link that the pointer leaves changes its colour slowly
    page.evaluate(Path(axe.__file__).with_name("axe.min.js").read_text(encoding="utf-8") + "; null")
    found = page.evaluate("""async () => {
        document.querySelectorAll("details").forEach(details => details.open = true);
        // Only for speed: axe looks neither at strokes nor at what MathML is made of, yet takes them all in.
        document.querySelectorAll("mjx-container svg").forEach(svg => svg.replaceChildren());
        document.querySelectorAll("mjx-assistive-mml math").forEach(math => math.replaceChildren(math.textContent));
        // Also for speed: of each kind of text (its colour, size, weight, and all that lies behind it) one piece is enough.
        const kinds = new Set(), grounds = new Map([[null, ""]]);
        const ground = node => {
            if (!grounds.has(node)) {
                const { backgroundColor, backgroundImage, opacity, filter } = getComputedStyle(node);
                const own = [backgroundColor, backgroundImage, opacity, filter].join(" ");
                const plain = own === "rgba(0, 0, 0, 0) none 1 none";
                grounds.set(node, ground(node.parentElement) + (plain ? "" : "; " + own));
            }
            return grounds.get(node);
        };
        const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            const node = texts.currentNode.parentElement;
            const hidden = node.matches("math") || !node.checkVisibility({ visibilityProperty: true });
            if (!texts.currentNode.data.trim() || hidden) continue;
            const { color, fontSize, fontWeight, textShadow } = getComputedStyle(node);
            const kind = [color, fontSize, fontWeight, textShadow, ground(node)].join("; ");
            if (!kinds.has(kind)) node.dataset.kind = kinds.add(kind).size;
        }
        axe.configure({ rules: [{ id: "color-contrast", selector: "[data-kind]" }] });
        return (await axe.run({ preload: false, resultTypes: ["violations"] })).violations;
    }""")
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]}"
        for rule in found
        for node in rule["nodes"]
        if node["impact"] in ("serious", "critical")
    ]


def test_nothing_hinders_readers_in_light_colours(desk):
    assert hindrances(desk) == []


def test_nothing_hinders_readers_in_dark_colours_on_a_phone(phone):
    assert hindrances(phone) == []


def test_nothing_went_wrong_in_the_page(desk, phone):
    """The last of a page's tests: nothing failed, and nothing was asked of another machine, in all that the others did."""
    assert desk.faults + phone.faults == []
