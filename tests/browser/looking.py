"""What tests of pages look at: the place of the player, the energy heard, names and contrasts."""

from __future__ import annotations

import time
from typing import Any

from browser.conftest import screenshot

_UNNAMED = """
const shown = (one) => one.getClientRects().length && getComputedStyle(one).visibility === "visible";
const used = "button, input, select, textarea, a[href], article, [role=img], [role=group]";
return [...document.querySelectorAll(used)]
  .filter(shown)
  .filter((one) => !(one.labels && one.labels.length) && !one.textContent.trim() && !one.title
    && !one.getAttribute("aria-label") && !one.getAttribute("aria-labelledby"))
  .map((one) => one.outerHTML.slice(0, 120));
"""

# WCAG 2.1, 1.4.3: contrast of text to what is behind it; what is transparent is looked through.
_CONTRASTS = """
const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = (rgb) => rgb.map((v) => linear(v / 255))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
function behind(one) {
  for (; one; one = one.parentElement) {
    const [r, g, b, a = 1] = numbers(getComputedStyle(one).backgroundColor);
    if (a === 1) return [r, g, b];
  }
  return [255, 255, 255];
}
const found = [];
for (const one of document.querySelectorAll("body *")) {
  const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const unseen = !one.getClientRects().length || one.disabled || one.closest("noscript, script, option");
  if (!own || unseen) continue;
  const style = getComputedStyle(one), size = parseFloat(style.fontSize);
  const [a, b] = [light(numbers(style.color).slice(0, 3)), light(behind(one))].sort((x, y) => y - x);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < (large ? 3 : 4.5)) found.push(`${one.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
}
return found;
"""


def wait_for(check: Any, seconds: float = 10) -> None:
    """Look again and again until something holds, or fail."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def heard(article: Any) -> float:
    """Return the share of energy in what was heard, nan before there is any."""
    return float(article.get_attribute("data-heard") or "nan")


def place(article: Any) -> float:
    """Return where the player is, in seconds."""
    return float(article.get_attribute("data-place") or 0)


def slide(page: Any, slider: Any, value: int) -> None:
    """Move a slider."""
    page.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", slider, value
    )


def unnamed(page: Any) -> list[str]:
    """Return what can be used and has no name for those who cannot see it."""
    return list(page.execute_script(_UNNAMED))


def failing_contrasts(page: Any) -> list[str]:
    """Return what is written too faintly, in light and in dark."""
    found = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        found += [f"{scheme}: {one}" for one in page.execute_script(_CONTRASTS)]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    return found


def fits_a_phone(page: Any, name: str) -> bool:
    """Whether nothing is wider than the window of a phone; keeps a picture of it."""
    page.set_window_size(390, 800)
    try:
        screenshot(page, f"{name}-phone")
        return bool(page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth"))
    finally:
        page.set_window_size(1200, 1400)
