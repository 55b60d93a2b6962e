"""From explained recordings to a study: stimuli of one loudness, and a configuration for webMUSHRA."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from earmark.audio import Waveform, write
from earmark.errors import DataError
from earmark.files import write_text
from earmark.study.plan import ANCHOR, INSTRUCTIONS, WELCOME, Study, Trial, is_study, write_study
from earmark.study.stimuli import lowpass, match_levels

LONGEST = 12.0
"""Seconds that a stimulus may have in a test by the standard; a longer one makes the test lenient."""

MOST_CONDITIONS = 12
"""As many sounds as can be rated beside one another in webMUSHRA."""


@dataclass(frozen=True)
class Recording:
    """A recording with what explains it.

    Args:
        name: its file.
        set: which recordings it belongs to.
        label: the class that is explained.
        rate: in Hz.
        whole: (samples,).
        parts: what was heard, by condition, each (samples,).
        random: as many bins at random, (samples,); for an anchor.
    """

    name: str
    set: str
    label: str
    rate: int
    whole: Waveform
    parts: Mapping[str, Waveform]
    random: Waveform | None = None


class Builder:
    """Writes a study, a recording at a time.

    Args:
        folder: made if missing.
        study: its plan, without recordings yet.

    Raises:
        DataError: there is a study in the folder, or nothing or too much is compared.
    """

    def __init__(self, folder: Path, study: Study) -> None:
        most = MOST_CONDITIONS - 1 - (study.anchor is not None)
        if not 1 <= len(study.conditions) <= most:
            given = f"{len(study.conditions)} conditions are compared"
            raise DataError(given, f"1 to {most}, as a page has room for", "make several studies")
        if is_study(folder):
            fix = "choose another with --out, or remove it"
            raise DataError(f"{folder} holds a study, whose ratings would be lost", fix=fix)
        self.folder, self.study, self._strict = folder, study, True
        study.audio(folder).mkdir(parents=True, exist_ok=True)

    def add(self, recording: Recording) -> None:
        """Write the stimuli of a recording.

        Raises:
            OutputError: they cannot be written.
        """
        study, number = self.study, f"rec{len(self.study.trials) + 1:02d}"
        parts = {code: recording.parts[name] for code, name in study.conditions.items()}
        if study.anchor == "lowpass":
            parts[ANCHOR] = lowpass(recording.whole, recording.rate)
        elif study.anchor == "random" and recording.random is not None:
            parts[ANCHOR] = recording.random
        whole, louder, gains = match_levels(recording.whole, parts, recording.rate)
        names = {code: f"{number}_{code.lower()}.wav" for code in louder}
        audio = study.audio(self.folder)
        for name, waveform in ((f"{number}_ref.wav", whole), *((names[c], w) for c, w in louder.items())):
            write(audio / name, np.ascontiguousarray(waveform), recording.rate)
        study.trials.append(
            Trial(
                id=number,
                name=recording.name,
                set=recording.set,
                label=recording.label,
                reference=f"{number}_ref.wav",
                stimuli=names,
                gains={code: round(gain, 2) for code, gain in gains.items()},
            )
        )
        self._strict &= len(whole) <= LONGEST * recording.rate

    def finish(self) -> Study:
        """Write webMUSHRA's configuration and the plan.

        Raises:
            DataError: there is no recording.
            OutputError: they cannot be written.
        """
        if not self.study.trials:
            raise DataError("no recording could be used", fix="see above")
        path = self.folder / "webmushra" / "configs" / f"{self.study.id}.yaml"
        write_text(path, webmushra(self.study, self._strict))
        write_study(self.study, self.folder)
        return self.study


def webmushra(study: Study, strict: bool = True) -> str:
    """Return the configuration of a study for webMUSHRA, which shows names and texts as HTML.

    Args:
        study: its plan.
        strict: whether webMUSHRA is to insist on 12 s and 12 conditions.
    """
    told = "".join(f"<li>{html.escape(line)}</li>" for line in INSTRUCTIONS)
    welcome = {
        "type": "generic",
        "id": "welcome",
        "name": html.escape(study.title),
        "content": f"<p>{WELCOME}</p><ol>{told}</ol>",
    }
    finish = {
        "type": "finish",
        "name": "Thank you",
        "content": "That was all. Please send your ratings.",
        "popupContent": "Your ratings were sent. Thank you!",
        "showResults": False,
        "writeResults": True,
    }
    trials = [_page(study, one, told, strict) for one in study.trials]
    configuration = {
        "testname": html.escape(study.title),
        "testId": study.id,
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": False,
        "remoteService": "service/write.php",
        "pages": [welcome, ["random", *trials], finish],
    }
    return yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True)


def _page(study: Study, trial: Trial, told: str, strict: bool) -> dict[str, Any]:
    return {
        "type": "mushra",
        "id": trial.id,
        "name": html.escape(study.title),
        "content": f"<p>Predicted class: <strong>{html.escape(trial.label)}</strong></p><ol>{told}</ol>",
        "showWaveform": False,
        "enableLooping": True,
        "strict": strict,
        "reference": f"{study.resources}/{trial.reference}",
        "createAnchor35": False,
        "createAnchor70": False,
        "randomize": True,
        "showConditionNames": False,
        "stimuli": {code: f"{study.resources}/{file}" for code, file in trial.stimuli.items()},
    }
