"""Writes a repository's address into the files that name it: python tools/set_repository.py URL BRANCH

The publishing workflows call it with the repository that they run in, so that what a fork publishes leads to the fork: its
buttons, its packages, the first cells of its chapters, and the link to its PDF.
"""

import re
import sys
from pathlib import Path


def repository_url(config: Path) -> str:
    """The address as it stands in the book's configuration."""
    (url,) = re.findall(r"(?m)^  url: (\S+)$", config.read_text(encoding="utf-8"))
    return url


def set_repository(root: Path, url: str, branch: str) -> None:
    """Replaces the address and the branch in _config.yml, and the addresses in pyproject.toml, in index.md and in each chapter;
    those of the Vietnamese book, in `vi`, too.

    Complains if one of the files has not one place for them, before any is changed.
    """
    if not re.fullmatch(r"https://\S+[^/\s]", url):
        raise ValueError(f"url = {url!r} is not an address such as https://host/owner/name")
    places = {
        "pyproject.toml": (r'(\[project\.urls\].*\nSource = ").*("\nIssues = ").*"', rf'\g<1>{url}\g<2>{url}/issues"'),
    }
    owner, name = url.split("/")[-2:]
    site = f"https://{owner.lower()}.github.io/{name}"
    for book in ("", "vi/"):
        for chapter in sorted(root.glob(f"{book}chapters/*.ipynb")):
            places[chapter.relative_to(root).as_posix()] = (r"(.* @ git\+)https://[^\s\\\"']+(.*)", rf"\g<1>{url}\g<2>")
        places[f"{book}_config.yml"] = (r"(repository:\n  url: ).*(\n  branch: ).*", rf"\g<1>{url}\g<2>{branch}")
        places[f"{book}index.md"] = (r"(.*\]\()https://\S+/(tinyddpm(?:-vi)?\.pdf\).*)", rf"\g<1>{site}/\g<2>")
    written = {}
    for name, (place, filled) in places.items():
        written[name], changes = re.subn(rf"(?m)^{place}$", filled, (root / name).read_text(encoding="utf-8"))
        if changes != 1:
            raise ValueError(f"{root / name} has {changes} places for the repository's address, expected one")
    for name, text in written.items():
        (root / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    set_repository(Path(__file__).parents[1], *sys.argv[1:])
