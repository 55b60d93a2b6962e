"""Ratings out of what webMUSHRA or earmark's own page wrote, with nothing in them of who gave them."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from pandas import DataFrame

from earmark.errors import DataError
from earmark.study.plan import REFERENCE, Study

COLUMNS = ("listener", "trial", "condition", "score")
"""Of ratings: a number, a recording, a code, and 0 to 100."""

UNTOUCHED = 100.0
"""Where webMUSHRA's sliders stand before anyone moves them."""

# What versions of webMUSHRA, and those who carry its results on, call the same.
_NAMES = {
    "session": ("session_uuid", "session_id", "uuid"),
    "test": ("session_test_id", "test_id"),
    "trial": ("trial_id", "trial"),
    "stimulus": ("rating_stimulus", "stimulus", "stimuli", "condition"),
    "score": ("rating_score", "score", "stimuli_rating", "rating"),
    "time": ("rating_time", "time"),
    "comment": ("rating_comment", "comment", "choice_comment"),
}
_NEEDED = ("trial", "stimulus", "score")
_WHO = ("email", "e-mail", "mail", "name", "participant", "participant_id", "subject", "user", "id")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_MISSING = ("", "na", "nan", "null", "none", "undefined")


class Row(NamedTuple):
    """A rating as it was read.

    Args:
        session: who gave it, in whatever words; never written anywhere.
        said: all columns that tell of the session or the person, for `exclude`.
        trial: the recording.
        condition: a code.
        score: 0 to 100; None where it is missing.
    """

    session: tuple[str, ...]
    said: tuple[str, ...]
    trial: str
    condition: str
    score: float | None


@dataclass
class Ratings:
    """Ratings, and what was done with the rows that gave none.

    Args:
        table: `COLUMNS`; one row for a listener, recording and condition.
        broken: a line for each row that cannot be used.
        missing: rows without a score.
        repeated: rows that a later one of the same listener replaced.
        excluded: sessions left out because they were asked to be.
        untouched: pages of a listener on which every score is where sliders stand at the start.
    """

    table: DataFrame
    broken: list[str] = field(default_factory=list)
    missing: int = 0
    repeated: int = 0
    excluded: int = 0
    untouched: int = 0


def read_ratings(
    files: Sequence[Path],
    study: Study | None = None,
    exclude: Iterable[str] = (),
    drop_untouched: bool = False,
) -> Ratings:
    """Read what webMUSHRA's ``results/ID/mushra.csv`` or earmark's own page holds.

    Args:
        files: CSV, or the database that `earmark study serve` writes.
        study: its plan; rows of other recordings and conditions are then broken.
        exclude: patterns, as ``test*``, of sessions to leave out: compared with the session's id and with
            all that participants said of themselves.
        drop_untouched: whether to leave out pages where every score is 100, where webMUSHRA's sliders start.

    Raises:
        DataError: a file cannot be read, or has none of the columns, or there is no rating.
    """
    broken: list[str] = []
    exclude = list(exclude)
    rows = [row for file in files for row in _rows(file, study.id if study else None, broken)]
    if study:
        rows = list(_known(rows, study, broken))
    patterns = [pattern.casefold() for pattern in exclude]
    out = {row.session for row in rows if any(_fits(row.said, one) for one in patterns)}
    if rows and len(out) == len({row.session for row in rows}):
        raise DataError(f"{' and '.join(exclude)} leave out all {len(out)} sessions", fix="exclude fewer")
    rows = [row for row in rows if row.session not in out]
    given = [row for row in rows if row.score is not None]
    numbers = {session: place for place, session in enumerate(dict.fromkeys(row.session for row in given), 1)}
    last = {(numbers[row.session], row.trial, row.condition): row.score for row in given}
    table = DataFrame([(*key, score) for key, score in last.items()], columns=list(COLUMNS))
    still = table.groupby(["listener", "trial"])["score"].transform("min") == UNTOUCHED
    untouched = len(table[still].drop_duplicates(["listener", "trial"]))
    if drop_untouched:
        table = table[~still].reset_index(drop=True)
    if not len(table):
        given_files = ", ".join(file.name for file in files)
        raise DataError(f"{given_files} holds no rating that can be used", "rows with a trial and a score")
    counts = {"missing": len(rows) - len(given), "repeated": len(given) - len(last), "excluded": len(out)}
    return Ratings(table, broken, **counts, untouched=untouched)


def _known(rows: Iterable[Row], study: Study, broken: list[str]) -> Iterator[Row]:
    # webMUSHRA has the whole sound rated in any case.
    trials, rated = {trial.id for trial in study.trials}, {*study.rated, REFERENCE}
    strange: Counter[str] = Counter()
    for row in rows:
        if row.trial not in trials:
            strange[f"trial {row.trial!r} is not in the study"] += 1
        elif row.condition not in rated:
            strange[f"condition {row.condition!r} is not in the study"] += 1
        else:
            yield row
    broken += [f"{why} ({times} rows)" for why, times in strange.items()]


def _fits(said: Iterable[str], pattern: str) -> bool:
    return any(fnmatchcase(value.strip().casefold(), pattern) for value in said)


def _rows(file: Path, study: str | None, broken: list[str]) -> Iterator[Row]:
    try:
        with file.open("rb") as opened:
            is_database = opened.read(16).startswith(b"SQLite format 3")
        if is_database:
            from earmark.study.store import stored

            for listener, trial, condition, score in stored(file, study):
                yield Row((str(file), listener), (listener,), trial, condition, score)
            return
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        fix = "save it as comma-separated UTF-8"
        raise DataError(f"{file} cannot be read: {error}", "the CSV that webMUSHRA writes", fix) from error
    yield from _of_csv(file, text, study, broken)


def _of_csv(file: Path, text: str, study: str | None, broken: list[str]) -> Iterator[Row]:
    places: dict[str, int] = {}
    header: list[str] = []
    good: list[tuple[int, list[str]]] = []
    for line, cells in _lines(file, text, broken):
        found = _places(cells)
        if found is not None:  # also in the middle, where files were put together
            yield from _of_table(file, header, places, good, study, broken)
            places, header, good = found, [cell.strip() for cell in cells], []
        elif not places:
            expected = "columns for trial, stimulus and score, with commas between, as webMUSHRA writes them"
            raise DataError(f"{file} begins with {', '.join(cells)[:80]!r}", expected, "export it so")
        elif len(cells) != len(header):
            broken.append(f"{file.name}, line {line}: {len(cells)} cells, {len(header)} are named")
        else:
            good.append((line, cells))
    yield from _of_table(file, header, places, good, study, broken)


def _lines(file: Path, text: str, broken: list[str]) -> Iterator[tuple[int, list[str]]]:
    # PHP writes a quote after a backslash as it is, and all others twice.
    reader = csv.reader(text.splitlines(keepends=True), escapechar="\\")
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            broken.append(f"{file.name}, line {reader.line_num}: {error}")
            continue
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def _of_table(
    file: Path,
    header: Sequence[str],
    places: dict[str, int],
    lines: Sequence[tuple[int, list[str]]],
    study: str | None,
    broken: list[str],
) -> Iterator[Row]:
    # By its first line, too: where files were put together, each begins to count anew.
    where = f"{file}:{lines[0][0] if lines else 0}"
    sessions = _Sessions(where, header, places, [cells for _, cells in lines])
    for line, cells in lines:
        test = cells[places["test"]].strip() if "test" in places else ""
        if study and test and test != study:
            broken.append(f"{file.name}, line {line}: of another study, {test[:40]!r}")
            continue
        row = _row(cells, places, sessions)
        if isinstance(row, str):
            broken.append(f"{file.name}, line {line}: {row}")
        else:
            yield row


def _places(cells: Sequence[str]) -> dict[str, int] | None:
    """Return where what is needed stands, if this is a header."""
    names = [cell.strip().casefold() for cell in cells]
    places = {
        what: names.index(next(one for one in known if one in names))
        for what, known in _NAMES.items()
        if any(one in names for one in known)
    }
    return places if all(what in places for what in _NEEDED) else None


class _Sessions:
    """Tells listeners apart: by the session's id, by who they say they are, or by where they begin anew.

    Args:
        file: whose rows they are, and where in it they begin.
        header: its columns.
        places: of what is known.
        rows: all of them.
    """

    def __init__(
        self, file: str, header: Sequence[str], places: dict[str, int], rows: Sequence[Sequence[str]]
    ) -> None:
        self.file, self.count = file, 0
        self.seen: set[tuple[str, str]] = set()
        self.before: tuple[str, ...] = ()
        own = [place for place, name in enumerate(header) if name and place not in places.values()]
        self.names = [place for place in own if header[place].casefold() in _WHO]
        # What differs in every row is a number of rows, and nothing of a person.
        self.person = [
            place
            for place in own
            if place in self.names or len({row[place] for row in rows}) < max(2, len(rows))
        ]
        self.session = places.get("session")

    def said(self, cells: Sequence[str]) -> tuple[str, ...]:
        """Return what tells of the session and the person."""
        own = [self.session] if self.session is not None else []
        return tuple(cells[place].strip() for place in (*own, *self.person))

    def of(self, cells: Sequence[str], page: tuple[str, str]) -> tuple[str, ...]:
        """Return the listener of the next row."""
        if self.session is not None and cells[self.session].strip():
            return (cells[self.session].strip(),)
        if any(cells[place].strip() for place in self.names):
            return tuple(cells[place].strip().casefold() for place in self.names)
        # webMUSHRA writes all of a listener at once: another person, or the same page again, is the next one.
        person = tuple(cells[place] for place in self.person)
        if page in self.seen or (self.seen and person != self.before):
            self.count += 1
            self.seen.clear()
        self.seen.add(page)
        self.before = person
        return (self.file, str(self.count))


def _row(cells: Sequence[str], places: dict[str, int], sessions: _Sessions) -> Row | str:
    trial, condition, text = (cells[places[what]].strip() for what in _NEEDED)
    if not (trial and condition):
        return "no trial or no stimulus is named"
    session, said = sessions.of(cells, (trial, condition)), sessions.said(cells)
    if text.casefold() in _MISSING:
        return Row(session, said, trial, condition, None)
    if not _NUMBER.fullmatch(text):
        return f"the score is {text[:20]!r}, no number"
    score = float(text)
    if not 0 <= score <= 100:
        return f"the score is {score:g}, not within 0 and 100"
    return Row(session, said, trial, condition, score)
