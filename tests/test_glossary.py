"""The glossary: its words are in the book where it says so, its Vietnamese is spelt as readers type it, its links resolve."""

import functools
import re
import unicodedata

import notebooks

PAGE = notebooks.ROOT / "pages/glossary.md"
TEXT = PAGE.read_text(encoding="utf-8").replace("&shy;", "")  # where a long word may break on a phone
LINES = re.findall(r"(?m)^\|(?! English |---)(.+)\|$", TEXT)
ROWS = [[cell.strip() for cell in line.split("|")] for line in LINES]
LINK = re.compile(r"\[[^\]]+\]\(([^)]+)\)")
CITED = re.compile(r"\((\d+\.\d+)\)")
TAGS = {equation.tag: f"../{equation.chapter}.ipynb" for path in notebooks.chapters() for equation in notebooks.equations(path)}
# How the blog post that the book grew out of says it: in Vietnamese, and what it leaves in English.
POST = """bước; chuỗi Markov; dự đoán; giá trị trung bình; huấn luyện; hàm loss xấp xỉ; hàm mật độ; hệ số trọng số; khuếch
tán; khử nhiễu; lấy mẫu; mô hình diffusion; mạng neural; mẫu; mục tiêu đơn giản hóa; nhiễu; nhiệt động học phi cân bằng; phân
phối Gaussian; phân phối Gaussian chuẩn; phân phối xác suất có điều kiện; phương sai; quá trình khuếch tán; quá trình khuếch
tán ngược; trạng thái; tái tham số hóa; điểm dữ liệu; đẳng hướng; định lý Bayes; độ lệch chuẩn"""
KEPT = """GAN; Markov chain; VAE; closed-form; forward process; isotropic; latent; loss; prior; reparameterisation trick;
reverse process; scheduler; surrogate loss; timestep; training"""


def words(listed):
    return [" ".join(word.split()) for word in listed.split(";")]


@functools.cache
def page(name):
    """The text of a page or a chapter, named as in a link, as one line in small letters."""
    path = PAGE.parent / name
    text = "\n".join(notebooks.texts(path)) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    return " ".join(re.sub("[*>]", "", text).split()).casefold()


def occurs(term, text):
    return re.search(rf"\b{re.escape(term.casefold())}(s|es)?\b", text)


def test_every_row_says_all_three_things():
    assert len(ROWS) >= 55
    assert all(len(row) == 3 and all(row) for row in ROWS)
    assert all(meaning.endswith(".") for *_, meaning in ROWS)


def test_terms_are_in_order_and_no_term_comes_twice():
    terms = [term.casefold() for term, *_ in ROWS]
    assert terms == sorted(terms)
    listed = [part for term in terms for part in term.split(", ")]
    assert len(set(listed)) == len(listed)


def test_every_term_stands_under_its_letters():
    for section in re.split(r"(?m)^## ", TEXT)[1:]:
        first, last = re.match(r"([A-Z]) (?:to|and) ([A-Z])\n", section).groups()
        terms = re.findall(r"(?m)^\| (?!English)([^|]+) \|", section)
        assert terms and all(first <= term[0].upper() <= last for term in terms)


def test_every_term_is_used_in_each_place_that_its_row_names():
    for term, _, meaning in ROWS:
        named = {TAGS[tag] for tag in CITED.findall(meaning)} | set(LINK.findall(meaning))
        assert named, f"{term}: no place"
        spellings = term.split(", ")
        for place in named:
            assert any(occurs(spelling, page(place)) for spelling in spellings), f"{term} is not in {place}"
        for spelling in spellings:
            assert any(occurs(spelling, page(place)) for place in named), f"{spelling} is in no place that its row names"


def test_every_link_leads_to_a_file():
    links = LINK.findall(TEXT)
    assert links and all((PAGE.parent / link).is_file() for link in links)


def test_vietnamese_is_written_in_composed_letters():
    assert unicodedata.normalize("NFC", TEXT) == TEXT


def test_words_of_the_post_are_the_words_of_the_page():
    given = [cell for _, cell, _ in ROWS]
    for word in words(POST):
        assert any(occurs(word, cell.casefold()) for cell in given), word
    assert sorted(re.findall(r"\(\*([^*]+)\*\)", " ".join(given))) == sorted(words(KEPT))
