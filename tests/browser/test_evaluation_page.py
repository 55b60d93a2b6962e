"""The page of an evaluation in a real browser: sort, choose, search, with the keyboard too."""

from __future__ import annotations

from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browser.conftest import screenshot
from browser.looking import failing_contrasts, fits_a_phone, unnamed, wait_for
from earmark.report.evaluation import evaluation_page
from report.test_evaluation_page import results

SHOWN = "section.masks:not([hidden])"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    methods = {"lmac": 0.5, "b": 0.9, "c": -0.1}
    path.write_text(evaluation_page(results(methods), "Three methods"), encoding="utf-8")
    return path.as_uri()


def shown(page: Any) -> list[str]:
    cells = page.find_elements(By.CSS_SELECTOR, f"{SHOWN} tbody tr:not([hidden]) td:first-child")
    return [cell.text for cell in cells]


def test_it_sorts_and_filters(page: Any, address: str) -> None:
    page.get(address)
    assert shown(page) == ["lmac", "b", "c"]
    head = page.find_element(By.CSS_SELECTOR, f"{SHOWN} th:nth-child(2) button")
    head.click()
    assert shown(page) == ["b", "lmac", "c"]
    head.send_keys(Keys.ENTER)
    assert shown(page) == ["c", "lmac", "b"]
    screenshot(page, "evaluation")
    assert unnamed(page) == []
    assert failing_contrasts(page) == []
    page.find_element(By.ID, "search").send_keys("lm")
    wait_for(lambda: shown(page) == ["lmac"])
    page.find_element(By.CSS_SELECTOR, "#masks option:nth-child(2)").click()
    wait_for(lambda: "binarised to 10 %" in page.find_element(By.CSS_SELECTOR, f"{SHOWN} h2").text)
    assert fits_a_phone(page, "evaluation")
