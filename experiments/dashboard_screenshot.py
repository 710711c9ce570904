"""The picture of the README: photographs the dashboard of a running job in headless Chromium.

freshet run jobs/demo.yaml &   # prints the dashboard's address
python experiments/dashboard_screenshot.py http://127.0.0.1:PORT docs/dashboard.png [--scheme light]
"""

import argparse
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


def photograph(page: Page, url: str, path: Path, after_s: float) -> None:
    """Waits until the run is so old, and its AUC stands beside the frozen model's."""
    page.goto(url)
    page.wait_for_selector("#big-quality b", timeout=(after_s + 60) * 1000)
    while age_s(page.inner_text("[data-part=traffic] td:nth-child(3)")) < after_s:
        time.sleep(0.5)
    page.screenshot(path=path)


def age_s(text: str) -> int:
    """Of `2 min 30 s`."""
    units = {"h": 3600, "min": 60, "s": 1}
    words = text.split()
    return sum(int(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("path", type=Path)
    parser.add_argument("--scheme", choices=("light", "dark"), default="dark")
    parser.add_argument("--after-s", type=float, default=150.0)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=given.chromium, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, color_scheme=given.scheme)
        photograph(page, given.url, given.path, given.after_s)
        browser.close()


if __name__ == "__main__":
    main()
