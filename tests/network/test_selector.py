"""The selector's maps of distances, and its file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, sparse
from scipy.sparse.csgraph import dijkstra

import weights
from birefnet.checkpoint.selector import load_selector, save_selector
from birefnet.network.selector import (
    DISTANCES,
    SIDE,
    UNREACHED,
    Selector,
    measure_away,
    measure_distances,
    measure_paths,
)

HALF = SIDE // 2


def scene(touched=(), unwanted=(), box=None, coarse=None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two bars that touch, of two colours, one above the other, in the middle of a ground without a matte."""
    picture = torch.zeros(1, 3, SIDE, SIDE)
    picture[:, 0, 64:128, 64:192] = 2
    picture[:, 1, 128:192, 64:192] = 2
    prompts = torch.zeros(1, 5, HALF, HALF)
    prompts[:, 4, 32:96, 32:96] = 1
    for i, points in enumerate((touched, unwanted)):
        for x, y in points:
            prompts[0, i, y - 1:y + 2, x - 1:x + 2] = 1
    for i, area in ((2, box), (3, coarse)):
        if area is not None:
            prompts[:, i] = -1
            prompts[(0, i, *area)] = 1
    direction = torch.zeros(1, 4, SIDE // 4, SIDE // 4)
    direction[:, 0] = 1
    return picture, direction, prompts


UPPER, LOWER, GROUND = (24, 32), (40, 32), (5, 5)  # places of the maps, y and x


def test_what_is_touched_is_near_along_the_cheapest_path():
    near = measure_distances(*scene(touched=[(48, 48)]))[0]
    assert near.shape == (DISTANCES, SIDE // 4, SIDE // 4) and near.min() >= 0 and near.max() == 1
    for i in (0, 1):
        assert near[i][UPPER] > 0.9 and near[i][UPPER] > near[i][LOWER] + 0.05 > near[i][GROUND] + 0.05
    assert near[2].max() == 0
    assert near[3][24, 24] == 1 and near[3][UPPER] == pytest.approx(0.3679, abs=0.05)  # as the crow flies


def test_a_negative_touch_is_measured_by_itself():
    near = measure_distances(*scene(touched=[(48, 48)], unwanted=[(80, 80)]))[0]
    assert near[2][LOWER] > near[2][UPPER] + 0.05


@pytest.mark.parametrize("kind", ["box", "coarse"])
def test_a_box_or_a_coarse_mask_seeds_its_inner_part_and_what_is_outside(kind):
    near = measure_distances(*scene(**{kind: (slice(32, 64), slice(32, 96))}))[0]
    assert near[0][UPPER] == 1 and near[2][LOWER] > 0.9 and near[0][LOWER] < 1 and near[2][UPPER] < 1


def test_no_prompt_no_distance():
    assert measure_distances(*scene()).max() == 0


def test_paths_are_the_cheapest_ones():
    rng, (height, width) = np.random.default_rng(3), (24, 40)
    seeds = rng.random((2, height, width)) < 0.004
    assert seeds.any((1, 2)).all()
    right, down = rng.random((2, height, width - 1)), rng.random((2, height - 1, width))
    found = measure_paths(*map(torch.from_numpy, (seeds, right, down)))
    number = np.arange(height * width).reshape(height, width)
    for i in range(2):
        costs = np.concatenate([right[i].ravel(), down[i].ravel()])
        steps = (np.concatenate([number[:, :-1].ravel(), number[:-1].ravel()]),
                 np.concatenate([number[:, 1:].ravel(), number[1:].ravel()]))
        graph = sparse.csr_matrix((costs, steps), (height * width,) * 2)
        cheapest = dijkstra(graph, directed=False, indices=number[seeds[i]], min_only=True)
        cheapest = cheapest.reshape(height, width)
        # Few paths over random costs have more turns than there are sweeps.
        off = found[i].numpy() - cheapest
        assert off.min() > -1e-4 and np.quantile(off / (cheapest + 0.1), 0.99) < 0.02
        np.testing.assert_allclose(measure_away(torch.from_numpy(seeds))[i],
                                   ndimage.distance_transform_edt(~seeds[i]), atol=1e-4)


def test_without_seeds_nothing_is_reached():
    found = measure_paths(torch.zeros(1, 8, 8, dtype=torch.bool), torch.ones(1, 8, 7), torch.ones(1, 7, 8))
    assert (found >= UNREACHED - 1).all()


def test_the_file_keeps_the_selector(tmp_path):
    torch.manual_seed(0)
    made = Selector().eval()
    save_selector(made, tmp_path / "a.safetensors")
    read = load_selector(tmp_path / "a.safetensors")
    picture, direction, prompts = scene(touched=[(48, 48)])
    with torch.inference_mode():
        one, other = (model(model.encode(picture), prompts, measure_distances(picture, direction, prompts))
                      for model in (made, read))
    assert one.shape == (1, 1, SIDE // 4, SIDE // 4) and torch.allclose(one, other, atol=0.02)


def test_the_included_file_is_small():
    assert weights.SELECTOR.stat().st_size < 6e6
