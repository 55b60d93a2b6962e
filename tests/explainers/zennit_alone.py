"""zennit without torchvision, which it imports for canonizers that nothing here uses."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any
from unittest import mock

import pytest


def import_zennit() -> Any:
    """Import zennit, with empty stand-ins where torchvision is missing; skip the test where zennit is."""
    if "zennit" in sys.modules or find_spec("torchvision"):
        return pytest.importorskip("zennit")
    names = "torchvision", "torchvision.models", "torchvision.models.resnet"
    alone = {name: ModuleType(name) for name in names}
    for block in ("Bottleneck", "BasicBlock"):
        setattr(alone[names[-1]], block, type(block, (), {}))
    before = set(sys.modules)
    # Only while it is imported: others ask whether torchvision is there.
    with mock.patch.dict(sys.modules, alone):
        zennit = pytest.importorskip("zennit")
        new = {name: module for name, module in sys.modules.items() if name not in before}
    # mock.patch.dict takes back all that was imported within.
    sys.modules.update({name: module for name, module in new.items() if name not in alone})
    return zennit
