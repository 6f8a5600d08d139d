# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The one preprocessing and the one postprocessing, shared by training, calibration, inference and server."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.transforms import (
    Compose,
    CopyItemsd,
    CropForegroundd,
    DeleteItemsd,
    EnsureTyped,
    Invertd,
    MaskIntensityd,
    MedianSmoothd,
    Orientationd,
    RemoveSmallObjectsd,
    Resized,
    ThresholdIntensityd,
)
from monai.utils import ensure_tuple

from ..networks.layers import ScoreScale
from ..utils import CUASError, brain_mask_beside
from .brain import BRAIN_MASK_FILE, EXTRACTIONS, brain_mask_step
from .intensity import DEFAULT_LEVELS, ForegroundQuantileScale, ForegroundQuantileScaled, N4BiasCorrectiond
from .io import LoadScand, ValidateScand
from .post import CalibrateAnomalyd, MaskAnomalyd, ThresholdAnomalyd
from .spatial import AlignPosed, PadToPhysicalSquared

__all__ = ["AnomalyPostprocessing", "AnomalyPreprocessing"]

# a weights file from anywhere may ask for more than any memory holds
_LARGEST_SIDE, _LARGEST_MARGIN = 4096, 1000
_RAS_LABELS = (("L", "R"), ("P", "A"), ("I", "S"))


class AnomalyPreprocessing(Compose):
    """
    From a scan on disk to the network's grid: axial slices along the last axis, in quantile coordinates.

    Load, check, brain mask, optional bias correction and intensity window, foreground quantile coordinates, RAS,
    optional turn into a reference's pose, crop to the brain, pad to a square in millimetres, resize in plane. Every
    spatial step is inverted by :class:`monai.transforms.Invertd`.

    Output: ``keys`` (C, S, S, Z) float32, at least 0.001 in the brain up to interpolation, 0 outside; "brain_mask"
    (1, X, Y, Z) uint8 on the scan's own grid; with ``slice_mask`` also "slice_mask" (1, S, S, Z) on the network's.

    Args:
        keys: the image, one key; its value is a path, or a list of paths that become channels on the first one's grid.
        image_size: S, pixels of a slice.
        window: (low, high) to which intensities are clipped, for CT in Hounsfield units.
        margin_mm: free border around the brain, in mm.
        resize: False leaves the slices at the scan's resolution (sliding-window inference).
        slice_mask: also give the brain mask on the network's grid.
        label_key: label taken along to the network's grid (nearest); may be absent from an item.
        levels: landmark levels, see :class:`ForegroundQuantileScale`.
        allow_unstripped: take scans that look as if they were not skull-stripped.
        in_channels: number of sequences (channels) that a scan must have; None: any.
        dicom_accept: irregularities of DICOM series to be accepted, of "missing_slices", "uneven_spacing" and
            "gantry_tilt"; they are refused otherwise.
        pictures: take PNG, JPEG or TIFF: volumes of one slice, of which all is foreground unless it was cut out.
        brain_extraction: "none": the scan is skull-stripped, its foreground is the brain; "given": the mask is a file,
            named by the item's "brain_mask_file" or lying beside the scan as ``X_brain_mask.nii.gz``; "hd-bet": MR
            with skull; "head-ct": CT with skull; "auto": one of these two where the scan is not skull-stripped.
        preprocessing_cache: folder where brain masks and bias fields are kept; None: they are found each time.
        bias_correction: N4 inside the brain, for MR.
        registration: "icbm152" or a brain mask's file whose pose the brain takes; None: it stays as it lies.

    Raises:
        ValueError: if an argument makes no sense. Calling it raises a ScanError for a scan that cannot be used.
    """

    not_recorded = frozenset({"keys", "slice_mask", "label_key", "allow_unstripped", "dicom_accept"})

    def __init__(
        self,
        keys: str = "image",
        image_size: int = 96,
        window: Sequence[float] | None = None,
        margin_mm: float = 4.0,
        resize: bool = True,
        slice_mask: bool = False,
        label_key: str | None = None,
        levels: Sequence[float] = DEFAULT_LEVELS,
        allow_unstripped: bool = False,
        in_channels: int | None = None,
        dicom_accept: Sequence[str] = (),
        pictures: bool = False,
        brain_extraction: str = "none",
        preprocessing_cache: str | os.PathLike | None = None,
        bias_correction: bool = False,
        registration: str | None = None,
    ) -> None:
        key = keys if isinstance(keys, str) else (keys[0] if len(keys) == 1 else None)
        if key is None:
            raise ValueError(f"keys must be one key (channels are a list of paths under it), got {keys}.")
        if not 8 <= image_size <= _LARGEST_SIDE:
            raise ValueError(f"image_size must be 8 to {_LARGEST_SIDE}, got {image_size}.")
        if not 0 <= margin_mm <= _LARGEST_MARGIN:
            raise ValueError(f"margin_mm must be 0 to {_LARGEST_MARGIN}, got {margin_mm}.")
        if window is not None and (len(window) != 2 or not window[0] < window[1]):
            raise ValueError(f"window must be [low, high] with low < high, got {window}.")
        if brain_extraction not in EXTRACTIONS:
            raise ValueError(f"brain_extraction must be one of {', '.join(EXTRACTIONS)}, got {brain_extraction!r}.")
        if pictures and (brain_extraction in ("auto", "hd-bet", "head-ct") or registration or bias_correction):
            raise ValueError("brain extraction, bias correction and registration are for volumes, not for pictures.")
        self.key = key
        # Where masks are kept does not change them: this is no part of the parameters that caches compare.
        self.preprocessing_cache = None if preprocessing_cache is None else os.fspath(preprocessing_cache)
        self.parameters: dict[str, Any] = {
            "keys": key,
            "image_size": int(image_size),
            "window": None if window is None else [float(w) for w in window],
            "margin_mm": float(margin_mm),
            "resize": bool(resize),
            "slice_mask": bool(slice_mask),
            "label_key": label_key,
            "levels": [float(level) for level in levels],
            "allow_unstripped": bool(allow_unstripped),
            "in_channels": None if in_channels is None else int(in_channels),
            "dicom_accept": [str(what) for what in dicom_accept],
            "pictures": bool(pictures),
            "brain_extraction": brain_extraction,
            "bias_correction": bool(bias_correction),
            "registration": registration,
        }
        reading = self._reading_steps()
        self._n_reading = len(reading)
        super().__init__([*reading, *self._grid_steps()])

    @property
    def pictures(self) -> bool:
        """Whether pictures are taken in place of volumes."""
        return self.parameters["pictures"]

    @property
    def recorded(self) -> dict[str, Any]:
        """The arguments that decide what the network sees; the others are for each run to say."""
        return {name: value for name, value in self.parameters.items() if name not in self.not_recorded}

    def _reading_steps(self) -> list[Any]:
        """Up to the masked raw intensities on the scan's own grid."""
        p, key = self.parameters, self.key
        steps: list[Any] = [
            LoadScand(
                [key] + ([p["label_key"]] if p["label_key"] else []),
                allow_missing_keys=p["label_key"] is not None,
                dicom_accept=p["dicom_accept"],
            ),
            ValidateScand(
                key,
                p["allow_unstripped"] or p["brain_extraction"] != "none",
                p["label_key"],
                p["in_channels"],
                pictures=p["pictures"],
            ),
            # The mask comes before the window, which may clip tissue to the value of the background.
            brain_mask_step(p["brain_extraction"], key, self.preprocessing_cache, p["pictures"]),
        ]
        if p["bias_correction"]:
            steps.append(N4BiasCorrectiond(key, "brain_mask", cache_dir=self.preprocessing_cache))
        if p["window"] is not None:
            low, high = p["window"]
            steps.append(ThresholdIntensityd(key, threshold=low, above=True, cval=low))
            steps.append(ThresholdIntensityd(key, threshold=high, above=False, cval=high))
        return steps

    def _grid_steps(self) -> list[Any]:
        p, key = self.parameters, self.key
        keys = [key, "slice_mask"] + ([p["label_key"]] if p["label_key"] else [])
        steps: list[Any] = [
            ForegroundQuantileScaled(key, "brain_mask", p["levels"]),
            CopyItemsd("brain_mask", names="slice_mask"),
            Orientationd(keys, axcodes="RAS", labels=_RAS_LABELS, allow_missing_keys=True),
        ]
        if p["registration"] is not None:
            modes = ["bilinear"] + ["nearest"] * (len(keys) - 1)
            steps.append(AlignPosed(keys, "slice_mask", p["registration"], modes, allow_missing_keys=True))
        steps += [
            CropForegroundd(
                keys,
                source_key="slice_mask",
                allow_smaller=True,
                start_coord_key=None,
                end_coord_key=None,
                allow_missing_keys=True,
            ),
            PadToPhysicalSquared(keys, p["margin_mm"], allow_missing_keys=True),
        ]
        if p["resize"]:
            steps.append(
                Resized(
                    keys,
                    (p["image_size"], p["image_size"], -1),
                    mode=["trilinear"] + ["nearest-exact"] * (len(keys) - 1),
                    anti_aliasing=[True] + [False] * (len(keys) - 1),
                    allow_missing_keys=True,
                )
            )
        # Interpolation smears the brain's edge into the background; the mask makes it exact again.
        steps.append(MaskIntensityd(key, mask_key="slice_mask"))
        if not p["slice_mask"]:
            steps.append(DeleteItemsd("slice_mask"))
        return steps

    def __call__(self, input_: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """As Compose, but a scan's own error arrives bare instead of inside MONAI's RuntimeError."""
        try:
            return super().__call__(input_, *args, **kwargs)
        except RuntimeError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, CUASError):
                cause = cause.__cause__
            if cause is None:
                raise
            raise cause from None

    def inputs(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Of a data list's entry, what tells which image and which brain mask are read; a mask beside it is named."""
        chosen = {k: item[k] for k in (self.key, f"{self.key}_channels", BRAIN_MASK_FILE) if k in item}
        if self.parameters["brain_extraction"] != "given":
            chosen.pop(BRAIN_MASK_FILE, None)
        elif BRAIN_MASK_FILE not in chosen:
            first = ensure_tuple(item[self.key])[0]
            beside = brain_mask_beside(first) if isinstance(first, (str, os.PathLike)) else None
            chosen.update({BRAIN_MASK_FILE: beside} if beside is not None else {})
        return chosen

    def landmarks(self, item: Mapping[str, Any], levels: Sequence[float] | None = None) -> torch.Tensor:
        """
        Raw foreground quantiles of one scan, for fitting the network's landmark standardisation.

        Args:
            item: with the path under the image's key.
            levels: other ones than the preprocessing's.

        Returns:
            (C, K), in the scan's units (clipped to the window, if there is one).
        """
        data = self(self.inputs(item), end=self._n_reading)
        return ForegroundQuantileScale(levels or self.parameters["levels"]).quantiles(
            data[self.key], data["brain_mask"]
        )

    def with_parameters(self, **changes: Any) -> AnomalyPreprocessing:
        """A new instance with some arguments changed."""
        return AnomalyPreprocessing(**{**self.parameters, "preprocessing_cache": self.preprocessing_cache, **changes})

    def for_slices(self, label_key: str = "label") -> AnomalyPreprocessing:
        """The same preprocessing with mask and label on the network's grid, as the training slices need them."""
        return self.with_parameters(slice_mask=True, label_key=label_key)


class AnomalyPostprocessing(Compose):
    """
    From the map on the network's grid to a float map and a lesion mask on the scan's own grid.

    Invert the preprocessing (the continuous map, not the mask), 0 outside the brain, optional median filter, then
    "anomaly" is the map and ``keys`` the uint8 mask after threshold and clean-up.

    Args:
        preprocessing: the :class:`AnomalyPreprocessing` that made the input.
        keys: the network's map, (1, S, S, Z); becomes the mask (1, X, Y, Z) uint8.
        rate: healthy exceedance rate of the threshold; the map must be on the calibrated scale.
        threshold: threshold on the map itself, instead of ``rate``. If both are None there is only the map, and
            ``keys`` keeps it too.
        median_radius: radius in voxels of a median filter on the map; 0: none.
        min_component_ml: smallest connected component to keep, in ml; 0: all.
        min_component_voxels: the same in voxels.
        scale: turns a raw map into the score here, behind everything that resamples or smooths it, and may raise the
            threshold of a scan; None: the map is the score.
        image_key: the preprocessed image, with the trace of its transforms.
    """

    def __init__(
        self,
        preprocessing: Compose,
        keys: str = "pred",
        rate: float | None = 0.01,
        threshold: float | None = None,
        median_radius: int = 0,
        min_component_ml: float = 0.0,
        min_component_voxels: int = 0,
        image_key: str = "image",
        scale: ScoreScale | None = None,
    ) -> None:
        # what decides a mask, for those that check or tell it
        self.settings: dict[str, Any] = {
            "rate": rate,
            "threshold": threshold,
            "median_radius": median_radius,
            "min_component_ml": min_component_ml,
            "min_component_voxels": min_component_voxels,
        }
        self.scale = scale
        steps: list[Any] = [
            # Invertd looks for the trace beside a plain tensor, such as a scripted network gives, and with a
            # MetaTensor in the image.
            EnsureTyped(keys, dtype=torch.float32, track_meta=True),
            Invertd(keys, transform=preprocessing, orig_keys=image_key, nearest_interp=False, to_tensor=True),
            MaskAnomalyd(keys),
        ]
        if median_radius > 0:
            # Once more masked: the filter reaches over the brain's edge.
            steps += [MedianSmoothd(keys, radius=median_radius), MaskAnomalyd(keys)]
        if scale is not None:
            steps += [CalibrateAnomalyd(keys, scale), MaskAnomalyd(keys)]
        steps.append(CopyItemsd(keys, names="anomaly"))
        # A threshold that is given wins over the default rate.
        if threshold is not None or rate is not None:
            steps.append(ThresholdAnomalyd(keys, None if threshold is not None else rate, threshold, scale))
            steps += _clean_up(keys, min_component_ml, min_component_voxels)
        super().__init__(steps)


def _clean_up(keys: str, min_ml: float, min_voxels: int) -> list[Any]:
    steps: list[Any] = []
    if min_ml > 0:
        steps.append(RemoveSmallObjectsd(keys, min_size=min_ml * 1000, connectivity=3, by_measure=True))  # type: ignore[arg-type]
    if min_voxels > 0:
        steps.append(RemoveSmallObjectsd(keys, min_size=min_voxels, connectivity=3))
    return steps
