"""The book as one PDF: complete, its links and page numbers right, and nothing clipped."""

import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import browsers
import notebooks
import pytest
from bs4 import BeautifulSoup

from conftest import of_the_fork

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: see requirements.txt")
pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed: see requirements.txt")

import make_pdf  # noqa: E402
from words import WORDS  # noqa: E402

import tinyddpm  # noqa: E402

pytestmark = pytest.mark.skipif(browsers.program() is None, reason=browsers.MISSING)
WIDTH = 605  # of the text, in the browser's pixels: A4 without the margins of print.css
STROKES = re.compile(rb"(?m)^(?:[-\d.]+ )+[mlcvy]\n(?:h\n)?")  # in the contents of a page, where each is a line


@pytest.fixture(scope="session", params=["en", "vi"])
def language(request) -> str:
    return request.param


@pytest.fixture(scope="session")
def path(html, language, tmp_path_factory) -> Path:
    """The PDF; the page that it was printed from lies beside it."""
    target = tmp_path_factory.mktemp("pdf") / "tinyddpm.pdf"
    make_pdf.make(html / notebooks.BOOKS[language].relative_to(notebooks.ROOT), target)
    return target


@pytest.fixture(scope="session")
def pdf(path) -> pypdf.PdfReader:
    return pypdf.PdfReader(path)


@pytest.fixture(scope="session")
def texts(path) -> list[str]:
    """The words of each page, with single spaces. The strokes of formulas, which are most of a page, are not parsed for them."""
    found = []
    for page in pypdf.PdfReader(path).pages:
        words = pypdf.generic.DecodedStreamObject()
        words.set_data(STROKES.sub(b"", page.get_contents().get_data()))
        page[pypdf.generic.NameObject("/Contents")] = words
        found.append(" ".join(page.extract_text().split()))
    return found


@pytest.fixture(scope="session")
def source(path) -> BeautifulSoup:
    return BeautifulSoup(path.with_name("book.html").read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="session")
def places(path) -> dict[str, int]:
    return make_pdf.numbers(path.read_bytes())


def links(pdf):
    for number, page in enumerate(pdf.pages, 1):
        for note in page.get("/Annots", []):
            note = note.get_object()
            if note["/Subtype"] == "/Link":
                yield number, note


def letters(text):
    """What stays the same however a text is broken into lines."""
    return re.sub(r"[\s\xad]+", "", text)


def test_pages_are_a4_and_none_is_empty(pdf, texts):
    assert len(pdf.pages) > 100
    for page, text in zip(pdf.pages, texts, strict=True):
        assert [round(float(x)) for x in page.mediabox] == [0, 0, 595, 842]
        assert len(text) > 40, text


def test_title_page_says_what_this_is(pdf, texts, language):
    title, author, year = (make_pdf.setting(key, language) for key in ("title", "author", "copyright"))
    assert title in texts[0] and author in texts[0]
    assert texts[0].endswith(WORDS[language]["version"].format(version=tinyddpm.__version__, year=year))
    assert pdf.metadata.title == title and pdf.metadata.author == author
    assert pdf.trailer["/Root"]["/Lang"] == language and pdf.trailer["/Root"]["/MarkInfo"]["/Marked"]


def test_footers_number_the_pages(texts):
    assert all(text.startswith(f"{number} ") for number, text in enumerate(texts[1:], 2))


def test_every_link_leads_somewhere(pdf, places):
    internal = 0
    for number, link in links(pdf):
        if "/A" in link and "/URI" in link["/A"]:
            assert re.match(r"https?://", link["/A"]["/URI"]), (number, link["/A"]["/URI"])
        else:
            assert str(link["/Dest"]).lstrip("/") in places, (number, link["/Dest"])
            internal += 1
    assert internal > 600


def test_every_equation_is_a_place_on_the_page_that_shows_it(places, texts):
    for path in notebooks.chapters():
        for equation in notebooks.equations(path):
            number = places[f"{equation.chapter}:{equation.anchor}"]
            assert f"({equation.tag})" in texts[number - 1], (equation.tag, number)


def test_every_equation_has_its_number_beside_it_once(source):
    ids = [place["id"] for place in source.find_all(id=True)]
    assert len(ids) == len(set(ids))
    found = {place["id"]: place for place in source.select(".numbered > span")}
    for path in notebooks.chapters():
        for equation in notebooks.equations(path):
            place = found[f"{equation.chapter}:{equation.anchor}"]
            assert place.text == f"({equation.tag})" and "math" in place.find_previous_sibling("div")["class"]
    assert "\\tag" not in source.text


def test_citations_lead_to_their_equations(source):
    for link in source.find_all("a", string=re.compile(r"^\(\d+\.\d+\)$")):
        assert link["href"].endswith(":eq-" + link.text.strip("()").replace(".", "-")), link


def test_contents_give_the_page_of_each_heading(source, pdf, texts, places):
    printed = " ".join(re.sub(r"^\d+ ", "", text) for text in texts[1 : places["index"] - 1])
    for link in source.find("nav").find_all("a"):
        if link.find(class_="math"):
            continue  # an outline, not words
        title = " ".join(link.span.get_text().split())
        stated = [int(number) for number in re.findall(re.escape(title) + r" ?(\d{1,3})(?= |$)", printed)]
        assert stated, title
        # "Exercises" stands there ten times: as many numbers, each of a page with that heading.
        assert all(letters(title) in letters(texts[number - 1]) for number in stated), (title, stated)


def test_outline_has_every_chapter(pdf, language):
    titles = [entry.title for entry in pdf.outline if not isinstance(entry, list)]
    chapters = notebooks.chapters(notebooks.BOOKS[language])
    assert {notebooks.title(path) for path in chapters} <= set(titles)
    pages = ["Notation", "Reference", "The ledger"] if language == "en" else ["Ký hiệu", "Tham khảo", "Sổ kiểm chứng"]
    assert {WORDS[language]["contents"], *pages} <= set(titles)


def test_every_font_is_in_the_file_and_has_the_letters(pdf, texts, language):
    fonts = {
        id(font): font
        for page in pdf.pages
        for font in map(lambda font: font.get_object(), page["/Resources"].get("/Font", {}).values())
    }
    for font in fonts.values():
        inner = font["/DescendantFonts"][0].get_object() if "/DescendantFonts" in font else font
        described = inner["/FontDescriptor"].get_object() if "/FontDescriptor" in inner else {}
        assert {"/FontFile", "/FontFile2", "/FontFile3"} & {*described} or font["/Subtype"] == "/Type3", font
    if language == "vi":
        whole = unicodedata.normalize("NFC", " ".join(texts)).lower()
        wanted = "àáảãạăằắẳẵặâầấẩẫậèéẻẽẹêềếểễệìíỉĩịòóỏõọôồốổỗộơờớởỡợùúủũụưừứửữựỳýỷỹỵđ"
        assert {letter for letter in wanted if letter not in whole} <= {"ẵ", "ỵ"}  # too rare to be sure of


def test_every_page_of_the_book_is_there_in_its_order(source):
    assert [article["id"] for article in source.find_all("article")] == [*notebooks.pages(), "code"]


def test_what_the_pages_fold_is_at_the_end_and_the_mark_of_each_check_leads_there(source, places):
    """Nothing is lost, and the chapters are not broken by code that nobody reads on paper."""
    code = source.find("article", id="code")
    for path in notebooks.chapters():
        chapter = source.find("article", id=path.relative_to(notebooks.ROOT).with_suffix("").as_posix())
        assert not chapter.select("details.fold, details.machinery")
        folded = [cell for cell in notebooks.cells(path) if cell["cell_type"] == "code" and not notebooks.is_open(cell)]
        found = letters(code.get_text())
        assert folded and all(letters(of_the_fork(cell["source"])) in found for cell in folded)
        checks = [
            check
            for check in notebooks.checks(path)
            if "hide-cell" in notebooks.cells(path)[check["cell"]]["metadata"].get("tags", [])
        ]
        marks = chapter.select(".mark a")
        assert len(marks) == len({check["cell"] for check in checks}) and all(mark.text[0] in "✓✗" for mark in marks)
        for mark in marks:
            there = code.find(id=mark["href"].lstrip("#"))
            assert there.p.text.startswith(mark.text) and places[there["id"]] > places[chapter["id"]]


def test_a_live_figure_is_the_picture_that_its_notebook_stores(source, texts, language):
    figures = source.select(".live")
    assert len(figures) == sum(map(notebooks.live_figures, notebooks.pages())) >= 10
    assert all(len(figure.find_all("img")) == 1 or figure["data-figure"] == "draw" for figure in figures)
    assert not any(figure.find(["button", "input"]) for figure in figures) and not source.select("article script")
    moved = "this figure can be moved" if language == "en" else "hình này tương tác được"
    assert sum(" ".join(text.split()).count(moved) for text in texts) == len(figures) - 1


def test_solutions_are_open(source, texts):
    whole = letters("".join(re.sub(r"^\d+ ", "", text) for text in texts))
    solutions = source.find_all("details")
    assert len(solutions) > 30 and all(solution.has_attr("open") for solution in solutions)
    for solution in solutions:
        for code in solution.find_all("pre"):
            for line in code.get_text().splitlines():
                assert letters(line) in whole, line


def test_nothing_is_wider_than_the_page_or_left_as_markup(path, texts):
    with make_pdf.opened(path.with_name("book.html")) as page:
        page.set_viewport_size({"width": WIDTH, "height": 900})
        wide = page.evaluate(
            """width => Array.from(document.querySelectorAll("body *:not(svg *)"))
                .filter(node => node.getBoundingClientRect().right > width + 1 || node.getBoundingClientRect().left < -1)
                .map(node => node.outerHTML.slice(0, 200))""",
            WIDTH,
        )
        errors = page.evaluate("document.querySelectorAll('[data-mml-node=merror]').length")
    assert not wide and not errors
    for number, text in enumerate(texts, 1):
        assert not re.search(r"\\\(|\\\[|\\tag|:::|\{[a-z]+\}`|<!--", text), number


def test_without_a_browser_the_error_says_how_to_get_one(tmp_path):
    command = [sys.executable, make_pdf.__file__, "html", tmp_path / "book.pdf"]
    out = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert out.returncode == 1 and not list(tmp_path.iterdir())
    assert out.stderr == f"A PDF needs a browser to print it: {browsers.MISSING}\n"
