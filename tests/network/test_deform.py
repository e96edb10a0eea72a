"""Our deformable convolution against torchvision's operator and against its own definition."""

import pytest
import torch

from birefnet.network.deform import deform_conv2d
from birefnet.network.deform import plain as deform


def problem(kernel: int, spread: float = 3.0, channels: int = 6, size: tuple[int, int] = (11, 17)):
    generator = torch.Generator().manual_seed(kernel)
    x = torch.randn(2, channels, *size, generator=generator)
    offset = spread * torch.randn(2, 2 * kernel**2, *size, generator=generator)
    modulation = 2 * torch.rand(2, kernel**2, *size, generator=generator)
    weight = torch.randn(5, channels, kernel, kernel, generator=generator)
    return x, offset, modulation, weight


def torchvision_deform(x, offset, modulation, weight):
    import torchvision  # which takes seconds: not where these tests are only collected

    return torchvision.ops.deform_conv2d(x, offset, weight, padding=weight.shape[2] // 2, mask=modulation)


@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0, 100.0])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_equals_torchvision(kernel, spread):
    args = problem(kernel, spread)
    assert torch.allclose(deform_conv2d(*args), torchvision_deform(*args), atol=2e-4)


def test_without_offsets_it_is_an_ordinary_convolution():
    x, offset, modulation, weight = problem(3)
    y = deform_conv2d(x, torch.zeros_like(offset), torch.ones_like(modulation), weight)
    assert torch.allclose(y, torch.nn.functional.conv2d(x, weight, padding=1), atol=1e-5)


def test_runs_of_positions_do_not_change_the_result(monkeypatch):
    args = problem(3)
    whole = deform_conv2d(*args)
    # 50 positions at a time, across both images
    monkeypatch.setattr(deform, "SCRATCH_BYTES", 9 * (6 * 4 + 100) * 50)
    assert torch.allclose(deform_conv2d(*args), whole, atol=1e-6)


def test_gradients_equal_torchvisions():
    args = [tensor.requires_grad_() for tensor in problem(3, spread=0.4)]
    for deformed in (deform_conv2d, torchvision_deform):
        gradients = torch.autograd.grad(deformed(*args).square().sum(), args)
        if deformed is deform_conv2d:
            ours = gradients
    for mine, theirs in zip(ours, gradients):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), -1e30, 1e30])
def test_wild_offsets_read_zeros(wild):
    x, offset, modulation, weight = problem(1)
    assert deform_conv2d(x, torch.full_like(offset, wild), modulation, weight).abs().max() == 0


@pytest.mark.parametrize("dtype, tolerance", [(torch.float16, 0.02), (torch.bfloat16, 0.15)])
def test_half_precisions_keep_places_in_float32(dtype, tolerance):
    x, offset, modulation, weight = problem(3, size=(5, 300))
    y = deform_conv2d(x.to(dtype), offset, modulation, weight.to(dtype))
    assert y.dtype == dtype
    assert (y.float() - deform_conv2d(x, offset, modulation, weight)).abs().max() < tolerance * 10


def test_the_fallback_of_devices_without_embedding_bag(monkeypatch):
    args = problem(3)
    expected = deform_conv2d(*args)

    def missing(*_, **__):
        raise NotImplementedError("aten::_embedding_bag is not implemented for this device")

    monkeypatch.setattr(torch.nn.functional, "embedding_bag", missing)
    assert torch.allclose(deform_conv2d(*args), expected, atol=1e-5)
