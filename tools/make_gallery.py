"""Make docs/gallery/index.html: made-up scenes, and what every method hears in them, side by side.

    python tools/make_gallery.py [--out docs/gallery/index.html] [--scenes 3]

A clock ticks in the rain, louder and softer (`examples/clock_in_rain.py`). All sounds are made from numbers,
so that they may be given away. The page is that of `earmark report`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import earmark
from earmark.files import write_text
from earmark.report.html import Page, mask_between

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))
from clock_in_rain import RATE, make_scene  # noqa: E402

SNRS = (5.0, 0.0, -5.0)
"""Clock over rain in dB, a scene each."""

METHODS = (
    "lmac",
    "l2i",
    "piq",
    "lmac-td",
    "gradcam",
    "saliency",
    "integrated-gradients",
    "occlusion",
)
STEPS = 15
"""Of the masks, as the page lies in a repository: two thirds of the size, and no ear tells the difference."""

OTHER = {"clock_tick": "rain", "rain": "clock_tick"}
ABOUT = (
    "A ticking clock in rain, made from numbers, at three levels: what each method says that the bundled "
    "model heard, and what L-MAC says of the other sound. Choose a method, and switch between the whole "
    "sound, what was heard and the rest while it plays. Made by tools/make_gallery.py."
)


def explanations(snr: float, seed: int) -> Iterator[earmark.Explanation]:
    """Yield what each method says of the decision, and what L-MAC says of the other sound."""
    audio = make_scene(snr, seed).mixture, RATE
    for method in METHODS:
        found = earmark.explain(audio, method=method, check=True)
        yield found
    if found.decision in OTHER:
        yield earmark.explain(audio, target=OTHER[found.decision], check=True)


def main() -> None:
    """Make the scenes, explain them, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "gallery" / "index.html")
    parser.add_argument("--scenes", type=int, default=len(SNRS))
    given = parser.parse_args()
    page = Page()
    for seed, snr in enumerate(SNRS[: given.scenes]):
        for found in explanations(snr, seed):
            # Methods whose masks are of another scale are shown by what they keep of each bin.
            mask = mask_between(found.waveform, found.listenable, found.spectrogram)
            page.add_sound(
                f"a clock in the rain, {snr:+g} dB", found.waveform, mask, found.spectrogram, found.to_dict()
            )
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(given.out, page.render("What every method hears", ABOUT))
    print(f"{len(page.list)} sounds → {given.out} ({given.out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
