"""Cutting a part out and pasting it back: what must stay to the bit, and windows that a diffusion model
likes."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from birefnet.composite import inpaint
from birefnet.composite.inpaint import MEGAPIXEL, Window
from birefnet.imaging.boxes import Box, bounding_box
from birefnet.imaging.levels import HALF_LEVEL


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def blob(height: int, width: int, box: Box) -> torch.Tensor:
    mask = torch.zeros(1, height, width)
    mask[:, box.top:box.bottom, box.left:box.right] = 1
    return mask


def cases(count: int) -> list[tuple]:
    """Pictures, boxes in them (at borders, too) and settings, drawn at random."""
    draw = random.Random(7)
    found = []
    for _ in range(count):
        height, width = draw.randint(20, 900), draw.randint(20, 900)
        top, left = draw.choice([0, draw.randrange(height - 9)]), draw.choice([0, draw.randrange(width - 9)])
        box = Box(top, left, draw.choice([height, draw.randint(top + 1, height)]),
                  draw.randint(left + 1, width))
        found.append((height, width, box, draw.choice([0.0, 0.25, 1.0]), draw.choice([8, 16, 64]),
                      draw.uniform(1, 4)))
    return found


@pytest.mark.parametrize("height, width, box, context, multiple, aspect", cases(40))
@pytest.mark.parametrize("area", [0, MEGAPIXEL // 16])
def test_windows(height, width, box, context, multiple, aspect, area):
    (window,), size = inpaint.plan_windows([box], (height, width), context=context, area=area,
                                           multiple=multiple,
                                   most_aspect=aspect)
    assert size[0] % multiple == size[1] % multiple == 0
    assert window.top <= box.top and window.top + window.height >= box.bottom  # all of the box is in it
    assert window.left <= box.left and window.left + window.width >= box.right
    for start, side, whole in ((window.top, window.height, height), (window.left, window.width, width)):
        # out of the picture only where larger than it
        assert side > whole or 0 <= start and start + side <= whole
    if area:
        assert 0.5 < size[0] * size[1] / area < 2
        distortion = window.width / window.height / (size[1] / size[0])
        assert abs(distortion - 1) <= 0.5 / min(window[2:]) * 2  # rounding to whole pixels, no more
    else:
        assert size == window[2:]


def test_context_is_a_share_of_the_longer_side():
    (window,), _ = inpaint.plan_windows([Box(400, 400, 500, 600)], (1000, 1000), context=0.25, area=0,
                                        multiple=1)
    assert window == Window(350, 350, 200, 300)


def test_a_narrow_region_is_widened_to_the_aspect():
    (window,), size = inpaint.plan_windows([Box(0, 500, 800, 510)], (800, 1000), context=0, area=0,
                                           multiple=1,
                                           most_aspect=2)
    assert size == (800, 400) and window == Window(0, 305, 800, 400)


def test_frames_share_one_size():
    boxes = [Box(10, 10, 60, 110), Box(200, 300, 300, 340), None]
    windows, size = inpaint.plan_windows(boxes, (400, 400), context=0, area=MEGAPIXEL // 4, multiple=8)
    assert len(windows) == 3 and 0.7 < size[0] * size[1] / (MEGAPIXEL // 4) < 1.4
    for window, box in zip(windows, boxes[:2]):
        assert window.top <= box.top and window.left + window.width >= box.right
        assert window.width / window.height == pytest.approx(size[1] / size[0], rel=0.03)
    top, left, height, width = windows[2]  # nothing to repaint: about where the others are
    assert top <= 10 and left <= 10 and top + height >= 300 and left + width >= 340


@pytest.mark.parametrize("height, width, box, context, multiple, aspect", cases(12))
@pytest.mark.parametrize("which", inpaint.REGIONS)
def test_there_and_back_is_the_identity(height, width, box, context, multiple, aspect, which):
    """Without a resize everywhere; with one, wherever nothing was to be repainted."""
    picture, mask = noise(1, height, width, 4), blob(height, width, box)
    if which == "background":
        mask = 1 - mask
    region = inpaint.select_region(mask, which, grow=3, feather=5)
    for area in (0, MEGAPIXEL // 32):
        boxes = [bounding_box(region[0], HALF_LEVEL)]
        (window,), size = inpaint.plan_windows(boxes, (height, width), context=context, area=area,
                                               multiple=multiple,
                                       most_aspect=aspect)
        pasted = inpaint.paste_window(picture, region, window,
                                      inpaint.cut_window(picture[..., :3], window, size))
        stays = region == 0 if area else torch.ones_like(region, dtype=torch.bool)
        assert torch.equal(pasted[stays], picture[stays]) and torch.equal(pasted[..., 3], picture[..., 3])


def test_what_is_repainted_is_new_inside_and_blended_at_the_edge():
    mask = blob(100, 100, Box(30, 30, 70, 70))
    region = inpaint.select_region(mask, "subject", grow=0, feather=6)
    pasted = inpaint.paste_window(torch.zeros(1, 100, 100, 3), region, Window(10, 10, 80, 80),
                                  torch.ones(1, 80, 80, 3))
    torch.testing.assert_close(pasted[..., 0], region)
    assert (pasted[0, 45:55, 45:55] == 1).all()
    rise = pasted[0, 50, 15:50, 0]
    assert (rise.diff() >= 0).all() and rise.diff().max() < 0.15  # no step: no seam


def test_a_result_of_another_size_is_brought_back():
    result = inpaint.paste_window(torch.zeros(1, 64, 64, 3), torch.ones(1, 64, 64), Window(0, 0, 64, 64),
                           torch.full((1, 99, 101, 3), 0.5))
    torch.testing.assert_close(result, torch.full((1, 64, 64, 3), 0.5))


def test_beyond_the_picture_it_is_mirrored():
    picture = noise(1, 20, 30, 3)
    cut = inpaint.cut_window(picture, Window(-6, -25, 32, 80), (32, 80))
    assert np.array_equal(cut[0].numpy(), np.pad(picture[0].numpy(), ((6, 6), (25, 25), (0, 0)), "symmetric"))


def test_near_certain_is_certain():
    """A white of 254/255, as some hosts read mask files, is no reason to repaint the subject by a trace."""
    mask = torch.tensor([[[0.004, 0.5, 0.996]]])
    assert inpaint.select_region(mask, "subject").tolist() == [[[0.0, 0.5, 1.0]]]
    assert inpaint.select_region(mask, "background").tolist() == [[[1.0, 0.5, 0.0]]]
    with pytest.raises(ValueError, match="^Choose a region of subject, background: it is 'all'"):
        inpaint.select_region(mask, "all")


def test_grow_moves_the_repainted_edge_outwards():
    mask = blob(60, 60, Box(20, 20, 40, 40))
    assert bounding_box(inpaint.select_region(mask, "subject", grow=5)[0]) == Box(15, 15, 45, 45)
    assert inpaint.select_region(mask, "background",
                                 grow=5)[0, 30].nonzero()[:, 0].tolist() == [*range(25), *range(35, 60)]
