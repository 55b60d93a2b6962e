"""The report in a real browser: it plays, keeps its place, and what is heard follows the slider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import earmark
from browser.conftest import screenshot
from browser.looking import failing_contrasts, fits_a_phone, heard, place, slide, unnamed, wait_for
from earmark.report.html import make_page

RATE = 16_000


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    for name in ("one <b>", "two", "three"):
        sound = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 2000) * np.arange(3 * RATE) / RATE)
        soundfile.write(folder / f"{name}.wav", sound + 0.05 * rng.standard_normal(3 * RATE), RATE)
        for method in ("lmac", "gradcam"):
            earmark.explain(folder / f"{name}.wav", method=method).save(folder / method)
    page, _ = make_page([folder / "lmac", folder / "gradcam"])
    path = folder / "report.html"
    path.write_text(page.render("What was heard <i>", "three sounds"), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def articles(page: Any, report: str) -> list[Any]:
    page.get(report)
    found = page.find_elements(By.TAG_NAME, "article")
    wait_for(lambda: heard(found[0]) == heard(found[0]))
    return found


def test_it_plays_and_switching_keeps_the_place(page: Any, articles: list[Any]) -> None:
    first = articles[0]
    first.find_element(By.CLASS_NAME, "play").click()
    wait_for(lambda: place(first) > 0.4)
    before = place(first)
    first.find_element(By.CLASS_NAME, "heard").click()
    wait_for(lambda: first.get_attribute("data-part") == "heard")
    assert before <= place(first) < before + 1
    assert first.get_attribute("data-playing") == "true"
    screenshot(page, "report")
    # Another sound takes over, and the first keeps its place.
    articles[1].find_element(By.CLASS_NAME, "play").click()
    wait_for(lambda: articles[1].get_attribute("data-playing") == "true")
    assert first.get_attribute("data-playing") == "false"
    articles[1].find_element(By.CLASS_NAME, "play").click()
    wait_for(lambda: articles[1].get_attribute("data-playing") == "false")


def test_the_slider_changes_what_is_heard(page: Any, articles: list[Any]) -> None:
    first = articles[0]
    soft, slider = heard(first), first.find_element(By.CLASS_NAME, "threshold")
    energies = [soft]
    for value in (5, 60, 100):
        slide(page, slider, value)
        wait_for(lambda: heard(first) != energies[-1])
        energies.append(heard(first))
    assert energies[1] > energies[2] > energies[3]
    slide(page, slider, 0)
    wait_for(lambda: heard(first) == soft)


def test_the_other_method_is_another_sound(page: Any, articles: list[Any]) -> None:
    before = heard(articles[0])
    select = articles[0].find_element(By.CLASS_NAME, "variant")
    select.send_keys("gradcam")
    wait_for(lambda: heard(articles[0]) != before)
    assert "gradcam" in articles[0].text


def test_the_keyboard_is_enough(page: Any, articles: list[Any]) -> None:
    first = articles[0]
    page.execute_script("arguments[0].focus()", first)
    first.send_keys(Keys.SPACE)
    wait_for(lambda: first.get_attribute("data-playing") == "true")
    first.send_keys("2")
    wait_for(lambda: first.get_attribute("data-part") == "heard")
    first.send_keys(Keys.SPACE)
    wait_for(lambda: first.get_attribute("data-playing") == "false")
    at = place(first)
    first.send_keys(Keys.ARROW_RIGHT)
    wait_for(lambda: abs(place(first) - at - 0.25) < 0.02)


def test_search_and_filters(page: Any, articles: list[Any]) -> None:
    search = page.find_element(By.ID, "search")
    search.send_keys("two gradcam")
    wait_for(lambda: page.find_element(By.ID, "count").text == "1 of 3 sounds")
    assert [one.is_displayed() for one in page.find_elements(By.TAG_NAME, "article")].count(True) == 1
    search.send_keys(Keys.CONTROL, "a")
    search.send_keys(Keys.DELETE)
    wait_for(lambda: page.find_element(By.ID, "count").text == "3 of 3 sounds")


def test_names_are_text(page: Any, articles: list[Any]) -> None:
    assert "one <b>.wav" in page.find_element(By.TAG_NAME, "main").text
    assert page.find_element(By.TAG_NAME, "h1").text == "What was heard <i>"


def test_everything_has_a_name_and_fits_a_phone(page: Any, articles: list[Any]) -> None:
    assert unnamed(page) == []
    assert failing_contrasts(page) == []
    assert fits_a_phone(page, "report")


def test_the_gallery_opens_and_is_heard(page: Any) -> None:
    path = Path(__file__).parents[2] / "docs" / "gallery" / "index.html"
    page.get(path.as_uri())
    first = page.find_element(By.TAG_NAME, "article")
    wait_for(lambda: heard(first) > 0)
    options = [one.text for one in first.find_elements(By.TAG_NAME, "option")]
    assert len(options) == 9
    before = heard(first)
    first.find_element(By.CSS_SELECTOR, "option[value='4']").click()
    wait_for(lambda: heard(first) != before)
