"""Sounds in WebDataset's tar shards, read as a stream: millions of them, from one file after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor

from earmark.data.segments import decoded, random_piece
from earmark.errors import AudioError, DataError

AUDIO = ("flac", "wav", "ogg", "opus", "mp3")
"""By which names of files in a shard its sounds are known."""

_BUFFER = 512  # pieces from which the next one is drawn, as neighbours in a shard are alike


def shards_of(root: Path) -> list[Path]:
    """Return the tar files of a folder, in order; none if there is none."""
    return sorted(root.glob("*.tar"))


class Shards:
    """A stream of random pieces of the sounds in shards.

    Args:
        paths: tar files, as WebDataset writes them: ``KEY.flac`` and whatever else of that key.
        sample_rate: in Hz, of what comes back.
        samples: of a piece.

    Raises:
        DataError: there is no shard, or webdataset is not installed.
    """

    def __init__(self, paths: Sequence[Path], sample_rate: int, samples: int) -> None:
        if not paths:
            raise DataError("there are no shards", "one or more .tar files", "check the folder")
        try:
            import webdataset
        except ImportError as error:
            given = "shards cannot be read without webdataset"
            raise DataError(given, fix="pip install 'earmark[shards]'") from error
        self._webdataset = webdataset
        self.paths, self.sample_rate, self.samples = list(paths), sample_rate, samples
        self.broken: dict[str, str] = {}

    def share(self, epoch: Generator, rank: int, count: int) -> list[Path]:
        """Return this process's shards of an epoch, in a new order.

        Raises:
            DataError: there are fewer shards than processes.
        """
        if len(self.paths) < count:
            given = f"{len(self.paths)} shards for {count} processes"
            raise DataError(given, "at least one each", "split the shards, or take fewer processes")
        order = torch.randperm(len(self.paths), generator=epoch).tolist()
        return [self.paths[place] for place in order[rank::count]]

    def pieces(self, paths: Sequence[Path], generator: Generator) -> Iterator[Tensor]:
        """Yield a piece of every sound, (samples,), about in order; what is broken is noted and passed over.

        Raises:
            DataError: none of the shards holds a sound that can be read.
        """
        held: list[Tensor] = []
        found = False
        for piece in self._in_order(paths, generator):
            found = True
            held.append(piece)
            if len(held) > _BUFFER:
                yield held.pop(int(torch.randint(len(held), (1,), generator=generator)))
        if not found:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.broken.items())
            given = f"no sound in {len(paths)} shards can be read"
            raise DataError(f"{given} ({reasons[:300]})" if reasons else given, f"KEY.{AUDIO[0]} in them")
        while held:
            yield held.pop(int(torch.randint(len(held), (1,), generator=generator)))

    def _in_order(self, paths: Sequence[Path], generator: Generator) -> Iterator[Tensor]:
        for path in paths:
            # Its path alone: of other addresses WebDataset makes downloads and commands.
            stream = self._webdataset.WebDataset(
                str(path.resolve()), shardshuffle=False, empty_check=False, handler=self._note(path.name)
            )
            for sample in stream:
                content = next((sample[kind] for kind in AUDIO if kind in sample), None)
                if content is None:
                    continue
                try:
                    whole = decoded(content, self.sample_rate)
                except AudioError as error:
                    self.broken[f"{path.name}/{sample['__key__']}"] = str(error)
                    continue
                yield random_piece(whole, self.samples, generator)

    def _note(self, name: str):  # type: ignore[no-untyped-def]  # WebDataset's handlers have no type
        def handle(error: Exception) -> bool:
            self.broken[name] = str(error)
            return True  # go on with the next

        return handle
