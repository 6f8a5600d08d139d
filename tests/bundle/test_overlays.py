# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""Overlays of train.json: the methods, the paper's settings, and files of a user's own."""

from __future__ import annotations

import pytest
import torch
import yaml
from ignite.engine import Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

VAE = "methods/vae.json"
AMCONS = (VAE, "methods/amcons.json")
GRADCAM = (VAE, "methods/gradcam_cons.json")


def _t_of_each_epoch(make_workflow, *files, **overrides) -> list[float]:
    workflow = make_workflow("train.json", *GRADCAM, *files, epochs=4, warmup_epochs=1, **overrides)
    loss, found = workflow.parser.get_parsed_content("loss"), []
    workflow.trainer.add_event_handler(
        Events.ITERATION_STARTED(every=1), lambda: found.append(loss.constraint.penalty.t)
    )
    workflow.run()
    # the loss on held-out normals must compare epochs, so its barrier stays
    assert workflow.parser.get_parsed_content("validation_loss").constraint.penalty.t == found[0]
    return sorted(set(found))


def test_the_barriers_t_rises_from_the_first_constrained_epoch(make_workflow):
    expected = [4.0, 8.0, 16.0]
    assert _t_of_each_epoch(make_workflow, barrier_t=4.0, barrier_t_gamma=2.0) == pytest.approx(expected)


def test_gamma_of_one_keeps_t(make_workflow, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(yaml.safe_dump({"barrier_t_gamma": 1.0}))
    assert _t_of_each_epoch(make_workflow, overlay) == [10.0]


def test_an_overlay_adds_a_handler(make_workflow):
    handlers = make_workflow("train.json", *AMCONS).train_handlers
    adversarial = ("methods/base/adversarial.json", "methods/ano_vae_gan.json")
    workflow = make_workflow("train.json", VAE, *adversarial)
    assert not workflow.check_properties()
    assert len(workflow.train_handlers) == len(handlers) + 1
    assert type(workflow.train_handlers[-1]).__name__ == "TensorBoardStatsHandler"


def test_the_learning_rate_falls_in_the_default_alone(make_workflow):
    found = {}
    for files in (["train.json"], ["train.json", *AMCONS]):
        workflow = make_workflow(*files, epochs=3, learning_rate=0.01)
        optimizer, rates = workflow.parser.get_parsed_content("optimizer"), []
        workflow.trainer.add_event_handler(
            Events.ITERATION_STARTED, lambda _, o=optimizer, r=rates: r.append(o.param_groups[0]["lr"])
        )
        workflow.run()
        found[files[-1]] = rates
    assert found["methods/amcons.json"] == [0.01] * 3
    # a cosine from the whole to 2%, of which the last epoch still has a quarter
    assert found["train.json"] == pytest.approx([0.01, 0.01 * (0.51 + 0.49 * 0.5), 0.01 * (0.51 - 0.49 * 0.5)])


def test_tensorboard_gets_the_training_loss(make_workflow, tmp_path):
    workflow = make_workflow("train.json")
    workflow.run()
    events = EventAccumulator(str(tmp_path / "out")).Reload()
    losses = [scalar.value for scalar in events.Scalars("train_loss")]
    assert len(losses) == workflow.trainer.state.iteration
    assert {"val_loss", "val_segmentation", "val_restoration"} <= set(events.Tags()["scalars"])


def test_slices_are_given_any_contrast_before_they_are_altered(make_workflow):
    """In training alone, and under the same seed the same."""
    workflow = make_workflow("train.json", "training/any_contrast.json")
    assert not workflow.check_properties()
    get = workflow.parser.get_parsed_content
    slices, plain = get("train#dataset"), get("validate#augmentation")
    names = [type(step).__name__ for step in get("train#augmentation").flatten().transforms]
    assert names.index("RandTissueContrastd") < names.index("RandHealthyVariationd") < len(names) - 1
    assert "RandTissueContrastd" not in [type(step).__name__ for step in plain.flatten().transforms]
    first, again = slices[0]["clean"], slices[0]["clean"]
    torch.testing.assert_close(first, again)
    slices.set_epoch(1)
    assert not torch.equal(first, slices[0]["clean"])
    assert get("map_inferer").intensity_weight == 0
    workflow.run()


def test_anomalies_are_as_large_as_asked_for_in_training_and_validation(make_workflow):
    files = ("train.json", "training/any_contrast.json", "training/large_anomalies.json")
    get = make_workflow(*files, anomaly_size=[3, 40]).parser.get_parsed_content
    for chain in ("train#augmentation", "validate#augmentation"):
        assert get(chain).flatten().transforms[-2 if chain.startswith("train") else -1].alter.size == (3, 40)


def test_tumours_are_bright_or_dark_as_asked_and_shift_the_scan(make_workflow):
    files = ("train.json", "training/tumours.json", "training/landmark_shift.json")
    workflow = make_workflow(*files, bright=0.2, lesion_share=0.25, lesion_bright=0.1)
    assert not workflow.check_properties()
    get = workflow.parser.get_parsed_content
    train, validate = (get(f"{part}#augmentation").flatten().transforms for part in ("train", "validate"))
    for chain in (train, validate):
        alter = next(step.alter for step in chain if type(step).__name__ == "RandSyntheticAnomalyd")
        assert alter.bright == 0.2
        assert alter.size == (2.0, 50.0)
        assert "core" in alter.contents[0]
    names = [type(step).__name__ for step in train]
    assert names.index("RandLandmarkShiftd") < names.index("RandHealthyVariationd") < len(names) - 2
    shift = train[names.index("RandLandmarkShiftd")].change
    assert (shift.bright, shift.share) == (0.1, 0.25)
    # what chooses the weights is not varied
    assert [type(step).__name__ for step in validate] == ["LandmarkStandardized", "RandSyntheticAnomalyd"]
    slices = get("train#dataset")
    first = slices[0]["image"]
    torch.testing.assert_close(first, slices[0]["image"])
    workflow.run()
