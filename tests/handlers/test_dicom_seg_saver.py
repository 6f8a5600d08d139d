# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

pytest.importorskip("highdicom", reason="needs monai_cuas[dicom]")

from monai_cuas.data.scans import scan_datalist
from monai_cuas.handlers import AnomalyResultSaver, DicomSegSaver
from monai_cuas.handlers.finished import remove_results
from monai_cuas.transforms import LoadScand
from monai_cuas.utils import CUASError
from tests import dicom_files as made
from tests.dicom_seg import by_hand

SHAPE = (18, 14, 12)
IMAGE, AFFINE = made.brain(SHAPE), made.oblique_affine()
MASK = np.zeros(SHAPE, dtype=bool)
MASK[3:7, 2:5, 4:6] = MASK[12, 9, 10] = True


def _scan(entry, mask):
    """What an evaluator has of a scan after its postprocessing."""
    image = LoadScand("image")(entry)["image"]
    volume = MetaTensor(torch.as_tensor(mask, dtype=torch.uint8)[None], affine=image.affine)
    brain = MetaTensor((image.as_tensor() > 0).to(torch.uint8), affine=image.affine)
    item = {"image": image, "brain_mask": brain, "name": entry["name"]}
    return item, {"pred": volume, "anomaly": volume.float() * 3}


def _run(handlers, scans):
    def step(engine, index):
        item, result = scans[index]
        engine.state.batch = [item]
        return [result]

    engine = Engine(step)
    for handler in handlers:
        handler.attach(engine)
    engine.run(list(range(len(scans))), max_epochs=1)


def _handlers(folder, **kwargs):
    return [AnomalyResultSaver(folder, overlay=False), DicomSegSaver(folder, **kwargs)]


def _rows(folder):
    with open(folder / "results.csv", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_files_and_rows(tmp_path):
    lesion, healthy = made.slices(IMAGE, AFFINE), made.slices(IMAGE, AFFINE, "CT", True, [(1.0, -1024.0)])
    made.save([*lesion, *healthy], tmp_path / "in")
    nib.save(nib.Nifti1Image(IMAGE.astype(np.float32), AFFINE), tmp_path / "in" / "plain.nii.gz")
    masks = {lesion[0].SeriesInstanceUID: MASK}
    out = tmp_path / "out"
    entries = scan_datalist(tmp_path / "in")
    handlers = _handlers(out)
    _run(handlers, [_scan(entry, masks.get(entry["name"], MASK & False)) for entry in entries])
    handlers[1].report()
    rows = _rows(out)
    assert len(rows) == 3
    row = rows[lesion[0].SeriesInstanceUID]
    assert row["dicom_seg"] == f"{row['name']}_seg.dcm"
    assert row["dicom_seg_content"] == "3 of 12 frames are marked"
    assert row["lesion_volume_ml"] == "0.625"
    frames = by_hand(out / row["dicom_seg"], lesion)
    saved = np.asarray(nib.load(out / f"{row['name']}_mask.nii.gz").dataobj)
    for z, ds in enumerate(lesion):
        np.testing.assert_array_equal(frames[ds.SOPInstanceUID, 0], saved[:, :, z].T)
    row = rows[healthy[0].SeriesInstanceUID]
    assert row["dicom_seg_content"] == "nothing above the threshold: all 12 frames are empty"
    assert not np.any(list(by_hand(out / row["dicom_seg"], healthy).values()))
    assert rows["plain"]["dicom_seg"] == "none: the scan is not DICOM"
    assert len(list(out.glob("*_seg.dcm"))) == 2


def test_one_that_cannot_be_written_does_not_stop_the_others(tmp_path, caplog):
    bad, good = made.slices(IMAGE, AFFINE), made.slices(IMAGE, AFFINE)
    for ds in bad:
        del ds.FrameOfReferenceUID
    made.save([*bad, *good], tmp_path / "in")
    out = tmp_path / "out"
    handlers = _handlers(out)
    _run(handlers, [_scan(entry, MASK) for entry in scan_datalist(tmp_path / "in")])
    rows = _rows(out)
    assert rows[bad[0].SeriesInstanceUID]["dicom_seg"].startswith("none: ")
    assert rows[good[0].SeriesInstanceUID]["dicom_seg"].endswith("_seg.dcm")
    with pytest.raises(CUASError, match="1 of 2 scans have no DICOM segmentation") as caught:
        handlers[1].report()
    assert not any(secret in str(caught.value) + caplog.text for secret in made.IDENTITY)


def test_weights_and_rate_are_stated(tmp_path):
    made.save(made.slices(IMAGE, AFFINE), tmp_path / "in")
    (tmp_path / "model.pt").write_bytes(b"weights")
    handlers = _handlers(tmp_path / "out", weights=tmp_path / "model.pt", rate=0.02, terms={"label": "Spot"})
    _run(handlers, [_scan(entry, MASK) for entry in scan_datalist(tmp_path / "in")])
    ds = pydicom.dcmread(next((tmp_path / "out").glob("*_seg.dcm")))
    parameters = ds.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    assert "healthy_false_positive_rate=0.02" in parameters
    assert f"weights_sha256={ds.DeviceSerialNumber}" in parameters
    assert ds.SegmentSequence[0].SegmentLabel == "Spot"
    assert ds.ContentDescription == "Above the threshold of 0.02 of healthy voxels"


def test_rerun_without_segmentations_forgets_them(tmp_path):
    made.save(made.slices(IMAGE, AFFINE), tmp_path / "in")
    (entry,) = scan_datalist(tmp_path / "in")
    _run(_handlers(tmp_path / "out"), [_scan(entry, MASK)])
    _run(_handlers(tmp_path / "out")[:1], [_scan(entry, MASK)])
    assert "dicom_seg" not in _rows(tmp_path / "out")[entry["name"]]


def test_anomaly_map_as_parametric_map_when_asked_for(tmp_path):
    made.save(made.slices(IMAGE, AFFINE), tmp_path / "in")
    (entry,) = scan_datalist(tmp_path / "in")
    _run(_handlers(tmp_path / "out", parametric_map=True), [_scan(entry, MASK)])
    row = _rows(tmp_path / "out")[entry["name"]]
    ds = pydicom.dcmread(tmp_path / "out" / row["dicom_map"])
    assert row["dicom_map"] == f"{entry['name']}_map.dcm"
    assert np.frombuffer(ds.FloatPixelData, "<f4").sum() == 3 * MASK.sum()
    seg = pydicom.dcmread(tmp_path / "out" / row["dicom_seg"])
    assert (ds.SeriesNumber, ds.StudyInstanceUID) == (seg.SeriesNumber + 2, seg.StudyInstanceUID)


def test_painted_scan_when_asked_for(tmp_path):
    made.save(made.slices(IMAGE, AFFINE), tmp_path / "in")
    (entry,) = scan_datalist(tmp_path / "in")
    _run(_handlers(tmp_path / "out", painted=True), [_scan(entry, MASK)])
    row = _rows(tmp_path / "out")[entry["name"]]
    assert row["dicom_painted"] == f"{entry['name']}_painted"
    assert "dicom_map" not in row
    images = [pydicom.dcmread(file) for file in sorted((tmp_path / "out" / row["dicom_painted"]).iterdir())]
    assert len(images) == SHAPE[2]
    seg = pydicom.dcmread(tmp_path / "out" / row["dicom_seg"])
    assert {(ds.SeriesNumber, ds.StudyInstanceUID) for ds in images} == {(seg.SeriesNumber + 3, seg.StudyInstanceUID)}
    # coloured where the map is above one in ten, and nowhere else
    red, green, blue = np.moveaxis(np.stack([ds.pixel_array for ds in images]).astype(int), -1, 0)
    assert ((red != blue) | (red != green)).sum() == MASK.sum()
    remove_results(tmp_path / "out")
    assert not (tmp_path / "out" / row["dicom_painted"]).exists()


CHARACTERS = {
    "Latin 1": ("ISO_IR 100", "MÜLLER^JÖRG"),
    "UTF-8": ("ISO_IR 192", "MÜLLER^JÖRG"),
    "several": (["ISO 2022 IR 6", "ISO 2022 IR 100"], "MÜLLER^JÖRG"),
    "Japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
}


@pytest.mark.parametrize(("characters", "name"), CHARACTERS.values(), ids=CHARACTERS.keys())
def test_names_of_all_alphabets(tmp_path, characters, name):
    datasets = made.slices(IMAGE, AFFINE)
    for ds in datasets:
        ds.SpecificCharacterSet, ds.PatientName = characters, name
    made.save(datasets, tmp_path / "in")
    (entry,) = scan_datalist(tmp_path / "in")
    _run(_handlers(tmp_path / "out"), [_scan(entry, MASK)])
    ds = pydicom.dcmread(tmp_path / "out" / _rows(tmp_path / "out")[entry["name"]]["dicom_seg"])
    assert ds.PatientName == name


# named, as pytest puts the values into the name of the folder, which the log may show
@pytest.mark.parametrize("wrong", [b"ISO_IR 6  ", b"ZYXNAME123"], ids=["other", "unknown"])
def test_wrong_character_set(tmp_path, wrong, recwarn, caplog):
    datasets = made.slices(IMAGE, AFFINE)
    for ds in datasets:
        ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 100", "MÜLLER^JÖRG"
    for file in made.save(datasets, tmp_path / "in").iterdir():
        file.write_bytes(file.read_bytes().replace(b"ISO_IR 100", wrong))
    (entry,) = scan_datalist(tmp_path / "in")
    _run(_handlers(tmp_path / "out"), [_scan(entry, MASK)])
    assert _rows(tmp_path / "out")[entry["name"]]["dicom_seg"].endswith("_seg.dcm")
    text = caplog.text + "".join(str(w.message) for w in recwarn)
    assert "LLER" not in text
    assert "ZYX" not in text


def test_unknown_term(tmp_path):
    with pytest.raises(TypeError, match="labels"):
        DicomSegSaver(tmp_path, terms={"labels": "x"})
