"""Writes a repository's address into _config.yml, its one place: python tools/set_repository.py URL BRANCH

The publishing workflows call it with the repository that they run in, so that a fork's buttons open the fork.
"""

import re
import sys
from pathlib import Path


def repository_url(config: Path) -> str:
    """The address as it stands."""
    (url,) = re.findall(r"(?m)^  url: (\S+)$", config.read_text(encoding="utf-8"))
    return url


def set_repository(config: Path, url: str, branch: str) -> None:
    """Replaces `url` and `branch` of the section `repository`; complains if they are not there once each."""
    if not re.fullmatch(r"https://\S+[^/\s]", url):
        raise ValueError(f"url = {url!r} is not an address such as https://host/owner/name")
    text = config.read_text(encoding="utf-8")
    text, changes = re.subn(r"(?m)^(repository:\n  url: ).*(\n  branch: ).*$", rf"\g<1>{url}\g<2>{branch}", text)
    if changes != 1:
        raise ValueError(f"{config} has {changes} sections 'repository' with url and branch, expected one")
    config.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    set_repository(Path(__file__).parents[1] / "_config.yml", *sys.argv[1:])
