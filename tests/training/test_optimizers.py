"""What moves the weights: Muon for matrices, for kernels in either order of memory, and AdamW for the
rest."""

import math

import pytest
import torch
from torch import nn

from birefnet.training.optimizers import Optimizer

RATE = 1e-2
LONGEST = 20.0
ORDERS = (torch.contiguous_format, torch.channels_last)


def layers(order=torch.contiguous_format):
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(8, 16, 3, bias=False), nn.BatchNorm2d(16),
                         nn.Conv2d(16, 16, 3, groups=16, padding=1),
                         nn.Conv2d(16, 12, 1)).to(memory_format=order)


def loss(model):
    images, goals = torch.randn(2, 4, 12, 14, 14, generator=torch.Generator().manual_seed(5))
    return (model(images[:, :8]) - goals[..., 1:-1, 1:-1]).square().mean()


def scaler(scale=None):
    return torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)


def taught(kind="muon", order=torch.contiguous_format, steps=1, scale=None):
    """Layers before and after, and the optimizer."""
    model, before = layers(order), layers(order)
    optimizer, loss_scaler = Optimizer(kind, list(model.parameters()), RATE), scaler(scale)
    for _ in range(steps):
        optimizer.begin(RATE)
        loss_scaler.scale(loss(model)).backward()
        optimizer.step(loss_scaler, LONGEST)
    return before, model, optimizer


def test_a_matrix_moves_alike_in_all_directions():
    """By 0.2 × rate × √(longer side) (Liu et al. 2025, eq. 4), to the precision of five Newton-Schulz
    steps."""
    before, after, _ = taught()
    for layer, sides in ((0, (16, 72)), (3, (12, 16))):
        change = (before[layer].weight * (1 - RATE * 0.01) - after[layer].weight).detach().reshape(sides)
        lengths = torch.linalg.svdvals(change) / (0.2 * RATE * max(sides) ** 0.5)
        assert 0.6 < lengths[-1] and lengths[0] < 1.3  # the gradient's are five times apart


def test_what_is_no_matrix_moves_as_by_adamw():
    _, after, optimizer = taught()
    _, other, _ = taught("adamw")
    assert [tuple(p.shape)
            for p in optimizer.parts[1].param_groups[0]["params"]] == [(16, 8, 3, 3), (12, 16, 1, 1)]
    for name, values in other.named_parameters():
        assert torch.equal(values, after.get_parameter(name)) == (name not in ("0.weight", "3.weight")), name


def test_the_order_in_memory_changes_nothing():
    one, other = (taught(order=order, steps=3)[1] for order in ORDERS)
    for a, b in zip(one.parameters(), other.parameters()):
        torch.testing.assert_close(a, b, atol=4e-3, rtol=0)  # Newton-Schulz runs in bfloat16


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ("adamw", "muon"))
def test_a_scaled_loss_moves_as_an_unscaled_one(kind, order):
    plain, scaled = (taught(kind, order, steps=2, scale=scale)[1] for scale in (None, 1024.0))
    for a, b in zip(plain.parameters(), scaled.parameters()):
        torch.testing.assert_close(a, b)


def test_gradients_of_matrices_are_clipped_too():
    model = layers()
    optimizer = Optimizer("muon", list(model.parameters()), RATE)
    optimizer.begin(RATE)
    (1e6 * loss(model)).backward()
    optimizer.step(scaler(), LONGEST)
    # The first step's gradients as the running means keep them: a tenth of AdamW's, a twentieth of Muon's.
    kept = [10 * state["exp_avg"] for state in optimizer.parts[0].state.values()]
    kept += [20 * state["momentum_buffer"] for state in optimizer.parts[1].state.values()]
    assert torch.cat([gradient.flatten() for gradient in kept]).norm() == pytest.approx(LONGEST, rel=1e-3)


def test_it_goes_on_to_the_same_numbers():
    _, straight, _ = taught(steps=3)
    _, half, optimizer = taught(steps=2)
    again = Optimizer("muon", list(half.parameters()), RATE)
    again.load_state_dict(optimizer.state_dict())
    again.begin(RATE)
    loss(half).backward()
    again.step(scaler(), LONGEST)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), half.parameters()))


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="^Choose an optimiser of adamw, muon: it is 'sgd'"):
        Optimizer("sgd", list(layers().parameters()), RATE)


@pytest.mark.parametrize("order", ORDERS)
def test_a_run_that_pytorchs_own_muon_began_goes_on(order):
    """Its state has the momentum of matrices, whose columns lie as the weights' memory does."""
    model = layers(order)
    weights = [model[0].weight, model[3].weight]
    matrices = [nn.Parameter(flat(weight.detach())) for weight in weights]
    theirs = torch.optim.Muon(matrices, RATE, 0.01, adjust_lr_fn="match_rms_adamw")
    ours = Optimizer("muon", weights, RATE)
    for step in range(2):
        for weight, matrix in zip(weights, matrices):
            gradient = torch.randn(weight.shape, generator=torch.Generator().manual_seed(step))
            weight.grad = torch.empty_like(weight).copy_(gradient)
            matrix.grad = flat(weight.grad)
        theirs.step()
        if step:
            ours.step(scaler(), math.inf)
        else:
            ours.load_state_dict([theirs.state_dict()])
            with torch.no_grad():
                for weight, matrix in zip(weights, matrices):
                    flat(weight).copy_(matrix)
    for weight, matrix in zip(weights, matrices):
        torch.testing.assert_close(flat(weight), matrix, atol=1e-3 * RATE, rtol=0)


def flat(weight):
    """A view [out, rest] in the order of memory."""
    return (weight if weight.is_contiguous() else weight.permute(0, 2, 3, 1)).view(len(weight), -1)
