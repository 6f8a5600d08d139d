# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Synthetic anomalies on healthy slices, for training (array version)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import RandomizableTransform
from monai.utils import TransformBackends, convert_data_type, convert_to_dst_type
from scipy import ndimage

from .contents import CONTENTS, Site
from .shapes import SHAPES, random_field

__all__ = ["DEFAULT_CONTENTS", "DEFAULT_SHAPES", "RandHealthyVariation", "RandSyntheticAnomaly"]

DEFAULT_CONTENTS = {
    "shift": 2.0,
    "texture": 2.0,
    "flat": 2.0,
    "donor": 2.0,
    "noise": 1.0,
    "blur": 1.0,
    "gain": 1.0,
    "warp": 1.0,
}
DEFAULT_SHAPES = {"field": 2.0, "polygon": 1.0, "stroke": 1.0, "scatter": 1.0}
# darkest value inside the brain; the background is exactly 0
_DARKEST = 0.005


def _shares(chosen: Mapping[str, float], known: Mapping) -> tuple[list[str], np.ndarray]:
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen or any(w < 0 for w in chosen.values()) or not sum(chosen.values()) > 0:
        raise ValueError(f"choose among {', '.join(known)} with weights that are not negative, got {dict(chosen)}.")
    weights = np.array(list(chosen.values()), dtype=float)
    return list(chosen), weights / weights.sum()


class RandHealthyVariation(RandomizableTransform):
    """
    Change a slice as scanners and heads differ: gain, tone curve, slow shading, noise.

    A network that is to find synthetic anomalies must not take these for one.

    Args:
        amount: 1 is the usual amount, 0 none.
        prob: probability of a change.

    Raises:
        ValueError: if the amount is negative.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, amount: float = 1.0, prob: float = 1.0) -> None:
        super().__init__(prob)
        if amount < 0:
            raise ValueError(f"amount must not be negative, got {amount}.")
        self.amount = amount

    def __call__(  # type: ignore[override]
        self, img: NdarrayOrTensor, mask: NdarrayOrTensor, randomize: bool = True
    ) -> NdarrayOrTensor:
        """
        Args:
            img: (C, H, W) standardised intensity, in [0, 1].
            mask: (1, H, W), nonzero inside the brain.
            randomize: draw whether to change it.

        Returns:
            (C, H, W) of the input's type; 0 outside the brain.
        """
        if randomize:
            self.randomize(None)
        if not self._do_transform:
            return img
        image = convert_data_type(img, np.ndarray, dtype=np.float32)[0]
        inside = convert_data_type(mask, np.ndarray)[0][0] > 0
        out = np.stack([np.where(inside, np.clip(self._vary(x), _DARKEST, 1.0), 0.0) for x in image])
        return convert_to_dst_type(out.astype(np.float32), img)[0]

    def _vary(self, x: np.ndarray) -> np.ndarray:
        rng, a = self.R, self.amount
        x = x * np.exp(rng.normal(0, 0.05 * a))
        if rng.uniform() < 0.5:
            knots = np.linspace(0, 1, 6)
            steps = np.diff(knots) * np.exp(rng.normal(0, 0.15 * a, 5))
            x = np.interp(x, knots, np.concatenate([[0.0], np.cumsum(steps)]))
        if rng.uniform() < 0.5:
            x = x * (1 + rng.uniform(0, 0.06) * a * random_field(x.shape, 0.26 * x.shape[-1], rng))
        if rng.uniform() < 0.3:
            x = x + rng.uniform(0, 0.02) * a * rng.standard_normal(x.shape)
        return x


class RandSyntheticAnomaly(RandomizableTransform):
    """
    Alter random places of a healthy slice and say which.

    Outlines (:data:`DEFAULT_SHAPES`) and contents (:data:`DEFAULT_CONTENTS`) are drawn apart from each other, so that
    place and form tell nothing of what is changed: shifts of intensity with and without texture, flat patches, patches
    of another slice (foreign patch interpolation), coarse noise, blur, changed local contrast, displaced tissue;
    and, where it is asked for, ``core``: a flat core within a rim. This generator
    shares nothing with the one that makes the test lesions (``monai_cuas.phantom.lesions``).

    Args:
        contents: name to weight; None: :data:`DEFAULT_CONTENTS`.
        shapes: name to weight; None: :data:`DEFAULT_SHAPES`.
        size: smallest and largest diameter in pixels, logarithmically uniform.
        strength: smallest and largest change of intensity, logarithmically uniform.
        bright: how often what is changed by ``strength`` becomes brighter, from 0 to 1; the rest becomes darker.
        extra: mean number of anomalies beyond the first (Poisson).
        prob: probability of any anomaly.
        visible: an anomaly whose mean absolute change is not above this is not labelled.
        soft_label: the label is how much a pixel was changed, in place of where: its absolute change, smoothed a
            little, divided by this and at most 1. So a network is not asked for what cannot be seen (as Tan et al.
            2020 do, whose label is the share of the foreign patch). None: 1 inside the outline.

    Raises:
        ValueError: if an argument makes no sense.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(
        self,
        contents: Mapping[str, float] | None = None,
        shapes: Mapping[str, float] | None = None,
        size: Sequence[float] = (2.0, 28.0),
        strength: Sequence[float] = (0.06, 0.6),
        extra: float = 1.5,
        prob: float = 0.9,
        visible: float = 0.015,
        soft_label: float | None = None,
        bright: float = 0.5,
    ) -> None:
        super().__init__(prob)
        for name, pair in (("size", size), ("strength", strength)):
            if len(pair) != 2 or not 0 < pair[0] <= pair[1]:
                raise ValueError(f"{name} must be [smallest, largest] with 0 < smallest <= largest, got {list(pair)}.")
        if soft_label is not None and not soft_label > 0:
            raise ValueError(f"soft_label must be positive or None, got {soft_label}.")
        if not 0 <= bright <= 1:
            raise ValueError(f"bright must be from 0 to 1, got {bright}.")
        if extra < 0:
            raise ValueError(f"extra must not be negative, got {extra}.")
        self.contents = _shares(DEFAULT_CONTENTS if contents is None else contents, CONTENTS)
        self.shapes = _shares(DEFAULT_SHAPES if shapes is None else shapes, SHAPES)
        self.size, self.strength, self.extra, self.visible = tuple(size), tuple(strength), extra, visible
        self.soft_label, self.bright = soft_label, float(bright)

    def __call__(  # type: ignore[override]
        self, img: NdarrayOrTensor, mask: NdarrayOrTensor, donor: NdarrayOrTensor | None = None, randomize: bool = True
    ) -> tuple[NdarrayOrTensor, NdarrayOrTensor]:
        """
        Args:
            img: (C, H, W) standardised intensity of a healthy slice, in [0, 1].
            mask: (1, H, W), nonzero inside the brain.
            donor: (C, H, W), another healthy slice; the slice itself if None (then moved or mirrored).
            randomize: draw whether there are anomalies.

        Returns:
            altered slice (C, H, W), label (1, H, W) float of 0 and 1, or between them with ``soft_label``; both of
            the input's type. All channels are altered at the same places.
        """
        if randomize:
            self.randomize(None)
        image = convert_data_type(img, np.ndarray, dtype=np.float32)[0].copy()
        other = image.copy() if donor is None else convert_data_type(donor, np.ndarray, dtype=np.float32)[0]
        brain = convert_data_type(mask, np.ndarray)[0][0] > 0
        healthy = image
        label = np.zeros(brain.shape, dtype=np.float32)
        if self._do_transform and brain.any():
            for _ in range(1 + int(self.R.poisson(self.extra))):
                image, found = self._alter(image, brain, other)
                label[found] = 1.0
        if self.soft_label is not None:
            label = self._amount(healthy, image) * brain
        return convert_to_dst_type(image, img)[0], convert_to_dst_type(label[None], img)[0]

    def _amount(self, healthy: np.ndarray, altered: np.ndarray) -> np.ndarray:
        """How much each pixel was changed, from 0 to 1."""
        change = np.abs(altered - healthy).max(axis=0)
        # smoothed, as a change passes 0 where old and new tissue happen to be equal
        return np.clip(ndimage.gaussian_filter(change, 0.7) / self.soft_label, 0.0, 1.0).astype(np.float32)

    def _log_uniform(self, pair: tuple[float, ...]) -> float:
        return float(np.exp(self.R.uniform(np.log(pair[0]), np.log(pair[1]))))

    def _sign(self) -> int:
        # the way of drawing that weights shipped before ``bright`` were trained with
        return int(self.R.choice([-1, 1])) if self.bright == 0.5 else 1 if self.R.uniform() < self.bright else -1

    def _outline(self, brain: np.ndarray, size: float) -> np.ndarray:
        """Weight in [0, 1], with a sharp or a soft edge."""
        candidates = np.flatnonzero(brain)
        centre = divmod(int(candidates[self.R.randint(candidates.size)]), brain.shape[1])
        mask = SHAPES[self.R.choice(self.shapes[0], p=self.shapes[1])](brain.shape, centre, size, self.R)
        mask[centre] = True
        weight = mask.astype(np.float32)
        softness = self.R.choice([0.0, self.R.uniform(0.4, 1.0), self.R.uniform(0.4, 1.0 + 0.15 * size)])
        if softness > 0:
            weight = ndimage.gaussian_filter(weight, softness)
            weight /= max(float(weight.max()), 1e-6)
        return weight * brain

    def _band(self, image: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Spare what is darker, or brighter, than some value inside: changes often keep to one tissue."""
        inside = image[weight > 0.5]
        if not inside.size:
            return weight
        edge = np.quantile(inside, self.R.uniform(0.0, 0.5))
        sign, offset = (1.0, 0.0) if self.R.uniform() < 0.7 else (-1.0, 0.1)
        return weight / (1.0 + np.exp(-sign * (image - edge - offset) / 0.03))

    def _alter(self, image: np.ndarray, brain: np.ndarray, donor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = self._log_uniform(self.size)
        weight = self._outline(brain, size)
        if self.R.uniform() < 0.4:
            weight = self._band(image[0], weight)
        content = CONTENTS[self.R.choice(self.contents[0], p=self.contents[1])]
        out = image.copy()
        for channel, other in zip(range(len(image)), donor):
            strength = self._log_uniform(self.strength) * self._sign()
            new = content(Site(image[channel], weight, size, strength, other), self.R)
            blended = image[channel] + weight * (new - image[channel])
            out[channel] = np.where(brain, np.clip(blended, _DARKEST, 1.0), image[channel])
        changed = np.abs(out - image).max(axis=0)
        found = weight > 0.5 * max(float(weight.max()), 1e-6)
        if not found.any() or changed[found].mean() <= self.visible:
            found = np.zeros_like(found)
        return out.astype(np.float32), found
