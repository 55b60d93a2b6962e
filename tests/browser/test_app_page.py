"""The page of `earmark app` in a real browser, against a server that runs."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import earmark
from browser.conftest import screenshot
from browser.looking import failing_contrasts, fits_a_phone, place, slide, unnamed, wait_for

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'earmark[app]'")
import uvicorn
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from earmark.app.server import build
from earmark.app.service import Limits, Service
from earmark.web import address_of, listen

RATE = 16_000


class Quiet(uvicorn.Server):
    """A server that leaves signals to pytest."""

    def install_signal_handlers(self) -> None:
        """Do nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    service = Service(earmark.load("esc10"), limits=Limits(minutes=1, megabytes=5))
    service.try_out()
    with listen("127.0.0.1", 0) as bound:
        server = Quiet(uvicorn.Config(build(service), log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield address_of(bound)
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for name, seconds in (("a dög <i>", 5), ("long", 22)):
        tone = 0.3 * np.sin(2 * np.pi * 800 * np.arange(seconds * RATE) / RATE)
        soundfile.write(folder / f"{name}.wav", tone + 0.05 * rng.standard_normal(seconds * RATE), RATE)
    (folder / "letter.wav").write_text("Dear sir, this is no sound.\n" * 9)
    return folder


@pytest.fixture
def app(page: Any, address: str) -> Any:
    page.get("about:blank")
    page.get(address)
    wait_for(lambda: page.find_element(By.TAG_NAME, "body").get_attribute("data-ready"))
    return page


def at(page: Any, name: str) -> Any:
    return page.find_element(By.ID, name)


def status(page: Any) -> str:
    return str(at(page, "status").text)


def explained(page: Any) -> Any:
    wait_for(lambda: status(page).startswith("explained"), 60)
    wait_for(lambda: page.find_elements(By.CSS_SELECTOR, "article[data-heard]"))
    return page.find_element(By.TAG_NAME, "article")


def test_a_file_is_explained_and_heard(app: Any, sounds: Path) -> None:
    at(app, "file").send_keys(str(sounds / "a dög <i>.wav"))
    card = explained(app)
    assert card.find_element(By.TAG_NAME, "h2").text == "a dög <i>.wav"
    card.find_element(By.CLASS_NAME, "play").click()
    wait_for(lambda: place(card) > 0.3)
    before = place(card)
    card.find_element(By.CLASS_NAME, "heard").click()
    wait_for(lambda: card.get_attribute("data-part") == "heard")
    assert before <= place(card) < before + 1
    soft = float(card.get_attribute("data-heard"))
    slide(app, card.find_element(By.CLASS_NAME, "threshold"), 90)
    wait_for(lambda: float(card.get_attribute("data-heard")) < soft)
    screenshot(app, "app")
    assert unnamed(app) == []
    assert failing_contrasts(app) == []
    assert fits_a_phone(app, "app")


def test_a_file_can_be_dropped_anywhere_on_the_page(app: Any, sounds: Path) -> None:
    content = base64.b64encode((sounds / "a dög <i>.wav").read_bytes()).decode()
    app.execute_script(
        "const bytes = Uint8Array.from(atob(arguments[0]), (one) => one.charCodeAt(0));"
        "const dataTransfer = new DataTransfer();"
        "dataTransfer.items.add(new File([bytes], 'dropped.wav', { type: 'audio/wav' }));"
        "const more = { dataTransfer, bubbles: true, cancelable: true };"
        "for (const kind of ['dragenter', 'drop']) document.body.dispatchEvent(new DragEvent(kind, more));",
        content,
    )
    assert explained(app).find_element(By.TAG_NAME, "h2").text == "dropped.wav"


def test_the_files_can_be_had_and_a_page_loaded_again_finds_its_sound(app: Any, sounds: Path) -> None:
    at(app, "file").send_keys(str(sounds / "a dög <i>.wav"))
    explained(app)
    link = at(app, "files").get_attribute("href")
    size = app.execute_async_script(
        "fetch(arguments[0]).then((answer) => answer.blob()).then((one) => arguments[1](one.size))",
        link,
    )
    assert size > 100_000
    app.refresh()
    explained(app)
    assert at(app, "files").get_attribute("href") == link


def test_another_method_and_class_can_be_asked_for(app: Any, sounds: Path) -> None:
    at(app, "file").send_keys(str(sounds / "a dög <i>.wav"))
    explained(app)
    for name, value in (("method", "gradcam"), ("target", "dog")):
        at(app, name).find_element(By.CSS_SELECTOR, f"option[value='{value}']").click()
    assert "gradcam" in at(app, "summary").text
    at(app, "again").click()
    wait_for(lambda: "by gradcam" in at(app, "decided").text, 30)
    assert at(app, "decided").text.startswith("dog, decided: ")


def test_a_long_sound_has_a_timeline_for_mouse_and_keys(app: Any, sounds: Path) -> None:
    at(app, "file").send_keys(str(sounds / "long.wav"))
    explained(app)
    buttons = at(app, "timeline").find_elements(By.TAG_NAME, "button")
    assert len(buttons) > 4
    buttons[2].click()
    wait_for(lambda: "0:08.0 to 0:13.0" in app.find_element(By.TAG_NAME, "h2").text)
    buttons[2].send_keys(Keys.ARROW_RIGHT)
    wait_for(lambda: "0:12.0 to 0:17.0" in app.find_element(By.TAG_NAME, "h2").text)
    assert buttons[3].get_attribute("aria-current") == "true"
    screenshot(app, "app_timeline")


def test_what_is_no_sound_is_told_and_the_next_one_works(app: Any, sounds: Path) -> None:
    at(app, "file").send_keys(str(sounds / "letter.wav"))
    wait_for(lambda: "letter.wav" in at(app, "trouble").text)
    assert status(app) == ""
    at(app, "file").send_keys(str(sounds / "a dög <i>.wav"))
    explained(app)
    assert at(app, "trouble").text == ""
    # The browser itself writes refusals to the console; there is nothing else in it.
    assert {"415 (Unsupported" in line["message"] for line in app.get_log("browser")} == {True}


def test_long_work_can_be_stopped(app: Any, sounds: Path) -> None:
    at(app, "method").find_element(By.CSS_SELECTOR, "option[value='integrated-gradients']").click()
    at(app, "file").send_keys(str(sounds / "long.wav"))
    wait_for(lambda: at(app, "stop").is_displayed())
    at(app, "stop").click()
    wait_for(lambda: status(app) == "stopped")
    assert not at(app, "result").is_displayed()


def test_a_sound_can_be_recorded_with_the_keyboard_alone(app: Any) -> None:
    """Chromium's stand-in for a microphone beeps."""
    ActionChains(app).send_keys(Keys.TAB, Keys.TAB).perform()  # the file chooser, the record button
    assert app.switch_to.active_element.get_attribute("id") == "record"
    ActionChains(app).send_keys(Keys.ENTER).perform()
    wait_for(lambda: status(app) == "recording")
    time.sleep(2.5)
    ActionChains(app).send_keys(Keys.ENTER).perform()
    card = explained(app)
    assert card.find_element(By.TAG_NAME, "h2").text.startswith("recording ")
    card.send_keys(" ")
    wait_for(lambda: card.get_attribute("data-playing") == "true")
    card.send_keys("2")
    wait_for(lambda: card.get_attribute("data-part") == "heard")


def test_a_server_that_is_gone_is_told(app: Any, sounds: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    app.execute_script(
        "const real = fetch, home = arguments[0]; window.fetch = (path, more) => real(home + path, more)",
        f"http://127.0.0.1:{port}/",
    )
    at(app, "file").send_keys(str(sounds / "a dög <i>.wav"))
    wait_for(lambda: "does not answer" in at(app, "trouble").text)
    app.get_log("browser")
