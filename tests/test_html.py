"""The built book: made without a warning from a fork's copy, whole, and sufficient to itself."""

import json
import re
from copy import copy
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import notebooks
import pytest
from bs4 import BeautifulSoup
from public import public
from set_repository import repository_url, set_repository
from words import WORDS

from conftest import of_the_fork
from tinyddpm.checkpoint import PRETRAINED

# The two books, by the folders that they are in.
BOOKS = {"": WORDS["en"], "vi/": WORDS["vi"]}
of_both = pytest.mark.parametrize("book", BOOKS, ids=["english", "vietnamese"])


def page_of(book: str, path: Path) -> str:
    """Where a chapter is in one of the books."""
    return book + path.relative_to(notebooks.ROOT).with_suffix(".html").as_posix()


@pytest.fixture(scope="session")
def pages(html) -> dict[str, BeautifulSoup]:
    """Every page, by its path."""
    found = {
        page.relative_to(html).as_posix(): BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        for page in html.rglob("*.html")
        if "_static" not in page.parts and "_sources" not in page.parts
    }
    written = [*(f"{page}.html" for page in notebooks.pages()), "search.html", "genindex.html"]
    assert {book + page for book in BOOKS for page in written} == set(found)
    return found


def test_nothing_is_loaded_from_elsewhere(html, pages):
    for name, page in pages.items():
        for node in page.find_all(src=True) + page.find_all("link", href=True):
            address = node.get("src") or node.get("href")
            assert not urlsplit(address).scheme or address.startswith("data:"), (name, address)
        for script in page.find_all("script"):
            assert not re.search(r"https?://", script.text), (name, script.text[:200])
    for sheet in html.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_no_link_leads_nowhere(html, pages):
    ids = {name: {node["id"] for node in page.find_all(id=True)} for name, page in pages.items()}
    for name, page in pages.items():
        for link in page.find_all("a", href=True):
            target = urlsplit(urljoin(name, link["href"]))
            if target.scheme or link["href"] == "#":
                continue
            assert (html / unquote(target.path)).is_file(), (name, link["href"])
            if target.fragment and target.path.endswith(".html"):
                assert unquote(target.fragment) in ids[target.path], (name, link["href"])


def test_every_equation_can_be_jumped_to_and_every_citation_does(pages):
    for book, path in ((book, path) for book in BOOKS for path in notebooks.chapters()):
        page = pages[page_of(book, path)]
        for equation in notebooks.equations(path):
            assert page.find(id=equation.anchor) is not None
    for name, page in pages.items():
        article = page.find("article")
        for text in article.find_all(string=re.compile(r"\(\d+\.\d+\)")) if article else []:
            unlinked = {"pre", "code", "a", "script", "div", "span"}  # code, links, and formulas
            assert text.parent.name in unlinked or "(2.7)" in text, (name, text)


def test_text_shows_no_markup(pages):
    for name, page in pages.items():
        article = copy(page.find("article"))
        for node in article.find_all(["pre", "code", "script", "style"]) + article.find_all(class_="math") if article else []:
            node.extract()
        text = article.get_text() if article else ""
        assert not re.search(r"\$|\\\(|\\\[|:::|\{[a-z]+\}`|<!--|\\tag", text), name


def test_buttons_open_the_fork(html, pages):
    everything = "".join(map(str, pages.values()))
    assert repository_url(notebooks.ROOT / "_config.yml") not in everything
    for path in notebooks.chapters() + notebooks.chapters(notebooks.BOOKS["vi"]):
        name = path.relative_to(notebooks.ROOT).as_posix()
        links = [a["href"] for a in pages[name.replace(".ipynb", ".html")].find_all("a", href=True)]
        assert f"https://colab.research.google.com/github/somebody/their-fork/blob/trunk/{name}" in links
        (download,) = {link for link in links if link.endswith(".ipynb") and "_sources" in link}
        given = (html / name).parent.joinpath(download).read_text(encoding="utf-8")
        assert json.loads(given) == json.loads(of_the_fork(path.read_text(encoding="utf-8")))


def test_the_first_page_leads_to_the_pdf_of_the_fork(pages):
    for page, pdf in {"index.html": "tinyddpm.pdf", "vi/index.html": "tinyddpm-vi.pdf"}.items():
        links = [link["href"] for link in pages[page].find("article").find_all("a", href=True) if link["href"].endswith(".pdf")]
        assert links == [f"https://somebody.github.io/their-fork/{pdf}"]


def test_the_address_stands_where_it_is_set_and_nowhere_else():
    address = repository_url(notebooks.ROOT / "_config.yml").removeprefix("https://")
    places = [
        path.relative_to(notebooks.ROOT).as_posix()
        for path in notebooks.ROOT.rglob("*")
        if path.is_file()
        and not {".venv", ".git", "_build", "dist", "mutants"} & set(path.relative_to(notebooks.ROOT).parts)
        and not path.name.endswith(".pyc")
        and address.encode() in path.read_bytes()
    ]
    chapters = [path.relative_to(notebooks.ROOT).as_posix() for path in notebooks.chapters()]
    both = [f"{book}{name}" for book in BOOKS for name in ("_config.yml", *chapters)]
    assert sorted(places) == sorted(["pyproject.toml", *both])


def test_both_places_of_the_address_agree_here_and_in_a_fork(html):
    for root in (notebooks.ROOT, html.parents[1]):
        address = repository_url(root / "_config.yml")
        assert repository_url(root / "vi" / "_config.yml") == address
        project = (root / "pyproject.toml").read_text(encoding="utf-8")
        assert f'\nSource = "{address}"\nIssues = "{address}/issues"\n' in project


@pytest.mark.parametrize("url", ["", "github.com/a/b", "https://github.com/a/b/", "git@github.com:a/b", "https://a b"])
def test_a_bad_address_is_named(url, tmp_path):
    with pytest.raises(ValueError, match="is not an address"):
        set_repository(tmp_path, url, "main")


@pytest.mark.parametrize(
    "without", ["_config.yml", "pyproject.toml", "vi/index.md", "chapters/loss.ipynb", "vi/chapters/loss.ipynb"]
)
def test_a_file_without_an_address_is_named_and_the_others_kept(without, tmp_path):
    names = [book + name for book in BOOKS for name in ("_config.yml", "index.md", "chapters/loss.ipynb", "chapters/forward.ipynb")]
    for name in ("pyproject.toml", *names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        text = (notebooks.ROOT / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text("title: x\n" if name == without else text, encoding="utf-8")
    before = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.*")}
    with pytest.raises(ValueError, match=rf"{re.escape(without)} has 0 places"):
        set_repository(tmp_path, "https://github.com/a/b", "main")
    assert {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.*")} == before


def test_pictures_have_a_description(pages):
    for name, page in pages.items():
        for image in page.find("article").find_all("img") if page.find("article") else []:
            assert len(image.get("alt", "")) > 10, (name, str(image)[:200])


def test_live_figures_have_a_picture_without_scripts(pages):
    figures = [(name, figure) for name, page in pages.items() for figure in page.find_all(class_="live")]
    names = ["forward", "posterior", "elbo", "loss", "training", "sampling", "guidance", "stable-diffusion"]
    assert {name for name, _ in figures} == {
        f"{book}{page}.html" for book in BOOKS for page in ["index", *(f"chapters/{name}" for name in names)]
    }
    for name, figure in figures:
        assert figure.find(["script", "input", "button"]) is None and figure.p.text
        assert name.endswith("index.html") or figure.img["src"].startswith("data:image/png;base64,")


def test_the_models_are_there_as_scripts_and_no_page_loads_them(html, pages):
    for book, name in ((book, name) for book in BOOKS for name in PRETRAINED):
        assert (html / f"{book}_static/live/weights/{name}.js").stat().st_size > 100_000
    assert not any("/live/" in script["src"] for page in pages.values() for script in page.find_all("script", src=True))


def test_no_page_is_heavy_before_a_model_is_asked_for(html, pages):
    """What it loads by itself, and the scripts of all live figures: 3 MB at most, beside MathJax and the icons of the theme."""
    live = sum(path.stat().st_size for path in (html / "_static" / "live").glob("*.js"))
    for name, page in pages.items():
        nodes = page.find_all(src=True) + page.find_all(srcset=True) + page.find_all("link", rel="stylesheet")
        files = {node.get("src") or node.get("srcset") or node["href"] for node in nodes}
        own = [html / unquote(urlsplit(urljoin(name, file)).path) for file in files if not file.startswith("data:")]
        weight = sum(file.stat().st_size for file in own if file.name not in ("tex-svg.js", "fontawesome.js"))
        assert (html / name).stat().st_size + weight + live < 3e6, name
    assert "tex-svg.js" not in str(pages["index.html"]) and "tex-svg.js" in str(pages["chapters/forward.html"])


@of_both
def test_ledger_page_lists_every_equation(pages, book):
    text = pages[f"{book}pages/ledger.html"].find("article").get_text()
    for path in notebooks.chapters():
        for equation in notebooks.equations(path):
            assert re.search(rf"\({re.escape(equation.tag)}\) ✓", text), equation.tag


@of_both
def test_page_of_slips_links_to_the_boxes_and_says_what_the_checks_said(pages, book):
    article = pages[f"{book}pages/slips.html"].find("article")
    text = " ".join(article.get_text().split())
    for slip in (slip for path in notebooks.chapters() for slip in notebooks.slips(path)):
        box = pages[f"{book}{slip.chapter}.html"].find(id=slip.anchor).find_next("blockquote")
        assert box.get_text().strip().startswith(BOOKS[book]["wrong"])
        assert article.find("a", href=f"../{slip.chapter}.html#{slip.anchor}")
        assert slip.verdict is None or " ".join(slip.verdict.split()) in text


@of_both
def test_reference_has_every_public_name(pages, book):
    ids = {node["id"] for node in pages[f"{book}pages/api.html"].find_all(id=True)}
    names = {f"tinyddpm.{name}" for name, _ in public()}
    assert len(names) > 60 and names <= ids, names - ids


def test_search_knows_the_words(html):
    index = (html / "searchindex.js").read_text(encoding="utf-8")
    assert all(f'"{word}"' in index for word in ("gaussian", "schedul", "nois"))


def test_weight(html):
    """The Vietnamese book makes it at most twice as large."""
    files = [path for path in html.rglob("*") if path.is_file()]
    english = sum(path.stat().st_size for path in files if html / "vi" not in path.parents)
    assert english < 60e6 and sum(path.stat().st_size for path in files) < 2 * english
    assert all(path.stat().st_size < 3e6 for path in files if path.suffix == ".html")


@of_both
def test_a_check_is_a_mark_below_its_equation_that_opens_its_cell_and_its_verdict(pages, book):
    for path in notebooks.chapters():
        page = pages[page_of(book, path)]
        lines = {equation.tag: equation.anchor for equation in notebooks.equations(path)}
        cells = notebooks.cells(path)
        for check in notebooks.checks(path):
            cell = cells[check["cell"]]
            if "hide-cell" not in cell["metadata"].get("tags", []):
                continue
            (mark,) = (
                fold
                for fold in page.select("details.fold.check")
                if f"({check['tag']})" in fold.summary.text and cell["source"].strip() in fold.get_text()
            )
            verdict = " ".join(next(o["data"]["text/plain"] for o in cell["outputs"] if o["data"].get(notebooks.MIME, {}) == {
                key: value for key, value in check.items() if key != "cell"})[0].split())  # fmt: skip
            assert verdict[:40] in " ".join(mark.get_text().split()) and not mark.has_attr("open")
            above = mark.find_previous_sibling(lambda node: "check" not in node.get("class", []))
            if check["kind"] == "refuted":
                assert mark.summary.text.startswith(BOOKS[book]["refuted"]) and above.name == "blockquote"
            else:
                place = page.find(id=lines[check["tag"]])
                assert mark.summary.text.startswith(BOOKS[book][check["kind"]]) and above.find_previous_sibling() is not None
                assert "math" in above["class"] and place in above.find_previous_siblings(limit=1 + len(lines))


@of_both
def test_what_is_not_a_check_is_folded_where_it_stands(pages, book):
    for path in notebooks.chapters():
        page = pages[page_of(book, path)]
        folds = page.select("details.fold.code")
        assert [fold.summary.text for fold in folds[:2]] == [
            BOOKS[book][label] for label in ("set-up", "code")
        ] and "import tinyddpm as td" in folds[0].get_text()
        shown = [pre.get_text() for pre in page.select("div.cell_input pre") if pre.find_parent("details") is None]
        wanted = [cell["source"] for cell in notebooks.cells(path) if notebooks.is_open(cell)]
        assert [text.strip() for text in shown] == [source.strip() for source in wanted]
        for picture in page.select("article img, .live"):
            assert picture.find_parent("details", class_="fold") is None


# ---- two languages ----


def places(page):
    """The names that can be jumped to in a page, in their order."""
    return (
        [node["id"] for node in page.find("article").select("section[id], [id^=eq-], [id^=slip-]")] if page.find("article") else []
    )


def test_the_switch_leads_to_the_same_page_which_has_the_same_places(html, pages):
    for name in (name for name in pages if not name.startswith("vi/")):
        for here, there, code in ((name, f"vi/{name}", "vi"), (f"vi/{name}", name, "en")):
            (switch,) = pages[here].select("a.language")
            (alternate,) = pages[here].select("link[rel=alternate][hreflang]")
            assert switch["hreflang"] == switch["lang"] == alternate["hreflang"] == code != pages[here].html["lang"]
            assert urljoin(here, switch["href"]) == urljoin(here, alternate["href"]) == there
        assert places(pages[name]) == places(pages[f"vi/{name}"]), name


NAMES = {
    "html",
    "Colab",
    ".ipynb",
    ".md",
    ".pdf",
    "Ctrl",
    "+",
    "K",
    "|",
    "tinyddpm",
    "Colab logo",
    "English",
    "Tiếng Việt",
    "Stable Diffusion",
}


def around(page):
    """What the theme writes around the text of a page, with what it says of its buttons."""
    page = copy(page)
    said = [node["title"] for node in page.select(".headerlink")]
    for node in page.select("article, script, style, .bd-toc, .toc-entry, .page-toc, template"):
        node.extract()
    said += [text for text in page.find_all(string=True) if type(text).__name__ == "NavigableString"]
    for attribute in ("title", "alt", "aria-label", "placeholder", "data-bs-title"):
        said += [node[attribute] for node in page.find_all(**{attribute: True})]
    return {" ".join(text.split()) for text in said} - NAMES - {""}


def test_the_theme_speaks_vietnamese(pages):
    for name, page in pages.items():
        if name.startswith("vi/"):
            english = around(page) & around(pages[name.removeprefix("vi/")])
            assert {text for text in english if re.search(r"[A-Za-z]{2}", text)} == set(), name


def test_the_search_of_the_vietnamese_book_knows_words_without_marks(html):
    index = (html / "vi" / "searchindex.js").read_text(encoding="utf-8")
    assert all(f'"{word}"' in index for word in ("phuong sai", "hau nghiem", "nhieu", "gaussian"))
