"""The picture of the README: photographs the dashboard of a running job in headless Chromium.

freshet run jobs/demo.yaml &   # prints the dashboard's address
python experiments/dashboard_screenshot.py http://127.0.0.1:PORT docs/dashboard.png [--scheme light]
"""

import argparse
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


def photograph(page: Page, url: str, path: Path, after_s: float) -> None:
    """Waits until the run is so old, and its AUC stands beside the frozen model's."""
    page.goto(url)
    page.wait_for_selector("#big-auc b", timeout=(after_s + 60) * 1000)
    started = "[...document.querySelectorAll('[data-part=traffic] td')][2]?.textContent"
    minutes, seconds = divmod(int(after_s), 60)
    page.wait_for_function(
        f"/^(\\d+) min (\\d+) s/.exec({started} || '')?.slice(1).map(Number)"
        f".reduce((m, s) => m * 60 + s) >= {minutes * 60 + seconds}",
        timeout=(after_s + 60) * 1000,
    )
    page.screenshot(path=path)


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
