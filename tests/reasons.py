"""Reads the lists of what no machine can judge: tables whose rows are a piece of the text and the reason why it may stand there."""

import re
from pathlib import Path


def reasons(path: Path) -> dict[str, list[tuple[str, str]]]:
    """The rows of each section, by its title, without the heads of the tables."""
    sections = re.split(r"(?m)^## (.+)\n", path.read_text(encoding="utf-8"))[1:]
    return {
        title: re.findall(r"(?m)^\| (.+?) \| (.+) \|$", body)[1:] for title, body in zip(sections[::2], sections[1::2], strict=True)
    }
