# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Maps of the distance between a slice's features and those of normal slices, on an encoder trained here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from monai.networks.layers import GaussianFilter
from torch.nn import functional as F

from ...utils import CUASError
from ...utils.progress import track
from .residual import ResidualVAE

__all__ = ["FeatureDistanceVAE", "PaDiM", "PatchCore", "farthest_points", "stage_features"]


def farthest_points(points: torch.Tensor, count: int, start: int = 0) -> torch.Tensor:
    """
    Greedy k-centre selection: each next point is the one farthest from those chosen already.

    Args:
        points: (n, d).
        count: how many to choose, at most n.
        start: the first one.

    Returns:
        Indices, (count,).
    """
    chosen = [start]
    nearest = (points - points[start]).square().sum(dim=1)
    for _ in range(count - 1):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).square().sum(dim=1))
    return torch.tensor(chosen, device=points.device)


def stage_features(network: Any, image: torch.Tensor) -> list[torch.Tensor]:
    """
    What patch features are made of: the outputs of the encoder's stages but the last.

    Args:
        network: has ``stem`` and ``stages``.
        image: standardised slices in [0, 1], (N, C, H, W).

    Returns:
        One tensor for each stage.
    """
    x, features = network.stem(image), []
    for stage in list(network.stages)[:-1] or network.stages:
        x = stage(x)
        features.append(x)
    return features


class FeatureDistanceVAE(ResidualVAE):
    """
    Base of methods that compare features with those of normal slices.

    The encoder is that of a VAE trained on the normals, as no network trained on other pictures may be at hand; the
    features are the outputs of its stages but the last, resampled to the first one's grid.

    Args:
        sigma: of the Gaussian smoothing of the map, in pixels; None: 4 for slices of 224, as in both papers.
        kwargs: of :class:`AttentionVAE`.
    """

    def __init__(self, *args: Any, sigma: float | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.smooth = GaussianFilter(2, 4 / 224 * self.sizes[0] if sigma is None else sigma)
        self.grid = self.sizes[1]
        stages: list[Any] = list(self.stages)
        self.n_embedding = sum(int(stage[-1].conv2.weight.shape[0]) for stage in stages[:-1] or stages)

    def embedding(self, image: torch.Tensor) -> torch.Tensor:
        """
        Features of patches.

        Args:
            image: standardised slices in [0, 1], (N, C, H, W).

        Returns:
            (N, D, h, w) on the first stage's grid.
        """
        # the mean of a patch and its neighbours, as both papers do in one way or another
        features = [F.avg_pool2d(x, 3, stride=1, padding=1) for x in stage_features(self, image)]
        size = features[0].shape[-2:]
        return torch.cat([F.interpolate(f, size=size, mode="bilinear", align_corners=False) for f in features], dim=1)

    def distance(self, embedding: torch.Tensor) -> torch.Tensor:
        """Distance of each patch from the normal ones; (N, D, h, w) to (N, 1, h, w)."""
        raise NotImplementedError

    def remember(self, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Learn the normal features from pairs of (embedding (N, D, h, w), brain (N, h, w) bool)."""
        raise NotImplementedError

    @torch.no_grad()
    def fit(self, dataloader: Iterable[Mapping[str, torch.Tensor]], device: torch.device | str = "cpu") -> None:
        """
        Learn the features of the normals; to be called when the encoder is trained.

        Args:
            dataloader: batches with "image" (N, C, H, W) and "brain_mask" (N, 1, H, W).
            device: where the network is.
        """
        self.eval()

        def embedded() -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
            for batch in track(dataloader, "features of the normals"):
                embedding = self.embedding(self.standardize(batch["image"].to(device)))
                brain = batch["brain_mask"].to(device).float()
                mask = F.adaptive_avg_pool2d(brain, (embedding.shape[-2], embedding.shape[-1]))
                yield embedding, mask[:, 0] > 0.5

        self.remember(embedded())

    def anomaly_map(self, image: torch.Tensor) -> torch.Tensor:
        """
        Args:
            image: standardised slices in [0, 1], (N, C, H, W).

        Returns:
            The raw map, (N, 1, H, W).
        """
        distance = self.distance(self.embedding(image))
        return self.smooth(F.interpolate(distance, size=image.shape[-2:], mode="bilinear", align_corners=False))


class PaDiM(FeatureDistanceVAE):
    """
    Mahalanobis distance from a Gaussian at each place of the slice (Defard et al. 2021).

    Args:
        dimensions: features, drawn at random, that take part; all of them if there are fewer.
        regularisation: part of the mean variance that is added to each; 0.01 in the paper, there as it stands.
        kwargs: of :class:`FeatureDistanceVAE`.
    """

    def __init__(self, *args: Any, dimensions: int = 32, regularisation: float = 0.01, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.regularisation = regularisation
        n = min(dimensions, self.n_embedding)
        drawn = torch.randperm(self.n_embedding, generator=torch.Generator().manual_seed(0))[:n]
        self.register_buffer("drawn", drawn.sort().values)
        self.register_buffer("mean", torch.zeros(self.grid**2, n))
        self.register_buffer("precision", torch.eye(n).repeat(self.grid**2, 1, 1))
        self.drawn: torch.Tensor
        self.mean: torch.Tensor
        self.precision: torch.Tensor

    def _vectors(self, embedding: torch.Tensor) -> torch.Tensor:
        """(N, places, features)."""
        if embedding.shape[-2:] != (self.grid, self.grid):
            size = self.sizes[0]
            raise CUASError(f"PaDiM knows slices of {size}x{size} place by place; set --image_size to the slices'.")
        return embedding[:, self.drawn].flatten(2).transpose(1, 2)

    def remember(self, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Mean and inverse covariance of each place; slices are not aligned in height, so they are all pooled."""
        count = 0
        total = torch.zeros_like(self.mean, dtype=torch.float64)
        products = torch.zeros_like(self.precision, dtype=torch.float64)
        for embedding, _ in batches:
            vectors = self._vectors(embedding).double()
            count += len(vectors)
            total += vectors.sum(dim=0)
            products += torch.einsum("npd,npe->pde", vectors, vectors)
        mean = total / count
        covariance = products / count - mean.unsqueeze(2) * mean.unsqueeze(1)
        variance = covariance.diagonal(dim1=1, dim2=2).mean().clamp(min=1e-12)
        eye = torch.eye(mean.shape[1], dtype=torch.float64, device=mean.device)
        self.mean.copy_(mean)
        self.precision.copy_(torch.linalg.inv(covariance + self.regularisation * variance * eye))

    def distance(self, embedding: torch.Tensor) -> torch.Tensor:
        """Mahalanobis distance, (N, 1, h, w)."""
        offset = self._vectors(embedding) - self.mean
        squared = torch.einsum("npd,pde,npe->np", offset, self.precision, offset)
        return squared.clamp(min=0).sqrt().unflatten(1, embedding.shape[-2:]).unsqueeze(1)


class PatchCore(FeatureDistanceVAE):
    """
    Distance to the nearest of a small set of normal patches, wherever they were (Roth et al. 2022).

    Args:
        bank_size: number of patches that are kept, by greedy k-centre selection.
        candidates: patches, drawn at random from the brain, among which they are selected.
        kwargs: of :class:`FeatureDistanceVAE`.
    """

    def __init__(self, *args: Any, bank_size: int = 2000, candidates: int = 40_000, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.candidates = candidates
        self.register_buffer("bank", torch.zeros(bank_size, self.n_embedding))
        self.bank: torch.Tensor

    def remember(self, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Draw candidates from all slices alike, and select the bank among them."""
        generator = torch.Generator().manual_seed(0)
        kept: list[torch.Tensor] = []
        for embedding, brain in batches:
            patches = embedding.permute(0, 2, 3, 1)[brain]
            # each patch gets a random number; in the end those with the smallest make the draw
            keys = torch.rand(len(patches), 1, generator=generator).to(patches)
            both = torch.cat([*kept, torch.cat([keys, patches], dim=1)])
            kept = [both[both[:, 0].argsort()[: self.candidates]]]
        if not kept or not len(kept[0]):
            raise CUASError("The training slices show no brain, so there is no normal patch to remember.")
        points = kept[0][:, 1:]
        chosen = farthest_points(points, min(len(self.bank), len(points)))
        # fewer patches than places: some stand there twice
        self.bank.copy_(points[chosen.repeat(-(-len(self.bank) // len(chosen)))[: len(self.bank)]])

    def distance(self, embedding: torch.Tensor) -> torch.Tensor:
        """Distance to the nearest patch of the bank, (N, 1, h, w)."""
        vectors = embedding.flatten(2).transpose(1, 2)
        # slice by slice: the matrix of all distances is large
        nearest = [torch.cdist(v, self.bank).amin(dim=1) for v in vectors]
        return torch.stack(nearest).unflatten(1, embedding.shape[-2:]).unsqueeze(1)
