# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from monai_cuas.data.contrast import contrast_of, label

from ..dicom_files import brain, enhanced, oblique_affine, save, slices


@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("sub-01_ses-1_FLAIR", "flair"),
        ("sub-01_T2w", "t2"),
        ("sub-01_space-T1w_FLAIR", "flair"),
        ("sub-01_ce-gad_T1w", "t1ce"),
        ("IXI012-HH-1211-T1", "t1"),
        ("BraTS-GLI-00001-000-t2f", "flair"),
        ("BraTS-GLI-00001-000-t1c", "t1ce"),
        ("BraTS19_CBICA_AAB_1_t1ce", "t1ce"),
        ("ax T2 FLAIR 3mm", "flair"),
        ("FLAIR_t2_dark", "flair"),
        ("t1_mprage_sag_p2_iso", "t1"),
        ("T1W", "t1"),
        ("T1WKS", None),
        ("t2_star", "t2"),
        ("T2star", "t2*"),
        ("sub-2_dwi", "diffusion"),
        ("CT_head_049", "ct"),
        ("patient_t1_post", "t1ce"),
        ("scan", None),
        ("octopus", None),
        ("t12", None),
    ],
)
def test_names(tmp_path, name, contrast):
    found = contrast_of(tmp_path / f"{name}.nii.gz")
    assert found.name == contrast
    assert found.why == ("file name" if contrast else "nothing tells it")


def test_the_folder_tells_where_the_name_does_not(tmp_path):
    assert contrast_of(tmp_path / "flair" / "x" / "TCGA_1.nii.gz") == ("flair", "the folder 'flair'", "")
    assert contrast_of(tmp_path / "flair" / "TCGA_1_T1.nii.gz").name == "t1"
    assert contrast_of(tmp_path / "flair" / "x" / "y" / "TCGA_1.nii.gz").name is None


@pytest.mark.parametrize(
    ("values", "contrast"),
    [
        ({"SeriesDescription": "t2_tirm_tra_dark-fluid"}, "flair"),
        ({"ProtocolName": "MPRAGE"}, "t1"),
        ({"ProtocolName": "MPRAGE", "ContrastBolusAgent": "Gadovist"}, "t1ce"),
        ({"EchoTime": 0.09, "RepetitionTime": 9, "InversionTime": 2.5}, "flair"),
        ({"EchoTime": 0.003, "RepetitionTime": 2.3, "InversionTime": 0.9}, "t1"),
        ({"EchoTime": 0.012, "RepetitionTime": 0.6}, "t1"),
        ({"EchoTime": 0.1, "RepetitionTime": 4.5}, "t2"),
        ({"EchoTime": 0.1, "RepetitionTime": 4.5, "ScanningSequence": "EP"}, None),
        ({"EchoTime": 0.015, "RepetitionTime": 3.0}, None),
        ({"EchoTime": "x"}, None),
        ({"Modality": "CT"}, "ct"),
        ([], None),
    ],
)
def test_sidecar(tmp_path, values, contrast):
    (tmp_path / "scan.json").write_text(json.dumps(values))
    assert contrast_of(tmp_path / "scan.nii.gz").name == contrast


def test_a_sidecar_that_contradicts_the_name_is_said(tmp_path):
    (tmp_path / "sub-1_T1w.json").write_text(json.dumps({"SeriesDescription": "FLAIR"}))
    assert contrast_of(tmp_path / "sub-1_T1w.nii.gz") == ("t1", "file name", "its sidecar says FLAIR")


def test_values_of_air_are_those_of_ct(tmp_path):
    for name, lowest, contrast in (("a", -1024, "ct"), ("b", 0, None)):
        volume = np.full((4, 4, 4), 30, dtype=np.int16)
        volume[0] = lowest
        nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / f"{name}.nii.gz")
        assert contrast_of(tmp_path / f"{name}.nii.gz").name == contrast


def _series(**values):
    out = slices(brain(), oblique_affine())
    for dataset in out:
        for key, value in values.items():
            setattr(dataset, key, value)
    return out


@pytest.mark.parametrize(
    ("values", "contrast", "why"),
    [
        ({"SeriesDescription": "AX FLAIR Mueller"}, "flair", "series description"),
        ({"SeriesDescription": "ax", "ProtocolName": "t1_fl3d"}, "t1", "series description"),
        (
            {"SeriesDescription": "ax", "EchoTime": 95.0, "RepetitionTime": 9000.0, "InversionTime": 2500.0},
            "flair",
            "echo, repetition and inversion time",
        ),
        ({"Modality": "CT", "SeriesDescription": "FLAIR"}, "ct", "DICOM modality"),
        ({"SeriesDescription": "Mueller"}, None, "its DICOM header does not tell"),
    ],
)
def test_dicom(tmp_path, values, contrast, why):
    datasets = _series(**values)
    save(datasets, tmp_path / "T1")
    found = contrast_of(f"{tmp_path / 'T1'}::{datasets[0].SeriesInstanceUID}")
    assert (found.name, found.why) == (contrast, why)
    # nothing of the header is shown: it may hold a patient's name
    assert "Mueller" not in "".join(map(str, found))


def test_enhanced_dicom_and_what_is_damaged(tmp_path):
    dataset = enhanced(brain(), oblique_affine())
    dataset.SeriesDescription = "T2 tse"
    save(dataset, tmp_path / "x")
    assert contrast_of(f"{tmp_path / 'x'}::{dataset.SeriesInstanceUID}").name == "t2"
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM")
    assert contrast_of(tmp_path / "broken.dcm") == (None, "its header cannot be read", "")


def test_labels():
    assert [label(name) for name in ("flair", "t1ce", "diffusion", None)] == [
        *("FLAIR", "T1 with contrast agent", "diffusion", "unknown"),
    ]
