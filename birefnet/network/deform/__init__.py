"""Modulated deformable convolution (DCN v2, Zhu et al. 2019): the form that is fastest on the tensors' device."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from . import plain, triton

log = logging.getLogger(__name__)

ROUNDING = {torch.float32: 1e-5, torch.float16: 2**-10, torch.bfloat16: 2**-7}  # relative; one rounding of the result


def deform_conv2d(x: Tensor, offset: Tensor, modulation: Tensor, weight: Tensor) -> Tensor:
    """Stride 1, dilation 1, one offset group, padding k//2, zeros outside the image.

    x: [B,C,H,W]. offset: [B,2k²,H,W] in pixels, (dy,dx) per tap, taps row-major. modulation: [B,k²,H,W], the factor of
    each tap. weight: [O,C,k,k]. Returns [B,O,H,W] in x's dtype; places are computed in float32.
    """
    batch, _, height, width = x.shape
    kernel = plain.column_kernel(weight)
    out = torch.cat([columns @ kernel for columns in deformed_columns(x, offset, modulation, weight.shape[2])])
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2)


def deformed_columns(x: Tensor, offset: Tensor, modulation: Tensor, side: int, first_row: int = 0,
                     frame: Tensor | None = None, scratch: int | None = None) -> Iterator[Tensor]:
    """Columns as `plain.deformed_columns` describes them, by the Triton kernel where it can be used."""
    if x.is_cuda and usable(x):
        return triton.deformed_columns(x, offset, modulation, side, first_row)
    return plain.deformed_columns(x, offset, modulation, side, first_row, frame, scratch)


def usable(x: Tensor) -> bool:
    """Whether the kernel may stand in for the plain form on tensors like x. It has no gradient."""
    return x.dtype in ROUNDING and not torch.is_grad_enabled() and agrees(x.device, x.dtype, x.shape[1])


@functools.cache
def agrees(device: torch.device, dtype: torch.dtype, channels: int) -> bool:
    """Whether the kernel compiles, runs and gives the plain form's numbers on the device."""
    try:
        x, offset, modulation = (tensor.to(dtype) for tensor in problem(channels))
        expected = torch.cat(list(plain.deformed_columns(x.float(), offset.float(), modulation.float(), 3)))
        columns = torch.cat(list(triton.deformed_columns(x.to(device), offset.to(device), modulation.to(device), 3)))
        if torch.allclose(columns.cpu().float(), expected, rtol=ROUNDING[dtype], atol=1e-5):
            return True
        reason = f"on {device} in {dtype} it disagrees with the plain form"
    except ImportError:
        reason = "Triton is not installed"
    except Exception as error:  # compilers, drivers and Triton itself fail in many ways, and none may stop a matte
        reason = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
    say(reason)
    return False


@functools.cache
def say(reason: str) -> None:
    """Once per reason."""
    log.warning("the Triton kernel for deformable convolutions is not used (%s); the plain form is slower", reason)


def problem(channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two small images and places in, between and far outside their pixels; float32, on the CPU."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, 9, 13, generator=random)
    offset = 4 * torch.randn(2, 18, 9, 13, generator=random)
    return x, offset, 2 * torch.rand(2, 9, 9, 13, generator=random)
