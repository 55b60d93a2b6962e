"""A queue with one worker, so that a model hears one sound at a time, and what came of the sounds lately."""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread
from typing import Any, Literal

from earmark.errors import EarmarkError

State = Literal["coming", "waiting", "running", "done", "failed", "stopped"]
_OVER = ("done", "failed", "stopped")
_LOOK_AFTER = 30.0  # seconds between two looks for what has expired
_LAST_WORDS = 10.0  # seconds that a job has at the end

_log = logging.getLogger(__name__)


class FullError(EarmarkError):
    """More is waiting than is taken."""


class StoppedError(EarmarkError):
    """A job was stopped by whom it was for."""


@dataclass(eq=False)
class Job:
    """One sound on its way.

    Args:
        id: what nobody can guess, so that a sound is only heard by whom it is from.
        folder: its own, for the upload and all that is made of it; it goes when the job is forgotten.
        wish: what is wanted of it.
        state: "coming" until the upload is here, then "waiting", "running", and one of the three ends.
        done: how many windows are explained.
        total: of how many; None if nobody knows.
        error: why it failed, in one line.
        seconds: how long it took, without the waiting.
        result: what the work returned.
        stopped: whether it is to end; the work looks at that by `check`.
    """

    id: str
    folder: Path
    wish: Any
    state: State = "coming"
    done: int = 0
    total: int | None = None
    error: str = ""
    seconds: float = 0.0
    result: Any = None
    stopped: bool = False
    touched: float = field(default_factory=time.monotonic)

    @property
    def upload(self) -> Path:
        """Where the sound file is; nothing of its name is the sender's."""
        return self.folder / "upload"

    def check(self, done: int = 0, total: int | None = None) -> None:
        """Tell how far the work is.

        Raises:
            StoppedError: it is to end.
        """
        self.done, self.total = done, total
        if self.stopped:
            raise StoppedError("stopped")


class Jobs:
    """Does jobs in their order in one thread, and keeps what came of them for a while; to be entered first.

    Args:
        work: does a job; what it returns is the job's result, an `EarmarkError` its error.
        most_waiting: how many may wait or be on their way; more are refused.
        most_kept: how many that are over are kept; the one that was longest not asked for goes first.
        keep: seconds after which one that nobody asks for is forgotten.
    """

    def __init__(
        self, work: Callable[[Job], Any], most_waiting: int = 32, most_kept: int = 64, keep: float = 3600.0
    ) -> None:
        self.most_waiting, self.most_kept, self.keep = most_waiting, most_kept, keep
        self._work = work
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._line: deque[Job] = deque()
        self._changed = Condition()
        self._closed = False

    def __enter__(self) -> Jobs:
        self._root = tempfile.TemporaryDirectory(prefix="earmark-app-", ignore_cleanup_errors=True)
        self._closed = False
        # A daemon, so that a method that takes minutes does not keep the process from ending.
        self._thread = Thread(target=self._run, name="earmark-app", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.stopped = True
            self._changed.notify_all()
        self._thread.join(_LAST_WORDS)
        self._jobs.clear()
        self._line.clear()
        self._root.cleanup()

    @property
    def folder(self) -> Path:
        """Where all files are; it goes at the end."""
        return Path(self._root.name)

    def begin(self, wish: Any) -> Job:
        """Return a new job with a folder, whose upload is coming.

        Raises:
            FullError: too many wait.
        """
        with self._changed:
            self._tidy()
            if sum(job.state not in _OVER for job in self._jobs.values()) >= self.most_waiting:
                raise FullError(f"the queue of {self.most_waiting} is full", fix="try again in a minute")
            name = secrets.token_urlsafe(18)
            job = Job(name, self.folder / name, wish)
            job.folder.mkdir()
            self._jobs[job.id] = job
            return job

    def put(self, job: Job) -> None:
        """Put a job whose upload is here at the end of the line."""
        with self._changed:
            job.state = "waiting"
            self._line.append(job)
            self._changed.notify_all()

    def get(self, name: str) -> Job | None:
        """Return the job of an id, None if there is none or no more."""
        with self._changed:
            self._tidy()
            job = self._jobs.get(name)
            if job:
                job.touched = time.monotonic()
                self._jobs.move_to_end(name)
            return job

    def ahead(self, job: Job) -> int:
        """Return how many are before a waiting job, the one at work among them."""
        with self._changed:
            running = sum(other.state == "running" for other in self._jobs.values())
            return running + (self._line.index(job) if job in self._line else 0)

    def stop(self, job: Job) -> None:
        """Take a job out of the line, or let it end at its next window; forget one that is over."""
        with self._changed:
            job.stopped = True
            if job in self._line:
                self._line.remove(job)
                job.state = "stopped"
            if job.state in (*_OVER, "coming"):
                self._forget(job)

    def _forget(self, job: Job) -> None:
        self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)

    def _tidy(self) -> None:
        over = [job for job in self._jobs.values() if job.state in _OVER]
        old = time.monotonic() - self.keep
        crowded = max(0, len(over) - self.most_kept)
        for place, job in enumerate(over):
            if place < crowded or job.touched < old:
                self._forget(job)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._line and not self._closed:
                self._changed.wait(min(_LOOK_AFTER, self.keep))
                self._tidy()
            if self._closed:
                return None
            job = self._line.popleft()
            job.state = "running"
            return job

    def _run(self) -> None:
        while job := self._next():
            started = time.perf_counter()
            state = self._do(job)
            with self._changed:
                job.seconds, job.touched = time.perf_counter() - started, time.monotonic()
                job.upload.unlink(missing_ok=True)
                job.state = state
                if state == "stopped":
                    self._forget(job)

    def _do(self, job: Job) -> State:
        try:
            job.result = self._work(job)
        except StoppedError:
            return "stopped"
        except EarmarkError as error:
            job.error = str(error)
            return "failed"
        except Exception as error:  # one sound must not end the page for all
            _log.exception("a sound could not be explained")
            job.error = f"this went wrong, the page's terminal says where: {type(error).__name__}"
            return "failed"
        return "done"
