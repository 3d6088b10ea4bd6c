"""A Sphinx extension: what makes two books of one. A switch on each page leads to the same place in the other language.

The English book is built from the root, the Vietnamese one from `vi`, into the folder `vi` of the built book. A page has the same
name in both, and each of its places the same name too: the headings of a Vietnamese page are called as the English ones.
"""

import itertools
import re
import unicodedata
from pathlib import Path

import drift
import notebooks
import vietnamese
from docutils import nodes
from equations import PLACEHOLDER
from sphinx.search import SearchLanguage
from words import THEME


def other_page(page: str, language: str) -> str:
    """Where a page is found in the other language, as seen from it."""
    inside = "../" * page.count("/")
    return f"{inside}vi/{page}.html" if language == "en" else f"{inside}../{page}.html"


def offer_the_other_language(app, page, template, context, doctree):
    """Tells the template of the switch where it leads, and programs that the page is there in another language."""
    here, there = ("en", "vi") if app.config.language == "en" else ("vi", "en")
    context["elsewhere"] = {
        "code": there,
        "name": {"en": "English", "vi": "Tiếng Việt"}[there],
        "address": other_page(page, here),
    }
    link = f'<link rel="alternate" hreflang="{there}" href="{context["elsewhere"]["address"]}">'
    context["metatags"] = f"{context.get('metatags', '')}\n{link}"


def names_of_places(text: str) -> list[str]:
    """The names that the headings of a text have in the built page."""
    titles = re.findall(r"(?m)^#{1,4} (.+)$", drift.FENCE.sub("", text))
    return [nodes.make_id(re.sub(r"[$`*]", "", title)) for title in titles]


def name_places_as_in_english(app, doctree):
    """Gives the headings of a Vietnamese page the names of the English ones, which come in the same order."""
    if app.config.language != "vi":
        return
    notebook = notebooks.ROOT / f"{app.env.docname}.ipynb"
    text = "\n\n".join(notebooks.texts(notebook)) if notebook.is_file() else notebook.with_suffix(".md").read_text(encoding="utf-8")
    text = text.replace(PLACEHOLDER, "\n".join(f"### {notebooks.title(path)}" for path in notebooks.chapters()))
    names, used = names_of_places(text), set()
    headings = list(doctree.findall(nodes.section))
    if len(headings) != len(names):
        raise ValueError(f"{app.env.docname} has {len(headings)} headings, expected {len(names)} as in English")
    for section, name in zip(headings, names, strict=True):
        if name and name not in used:  # a second heading of the same words keeps its own name
            used.add(name)
            section["ids"] = [*(place for place in section["ids"] if place.startswith("module-")), name]


def without_marks(word: str) -> str:
    """A word as it is typed without diacritics: "phương sai" is "phuong sai"."""
    plain = unicodedata.normalize("NFD", word.lower()).replace("đ", "d")
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


# Syllables that are seldom a part of a word of two. Without their pairs the index, which each page loads, is half as large.
FUNCTION_WORDS = """và của là một các những được với cho thì mà này ấy đó nó ta như khi nếu hay hoặc rằng vì nên cũng vẫn đã sẽ bị
ở từ theo để còn mỗi mọi hơn lại ra vào tới đến trên dưới trong ngoài về có hai ba bốn rất chứ do cả thế vậy nào gì đây kia
lên xuống cứ càng bởi tại phải nhưng song"""
ALONE = frozenset(FUNCTION_WORDS.split())


class Vietnamese(SearchLanguage):
    """Words are found with their diacritics and without. Most have two syllables, so that neighbours are looked up as pairs too."""

    lang = "vi"
    language_name = "Vietnamese"
    js_stemmer_code = r"""
var Stemmer = function () {
  this.stemWord = word => word.normalize("NFD").replace(/\p{Mn}/gu, "").replace(/đ/g, "d");
};
"""
    js_splitter_code = (
        rf"const alone = new Set({sorted(ALONE)});"
        + r"""
// Pairs that some page has; a syllable that is in none of them stands alone.
var splitQuery = query => {
  const words = query.normalize("NFC").split(/[^\p{Letter}\p{Number}_]+/gu).filter(word => word);
  const { terms, titleterms } = Search._index, stem = new Stemmer().stemWord, found = [], paired = new Set();
  words.slice(1).forEach((word, i) => {
    const pair = `${words[i]} ${word}`.toLowerCase(), key = stem(pair);
    if (pair.split(" ").some(word => alone.has(word))) return;
    if (key in terms || key in titleterms) { found.push(pair); paired.add(i).add(i + 1); }
  });
  return [...found, ...words.filter((_, i) => !paired.has(i))];
};
"""
    )

    def split(self, input):
        """The words of a text, and pairs of neighbours that may be one word of Vietnamese."""
        words = re.findall(r"\w+", unicodedata.normalize("NFC", input).lower())
        pairs = itertools.pairwise(words)
        return words + [f"{a} {b}" for a, b in pairs if (a + b).isalpha() and not (a + b).isascii() and not ALONE & {a, b}]

    def stem(self, word):
        """As in the page."""
        return without_marks(word)

    def word_filter(self, word):
        """Numbers alone are not looked for."""
        return not word.isdigit()


def speak_the_language(app, exception):
    """Puts the reader's language in place of what the theme cannot be told to say otherwise."""
    words = THEME.get(app.config.language)
    if exception is not None or app.builder.name != "html" or words is None:
        return
    unused = {*words}
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for theirs, ours in words.items():
            if theirs in text:
                text = text.replace(theirs, ours)
                unused.discard(theirs)
        page.write_text(text, encoding="utf-8")
    if unused:
        raise ValueError(f"the theme does not write any more what tools/words.py puts other words for: {sorted(unused)}")


def find_catalogues(app, config):
    """Sphinx looks for what its scripts say in other languages from where the build was started, and not from the book."""
    config.locale_dirs = [str(Path(app.confdir) / folder) for folder in config.locale_dirs]


def leave_out_marks(app, docname, source):
    """What tells a page from its hash is not for readers."""
    source[0] = vietnamese.MARK.sub("", source[0])


def setup(app):
    """Called by Sphinx."""
    app.connect("config-inited", find_catalogues)
    app.connect("source-read", leave_out_marks)
    app.add_search_language(Vietnamese)
    app.connect("html-page-context", offer_the_other_language)
    app.connect("doctree-read", name_places_as_in_english, priority=400)  # before the tables of contents are made
    app.connect("build-finished", speak_the_language)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
