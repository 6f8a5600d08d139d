# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Which scans a model takes: the one of its contrast, or several of one study, each in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException

from ..data.contrast import Contrast, contrast_named, label
from ..recipe import Recipe
from .requests import refuse

__all__ = ["Asked", "Offer", "Wanted", "offers", "taken"]


@dataclass(frozen=True)
class Wanted:
    """
    What a model takes.

    Args:
        names: of its sequences, for people.
        contrasts: of each sequence; None: nothing tells it.
    """

    names: tuple[str, ...]
    contrasts: tuple[str | None, ...]

    @classmethod
    def of(cls, recipe: Recipe, model: str) -> Wanted:
        """By the recipe; if it names no sequence, one channel's by the model's name, such as ``t1_own``."""
        count = recipe.preprocessing.get("in_channels") or len(recipe.sequences) or 1
        names = recipe.sequences if len(recipe.sequences) == count else [model] if count == 1 else [""] * count
        contrasts = tuple(contrast_named(name) for name in names)
        shown = (label(c) if c else f"channel {k}" for k, c in enumerate(contrasts, 1))
        return cls(tuple(shown), contrasts)

    @property
    def told(self) -> bool:
        """Whether each sequence is known, and none is wanted twice."""
        return None not in self.contrasts and len(set(self.contrasts)) == len(self.contrasts)

    def __str__(self) -> str:
        return ", ".join(self.names)


@dataclass(frozen=True)
class Asked:
    """
    The scans of a request.

    Args:
        images: ids that were named.
        study: ids of the scans of the same study; those of a named study, or of the one that a named scan belongs to.
        whole: whether the study was named, and no scan.
        contrast: of a scan by its id.
    """

    images: tuple[str, ...]
    study: Callable[[], Sequence[str]]
    whole: bool
    contrast: Callable[[str], Contrast]


@dataclass(frozen=True)
class Offer:
    """
    A model for what was asked.

    Args:
        model: its name.
        images: the scans that it takes, in its order; results are on the grid of the first.
        notes: sentences on what is doubtful.
    """

    model: str
    images: tuple[str, ...]
    notes: tuple[str, ...] = ()


def taken(model: str, wanted: Wanted, asked: Asked) -> Offer:
    """
    Find the scans that a model takes of those that were asked for.

    Raises:
        HTTPException: 422 with a sentence if one is missing, several fit, or one does not fit.
    """
    if asked.whole:
        return Offer(model, _of_study(model, wanted, asked))
    if len(wanted.names) == 1 and len(asked.images) == 1:
        return Offer(model, asked.images, _doubts(model, wanted, asked))
    if len(asked.images) == 1:
        return Offer(model, _completed(model, wanted, asked))
    return _named(model, wanted, asked)


def _doubts(model: str, wanted: Wanted, asked: Asked) -> tuple[str, ...]:
    """What speaks against a scan of one model, which is done as it was asked for."""
    if wanted.contrasts[0] is None:
        return ()
    found = asked.contrast(asked.images[0])
    if found.name is None:
        return (f"its contrast could not be told ({found.why}); the model '{model}' is for {wanted}",)
    if found.name != wanted.contrasts[0]:
        return (f"it is taken for {label(found.name)} ({found.why}), but the model '{model}' is for {wanted}",)
    return (f"taken for {label(found.name)}, but {found.doubt}",) if found.doubt else ()


def _of_study(model: str, wanted: Wanted, asked: Asked) -> tuple[str, ...]:
    """The one scan of the study for each sequence."""
    if not wanted.told:
        raise refuse(422, f"Nothing tells which sequences the model '{model}' takes; name the scans in its order.")
    scans = asked.study()
    by_contrast: dict[str | None, list[str]] = {}
    for scan in scans:
        by_contrast.setdefault(asked.contrast(scan).name, []).append(scan)
    for name, contrast in zip(wanted.names, wanted.contrasts):
        fit = by_contrast.get(contrast, [])
        if not fit:
            raise refuse(422, f"The model '{model}' takes {wanted}, but no scan of the study is known to be {name}.")
        if len(fit) > 1:
            raise refuse(422, f"Several scans of the study are {name}: {', '.join(fit)}; name those that are meant.")
    return tuple(by_contrast[contrast][0] for contrast in wanted.contrasts)


def _completed(model: str, wanted: Wanted, asked: Asked) -> tuple[str, ...]:
    """One scan, and those of its study that the model takes besides."""
    (image,) = asked.images
    if not wanted.told:
        raise refuse(
            422, f"The model '{model}' takes {len(wanted.names)} sequences at once; name the scans in its order."
        )
    own = asked.contrast(image)
    if own.name not in wanted.contrasts:
        raise refuse(422, f"The model '{model}' takes {wanted}; this scan is taken for {label(own.name)} ({own.why}).")

    def others() -> list[str]:
        # of the named scan's own contrast, the named one is meant
        return [image, *(s for s in asked.study() if s != image and asked.contrast(s).name != own.name)]

    found = _of_study(model, wanted, Asked((), others, True, asked.contrast))
    if found[0] != image:
        raise refuse(
            422, f"The mask of the model '{model}' is on the grid of its {wanted.names[0]}; ask for {found[0]}."
        )
    return found


def _named(model: str, wanted: Wanted, asked: Asked) -> Offer:
    """Several scans that were named, put in the model's order if their contrasts tell it."""
    if len(asked.images) != len(wanted.names):
        count = f"{len(wanted.names)} sequence{'s' if len(wanted.names) > 1 else ''} ({wanted})"
        raise refuse(422, f"The model '{model}' takes {count}, but {len(asked.images)} scans were named.")
    found = [asked.contrast(image) for image in asked.images]
    if wanted.told and sorted(str(c.name) for c in found) == sorted(map(str, wanted.contrasts)):
        place = {c.name: image for c, image in zip(found, asked.images)}
        return Offer(model, tuple(place[contrast] for contrast in wanted.contrasts))
    for image, contrast, name, its in zip(asked.images, found, wanted.names, wanted.contrasts):
        if its is not None and contrast.name not in (None, its):
            raise refuse(
                422,
                f"{image} is taken for {label(contrast.name)} ({contrast.why}) and stands in the place of {name}; the "
                f"model '{model}' takes {wanted}.",
            )
    return Offer(model, asked.images, (f"the contrasts of its scans could not be told; taken for {wanted} as named",))


def offers(models: Mapping[str, Wanted], asked: Asked) -> list[Offer]:
    """
    Models whose sequences are there, the best first.

    Args:
        models: what each takes.
        asked: scans, or a study.

    Returns:
        Of a single scan those for it alone come first, else those that take most sequences; then those that have the
        contrast's own name; then by name. What takes a contrast that nothing tells is not offered.
    """
    found = []
    for model, wanted in models.items():
        if not wanted.told:
            continue
        try:
            offer = taken(model, wanted, asked)
        except HTTPException as error:
            if error.status_code != 422:
                raise
            continue
        if any(asked.contrast(s).name != contrast for s, contrast in zip(offer.images, wanted.contrasts)):
            continue
        found.append(offer)
    single = not asked.whole and len(asked.images) == 1

    def order(offer: Offer) -> tuple[Any, ...]:
        count = len(offer.images) if single else -len(offer.images)
        return count, offer.model not in models[offer.model].contrasts, offer.model

    return sorted(found, key=order)
