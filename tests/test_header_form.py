# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Results lie over their scan in every program: they state their place as the scan does."""

from __future__ import annotations

from importlib import resources

import nibabel as nib
import numpy as np
import pytest

from monai_cuas import load_model
from monai_cuas.transforms import LoadScand
from monai_cuas.transforms.io import ValidateScand
from monai_cuas.utils import ScanError
from tests.transforms.test_background import AFFINE, _scan

WEIGHTS = resources.files("monai_cuas") / "_bundle" / "models" / "model.pt"


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the shipped weights are not here")
@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 1), (0, 0)])
def test_a_models_finding_is_saved_in_the_form_of_the_scan(tmp_path, codes):
    image = nib.Nifti1Image(_scan()[0], AFFINE)
    other = AFFINE.copy()
    other[0, 3] = 25
    image.set_sform(AFFINE, codes[0])
    image.set_qform(other, codes[1])
    image.header.set_xyzt_units("mm", "msec")
    nib.save(image, tmp_path / "scan.nii.gz")
    finding = load_model(str(WEIGHTS), "cpu").find(str(tmp_path / "scan.nii.gz"))
    finding.save(tmp_path, "scan")
    theirs = nib.load(tmp_path / "scan.nii.gz").header
    for what in ("anomaly", "mask"):
        header = nib.load(tmp_path / f"scan_{what}.nii.gz").header
        for name in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "qoffset_x", "quatern_d", "xyzt_units"):
            np.testing.assert_array_equal(header[name], theirs[name], err_msg=name)
        np.testing.assert_array_equal(header["pixdim"][:4], theirs["pixdim"][:4])
    said = {(1, 1): "25 mm apart", (0, 0): "no orientation"}.get(codes)
    # the scan made here is no brain that the network knows, which is said too
    unlike = ("out of its depth", "texture is not that")
    of_the_header = [note for note in finding.notes if not any(words in note for words in unlike)]
    assert [said in note for note in of_the_header] == ([True] if said else [])
    assert len(finding.notes) > len(of_the_header)
    # A result under another name is no scan.
    (tmp_path / "scan_anomaly.nii.gz").rename(tmp_path / "patient.nii.gz")
    with pytest.raises(ScanError, match="a result of monai_cuas"):
        ValidateScand("image")(LoadScand("image")({"image": str(tmp_path / "patient.nii.gz")}))
