# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from monai_cuas.calibration.fit import calibrate, conformal_quantile
from monai_cuas.calibration.scores import threshold_at
from monai_cuas.calibration.truth import read_truth
from monai_cuas.evaluation.evaluate import evaluate
from monai_cuas.inferers import CalibratedInferer
from monai_cuas.networks.layers import LandmarkStandardization, ScoreCalibration
from monai_cuas.utils import CUASError, ScanError
from monai_cuas.visualize.comparison import load_panel_rows

SHAPE = (24, 24, 10)
RATES = (0.5, 0.1, 0.05, 0.01)


class _Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.standardize = LandmarkStandardization(1)
        self.calibration = ScoreCalibration(RATES)

    def forward(self, x):
        return x


class _Identity(Inferer):
    def __call__(self, inputs, network, *args, **kwargs):
        return network(inputs)


def _preprocessing(entry):
    if entry.get("bad"):
        raise ScanError(entry["image"], "all voxels are zero", "export it again")
    image = np.random.default_rng(entry["seed"]).uniform(0.1, 0.6, SHAPE).astype(np.float32)
    if entry.get("lesion"):
        image[5:10, 5:10, 3:6] = 0.9
    brain = torch.ones(1, *SHAPE, dtype=torch.uint8)
    return {**entry, "image": MetaTensor(torch.as_tensor(image)[None]), "brain_mask": MetaTensor(brain)}


def _postprocessing(item):
    return {**item, "anomaly": item["pred"]}


def _normals(n, start=0):
    return [{"image": f"n{k}", "subject": f"n{k}", "seed": k + start} for k in range(n)]


def _calibrate(network, entries, **kwargs):
    return calibrate(network, entries, _preprocessing, CalibratedInferer(_Identity()), _postprocessing, **kwargs)


def test_conformal_quantile_by_hand():
    values = np.arange(1.0, 100.0)  # n = 99: k = ceil(100 * 0.9) = 90
    assert conformal_quantile(values, 0.1) == 90.0
    assert np.isnan(conformal_quantile(values, 0.001))


def test_calibration_holds_its_rate_and_is_reproducible(tmp_path):
    network, again = _Network(), _Network()
    report = _calibrate(network, _normals(5), output_json=tmp_path / "calibration.json", max_voxels_per_scan=4000)
    _calibrate(again, _normals(5), max_voxels_per_scan=4000)
    assert torch.equal(network.calibration.thresholds, again.calibration.thresholds)
    # uniform in [0.1, 0.6]: the 1% threshold is 0.595
    assert threshold_at(network.calibration, 0.01) == pytest.approx(0.595, abs=2e-3)
    assert json.loads((tmp_path / "calibration.json").read_text())["n_scans"] == report["n_scans"] == 5
    assert report["realised_rate_on_calibration_scans"]["0.01"]["mean"] == pytest.approx(0.01, abs=3e-3)
    assert report["percentiles"]["99"] == report["thresholds"]["0.01"] == threshold_at(network.calibration, 0.01)


def test_calibration_takes_the_lesion_free_slices_of_a_lesion_scan(tmp_path):
    label = _mask(tmp_path / "l.nii.gz", LESION)
    lesions = [{**entry, "lesion": True, "label": label} for entry in _normals(5)]
    network, clean = _Network(), _Network()
    report = _calibrate(network, lesions)
    assert report["n_voxels"] == 5 * 24 * 24 * 7  # three of ten slices show the lesion
    _calibrate(clean, _normals(5))
    # the lesion's 0.9 would be 1.3% of all voxels and the 1% threshold with it
    assert threshold_at(network.calibration, 0.01) == pytest.approx(threshold_at(clean.calibration, 0.01), abs=2e-3)
    known = [{**entry, "scan_label": 1} for entry in _normals(5)]
    with pytest.raises(CUASError, match="0 of 5 normal scans"):
        _calibrate(_Network(), known)
    everywhere = [{**entry, "slice_labels": [1] * SHAPE[2]} for entry in _normals(5)]
    with pytest.raises(CUASError, match="0 of 5 normal scans"):
        _calibrate(_Network(), everywhere)


def test_too_few_voxels_leave_the_rate_unsupported(caplog):
    network = _Network()
    report = _calibrate(network, _normals(3), max_voxels_per_scan=800)  # 24 expected beyond 1%
    assert 0.01 in report["unsupported_rates"]
    assert torch.isnan(network.calibration.thresholds[-1])
    assert "too few" in caplog.text
    with pytest.raises(CUASError):
        threshold_at(network.calibration, 0.01)


def test_too_few_scans_and_voxels_are_refused():
    with pytest.raises(CUASError, match="at least 3"):
        _calibrate(_Network(), _normals(2))
    with pytest.raises(CUASError, match="too few brain voxels"):
        _calibrate(_Network(), _normals(3), max_voxels_per_scan=20)


def _mask(path, *boxes):
    """A label file; the boxes get the values 1, 2, ..."""
    values = np.zeros(SHAPE, dtype=np.uint8)
    for value, box in enumerate(boxes, 1):
        values[box] = value
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return str(path)


LESION = np.s_[5:10, 5:10, 3:6]


def _figures(tmp_path, tests):
    """Evaluation of the raw map; the normals' intensities lie below 0.6, the lesion's at 0.9."""
    report = evaluate(
        *(_Network(), {"model": CalibratedInferer(_Identity())}, _normals(5), tests),
        *(_preprocessing, _postprocessing, tmp_path / "out"),
        with_baselines=False,
    )
    return report, report["methods"]["model"]["groups"]["all lesions"]


def test_ignored_voxels_count_in_no_figure(tmp_path):
    """The bright box is the lesion's upper third and, for the rest, another pathology."""
    upper, lower = np.s_[5:10, 5:10, 5:6], np.s_[5:10, 5:10, 3:5]
    entry = {"image": "l", "seed": 99, "lesion": True, "label": _mask(tmp_path / "l.nii.gz", upper, lower)}
    _, counted = _figures(tmp_path, [*_normals(2, 50), entry])
    report, ignored = _figures(tmp_path, [*_normals(2, 50), {**entry, "ignore_label": 2}])
    scan = report["methods"]["model"]["scans"][-1]
    assert counted["auprc"] == ignored["auprc"] == 1.0
    assert scan["true"] == scan["overlap"] == 25
    # 57 of 5685 healthy voxels above the threshold of 1%, as without the other pathology
    assert scan["fpr"] == pytest.approx(0.01, abs=5e-3)
    assert ignored["prevalence"] == pytest.approx(25 / (np.prod(SHAPE) - 50))
    sick = [s for s in report["methods"]["model"]["scans"] if s["diseased"]]
    assert len(sick) == 1
    # nothing but the other pathology: a normal scan
    report, _ = _figures(
        tmp_path, [*_normals(2, 50), {**entry, "ignore_label": 1, "label": _mask(tmp_path / "o.nii.gz", LESION)}]
    )
    assert not report["methods"]["model"]["scans"][-1]["diseased"]
    assert report["methods"]["model"]["scans"][-1]["fpr"] == pytest.approx(0.01, abs=5e-3)


def test_scans_scored_by_the_spread_of_their_map(tmp_path):
    """A scan whose map is uniformly high is none that spreads."""
    label = _mask(tmp_path / "l.nii.gz", LESION)
    tests = [*_normals(2, 50), {"image": "l", "seed": 99, "lesion": True, "label": label}]
    found = {}
    for score in ("top", "std"):
        report = evaluate(
            *(_Network(), {"model": CalibratedInferer(_Identity())}, _normals(5), tests),
            *(_preprocessing, _postprocessing, tmp_path / score),
            with_baselines=False,
            detection_score=score,
        )
        found[score] = [scan["scan_score"] for scan in report["methods"]["model"]["scans"]]
    # the scale knows how much half of the healthy voxels exceed, and goes on a little below that, to a rate of 1
    raw = [_preprocessing(entry)["image"].numpy() for entry in tests]
    assert all(np.maximum(one, 0.35).std() < score < one.std() for one, score in zip(raw, found["std"]))
    assert found["top"] != pytest.approx(found["std"], rel=0.5)
    with pytest.raises(CUASError, match="top or std"):
        evaluate(_Network(), {}, [], tests, _preprocessing, _postprocessing, tmp_path, detection_score="max")


@pytest.mark.parametrize(("voxels", "counted"), [(0, 24 * 24 * 10), (1, 22 * 22 * 8), (2, 20 * 20 * 6)])
def test_the_eroded_brain_alone_is_counted(tmp_path, voxels, counted):
    """Of the lesion, which is inside after any of these, 75 voxels; of the brain, what the erosion leaves."""
    lesion = {"image": "l", "seed": 99, "lesion": True, "label": _mask(tmp_path / "l.nii.gz", LESION)}
    report = evaluate(
        *(_Network(), {"model": CalibratedInferer(_Identity())}, _normals(5), [*_normals(2, 50), lesion]),
        *(_preprocessing, _postprocessing, tmp_path / "out"),
        with_baselines=False,
        erode_voxels=voxels,
    )
    scans = report["methods"]["model"]["scans"]
    assert [scan["healthy"] for scan in scans] == [counted, counted, counted - 75]
    assert report["methods"]["model"]["groups"]["all lesions"]["prevalence"] == pytest.approx(75 / counted)
    assert report["erode_voxels"] == voxels


def test_slice_labels_give_detection_without_a_mask(tmp_path):
    labels = [int(3 <= k < 6) for k in range(SHAPE[2])]
    lesion = {"image": "l", "seed": 99, "lesion": True, "slice_labels": labels}
    report, figures = _figures(tmp_path, [*_normals(2, 50), lesion])
    assert figures["slice_auroc"] == figures["scan_auroc"] == 1.0
    assert (figures["n_scans"], figures["n_masks"], figures["n_normal"]) == (1, 0, 2)
    for name in ("auroc", "auprc", "oracle_dice", "dice_pooled", "dice_mean", "fpr_outside_label_mean"):
        assert np.isnan(figures[name]), name
    _, wrong = _figures(tmp_path, [*_normals(2, 50), {**lesion, "slice_labels": labels[::-1]}])
    assert wrong["slice_auroc"] < 0.9
    assert "| model | 1 | - |" in (tmp_path / "out" / "evaluation.md").read_text()


@pytest.mark.parametrize("flip", [False, True])
def test_a_picture_of_slice_labels_alone(tmp_path, flip):
    """Of the slices with a lesion that with most brain is shown, wherever the feet are; there is no curve."""
    affine = np.diag([1.0, 1.0, -1.0 if flip else 1.0, 1.0])
    labels = [int(k in (2, 3)) for k in range(SHAPE[2])]

    def preprocessing(entry):
        item = _preprocessing(entry)
        brain = torch.ones(1, *SHAPE, dtype=torch.uint8)
        brain[..., 2] = 0
        brain[:, :12, :, 2] = 1  # less than in slice 3
        item["image"][..., 3] = 0.8
        return {**item, "brain_mask": MetaTensor(brain, affine=affine)}

    tests = [*_normals(2, 50), {"image": "l", "subject": "l", "seed": 99, "slice_labels": labels}]
    tests.append({"image": "k", "subject": "k", "seed": 98, "scan_label": 1})  # nobody knows which slice
    evaluate(
        *(_Network(), {"model": CalibratedInferer(_Identity())}, _normals(5), tests),
        *(preprocessing, _postprocessing, tmp_path),
        with_baselines=False,
    )
    [row] = load_panel_rows(tmp_path / "panel.npz")
    assert row["title"] == "l\n(lesion not outlined)"
    assert not row["label"].any()
    assert row["brain"].all()
    assert (row["maps"]["model"] == row["maps"]["model"].flat[0]).all()  # slice 3 has one value
    assert (tmp_path / "panel.png").stat().st_size > 1000
    assert not (tmp_path / "precision_recall.png").exists()


def test_as_many_slice_labels_as_slices(tmp_path):
    report, _ = _figures(tmp_path, [*_normals(1, 50), {"image": "l", "seed": 9, "slice_labels": [0, 1]}])
    assert report["failed"] == [["l", "l: 2 slice labels for 10 axial slices; correct the data list."]]


def test_an_empty_label_is_a_normal_scan_and_a_lesion_without_mask_is_none(tmp_path):
    empty = {"image": "e", "seed": 7, "label": _mask(tmp_path / "e.nii.gz")}
    unknown = {"image": "u", "seed": 8, "lesion": True, "scan_label": 1}
    report, figures = _figures(tmp_path, [*_normals(2, 50), empty, unknown])
    assert [s["diseased"] for s in report["methods"]["model"]["scans"]] == [False, False, False, True]
    assert (figures["n_normal"], figures["n_scans"], figures["n_masks"]) == (3, 1, 0)
    assert figures["scan_auroc"] == 1.0
    assert np.isnan(figures["slice_auroc"])  # nobody knows which slices of the lesion scan are the sick ones
    assert np.isnan(figures["auprc"])


def test_a_label_that_is_missing_or_on_another_grid(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "small.nii.gz")
    bad = [{"image": n, "seed": 1, "label": str(tmp_path / n)} for n in ("none.nii.gz", "small.nii.gz")]
    report, _ = _figures(tmp_path, [*_normals(1, 50), *bad])
    assert "no such file" in report["failed"][0][1]
    assert "not on the grid of its scan" in report["failed"][1][1]


def test_evaluation_of_an_easy_lesion(tmp_path):
    label = _mask(tmp_path / "label.nii.gz", LESION)
    lesion = {
        "image": "l",
        "subject": "l",
        "seed": 99,
        "lesion": True,
        "label": label,
        "kind": "tumour",
        "size_mm": 5.0,
    }
    tests = [*_normals(2, 50), lesion, {"image": "bad", "bad": True, "seed": 0}]
    report = evaluate(
        _Network(),
        {"model": CalibratedInferer(_Identity())},
        _normals(5),
        tests,
        _preprocessing,
        _postprocessing,
        tmp_path,
    )
    figures = report["methods"]["model"]["groups"]["all lesions"]
    assert figures["auprc"] == figures["auroc"] == figures["oracle_dice"] == figures["scan_auroc"] == 1.0
    assert figures["fpr_normal_mean"] == pytest.approx(0.01, abs=5e-3)
    # 75 lesion voxels, all found, and about 57 of 5685 others
    scan = next(s for s in report["methods"]["model"]["scans"] if s["name"] == "l")
    assert scan["overlap"] == 75
    assert figures["dice_pooled"] == pytest.approx(2 * 75 / (75 + scan["found"]))
    assert set(report["methods"]) == {
        "model", "raw intensity", "raw intensity (two-sided)", "histogram equalisation"
    }  # fmt: skip
    assert {"kind: tumour", "size: 5-10 mm"} <= set(report["methods"]["model"]["groups"])
    assert report["failed"] == [["bad", "bad: all voxels are zero; export it again."]]
    with open(tmp_path / "evaluation.csv", newline="") as file:
        row = {
            "method": "model",
            "group": "all lesions",
            "metric": "auprc",
            "value": "1.0",
            "low": "nan",
            "high": "nan",
        }
        assert row in list(csv.DictReader(file))
    assert "oracle_dice" in (tmp_path / "evaluation.md").read_text()
    for name in ("panel.png", "precision_recall.png"):
        assert (tmp_path / name).stat().st_size > 1000


def test_normals_alone_give_false_positive_rates(tmp_path):
    methods = {"model": CalibratedInferer(_Identity())}
    report = evaluate(
        _Network(),
        methods,
        _normals(4),
        _normals(2, 70),
        _preprocessing,
        _postprocessing,
        tmp_path,
        with_baselines=False,
    )
    figures = report["methods"]["model"]["groups"]["all lesions"]
    assert figures["n_normal"] == 2
    assert 0 < figures["fpr_normal_mean"] <= figures["fpr_normal_max"] < 0.02
    # both normals have the same number of voxels
    assert figures["fpr_normal_pooled"] == pytest.approx(figures["fpr_normal_mean"])
    json.loads((tmp_path / "evaluation.json").read_text())


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_a_label_elsewhere_is_refused(tmp_path, shift):
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    moved = affine.copy()
    moved[0, 3] = 2 * shift
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), moved), tmp_path / "label.nii.gz")
    brain = MetaTensor(torch.ones(1, *SHAPE), affine=affine)
    entry = {"label": str(tmp_path / "label.nii.gz")}
    if shift:
        with pytest.raises(ScanError, match="not on the grid"):
            read_truth(entry, brain, 2)
    else:
        assert read_truth(entry, brain, 2).voxels.all()


def _lesion_scans(tmp_path, n):
    """One patient each; the second of them has another lesion, which is not bright, and so is missed."""
    small = np.s_[15:17, 15:17, 3:5]
    boxes = [(LESION, small) if k == 1 else (LESION,) for k in range(n)]
    labels = [_mask(tmp_path / f"l{k}.nii.gz", *some) for k, some in enumerate(boxes)]
    return [{"image": f"l{k}", "subject": f"l{k}", "seed": 9, "lesion": True, "label": f} for k, f in enumerate(labels)]


def test_figures_by_lesion_with_intervals_and_the_paired_test(tmp_path):
    report = evaluate(
        *(_Network(), {"model": CalibratedInferer(_Identity())}, _normals(5)),
        *([*_normals(3, 50), *_lesion_scans(tmp_path, 4)], _preprocessing, _postprocessing, tmp_path / "out"),
    )
    method = report["methods"]["model"]
    figures, ends = method["groups"]["all lesions"], method["intervals"]
    assert (figures["n_lesions"], figures["n_lesions 5-10 mm"], figures["n_lesions <5 mm"]) == (5, 4, 1)
    assert figures["lesion_recall"] in (0.8, 1.0)  # noise may touch the one that does not shine
    assert figures["lesion_recall 5-10 mm"] == 1.0
    wrong = [scan["false_positives"] for scan in method["scans"]]
    assert figures["fp_per_normal_scan"] == pytest.approx(np.mean(wrong[:3]))
    assert figures["fp_per_scan"] == pytest.approx(np.mean(wrong[3:]))
    assert figures["fp_per_scan"] > 10  # 1% of the voxels, mostly apart
    assert 0 < figures["lesion_dice"] < figures["lesion_f1"] < 0.2
    assert figures["pq"] == pytest.approx(figures["sq"] * figures["rq"])
    assert [scan["patient"] for scan in method["scans"]] == list(range(7))
    assert method["patients"][0]["auprc"] == 1.0
    for name in ("auprc", "dice_pooled", "dice_mean", "scan_auroc", "slice_auroc", "lesion_recall", "pq"):
        assert ends[name][0] - 1e-9 <= figures[name] <= ends[name][1] + 1e-9, name
    assert ends["fpr_normal_pooled"][0] < figures["fpr_normal_pooled"] < ends["fpr_normal_pooled"][1]
    test = report["against_first"]["raw intensity (two-sided)"]["dice"]
    assert test["n_patients"] == 4
    assert 0.1 < test["p"] <= 1
    text = (tmp_path / "out" / "evaluation.md").read_text()
    assert "## all lesions, by lesion" in text
    assert "## model against the others, over patients" in text


def test_one_patient_has_figures_and_no_interval(tmp_path):
    scans = [{**scan, "subject": "one"} for scan in _lesion_scans(tmp_path, 3)]
    report, figures = _figures(tmp_path, [*_normals(2, 50), *scans])
    method = report["methods"]["model"]
    assert {scan["patient"] for scan in method["scans"]} == {0, 1, 2}
    assert len(method["patients"]) == 1
    assert figures["dice_mean"] > 0
    assert np.isnan(method["intervals"]["dice_mean"]).all()


def test_no_lesion_matched(tmp_path):
    """The lesions do not shine, and noise alone is above the threshold: no part is any of them."""
    nothing = [{**scan, "lesion": False} for scan in _lesion_scans(tmp_path, 3)]
    _, figures = _figures(tmp_path, nothing)
    assert figures["lesion_recall"] <= 1.0
    assert figures["n_lesions"] == 4
    assert figures["pq"] == 0.0
    assert np.isnan(figures["sq"])  # of no pair
    assert np.isnan(figures["fp_per_normal_scan"])  # of no normal scan


def test_evaluate_writes_a_page_and_removes_what_an_earlier_one_showed(tmp_path):
    network, normals = _Network(), _normals(6)
    tests = _normals(3, 50)
    methods = {"map": CalibratedInferer(_Identity(), network.calibration)}
    kept = tmp_path / "report_scans"
    kept.mkdir()
    (kept / "7.png").write_bytes(b"of before")
    evaluate(network, methods, normals, tests, _preprocessing, _postprocessing, tmp_path, rate=0.05)
    assert sorted(path.name for path in kept.glob("*.png")) == ["0.png", "1.png", "2.png"]
    page = (tmp_path / "report.html").read_text()
    assert page.count('<section class="scan"') == 3
    assert "raw intensity" in page
    (tmp_path / "report.html").unlink()
    evaluate(network, methods, normals, tests, _preprocessing, _postprocessing, tmp_path, rate=0.05, page=False)
    assert not (tmp_path / "report.html").exists()
    assert not list(kept.iterdir())
