"""What a listening study is: recordings, each with the explanations that are rated beside one another."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from earmark.errors import DataError
from earmark.files import write_text

INSTRUCTIONS = (
    "How well does the interpretation correspond to the part of the input audio associated with "
    "the given class?",
    "While evaluating, please pay attention to audio quality also.",
)
"""What the paper's listeners were told, word by word (section 3.3)."""

WELCOME = (
    "You will hear sounds, and for each some interpretations of it: what a classifier is said to have heard. "
    "Please rate each from 0 to 100."
)
"""What listeners are told before."""

REFERENCE = "reference"
"""What webMUSHRA calls the whole sound where it is hidden among what is rated."""

ANCHOR = "anchor"
"""What the low anchor is called among what is rated."""

Anchor = Literal["random", "lowpass"]

_FILE = "study.json"


class Trial(BaseModel):
    """A recording whose explanations are rated.

    Args:
        id: "rec01" and so on, which no spreadsheet takes for a number; results name it so.
        name: the recording's file.
        set: which recordings it belongs to; Table 3 has a column for each set.
        label: the class that is explained, shown to listeners.
        reference: file of the whole sound.
        stimuli: files by condition.
        gains: in dB, what was added to each file's level.
    """

    model_config = ConfigDict(extra="forbid")

    id: str
    name: str
    set: str
    label: str
    reference: str
    stimuli: dict[str, str]
    gains: dict[str, float] = Field(default_factory=dict)


class Study(BaseModel):
    """A listening study.

    Args:
        id: results name it so; letters, digits, "-" and "_".
        title: what listeners see.
        conditions: what is compared, by the code that stands for it in files and results.
        trials: the recordings.
        hidden_reference: whether the whole sound is rated, too.
        anchor: what is sure to be a bad explanation: "random" bins, or the sound below 3.5 kHz.
    """

    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,60}$")
    title: str
    conditions: dict[str, str]
    trials: list[Trial]
    hidden_reference: bool = False
    anchor: Anchor | None = None

    @property
    def rated(self) -> list[str]:
        """What is rated in every trial, by its code."""
        hidden = [REFERENCE] if self.hidden_reference else []
        return [*self.conditions, *([ANCHOR] if self.anchor else []), *hidden]

    def called(self, code: str) -> str:
        """Return what a code stands for.

        >>> Study(id="a", title="A", conditions={"C1": "lmac"}, trials=[]).called("C1")
        'lmac'
        """
        others = {REFERENCE: "the whole sound", ANCHOR: f"anchor ({self.anchor})"}
        return self.conditions.get(code) or others.get(code, code)

    def audio(self, folder: Path) -> Path:
        """Return where the sounds of a study in a folder are."""
        return folder / "webmushra" / self.resources

    @property
    def resources(self) -> str:
        """Where webMUSHRA looks for the sounds, seen from its root."""
        return f"configs/resources/{self.id}"


def write_study(study: Study, folder: Path) -> None:
    """Write a study's plan; it comes last, so that a folder that has one is whole.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(folder / _FILE, study.model_dump_json(indent=2) + "\n")


def is_study(folder: Path) -> bool:
    """Whether there is a study in a folder."""
    return (folder / _FILE).exists()


def read_study(folder: Path) -> Study:
    """Read a study's plan.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = folder / _FILE
    try:
        return Study.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        expected = "a folder that `earmark study build` wrote"
        raise DataError(f"{folder} holds no {_FILE}", expected, "build the study first") from error
    except (OSError, ValueError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error)
        raise DataError(f"{path} cannot be read: {why}", fix="build the study again") from error
