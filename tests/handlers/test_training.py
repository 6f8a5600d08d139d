# Copyright (c) monai_cuas contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from monai.transforms import RandGaussianNoise

from monai_cuas.handlers import (
    BestWeightsSaver,
    EpochSeedHandler,
    StopOnNan,
    TrainingCheckpoint,
    find_checkpoints,
    remove_checkpoints,
)
from monai_cuas.utils import CUASError, ScanError


class _Noisy:
    """Data whose draws depend on the epoch."""

    def __init__(self) -> None:
        self.noise = RandGaussianNoise(prob=1.0)

    def set_epoch(self, epoch: int) -> None:
        self.noise.set_random_state(seed=epoch)


def _train(folder, epochs: int, resume: bool = False, die_in: int | None = None) -> torch.Tensor:
    """A toy run whose steps depend on random numbers, on the optimiser's state and on the order of epochs."""
    torch.manual_seed(3)
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(net.parameters(), 0.1)
    data = _Noisy()
    noise = data.noise

    def step(engine: Engine, batch: torch.Tensor) -> dict:
        if engine.state.epoch == die_in:
            raise KeyboardInterrupt
        optimizer.zero_grad()
        loss = (net(noise(batch) + torch.randn(1)) - 1).square().mean()
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    trainer = Engine(step)
    best = BestWeightsSaver(str(folder / "best.pt"), net)
    EpochSeedHandler(seed=5, data=data).attach(trainer)
    objects = {"network": net, "optimizer": optimizer, "best": best}
    TrainingCheckpoint(str(folder), objects, resume=resume).attach(trainer)
    trainer.run([torch.ones(4, 2)] * 3, max_epochs=epochs)
    return net.weight.detach().clone()


def test_a_killed_and_resumed_run_ends_with_the_same_weights(tmp_path):
    whole = _train(tmp_path / "whole", 4)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "killed", 4, die_in=3)
    assert len(find_checkpoints(tmp_path / "killed")) == 2
    assert torch.equal(_train(tmp_path / "killed", 4, resume=True), whole)
    # not resumed: anew, and the old checkpoints are gone
    assert not torch.equal(_train(tmp_path / "killed", 1), whole)
    assert [p.rsplit("_")[-1] for p in find_checkpoints(tmp_path / "killed")] == ["1.pt"]


def test_best_weights(tmp_path):
    net = torch.nn.Linear(1, 1)
    engine = Engine(lambda *_: None)
    saver = BestWeightsSaver(str(tmp_path / "best.pt"), net)
    for epoch, loss in enumerate((3.0, 2.0, 2.5), start=1):
        engine.state.metrics, engine.state.epoch = {"val_loss": loss}, epoch
        with torch.no_grad():
            net.weight.fill_(epoch)
        saver(engine)
    assert torch.load(tmp_path / "best.pt", weights_only=True)["weight"].item() == 2
    other = BestWeightsSaver(str(tmp_path / "best.pt"), net)
    other.load_state_dict(saver.state_dict())
    assert (other.best, other.epoch) == (2.0, 2)


def test_nan_loss_stops():
    engine = Engine(lambda *_: {"loss": torch.tensor(float("nan"))})
    StopOnNan().attach(engine)
    with pytest.raises(CUASError, match="became nan in epoch 1"):
        engine.run([0], max_epochs=1)


def _resume(folder, digest: str | None, epochs: int, **how) -> Engine:
    net = torch.nn.Linear(1, 1)
    trainer = Engine(lambda *_: {"loss": torch.tensor(0.0)})
    TrainingCheckpoint(str(folder), {"network": net}, digest=digest, **how).attach(trainer)
    trainer.run([0], max_epochs=epochs)
    return trainer


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    _resume(tmp_path, "a", 2)
    with pytest.raises(ScanError, match="checkpoint_2.pt: this run was made with other settings"):
        _resume(tmp_path, "b", 3, resume=True)
    assert len(find_checkpoints(tmp_path)) == 2
    assert _resume(tmp_path, "a", 3, resume=True).state.epoch == 3


def test_of_a_damaged_checkpoint_the_one_before_is_taken(tmp_path, caplog):
    _resume(tmp_path, "a", 2)
    newest = tmp_path / "checkpoint_2.pt"
    newest.write_bytes(newest.read_bytes()[:200])
    _resume(tmp_path, "a", 3, resume=True)
    assert "checkpoint_2.pt: this checkpoint is damaged" in caplog.text
    for path in find_checkpoints(tmp_path):
        torch.load(path, weights_only=True)
        (tmp_path / path).write_bytes(b"")
    with pytest.raises(ScanError, match="no checkpoint of this run can be read"):
        _resume(tmp_path, "a", 4, resume=True)


def test_a_flipped_bit_is_a_damage_that_torch_alone_does_not_see(tmp_path, caplog):
    net = torch.nn.Linear(64, 64)
    trainer = Engine(lambda *_: {"loss": torch.tensor(0.0)})
    TrainingCheckpoint(str(tmp_path), {"network": net}).attach(trainer)
    trainer.run([0], max_epochs=2)
    newest = tmp_path / "checkpoint_2.pt"
    content = bytearray(newest.read_bytes())
    content[content.find(net.weight.detach().numpy().tobytes()) + 100] ^= 8
    newest.write_bytes(content)
    torch.load(newest, weights_only=True)
    again = torch.nn.Linear(64, 64)
    trainer = Engine(lambda *_: {"loss": torch.tensor(0.0)})
    TrainingCheckpoint(str(tmp_path), {"network": again}, resume=True).attach(trainer)
    trainer.run([0], max_epochs=2)
    assert "checkpoint_2.pt: this checkpoint is damaged; the one before it is taken" in caplog.text
    assert torch.equal(net.weight, again.weight)


def test_a_run_of_another_length_is_refused_or_told(tmp_path, caplog):
    _resume(tmp_path, "a", 2)
    with pytest.raises(ScanError, match="has trained 2 epochs, and 1 are asked for"):
        _resume(tmp_path, "a", 1, resume=True)
    assert "goes on to" not in caplog.text
    assert _resume(tmp_path, "a", 3, resume=True).state.epoch == 3
    assert "begun as one of 2 epochs and goes on to 3" in caplog.text


def test_a_fresh_start_removes_the_checkpoints_of_every_stage(tmp_path):
    for folder in (tmp_path, tmp_path / "gan"):
        _resume(folder, "a", 2)
    best, mine = tmp_path / "best.pt", tmp_path / "notes.txt"
    best.write_text("old")
    mine.write_text("mine")
    remove_checkpoints(tmp_path, [best])
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["notes.txt"]
    remove_checkpoints(tmp_path / "nowhere", [best])


def test_a_new_run_removes_the_best_weights_of_the_one_before(tmp_path):
    best = tmp_path / "best.pt"
    best.write_text("old")
    _resume(tmp_path, "a", 1, stale=[str(best)])
    assert not best.exists()
    best.write_text("new")
    _resume(tmp_path, "a", 2, resume=True, stale=[str(best)])
    assert best.exists()
