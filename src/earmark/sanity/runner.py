"""Checks → steps → rows: what is there is not done again, and what fails is told and passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

import torch

from earmark.errors import EarmarkError, OutputError
from earmark.evaluation.results import Journal, key_of
from earmark.sanity.base import Bench, Check, Step
from earmark.sanity.rows import DONE, KEY

Report = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what is at work."""

_LONGEST_REASON = 300  # characters


def run_checks(
    checks: Sequence[Check], bench: Bench, journal: Journal, report: Report = lambda *_: None
) -> None:
    """Run checks and write their rows, a step at a time.

    Args:
        checks: what is run.
        bench: on what.
        journal: where rows go, of `earmark.sanity.rows.LAYOUT`.
        report: is told how far it is.

    Raises:
        OutputError: rows cannot be written; those before them are there.
    """
    steps = [(check, step) for check in checks for step in check.steps(bench)]
    for done, (check, step) in enumerate(steps):
        report(done, len(steps), " ".join(filter(None, (f"{check.name}:", step.method, step.part))))
        if not _is_done(check, step, journal):
            journal.add(list(_rows(check, bench, step)))
    report(len(steps), len(steps), "done")


def _is_done(check: Check, step: Step, journal: Journal) -> bool:
    return key_of(_row(check, step, figure=DONE), KEY) in journal.done


def _rows(check: Check, bench: Bench, step: Step) -> Iterator[Mapping[str, Any]]:
    started = perf_counter()
    try:
        rows = [_row(check, step, **row._asdict()) for row in check.run(bench, step)]
        error = ""
    except (OutputError, torch.OutOfMemoryError):
        raise
    except Exception as problem:  # the network and the method may be anyone's
        rows, error = [], _reason(problem)
    yield from rows
    yield _row(check, step, figure=DONE, value=perf_counter() - started, error=error)


def _row(check: Check, step: Step, **values: Any) -> dict[str, Any]:
    plain = {"variant": "", "level": "", "seed": 0, "sound": "", "error": ""}
    return {"check": check.name, "method": step.method, "part": step.part, **plain, **values}


def _reason(error: Exception) -> str:
    line = str(error).partition("\n")[0][:_LONGEST_REASON]
    return line if isinstance(error, EarmarkError) else f"{type(error).__name__}: {line}".rstrip(": ")
