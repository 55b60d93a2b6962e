"""`earmark explain --manifest`: a table of what was heard in every window of an archive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from earmark.cli.terminal import FAILED, STOPPED, make_writable, progress, say, say_error, say_stopped
from earmark.errors import ModelError

if TYPE_CHECKING:
    from earmark.archive.parts import Parts
    from earmark.explaining import Request

_NEEDED = {"local": "parquet", "ray": "ray"}


@dataclass
class Archive:
    """What `earmark explain --manifest` was asked for.

    Args:
        manifest: the list of recordings.
        out: where the table goes.
        make: makes the request; also on other machines.
        wish: what tells it from other requests.
        workers: processes that read, or actors.
        backend: "local" or "ray".
        top_sounds: how many windows of each class to write the sounds of.
    """

    manifest: Path
    out: Path
    make: Callable[[], Request]
    wish: dict[str, Any]
    workers: int
    backend: str
    top_sounds: int

    def run(self) -> None:
        """Explain what is not in the table yet, and say what came of it.

        Raises:
            EarmarkError: nothing could be begun.
        """
        from earmark.archive.manifest import read_manifest
        from earmark.archive.parts import Parts
        from earmark.audio import named

        _check(self.backend)
        files, again = read_manifest(self.manifest)
        make_writable(self.out)
        parts = Parts(self.out, self.wish)
        done = parts.done()
        left = [file for file in files if named(file) not in done and named(file.resolve()) not in done]
        if again:
            say(f"{again} rows of {self.manifest} name a recording again")
        if len(left) < len(files):
            say(f"{len(files) - len(left)} of {len(files)} recordings are in the table already")
        failed = self._explain(left, parts) if left else 0
        if self.top_sounds:
            self._save_best(parts)
        say(f"{len(files)} recordings → {parts.folder}")
        if failed:
            say_error(f"{failed} of {len(left)} recordings have errors, see the column error")
            raise typer.Exit(FAILED)

    def _explain(self, left: list[Path], parts: Parts) -> int:
        failed = 0
        try:
            with progress(len(left) > 1) as display:
                task = display.add_task("explaining", total=len(left)) if display else None

                def report(name: str, windows: int, broken: bool) -> None:
                    nonlocal failed
                    failed += broken
                    if display and task is not None:
                        display.advance(task)

                self._on_backend(left, parts, report)
        except KeyboardInterrupt as error:
            say_stopped("the same command goes on where it was")
            raise typer.Exit(STOPPED) from error
        return failed

    def _on_backend(self, left: list[Path], parts: Parts, report: Callable[[str, int, bool], None]) -> None:
        if self.backend == "ray":
            from earmark.archive.on_ray import explain_on_ray

            explain_on_ray(self.make, left, self.out, self.wish, self.workers, report)
            return
        from earmark.archive.local import explain_here
        from earmark.archive.rows import Explaining

        def died(why: str) -> None:
            say_error(f"a reader has ended, and another goes on: {why}")

        explain_here(Explaining(self.make()), left, parts, self.workers, report, died)

    def _save_best(self, parts: Parts) -> None:
        from earmark.archive.best import save_best
        from earmark.errors import EarmarkError

        count = 0
        for found in save_best(self.make(), parts, self.out / "best", self.top_sounds):
            if isinstance(found, EarmarkError):
                say_error(str(found))
            else:
                count += 1
        say(f"{count} sounds → {self.out / 'best'}")


def _check(backend: str) -> None:
    if backend not in _NEEDED:
        raise ModelError(f"there is no backend {backend!r}", " or ".join(_NEEDED))
    for name in ("pyarrow", *(("ray",) if backend == "ray" else ())):
        if find_spec(name) is None:
            given = f"archives need {name}, which is not installed"
            raise ModelError(given, fix=f"pip install 'earmark[{_NEEDED[backend]}]'")
