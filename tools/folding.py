"""A Sphinx extension: folds what a reader of ideas does not need, by the tags of the cells; Colab and Jupyter show it all.

A cell tagged "hide-cell" is folded, one tagged "hide-input" shows its output alone. Neighbours share a fold. One that ends in a
check moves up to the equation that it proves, or to the box whose variant it rejects, and shows there as a small ✓ or ✗.
"""

from html import escape

import notebooks
from docutils import nodes
from words import WORDS


class fold(nodes.General, nodes.Element):
    """What is folded, with its `label`, and the `tags` of the equations whose checks are in it."""


def visit_fold(translator, node):
    """Opens it in the page."""
    kind = "check" if node["tags"] else "code"
    tags = ", ".join(f"({tag})" for tag in node["tags"])
    words = WORDS[translator.config.language]
    of = f'<span class="visually-hidden">{words["the check of"].format(tags=tags)}</span>' if tags else ""
    translator.body.append(f'<details class="fold {kind}"><summary>{escape(node["label"])}{of}</summary>\n')


def depart_fold(translator, node):
    """Closes it."""
    translator.body.append("</details>\n")


def fold_cells(app, doctree):
    """Folds the cells of a chapter."""
    if not app.env.docname.startswith("chapters/"):
        return
    checks, words = {}, WORDS[app.config.language]
    for check in notebooks.checks(notebooks.ROOT / f"{app.env.docname}.ipynb"):
        checks.setdefault(check["cell"], []).append(check)
    cells = [node for node in doctree.findall(nodes.container) if node.get("nb_element") == "cell_code"]
    for cell in cells:
        mode = cell.attributes.pop("hide_mode", None)
        if mode is None:
            continue
        before = cell.parent[cell.parent.index(cell) - 1]
        folded = before if isinstance(before, fold) and not before["tags"] else fold(label=words["code"], tags=[])
        if folded is not before:
            cell.parent.insert(cell.parent.index(cell), folded)
        found = checks.get(cell["cell_index"], []) if mode == "all" else []
        if mode == "all":
            cell.parent.remove(cell)
            folded.append(cell)
        else:
            source = cell[0]
            cell.remove(source)
            folded.append(nodes.container("", source, classes=["cell"]))
            if not len(cell):
                cell.parent.remove(cell)
        if found:
            folded["label"], folded["tags"] = words[found[-1]["kind"]], [check["tag"] for check in found]
            _move(folded, found[-1])
    if cells and isinstance(first := cells[0].parent, fold):
        first["label"] = words["set-up"]
    for caption in [node for node in doctree.findall(nodes.paragraph) if node.astext().startswith(words["figure"])]:
        _join(caption)


def _join(caption):
    """Puts a caption directly below its figure, above what was folded or printed between them."""
    for node in reversed(caption.parent[: caption.parent.index(caption)]):
        if isinstance(node, nodes.container) and any(node.findall(_shows_a_figure)):
            caption.parent.remove(caption)
            node.parent.insert(node.parent.index(node) + 1, caption)
            return
        if not isinstance(node, fold | nodes.container):
            return


def _shows_a_figure(node):
    """An image, or a live figure; before the builder chooses among the forms of an output, all are there."""
    return isinstance(node, nodes.image) or (isinstance(node, nodes.raw) and "<img" in node.astext())


def _move(folded, check):
    """Puts the fold of a check below what it is the check of."""
    above = folded.parent[: folded.parent.index(folded)]
    place = next((node for node in reversed(above) if _belongs_to(check, node)), None)
    if place is not None:
        folded.parent.remove(folded)
        at = place.parent.index(place) + 1
        while at < len(place.parent) and isinstance(place.parent[at], fold) and place.parent[at]["tags"]:
            at += 1
        place.parent.insert(at, folded)


def _belongs_to(check, node):
    """Whether a check belongs below a node: below a box if it rejects a variant, else below the line that bears its tag."""
    if check["kind"] == "refuted":
        return isinstance(node, nodes.block_quote)
    return isinstance(node, nodes.math_block) and check["tag"] in notebooks.TAG.findall(node.astext())


def setup(app):
    """Called by Sphinx."""
    app.add_node(fold, html=(visit_fold, depart_fold))
    app.connect("doctree-read", fold_cells, priority=600)  # when the boxes and the equations are marked
    return {"parallel_read_safe": True, "parallel_write_safe": True}
