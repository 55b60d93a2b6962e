"""A headless Chromium for tests of pages; they are skipped where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

SCREENSHOTS = Path(os.environ.get("EARMARK_SCREENSHOTS", "runs/screenshots"))
"""Where pictures of the pages go, for a look."""


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Start Chromium once; without it, or its driver, all that need it are skipped."""
    selenium = pytest.importorskip("selenium", reason="selenium is not installed: pip install selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("there is no chromium with chromium-driver: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    assert selenium
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--autoplay-policy=no-user-gesture-required",
        "--window-size=1200,1400",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


@pytest.fixture
def page(browser: object) -> Iterator[object]:
    """Give the browser, and see afterwards that its console stayed empty."""
    browser.get_log("browser")  # type: ignore[attr-defined]
    yield browser
    said = [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]  # type: ignore[attr-defined]
    assert said == []


def screenshot(browser: object, name: str) -> None:
    """Keep a picture of the page."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(SCREENSHOTS / f"{name}.png"))  # type: ignore[attr-defined]
