"""The page of `earmark study serve` in a real browser: it plays, switches, and stores what is rated."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser.conftest import screenshot
from browser.looking import failing_contrasts, fits_a_phone, unnamed, wait_for

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'earmark[study]'")
import uvicorn
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from earmark.study.build import Builder, Recording
from earmark.study.plan import Study
from earmark.study.server import build
from earmark.study.store import Store, stored
from earmark.web import address_of, listen

RATE = 16_000
NAME = "Ears <b>& eyes"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("study")
    builder = Builder(folder, Study(id="s", title=NAME, conditions={"C1": "a", "C2": "b"}, trials=[]))
    for seed in range(2):
        whole = 0.1 * np.random.default_rng(seed).standard_normal(4 * RATE).astype(np.float32)
        builder.add(Recording(f"{seed}.wav", "x", "dög <i>", RATE, whole, {"a": whole / 2, "b": whole / 4}))
    study, path = builder.finish(), folder / "ratings.db"
    with listen("127.0.0.1", 0) as bound:
        app = build(study, folder, Store(path, study.id))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield address_of(bound), path
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def at(page: Any, name: str) -> Any:
    return page.find_element(By.ID, name)


def body(page: Any, name: str) -> str | None:
    found = page.find_element(By.TAG_NAME, "body").get_attribute(f"data-{name}")
    return None if found is None else str(found)


def sliders(page: Any) -> list[Any]:
    return list(page.find_elements(By.CSS_SELECTOR, ".rated input"))


def seconds(page: Any) -> float:
    return 4 * float(at(page, "place").get_attribute("value"))


@pytest.fixture
def study(page: Any, served: tuple[str, Path]) -> Any:
    page.get("about:blank")
    page.get(served[0])
    wait_for(lambda: body(page, "ready"))
    at(page, "begin").click()
    wait_for(lambda: body(page, "loaded") == "0")
    return page


def test_sounds_switch_in_place_and_ratings_are_stored(study: Any, served: tuple[str, Path]) -> None:
    before = len(stored(served[1]))
    assert at(study, "title").text == NAME
    assert at(study, "label").text == "dög <i>"
    buttons = study.find_elements(By.CSS_SELECTOR, ".rated button")
    at(study, "reference").click()
    wait_for(lambda: seconds(study) > 0.4)
    place = seconds(study)
    buttons[1].click()
    wait_for(lambda: body(study, "heard") == "2")
    assert place <= seconds(study) < place + 1
    assert buttons[1].get_attribute("aria-pressed") == "true"
    assert not at(study, "next").is_enabled()
    sliders(study)[0].send_keys(Keys.ARROW_RIGHT)
    wait_for(lambda: at(study, "saved").text == "saved")
    assert [row[3] for row in stored(served[1])[before:]] == [51]
    sliders(study)[1].click()  # where it stands: the middle is a rating too
    wait_for(lambda: len(stored(served[1])) == before + 2)
    wait_for(lambda: at(study, "next").is_enabled())
    screenshot(study, "study")
    assert unnamed(study) == []
    assert failing_contrasts(study) == []


def test_who_comes_back_goes_on_where_they_were(study: Any, served: tuple[str, Path]) -> None:
    for slider in sliders(study):
        slider.send_keys(Keys.ARROW_LEFT)
    wait_for(lambda: at(study, "next").is_enabled())
    at(study, "next").click()
    wait_for(lambda: body(study, "loaded") == "1")
    assert at(study, "where").text == "Sound 2 of 2"
    study.refresh()
    wait_for(lambda: body(study, "loaded") == "1")
    assert at(study, "where").text == "Sound 2 of 2"
    at(study, "back").click()
    wait_for(lambda: body(study, "loaded") == "0")
    assert [slider.get_attribute("value") for slider in sliders(study)] == ["49", "49"]


def test_the_keyboard_is_enough_for_all_of_it(page: Any, served: tuple[str, Path]) -> None:
    page.get("about:blank")
    page.get(served[0])
    wait_for(lambda: body(page, "ready"))
    before = len(stored(served[1]))

    def press(*keys: str) -> None:
        ActionChains(page).send_keys(*keys).perform()

    press(Keys.TAB, Keys.ENTER)  # Begin
    for number in range(2):
        wait_for(lambda number=number: body(page, "loaded") == str(number))
        press("2")
        wait_for(lambda: body(page, "heard") == "2")
        press("p")
        wait_for(lambda: body(page, "heard") == "-1")
        page.execute_script("arguments[0].focus()", sliders(page)[0])
        press(Keys.PAGE_UP, Keys.TAB, Keys.TAB, Keys.ENTER)  # the next button, the next slider
        wait_for(lambda: at(page, "next").is_enabled())
        page.execute_script("arguments[0].focus()", at(page, "next"))
        press(Keys.ENTER)
    wait_for(lambda: at(page, "thanks").is_displayed())
    assert len(stored(served[1])) == before + 4


def test_it_fits_a_phone(study: Any) -> None:
    assert fits_a_phone(study, "study")
