"""closed_form against the matting Laplacian written out as a matrix, element by element, from the paper."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from birefnet.matting.edges import refine_closed_form

# whose name the function has in the package
SOLVER = importlib.import_module("birefnet.matting.edges.closed_form")


def laplacian(image: np.ndarray, epsilon: float) -> np.ndarray:
    """[N,N] of image [H,W,C]: equation 12 of Levin et al. (2008), one window after the other; epsilon is 9
    times the paper's divided by 9, as ours."""
    height, width, channels = image.shape
    matrix = np.zeros((height * width, height * width))
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            at = [(y + dy) * width + x + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            colours = image.reshape(-1, channels)[at]
            apart = colours - colours.mean(0)
            inverse = np.linalg.inv(apart.T @ apart / 9 + epsilon / 9 * np.eye(channels))
            matrix[np.ix_(at, at)] += np.eye(9) - (1 + apart @ inverse @ apart.T) / 9
    return matrix


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("prior", [0.02, 0.5])
def test_it_minimises_what_the_paper_does(channels, prior, monkeypatch):
    for name, value in (("EPSILON", 1e-2), ("TOLERANCE", 1e-10), ("MAX_STEPS", 1000)):
        monkeypatch.setattr(SOLVER, name, value)
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(9, 11, channels, generator=generator).double()
    alpha = torch.rand(9, 11, generator=generator).double() * 0.2 + 0.4
    unknown = torch.rand(9, 11, generator=generator) > 0.4
    free, a = unknown.flatten().numpy(), alpha.flatten().numpy()
    matrix = laplacian(image.numpy(), 1e-2)
    expected = a.copy()
    expected[free] = np.linalg.solve(matrix[np.ix_(free, free)] + prior * np.eye(free.sum()),
                                     prior * a[free] - matrix[np.ix_(free, ~free)] @ a[~free])
    solved = refine_closed_form(alpha, image, unknown, prior)
    np.testing.assert_allclose(solved.flatten().numpy(), expected.clip(0, 1), atol=1e-7)


def test_a_matte_is_found_between_two_colours(matte, image):
    """Three known zones, as in a trimap, and no idea of what lies in between."""
    unknown = (matte[0] > 0.01) & (matte[0] < 0.99)
    start = torch.where(unknown, 0.5, matte[0].round())
    solved = refine_closed_form(start, image[0], unknown)
    assert (start - matte[0])[unknown].abs().mean() > 0.2
    assert (solved - matte[0])[unknown].abs().mean() < 0.03
    assert torch.equal(solved[~unknown], start[~unknown])


def test_a_weighty_prior_holds_the_alpha_given(matte, image):
    unknown = (matte[0] > 0.01) & (matte[0] < 0.99)
    start = torch.where(unknown, 0.5, matte[0].round())
    assert (refine_closed_form(start, image[0], unknown, 1e5) - start).abs().max() < 1e-3


@pytest.mark.parametrize("height, width", [(1, 1), (2, 40), (40, 2)])
def test_a_picture_without_a_window_stays(height, width):
    alpha = torch.rand(height, width)
    everywhere = torch.ones(height, width, dtype=bool)
    assert torch.equal(refine_closed_form(alpha, torch.rand(height, width, 3), everywhere), alpha)
