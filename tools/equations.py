"""A Sphinx extension: places to jump to at equations and slips, links at citations, and the entries of the ledger.

The chapters stay plain Markdown, which reads the same in Colab and on a code host. What only a built page can offer is
added here: "(2.7)" in a text becomes a link to the equation that is tagged 2.7.
"""

import re
from pathlib import Path

import notebooks
from docutils import nodes
from words import WORDS

CITATION = re.compile(r"\((\d+\.\d+)\)")
UNLINKED = nodes.reference | nodes.literal | nodes.literal_block | nodes.math | nodes.math_block | nodes.raw | nodes.comment
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#$|~^])")  # what a verdict does not mean as markup
PLACEHOLDER = "<!-- the equations -->"
TO_SLIP = re.compile(r"\]\(\.\./chapters/[\w-]+\.ipynb#(slip-[\w-]+)\).*")


def configure(app, config):
    """Settles what other extensions would do otherwise."""
    # Formulas as outlines: a page on disk may not load fonts from another folder in every browser.
    config.mathjax_path = "mathjax/tex-svg.js"
    # No page runs its code in the browser; the extension for that names another server's script, on every page.
    for event in ("env-before-read-docs", "doctree-resolved"):
        for listener in list(app.events.listeners.get(event, [])):
            if listener.handler.__module__.startswith("sphinx_thebe"):
                app.disconnect(listener.id)


def read_equations(app):
    """Where each tag and each slip stands."""
    app.equations = {e.tag: e for path in notebooks.chapters() for e in notebooks.equations(path)}
    app.slips = {s.anchor: s for path in notebooks.chapters() for s in notebooks.slips(path)}


def add_links(app, doctree):
    """Marks the tagged equations of a page, and turns the citations in its text into links."""
    for block in list(doctree.findall(nodes.math_block)):
        for tag in notebooks.TAG.findall(block.astext()):
            block.parent.insert(block.parent.index(block), nodes.target("", "", ids=[app.equations[tag].anchor]))
            # As it is: Sphinx would put a line break inside an environment in which no tag may stand.
            block["nowrap"], block.children = True, [nodes.Text(rf"\[{block.astext()}\]")]
    for text in list(doctree.findall(nodes.Text)):
        parts = CITATION.split(text.astext())
        if len(parts) > 1 and not isinstance(text.parent, UNLINKED):
            text.parent.replace(text, [_link(app, part) if i % 2 else nodes.Text(part) for i, part in enumerate(parts) if part])


def keep_punctuation(app, doctree):
    """A mark behind an inline formula does not begin a line by itself: a browser would break there."""
    for formula in list(doctree.findall(nodes.math)):
        place = formula.parent.index(formula) + 1
        after = formula.parent[place] if place < len(formula.parent) else None
        marks = re.match(r"[.,;:!?)\]’”]+", after.astext()) if isinstance(after, nodes.Text) else None
        if marks:
            parent, rest = formula.parent, after.astext()[marks.end() :]
            parent.remove(after)
            kept = nodes.inline("", "", classes=["kept"])
            parent.replace(formula, [kept, nodes.Text(rest)])
            kept.extend([formula, nodes.Text(marks[0])])


def add_places_of_slips(app, doctree):
    """Marks the boxes that say where a derivation goes wrong in a chapter, so that other pages can link to them."""
    slips = [slip for slip in app.slips.values() if slip.chapter == app.env.docname]
    boxes = [box for box in doctree.findall(nodes.block_quote) if box.astext().startswith(WORDS[app.config.language]["wrong"])]
    for slip, box in zip(slips, boxes, strict=True):
        box.parent.insert(box.parent.index(box), nodes.target("", "", ids=[slip.anchor]))
        app.env.metadata[slip.chapter].setdefault("myst_slugs", {})[slip.anchor] = (0, slip.anchor, slip.title)


def add_verdicts(app, docname, source):
    """Puts what the check said below each link to a slip."""

    rejected = WORDS[app.config.language]["refuted"]

    def with_verdict(link):
        slip = app.slips.get(link[1])
        return link[0] + (f"\n\n{rejected}: " + MARKDOWN.sub(r"\\\1", slip.verdict) if slip and slip.verdict else "")

    if not docname.startswith("chapters/"):
        source[0] = TO_SLIP.sub(with_verdict, source[0])


def _link(app, tag):
    equation = app.equations.get(tag)
    if equation is None:
        return nodes.Text(f"({tag})")
    page = app.builder.get_relative_uri(app.env.docname, equation.chapter)
    return nodes.reference("", f"({tag})", internal=True, refuri=f"{page}#{equation.anchor}")


def fill_ledger(app, docname, source):
    """Puts an entry for each equation into the ledger page."""
    if PLACEHOLDER not in source[0]:
        return
    entries, words = [], WORDS[app.config.language]
    for path in notebooks.chapters(Path(app.srcdir)):
        app.env.note_dependency(str(path))
        equations, checks = notebooks.equations(path), notebooks.checks(path)
        entries.append(f"### {notebooks.title(path)}\n")
        for equation in equations:
            check = next(c for c in checks if c["tag"] == equation.tag and c["kind"] != "refuted")
            statement = f"{check['statement']}, " if check["statement"] else ""
            broken = words["broken"].format(n=check["rejected"]) if check["rejected"] else ""
            entries.append(f"**({equation.tag})** ✓ {statement}{words['was ' + check['kind']]}{broken}\n")
            entries.append(f"$${equation.formula}$$\n")
    source[0] = source[0].replace(PLACEHOLDER, "\n".join(entries))


def leave_out_mathjax(app, page, template, context, doctree):
    """Two megabytes less for a page without formulas, which Sphinx gives them for those of the pages that it leads to."""
    if doctree is not None and not any(doctree.findall(nodes.math)) and not any(doctree.findall(nodes.math_block)):
        context["script_files"][:] = [
            file for file in context["script_files"] if "mathjax" not in str(getattr(file, "filename", file))
        ]


def setup(app):
    """Called by Sphinx."""
    app.connect("html-page-context", leave_out_mathjax, priority=900)  # when all scripts are there
    app.connect("config-inited", configure)
    app.connect("builder-inited", read_equations)
    app.connect("source-read", fill_ledger)
    app.connect("source-read", add_verdicts)
    app.connect("doctree-read", add_links)
    app.connect("doctree-read", add_places_of_slips)
    app.connect("doctree-read", keep_punctuation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
