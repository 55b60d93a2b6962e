"""How smooth a report of 200 sounds is in a browser: how long it takes to open, and to draw while scrolled.

    python bench/report_page.py [--sounds 200] [--into docs/report.md]

5 s of noise with a tone each, explained by the bundled L-MAC and gathered by `earmark report`; opened in
headless Chromium by chromium-driver, both of which must be there. While the page is scrolled, ten sounds a
second as who looks for one does, or half a one as who looks at all, the time between two pictures is taken.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from tables import emit

import earmark
from earmark.report.html import make_page

RATE = 16_000
SCROLL = """
const [pace, done] = arguments, times = [], start = performance.now();
const each = document.body.scrollHeight / document.querySelectorAll("article").length;
function step(now) {
  times.push(now);
  if (now - start >= 10000) { done(times); return; }
  scrollTo(0, ((now - start) / 1000) * pace * each);
  requestAnimationFrame(step);
}
requestAnimationFrame(step);
"""
PACES = {"looking for one, 10 a second": 10.0, "looking at all, 1 in 2 s": 0.5}


def write_explanations(folder: Path, count: int) -> None:
    """Explain sounds, in batches as `earmark explain` does."""
    rng = np.random.default_rng(0)

    def sound() -> np.ndarray:
        tone = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 4000) * np.arange(5 * RATE) / RATE)
        return (tone + 0.05 * rng.standard_normal(5 * RATE)).astype(np.float32)

    for number, found in enumerate(earmark.explain([(sound(), RATE) for _ in range(count)])):
        assert isinstance(found, earmark.Explanation)
        found.save(folder, f"sound {number:03d}")


def open_browser() -> webdriver.Chrome:
    """Start headless Chromium."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,1000"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def measure(page: Path) -> dict[str, float]:
    """Return seconds to open, and what scrolling takes."""
    browser = open_browser()
    try:
        browser.set_script_timeout(60)
        started = time.perf_counter()
        browser.get(page.as_uri())
        found = {"s to open": time.perf_counter() - started}
        for name, pace in PACES.items():
            gaps = np.diff(browser.execute_async_script(SCROLL, pace))
            found[f"{name}: pictures a second"] = 1000 * len(gaps) / float(np.sum(gaps))
            found[f"{name}: 99 % of gaps below, ms"] = float(np.percentile(gaps, 99))
        found["MB of JavaScript's memory"] = (
            browser.execute_script("return performance.memory.usedJSHeapSize") / 1e6
        )
    finally:
        browser.quit()
    return found


def main() -> None:
    """Make a page of a few sounds and one of many, and write a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sounds", type=int, default=200)
    parser.add_argument("--into", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    torch.set_num_threads(2)
    columns: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (5, given.sounds):
            own = Path(folder) / str(count)
            write_explanations(own, count)
            page, _ = make_page([own])
            path = Path(folder) / f"{count}.html"
            path.write_text(page.render("A report", f"{count} sounds"), encoding="utf-8")
            columns[count] = {"MB on disk": path.stat().st_size / 1e6, **measure(path)}
    rows = [(name, *(f"{columns[count][name]:.1f}" for count in columns)) for name in columns[given.sounds]]
    emit("report", ("", *(f"{count} sounds" for count in columns)), rows, given.into)


if __name__ == "__main__":
    main()
