"""How long a reader waits for the first text of each page, and for its formulas: the built book, opened from disk in Chromium.

    python benchmarks/first_paint.py [_build/html]

Each page is opened three times, with nothing kept from the time before; the table shows the medians, in milliseconds. A browser
is needed, such as Debian's chromium, and the Python package playwright.
"""

import statistics
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import browsers

WIDTHS, ROUNDS = (1280, 390), 3
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
TYPESET = "async () => { await window.MathJax?.startup?.promise; return performance.now(); }"


def wait(browser: Browser, address: str, width: int) -> tuple[float, float]:
    """Milliseconds until there is something to read, and until the formulas are typeset."""
    with browser.new_context(offline=True, viewport={"width": width, "height": 800}) as context:
        page = context.new_page()
        page.goto(address)
        typeset = page.evaluate(TYPESET)
        page.wait_for_function(PAINT)
        return page.evaluate(PAINT), typeset


def main(html: Path) -> None:
    """Prints a row for each page."""
    if browsers.program() is None:
        sys.exit(browsers.MISSING)
    pages = sorted(page for page in html.rglob("*.html") if not {"_static", "_sources"} & {*page.relative_to(html).parts})
    if not pages:
        sys.exit(f"no pages in {html}: make book")
    print("| page | kB | " + " | ".join(f"{width} px: text | formulas" for width in WIDTHS) + " |")
    print("|---|" + "---|" * (1 + 2 * len(WIDTHS)))
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=browsers.program(), args=browsers.FLAGS) as browser,
    ):
        wait(browser, pages[0].as_uri(), WIDTHS[0])  # the first page also waits for the browser itself
        for page in pages:
            times = []
            for width in WIDTHS:
                rounds = [wait(browser, page.as_uri(), width) for _ in range(ROUNDS)]
                times += [f"{statistics.median(column):.0f}" for column in zip(*rounds, strict=True)]
            print(f"| {page.relative_to(html)} | {page.stat().st_size / 1000:.0f} | {' | '.join(times)} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "_build/html").resolve())
