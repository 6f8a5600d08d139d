# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A folder of studies whose every name is checked, and which a crash leaves as it was."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import HTTPException
from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore, LocalDatastoreModel
from monailabel.interfaces.datastore import DefaultLabelTag

from ..data.contrast import Contrast, contrast_named, contrast_of
from ..transforms.io import LoadScand
from ..utils import replacing
from .files import read_label
from .members import LEADS_OUT, divide, shown, why_left_out
from .requests import SUFFIXES, check_id, check_size, check_tag, refuse, shape_of, suffix_of

__all__ = ["INFO_KEY", "CheckedDatastore", "check_label", "is_normal", "study_of", "version_of"]

INFO_KEY = "monai_cuas"
"""Where scores are kept in the info of an image."""

_VERSION = re.compile(r"final-[1-9][0-9]{0,5}", re.ASCII)
_BIDS = re.compile(r"sub-[A-Za-z0-9]+(_ses-[A-Za-z0-9]+)?")


def check_label(label: str, image: str) -> np.ndarray:
    """
    Read a label and compare it with its scan.

    Returns:
        (X, Y, Z) uint8.

    Raises:
        HTTPException: 422 if it is not on the scan's grid.
    """
    off_grid = "The label is not on the scan's grid; export it with the scan as reference geometry."
    check_size(image)
    # by the headers first: a small file can hold any number of voxels
    wanted, claimed = shape_of(image), shape_of(label)
    if wanted is not None and claimed is not None and wanted != claimed:
        raise refuse(422, off_grid)
    array, affine = read_label(label)
    scan = LoadScand("image")({"image": image})["image"]
    if array.shape != tuple(scan.shape[1:]) or not np.allclose(affine, np.asarray(scan.affine), atol=1e-2):
        raise refuse(422, off_grid)
    return array


def study_of(image: str) -> str:
    """What an id says of the study: ``sub-1_ses-2_T1w`` of "sub-1_ses-2", ``jones_FLAIR`` of "jones"."""
    named = _BIDS.match(image)
    if named is not None:
        return named.group()
    before, _, last = image.rpartition("_")
    return before if before and contrast_named(last) else image


def is_normal(datastore: Any, image: str) -> bool:
    """Whether a reader saved an empty final label: this is how a scan is marked as normal."""
    path = datastore.get_label_uri(image, DefaultLabelTag.FINAL.value)
    return bool(path) and not read_label(path)[0].any()


def version_of(tag: str) -> int:
    """Number of an older final label, by its tag ``final-1``, ``final-2``; 0 for other tags."""
    return int(tag.rpartition("-")[2]) if _VERSION.fullmatch(tag) else 0


class CheckedDatastore(LocalDatastore):
    """
    MONAI Label's local datastore with ids and tags checked, and with files that are replaced in one step.

    Args:
        path: folder of the studies.
        auto_reload: follow files that come and go.
    """

    def __init__(self, path: str, auto_reload: bool = True) -> None:
        self._left_out: dict[str, dict[str, str]] = {}
        super().__init__(path, extensions=tuple(f"*{suffix}" for suffix in SUFFIXES), auto_reload=auto_reload)

    def left_out(self) -> dict[str, str]:
        """Files of the studies' folder that are not used, below its top, and why; see :mod:`.members`."""
        top = os.path.realpath(self._datastore.image_path())
        places = {folder: os.path.relpath(os.path.realpath(folder), top) for folder in self._left_out}
        return {
            shown(os.path.normpath(os.path.join(places[folder], name))): reason
            for folder, names in sorted(self._left_out.items())
            for name, reason in names.items()
        }

    def _list_files(self, path: str, patterns: Any) -> dict[str, str]:
        usable, others = divide(path)
        self._left_out[path] = others
        # what leads out keeps its entry, so that a request for it is told so; it is in no list
        return {name: name for name in [*usable, *(n for n, why in others.items() if why == LEADS_OUT)]}

    def _add_non_existing_labels(self, tag: str) -> int:
        try:
            check_tag(tag)
        except HTTPException:
            top = self._datastore.label_path(None)
            self._left_out.setdefault(top, {})[tag] = "the folder's name is no tag: small letters, digits, '_' and '-'"
            return 0
        return int(super()._add_non_existing_labels(tag))

    def _reconcile_datastore(self) -> None:
        self._left_out.clear()
        super()._reconcile_datastore()

    def _remove_non_existing(self) -> int:
        """Entries of an older index that are no ids, or that are something else by now, go too."""
        self._init_from_datastore_file()
        folder, objects = self._datastore.image_path(), self._datastore.objects
        gone = [i for i, o in objects.items() if why_left_out(folder, f"{i}{o.image.ext}") not in (None, LEADS_OUT)]
        for image in gone:
            del objects[image]
        return len(gone) + int(super()._remove_non_existing())

    def _listed_only(self, images: list[str]) -> list[str]:
        others = self._left_out.get(self._datastore.image_path(), {})
        return [i for i in images if i in self._datastore.objects and self._file_of(i) not in others]

    def _file_of(self, image: str) -> str:
        return f"{image}{self._datastore.objects[image].image.ext}"

    def list_images(self) -> list[str]:
        return self._listed_only(super().list_images())

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        return self._listed_only(super().get_labeled_images(label_tag, labels))

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        return self._listed_only(super().get_unlabeled_images(label_tag, labels))

    def status(self) -> dict[str, Any]:
        """MONAI Label's numbers, and how many files are left out."""
        return {**super().status(), "left_out": len(self.left_out())}

    def json(self) -> dict[str, Any]:
        """The index, and the files that are left out with the reason of each."""
        return {**super().json(), "left_out": self.left_out()}

    @contextmanager
    def _changing(self, source: str | None = None, target: Path | None = None) -> Iterator[dict[str, Any]]:
        """
        The entries, as they are on disk now, to be changed and written; scoring and training are other processes.

        A file that belongs to the change is copied from ``source`` to ``target``. Nothing is renamed before all is
        written, so that a full disk leaves what was.
        """
        with FileLock(self._lock_file):
            if os.path.exists(self._datastore_config_path):
                content = Path(self._datastore_config_path).read_text(encoding="utf-8")
                self._datastore = LocalDatastoreModel.model_validate_json(content)
                self._datastore.base_path = self._datastore_path
            before = self._datastore.model_copy(deep=True)
            try:
                yield self._datastore.objects
                with self._replacing_index():
                    if source is not None and target is not None:
                        with replacing(target) as temporary:
                            shutil.copyfile(source, temporary)
            except BaseException:
                self._datastore = before
                raise

    def _known(self, image_id: str) -> Any:
        self._init_from_datastore_file()
        known = self._datastore.objects.get(check_id(image_id))
        if known is None:
            others = self._left_out.get(self._datastore.image_path(), {})
            for suffix in SUFFIXES:
                if f"{image_id}{suffix}" in others:
                    raise refuse(422, f"Image '{image_id}' is left out: {others[image_id + suffix]}.")
            raise refuse(404, f"There is no image '{image_id}'; GET /datastore/?output=all lists them.")
        return known

    def _check(self, image_id: str, label: str) -> None:
        check_label(label, self.get_image_uri(image_id))

    def get_image_uri(self, image_id: str) -> str:
        """
        Raises:
            HTTPException: 404 if unknown, 403 if it is a link that leads out of the studies' folder.
        """
        self._known(image_id)
        path = super().get_image_uri(image_id)
        if not Path(path).is_relative_to(os.path.realpath(self._datastore.image_path())):
            raise refuse(403, f"Image '{image_id}' lies outside the studies' folder.")
        return path

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of a scan, but not where it lies on the server."""
        self._known(image_id)
        return {key: value for key, value in super().get_image_info(image_id).items() if key != "path"}

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """
        Raises:
            HTTPException: 404 if there is none.
        """
        return dict(self._label(label_id, label_tag).info)

    def _label(self, label_id: str, label_tag: str) -> DataModel:
        found = self._known(label_id).labels.get(check_tag(label_tag))
        if found is None:
            raise refuse(404, f"There is no label '{label_tag}' of the image '{label_id}'.")
        return found

    def label_versions(self, label_id: str) -> list[dict[str, Any]]:
        """
        The final label and those that it replaced.

        Returns:
            The newest first, each with "tag", by which it is got, and what is known of it; empty without a final label.
        """
        labels = self._known(label_id).labels
        tags = sorted((tag for tag in labels if _VERSION.fullmatch(tag)), key=version_of, reverse=True)
        current = [tag for tag in (DefaultLabelTag.FINAL.value,) if tag in labels]
        return [{**labels[tag].info, "tag": tag} for tag in (*current, *tags)]

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """
        Raises:
            HTTPException: 404 if there is no such label.
        """
        if _VERSION.fullmatch(label_tag):
            raise refuse(400, "Older versions of a final label stay as they are.")
        self._label(label_id, label_tag)
        with self._changing() as entries:
            if label_id in entries and label_tag in entries[label_id].labels:
                entries[label_id].labels[label_tag].info.update(info)

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """
        Raises:
            HTTPException: 403 if it is a link, or lies beyond one, that leads out of the labels' folder.
        """
        check_id(label_id)
        path = super().get_label_uri(label_id, check_tag(label_tag))
        inside = os.path.realpath(self._datastore.label_path(label_tag))
        top = os.path.realpath(self._datastore.image_path())
        if path and not (Path(os.path.realpath(path)).is_relative_to(inside) and Path(inside).is_relative_to(top)):
            raise refuse(403, f"Label '{label_id}' lies outside the labels' folder.")
        return path

    def contrast(self, image_id: str) -> Contrast:
        """
        What is known of a scan's contrast, by its name, its sidecar and its folder.

        Raises:
            HTTPException: as :meth:`get_image_uri`, and 413 for a scan that is too large.
        """
        path = self.get_image_uri(image_id)
        check_size(path)
        return contrast_of(path)

    def images_beside(self, image_id: str) -> list[str]:
        """The scans of the same study: of one BIDS subject and session, or whose ids differ in the contrast alone."""
        return [image for image in self.list_images() if study_of(image) == study_of(image_id)]

    def images_of_study(self, study: str) -> list[str]:
        """
        The scans of a study, such as ``sub-01`` or ``sub-01_ses-2``.

        Raises:
            HTTPException: 404 if there is none.
        """
        found = [image for image in self.list_images() if study_of(image) == check_id(study)]
        if not found:
            raise refuse(404, "There is no study of that name; it is what the ids of its scans begin with.")
        return found

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """
        Raises:
            HTTPException: 409 if there is one of that name, which may have labels.
        """
        suffix = suffix_of(image_filename, "scan")
        check_id(image_id)
        target = Path(self._datastore.image_path(), f"{image_id}{suffix}")
        with self._changing(image_filename, target) as entries:
            if image_id in entries:
                raise refuse(409, f"There is an image '{image_id}' already; choose another id.")
            info = {**image_info, "ts": int(time.time()), "name": target.name}
            entries[image_id] = ImageLabelModel(image=DataModel(info=info, ext=suffix))
        return image_id

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """
        Raises:
            HTTPException: 404 if there is no such image.
        """
        self._known(image_id)
        with self._changing() as entries:
            if image_id in entries:
                entries[image_id].image.info.update(info)

    def _keep_version(self, image_id: str, entry: Any) -> Path | None:
        """Let the final label that is replaced stay as ``final-1``, ``final-2``, with who saved it and when."""
        tag = DefaultLabelTag.FINAL.value
        old = entry.labels.get(tag)
        path = Path(self._datastore.label_path(tag), f"{image_id}{old.ext}") if old is not None else None
        if old is None or path is None or path.is_symlink() or not path.is_file():
            return None
        numbers = [version_of(known) for known in entry.labels if _VERSION.fullmatch(known)]
        version = f"{tag}-{1 + max(numbers, default=0)}"
        folder = Path(self._datastore.label_path(version))
        folder.mkdir(parents=True, exist_ok=True)
        if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(self._datastore.image_path())):
            raise refuse(403, "The folder of older labels lies outside the studies' folder.")
        kept = folder / path.name
        kept.unlink(missing_ok=True)
        try:
            os.link(path, kept)  # takes no room, and the new label is another file
        except OSError:
            shutil.copyfile(path, kept)
        entry.labels[version] = DataModel(info=dict(old.info), ext=old.ext)
        return kept

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """
        Raises:
            HTTPException: 404 for an unknown image, 422 for a label that is not on its grid. An empty one is welcome.
        """
        self._known(image_id)
        if _VERSION.fullmatch(check_tag(label_tag)):
            raise refuse(400, "Older versions of a final label stay as they are; save it under another tag.")
        suffix = suffix_of(label_filename, "label")
        self._check(image_id, label_filename)
        folder = Path(self._datastore.label_path(check_tag(label_tag)))
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{image_id}{suffix}"
        kept: Path | None = None
        try:
            with self._changing(label_filename, target) as entries:
                if image_id not in entries:
                    raise refuse(404, f"There is no image '{image_id}' any more.")
                if label_tag == DefaultLabelTag.FINAL.value:
                    kept = self._keep_version(image_id, entries[image_id])
                info = {**(label_info or {}), "ts": int(time.time()), "name": target.name}
                entries[image_id].labels[label_tag] = DataModel(info=info, ext=suffix)
        except BaseException:
            # nothing replaced the label, so it is no older version of anything
            if kept is not None:
                kept.unlink(missing_ok=True)
            raise
        for other in SUFFIXES:
            if other != suffix:
                (folder / f"{image_id}{other}").unlink(missing_ok=True)
        return image_id

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """A link is removed itself, never what it leads to."""
        entry = self._known(label_id).labels.get(check_tag(label_tag))
        if entry is not None:
            self._unlink(self._datastore.label_path(label_tag), f"{label_id}{entry.ext}")

    def remove_image(self, image_id: str) -> None:
        """Its labels too; a link is removed itself, never what it leads to."""
        entry = self._known(image_id)
        for tag in list(entry.labels):
            self.remove_label(image_id, tag)
        self._unlink(self._datastore.image_path(), f"{image_id}{entry.image.ext}")

    def _unlink(self, folder: str, name: str) -> None:
        """
        Raises:
            HTTPException: 403 if the folder is a link that leads out of the studies' folder.
        """
        if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(self._datastore.image_path())):
            raise refuse(403, "The file lies outside the studies' folder.")
        Path(folder, name).unlink(missing_ok=True)
        if not self._auto_reload:
            self.refresh()

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Scans with a final label; one whose name is no id, or a link that leads out, is left out."""
        tag, pairs = DefaultLabelTag.FINAL.value, []
        for image in self.get_labeled_images():
            try:
                pair = {"image": self.get_image_uri(image), "label": self.get_label_uri(image, tag)}
            except HTTPException:
                continue
            if pair["label"]:
                top = os.path.realpath(self._datastore.image_path())
                pairs.append(pair if full_path else {key: os.path.relpath(path, top) for key, path in pair.items()})
        return pairs

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        if not self.datalist():
            raise refuse(404, "No scan has a final label yet, so there is nothing to download.")
        return str(super().get_dataset_archive(limit_cases))

    def _update_datastore_file(self, lock: bool = True) -> None:
        """Written whole: a server that was killed while writing would not start again."""
        if lock:
            with FileLock(self._lock_file):
                self._update_datastore_file(lock=False)
            return
        with self._replacing_index():
            pass

    @contextmanager
    def _replacing_index(self) -> Iterator[None]:
        """Write the index to a temporary file, let the block do its part, then rename."""
        self._ignore_event_config = True
        with replacing(self._datastore_config_path) as temporary:
            content = self._datastore.model_dump(exclude={"base_path"})
            temporary.write_text(json.dumps(content, indent=2, default=str), encoding="utf-8")
            yield
        self._config_ts = os.stat(self._datastore_config_path).st_mtime
