"""The file of an evaluation: one row per sound, method, domain and area, whole rows only, taken up again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from earmark.errors import DataError, OutputError, RecipeError
from earmark.files import whole

KEY = ("condition", "seed", "sound", "method", "domain", "area")
"""What names a row; no two rows of a file have the same. The area of the soft mask is empty."""

FIGURES = (
    *("p", "p_in", "p_out", "AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP", "MM", "FF all"),
    *("share", "share mixture", "SI-SDR", "SI-SDRi", "seconds"),
)
"""What is measured; empty where it failed or does not apply. "seconds" is what the mask took, without the
classifier's first pass, which all methods share."""

SAME = ("protocol", "model", "earmark", "torch", "recipe")
"""What all rows of a file agree in; "recipe" is a hash of what else the figures depend on."""

RECORDINGS = "recordings"
"""The column of a hash of what the interferers of a condition were drawn from; all its rows agree in it."""

COLUMNS = (*KEY, "clip", "interferer", "label", "target", *FIGURES, "error", *SAME, RECORDINGS)

Key = tuple[str, ...]


class Layout(NamedTuple):
    """What a results file is like.

    Args:
        what: it holds, for messages.
        key: the columns that name a row.
        columns: all of them; "error" is among them.
        same: what all rows agree in.
        group: rows that are alike in this column
        agrees: agree in this one.
        numbers: the columns that Parquet has as floats.
    """

    what: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    same: tuple[str, ...]
    group: str
    agrees: str
    numbers: tuple[str, ...]


EVALUATION = Layout("evaluation", KEY, COLUMNS, SAME, "condition", RECORDINGS, ("area", *FIGURES))
_PARQUET = ".parquet"
_ESCAPED = str.maketrans({"\n": "\\n", "\r": "\\r", "\0": "\\0"})
_MEANING = {
    "recipe": " (other weights or clips)",
    RECORDINGS: " (other sounds to mix in)",
    "settings": " (other settings of the check)",
}


def check_results_path(path: Path) -> None:
    """See that results can go to a path, before any work is done.

    Raises:
        RecipeError: its ending is neither .csv nor .parquet, or there is no pyarrow to write Parquet with.
        OutputError: it is a folder.

    >>> check_results_path(Path("results.csv"))
    """
    if path.suffix not in (".csv", _PARQUET):
        raise RecipeError(f"the results are to go to {path}", "a name that ends in .csv or .parquet")
    if path.suffix == _PARQUET and find_spec("pyarrow") is None:
        given = f"{path} cannot be written without pyarrow"
        raise RecipeError(given, fix="install it with pip install 'earmark[parquet]', or choose a .csv")
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder", "the name of a file", "choose another")


class Journal:
    """A results file that grows by whole rows, so that a killed evaluation loses none and doubles none.

    Args:
        path: a .csv file, or a .parquet file: rows then go to a .csv beside it until all are done.
        same: what all its rows agree in, see `SAME`.
        recordings: what the rows of a group agree in, by group; of a condition see `RECORDINGS`.
        layout: what its rows are like.

    Attributes:
        done: the keys of the rows that are there.
        failed: why, by the key of each row that has an error.

    Raises:
        DataError: the file is none of results, or of an evaluation that differed; it is left as it was.
        OutputError: it cannot be written.
        RecipeError: as `check_results_path` does.
    """

    def __init__(
        self,
        path: Path,
        same: Mapping[str, str],
        recordings: Mapping[str, str] | None = None,
        layout: Layout = EVALUATION,
    ) -> None:
        check_results_path(path)
        self.path = path
        self.layout = layout
        self.rows_path = path.with_suffix(".rows.csv") if path.suffix == _PARQUET else path
        self.same = dict(same)
        self.recordings = dict(recordings or {})
        self.done: set[Key] = set()
        self.failed: dict[Key, str] = {}
        self._take_up()

    def _take_up(self) -> None:
        """Write the file anew, so that what was cut off in the middle of a row goes."""
        with (
            whole(self.rows_path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            columns = self.layout.columns
            file.write(self._text([dict(zip(columns, columns))]))
            for row in self._earlier():
                self._check(row)
                if self._key(row) not in self.done:
                    file.write(self._text([row]))
                    self._note(row)

    def _earlier(self) -> Iterator[Mapping[str, Any]]:
        if self.rows_path.exists():
            yield from read_rows(self.rows_path, self.layout)
        elif self.path.exists():
            yield from _parquet_rows(self.path, self.layout)

    def _check(self, row: Mapping[str, Any]) -> None:
        group, agrees = self.layout.group, self.layout.agrees
        wanted = self.same | {agrees: self.recordings.get(row[group], row[agrees])}
        other = [
            f"{name} {row[name]!r} instead of {wanted[name]!r}{_MEANING.get(name, '')}"
            for name in (*self.layout.same, agrees)
            if row[name] != wanted[name]
        ]
        if other:
            given = f"{self.path} holds results of another {self.layout.what}: {', '.join(other)}"
            raise DataError(given, fix="choose a new --out, or remove the file")

    def _note(self, row: Mapping[str, Any]) -> None:
        key = self._key(row)
        self.done.add(key)
        if row["error"]:
            self.failed[key] = row["error"]

    def _key(self, row: Mapping[str, Any]) -> Key:
        return key_of(row, self.layout.key)

    def _text(self, rows: Iterable[Mapping[str, Any]]) -> str:
        content = io.StringIO(newline="")
        writer = csv.writer(content, lineterminator="\n")
        writer.writerows([_cell(row.get(name)) for name in self.layout.columns] for row in rows)
        return content.getvalue()

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows, but for those that are there already, in one piece.

        Raises:
            OutputError: the disk is full, or the file cannot be written; none of the rows is there then.
        """
        fresh = {key: row for row in rows if (key := self._key(row)) not in self.done}
        if not fresh:
            return
        group, agrees = self.layout.group, self.layout.agrees
        complete = [
            {**row, **self.same, agrees: self.recordings.get(row[group], "")} for row in fresh.values()
        ]
        try:
            _append(self.rows_path, self._text(complete).encode())
        except OSError as error:
            given = f"cannot write {self.rows_path}: {error.strerror or error}"
            raise OutputError(given, fix="free some space; the same command goes on from here") from error
        for row in complete:
            self._note(row)

    def finish(self) -> None:
        """Turn the rows into Parquet where that was asked for.

        Raises:
            OutputError: it cannot be written; the rows stay.
        """
        if self.path == self.rows_path:
            return
        import pandas

        # As text first: a class may well be called "None", and a clip "001".
        frame = pandas.read_csv(self.rows_path, dtype=str, keep_default_na=False)
        numbers = list(self.layout.numbers)
        frame[numbers] = frame[numbers].replace("", "nan").astype(float)
        frame["seed"] = frame["seed"].astype(int)
        with whole(self.path) as temporary:
            frame.to_parquet(temporary, index=False)
        self.rows_path.unlink()


def key_of(row: Mapping[str, Any], key: tuple[str, ...] = KEY) -> Key:
    """Return what names a row, as text.

    >>> key_of({"condition": "clean", "seed": 0, "sound": "a", "method": "m", "domain": "stft", "area": 0.05})
    ('clean', '0', 'a', 'm', 'stft', '0.05')
    """
    return tuple(_cell(row[name]) for name in key)


def read_rows(path: Path, layout: Layout = EVALUATION) -> Iterator[dict[str, str]]:
    """Yield the rows of a results file in CSV, but for a last one that was cut off.

    Raises:
        DataError: the file cannot be read, or is none of this version's results.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if header := file.readline():
                _check_columns(next(csv.reader([header])), path, layout)
            for row in csv.reader(line for line in file if line.endswith("\n")):
                # A line that something else has damaged counts as none, and is computed again.
                if len(row) == len(layout.columns):
                    yield dict(zip(layout.columns, row))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error


def _parquet_rows(path: Path, layout: Layout) -> Iterator[dict[str, Any]]:
    import pandas

    try:
        frame = pandas.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are among these
        raise _unreadable(path, error) from error
    _check_columns(frame.columns, path, layout)
    for row in frame.itertuples(index=False, name=None):
        yield dict(zip(layout.columns, row))


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read: {error}", "a results file", "choose a new --out")


def _check_columns(names: Iterable[object], path: Path, layout: Layout) -> None:
    if tuple(names) != layout.columns:
        fix = "choose a new --out; results of another version are not mixed with this one's"
        raise DataError(f"{path} is no results file of this version, whose columns are others", fix=fix)


def _append(path: Path, content: bytes) -> None:
    """Append in one piece, or leave the file as it was."""
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            while content:  # the system may take a part only, and say at the next attempt why
                content = content[file.write(content) :]
        except BaseException:
            file.truncate(before)
            raise


def _cell(value: Any) -> str:
    if value is None or value != value:  # not a number is what Parquet has for nothing
        return ""
    if isinstance(value, float):
        return f"{value:.7g}"
    # File names may hold bytes that are no UTF-8, and line ends, without which each row is one line.
    return str(value).encode(errors="backslashreplace").decode().translate(_ESCAPED)


@contextmanager
def opened(
    path: Path,
    same: Mapping[str, str],
    recordings: Mapping[str, str] | None = None,
    layout: Layout = EVALUATION,
) -> Iterator[Journal]:
    """Give a journal, and finish it when all rows are there; arguments as `Journal` has them."""
    journal = Journal(path, same, recordings, layout)
    yield journal
    journal.finish()
