"""The browser that prints the book and that its tests drive: the one that the machine has. None is ever downloaded."""

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")
# No sandbox: in a container there is none. The others keep the browser from calling home.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
MISSING = f"no browser is there, none of {', '.join(NAMES)}; on Debian: apt install chromium"


def program() -> str | None:
    """Where it is."""
    return next(filter(None, map(shutil.which, NAMES)), None)
