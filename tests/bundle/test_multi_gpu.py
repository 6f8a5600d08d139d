# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""multi_gpu_train.json as it is run: two processes by torchrun, on the CPU with gloo."""

from __future__ import annotations

import json

import pytest
import torch
import torch.distributed as dist
import yaml

from .conftest import CONFIGS, TINY, run_module

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="this PyTorch has no gloo")

# What each process knows at the end; `+run` goes to the end of the list.
DUMP = (
    "$torch.save({'weights': dict(@network_def.named_parameters()), 'best': @best_weights.state_dict(),"
    " 'slices': list(@train#sampler), 'handlers': [type(h).__name__ for h in @train#handlers]},"
    " @output_dir + '/rank' + str(@rank) + '.pt')"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    pytest.importorskip("nilearn", reason="the phantom needs nilearn: pip install monai_cuas[phantom]")
    folder = tmp_path_factory.mktemp("ddp")
    ids = {
        **TINY,
        "phantom_normals": 7,
        "phantom_lesions": 1,
        "batch_size": 2,
        "after_training": ["calibrate", "evaluate"],
    }
    # a process that waits in vain must not outlive the test
    own = {
        "timeout_minutes": 2,
        "phantom#output_dir": str(folder / "phantom"),
        "phantom#spacing": 6.0,
        "output_dir": str(folder / "out"),
    }
    overlay = folder / "tiny.yaml"
    overlay.write_text(yaml.safe_dump({**ids, **own, "+run": [DUMP]}))
    result = run_module(
        *("--standalone", "--nproc_per_node=2", "--log-dir", folder / "log", "--redirects=3"),
        *("-m", "monai.bundle", "run", "training"),
        *("--config_file", f"['{CONFIGS / 'train.json'}','{CONFIGS / 'multi_gpu_train.json'}','{overlay}']"),
        module=["torch.distributed.run"],
    )
    errors = {int(path.parent.name): path.read_text() for path in (folder / "log").glob("*/*/*/stderr.log")}
    assert result.returncode == 0, (result.stderr[-1500:], *(text[-1500:] for text in errors.values()))
    return folder, errors


def test_both_processes_agree_and_share_the_slices(trained):
    folder, _ = trained
    first, second = (torch.load(folder / "out" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["weights"].keys() == second["weights"].keys()
    for key, value in first["weights"].items():
        assert torch.equal(value, second["weights"][key]), key
    assert first["best"] == second["best"]
    assert first["best"]["epoch"] == 1
    assert not set(first["slices"]) & set(second["slices"])
    alone = set(first["handlers"]) - set(second["handlers"])
    assert alone == {"StatsHandler", "TensorBoardStatsHandler", "EpochProgressBar"}


def test_the_first_process_makes_the_phantom(trained):
    _, errors = trained
    assert "phantom cohort" in errors[0]
    assert "phantom cohort" not in errors[1]


def test_weights_are_plain_and_calibrated(trained):
    folder, _ = trained
    state = torch.load(folder / "out" / "model.pt", weights_only=True)["model"]
    assert not [key for key in state if key.startswith("module.")]
    assert torch.isfinite(state["calibration.thresholds"]).sum() >= 2
    assert torch.isfinite(state["standardize.landmarks"]).all()
    assert json.loads((folder / "out" / "evaluation" / "evaluation.json").read_text())["methods"]
    assert [p.name for p in (folder / "out" / "checkpoints").glob("checkpoint_*")] == ["checkpoint_1.pt"]
