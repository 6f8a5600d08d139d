# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
What a weights file says of itself: ``{"model": state dict, "recipe": plain data, "calibration": plain data}``.

The recipe holds all that decides a map: network, preprocessing, how slices become a map. It is data: its classes are
looked up in a list of this package's and MONAI's own names, and nothing in it is evaluated, so a weights file cannot
run code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer, SliceInferer
from monai.utils import ensure_tuple
from torch import nn

from . import __version__, inferers
from .io.content import content_of, entry_content
from .networks import nets
from .networks.utils import copy_state, cpu_state, read_tensors, require_fit, require_state, write_tensors
from .transforms import AnomalyPreprocessing
from .utils import CUASError, ScanError, as_plain, file_digest

__all__ = [
    "ModelFile",
    "Recipe",
    "contradiction",
    "describe",
    "describe_network",
    "file_digest",
    "read_model",
    "read_recipe",
    "training_digest",
    "write_model",
]


def _named(module: Any, kind: type) -> dict[str, type]:
    found = {name: getattr(module, name) for name in module.__all__}
    return {f"{module.__name__}.{n}": c for n, c in found.items() if isinstance(c, type) and issubclass(c, kind)}


NETWORKS: dict[str, type] = _named(nets, nn.Module)
"""The networks that a recipe may name."""

MAP_INFERERS: dict[str, type] = {**_named(inferers, Inferer), "monai.inferers.SliceInferer": SliceInferer}
"""The ways from slices to a map that a recipe may name."""

# of MONAI's SliceInferer, which does not keep what it was made with; the rest of it does not change a map
_SLICE_INFERER = ("roi_size", "overlap", "mode", "spatial_dim")
_TARGET = "_target_"
# no network or map of ours has a whole number as large as this for anything
_LARGEST = 1 << 16
# pixels on a side; a volume is filled up to whole slices
_LARGEST_SLICE = 4096
# numbers of an array that a digest takes one by one; of longer ones, such as weights, the shape
_FEW = 4096
_ADVICE = "train it again with this version, or take the weights that are shipped"


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _spec(made: Any, known: Mapping[str, type]) -> dict[str, Any]:
    """Name and arguments of an object, as plain data."""
    name = next((name for name, kind in known.items() if kind is type(made)), None)
    if name is None:
        raise CUASError(
            f"{type(made).__module__}.{type(made).__qualname__} cannot be part of a model that is saved; known are "
            f"{', '.join(known)}."
        )
    arguments = getattr(made, "arguments", None)
    if arguments is None:
        arguments = {key: getattr(made, key) for key in _SLICE_INFERER}
    elif isinstance(made, SliceInferer):
        # how many slices are scored at once is the machine's matter
        arguments = {key: value for key, value in arguments.items() if key != "sw_batch_size"}
    try:
        return {_TARGET: name, **{key: as_plain(getattr(v, "value", v)) for key, v in sorted(arguments.items())}}
    except ValueError as error:
        raise CUASError(f"{name} was made with something that cannot be saved: {error}") from error


def _known_class(spec: Mapping[str, Any], known: Mapping[str, type], what: str) -> type:
    """
    Raises:
        CUASError: if the name is not a known one.
    """
    name = spec.get(_TARGET)
    if not isinstance(name, str) or name not in known:
        raise CUASError(f"its {what} is {name!r}, which is none of this version's ({', '.join(known)})")
    return known[name]


def _build(spec: Mapping[str, Any], known: Mapping[str, type], what: str, **given: Any) -> Any:
    """
    Make what a recipe names.

    Raises:
        CUASError: if the name is not a known one, or the arguments do not fit.
    """
    kind = _known_class(spec, known, what)
    arguments = {key: value for key, value in spec.items() if key != _TARGET}
    forbidden = sorted(arguments.keys() & getattr(kind, "not_recorded", frozenset()))
    if forbidden:
        raise CUASError(f"its {what} sets {', '.join(forbidden)}, which is not a weights file's to say")
    _require_sane(arguments, what)
    try:
        return kind(**arguments, **given)
    except CUASError:
        raise
    except Exception as error:
        raise CUASError(f"its {what} {spec[_TARGET]} cannot be made ({error})") from error


def _require_sane(value: Any, what: str) -> None:
    """
    Raises:
        CUASError: if a whole number is so large that making or using what it belongs to would never end.
    """
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for part in parts:
        _require_sane(part, what)
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        raise CUASError(f"its {what} has the number {value}, which none can have")


@dataclass(frozen=True)
class Recipe:
    """
    All that decides the map of a model beside its weights; plain data.

    Attributes:
        method: the method's name, for people.
        network: ``_target_`` and arguments of the network.
        preprocessing: arguments of :class:`AnomalyPreprocessing`.
        map_inferer: ``_target_`` and arguments of what turns slices into a map.
        sequences: names of the sequences, one for each channel, as the data list told; empty if it did not.
        data: SHA-256 of the ``dataset.json`` that was trained on.
        version: of this package, at training.
    """

    method: str
    network: dict[str, Any]
    preprocessing: dict[str, Any]
    map_inferer: dict[str, Any]
    sequences: list[str] = field(default_factory=list)
    data: str | None = None
    version: str = __version__

    @classmethod
    def from_dict(cls, document: Any) -> Recipe:
        """
        Read a recipe.

        Raises:
            CUASError: if it is no recipe of this version, or names what a recipe may not name.
        """
        fields = {f.name for f in dataclasses.fields(cls)}
        needed = {"method", "network", "preprocessing", "map_inferer"}
        if not isinstance(document, Mapping) or not needed <= document.keys() <= fields:
            raise CUASError(
                f"its recipe must have {', '.join(sorted(needed))} and nothing but {', '.join(sorted(fields))}"
            )
        try:
            plain = as_plain(document)
        except ValueError as error:
            raise CUASError(f"its recipe is not plain data: {error}") from error
        kinds = {**dict.fromkeys(needed, dict), "method": str, "sequences": list, "version": str}
        wrong = sorted(name for name, kind in kinds.items() if name in plain and not isinstance(plain[name], kind))
        if wrong:
            raise CUASError(f"its recipe's {wrong[0]} is {plain[wrong[0]]!r}, which it cannot be")
        recipe = cls(**plain)
        for spec, known, what in ((recipe.network, NETWORKS, "network"), (recipe.map_inferer, MAP_INFERERS, "map")):
            # the name alone; nothing is made yet
            _known_class(spec, known, what)
        return recipe

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data."""
        return dataclasses.asdict(self)

    @property
    def digest(self) -> str:
        """SHA-256 of what a threshold depends on: network, preprocessing and map; not of names and versions."""
        return hashlib.sha256(_canonical([self.network, self.preprocessing, self.map_inferer])).hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by its name in the configs; of a name that occurs twice, the preprocessing's."""
        inner = {**self.map_inferer, **self.network, **self.preprocessing}
        return {"method": self.method, **{key: value for key, value in inner.items() if key != _TARGET}}

    def make_network(self) -> nn.Module:
        """Return the network, without its weights."""
        return _build(self.network, NETWORKS, "network")

    def make_preprocessing(self, brain_extraction: str | None = None, **inference: Any) -> AnomalyPreprocessing:
        """
        Return the preprocessing.

        Args:
            brain_extraction: another one than the training's, for scans that come in another way; None: the same.
            inference: what is inference's to say, see ``AnomalyPreprocessing.not_recorded``.
        """
        settings = {
            **self.preprocessing,
            **({} if brain_extraction is None else {"brain_extraction": brain_extraction}),
        }
        for name, (asked, kept) in self.contradictions(inference).items():
            raise CUASError(contradiction("this model", name, asked, kept))
        try:
            return AnomalyPreprocessing(**{**settings, **inference})
        except (TypeError, ValueError) as error:
            raise CUASError(f"The preprocessing cannot be made: {error}") from error

    def make_map_inferer(self, sw_batch_size: int = 16, folder: str | os.PathLike = ".") -> Inferer:
        """
        Return what turns slices into a map.

        Args:
            sw_batch_size: slices that are scored at once.
            folder: of the weights; a method that keeps more than weights has it there.
        """
        kind = MAP_INFERERS[self.map_inferer[_TARGET]]
        sides = ensure_tuple(self.map_inferer.get("roi_size", ()))
        if not all(isinstance(side, int) and side <= _LARGEST_SLICE for side in sides):
            raise CUASError(f"its map is of slices of {sides} pixels; whole numbers up to {_LARGEST_SLICE} are known")
        given: dict[str, Any] = {"sw_batch_size": sw_batch_size} if issubclass(kind, SliceInferer) else {}
        if "folder" in getattr(kind, "not_recorded", ()):
            given["folder"] = os.path.join(folder, "anomalib")
        return _build(self.map_inferer, MAP_INFERERS, "map", **given)

    def contradictions(self, settings: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """
        Settings that differ from the recipe's.

        Args:
            settings: by their names in the configs; names that the recipe does not have are passed over.

        Returns:
            By name, what is asked for and what the recipe has.
        """
        own = self.settings
        return {
            name: (value, own[name])
            for name, value in settings.items()
            if name in own and _canonical(_comparable(value)) != _canonical(_comparable(own[name]))
        }


def _comparable(value: Any) -> Any:
    """Numbers as one kind, so that 4 is 4.0."""
    if isinstance(value, (list, tuple)):
        return [_comparable(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): _comparable(part) for key, part in value.items()}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return value if value is None or isinstance(value, (bool, str)) else repr(value)


def describe(
    network: nn.Module,
    preprocessing: AnomalyPreprocessing,
    map_inferer: Inferer,
    method: str,
    datalist: str | os.PathLike | None = None,
) -> Recipe:
    """
    Read the recipe from the objects that a training uses, so that it cannot differ from them.

    Args:
        network: one of this package's, unwrapped.
        preprocessing: the one of inference.
        map_inferer: what turns slices into a map.
        method: the method's name, for people.
        datalist: the ``dataset.json`` that is trained on; its "modality" names the sequences.

    Raises:
        CUASError: if one of them is of a class that a recipe may not name, or was made with objects.
    """
    sequences: list[str] = []
    digest = None
    if datalist is not None and os.path.isfile(datalist):
        digest = file_digest(datalist)
        modality = json.loads(Path(datalist).read_text(encoding="utf-8")).get("modality", {})
        sequences = [str(name) for name in modality.values()] if isinstance(modality, Mapping) else []
    return Recipe(
        method,
        describe_network(network),
        as_plain(preprocessing.recorded),
        _spec(map_inferer, MAP_INFERERS),
        sequences,
        digest,
    )


def describe_network(network: nn.Module) -> dict[str, Any]:
    """Name and arguments of a network, as its recipe will say them."""
    return _spec(network, NETWORKS)


@dataclass(frozen=True)
class ModelFile:
    """
    A weights file that has been read.

    Attributes:
        path: the file.
        network: with its weights, on the CPU, in evaluation mode.
        recipe: see :class:`Recipe`.
        calibration: what the calibration says of itself; empty if there is none.
        digest: SHA-256 of the file as it was read, 64 hexadecimal digits.
    """

    path: Path
    network: nn.Module
    recipe: Recipe
    calibration: dict[str, Any]
    digest: str


def write_model(
    path: str | os.PathLike, network: nn.Module, recipe: Recipe, calibration: Mapping[str, Any] | None = None
) -> None:
    """
    Write a weights file, whole or not at all.

    Args:
        path: the file.
        network: trained; wrapped for distributed training or not.
        recipe: see :func:`describe`.
        calibration: plain data; the digest of the recipe that it holds for is added.

    Raises:
        ScanError: if a weight is not finite.
    """
    state = cpu_state(network)
    require_state(getattr(network, "module", network), state, path)
    said = {**as_plain(calibration), "recipe": recipe.digest} if calibration else {}
    write_tensors({"model": state, "recipe": recipe.to_dict(), "calibration": said}, path)


def read_model(path: str | os.PathLike) -> ModelFile:
    """
    Read a weights file; nothing of it is executed.

    Args:
        path: the file.

    Raises:
        ScanError: if it is missing, broken, of an earlier version, names what a recipe may not name, holds a weight
            that is not finite, or its parts do not belong together; one sentence says which.
    """
    document, digest = _read(path)
    with _naming(path):
        recipe = Recipe.from_dict(document["recipe"])
        # as sizes alone first: a recipe may ask for a network that no memory holds
        with torch.device("meta"):
            require_fit(recipe.make_network(), document["model"], path)
        network = recipe.make_network()
        # a recipe that makes none of these is better refused here than in the middle of a run
        recipe.make_preprocessing()
        recipe.make_map_inferer()
    copy_state(network, document["model"], path)
    calibration = document["calibration"]
    if calibration and calibration.get("recipe") != recipe.digest:
        raise ScanError(path, "its calibration was made for another recipe", "calibrate it again (calibrate.json)")
    return ModelFile(Path(path), network.eval(), recipe, calibration, digest)


def read_recipe(path: str | os.PathLike) -> Recipe:
    """
    Read the recipe of a weights file alone.

    Raises:
        ScanError: as :func:`read_model`.
    """
    with _naming(path):
        return Recipe.from_dict(_read(path)[0]["recipe"])


@contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
    """Name the weights file in what is said of its recipe."""
    try:
        yield
    except ScanError:
        raise
    except CUASError as error:
        raise ScanError(path, str(error).rstrip("."), _ADVICE) from error


def contradiction(path: str | os.PathLike, name: str, asked: Any, kept: Any) -> str:
    """Return the sentence on a setting that differs from a weights file's recipe."""
    return (
        f"{path}: {name} is {asked!r} here, but the model was made with {kept!r}, and its weights and thresholds hold "
        "for that alone; leave it out, or train a model with it."
    )


def _read(path: str | os.PathLike) -> tuple[dict[str, Any], str]:
    """Parts of a weights file, of the right kinds, and its digest."""
    document, digest = read_tensors(path)
    if not isinstance(document, Mapping) or "model" not in document or "recipe" not in document:
        raise ScanError(
            path, "these weights carry no recipe: an earlier version or another program wrote them", _ADVICE
        )
    calibration = document.get("calibration") or {}
    if not isinstance(calibration, Mapping):
        raise ScanError(path, "its calibration is not plain data", "calibrate it again (calibrate.json)")
    try:
        kept = as_plain(calibration)
    except ValueError as error:
        raise ScanError(path, f"its calibration is not plain data: {error}", "calibrate it again") from error
    return {"model": document["model"], "recipe": document["recipe"], "calibration": kept}, digest


def training_digest(recipe: Recipe, data: Iterable[Mapping[str, Any]], **settings: Any) -> str:
    """
    Return the SHA-256 of what decides the weights of a training, for its checkpoints: recipe, settings, scans.

    How long to train is no part of it unless it is given: a run may be resumed to train longer.

    Args:
        recipe: see :func:`describe`.
        data: entries of the training and the validation list; the content of their files counts, not where they lie.
        settings: plain data, by name; of an object, such as the loss, what plain data it keeps.
    """
    reference = recipe.preprocessing.get("registration")
    read = [content_of(reference or ()), *(entry_content(entry) for entry in data)]
    made = [recipe.to_dict(), read, _comparable({key: _plain_parts(value) for key, value in settings.items()})]
    return hashlib.sha256(_canonical(made)).hexdigest()


def _plain_parts(value: Any) -> Any:
    """What plain data an object is made of; of library objects within it too, as in a Compose of transforms."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain_parts(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_parts(part) for part in value]
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.tolist() if math.prod(value.shape) <= _FEW else list(value.shape)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if not kind.startswith(("monai.", "monai_cuas.", "torch.nn.")) or not hasattr(value, "__dict__"):
        return kind  # such as a random state, whose draws the seed decides
    return {"kind": kind, **{key: _plain_parts(part) for key, part in sorted(vars(value).items())}}
