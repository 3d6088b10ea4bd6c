"""The Vietnamese book says what the English one says, as far as a machine can see, in words that the glossary gives."""

import copy
import re
import unicodedata

import check_notebooks
import drift
import notebooks
import pytest
import vietnamese
import yaml
from test_glossary import ROWS

TWINS = vietnamese.twins()
by_name = pytest.mark.parametrize(("english", "twin"), TWINS, ids=[twin.stem for _, twin in TWINS])
NOTEBOOKS = [pair for pair in TWINS if pair[0].suffix == ".ipynb"]
by_chapter = pytest.mark.parametrize(("english", "twin"), NOTEBOOKS, ids=[twin.stem for _, twin in NOTEBOOKS])


# ---- the two books are one ----


@by_name
def test_nothing_has_drifted(english, twin):
    found = vietnamese.drifted(english, twin)
    assert not found, "\n".join(found)


@by_chapter
def test_a_twin_is_its_notebook_with_other_words(english, twin):
    """Code and outputs, tags and order; and it is stored as chapters are."""
    ours, theirs = vietnamese.read(twin), vietnamese.read(english)
    assert list(check_notebooks.faults(ours)) == []
    assert [cell["id"] for cell in ours["cells"]] == [cell["id"] for cell in theirs["cells"]]
    for mine, cell in zip(ours["cells"], theirs["cells"], strict=True):
        mine, cell = copy.deepcopy(mine), copy.deepcopy(cell)
        mine["metadata"].pop("translates", None)
        for each in (mine, cell):
            each["metadata"].get("mystnb", {}).pop("image", None)
            if each["cell_type"] == "markdown":
                del each["source"]
        assert mine == cell, cell["id"]


def settings(values, path=""):
    """What a file of settings says, each under its whole name."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        if isinstance(value, dict | list) and not str(key).endswith(("patterns", "regex")):
            yield from settings(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def test_both_books_are_made_alike():
    """The pages and their order, and every setting but these."""
    english, vi = (
        dict(settings(yaml.safe_load((book / "_config.yml").read_text(encoding="utf-8")))) for book in notebooks.BOOKS.values()
    )
    local, html = "sphinx.local_extensions.", "sphinx.config.html_theme_options."
    own = {
        "title": "Khuếch tán khử nhiễu, kiểm chứng từng dòng", "author": "Các tác giả tinyddpm", "logo": "../_static/logo.svg",
        "repository.path_to_book": "vi", "html.favicon": "../_static/logo.svg", "sphinx.config.language": "vi",
        **{f"{local}{name}": "../tools" for name in ("equations", "folding", "languages", "live_scripts")},
        "sphinx.config.locale_dirs.0": "locale", "sphinx.config.html_static_path.0": "../_static",
        "sphinx.config.templates_path.0": "../tools/templates", "sphinx.config.mathjax3_config.svg.mtextInheritFont": True,
        f"{html}toc_title": "Nội dung", f"{html}search_bar_text": "Tìm trong sách", f"{html}logo.alt_text": "Trang đầu",
    }  # fmt: skip
    assert {key: vi.get(key) for key in {*english, *vi} if english.get(key) != vi.get(key)} == {**own, "exclude_patterns": None}
    tables = [yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8")) for book in notebooks.BOOKS.values()]
    captions = [[part.pop("caption") for part in table["parts"]] for table in tables]
    assert tables[0] == tables[1] and captions[1] == ["Cuốn sách", "Bên cạnh cuốn sách"]


def test_the_vietnamese_book_has_no_other_pages():
    """Which nobody would see."""
    files = {path for path in notebooks.BOOKS["vi"].rglob("*") if path.suffix in (".md", ".ipynb")}
    assert files == {twin for _, twin in TWINS}


# ---- what a drift looks like ----

CELL = "forward-03"


def edited(path, tmp_path, where, change):
    """A copy of a chapter or its twin in which the text of one cell is changed."""
    notebook = vietnamese.read(path)
    cell = next(cell for cell in notebook["cells"] if cell["id"] == where)
    before = "".join(cell["source"])
    after = change(before)
    assert after != before, "nothing to plant"
    cell["source"] = after.splitlines(keepends=True)
    target = tmp_path / path.relative_to(notebooks.ROOT)
    vietnamese.write(target, notebook)
    return target


def first(old, new):
    return lambda text: text.replace(old, new, 1)


PLANTED = {
    "a sign in a formula": ("forward-03", first("-\\frac", "+\\frac")),
    "a number in a formula": ("forward-59", first("{2}", "{3}")),
    "an index": ("forward-15", first("x_{t-1}", "x_{t}")),
    "a formula lost": ("forward-13", first("$1/s$", "")),
    "a formula added": ("forward-15", lambda text: text + " $x_t$"),
    "a tag": ("forward-26", first("\\tag{1.9}", "\\tag{1.8}")),
    "a number": ("forward-09", first("0.0001", "0.001")),
    "a number lost": ("forward-09", first("0.02", "")),
    "a citation": ("forward-30", first("(1.8)", "(1.6)")),
    "a link": ("forward-09", first("2006.11239", "2006.11238")),
    "a link lost": ("forward-09", lambda text: re.sub(r"\[([^\]]+)\]\(https[^)]+\)", r"\1", text)),
    "a code word": ("forward-13", first("`prove`", "`define`")),
    "a code word added": ("forward-30", lambda text: text + " `x`"),
    "a line of code": ("forward-exercises", first("np.cumprod", "np.cumsum")),
    "a paragraph lost": ("forward-15", lambda text: text.rpartition("\n\n")[0]),
    "a paragraph added": ("forward-15", lambda text: text + "\n\nThêm."),
    "a heading of another level": ("forward-03", first("## ", "### ")),
    "a box that is none": ("forward-19", first("> ", "")),
    "an element of HTML": ("forward-17", first("</details>", "")),
    "two formulas exchanged": ("forward-13", lambda text: text.replace("$m$", "@").replace("$s^2$", "$m$").replace("@", "$s^2$")),
    "two numbers exchanged": (
        "forward-09",
        lambda text: text.replace("0.0001", "@").replace("0.02", "0.0001").replace("@", "0.02"),
    ),
    "a sign of a number": ("forward-09", first("0.0001", "-0.0001")),
    "a unit": ("forward-57", first("3 %", "3")),
    "a number in words": ("forward-00", first("nghìn", "trăm")),
    "the brackets of a citation": ("forward-30", first("(1.8)", "1.8")),
    "a sentence lost": ("forward-21", lambda text: text.rstrip().rpartition(". ")[0] + "."),
    "a paragraph left in English": ("forward-21", lambda text: "Words were left here in English, all of them, with no other."),
    "half of a paragraph lost": ("forward-21", lambda text: text[: len(text) // 2]),
    "nothing": ("forward-21", lambda text: ""),
}


@pytest.mark.parametrize(("cell", "change"), PLANTED.values(), ids=PLANTED)
def test_a_drift_in_the_vietnamese_is_found_and_the_cell_named(cell, change, tmp_path):
    english, twin = next(pair for pair in TWINS if pair[0].stem == "forward")
    changed, before = edited(twin, tmp_path, cell, change), vietnamese.drifted(english, twin)
    found = [line for line in vietnamese.drifted(english, changed) if line not in before]
    assert found and all(cell in line for line in found)


ENGLISH, VIETNAMESE = "| three | $x$ |\n|---|---|\n| b [c](d.md) | 2 MB |", "| ba | $x$ |\n|---|---|\n| b [c](d.md) | 2 MB |"
LIST, DANH_SACH = "- one (1.2)\n- two **bold** $y$", "- một (1.2)\n- hai **đậm** $y$"
TEXT, CHU = r"$1.1\,\text{distance}(\text{diffusion})$ <i class='a'>", r"$1.1\,\text{khoảng cách}(\text{khuếch tán})$ <i class='a'>"


@pytest.mark.parametrize(
    ("english", "twin", "old", "new"),
    [
        (ENGLISH, VIETNAMESE, "| ba | $x$ |", "| $x$ | ba |"),
        (ENGLISH, VIETNAMESE, "| ba | $x$ |\n|---|---|\n| b [c](d.md) | 2 MB |", "| b [c](d.md) | 2 MB |\n|---|---|\n| ba | $x$ |"),
        (ENGLISH, VIETNAMESE, "\n| b [c](d.md) | 2 MB |", ""),
        (ENGLISH, VIETNAMESE, "ba", "bốn"),
        (ENGLISH, VIETNAMESE, "d.md", "e.md"),
        (ENGLISH, VIETNAMESE, "2 MB", "2 GB"),
        (LIST, DANH_SACH, "- một (1.2)\n- hai **đậm** $y$", "- hai **đậm** $y$\n- một (1.2)"),
        (LIST, DANH_SACH, "\n- hai **đậm** $y$", ""),
        (LIST, DANH_SACH, "**", ""),
        (LIST, DANH_SACH, "(1.2)", "1.2"),
        (TEXT, CHU, "khuếch tán", "khoảng cách"),
        (TEXT, CHU, "class='a'", "class='b'"),
    ],
)
def test_a_drift_in_a_table_a_list_or_the_words_of_a_formula_is_found(english, twin, old, new):
    assert list(drift.faults(english, twin)) == []
    assert list(drift.faults(english, twin.replace(old, new))) != []


CHANGED = {
    "a sentence more": lambda text: text + " One more.",
    "a word": lambda text: text.replace("is", "was", 1),
    "a letter less": lambda text: text[:-1],
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_change_in_the_english_is_found_and_the_cell_named(change, tmp_path, monkeypatch):
    english, twin = next(pair for pair in TWINS if pair[0].stem == "forward")
    monkeypatch.setattr(vietnamese, "ROOT", tmp_path)
    found = vietnamese.drifted(edited(english, tmp_path, CELL, change), twin)
    assert found == [f"chapters/forward.ipynb {CELL}: the English has changed since it was translated"]


def test_a_cell_that_is_missing_added_or_moved_is_found(tmp_path):
    english, twin = next(pair for pair in TWINS if pair[0].stem == "forward")
    notebook = vietnamese.read(twin)
    place = next(i for i, cell in enumerate(notebook["cells"]) if cell["id"] == CELL)
    other = next(i for i, cell in enumerate(notebook["cells"]) if cell["id"] == "forward-05")

    def found(change):
        changed = copy.deepcopy(notebook)
        change(changed["cells"])
        vietnamese.write(tmp_path / "changed.ipynb", changed)
        return vietnamese.drifted(english, tmp_path / "changed.ipynb")

    def exchange(cells):
        cells[place], cells[other] = cells[other], cells[place]

    assert any(CELL in line and "not translated" in line for line in found(lambda cells: cells.pop(place)))
    extra = {**notebook["cells"][place], "id": "extra"}
    assert any("extra" in line for line in found(lambda cells: cells.append(extra)))
    assert any("another order" in line for line in found(exchange))


@pytest.mark.parametrize("page", ["pages/slips.md", "index.md"])
def test_a_change_of_a_page_is_found_and_the_section_named(page, tmp_path, monkeypatch):
    english, twin = next(pair for pair in TWINS if pair[0] == notebooks.ROOT / page)
    text = english.read_text(encoding="utf-8")
    parts = vietnamese.sections(text)
    parts[2] += " One more."
    monkeypatch.setattr(vietnamese, "ROOT", tmp_path)
    changed = tmp_path / page
    changed.parent.mkdir(exist_ok=True)
    changed.write_text("\n\n".join(parts), encoding="utf-8")
    assert vietnamese.drifted(changed, twin) == [f"{page} section 3: the English has changed since it was translated"]


def test_a_text_that_was_translated_anew_is_marked(tmp_path, monkeypatch):
    """In a notebook and in a page, by its name; another name is refused."""
    monkeypatch.setattr(vietnamese, "ROOT", tmp_path)
    for name, text in {"chapters/loss.ipynb": "loss-09", "pages/summary.md": "section 2"}.items():
        english, twin = tmp_path / name, tmp_path / "vi" / name
        for path in (english, twin):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((notebooks.ROOT / path.relative_to(tmp_path)).read_bytes())
        stale = twin.read_text(encoding="utf-8").replace(vietnamese.texts(twin)[text][1], "0" * 12)
        twin.write_text(stale, encoding="utf-8")
        assert [text in line for line in vietnamese.drifted(english, twin)] == [True]
        vietnamese.mark(name, text)
        assert vietnamese.drifted(english, twin) == []
        with pytest.raises(SystemExit, match="has no text 'loss-9'"):
            vietnamese.mark(name, "loss-9")


def test_a_new_cell_stays_english_until_it_is_translated():
    cell = {"id": "new", "cell_type": "markdown", "metadata": {}, "source": ["New."]}
    made = vietnamese.twin({"cells": [cell]}, {"cells": []})
    assert made["cells"] == [cell] and made["cells"][0] is not cell


# ---- the words ----

# A term is called by its first word in the glossary, or in short by a part of it.
SHORT = {
    "attention": "chú ý", "batch": "lô", "bits per dimension": "bit trên mỗi chiều", "DDPM": "DDPM",
    "denoising diffusion probabilistic models": "khử nhiễu", "diffusion model": "mô hình khuếch tán",
    "diffusion process": "quá trình khuếch tán", "ELBO": "ELBO", "EMA": "EMA", "forward process": "quá trình thuận", "GAN": "GAN",
    "Gaussian": "Gaussian", "likelihood": "hợp lý", "mean": "trung bình", "mixture": "hỗn hợp",
    "negative log-likelihood": "đối log hợp lý", "network": "mạng", "reverse process": "quá trình ngược",
    "reverse step": "bước ngược", "seed": "hạt giống", "standard normal": "Gaussian chuẩn", "UNet": "UNet", "VAE": "VAE",
}  # fmt: skip
# Where the English word is not the term.
EVERYDAY = {
    "draw": "to draw a picture", "level": "a level of noise, or of a UNet", "generator": "of random numbers, or of pictures",
    "mean": "to mean", "gap": "between curves", "code": "source code",
}  # fmt: skip
NOT_THE_TERM = {
    ("guidance guidance-ancestral-sum", "bound"): "(7.21) bounds a rate",
    ("sampling sampling-31", "bound"): "data with bounds",
    ("slips section 35", "bound"): "data with bounds",
    ("guidance guidance-fields-caption", "data point"): "the field of all data points to the ring",
    ("generative-models generative-models-exercises", "score"): "how a Gaussian scores",
    ("generative-models generative-models-14", "mixture"): "of noise and data",
    ("generative-models generative-models-back", "mixture"): "of noise and data",
    ("loss loss-41", "mixture"): "of noise and data",
    ("latent latent-sources", "mixture"): "of noise and data",
    ("index section 6", "diffusion model"): "the title of a post",
    ("index section 6", "diffusion"): "the title of a post",
}
NOT_A_TERM_IN = {
    ("loss", "attention"): "to share one's attention",
    ("generative-models", "score"): "how a Gaussian scores",
    ("latent", "mixture"): "of noise and data",
    ("stable-diffusion", "class"): "of Python",
    ("stable-diffusion", "density"): "in the meaning of a symbol that is recalled",
    ("stable-diffusion", "expectation"): "in the meaning of a symbol that is recalled",
}
# Words for the same things that are met elsewhere, and not here: one term, one word.
OTHERS = """lượt truyền; phân bố; nơ-ron; nơron; hàm tổn thất; hàm mục tiêu; kì vọng; tỉ số; kí hiệu; véc-tơ; khuyếch tán;
mô hình diffusion; hàm loss; khả dĩ; hậu nghiệp; xác xuất; trọng lượng; tham số hoá; lịch trình nhiễu; chuẩn tắc; nhiễu Gauss;
hàm khả năng"""


def plain(text):
    """The words of a text: no code, formulas, titles of papers or markup."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\[[^\]]*\]\(https?:[^)]*\)|\]\([^)]*\)|<[^>]+>", " ", text, flags=re.S)
    return " ".join(re.sub(r"[*_]", "", text).split())


@pytest.fixture(scope="module")
def pairs():
    """Each text of the book by its name, in English and in Vietnamese, in plain words."""
    found = {}
    for english, twin in TWINS:
        theirs, ours = vietnamese.texts(english), vietnamese.texts(twin)
        if english.stem != "glossary":
            found |= {f"{english.stem} {name}": (plain(theirs[name][0]), plain(ours[name][0])) for name in theirs}
    return found


def called(term):
    """What a term may be called in Vietnamese: by its first word in the glossary, or in short."""
    row = next(vi for en, vi, _ in ROWS if term in en.split(", "))
    first = re.split(r"[,;(]", row)[0].strip()
    return {first.casefold(), SHORT.get(term, first).casefold()}


def is_said(term, text):
    if term == "diffusion":
        text = re.sub(r"Stable Diffusion|\w+-diffusion\b", "", text)  # names
    return re.search(rf"\b{re.escape(term)}(s|es)?\b", text, re.I)


TERMS = [term for english, *_ in ROWS for term in english.split(", ")]


@pytest.mark.parametrize("term", [term for term in TERMS if term not in EVERYDAY])
def test_a_term_is_called_as_the_glossary_has_it(term, pairs):
    """Wherever the English text uses it."""
    said = {name: ours for name, (theirs, ours) in pairs.items() if is_said(term, theirs) and (name, term) not in NOT_THE_TERM}
    assert {name for name, ours in said.items() if not any(word in ours.casefold() for word in called(term))} == set()


def test_the_vietnamese_glossary_has_the_same_terms():
    """In both languages; what they mean is translated."""
    twin = (notebooks.ROOT / "vi/pages/glossary.md").read_text(encoding="utf-8").replace("&shy;", "")
    rows = [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in twin.splitlines() if re.match(r"\| (?!English)", line)]
    assert rows == [tuple(row[:2]) for row in ROWS]


def test_no_other_word_is_used_for_a_term(pairs):
    assert {
        (name, word)
        for name, (_, ours) in pairs.items()
        for word in re.split(r";\s+", OTHERS)
        if re.search(rf"\b{word}\b", ours, re.I)
    } == set()


# Terms that are the same word in both languages, or all but the same.
SAME = {
    "DDIM",
    "DDPM",
    "EMA",
    "entropy",
    "Gaussian",
    "gradient",
    "Kullback–Leibler divergence",
    "nat",
    "Stable Diffusion",
    "token",
    "UNet",
    "ELBO",
    "Wasserstein-2 distance",
}


def prose(path):
    """The words of a chapter, without headings, symbols that are recalled, formulas and code."""
    paragraphs = [block for text in notebooks.texts(path) for block in drift.paragraphs(text)]
    return " ".join(plain(block) for block in paragraphs if not re.match(r"\s*(#|\| ký hiệu|\$\$|```|<)", block))


@by_chapter
def test_the_english_word_stands_in_brackets_where_a_chapter_begins_to_use_a_term(english, twin):
    """At its third use at the latest: the first may be a part of another term, as in the name of a chapter."""
    theirs, ours = " ".join(plain(text) for text, _ in vietnamese.texts(english).values()), prose(twin)
    brackets = [(found.start(), found[1]) for found in re.finditer(r"\(([^()]*)\)", ours)]
    late = {}
    for terms in (row.split(", ") for row, *_ in ROWS):
        used = [term for term in terms if is_said(term, theirs) and (english.stem, term) not in NOT_A_TERM_IN]
        if not used or {*terms} & {*SAME, *EVERYDAY}:
            continue
        words = "|".join(re.escape(word) for term in used for word in called(term))
        uses = [found.start() for found in re.finditer(rf"(?<!\w)({words})(?!\w)", ours, re.I)]
        first = next((place for place, inside in brackets if any(is_said(term, inside) for term in used)), None)
        if first is None or len([use for use in uses if use < first - 60]) > 2:
            late[terms[0]] = first
    assert late == {}


@by_name
def test_vietnamese_is_written_in_composed_letters_and_one_spelling(english, twin):
    text = " ".join(text for text, _ in vietnamese.texts(twin).values())
    assert unicodedata.normalize("NFC", text) == text
    assert not re.search(r"\b(hoá|khoá|xoá|thoả|toạ|uỷ|thuỷ|luỹ|kì|lí|tỉ|kí|mĩ)\b", text, re.I)
