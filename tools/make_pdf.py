"""The book to carry: python tools/make_pdf.py HTML PDF puts the pages of the built book into one, and has a browser print it.

The browser needs no network, and gets none.
"""

import io
import itertools
import logging
import posixpath
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from html import escape
from pathlib import Path

import browsers
import matplotlib
from bs4 import BeautifulSoup, Tag
from notebooks import BOOKS, TAG, pages
from playwright.sync_api import Page, sync_playwright
from pypdf import PdfReader, PdfWriter
from words import WORDS

import tinyddpm

# The outlines of a formula have no words; those that it was written with go into the PDF for whoever has the page read aloud.
SAY = """async () => {
    await Promise.all([MathJax.startup.promise, document.fonts.ready]);
    for (const {typesetRoot, math} of MathJax.startup.document.math) {
        const outline = typesetRoot.querySelector("svg");
        outline.removeAttribute("aria-hidden");
        outline.setAttribute("role", "img");
        outline.setAttribute("aria-label", math);
        typesetRoot.querySelector("mjx-assistive-mml").remove();
    }
}"""
FILL_IN = """places => document.querySelectorAll("nav a").forEach(
    link => link.querySelector("b").textContent = places[link.getAttribute("href").slice(1)])"""


def language(html: Path) -> str:
    """The language of a built book."""
    return BeautifulSoup((html / "index.html").read_text(encoding="utf-8"), "html.parser").html["lang"]


def setting(key: str, language: str) -> str:
    """What the configuration of the book in that language says."""
    return re.search(rf'(?m)^{key}: "?(.*?)"?$', (BOOKS[language] / "_config.yml").read_text(encoding="utf-8"))[1]


def fonts() -> str:
    """DejaVu as style sheet, which Matplotlib brings along: the fonts of a machine need not have every letter of Vietnamese."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    faces = []
    for family, italic in {"Serif": "Italic", "Sans": "Oblique"}.items():
        for weight, slant in itertools.product(("", "Bold"), ("", italic)):
            file = folder / f"DejaVu{family}{f'-{weight}{slant}' if weight or slant else ''}.ttf"
            style = f"font-weight: {weight.lower() or 'normal'}; font-style: {'italic' if slant else 'normal'}"
            faces.append(f'@font-face {{ font-family: "Book {family}"; {style}; src: url("{file.as_uri()}"); }}')
    return "\n".join(faces)


def number(place: Tag, formula: Tag) -> None:
    """Sets the number of a formula as text, which can be searched for; the place moves to it, not to stay on the page before."""
    (tag,) = TAG.findall(formula.text)
    formula.string = TAG.sub("", formula.text)
    place.string = f"({tag})"
    box = place.wrap(BeautifulSoup().new_tag("div", attrs={"class": "numbered"}))
    box.insert(0, formula.extract())


def article(html: Path, name: str) -> Tag:
    """What a page says, with its places and its links renamed so that they hold beside those of the other pages."""
    text = (html / f"{name}.html").read_text(encoding="utf-8")
    found = BeautifulSoup(text, "html.parser").find("article")
    for node in found.select(".headerlink, .toctree-wrapper"):
        node.extract()
    for node in found.select("script, style, source"):  # the last: a film, beside a picture that stands for it
        node.extract()
    for link in found.select("a[hreflang]"):
        link.unwrap()  # it leads to the book in the other language
    for place in found.select('span[id^="eq-"]'):
        number(place, place.find_next_sibling("div", class_="math"))
    for token in found.select("pre .n, pre .p, pre .w, pre .o, pre > span:empty"):
        token.unwrap()  # names, signs and spaces; each would be a part of its own in the PDF
    for node in found.find_all(id=True):
        node["id"] = f"{name}:{node['id']}"
    for heading in found.select("section[id] > :is(h1, h2, h3, h4):first-of-type"):
        if "id" in heading.parent.attrs:  # the place moves to the heading, not to stay on the page before it
            heading["id"] = heading.parent.attrs.pop("id")
    found["id"] = name
    for link in found.find_all("a", href=True):
        if not re.match(r"[a-z]+:", link["href"]):
            path, _, place = link["href"].partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)).removesuffix(".html") if path else name
            link["href"] = f"#{target}:{place}" if place else f"#{target}"
    for image in found.find_all("img"):
        if not image["src"].startswith("data:"):
            image["src"] = (html / name).parent.joinpath(image["src"]).resolve().as_uri()
    for solution in found.find_all("details"):
        solution["open"] = ""
    return found


def appendix(articles: list[Tag], words: dict[str, str]) -> Tag:
    """What the pages fold, chapter by chapter. On paper nothing opens, so a check leaves its mark behind, as a link to here."""
    start = f'<article id="code"><h1 id="code:title">{words["appendix"]}</h1><p>{words["folded"]}</p></article>'
    page = BeautifulSoup(start, "html.parser").article
    for chapter in articles:
        folds = chapter.select("details.fold, details.machinery")
        if folds:
            heading = BeautifulSoup().new_tag("h2", id=f"code:{chapter['id']}")
            heading.extend(copy(node) for node in chapter.h1.contents)
            page.append(heading)
        for i, folded in enumerate(folds):
            place, label = f"code:{chapter['id']}:{i}", folded.summary.extract().get_text()
            folded.name, folded.attrs = "div", {"id": place}
            mark = f'<p class="mark"><a href="#{place}">{escape(label.split(",")[0])}</a></p>' if label[0] in "✓✗" else ""
            folded.replace_with(BeautifulSoup(mark, "html.parser"))
            folded.insert(0, BeautifulSoup(f'<p class="rubric">{escape(label)}</p>', "html.parser"))
            page.append(folded)
    return page


def contents(articles: list[Tag], words: dict[str, str]) -> str:
    """The table of contents; its page numbers are filled in when they are known."""
    lines = [f"<nav><h1>{words['contents']}</h1><div>"]
    for heading in (heading for each in articles for heading in each.find_all(["h1", "h2"])):
        place, inside = heading["id"], heading.decode_contents()
        lines.append(f'<a class="{heading.name}" href="#{place}"><span>{inside}</span><i></i><b>000</b></a>')
    return "\n".join([*lines, "</div></nav>"])


def one_page(html: Path) -> str:
    """The whole book as one page of HTML."""
    lang = language(html)
    words = WORDS[lang]
    articles = [article(html, name) for name in pages()]
    articles.append(appendix(articles, words))
    with_formulas = html / f"{pages()[1]}.html"  # the first page has none, and no script for them
    head = BeautifulSoup(with_formulas.read_text(encoding="utf-8"), "html.parser").head
    mathjax = [script for script in head.find_all("script") if "mathjax" in str(script).lower()]
    for script in mathjax:
        if script.get("src"):
            script["src"] = (with_formulas.parent / script["src"]).resolve().as_uri()
    sheets = (html / "_static" / "pygments.css", Path(__file__).with_name("print.css"))
    styles = [f'<link rel="stylesheet" href="{sheet.resolve().as_uri()}">' for sheet in sheets]
    title, author, year = (escape(setting(key, lang)) for key in ("title", "author", "copyright"))
    logo = (html / "_static" / Path(setting("logo", lang)).name).resolve().as_uri()
    return "\n".join(
        [
            f'<!DOCTYPE html><html lang="{lang}" data-theme="light"><head><meta charset="utf-8"><title>{title}</title>',
            f"<style>{fonts()}</style>" if lang == "vi" else "",
            *styles,
            *map(str, mathjax),
            f'</head><body><header><img src="{logo}" alt=""><p class="title">{title}</p><p>{author}</p>',
            f"<p>{words['version'].format(version=tinyddpm.__version__, year=year)}</p></header>",
            contents(articles, words),
            *map(str, articles),
            "</body></html>",
        ]
    )


@contextmanager
def opened(path: Path) -> Iterator[Page]:
    """A page from disk in the browser, its formulas set."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browsers.program(), args=browsers.FLAGS)
        page = browser.new_context(offline=True).new_page()
        page.set_default_timeout(300_000)
        page.emulate_media(media="print")
        page.goto(path.resolve().as_uri())
        page.wait_for_function("window.MathJax?.startup?.promise")
        page.evaluate(SAY)
        yield page
        browser.close()


def printed(page: Page) -> bytes:
    """The page as it is, on paper."""
    return page.pdf(prefer_css_page_size=True, print_background=True, outline=True, tagged=True)


def numbers(pdf: bytes) -> dict[str, int]:
    """On which page each place is that a link leads to."""
    reader = PdfReader(io.BytesIO(pdf))
    return {name.lstrip("/"): reader.get_destination_page_number(place) + 1 for name, place in reader.named_destinations.items()}


def make(html: Path, target: Path) -> None:
    """Prints twice: the first time for the page numbers. Writes the file when all has gone well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    page_of_all = target.with_name("book.html")
    page_of_all.write_text(one_page(html), encoding="utf-8")
    with opened(page_of_all) as page:
        page.evaluate(FILL_IN, numbers(printed(page)))
        pdf = printed(page)
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of the number of objects, which it counts otherwise itself
    writer = PdfWriter(clone_from=io.BytesIO(pdf))
    writer.add_metadata({"/Author": setting("author", language(html))})
    writer.write(target)


if __name__ == "__main__":
    if browsers.program() is None:
        sys.exit(f"A PDF needs a browser to print it: {browsers.MISSING}")
    make(*map(Path, sys.argv[1:]))
