"""Gives the package's metadata the repository's address. It stands in one place, _config.yml."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class RepositoryAddress(MetadataHookInterface):
    """Reads `repository: url:` of the book's configuration."""

    def update(self, metadata: dict) -> None:
        """Sets the project's URLs."""
        config = Path(self.root, "_config.yml").read_text(encoding="utf-8")
        found = re.search(r"^repository:\n(?:\s+.*\n)*?\s+url:\s*(\S+)", config, re.M)
        if not found:
            raise ValueError("_config.yml has no repository: url:")
        metadata["urls"] = {"Source": found[1], "Issues": f"{found[1]}/issues"}
