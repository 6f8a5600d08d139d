# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""DICOM files for tests, of a person whose name must not turn up anywhere."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy import ndimage

NAME, PATIENT_ID, BIRTH_DATE = "ZYXNAME^QUENTIN", "ZYXID-4711", "19610203"
IDENTITY = ("ZYXNAME", "QUENTIN", PATIENT_ID, BIRTH_DATE, "ZYXACC", "ZYXREF")
MR, ENHANCED_MR, CT, PET = (f"1.2.840.10008.5.1.4.1.1.{t}" for t in ("4", "4.1", "2", "128"))


def oblique_affine(spacing=(2.0, 2.5, 5.0), sagittal=True) -> np.ndarray:
    """Right-handed RAS affine, near sagittal (or axial) and turned about all axes."""
    frame = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]) if sagittal else np.diag([-1, -1, 1])
    for axes, angle in (((0, 1), 0.2), ((1, 2), -0.15), ((0, 2), 0.1)):
        turn = np.eye(3)
        turn[np.ix_(axes, axes)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        frame = turn @ frame
    affine = np.eye(4)
    affine[:3, :3] = frame * np.asarray(spacing)
    affine[:3, 3] = (-40.25, 55.5, 30.125)
    return affine


def brain(shape=(40, 32, 20), seed=0) -> np.ndarray:
    """Asymmetric tissue on a background of 0, integers up to 1000: (columns, rows, slices)."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    inside = (grid**2).sum(0) < 0.85**2
    image = 400 + 100 * grid[0] + 60 * grid[1] + 40 * grid[2] + ndimage.gaussian_filter(rng.normal(0, 60, shape), 1)
    centre = np.array([0.4, -0.3, 0.2])[:, None, None, None]
    image[((grid - centre) ** 2).sum(0) < 0.04] = 900
    return np.where(inside, image.round(), 0).astype(np.int32)


def _common(sop_class: str, modality: str, series_uid: str, study_uid: str, patient: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = NAME, patient, BIRTH_DATE, "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, series_uid
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=[study_uid])
    ds.StudyID, ds.StudyDate, ds.StudyTime = "1", "20240105", "101112"
    ds.AccessionNumber, ds.ReferringPhysicianName = "ZYXACC", "ZYXREF^A"
    ds.Modality, ds.SeriesNumber, ds.SeriesDescription = modality, 3, "FLAIR sag"
    ds.Manufacturer, ds.PositionReferenceIndicator, ds.ImageType = "Phantom", "", ["ORIGINAL", "PRIMARY", "M"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    return ds


def _lps(affine: np.ndarray) -> tuple[np.ndarray, list[float], list[float]]:
    """LPS affine, direction cosines and pixel spacing (rows, columns) as a header states them."""
    lps = np.diag([-1, -1, 1, 1]) @ affine
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    cosines = (lps[:3, :2] / lengths[:2]).T.ravel()
    return lps, [round(float(c), 9) for c in cosines], [round(float(lengths[k]), 6) for k in (1, 0)]


def _stored(plane: np.ndarray, slope: float, intercept: float, signed: bool) -> bytes:
    """Pixels (columns, rows) of one slice as stored values."""
    return np.round((plane.T - intercept) / slope).astype("<i2" if signed else "<u2").tobytes()


def slices(
    image: np.ndarray,
    affine: np.ndarray,
    modality: str = "MR",
    signed: bool = False,
    rescale: list[tuple[float, float]] | None = None,
    series_uid: str | None = None,
    study_uid: str | None = None,
    patient: str = PATIENT_ID,
) -> list[Dataset]:
    """A classic series; ``rescale``: slope and intercept of each slice (or one for all)."""
    series_uid, study_uid = series_uid or generate_uid(), study_uid or generate_uid()
    lps, cosines, spacing = _lps(affine)
    out = []
    for z in range(image.shape[2]):
        ds = _common({"MR": MR, "CT": CT, "PT": PET}[modality], modality, series_uid, study_uid, patient)
        ds.InstanceNumber = z + 1
        ds.ImageOrientationPatient, ds.PixelSpacing = cosines, spacing
        ds.ImagePositionPatient = [round(float(v), 6) for v in (lps @ [0, 0, z, 1])[:3]]
        ds.SliceThickness = float(np.linalg.norm(lps[:3, 2]))
        ds.Rows, ds.Columns, ds.PixelRepresentation = image.shape[1], image.shape[0], int(signed)
        slope, intercept = rescale[z % len(rescale)] if rescale else (1.0, 0.0)
        if rescale:
            ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
        ds.PixelData = _stored(image[:, :, z], slope, intercept, signed)
        out.append(ds)
    return out


def enhanced(image: np.ndarray, affine: np.ndarray, order=None, rescale=((1.0, 0.0),)) -> Dataset:
    """The same as one enhanced multi-frame MR; ``order`` of the frames and rescale by frame may be anything."""
    ds = _common(ENHANCED_MR, "MR", generate_uid(), generate_uid(), PATIENT_ID)
    lps, cosines, spacing = _lps(affine)
    order = range(image.shape[2]) if order is None else order
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = spacing, float(np.linalg.norm(lps[:3, 2]))
    orientation.ImageOrientationPatient = cosines
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    ds.PerFrameFunctionalGroupsSequence = Sequence()
    pixels = b""
    for z in order:
        frame, position, transform, content = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [round(float(v), 6) for v in (lps @ [0, 0, z, 1])[:3]]
        slope, intercept = rescale[z % len(rescale)]
        transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = slope, intercept, "US"
        content.DimensionIndexValues = [int(z) + 1]
        frame.PlanePositionSequence = Sequence([position])
        frame.PixelValueTransformationSequence = Sequence([transform])
        frame.FrameContentSequence = Sequence([content])
        ds.PerFrameFunctionalGroupsSequence.append(frame)
        pixels += _stored(image[:, :, z], slope, intercept, False)
    organisation, index = Dataset(), Dataset()
    organisation.DimensionOrganizationUID = index.DimensionOrganizationUID = generate_uid()
    index.DimensionIndexPointer = pydicom.tag.Tag("ImagePositionPatient")
    index.FunctionalGroupPointer = pydicom.tag.Tag("PlanePositionSequence")
    ds.DimensionOrganizationSequence, ds.DimensionIndexSequence = Sequence([organisation]), Sequence([index])
    ds.NumberOfFrames, ds.InstanceNumber = image.shape[2], 1
    ds.Rows, ds.Columns, ds.PixelRepresentation, ds.PixelData = image.shape[1], image.shape[0], 0, pixels
    return ds


def localiser(series_uid: str | None = None, marked: bool = True) -> list[Dataset]:
    """Three planes of three orientations."""
    series_uid, out = series_uid or generate_uid(), []
    for sagittal in (True, False):
        out += slices(brain((16, 16, 6)), oblique_affine(sagittal=sagittal), series_uid=series_uid)
    for ds in out:
        ds.StudyInstanceUID, ds.FrameOfReferenceUID = out[0].StudyInstanceUID, out[0].FrameOfReferenceUID
        if marked:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return out


def report(study_uid: str | None = None) -> Dataset:
    """Something that is no image."""
    ds = _common("1.2.840.10008.5.1.4.1.1.88.22", "SR", generate_uid(), study_uid or generate_uid(), PATIENT_ID)
    for keyword in ("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"):
        delattr(ds, keyword)
    return ds


def again(ds: Dataset) -> Dataset:
    """A copy under a SOPInstanceUID of its own."""
    other = copy.deepcopy(ds)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return other


def save(datasets, folder: Path, suffix: str = ".dcm", seed: int = 0) -> Path:
    """Write in random order under names that tell nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    datasets = datasets if isinstance(datasets, list) else [datasets]
    start = len(list(folder.iterdir()))
    for number, k in enumerate(np.random.default_rng(seed).permutation(len(datasets))):
        datasets[k].save_as(folder / f"IM{start + number:04d}{suffix}", enforce_file_format=True)
    return folder
