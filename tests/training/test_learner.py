"""The learner by itself: it learns, its pieces add up to the batch, and its state goes on with the same
numbers."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from birefnet.network.birefnet import BiRefNet
from birefnet.training.learner import MAX_GRADIENT_NORM, Learner
from birefnet.training.plan import OPTIMIZERS


@pytest.fixture
def fresh(config):
    """A function that makes the tiny build, changed or not, always with the same weights."""
    def make(**changes: object) -> BiRefNet:
        torch.manual_seed(0)
        return BiRefNet(replace(config, **changes)).initialize().train()

    return make


@pytest.fixture
def batch():
    """Bright discs on dark ground, [4,3,64,64] and their masks."""
    generator = torch.Generator().manual_seed(1)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    masks = torch.stack([((x - 20 - 6 * i) ** 2 + (y - 40 + 5 * i) ** 2 < 200).float()
                         for i in range(4)])[:, None]
    return masks * 0.6 + 0.3 * torch.rand(4, 3, 64, 64, generator=generator), masks


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("attention", ["deformable", "plain"])
def test_it_learns(fresh, batch, dtype, attention):
    learner = Learner(fresh(attention=attention), 3e-3, dtype=dtype)
    losses = [learner.train_step(*batch) for _ in range(12)]
    assert losses[-1] < 0.95 * losses[0] and learner.step == 12
    assert learner.loss_terms.keys() == {"bce", "iou", "l1", "ssim", "gradient"}
    assert sum(learner.loss_terms.values()) == losses[-1]


def test_pieces_add_up_to_the_batch(fresh, batch):
    """Without batch norm, which sees the pieces, and without dropout, gradients are the same up to
    rounding."""
    def gradients(accumulate: int) -> tuple[float, torch.Tensor]:
        model = fresh(batch_norm=False).eval()
        learner = Learner(model, 1e-3, dtype=torch.float32, accumulate=accumulate)
        loss = learner.train_step(*batch)
        return loss, torch.cat([p.grad.flatten() for p in model.parameters()])

    (whole, expected), (pieces, got) = gradients(1), gradients(4)
    assert pieces == pytest.approx(whole, rel=1e-5)
    assert (got - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_state_goes_on_with_the_same_numbers(fresh, batch, optimizer):
    """Dropout, the optimiser and the averaged weights included."""
    straight = Learner(fresh(), 3e-3, optimizer=optimizer, average=0.9)
    for _ in range(2):
        straight.train_step(*batch)
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    file.seek(0)
    resumed = Learner(fresh(), 3e-3, optimizer=optimizer, average=0.9)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    torch.rand(7)  # whatever else draws random numbers
    assert resumed.train_step(*batch) == straight.train_step(*batch) and resumed.step == 3
    for name, tensor in straight.result.state_dict().items():
        assert torch.equal(tensor, resumed.result.state_dict()[name]), name


def test_a_node_can_import_it_with_pytorch_and_kornia_alone():
    script = """
import sys
for package in ("scipy", "skimage", "cv2", "tensorboard", "accelerate", "anny"):
    sys.modules[package] = None
import birefnet.training.learner
"""
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=True, timeout=120)


def test_only_the_chosen_parameters_learn(fresh, batch):
    model = fresh()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    head = model.decoder.conv_out1.parameters()
    learner = Learner(model, 1e-2, parameters=head)
    learner.train_step(*batch)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"decoder.conv_out1.0.weight", "decoder.conv_out1.0.bias"}
    assert learner.result is model


def test_gradients_are_clipped_and_biases_do_not_decay(fresh, batch):
    model = fresh()
    learner = Learner(model, 1e-3)
    learner.train_step(*batch)
    assert torch.cat([p.grad.flatten()
                      for p in model.parameters()]).norm().item() <= MAX_GRADIENT_NORM * 1.001
    weights, gains = learner.optimizer.parts[0].param_groups
    assert weights["weight_decay"] == 0.01 and gains["weight_decay"] == 0
    assert all(p.ndim == 1 for p in gains["params"]) and all(p.ndim > 1 for p in weights["params"])


def test_a_loss_that_is_not_finite_stops_before_it_spoils_the_weights(fresh, batch):
    learner = Learner(fresh(), 1e-3)
    before = [p.detach().clone() for p in learner.model.parameters()]
    with pytest.raises(FloatingPointError, match="^Lower the learning rate: .* at step 1"):
        learner.train_step(batch[0] * float("nan"), batch[1])
    assert all(torch.equal(p, old) for p, old in zip(learner.model.parameters(), before))
