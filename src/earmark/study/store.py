"""Ratings in SQLite, each written the moment it is given."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from earmark.errors import DataError, OutputError

_TABLES = """
CREATE TABLE IF NOT EXISTS study (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS listeners (
    id TEXT PRIMARY KEY, seed INTEGER NOT NULL, begun TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE IF NOT EXISTS ratings (
    listener TEXT NOT NULL REFERENCES listeners (id), trial TEXT NOT NULL, condition TEXT NOT NULL,
    score REAL NOT NULL CHECK (score BETWEEN 0 AND 100), given TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (listener, trial, condition));
"""
_PATIENCE = 10.0  # seconds to wait for another who writes


class Store:
    """Listeners and their ratings of one study; safe to use from several threads and processes.

    Args:
        path: the database; made if missing.
        study: the study's id.

    Raises:
        DataError: it is no database, or another study's.
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, study: str) -> None:
        self.path = path
        try:
            with self._opened() as database:
                database.executescript(_TABLES)
                # Readers do not wait for a writer then, nor a writer for them.
                database.execute("PRAGMA journal_mode = WAL")
                database.execute(
                    "INSERT OR IGNORE INTO study SELECT ? WHERE NOT EXISTS (SELECT * FROM study)", [study]
                )
                (known,) = database.execute("SELECT id FROM study").fetchone()
        except sqlite3.OperationalError as error:
            raise OutputError(f"cannot write {path}: {error}", "a writable folder") from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path} is no database: {error}", fix="choose another file") from error
        if known != study:
            raise DataError(
                f"{path} holds ratings of {known!r}", f"ratings of {study!r}", "choose another file"
            )

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=_PATIENCE)) as database, database:
            yield database

    def begin(self) -> str:
        """Return the id of a new listener, which nobody can guess."""
        name = secrets.token_urlsafe(12)
        with self._opened() as database:
            database.execute("INSERT INTO listeners (id, seed) VALUES (?, ?)", [name, secrets.randbits(31)])
        return name

    def seed(self, listener: str) -> int | None:
        """Return what a listener's orders are drawn with; None if there is no such listener."""
        with self._opened() as database:
            found = database.execute("SELECT seed FROM listeners WHERE id = ?", [listener]).fetchone()
        return int(found[0]) if found else None

    def rate(self, listener: str, trial: str, condition: str, score: float) -> None:
        """Store a rating; the same once more replaces it, so that a double submit does no harm."""
        with self._opened() as database:
            database.execute(
                "INSERT INTO ratings (listener, trial, condition, score) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET score = excluded.score, given = CURRENT_TIMESTAMP",
                [listener, trial, condition, score],
            )

    def ratings(self, listener: str) -> dict[tuple[str, str], float]:
        """Return what a listener has rated, by trial and condition."""
        with self._opened() as database:
            rows = database.execute(
                "SELECT trial, condition, score FROM ratings WHERE listener = ?", [listener]
            )
            return {(trial, condition): score for trial, condition, score in rows}


def stored(path: Path, study: str | None = None) -> list[tuple[str, str, str, float]]:
    """Return listener, trial, condition and score of all ratings, in the order in which listeners began.

    Args:
        path: the database.
        study: whose ratings they are to be.

    Raises:
        DataError: the database is of another kind.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            known = database.execute("SELECT id FROM study").fetchone()
            if study is not None and known != (study,):
                given = f"{path} holds ratings of {known[0] if known else 'no study'!r}"
                raise DataError(given, f"those of {study!r}", "pass their own --study")
            return database.execute(
                "SELECT listener, trial, condition, score FROM ratings JOIN listeners ON listener = id "
                "ORDER BY begun, listener, given"
            ).fetchall()
    except sqlite3.Error as error:
        expected = "what `earmark study serve` writes"
        raise DataError(f"{path} cannot be read: {error}", expected) from error
