# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""What monailabel 0.8.5 needs to be imported beside pydicom 3 and a CPU build of PyTorch."""

from __future__ import annotations

import importlib.util
import sys
import types
from functools import cache

__all__ = ["prepare"]


@cache
def prepare() -> None:
    """Fill in the two names without which ``import monailabel.app`` fails; to be called before that import."""
    _segmentation_uid()
    _torchvision_operators()


def _segmentation_uid() -> None:
    """pydicom-seg imports one UID from a private module that pydicom 3 no longer has."""
    from pydicom import uid

    name = "pydicom._storage_sopclass_uids"
    if importlib.util.find_spec(name) is None:
        module = types.ModuleType(name)
        module.SegmentationStorage = uid.SegmentationStorage  # type: ignore[attr-defined]
        sys.modules[name] = module


def _torchvision_operators() -> None:
    """
    PyPI's torchvision registers shape rules for compiled operators which it cannot load beside a CPU build of PyTorch;
    declared without an implementation, they raise if they are ever called (MONAI Label calls none).
    """
    import torch

    if torch.version.cuda is not None or "torchvision" in sys.modules or not importlib.util.find_spec("torchvision"):
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for loaded in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[loaded]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARIES.append(library)


# A library takes its declarations back when it is collected.
_LIBRARIES: list = []
