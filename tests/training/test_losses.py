"""Each loss against its formula written out in numpy, and its gradient against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from birefnet.network.birefnet import TrainOutputs
from birefnet.training import losses


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 1, 20, 24, generator=generator, dtype=torch.float64)
    alpha = (torch.rand(2, 1, 20, 24, generator=generator, dtype=torch.float64) * 1.6 - 0.3).clamp(0, 1)
    return logits, alpha


def pixel_loss(logits: torch.Tensor, alpha: torch.Tensor, weights: dict[str, float]) -> torch.Tensor:
    return sum(losses.compute_pixel_losses(logits, alpha, weights).values())


def random_outputs(seed: int, side: int) -> TrainOutputs:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(7, 1, 1, side, side, generator=generator, dtype=torch.float64)
    return TrainOutputs(maps[0], list(maps[1:4]), list(maps[4:]))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def bce(p: np.ndarray, a: np.ndarray) -> float:
    return float(-(a * np.log(p) + (1 - a) * np.log(1 - p)).mean())


def iou(p: np.ndarray, a: np.ndarray) -> float:
    return float(sum(1 - (x * y).sum() / (x + y - x * y).sum() for x, y in zip(p, a)))


def ssim(p: np.ndarray, a: np.ndarray) -> float:
    """One pixel at a time, with an 11×11 Gaussian of sigma 1.5 and zeros outside."""
    reach = np.arange(11) - 5
    window = np.exp(-(reach[:, None] ** 2 + reach**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for x, y in zip(p[:, 0], a[:, 0]):
        x, y = np.pad(x, 5), np.pad(y, 5)
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                u, v = x[i:i + 11, j:j + 11], y[i:i + 11, j:j + 11]
                mu, mv = (window * u).sum(), (window * v).sum()
                su, sv = (window * u * u).sum() - mu**2, (window * v * v).sum() - mv**2
                cov = (window * u * v).sum() - mu * mv
                likeness = (2 * mu * mv + 1e-4) * (2 * cov + 9e-4)
                values.append(likeness / ((mu**2 + mv**2 + 1e-4) * (su + sv + 9e-4)))
    return 1 - (1 + float(np.mean(values))) / 2


def l1(p: np.ndarray, a: np.ndarray) -> float:
    return float(np.abs(p - a).mean())


@pytest.mark.parametrize("name, formula", [("bce", bce), ("iou", iou), ("ssim", ssim), ("l1", l1)])
def test_each_term_is_its_formula(batch, name, formula):
    logits, alpha = batch
    expected = formula(sigmoid(logits.numpy()), alpha.numpy())
    assert pixel_loss(logits, alpha, {name: 1.0}).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("task, weights", [
    ("dis", (30, 0.5, 10, 0)), ("cod", (30, 0.5, 10, 0)), ("hrsod", (30, 0.5, 10, 0)),
    ("general", (30, 0.5, 10, 100)),
    ("matting", (30, 0, 10, 100))])
def test_tasks_weigh_the_terms_as_the_authors_do(batch, task, weights):
    logits, alpha = batch
    p, a = sigmoid(logits.numpy()), alpha.numpy()
    expected = sum(w * term(p, a) for w, term in zip(weights, (bce, iou, ssim, l1)))
    assert pixel_loss(logits, alpha, losses.WEIGHTS[task]).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["bce", "iou", "ssim", "l1"])
def test_gradients_match_finite_differences(batch, name):
    logits, alpha = (x[:, :, :8, :9].clone() for x in batch)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pixel_loss(x, alpha, {name: 1.0}), logits)


def test_a_perfect_matte_costs_nothing_and_its_opposite_much(batch):
    alpha = (batch[1] > 0.5).double()
    sure = (alpha * 2 - 1) * 40
    for task, weights in losses.WEIGHTS.items():
        assert pixel_loss(sure, alpha, weights).item() < 1e-3, task
        assert pixel_loss(-sure, alpha, weights).item() > 100, task


def test_gradient_supervision_is_its_formula():
    image = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    outputs = random_outputs(6, 12)
    grey = np.pad(image.numpy()[0].mean(0), 2, mode="reflect")
    kernel = np.ones((5, 5))
    kernel[2, 2] = -24
    edges = np.array([[(grey[i:i + 5, j:j + 5] * kernel).sum() for j in range(12)] for i in range(12)]) / 48
    expected = sum(bce(sigmoid(p.numpy()[0, 0]), sigmoid(edges * s.numpy()[0, 0]))
                   for s, p in zip(outputs.side, outputs.gradient))
    assert losses.gradient_loss(outputs, image).item() == pytest.approx(expected, rel=1e-6)


def test_gradients_of_gradient_supervision_match_finite_differences():
    """In the predicted gradients and in the side logits that its labels are made of; maps smaller than the
    image."""
    image = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    maps = [x.requires_grad_() for x in (random_outputs(7, 4).side + random_outputs(8, 4).gradient)]
    assert torch.autograd.gradcheck(
        lambda *x: losses.gradient_loss(TrainOutputs(x[0], list(x[:3]), list(x[3:])), image), maps)


def test_outputs_of_every_stage_are_supervised(batch):
    logits, alpha = batch
    image = torch.zeros(2, 3, 20, 24, dtype=torch.float64)
    parts = [torch.randn(2, 1, n, n, dtype=torch.float64, requires_grad=True) for n in (2, 3, 5, 2, 3, 5)]
    final = logits.clone().requires_grad_()
    outputs = TrainOutputs(final, parts[:3], parts[3:])
    sum(losses.compute_losses(outputs, image, alpha, losses.WEIGHTS["general"]).values()).backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in (final, *parts[:3]))
    assert all(x.grad is not None for x in parts[3:])


def test_terms_add_up_over_the_stages(batch):
    logits, alpha = batch
    image = torch.randn(2, 3, 20, 24, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    outputs = TrainOutputs(logits, [logits * 0.5, logits * 2, -logits], [logits] * 3)
    parts = losses.compute_losses(outputs, image, alpha, losses.WEIGHTS["dis"])
    for name, weight, term in (("bce", 30, bce), ("iou", 0.5, iou), ("ssim", 10, ssim)):
        expected = weight * sum(term(sigmoid(x.numpy()), alpha.numpy()) for x in (logits, *outputs.side))
        assert parts[name].item() == pytest.approx(expected, rel=1e-6)
    assert parts["gradient"].item() == pytest.approx(losses.gradient_loss(outputs, image).item())
    assert parts.keys() == {"bce", "iou", "ssim", "gradient"}
