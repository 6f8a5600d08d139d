# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

"""A weights file is the model, and it is data: nothing in it runs, and nothing contradicts it in silence."""

from __future__ import annotations

import copy
import dataclasses
import os

import pytest
import torch
from monai.inferers import SliceInferer
from monai.transforms import Compose, RandFlipd

from monai_cuas.inferers import AnomalibInferer, JoinedMapInferer, StandardizedIntensityInferer
from monai_cuas.networks.nets import AnomalyUNet, AttentionVAE, BayesianVAE, StandardizedIntensity
from monai_cuas.recipe import Recipe, describe, file_digest, read_model, read_recipe, training_digest, write_model
from monai_cuas.transforms import AnomalyPreprocessing, RandHealthyVariationd, RandSyntheticAnomalyd
from monai_cuas.utils import CUASError, ScanError

SMALL = {"image_size": 24, "channels": (4, 8), "layers": (1, 1), "latent_size": 3}


def _slices() -> SliceInferer:
    return SliceInferer(spatial_dim=2, roi_size=(24, 24), sw_batch_size=4, mode="gaussian")


@pytest.fixture
def recipe() -> Recipe:
    network = AttentionVAE(**SMALL)
    return describe(network, AnomalyPreprocessing(image_size=24, window=(0, 50)), _slices(), "AMCons")


@pytest.fixture
def file(tmp_path, recipe):
    torch.manual_seed(0)
    path = tmp_path / "model.pt"
    write_model(path, AttentionVAE(**SMALL), recipe)
    return path


def _changed(file, change) -> None:
    document = torch.load(file, weights_only=True)
    change(document)
    torch.save(document, file)


def test_a_weights_file_has_three_parts_and_gives_back_what_was_written(file, recipe):
    assert torch.load(file, weights_only=True).keys() == {"model", "recipe", "calibration"}
    made = read_model(file)
    assert made.recipe == recipe == read_recipe(file)
    assert made.digest == file_digest(file)
    assert not made.network.training
    assert made.recipe.make_preprocessing().parameters["window"] == [0.0, 50.0]
    assert tuple(made.recipe.make_map_inferer(7).roi_size) == (24, 24)
    assert made.recipe.make_map_inferer(7).sw_batch_size == 7
    x = torch.rand(2, 1, 24, 24)
    torch.manual_seed(0)
    torch.testing.assert_close(made.network(x), AttentionVAE(**SMALL).eval()(x))


@pytest.mark.parametrize(
    ("network", "inferer"),
    [
        (AnomalyUNet(1, 32, (4, 4, 8, 8, 8, 4), cpu_bfloat16=True), JoinedMapInferer(2, 32, 4, smoothing=(1, 1, 2))),
        (BayesianVAE(1, 24, (4, 8), layers=(1, 1), dropout=0.3), _slices()),
        (StandardizedIntensity(2), StandardizedIntensityInferer(two_sided=True)),
        (StandardizedIntensity(1), AnomalibInferer("/bin/python", "/somewhere", model="padim")),
    ],
)
def test_what_a_thing_was_made_with_is_read_from_it(network, inferer):
    """Positional arguments, those of a base class and defaults, which a later version may change."""
    recipe = describe(network, AnomalyPreprocessing(), inferer, "m")
    again = recipe.make_network()
    shapes = {k: v.shape for k, v in network.state_dict().items()}
    assert {k: v.shape for k, v in again.state_dict().items()} == shapes
    assert describe(again, recipe.make_preprocessing(), recipe.make_map_inferer(), "m") == recipe
    assert "cpu_bfloat16" not in recipe.network  # the machine's matter
    assert not {"python", "folder"} & recipe.map_inferer.keys()
    assert {"map_kind", "attention_stage"} & recipe.network.keys() or isinstance(network, StandardizedIntensity)


def test_copies_keep_their_arguments():
    assert copy.deepcopy(AttentionVAE(**SMALL)).arguments == AttentionVAE(**SMALL).arguments


class _Planted(torch.nn.Module):
    """Whoever makes one leaves a trace."""

    made = 0

    def __init__(self, **kwargs) -> None:
        super().__init__()
        type(self).made += 1


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "subprocess.Popen",
        "tests.test_recipe._Planted",
        "monai.bundle.ConfigParser",
        "monai_cuas.networks.nets.attention_vae.os",
        "builtins.eval",
        "$__import__('os').system('touch /tmp/planted')",
        ["monai_cuas.networks.nets.AttentionVAE"],
        None,
    ],
)
@pytest.mark.parametrize("part", ["network", "map_inferer"])
def test_a_foreign_name_is_refused_and_nothing_runs(file, name, part, monkeypatch):
    for module, function in ((os, "system"), (torch.nn.Module, "__init__")):
        monkeypatch.setattr(module, function, lambda *a, **k: pytest.fail("something was made"))
    _changed(file, lambda d: d["recipe"][part].update({"_target_": name, "command": "touch /tmp/planted"}))
    with pytest.raises(ScanError, match=r"which is none of this version's|not plain data"):
        read_model(file)
    assert _Planted.made == 0


def test_the_program_that_anomalib_runs_in_is_not_a_weights_files_to_say(tmp_path):
    network = StandardizedIntensity()
    recipe = describe(network, AnomalyPreprocessing(), AnomalibInferer("/bin/python", "."), "m")
    write_model(tmp_path / "m.pt", network, recipe)
    _changed(tmp_path / "m.pt", lambda d: d["recipe"]["map_inferer"].update(python="/tmp/evil"))
    with pytest.raises(ScanError, match="sets python, which is not a weights file's to say"):
        read_model(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("recipe"), "carry no recipe: an earlier version"),
        (lambda d: d["recipe"].pop("network"), "its recipe must have"),
        (lambda d: d["recipe"].update(more=1), "nothing but"),
        (lambda d: d.update(recipe="x"), "its recipe must have"),
        (lambda d: d["recipe"]["network"].update(latent="round"), "cannot be made"),
        (lambda d: d["recipe"]["preprocessing"].update(image_size=2), "preprocessing cannot be made"),
        (lambda d: d["recipe"]["preprocessing"].update(hook="x"), "preprocessing cannot be made"),
        (lambda d: d["recipe"]["network"].update(channels=[4, 4]), "do not fit the network"),
        (lambda d: d["model"].popitem(), "do not fit the network"),
        (lambda d: d.update(model=[1, 2]), "no state dict"),
        (lambda d: d["model"]["stem.weight"].fill_(float("nan")), "not finite"),
        (lambda d: d["model"]["stem.weight"].view(-1)[3:4].fill_(float("inf")), "not finite"),
        (lambda d: d["model"]["calibration.thresholds"].fill_(float("inf")), "not finite"),
        (lambda d: d.update(calibration={"recipe": "0" * 64}), "made for another recipe"),
        (lambda d: d.update(calibration=[1]), "calibration is not plain data"),
    ],
)
def test_a_file_that_is_not_right_is_refused_in_one_sentence(file, change, words):
    _changed(file, change)
    with pytest.raises(ScanError, match=words) as error:
        read_model(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04"])
def test_broken_files(tmp_path, content):
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(ScanError, match="no readable weights file"):
        read_model(tmp_path / "m.pt")
    with pytest.raises(ScanError, match="no such weights file"):
        read_model(tmp_path / "none.pt")


def test_weights_that_are_not_numbers_are_not_written(tmp_path, recipe):
    network = AttentionVAE(**SMALL)
    network.stem.weight.data.fill_(float("nan"))
    with pytest.raises(ScanError, match="not finite"):
        write_model(tmp_path / "m.pt", network, recipe)
    assert not list(tmp_path.iterdir())


def test_a_calibration_belongs_to_its_recipe(file, recipe):
    made = read_model(file)
    write_model(file, made.network, recipe, {"n_scans": 3})
    assert read_model(file).calibration == {"n_scans": 3, "recipe": recipe.digest}
    _changed(file, lambda d: d["recipe"]["preprocessing"].update(margin_mm=9.0))
    with pytest.raises(ScanError, match="made for another recipe"):
        read_model(file)


def test_the_digest_is_of_what_a_threshold_depends_on(recipe):
    plain = recipe.to_dict()
    for change in ({"method": "x"}, {"version": "9"}, {"data": "ab"}, {"sequences": ["T1"]}):
        assert Recipe.from_dict({**plain, **change}).digest == recipe.digest
    other = {**plain, "preprocessing": {**plain["preprocessing"], "window": None}}
    assert Recipe.from_dict(other).digest != recipe.digest


def test_contradictions_name_both_values(recipe):
    assert recipe.contradictions({"window": [0, 50], "image_size": 24, "margin_mm": 4, "rate": 0.5}) == {}
    found = recipe.contradictions({"window": "[0,60]", "resize": False, "overlap": 0.5, "channels": [4, 9]})
    assert found == {
        "window": ("[0,60]", [0.0, 50.0]),
        "resize": (False, True),
        "overlap": (0.5, 0.25),
        "channels": ([4, 9], [4, 8]),
    }
    with pytest.raises(CUASError, match=r"margin_mm is 12 here, but the model was made with 4.0"):
        recipe.make_preprocessing(margin_mm=12)
    assert recipe.make_preprocessing(margin_mm=4, brain_extraction="given").parameters["brain_extraction"] == "given"


def test_what_cannot_be_saved_is_said():
    with pytest.raises(CUASError, match="cannot be part of a model"):
        describe(torch.nn.Linear(1, 1), AnomalyPreprocessing(), _slices(), "m")
    with pytest.raises(CUASError, match="cannot be saved"):
        describe(AttentionVAE(**SMALL, calibration_rates=torch.ones(2) * torch.tensor([0.5, 0.1])),
                 AnomalyPreprocessing(), _slices(), "m")  # fmt: skip


def _augmentation(prob: float = 0.5, amount: float = 1.0, strength: tuple[float, float] = (0.1, 0.5)) -> Compose:
    anomaly = RandSyntheticAnomalyd("image", strength=strength)
    return Compose([RandFlipd(["image"], prob), RandHealthyVariationd("image", amount=amount), anomaly])


def test_the_same_weights_are_the_same_bytes_whatever_the_name(file, recipe, tmp_path):
    torch.manual_seed(0)
    write_model(tmp_path / "another.pt", AttentionVAE(**SMALL), recipe)
    assert file_digest(tmp_path / "another.pt") == file_digest(file)


def test_a_checkpoint_knows_the_content_of_its_scans(recipe, tmp_path):
    scan, reference = tmp_path / "scan.nii", tmp_path / "reference.nii"
    scan.write_bytes(b"one")
    reference.write_bytes(b"pose")
    posed = dataclasses.replace(recipe, preprocessing={**recipe.preprocessing, "registration": str(reference)})
    made = [training_digest(posed, [{"image": str(scan)}])]
    os.utime(scan, (1, 1))
    assert training_digest(posed, [{"image": str(scan)}]) == made[0]
    scan.write_bytes(b"two")
    os.utime(scan, (1, 1))
    made.append(training_digest(posed, [{"image": str(scan)}]))
    reference.write_bytes(b"else")
    made.append(training_digest(posed, [{"image": str(scan)}]))
    made.append(training_digest(recipe, [{"image": str(scan)}]))
    assert len(set(made)) == 4


def test_a_checkpoint_knows_the_augmentation_it_was_trained_with(recipe):
    made = training_digest(recipe, [], augmentation=_augmentation())
    assert training_digest(recipe, [], augmentation=_augmentation()) == made
    others = [{"prob": 0.4}, {"amount": 2.0}, {"strength": (0.1, 0.6)}]
    digests = {training_digest(recipe, [], augmentation=_augmentation(**other)) for other in others}
    assert len(digests | {made}) == 4
    assert training_digest(recipe, [], augmentation=Compose([RandFlipd(["image"], 0.5)])) not in digests | {made}
