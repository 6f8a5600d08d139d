# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A model from its weights file: preprocess -> map -> score -> mask, built once for every caller."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer

from .calibration.scores import require_rate
from .calibration.scoring import score_item
from .engines import TolerantEvaluator
from .handlers.summary import summarize
from .inferers import CalibratedInferer, GuaranteedInferer
from .inferers.inferer import unwrap
from .io.nifti import ANOMALY_DESCRIPTION, MASK_DESCRIPTION, form_of, save_nifti
from .recipe import contradiction, describe, file_digest, read_model, write_model
from .shipped import shipped_weights, weights_path
from .transforms import AnomalyPostprocessing, AnomalyPreprocessing
from .utils import CUASError, notes_of

__all__ = ["Finding", "Model", "load_model"]


@dataclass(frozen=True)
class Finding:
    """
    What was found in one scan, on the scan's own grid.

    Attributes:
        map: (X, Y, Z) float32, -log10 of the healthy exceedance rate; 0 outside the brain.
        mask: (X, Y, Z) uint8.
        brain: (X, Y, Z) uint8, the brain as it was found.
        affine: 4 x 4, voxel to RAS millimetres.
        summary: the figures, as in a row of ``results.csv``.
        notes: sentences on what is doubtful; empty if nothing is.
        form: how the scan's own header says where it lies (``HeaderForm.to_array``), if it is NIfTI.
    """

    map: np.ndarray
    mask: np.ndarray
    brain: np.ndarray
    affine: np.ndarray
    summary: dict[str, Any]
    notes: tuple[str, ...] = ()
    form: np.ndarray | None = None

    @property
    def volume_ml(self) -> float:
        """Volume of the mask in millilitres."""
        return self.summary["lesion_volume_ml"]

    @property
    def score(self) -> float:
        """How unusual the scan's highest voxels are, see ``top_fraction_mean``."""
        return self.summary["scan_score"]

    @property
    def p_value(self) -> float | None:
        """Conformal p-value of the scan; None if the calibration keeps no scans' scores."""
        return self.summary["scan_p_value"]

    @property
    def components(self) -> int:
        """Number of connected components of the mask."""
        return self.summary["components"]

    def save(self, output_dir: str | os.PathLike, name: str) -> None:
        """Write ``NAME_anomaly.nii.gz`` and ``NAME_mask.nii.gz``, in the header form of the scan."""
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        for what, volume, dtype, kind in (
            ("anomaly", self.map, np.float32, ANOMALY_DESCRIPTION),
            ("mask", self.mask, np.uint8, MASK_DESCRIPTION),
        ):
            save_nifti(folder / f"{name}_{what}.nii.gz", volume, self.affine, dtype, self.form, kind)


class Model:
    """
    A weights file, ready to be used.

    Args:
        path: the weights file.
        device: where the network runs; None: on a GPU if there is one.

    Attributes:
        network: in evaluation mode.
        recipe: what the weights file says of itself.
        calibration: what its calibration says of itself; empty if there is none.

    Raises:
        ScanError: if the file cannot be used, see :func:`monai_cuas.recipe.read_model`.
    """

    def __init__(self, path: str | os.PathLike, device: torch.device | str | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise CUASError(
                f"There is no GPU that torch can use for '{self.device}'; take --device cpu, or leave it out."
            )
        read = read_model(path)
        self.path, self.recipe, self.calibration = read.path, read.recipe, read.calibration
        self.network = read.network.to(self.device)
        self._sha256 = read.digest

    @property
    def method(self) -> str:
        """The method's name, for people."""
        return self.recipe.method

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights file as it was read or saved here."""
        return self._sha256

    @property
    def digest(self) -> str:
        """SHA-256 of the weights file as it was read or saved here, the first 12 digits."""
        return self._sha256[:12]

    def preprocessing(self, **inference: Any) -> AnomalyPreprocessing:
        """Return the recipe's preprocessing; ``inference`` as in :meth:`Recipe.make_preprocessing`."""
        return self.recipe.make_preprocessing(**inference)

    def map_inferer(self, sw_batch_size: int = 16) -> Inferer:
        """Return what turns slices into the raw map; ``sw_batch_size`` slices are scored at once."""
        return self.recipe.make_map_inferer(sw_batch_size, self.path.parent)

    def inferer(self, guarantee: bool = False, sw_batch_size: int = 16) -> CalibratedInferer:
        """Return what turns a preprocessed volume into the score, by the pooled or the guaranteed thresholds."""
        return (GuaranteedInferer if guarantee else CalibratedInferer)(self.map_inferer(sw_batch_size))

    def require_own(self, preprocessing: Any, inferer: Any) -> None:
        """
        Check that parts which a config may have replaced are still the recipe's.

        Raises:
            CUASError: naming the setting and both values.
        """
        try:
            made = describe(self.network, preprocessing, getattr(inferer, "inferer", inferer), self.method)
        except AttributeError as error:
            raise CUASError(
                f"{self.path}: the config's preprocessing is none that a model can have ({error})."
            ) from error
        own: dict[str, dict[str, Any]] = {"preprocessing": self.recipe.preprocessing, "map": self.recipe.map_inferer}
        for what, asked in (("preprocessing", made.preprocessing), ("map", made.map_inferer)):
            for name in sorted(own[what].keys() | asked.keys()):
                kept, now = own[what].get(name), asked.get(name)
                # brain extraction is inference's to say: scans may come in another way than the training's
                if kept != now and name != "brain_extraction":
                    raise CUASError(contradiction(self.path, name, now, kept))

    def require_told(self, evaluator: TolerantEvaluator, handlers: Iterable[Any], **settings: float) -> None:
        """
        Check that a run makes its masks with this model, and as its tables will say.

        Parts of a config can be replaced one by one, such as ``postprocessing#rate``, which the table reads elsewhere.

        Args:
            evaluator: what runs.
            handlers: what writes the results.
            settings: the run's, by their names in :class:`AnomalyPostprocessing`; others must be as there.

        Raises:
            CUASError: naming the part, or the setting and both values.
        """
        inferer, made = evaluator.inferer, evaluator.postprocessing
        if not isinstance(inferer, CalibratedInferer) or inferer.calibration is not None:
            raise CUASError(_replaced("inferer"))
        if inferer.raw != isinstance(inferer, GuaranteedInferer):
            raise CUASError(_replaced("inferer"))
        if unwrap(evaluator.network) is not self.network:
            raise CUASError(_replaced("network"))
        if not isinstance(made, AnomalyPostprocessing) or made.scale is not inferer.final_scale(self.network):
            raise CUASError(_replaced("postprocessing"))
        self.require_own(getattr(evaluator.data_loader.dataset, "transform", None), inferer)  # type: ignore[union-attr]
        # a config's numbers may be text
        told = {name: float(value) for name, value in settings.items()}
        _require_same(made.settings, {"threshold": None, "min_component_voxels": 0, **told}, "postprocessing")
        for handler in handlers:
            said = {"rate": getattr(handler, "rate", told["rate"]), **getattr(handler, "stated", {})}
            _require_same({name: said[name] for name in said.keys() & told.keys()}, told, type(handler).__name__)

    def save(self, calibration: Mapping[str, Any], path: str | os.PathLike | None = None) -> None:
        """
        Write the weights again, with the network's thresholds as they are now and what is said of them.

        Args:
            calibration: see :func:`monai_cuas.recipe.write_model`.
            path: a new file; None: the model's own.
        """
        self.path = Path(path or self.path)
        write_model(self.path, self.network, self.recipe, calibration)
        self._sha256 = file_digest(self.path)

    def find(
        self,
        scan: Any,
        rate: float = 0.01,
        *,
        guarantee: bool = False,
        median_radius: int = 0,
        min_component_ml: float = 0.0,
        **inference: Any,
    ) -> Finding:
        """
        Map and mask of one scan.

        Args:
            scan: path of a brain-only NIfTI, NRRD or MetaImage file, or ``FOLDER::SeriesInstanceUID`` of a DICOM
                series; a list of paths for a model of several sequences, in the order of ``recipe.sequences``.
            rate: healthy exceedance rate of the threshold.
            guarantee: use the guaranteed thresholds.
            median_radius: radius in voxels of a median filter on the map; 0: none.
            min_component_ml: smallest connected component to keep; 0: all.
            inference: as in :meth:`preprocessing`, such as ``brain_extraction="hd-bet"``.

        Raises:
            CUASError: if the scan cannot be used, or the rate is beyond the calibration.
        """
        inferer = self.inferer(guarantee)
        scale = inferer.scale_of(self.network)
        require_rate(scale, rate)
        preprocessing = self.preprocessing(**inference)
        postprocessing = AnomalyPostprocessing(
            preprocessing,
            rate=rate,
            median_radius=median_radius,
            min_component_ml=min_component_ml,
            scale=inferer.final_scale(self.network),
        )
        item = score_item(preprocessing({"image": scan}), self.network, inferer, postprocessing, self.device)
        mask, anomaly, brain = (np.asarray(item[key][0]) for key in ("pred", "anomaly", "brain_mask"))
        affine = np.asarray(item["brain_mask"].affine, dtype=np.float64)
        summary = {
            **summarize(anomaly, mask > 0, brain > 0, affine, scale, rate),
            "min_component_ml": min_component_ml,
            "median_radius": median_radius,
            "method": self.method,
            "weights": self.digest,
        }
        meta = getattr(item["image"], "meta", {})
        found, inside = ((volume > 0).astype(np.uint8) for volume in (mask, brain))
        return Finding(anomaly.astype(np.float32), found, inside, affine, summary, tuple(notes_of(meta)), form_of(meta))


def _replaced(part: str) -> str:
    return f"The {part} of this run is not the model's own, and its thresholds do not hold for it; do not replace it."


def _require_same(settings: Mapping[str, Any], told: Mapping[str, Any], part: str) -> None:
    for name in sorted(settings):
        if settings[name] != told[name]:
            raise CUASError(
                f"{name} is {settings[name]!r} in the {part}, but {told[name]!r} in the rest of the run, so results "
                "would not be what their table says; set it by the config's own id, not within a part."
            )


def load_model(path: str | os.PathLike | None = None, device: torch.device | str | None = None) -> Model:
    """
    Load a model.

    Args:
        path: a weights file that training wrote, or the name of weights that are shipped, such as "flair".
        device: where the network runs; None: on a GPU if there is one.

    Raises:
        CUASError: if the file cannot be used or there is no such name; one sentence says why.
    """
    if path is None:
        names = ", ".join(shipped_weights())
        raise CUASError(f"Give the path of a weights file, such as RUN/model.pt, or shipped ones by name: {names}.")
    return Model(weights_path(path), device)
