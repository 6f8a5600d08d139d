# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Synthetic lesions as a MONAI transform (array version)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import RandomizableTransform

from ..lesions import LESION_KINDS, simulate_lesion

__all__ = ["SimulateLesion"]


class SimulateLesion(RandomizableTransform):
    """
    Put a lesion with an exact mask into a brain-only scan.

    Args:
        kinds: kinds to draw from, see ``monai_cuas.phantom.LESION_KINDS``.
        modality: "flair", "t1", "t2" or "ct".
        prob: probability of a lesion.
        size_mm: wanted diameter in mm; drawn per kind if None.
        contrast: wanted contrast in units of the normal tissue range; drawn if None.

    Raises:
        ValueError: for unknown kinds.
    """

    def __init__(
        self,
        kinds: Sequence[str] = LESION_KINDS,
        modality: str = "flair",
        prob: float = 1.0,
        size_mm: float | None = None,
        contrast: float | None = None,
    ) -> None:
        super().__init__(prob)
        self.kinds = [kinds] if isinstance(kinds, str) else list(kinds)
        unknown = [k for k in self.kinds if k not in LESION_KINDS]
        if unknown or not self.kinds:
            raise ValueError(f"Unknown lesion kinds {unknown}; choose from {', '.join(LESION_KINDS)}.")
        self.modality, self.size_mm, self.contrast = modality, size_mm, contrast
        self._kind, self._seed = self.kinds[0], 0

    def randomize(self, data: Any = None) -> None:
        super().randomize(None)
        self._kind = self.kinds[int(self.R.randint(len(self.kinds)))]
        self._seed = int(self.R.randint(2**31 - 1))

    def __call__(
        self,
        img: torch.Tensor | np.ndarray,
        brain_mask: torch.Tensor | np.ndarray | None = None,
        spacing: Sequence[float] | None = None,
        randomize: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor, dict]:
        """
        Args:
            img: (1, X, Y, Z) scan, background 0.
            brain_mask: (1, X, Y, Z), nonzero inside the brain; ``img != 0`` if None.
            spacing: voxel size in mm; of the MetaTensor, else 1 mm.
            randomize: draw anew.

        Returns:
            scan (1, X, Y, Z) float32, label (1, X, Y, Z) uint8, record (empty if no lesion was drawn).
        """
        if randomize:
            self.randomize()
        if img.ndim != 4 or img.shape[0] != 1:
            raise ValueError(f"A lesion needs a scan of shape (1, X, Y, Z), not {tuple(img.shape)}.")
        if spacing is None:
            spacing = [float(s) for s in img.pixdim] if isinstance(img, MetaTensor) else (1.0, 1.0, 1.0)
        meta = img if isinstance(img, MetaTensor) else None
        volume = torch.as_tensor(img).as_subclass(torch.Tensor)[0].cpu().numpy().astype(np.float32)
        record: dict[str, Any] = {}
        label = np.zeros(volume.shape, dtype=np.uint8)
        if self._do_transform:
            brain = volume != 0 if brain_mask is None else np.asarray(torch.as_tensor(brain_mask).cpu())[0] > 0
            volume, fraction, record = simulate_lesion(
                volume, brain, spacing, self._kind, np.random.default_rng(self._seed),
                modality=self.modality, size_mm=self.size_mm, contrast=self.contrast,
            )  # fmt: skip
            label = (fraction > 0.5).astype(np.uint8)
        return self._wrap(volume, meta), self._wrap(label, meta), record

    @staticmethod
    def _wrap(volume: np.ndarray, meta: MetaTensor | None) -> torch.Tensor:
        tensor = torch.from_numpy(volume)[None]
        return tensor if meta is None else MetaTensor(tensor, affine=meta.affine, meta=dict(meta.meta))
