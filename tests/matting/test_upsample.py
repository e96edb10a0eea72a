"""The included checkpoint's way from its own size to the picture's: guided upsampling."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import birefnet
from birefnet.imaging.resize import over_grey, resample
from birefnet.masks.guided import EPSILON
from birefnet.matting import upsample
from birefnet.matting.predict import full_alpha, network_alpha, network_input
from birefnet.network.builds import config

NANO = Path(__file__).parents[2] / "weights" / "birefnet-nano.safetensors"


def by_definition(small: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The guided filter window by window in float64, for a picture of the network's own size; [h,w]."""
    radius = upsample.RADIUS
    height, width = small.shape
    alpha, image = (np.pad(x, [(2 * radius, 2 * radius)] * 2 + [(0, 0)] * (x.ndim - 2), "edge")
                    for x in (small.astype(np.float64), colours.astype(np.float64)))
    models = np.zeros((height + 2 * radius, width + 2 * radius, 4))
    mean = np.zeros(models.shape[:2])
    for y, x in np.ndindex(mean.shape):
        window = np.s_[y:y + 2 * radius + 1, x:x + 2 * radius + 1]
        a, c = alpha[window].ravel(), image[window].reshape(-1, 3)
        slope = np.linalg.solve(np.cov(c.T, bias=True) + EPSILON * np.eye(3),
                                (c * a[:, None]).mean(0) - c.mean(0) * a.mean())
        models[y, x], mean[y, x] = [*slope, a.mean() - slope @ c.mean(0)], a.mean()
    result = np.zeros_like(small, np.float64)
    for y, x in np.ndindex(*small.shape):
        near = models[y:y + 2 * radius + 1, x:x + 2 * radius + 1].mean((0, 1))
        m = mean[y + radius, x + radius]
        linear = np.clip(near[:3] @ colours[y, x] + near[3], 0, 1)
        result[y, x] = small[y, x] + 4 * m * (1 - m) * (linear - small[y, x])
    return np.clip((result - upsample.LEVEL) / (1 - 2 * upsample.LEVEL), 0, 1)


def test_at_the_networks_size_it_is_the_guided_filter():
    generator = torch.Generator().manual_seed(3)
    small = F.interpolate(torch.rand(1, 1, 5, 6, generator=generator), (24, 32),
                          mode="bicubic")[0].clamp(0, 1)
    colours = torch.rand(24, 32, 3, generator=generator)
    found = upsample.upsample_guided(small, colours)
    assert np.abs(found[0].numpy() - by_definition(small[0].numpy(), colours.numpy())).max() < 2e-4


def test_a_blurred_edge_lies_on_the_pictures_edge_again():
    truth = torch.zeros(1, 1, 256, 320)
    truth[..., 60:200, 90:250] = 1
    picture = (0.2 + 0.5 * truth[0, 0, ..., None]).expand(-1, -1, 3)
    small = resample(truth, (64, 80))[0]
    bilinear = resample(small[None], (256, 320))
    found = upsample.upsample_guided(small, picture)
    assert (found - truth[0]).abs().mean() < 0.1 * (bilinear - truth).abs().mean()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_strips_make_no_difference_and_every_kind_of_picture_is_taken(channels, monkeypatch):
    generator = torch.Generator().manual_seed(channels)
    small = F.interpolate(torch.rand(1, 1, 4, 4, generator=generator), (64, 64), mode="bilinear")[0]
    frame = torch.rand(150, 90, channels, generator=generator)
    whole = upsample.upsample_guided(small, frame)
    monkeypatch.setattr(upsample, "STRIP_PIXELS", 7 * 90)
    in_strips = upsample.upsample_guided(small, frame)
    assert whole.shape == (1, 150, 90) and (whole - in_strips).abs().max() < 1e-4
    # a transparent picture is guided by what the network saw of it
    assert torch.equal(in_strips, upsample.upsample_guided(small, over_grey(frame)))


def test_certain_areas_stay_certain():
    small = torch.zeros(1, 64, 64)
    small[:, :, 40:] = 1
    found = upsample.upsample_guided(small, torch.rand(128, 128, 3))
    assert not found[:, :, :30].any() and (found[:, :, 116:] == 1).all()


def test_only_the_included_build_is_enlarged_like_this():
    nano = birefnet.load(NANO)
    frame = torch.rand(100, 120, 3)
    small = network_alpha(nano, network_input(frame, nano.config))[0]
    assert torch.equal(full_alpha(small, frame, nano.config), upsample.upsample_guided(small, frame))
    other = config("swin_v1_t")
    assert torch.equal(full_alpha(small, frame, other), resample(small[None], (100, 120))[0])
    assert birefnet.matte(nano, frame[None]).shape == (1, 100, 120)
