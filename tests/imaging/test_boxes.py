"""Bounding boxes."""

import torch

from birefnet.imaging.boxes import Box, bounding_box


def test_box_tells_its_sides_and_slices():
    mask = torch.zeros(10, 20)
    mask[2:5, 7:18] = 1
    box = bounding_box(mask)
    assert box == Box(2, 7, 5, 18)
    assert (box.height, box.width, box.longer_side) == (3, 11, 11)
    assert (mask[box.slices] == 1).all() and mask[box.slices].shape == (3, 11)
