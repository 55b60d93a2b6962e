"""Write what the original networks say of one sound to tests/classifiers/checkpoint_goldens.json.

Run it in an environment of its own, from the repository root (none of these is a dependency of earmark):

    python -m venv /tmp/originals
    /tmp/originals/bin/pip install torch==2.13.0 librosa pyyaml tqdm
    /tmp/originals/bin/pip install --no-deps speechbrain==1.1.2 torchlibrosa==0.1.0 panns-inference==0.1.1 \
        laion-clap==1.1.7
    /tmp/originals/bin/python tools/make_checkpoint_goldens.py

Cnn14 is from panns-inference and Cnn6, which it lacks, from laion-clap, where it is the same. The Cnn10
there is another; PANNs' own is Cnn6 with the other kind of block. What these packages import and the networks
do not use is replaced by nothing. All weights come from `weights` here, which the tests call as well, so that
no checkpoint is needed.
"""

from __future__ import annotations

import json
import sys
import types
import zlib
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import Tensor, nn

GOLDENS = Path(__file__).parents[1] / "tests" / "classifiers" / "checkpoint_goldens.json"
PRIME = 1000003
NARROW = 16  # by which the channels of the small variants are divided
FRONT = {32000: (1024, 320, 64, 50, 14000), 16000: (512, 160, 64, 50, 8000)}


def scattered(name: str, *shape: int) -> Tensor:
    """Values in [0, 1) by integer arithmetic, the same on every machine; another name gives others."""
    index = np.arange(np.prod(shape), dtype=np.int64) + zlib.crc32(name.encode()) % PRIME
    values = (index * index % PRIME * 7919 + index * 13) % PRIME
    return torch.from_numpy((values / PRIME).astype(np.float32)).reshape(shape)


def weights(shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """Make a state dict that keeps a network's values in a sensible range."""
    return {name: _weight(name, shape) for name, shape in shapes.items()}


def _weight(name: str, shape: list[int]) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1)
    values = scattered(name, *shape)
    if len(shape) > 1:
        # The decoder's are smaller, so that its masks are neither 0 nor 1 all over.
        variance = 4 if name.startswith("convt") else 2
        return (values - 0.5) * float(np.sqrt(12 * variance / np.prod(shape[1:])))
    first = name.split(".")[0]
    if first == "bn0" and "running" in name:  # over decibels
        return 20 * values - 30 if name.endswith("mean") else 200 + 400 * values
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return 0.5 + values
    return 0.4 * (values - 0.5)


def sound(rate: int, seconds: float) -> Tensor:
    """Noise and a tone that comes and goes, with its largest value at 1, (1, samples)."""
    samples = round(rate * seconds)
    time = torch.arange(samples, dtype=torch.float64) / rate
    noise = scattered("sound", samples).double() - 0.5
    wave = noise * torch.sin(7 * time) ** 2 + torch.sin(2 * torch.pi * 700 * time) * torch.sin(3 * time) ** 4
    # The recipe divides by the largest value, earmark by the largest absolute one.
    wave = wave.clamp_min(-0.9 * wave.max())
    return (wave / wave.max()).float()[None]


def probes(values: Tensor, count: int = 24) -> list[float]:
    """Values at places all over a tensor."""
    flat = values.detach().flatten()
    places = torch.linspace(0, len(flat) - 1, count, dtype=torch.float64).round().long()
    return [float(f"{value:.7g}") for value in flat[places].tolist()]


_ORIGINALS = (
    "panns_inference.models",
    "laion_clap.clap_module.pann_model",
    "speechbrain.lobes.models.Cnn14",
    "speechbrain.processing.features",
)


def packages() -> list[types.ModuleType]:
    """Import the originals, with nothing in place of what they do not use here."""
    unused = "torchaudio torchaudio.functional hyperpyyaml sentencepiece huggingface_hub matplotlib"
    for name in [
        *unused.split(),
        "matplotlib.pyplot",
        "laion_clap.clap_module.utils",
        "laion_clap.clap_module.feature_fusion",
    ]:
        sys.modules[name] = MagicMock(name=name, __spec__=None, __version__="0", __path__=[])
    installed = Path(torch.__file__).parents[1]
    for name in ("panns_inference", "laion_clap", "laion_clap.clap_module"):
        package = types.ModuleType(name)
        package.__path__ = [str(installed / name.replace(".", "/"))]
        sys.modules[name] = package
    return [import_module(name) for name in _ORIGINALS]


def narrowed(network: nn.Module, by: int, *extra: object) -> nn.Module:
    """Divide the channels of all blocks."""
    if by > 1:
        blocks = {name: block for name, block in network.named_children() if name.startswith("conv_block")}
        for name, block in blocks.items():
            into, out = block.conv1.weight.shape[1::-1]
            setattr(network, name, type(block)(max(1, into // by), out // by, *extra))
    return network


def shapes_of(network: nn.Module) -> dict[str, list[int]]:
    """Names and shapes of a network's weights."""
    return {name: list(value.shape) for name, value in network.state_dict().items()}


def made(network: nn.Module) -> nn.Module:
    """Give a network the weights that come from a formula; a front end among them keeps its own."""
    own = network.state_dict()
    front = {name: value for name, value in own.items() if "extractor" in name}
    rest = {name: list(value.shape) for name, value in own.items() if name not in front}
    network.load_state_dict({**weights(rest), **front})
    return network.eval()


def cnn10_of(cnn6: nn.Module, block: type[nn.Module]) -> nn.Module:
    """Make a Cnn6 a Cnn10."""
    for number, (into, out) in enumerate([(1, 64), (64, 128), (128, 256), (256, 512)], start=1):
        setattr(cnn6, f"conv_block{number}", block(into, out))
    return cnn6


def kept_of(modules: Mapping[str, nn.Module]) -> dict[str, list[Tensor]]:
    """Collect what modules put out from now on."""
    kept: dict[str, list[Tensor]] = {name: [] for name in modules}
    for name, module in modules.items():
        # A copy: the originals' ReLUs work in place.
        module.register_forward_hook(lambda _, __, out, name=name: kept[name].append(out.clone()))
    return kept


@torch.no_grad()
def panns(network: nn.Module, rate: int, by: int, seconds: float) -> dict[str, object]:
    """Ask one of PANNs."""
    width = network.fc1.in_features // by
    network = narrowed(network, by)
    network.fc1, network.fc_audioset = nn.Linear(width, width), nn.Linear(width, 527)
    network = made(network)
    blocks = {name: child for name, child in network.named_children() if name.startswith("conv_block")}
    kept = kept_of({**blocks, "mel": network.logmel_extractor, "logits": network.fc_audioset})
    network(sound(rate, seconds))
    return {
        "rate": rate,
        "seconds": seconds,
        "shapes": shapes_of(network),
        "features": probes(kept["mel"][0]),
        "maps": [probes(kept[name][0]) for name in blocks],
        "logits": probes(kept["logits"][0], 40),
    }


@torch.no_grad()
def speechbrain(
    lobe: types.ModuleType, front: types.ModuleType, by: int, lengths: list[float]
) -> dict[str, object]:
    """Ask the recipe's classifier and decoder."""
    dim, rate = 2048 // by, 16000
    body = lobe.Cnn14(mel_bins=80, emb_dim=2048, return_reps=True)
    body = made(narrowed(body, by, "bn"))
    head, psi = made(nn.Linear(dim, 50)), made(lobe.CNN14PSI_stft(dim=dim, outdim=1))
    stft = front.STFT(sample_rate=rate, n_fft=1024, hop_length=11.6099, win_length=23.2199)
    bank = front.Filterbank(n_mels=80, n_fft=1024, sample_rate=rate, log_mel=False)
    answers = []
    for seconds in lengths:
        magnitude = front.spectral_magnitude(stft(sound(rate, seconds)), power=0.5)
        features = torch.log1p(bank(magnitude))
        embeddings, maps = body(features)
        mask = torch.sigmoid(psi(maps)).squeeze(1)
        answers.append(
            {
                "seconds": seconds,
                "features": probes(features),
                "maps": [probes(one) for one in reversed(maps)],
                "logits": probes(head(embeddings), 50),
                "mask": probes(mask, 200),
                "mask_shape": list(mask.shape),
                "mask_mean": float(mask.mean()),
                "mask_spread": float(mask.std()),
            }
        )
    parts = {"embedding_model.ckpt": body, "classifier.ckpt": head, "psi_model.ckpt": psi}
    return {"shapes": {name: shapes_of(part) for name, part in parts.items()}, "answers": answers}


def main() -> None:
    """Write the goldens."""
    pann, clap, lobe, front = packages()
    kinds = {
        "cnn6": (clap.Cnn6, 32000, NARROW, 1.0),
        "cnn10": (lambda *args: cnn10_of(clap.Cnn6(*args), pann.ConvBlock), 32000, NARROW, 1.0),
        "cnn14": (pann.Cnn14, 32000, NARROW, 1.0),
        "cnn14_16k": (pann.Cnn14, 16000, NARROW, 1.3),
        "cnn14_full": (pann.Cnn14, 32000, 1, 1.0),
    }
    names = ("speechbrain", "torchlibrosa", "panns-inference", "laion-clap", "torch")
    goldens = {
        "versions": {name: version(name) for name in names},
        "panns": {
            name: panns(kind(rate, *FRONT[rate], 527), rate, by, seconds)
            for name, (kind, rate, by, seconds) in kinds.items()
        },
        # 76 and 431 frames.
        "speechbrain": speechbrain(lobe, front, NARROW, [13950 / 16000, 5.0]),
        "speechbrain_full": speechbrain(lobe, front, 1, [5.0]),
    }
    GOLDENS.write_text(json.dumps(goldens) + "\n")


if __name__ == "__main__":
    main()
