"""A disc with spikes before a background of another colour, its matte, and the matte as a small network sees
it."""

from __future__ import annotations

import pytest
import torch

from birefnet import masks

SIDE = 300


@pytest.fixture(scope="session")
def matte() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(SIDE) - SIDE / 2, torch.arange(SIDE) - SIDE / 2, indexing="ij")
    spikes = 90 + 12 * torch.cos(24 * torch.atan2(y, x))
    return masks.feather((torch.hypot(x, y) < spikes).float()[None], 2)


@pytest.fixture(scope="session")
def image(matte) -> torch.Tensor:
    grain = 0.02 * torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(2))
    subject, behind = torch.tensor([0.7, 0.3, 0.1]), torch.tensor([0.1, 0.4, 0.6])
    return grain + subject * matte[..., None] + behind * (1 - matte[..., None])


@pytest.fixture(scope="session")
def coarse(matte) -> torch.Tensor:
    return masks.resize(masks.resize(matte, (SIDE // 8, SIDE // 8)), (SIDE, SIDE))
