"""`earmark methods`: which explainers there are."""

from __future__ import annotations

from earmark.cli.terminal import say


def methods() -> None:
    """List the methods that [bold]earmark explain[/bold] and [bold]earmark evaluate[/bold] take."""
    from earmark.explainers.base import registered

    known = registered()
    width = max(map(len, known))
    for name, kind in known.items():
        say(f"{name:<{width}}  {kind.summary}{'; costly' if kind.costly else ''}")
