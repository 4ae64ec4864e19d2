"""The picture of a report: `make picture RUN=tiny` takes it in the Chromium that is installed, for README and docs."""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from posttrain.machine import streams

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = {"width": 1180, "height": 1120}
MISSING = f"none of {', '.join(BROWSERS)} is installed (Debian, Ubuntu: apt install chromium)"
TAKEN = Path(__file__).parent / "report.png"


def main() -> int:
    """Status 2 without a report or a browser."""
    parser = argparse.ArgumentParser(description="take the picture of a run's report")
    parser.add_argument("run", type=Path, help="a folder with report.html, such as runs/tiny")
    parser.add_argument("--out", type=Path, default=TAKEN, help="the PNG (default: docs/report.png)")
    given = parser.parse_args()
    page = given.run / "report.html"
    if not page.is_file():
        print(f"{page} not found; make report RUN={given.run.name} writes it", file=sys.stderr)
        return 2
    problem = take(page, given.out)
    print(problem or given.out, file=sys.stderr if problem else sys.stdout)
    return 2 if problem else 0


def take(page: Path, out: Path) -> str:
    """The upper part of the page as a PNG, in light; returns what is missing, "" where nothing is."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        browser = launch(running.chromium)
        if browser is None:
            return MISSING
        shown = browser.new_page(viewport=SIZE, color_scheme="light")
        shown.goto(page.absolute().as_uri(), timeout=0)
        shown.screenshot(path=str(out), timeout=0)
        browser.close()
    return ""


def launch(chromium: Any) -> Any:
    """The Chromium that is installed, or Playwright's own, started; None where there is neither."""
    own = chromium.executable_path
    path = next(filter(None, map(shutil.which, BROWSERS)), own if os.path.exists(own) else None)
    return path and chromium.launch(executable_path=path, args=["--no-sandbox"])


if __name__ == "__main__":
    with streams.patient():
        status = main()
    sys.exit(status)
