# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="DICOM needs the extra [dicom]")

from monai_cuas.data.datalist import assign_parts, load_datalist, settle_roles, write_datalist
from monai_cuas.data.layouts import read_layout
from monai_cuas.transforms import LoadScand
from tests import dicom_files as made

IMAGE, AFFINE = made.brain((20, 16, 12)), made.oblique_affine()


def test_a_folder_with_one_series_is_a_scan(tmp_path):
    made.save(made.slices(IMAGE, AFFINE), tmp_path / "case" / "flair", "")
    report = read_layout(tmp_path)
    (entry,) = report.entries
    assert (report.layout, entry.subject, entry.role) == ("plain", "case", None)
    assert entry.images == (tmp_path / "case" / "flair",)
    assert not any(secret in repr(report) for secret in made.IDENTITY)


def test_series_of_one_heap_are_told_apart_by_patient(tmp_path):
    heap = tmp_path / "heap"
    series = [made.slices(IMAGE * k, AFFINE, patient=name) for k, name in ((1, "A"), (2, "A"), (3, "OTHER-ID"))]
    made.save([*made.localiser(), *(ds for one in series for ds in one)], heap, "")
    report = read_layout(heap, "plain")
    assert any("a localiser" in warning for warning in report.warnings)
    by_uid = {entry.extra["series_uid"]: entry for entry in report}
    one, two, other = (by_uid[ds[0].SeriesInstanceUID].subject for ds in series)
    assert one == two != other
    assert "OTHER-ID" not in repr(report)
    entries = settle_roles(report, "normal")
    write_datalist(assign_parts(entries, {"training": [one], "test_normal": [other]}), heap / "dataset.json")
    loaded = load_datalist(heap / "dataset.json", "training")
    assert len(loaded) == 2
    by_name = {ds[0].SeriesInstanceUID: k for k, ds in enumerate(series, 1)}
    for entry in loaded:
        volume = LoadScand("image")({"image": entry["image"]})["image"]
        assert float(volume.max()) == pytest.approx(float(np.max(IMAGE)) * by_name[entry["series_uid"]])
    assert "OTHER-ID" not in json.dumps(loaded)
