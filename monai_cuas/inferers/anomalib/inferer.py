# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Maps of a library in a Python environment of its own: slices, masks and maps are exchanged as files."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from torch import nn

from ...networks.nets.feature_distance import stage_features
from ...utils import CUASError, RecordsArguments, replacing, require_writable, write_json
from ..brain import brain_of
from ..inferer import _plain, unwrap

__all__ = ["AnomalibInferer"]

logger = logging.getLogger(__name__)

_WORKER = Path(__file__).with_name("worker.py")
_OWN = "own encoder"


class _Encoder(nn.Module):
    """What patch features are made of, without the rest of the network."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.stem, self.stages = network.stem, network.stages

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(N, C, H, W) to one tensor for each stage."""
        return tuple(stage_features(self, image))


def _stop(process: subprocess.Popen, exchange: Path) -> None:
    process.kill()
    process.communicate()
    shutil.rmtree(exchange, ignore_errors=True)


class AnomalibInferer(RecordsArguments, Inferer):
    """
    PatchCore or PaDiM as anomalib has them, on the same standardised slices and brain masks as every other method.

    anomalib needs torchvision and much else, so it lives in an environment of its own (docs/methods/anomalib.md). A
    process of that environment gets slices and gives maps as lossless ``.npy`` files in a temporary folder.

    Args:
        python: the interpreter of an environment with anomalib; None: what ANOMALIB_PYTHON names.
        folder: of the fitted model and of the other side's log; where weights are loaded, ``anomalib`` beside them.
        model: "patchcore" or "padim".
        backbone: "efficientnet-lite0" (trained on ImageNet; its weights are a package of the other environment), a
            ResNet's name in timm (downloaded by it), or "own": the encoder of the network that :meth:`fit` gets.
        bank_size: patches that PatchCore keeps.
        candidates: brain patches, drawn from all slices alike, among which they are selected.
        dimensions: features that take part in PaDiM; all of them if there are fewer.
        max_slices: slices to learn from, drawn at random if there are more.
        seed: of the draws.
        timeout: seconds that one request may take.

    Raises:
        ValueError: for an unknown model.
    """

    # which program runs, and where, is this machine's to say and never a weights file's
    not_recorded = frozenset({"python", "folder", "timeout"})

    def __init__(
        self,
        python: str | None = None,
        folder: str | os.PathLike = "anomalib",
        model: str = "patchcore",
        backbone: str = "efficientnet-lite0",
        bank_size: int = 2000,
        candidates: int = 40_000,
        dimensions: int = 100,
        max_slices: int = 1000,
        seed: int = 0,
        timeout: float = 7200,
    ) -> None:
        super().__init__()
        if model not in ("patchcore", "padim"):
            raise ValueError(f"model must be patchcore or padim; {model}.")
        self.python = os.environ.get("ANOMALIB_PYTHON", "") if python is None else python
        self.folder = Path(folder)
        self.asked_backbone, self.timeout = backbone, timeout
        self.options: dict[str, Any] = {
            **{"model": model, "bank_size": bank_size, "candidates": candidates, "dimensions": dimensions},
            **{"max_slices": max_slices, "seed": seed},
        }
        self._process: subprocess.Popen | None = None

    @cached_property
    def backbone(self) -> str:
        """The backbone that is used: the one that was asked for, or the own encoder if its weights cannot be had."""
        if self.asked_backbone in ("own", _OWN):
            return _OWN
        missing = self._ask({"do": "backbone", "name": self.asked_backbone})["missing"]
        if missing is None:
            return self.asked_backbone
        logger.warning(
            "%s cannot be had (%s); anomalib gets the encoder that is trained here.", self.asked_backbone, missing
        )
        return _OWN

    @property
    def own(self) -> bool:
        """Whether the features are those of an encoder that is trained here."""
        return self.backbone == _OWN

    @torch.no_grad()
    def fit(
        self, network: Any, dataloader: Iterable[Mapping[str, torch.Tensor]], device: torch.device | str = "cpu"
    ) -> None:
        """
        Learn the normal slices.

        Args:
            network: its standardisation is used, and its encoder if that is the backbone.
            dataloader: batches with "image" (N, C, H, W) and "brain_mask" (N, 1, H, W).
            device: where the network is.

        Raises:
            CUASError: if the other environment fails, or the folder cannot be written to.
        """
        require_writable(self.folder)
        network = unwrap(network).eval()
        images, masks = [], []
        for batch in dataloader:
            images.append(network.standardize(_plain(batch["image"]).to(device)).cpu())
            masks.append((_plain(batch["brain_mask"]) > 0).to(torch.uint8).cpu())
        slices = torch.cat(images)
        own, fitted = self.own, self.folder / "anomalib.pt"
        # what follows belongs together; without the last of it there is no model
        fitted.unlink(missing_ok=True)
        if own:
            example = slices[:1].to(device)
            with replacing(self.folder / "encoder.pt") as temporary:
                torch.jit.trace(_Encoder(network), example).cpu().save(str(temporary))
        task = {**self.options, "backbone": "own" if own else self.backbone, "shape": list(slices.shape[1:])}
        write_json(self.folder / "task.json", task)
        self._exchange("fit", slices=slices.numpy(), masks=torch.cat(masks).numpy())
        with replacing(fitted) as temporary:
            shutil.move(self.exchange / "anomalib.pt", temporary)

    def __call__(self, inputs: torch.Tensor, network: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        """
        Args:
            inputs: volume, (B, C, X, Y, Z), foreground-quantile coordinates, background 0.
            network: its standardisation is used; nothing else of it.

        Returns:
            Raw map, (B, 1, X, Y, Z); 0 in slices without brain.

        Raises:
            CUASError: if there is no fitted model, or the other environment fails.
        """
        if not (self.folder / "anomalib.pt").is_file():
            raise CUASError(f"{self.folder}: there is no fitted anomalib model; train this method first.")
        volumes = _plain(inputs)
        image = unwrap(network).standardize(volumes)
        maps = torch.zeros_like(volumes[:, :1])
        for brain, standardised, out in zip(brain_of(volumes), image, maps):
            shown = torch.nonzero(brain.amax(dim=(0, 1, 2))).flatten()
            if len(shown):
                slices = standardised[..., shown].permute(3, 0, 1, 2).cpu().numpy()
                out[..., shown] = torch.from_numpy(self._maps(slices)).to(out).permute(1, 2, 3, 0)
        return maps

    def _maps(self, slices: np.ndarray) -> np.ndarray:
        self._exchange("maps", slices=slices)
        try:
            maps = np.load(self.exchange / "maps.npy", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise self._failure("its file of maps cannot be read") from error
        if maps.shape != (len(slices), 1, *slices.shape[2:]) or not np.isfinite(maps).all():
            raise self._failure("its maps are not one finite number a pixel")
        return maps

    def _exchange(self, request: str, **arrays: np.ndarray) -> None:
        """Ask for something that is done with files; those that were sent are gone afterwards."""
        self._started()
        paths = [self.exchange / f"{name}.npy" for name in arrays]
        for path, array in zip(paths, arrays.values()):
            np.save(path, array)
        self._ask({"do": request})
        for path in paths:
            path.unlink()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        process, late = self._started(), threading.Event()

        def expire() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self.timeout, expire)
        timer.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return json.loads(process.stdout.readline())  # type: ignore[union-attr]
        except (OSError, ValueError):
            raise self._failure(f"it took longer than {self.timeout:g} s" if late.is_set() else "") from None
        finally:
            timer.cancel()

    def _failure(self, problem: str) -> CUASError:
        """Stop the other side, and say why."""
        self.close()
        log = self.folder / "worker.log"
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        said = problem or (last[0] if last else "it said nothing")
        return CUASError(
            f"anomalib in {self.python} failed: {said.rstrip('.')} (its log is {log}; docs/methods/anomalib.md "
            "says how the environment is made)."
        )

    def _started(self) -> subprocess.Popen:
        if self._process is None:
            self._start()
        return self._process  # type: ignore[return-value]

    def _start(self) -> None:
        if not self.python:
            raise CUASError(
                "No Python with anomalib is named; let the environment variable ANOMALIB_PYTHON name one "
                "(docs/methods/anomalib.md)."
            )
        require_writable(self.folder)
        exchange = Path(tempfile.mkdtemp(prefix="monai_cuas-anomalib-"))
        # the other environment must not see the packages of this one
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        try:
            with open(self.folder / "worker.log", "w", encoding="utf-8") as log:
                process = subprocess.Popen(
                    [self.python, str(_WORKER), str(self.folder.resolve()), str(exchange)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env=environment,
                )
        except OSError as error:
            exchange.rmdir()
            raise CUASError(
                f"{self.python}: cannot be run ({error.strerror}); let ANOMALIB_PYTHON name the Python of an "
                "environment with anomalib (docs/methods/anomalib.md)."
            ) from error
        self._process, self.exchange = process, exchange
        self._finalizer = weakref.finalize(self, _stop, process, self.exchange)

    def close(self) -> None:
        """End the other side and remove what was exchanged; the next request starts it anew."""
        if self._process is not None:
            self._finalizer()
            self._process = None
