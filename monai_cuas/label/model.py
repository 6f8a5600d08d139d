# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""The model that is served: the bundle's own config, and the weights that a small file points to."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from skimage.measure import label as connected_components

from ..metrics import top_fraction_mean
from ..networks.utils import load_weights
from ..utils import CUASError, replacing
from .requests import InferOptions

__all__ = ["Finding", "ServedModel"]


@dataclass(frozen=True)
class Finding:
    """
    What was found in one scan, on the scan's own grid.

    Args:
        mask: (X, Y, Z) uint8.
        anomaly: (X, Y, Z) float32, -log10 of the healthy exceedance rate; 0 outside the brain.
        affine: 4 x 4, voxel to RAS millimetres.
        summary: scan score, volume, threshold and weights, for the client.
    """

    mask: np.ndarray
    anomaly: np.ndarray
    affine: np.ndarray
    summary: dict[str, Any]


class ServedModel:
    """
    A bundle's folder, its inference config and the weights in use.

    ``served.json`` in the folder names the weights; without it they are ``models/model.pt``. It is read at each
    request, so that new weights are in use as soon as it is replaced, by another process too.

    Args:
        bundle: folder with ``configs`` and ``models``.

    Raises:
        CUASError: if the bundle or its weights cannot be used. Weights that do not fit are refused, never passed over.
    """

    def __init__(self, bundle: str | os.PathLike) -> None:
        self.bundle = Path(bundle)
        if not (self.bundle / "configs" / "inference.json").is_file():
            raise CUASError(f"{self.bundle}: there is no bundle here; make the app with 'monai_cuas label-app'.")
        self._config = ConfigParser.load_config_files([str(self.bundle / "configs" / "inference.json")])
        self._config["bundle_root"] = str(self.bundle)
        self._config["device"] = "cuda" if torch.cuda.is_available() else "cpu"
        self.metadata = json.loads((self.bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
        parser = self._parser()
        self.defaults: dict[str, Any] = dict(parser.get_parsed_content("displayable_configs"))
        self._lock = threading.Lock()
        self._loaded: tuple[tuple[str, int], torch.nn.Module, str] | None = None
        self.network()

    def _parser(self) -> ConfigParser:
        return ConfigParser(copy.deepcopy(self._config))

    @property
    def pointer(self) -> Path:
        return self.bundle / "served.json"

    def weights(self) -> Path:
        """The weights in use."""
        if not self.pointer.is_file():
            return self.bundle / "models" / "model.pt"
        return self.bundle / json.loads(self.pointer.read_text(encoding="utf-8"))["weights"]

    def serve(self, weights: str | os.PathLike) -> None:
        """Use other weights, below the bundle's folder, from the next request on; the old file stays."""
        relative = Path(weights).resolve().relative_to(self.bundle.resolve())
        before = str(self.weights().resolve().relative_to(self.bundle.resolve()))
        with replacing(self.pointer) as temporary:
            temporary.write_text(json.dumps({"weights": str(relative), "before": before}) + "\n", encoding="utf-8")

    def load(self, weights: str | os.PathLike) -> torch.nn.Module:
        """The config's network with some weights, in evaluation mode."""
        network = self._parser().get_parsed_content("network_def")
        return load_weights(network, weights).to(self._config["device"]).eval()

    def network(self) -> tuple[torch.nn.Module, str]:
        """The network with the weights in use, and the first 12 digits of their SHA-256."""
        path = self.weights()
        key = (str(path), path.stat().st_mtime_ns if path.exists() else 0)
        if self._loaded is None or self._loaded[0] != key:
            network = self.load(path)
            self._loaded = (key, network, hashlib.sha256(path.read_bytes()).hexdigest()[:12])
        return self._loaded[1:]

    def parts(self, options: InferOptions | None = None) -> tuple[Any, Any, Any]:
        """Preprocessing, inferer and postprocessing of the config, with the options of a request."""
        parser = self._parser()
        parser["network_def"] = self.network()[0]
        if options is not None:
            asked = {n: getattr(options, n) for n in ("rate", "threshold", "min_component_ml")}
            parser["displayable_configs"] = {**self._config["displayable_configs"], **asked}
        names = ("preprocessing", "inferer", "postprocessing")
        first, second, third = (parser.get_parsed_content(name) for name in names)
        return first, second, third

    def find(self, image: str, options: InferOptions) -> Finding:
        """
        Map and mask of one scan; one at a time, as memory is for one.

        Args:
            image: path, or DICOM series as ``FOLDER::SeriesInstanceUID``.
            options: see :class:`InferOptions`.

        Raises:
            CUASError: if the scan cannot be used, or the rate is beyond the calibration.
        """
        with self._lock:
            network, digest = self.network()
            preprocessing, inferer, postprocessing = self.parts(options)
            scale = inferer.scale_of(network)
            scale.require(options.asked_rate)
            item = preprocessing({"image": image})
            with torch.no_grad():
                item["pred"] = inferer(item["image"][None].to(self._config["device"]), network)[0].cpu()
            item = postprocessing(item)
        mask, anomaly = (np.asarray(item[key][0]) for key in ("pred", "anomaly"))
        brain = np.asarray(item["brain_mask"][0]) > 0
        affine = np.asarray(item["brain_mask"].affine, dtype=np.float64)
        p_value = scale.p_value(anomaly[brain])
        summary = {
            "scan_score": round(float(top_fraction_mean(anomaly[brain])), 4),
            # JSON has no NaN, which stands for weights without calibration scans' scores
            "scan_p_value": None if math.isnan(p_value) else round(p_value, 4),
            "lesion_volume_ml": round(float(mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000), 4),
            "components": int(connected_components(mask, connectivity=3).max()) if mask.any() else 0,
            "nothing_found": not mask.any(),
            "threshold_rate": options.asked_rate,
            "min_component_ml": options.min_component_ml,
            "weights": digest,
        }
        return Finding(mask.astype(np.uint8), anomaly.astype(np.float32), affine, summary)
