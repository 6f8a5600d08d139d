# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Two readers of segmentations that share no code with highdicom, which writes them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk


def by_hand(file, sources: list[pydicom.Dataset]) -> dict[tuple[str, int], np.ndarray]:
    """
    Frames (rows, columns) by the image and frame, from 0, that they refer to, by pydicom alone.

    Position, orientation and spacing of each frame must be those of the image.
    """
    seg = pydicom.dcmread(file)
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = bits[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(-1, seg.Rows, seg.Columns)
    by_uid = {ds.SOPInstanceUID: ds for ds in sources}
    shared = seg.SharedFunctionalGroupsSequence[0]
    out = {}
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence):
        (reference,) = groups.DerivationImageSequence[0].SourceImageSequence
        source = by_uid[reference.ReferencedSOPInstanceUID]
        number = int(reference.get("ReferencedFrameNumber", 1)) - 1
        if "PerFrameFunctionalGroupsSequence" in source:
            place = source.PerFrameFunctionalGroupsSequence[number].PlanePositionSequence[0]
            measures = source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
            turned = source.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
        else:
            place = measures = turned = source
        assert np.allclose(groups.PlanePositionSequence[0].ImagePositionPatient, place.ImagePositionPatient, atol=1e-4)
        orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        assert np.allclose(orientation, turned.ImageOrientationPatient, atol=1e-5)
        assert np.allclose(shared.PixelMeasuresSequence[0].PixelSpacing, measures.PixelSpacing, atol=1e-5)
        assert groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1
        out[str(reference.ReferencedSOPInstanceUID), number] = frame
    return out


def by_dcmqi(file, folder: Path, name: str = "segimage2itkimage") -> tuple[np.ndarray, np.ndarray]:
    """Volume and RAS affine by a program of dcmqi; skips the test where that is not installed."""
    program = shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("dcmqi is not installed")
    folder.mkdir()
    command = [program, "--inputDICOM", str(file), "--outputDirectory", str(folder), "-t", "nrrd"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    (volume,) = folder.glob("*.nrrd")
    image = sitk.ReadImage(str(volume))
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ lps
