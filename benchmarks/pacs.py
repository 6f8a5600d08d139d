# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""
How long the server takes with a PACS of many series; the table of docs/how-to/hospital.md.

    python -m benchmarks.pacs --series 2000 --labels 1000

An Orthanc of its own (Debian's packages orthanc and orthanc-dicomweb) is filled with tiny series and readers'
segmentations of them, and counts what the server asks of it. Nothing leaves 127.0.0.1; Orthanc listens on all addresses
but refuses others (``unshare --net sh -c "ip link set lo up && ..."`` keeps it from listening at all).
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import requests
from pydicom.uid import generate_uid

from monai_cuas.io.dicom import make_segmentation, read_terms, series_at
from monai_cuas.label.dicomweb import CheckedDicomWeb
from monai_cuas.label.pacs import TimedSession, client_of
from tests import dicom_files as made
from tests.label.orthanc import orthanc, post

SHAPE = (8, 8, 3)


def _series(number: int) -> Iterator[list[Any]]:
    """Tiny MR series, each of a study of its own; copies of one, as making them is not what is measured."""
    first = made.slices(made.brain(SHAPE), made.oblique_affine())
    for _ in range(number):
        study, series = generate_uid(), generate_uid()
        datasets = copy.deepcopy(first)
        for dataset in datasets:
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        yield datasets


def _segmentation(folder: Path) -> Any:
    """A reader's segmentation, to be copied."""
    datasets = made.slices(made.brain(SHAPE), made.oblique_affine())
    made.save(datasets, folder)
    terms = read_terms("reader", None, "Anomaly")
    return make_segmentation(series_at(str(folder)), np.ones(SHAPE, bool), made.oblique_affine(), terms)


def _of_series(segmentation: Any, datasets: list[Any]) -> Any:
    """The segmentation as one of another series."""
    own = copy.deepcopy(segmentation)
    own.StudyInstanceUID, own.SeriesInstanceUID = datasets[0].StudyInstanceUID, generate_uid()
    own.SOPInstanceUID = own.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    own.ReferencedSeriesSequence[0].SeriesInstanceUID = datasets[0].SeriesInstanceUID
    return own


def fill(url: str, series: int, labels: int, folder: Path) -> list[str]:
    """Store series and segmentations of the first of them; the SeriesInstanceUIDs."""
    segmentation, uids = _segmentation(folder), []
    for number, datasets in enumerate(_series(series)):
        post(url, [*datasets, *([_of_series(segmentation, datasets)] if number < labels else [])])
        uids.append(str(datasets[0].SeriesInstanceUID))
    return uids


class Counted(TimedSession):
    """A session that counts its requests."""

    asked = 0

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        self.asked += 1
        return super().request(*args, **kwargs)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=2000)
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--port", type=int, default=8043)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pacs-") as name, orthanc(Path(name), arguments.port) as url:
        began = time.monotonic()
        uids = fill(url, arguments.series, arguments.labels, Path(name, "one"))
        print(f"Orthanc filled with {len(uids)} series, {arguments.labels} labels: {time.monotonic() - began:.1f} s")
        wrong = 0
        session = Counted()
        store = CheckedDicomWeb(client_of(f"{url}/dicom-web", session), {"Modality": "MR"}, Path(name, "cache"))
        expected = {"list": len(uids), "read": arguments.labels, "unread": len(uids) - arguments.labels}
        steps = {"list": store.list_images, "read": store.get_labeled_images, "unread": store.get_unlabeled_images}
        for again in ("at first", "again at once", "after the lists are old"):
            if again.startswith("after"):
                store.forget()
            for step, ask in steps.items():
                before, began = session.asked, time.monotonic()
                found = len(ask())
                took = time.monotonic() - began
                wrong += found != expected[step]
                print(f"{step:7} {again:24} {found:6} series {took:7.2f} s {session.asked - before:5} requests")
        began = time.monotonic()
        print(f"state of all: {store.status()} {time.monotonic() - began:.2f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(_main())
