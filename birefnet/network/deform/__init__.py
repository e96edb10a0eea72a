"""Modulated deformable convolution (DCN v2, Zhu et al. 2019), in the fastest form for the tensors' device."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from . import plain, triton

log = logging.getLogger(__name__)

# Relative, by the dtype of the result, which is rounded.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 2**-10, torch.bfloat16: 2**-7}


def deform_conv2d(x: Tensor, offset: Tensor, modulation: Tensor, weight: Tensor) -> Tensor:
    """Deformable convolution with stride 1, dilation 1, one offset group, and zeros outside the image.

    Args:
        x: [B,C,H,W].
        offset: [B,2k²,H,W] in pixels, (dy,dx) of each tap, taps in row-major order.
        modulation: [B,k²,H,W], the factor of each tap.
        weight: [O,C,k,k]; padding is k//2.

    Returns:
        [B,O,H,W] in x's dtype; positions are computed in float32.
    """
    batch, _, height, width = x.shape
    kernel = plain.column_kernel(weight)
    out = torch.cat([columns @ kernel
                     for columns in deformed_columns(x, offset, modulation, weight.shape[2])])
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2)


def deformed_columns(x: Tensor, offset: Tensor, modulation: Tensor, side: int, first_row: int = 0,
                     frame: Tensor | None = None, scratch: int | None = None) -> Iterator[Tensor]:
    """Compute `plain.deformed_columns`, by the Triton kernel where it can be used."""
    if x.is_cuda and usable(x):
        return triton.deformed_columns(x, offset, modulation, side, first_row)
    return plain.deformed_columns(x, offset, modulation, side, first_row, frame, scratch)


def usable(x: Tensor) -> bool:
    """Whether the Triton kernel can be used for tensors like x. It has no gradient."""
    if x.dtype not in TOLERANCES or torch.is_grad_enabled():
        return False
    return kernel_agrees(x.device, x.dtype, x.shape[1])


@functools.cache
def kernel_agrees(device: torch.device, dtype: torch.dtype, channels: int) -> bool:
    """Whether the Triton kernel compiles, runs, and gives the plain form's values on the device."""
    try:
        x, offset, modulation = (tensor.to(dtype) for tensor in make_sample(channels))
        expected = torch.cat(list(plain.deformed_columns(x.float(), offset.float(), modulation.float(), 3)))
        columns = torch.cat(list(triton.deformed_columns(x.to(device), offset.to(device),
                                                         modulation.to(device), 3)))
        if torch.allclose(columns.cpu().float(), expected, rtol=TOLERANCES[dtype], atol=1e-5):
            return True
        reason = f"on {device} in {dtype} it disagrees with the plain form"
    except ImportError:
        reason = "Triton is not installed"
    except Exception as error:  # compilers, drivers and Triton fail in many ways
        reason = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
    warn_once(reason)
    return False


@functools.cache
def warn_once(reason: str) -> None:
    """Log that the kernel is not used; once for each reason."""
    log.warning("the Triton kernel for deformable convolutions is not used (%s); the plain form is slower",
                reason)


def make_sample(channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make two small images, with offsets to positions on, between and far outside their pixels."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, 9, 13, generator=random)
    offset = 4 * torch.randn(2, 18, 9, 13, generator=random)
    return x, offset, 2 * torch.rand(2, 9, 9, 13, generator=random)
