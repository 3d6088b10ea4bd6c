"""Says what is wrong with notebooks as they are stored: python tools/check_notebooks.py FILE...

A chapter is stored with its outputs; the book shows them, a test holds a fresh run to them, and a diff is read like one of
source code. So they come from one clean run from top to bottom, and nothing is in them that changes from run to run.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# What would differ in the next run: addresses of objects, progress bars, measured times. And warnings, which nobody reads.
UNSTABLE = re.compile(r"0x[0-9a-f]{6,}|warning|\d+%\||\b\d+(\.\d+)? ?(it/s|s/it)\b|\b(CPU times|Wall time)", re.I)
# Roles, directives, targets, labels, footnotes, cell breaks, comments, substitutions: raw text to readers outside the HTML.
MYST = re.compile(r"\{[\w:+-]+\}`|^\s*(> )*(:::|```+\{|~~~+\{)|^\([\w.:-]+\)=|\$\$ *\([\w.:-]+\)|\[\^\w+\]|^\+\+\+|^%|\{\{", re.M)


def faults(notebook: dict[str, Any]) -> Iterator[str]:
    """What is wrong, one line for each fault, with the number of its cell."""
    if notebook["metadata"] != METADATA:
        yield f"metadata of the notebook: {notebook['metadata']}, expected {METADATA}"
    ran = 0
    for i, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"])
        if other := set(cell["metadata"]) - {"mystnb", "tags", "translates"}:
            yield f"cell {i}: metadata {', '.join(sorted(other))}"
        if cell["cell_type"] == "markdown":
            yield from (f"cell {i}: {fault}" for fault in _faults_of_text(source))
        elif cell["cell_type"] == "code":
            ran += 1
            if cell["execution_count"] != ran:
                yield f"cell {i}: run as number {cell['execution_count']}, expected {ran}: one run from top to bottom"
            yield from (f"cell {i}: {fault}" for fault in _faults_of_code(cell, source))


def _faults_of_text(source: str) -> Iterator[str]:
    if found := MYST.search(source):
        yield f"{found[0].strip()!r} is not plain Markdown"
    if source.count("$") % 2:
        yield "an odd number of $"


def _faults_of_code(cell: dict[str, Any], source: str) -> Iterator[str]:
    lines = [line for line in source.splitlines() if line.strip()]
    if len(lines) > 15:
        yield f"{len(lines)} lines of code, expected 15 at most"
    if wide := [line for line in lines if len(line) > 79]:
        yield f"a line of {len(wide[0])} characters, expected 79 at most"
    for output in cell["outputs"]:
        data = output.get("data", {})
        shown = "".join(output.get("text", [])) + "".join(data.get("text/plain", []))
        if output["output_type"] == "error" or output.get("name") == "stderr":
            yield "an output that is an error or a warning"
        if found := UNSTABLE.search(shown):
            yield f"{found[0]!r} in an output, which the next run may not repeat"
        if data and "text/plain" not in data:
            yield "an output without text, which some readers cannot show"
        if "image/png" in data and len(cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")) <= 40:
            yield "a figure without a text that says what it shows (metadata mystnb.image.alt, more than 40 characters)"


def main(names: list[str]) -> int:
    """Prints the faults of all files; 1 if there are any."""
    found = [f"{name}: {fault}" for name in names for fault in faults(json.loads(Path(name).read_text(encoding="utf-8")))]
    print("\n".join(found), end="\n" if found else "")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
