"""The exported form of joint upsampling gives the numbers of the one that nodes and commands use."""

from __future__ import annotations

import pytest
import torch

from birefnet.export.resize import resample
from birefnet.export.upsample import upsample_guided
from birefnet.imaging import resize
from birefnet.matting import upsample


@pytest.mark.parametrize("shape", [(200, 150), (45, 70), (64, 96)], ids=["larger", "smaller, wider", "equal"])
def test_it_is_the_same_function(shape):
    dice = torch.Generator().manual_seed(2)
    photographs = resize.resample(torch.rand(3, 3, 7, 5, generator=dice), shape).clamp(0, 1)
    seen = resample(photographs, (64, 96))
    small = resize.resample(torch.rand(3, 1, 6, 4, generator=dice), (64, 96)).clamp(0, 1)
    expected = torch.cat([upsample.upsample_guided(alpha, photograph.permute(1, 2, 0).contiguous())
                          for alpha, photograph in zip(small, photographs)])
    bilinear = resize.resample(small, shape)[:, 0]
    found = upsample_guided(small, seen, photographs)[:, 0]
    assert (expected - bilinear).abs().max() > 0.05  # it does something
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
