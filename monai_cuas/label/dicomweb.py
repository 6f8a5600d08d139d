# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
A PACS by DICOMweb in place of a folder: scans by SeriesInstanceUID, labels as DICOM segmentations.

Series are fetched into a cache, read by this package's own reader (irregular ones are refused), and segmentations are
written by highdicom, so that an empty mask is a valid one. MONAI Label's own datastore would keep the PatientID, list
studies of two hours ago, and fail on an empty mask.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import requests
from monailabel.config import settings
from monailabel.datastore.local import DataModel, ImageLabelModel
from monailabel.interfaces.datastore import DefaultLabelTag

from ..data.contrast import Contrast, contrast_of, contrast_of_header
from ..io.dicom import (
    DicomSeries,
    SegmentationTerms,
    find_series,
    found_terms,
    make_parametric_map,
    make_segmentation,
    map_terms,
    read_series,
    read_terms,
    segment_finding,
)
from ..io.dicom.header import has_highdicom, has_pydicom, pydicom
from ..io.nifti import save_nifti
from ..utils import CUASError, ScanError
from ..visualize.paint import painted_series
from .datastore import CheckedDatastore, version_of
from .files import read_label, read_volume
from .line import heavy
from .pacs import PACS_ERRORS, Pacs, client_of, is_uid, text_of
from .proposals import proposal_of
from .requests import MAX_VOXELS, refuse, sentence

__all__ = ["CheckedDicomWeb", "connect"]

# A series that is refused may still be on its way into the PACS.
_UNUSABLE_SECONDS = 300.0
# of one series; 512 slices are the most that a volume of the largest size has, some come twice or more
_MOST_IMAGES = 4096
_NUMBER_OF_IMAGES = "00201209"
_TAGS = {"SeriesInstanceUID": "0020000E", "StudyInstanceUID": "0020000D"}
# what tells a contrast, by its tag
_HEADER = {
    **{"SeriesDescription": "0008103E", "ProtocolName": "00181030", "ScanningSequence": "00180020"},
    **{"ContrastBolusAgent": "00180010", "EchoTime": "00180081", "RepetitionTime": "00180080"},
    "InversionTime": "00180082",
}


def connect(url: str) -> CheckedDicomWeb:
    """
    The datastore of a DICOMweb server, with MONAI Label's settings for user, password, prefixes, filter and cache.

    Raises:
        CUASError: if pydicom 3 and highdicom are not installed.
    """
    if not (has_pydicom and has_highdicom):
        raise CUASError("DICOMweb needs pydicom 3 and highdicom; pip install 'monai_cuas[dicom]'.")
    cache = settings.MONAI_LABEL_DICOMWEB_CACHE_PATH or settings.MONAI_LABEL_DATASTORE_CACHE_PATH
    root = Path(cache or Path.home() / ".cache" / "monailabel" / "dicom")
    folder = root / hashlib.sha256(url.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    # What lies there belongs to patients.
    folder.chmod(0o700)
    return CheckedDicomWeb(client_of(url), settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER, folder)


class CheckedDicomWeb(CheckedDatastore):
    """
    Series of a DICOMweb server; what was fetched and labelled is kept in a folder.

    Args:
        client: of the server.
        search_filter: keywords and values of QIDO-RS, such as ``{"Modality": "MR"}``; other series are not found.
        folder: cache; deleting it loses no label of a reader, as these are in the PACS.
    """

    def __init__(self, client: Any, search_filter: dict[str, Any], folder: str | os.PathLike) -> None:
        self._client, self._filter = client, dict(search_filter)
        self._fetching = threading.RLock()
        self._pacs = Pacs(client, Path(folder, "segmentations.json"))
        self._unusable: dict[str, tuple[float, int, str]] = {}
        super().__init__(os.fspath(folder), auto_reload=False)

    def name(self) -> str:
        return str(self._client.base_url)

    def forget(self) -> None:
        """Ask the PACS for its lists anew."""
        self._pacs.forget()

    def list_images(self) -> list[str]:
        return sorted({text_of(series, "0020000E") for series in self._pacs.listed(**self._filter)})

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Series that have a segmentation by a reader in the PACS."""
        listed = set(self.list_images())
        return sorted(listed & {refers for _, refers in self._pacs.segmentations()})

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        return sorted(set(self.list_images()) - set(self.get_labeled_images()))

    def _known(self, image_id: str) -> Any:
        """The entry of a series, fetched if it is not in the cache yet."""
        if not is_uid(image_id):
            raise refuse(400, "An image id is a SeriesInstanceUID: numbers with points between them.")
        known = self._datastore.objects.get(image_id)
        if known is not None:
            return known
        # its voxels are read; the turn comes before the lock, as those have it who ask within a turn of theirs
        with heavy.turn():
            return self._fetch(image_id)

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of a series without fetching it."""
        return super().get_image_info(image_id) if image_id in self._datastore.objects else {}

    def _fetch(self, uid: str) -> Any:
        with self._fetching:
            if uid in self._datastore.objects:
                return self._datastore.objects[uid]
            tried, status, problem = self._unusable.get(uid, (0.0, 0, ""))
            if problem and time.monotonic() - tried < _UNUSABLE_SECONDS:
                raise refuse(status, problem)
            found = [
                s
                for s in self._pacs.search(**{**self._filter, "SeriesInstanceUID": uid})
                if text_of(s, "0020000E") == uid
            ]
            if not found:
                raise refuse(404, f"There is no series {uid} of {self._filter} in the PACS.")
            study = text_of(found[0], "0020000D")
            told = text_of(found[0], _NUMBER_OF_IMAGES)
            if told.isdecimal() and int(told) > _MOST_IMAGES:
                raise self._refused(uid, 413, f"Series {uid} has {told} images; at most {_MOST_IMAGES} are fetched.")
            folder = self._folder(uid)
            partly = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
            try:
                self._download(study, uid, partly)
                shutil.rmtree(folder, ignore_errors=True)
                partly.rename(folder)
            finally:
                shutil.rmtree(partly, ignore_errors=True)
            try:
                series = self._series(uid)
                voxels = sum(math.prod(plane.shape) for plane in series.planes)
                if voxels > MAX_VOXELS:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise self._refused(uid, 413, f"Series {uid} has {voxels} voxels; at most {MAX_VOXELS} are read.")
                volume = read_series(series)
            except CUASError as error:
                raise self._refused(uid, 422, sentence(error, f"Series {uid}")) from None
            save_nifti(Path(self._datastore.image_path(), f"{uid}.nii.gz"), volume.array, volume.affine, np.float32)
            # No tag of the patient: this is shown to clients.
            info = {
                "StudyInstanceUID": study,
                "SeriesInstanceUID": uid,
                "ts": int(time.time()),
                "name": f"{uid}.nii.gz",
            }
            with self._changing() as entries:
                entries[uid] = ImageLabelModel(image=DataModel(info=info, ext=".nii.gz"))
            return self._datastore.objects[uid]

    def _refused(self, uid: str, status: int, problem: str) -> Exception:
        """The refusal of a series, which holds for some minutes without asking the PACS again."""
        self._unusable[uid] = (time.monotonic(), status, problem)
        return refuse(status, problem)

    def contrast(self, image_id: str) -> Contrast:
        """What the header of a series says of its contrast; one that is not in the cache yet is not fetched for it."""
        if image_id in self._datastore.objects:
            return contrast_of(f"{self._folder(image_id)}::{image_id}")
        (found, *_) = self._series_of(SeriesInstanceUID=image_id)
        try:
            (header, *_) = self._client.retrieve_series_metadata(text_of(found, "0020000D"), image_id)
        except PACS_ERRORS:
            return Contrast(None, "the PACS does not give its header")
        if text_of(header, "00080060") != "MR":
            return Contrast({"CT": "ct"}.get(text_of(header, "00080060")), "DICOM modality")
        values = {keyword: text_of(header, tag) for keyword, tag in _HEADER.items()}
        return contrast_of_header(values, 1.0) or Contrast(None, "its DICOM header does not tell")

    def _series_of(self, **named: str) -> list[dict[str, Any]]:
        """
        Series of the filter that a request names.

        Raises:
            HTTPException: 404 if there is none.
        """
        ((tag, uid),) = ((_TAGS[keyword], value) for keyword, value in named.items())
        found = [s for s in self._pacs.listed(**{**self._filter, **named}) if text_of(s, tag) == uid]
        if not found:
            raise refuse(404, f"There is no series of {self._filter} with that UID in the PACS.")
        return found

    def images_beside(self, image_id: str) -> list[str]:
        (found, *_) = self._series_of(SeriesInstanceUID=image_id)
        return self.images_of_study(text_of(found, "0020000D"))

    def images_of_study(self, study: str) -> list[str]:
        """
        The series of a study that the filter lets through.

        Raises:
            HTTPException: 400 if it is no StudyInstanceUID, 404 if there is none.
        """
        if not is_uid(study):
            raise refuse(400, "A study is named by its StudyInstanceUID: numbers with points between them.")
        return sorted(text_of(series, "0020000E") for series in self._series_of(StudyInstanceUID=study))

    def _folder(self, uid: str) -> Path:
        folder = Path(self._datastore.image_path(), "dicom")
        folder.mkdir(exist_ok=True)
        return folder / uid

    def _download(self, study: str, uid: str, folder: Path) -> None:
        try:
            # one after the other: a series in memory as a whole would be bounded by the PACS alone
            for number, instance in enumerate(self._client.iter_series(study, uid)):
                if number >= _MOST_IMAGES:
                    raise self._refused(
                        uid, 413, f"Series {uid} has more than {_MOST_IMAGES} images; it is not fetched."
                    )
                instance.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
        except requests.RequestException:
            raise refuse(502, "The DICOMweb server stopped answering while the series was fetched.") from None

    def _series(self, uid: str) -> DicomSeries:
        index = find_series(self._folder(uid), min_slices=2)
        found = [series for series in index.series if series.uid == uid]
        if not found:
            raise ScanError(uid, "it is no volume (a localiser, a report or single images)", "choose another series")
        return found[0]

    def segmentation(self, image: str, label: str, label_info: Any, folder: str, params: Mapping[str, Any]) -> str:
        """
        Write the server's mask as a DICOM segmentation; an empty one has a frame for each image too.

        Args:
            image: SeriesInstanceUID.
            label: mask on the series' grid.
            label_info: MONAI Label's ``[{"name": ...}]``, from which the segment gets its name; may be None.
            folder: where the file goes.
            params: what the server says of the mask.

        Returns:
            The file.

        Raises:
            HTTPException: 422 if it cannot refer to the images.
        """
        self._known(image)
        array, affine = read_label(label)
        terms = _terms_of(params, label=_segment_name(label_info))
        try:
            made = segment_finding(self._series(image), array > 0, affine, terms, float(params["threshold_rate"]))
        except CUASError as error:
            raise refuse(422, sentence(error, f"Series {image}")) from None
        return _saved(made, folder)

    def _segmentation_by_reader(self, image: str, label: str, said: Mapping[str, Any], folder: str) -> str:
        """The same of a reader's label; ``said`` is what is known of it, its user and origin above all."""
        self._known(image)
        array, affine = read_label(label)
        proposal = proposal_of(self, image, said.get("origin"))
        # without a login everybody has the same name
        reader = said.get("user") if settings.MONAI_LABEL_AUTH_ENABLE else None
        terms = read_terms(reader, _terms_of(proposal) if proposal else None, _segment_name(said.get("label_info")))
        content = "" if array.any() else "nothing found: all frames are empty"
        try:
            made = make_segmentation(self._series(image), array > 0, affine, terms, content)
        except CUASError as error:
            raise refuse(422, sentence(error, f"Series {image}")) from None
        return _saved(made, folder)

    def parametric_map(self, image: str, anomaly: str, folder: str, params: Mapping[str, Any]) -> str:
        """
        Write an anomaly map as a DICOM parametric map.

        Args:
            image: SeriesInstanceUID.
            anomaly: the map on the series' grid, as the server wrote it.
            folder: where the file goes.
            params: what the server says of the mask and the map.

        Returns:
            The file.

        Raises:
            HTTPException: 422 if it cannot refer to the images.
        """
        (made,) = self._of_map(image, anomaly, params, _made_map)
        path = Path(folder, "map.dcm")
        made.save_as(path, enforce_file_format=True)
        return str(path)

    def painted(self, image: str, anomaly: str, folder: str, params: Mapping[str, Any]) -> str:
        """The same as colours on the scan, secondary captures in a ZIP archive; see :meth:`parametric_map`."""
        path = Path(folder, "painted.zip")
        with ZipFile(path, "w", ZIP_DEFLATED) as archive:
            for number, made in enumerate(self._of_map(image, anomaly, params, painted_series), 1):
                content = io.BytesIO()
                made.save_as(content, enforce_file_format=True)
                archive.writestr(f"{number:04d}.dcm", content.getvalue())
        return str(path)

    def _of_map(self, image: str, anomaly: str, params: Mapping[str, Any], make: Callable[..., list[Any]]) -> list[Any]:
        self._known(image)
        array, affine = read_volume(anomaly)
        try:
            return make(self._series(image), array, affine, _terms_of(params))
        except CUASError as error:
            raise refuse(422, sentence(error, f"Series {image}")) from None

    def save_map(self, image: str, anomaly: str, folder: str, params: Mapping[str, Any]) -> str:
        """
        Put an anomaly map into the PACS, into the study of its series.

        Args:
            image, anomaly, folder, params: see :meth:`parametric_map`.

        Returns:
            Its SeriesInstanceUID.

        Raises:
            HTTPException: 502 if the PACS does not take it.
        """
        return self._stored(self._of_map(image, anomaly, params, _made_map))

    def save_painted(self, image: str, anomaly: str, folder: str, params: Mapping[str, Any]) -> str:
        """The same with the colours on the scan, see :meth:`save_map`."""
        return self._stored(self._of_map(image, anomaly, params, painted_series))

    def _stored(self, made: list[Any]) -> str:
        self._store(*made)
        return str(made[0].SeriesInstanceUID)

    def label_of_voxels(self, image: str, voxels: bytes, shape: Any, images: Any, folder: str) -> str:
        """
        Make a label of bare voxels, as a viewer has them; each slice goes where the image is that it was drawn on.

        Args:
            image: SeriesInstanceUID.
            voxels: one byte each; columns change first, then rows, then slices.
            shape: columns, rows, slices.
            images: [SOPInstanceUID, frame from 1] of each slice. Without it the order is not known, and a mask upside
                down is not seen to be one.
            folder: where the file goes.

        Returns:
            The file, on the series' grid.

        Raises:
            HTTPException: 422 if the numbers or the images are not those of the series.
        """
        series = self._fetched(image)
        volume = read_series(series)
        expected = list(volume.array.shape)
        if shape != expected or len(voxels) != np.prod(expected):
            raise refuse(
                422, f"The label must have one byte for each of the series' {'x'.join(map(str, expected))} voxels."
            )
        places = _slice_of_image(series)
        try:
            order = [places[str(uid), int(frame) - 1] for uid, frame in images]
        except (KeyError, TypeError, ValueError):
            order = []
        if sorted(order) != list(range(expected[2])):
            raise refuse(422, "The label must say for each slice which image of the series it was drawn on.")
        drawn = np.frombuffer(voxels, np.uint8).reshape(expected, order="F")
        mask = np.empty_like(drawn)
        mask[:, :, order] = drawn
        path = Path(folder, "label.nii.gz")
        save_nifti(path, mask, volume.affine, np.uint8)
        return str(path)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """
        Keep a label; a final one goes to the PACS first, as a segmentation.

        Raises:
            HTTPException: 502 if the PACS does not take it; then it is not kept either.
        """
        if label_tag == DefaultLabelTag.FINAL.value:
            self._check(image_id, label_filename)
            with tempfile.TemporaryDirectory(prefix="cuas-") as folder:
                file = self._segmentation_by_reader(image_id, label_filename, label_info or {}, folder)
                made = pydicom.dcmread(file)
                self._store(made)
            self._pacs.add_segmentation(str(made.StudyInstanceUID), str(made.SeriesInstanceUID), image_id)
        return super().save_label(image_id, label_filename, label_tag, label_info)

    def _store(self, *datasets: Any) -> None:
        try:
            self._client.store_instances(list(datasets))
        except requests.RequestException:
            raise refuse(502, "The DICOMweb server did not take it; nothing was saved.") from None

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """A label that is not in the cache is fetched from the PACS, the newest that a reader made or an older one."""
        if version_of(label_tag):
            return self._older(label_id, label_tag)
        path = super().get_label_uri(label_id, label_tag)
        if path or label_tag != DefaultLabelTag.FINAL.value or label_id not in self.get_labeled_images():
            return path
        with heavy.turn(), tempfile.TemporaryDirectory(prefix="cuas-") as folder:
            file = Path(folder, "label.nii.gz")
            self._save_mask(label_id, self._made_by_readers(label_id)[-1], file)
            super().save_label(label_id, str(file), label_tag, {})
        return super().get_label_uri(label_id, label_tag)

    def label_versions(self, label_id: str) -> list[dict[str, Any]]:
        """By the PACS, which holds them all: "saved" is the time that the segmentation says, "series" its UID."""
        self._series_of(SeriesInstanceUID=label_id)
        tag, headers = DefaultLabelTag.FINAL.value, self._made_by_readers(label_id)
        tags = [*(f"{tag}-{k}" for k in range(1, len(headers))), tag]
        return [{"tag": tag, "by": "reader", **_said(header)} for tag, header in zip(tags, headers)][::-1]

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        if not version_of(label_tag):
            return super().get_label_info(label_id, label_tag)
        found = [said for said in self.label_versions(label_id) if said["tag"] == label_tag]
        if not found:
            raise refuse(404, f"There is no label '{label_tag}' of the image '{label_id}'.")
        return found[0]

    def _keep_version(self, image_id: str, entry: Any) -> Path | None:
        """The PACS keeps them."""
        return None

    def _older(self, label_id: str, label_tag: str) -> str:
        """A final label that was replaced; what a segmentation holds never changes, so it is fetched once."""
        self._known(label_id)
        older = self._made_by_readers(label_id)[:-1]
        if version_of(label_tag) > len(older):
            return ""
        header = older[version_of(label_tag) - 1]
        file = Path(self._datastore.image_path(), "versions", label_id, f"{text_of(header, '0020000E')}.nii.gz")
        with heavy.turn():
            if not file.is_file():
                file.parent.mkdir(parents=True, exist_ok=True)
                self._save_mask(label_id, header, file)
        return str(file)

    def _made_by_readers(self, uid: str) -> list[dict[str, Any]]:
        """Headers of the segmentations of a series that readers made, the oldest first."""
        mine = [s for s, refers in self._pacs.segmentations() if refers == uid]
        ask = self._client.retrieve_series_metadata
        try:
            # only their headers tell when they were made
            headers = [ask(text_of(s, "0020000D"), text_of(s, "0020000E"))[0] for s in mine]
        except PACS_ERRORS:
            raise refuse(502, "The DICOMweb server does not give a segmentation of this series.") from None
        return sorted(headers, key=lambda h: tuple(text_of(h, tag) for tag in ("00080023", "00080033", "0020000E")))

    def _save_mask(self, uid: str, header: Mapping[str, Any], file: Path) -> None:
        volume = read_series(self._fetched(uid))
        save_nifti(file, self._mask(uid, header, volume.array.shape), volume.affine, np.uint8)

    def _fetched(self, uid: str) -> DicomSeries:
        self._known(uid)
        return self._series(uid)

    def _mask(self, uid: str, header: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray:
        """A reader's segmentation, put onto the series' grid by the images that its frames refer to."""
        try:
            (made,) = self._client.retrieve_series(text_of(header, "0020000D"), text_of(header, "0020000E"))
        except PACS_ERRORS:
            raise refuse(502, "The DICOMweb server does not give a segmentation of this series.") from None
        mask = np.zeros(shape, np.uint8)
        places = _slice_of_image(self._series(uid))
        try:
            frames = np.asarray(made.pixel_array).reshape(-1, made.Rows, made.Columns)
            for frame, groups in zip(frames, made.PerFrameFunctionalGroupsSequence):
                source = groups.DerivationImageSequence[0].SourceImageSequence[0]
                key = (str(source.ReferencedSOPInstanceUID), int(source.get("ReferencedFrameNumber", 1)) - 1)
                mask[:, :, places[key]] = frame.T
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            problem = "A reader's segmentation of this series does not fit its images; save the label again."
            raise refuse(422, problem) from None
        return mask


def _terms_of(params: Mapping[str, Any], **changes: Any) -> SegmentationTerms:
    """What is stated of a mask of the server's, by what the server says of it."""
    return found_terms(params, str(params["weights_sha256"]), **changes)


def _said(header: Mapping[str, Any]) -> dict[str, Any]:
    """What a segmentation's header says of who made it and when."""
    creator = (header.get("00700084") or {}).get("Value") or [{}]
    name = creator[0].get("Alphabetic", "") if isinstance(creator[0], dict) else creator[0]
    saved = " ".join(text_of(header, tag) for tag in ("00080023", "00080033")).strip()
    return {"user": str(name), "saved": saved, "series": text_of(header, "0020000E")}


def _made_map(series: DicomSeries, array: np.ndarray, affine: np.ndarray, terms: SegmentationTerms) -> list[Any]:
    return [make_parametric_map(series, array, affine, map_terms(terms))]


def _segment_name(label_info: Any) -> str:
    """The segment's name in MONAI Label's ``[{"name": ...}]``."""
    first = label_info[0] if isinstance(label_info, list) and label_info else None
    return str((isinstance(first, dict) and first.get("name")) or SegmentationTerms.label)[:64]


def _saved(made: Any, folder: str) -> str:
    path = Path(folder, "segmentation.dcm")
    made.save_as(path, enforce_file_format=True)
    return str(path)


def _slice_of_image(series: DicomSeries) -> dict[tuple[str, int], int]:
    """Slice of the grid by SOPInstanceUID and frame, from 0."""
    from ..io.dicom.geometry import IRREGULARITIES, stack_slices

    stack = stack_slices(series.planes, series.path, IRREGULARITIES)
    return {(p.uid, p.frame): int(k) for k, place in zip(stack.slice_of_place, stack.places) for p in place}
