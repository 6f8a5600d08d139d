# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import threading
import time
import weakref

import pytest
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator

from monai_cuas.calibration.scoring import score_scans
from monai_cuas.data.read_ahead import ReadAheadLoader, read_ahead
from monai_cuas.data.robust import TolerantDataset
from monai_cuas.transforms import AnomalyPostprocessing, AnomalyPreprocessing
from monai_cuas.utils import CUASError


class Counted:
    """Makes volumes and knows how many of them are alive whenever a new one is asked for."""

    def __init__(self, preprocessing=None):
        self.alive, self.most, self.made = weakref.WeakSet(), 0, 0
        self.preprocessing = preprocessing

    def __call__(self, entry):
        item = self.preprocessing(entry) if self.preprocessing else {"image": MetaTensor(torch.rand(1, 8, 8, 4))}
        self.alive.add(item["image"])
        self.made += 1
        self.most = max(self.most, len(self.alive))
        return item


def entries(n):
    return [{"image": f"{k}.nii.gz"} for k in range(n)]


def test_order_end_and_errors():
    assert list(read_ahead(range(5))) == [0, 1, 2, 3, 4]
    assert list(read_ahead([])) == []

    def broken():
        yield 1
        raise KeyError("a bug")

    taken = read_ahead(broken())
    assert next(taken) == 1
    with pytest.raises(KeyError, match="a bug"):
        next(taken)


def test_reads_while_the_caller_works():
    started = [threading.Event() for _ in range(3)]

    def slow():
        for k in range(3):
            started[k].set()
            yield k

    taken = read_ahead(slow())
    assert next(taken) == 0
    assert started[1].wait(5)
    # One ahead, no more.
    time.sleep(0.05)
    assert not started[2].is_set()
    taken.close()


def test_a_pass_holds_two_volumes():
    counted = Counted()
    for item in read_ahead(TolerantDataset(entries(12), counted)):
        time.sleep(0.003)
        assert item["image"].shape == (1, 8, 8, 4)
    assert counted.made == 12
    # The one in use and the one being read; for a moment the third, until the caller's name points to it.
    assert counted.most == 2


def test_scoring_holds_two_volumes(data):
    preprocessing = AnomalyPreprocessing(image_size=16, margin_mm=0)
    counted = Counted(preprocessing)
    network = torch.nn.Identity()
    post = AnomalyPostprocessing(preprocessing, rate=None)
    methods = {"a": lambda volume, _: volume[:, :1], "b": lambda volume, _: -volume[:, :1]}
    shapes = []
    for item, maps in score_scans(data * 4, counted, network, methods, post):
        shapes.append(maps["a"].shape)
        assert item["image"].shape[:3] == (1, 16, 16)
        del item, maps
    assert shapes == [(24, 24, 16)] * 12
    assert counted.most == 2


def test_scoring_goes_on_past_a_bad_scan(data, tmp_path):
    (tmp_path / "1.nii.gz").write_text("no scan")
    preprocessing = AnomalyPreprocessing(image_size=16, margin_mm=0)
    failed = []
    methods, post = {"a": lambda volume, _: volume}, AnomalyPostprocessing(preprocessing, rate=None)
    scored = score_scans(data, preprocessing, torch.nn.Identity(), methods, post, failed=failed)
    assert [item["subject"] for item, _ in scored] == ["s0", "s2"]
    assert [file for file, _ in failed] == [data[1]["image"]]
    assert list(score_scans([], preprocessing, torch.nn.Identity(), methods, post)) == []


def test_inference_engine_holds_few_volumes():
    counted = Counted()
    loader = ReadAheadLoader(TolerantDataset(entries(12), counted), batch_size=1, num_workers=0)
    evaluator = SupervisedEvaluator(device=torch.device("cpu"), val_data_loader=loader, network=torch.nn.Identity())
    evaluator.run()
    assert counted.made == 12
    # The batch is a copy (collated), so that the volumes themselves live only until then.
    assert counted.most <= 2


def test_loader_reports_failures(data, tmp_path):
    (tmp_path / "1.nii.gz").write_text("no scan")
    dataset = TolerantDataset(data, AnomalyPreprocessing(image_size=16, margin_mm=0))
    assert len(list(ReadAheadLoader(dataset, batch_size=1))) == 2
    with pytest.raises(CUASError, match="1 of 3"):
        dataset.report()
