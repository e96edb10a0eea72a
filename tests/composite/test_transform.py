"""Any part of a picture at any size, held against Pillow's resampling; blurs, against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from birefnet.imaging.transform import blur, coverage, resample_box


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.rand(1, 90, 140, 1, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("box, size", [
    ((30, 40, 60, 100), (15, 30)),
    ((30, 40, 60, 100), (90, 300)),
    ((20.25, 31.5, 70.75, 99.125), (33, 180)),
    ((20, 10, 70, 130), (6, 170)),
])
def test_equal_to_pillow_s_bicubic(noise, box, size):
    """Boxes so far inside that every kernel is: at the border Pillow cuts it off, here the border goes on."""
    top, left, bottom, right = box
    pillow = Image.fromarray(noise[0, ..., 0].numpy()).resize(size[::-1], Image.Resampling.BICUBIC,
                                                              (left, top, right, bottom))
    np.testing.assert_allclose(resample_box(noise, box, size)[0, ..., 0].numpy(), np.asarray(pillow),
                               atol=2e-6)


def test_whole_pixels_are_copied(noise):
    assert torch.equal(resample_box(noise, (0, 0, 90, 140), (90, 140)), noise)
    assert torch.equal(resample_box(noise, (5, 7, 55, 107), (50, 100)), noise[:, 5:55, 7:107])


def test_beyond_the_picture_its_rim_goes_on(noise):
    beyond = resample_box(noise, (-3, -4, 90, 140), (93, 144))[0, ..., 0]
    assert torch.equal(beyond, torch.from_numpy(np.pad(noise[0, ..., 0].numpy(), ((3, 0), (4, 0)), "edge")))


def test_coverage_is_the_area_of_each_pixel_in_the_picture():
    """Moved right by half a pixel, two pixels cover half of the first, all of the next, half of the one
    after."""
    covered = coverage((1, 2), (0, -0.5, 1, 3.5), (1, 4))
    assert covered.tolist() == [[0.5, 1, 0.5, 0]]
    halved = coverage((3, 8), (0, 0, 4, 8), (2, 4))
    assert halved.tolist() == [[1, 1, 1, 1], [0.5, 0.5, 0.5, 0.5]]
    assert not coverage((5, 5), (20, 20, 30, 30), (10, 10)).any()


@pytest.mark.parametrize("sigma, tolerance", [(0.7, 5e-4), (3.0, 5e-4), (11.0, 0.01), (30.0, 0.01)])
def test_blur_is_a_gaussian(sigma, tolerance):
    image = torch.rand(1, 160, 210, 2, generator=torch.Generator().manual_seed(1)).round()
    image[:, 40:110, 60:130] = 1
    expected = ndimage.gaussian_filter(image[0].double().numpy(), (sigma, sigma, 0), mode="reflect",
                                       truncate=6)
    np.testing.assert_allclose(blur(image, sigma)[0].numpy(), expected, atol=tolerance)


@pytest.mark.parametrize("sigma", [1.0, 50.0, 5000.0])
def test_flat_pictures_stay(sigma):
    torch.testing.assert_close(blur(torch.full((1, 13, 700, 3), 0.3), sigma),
                               torch.full((1, 13, 700, 3), 0.3))
