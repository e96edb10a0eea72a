"""keep_largest, drop_specks and fill_holes on drawn masks."""

from __future__ import annotations

import pytest
import torch

from birefnet import masks


def draw(*rows: str) -> torch.Tensor:
    """A mask [1,H,W]: '.' is 0, '#' is 1, a digit is tenths; '-' is 0.05, too faint for a region of its
    own."""
    alpha = {".": 0.0, "#": 1.0, "-": 0.05} | {str(digit): digit / 10 for digit in range(1, 10)}
    return torch.tensor([[[alpha[character] for character in row] for row in rows]])


def disc(side: int, row: int, column: int, radius: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return (((y - row) ** 2 + (x - column) ** 2) < radius**2).float()[None]


TWO = draw(
    "##......",
    "##5..3..",
    "#......#",
    ".......#",
)


def test_keep_largest_keeps_the_largest_with_its_soft_pixels():
    expected = draw("##......", "##5.....", "#.......", "........")
    assert torch.equal(masks.keep_largest(TWO, 1), expected)


def test_keep_largest_counts():
    without_the_faintest = draw("##......", "##5.....", "#......#", ".......#")
    assert torch.equal(masks.keep_largest(TWO, 2), without_the_faintest)
    assert torch.equal(masks.keep_largest(TWO, 3), TWO)
    assert torch.equal(masks.keep_largest(TWO, 9), TWO)


def test_the_first_of_equals_is_kept():
    assert torch.equal(masks.keep_largest(draw("##..##"), 1), draw("##...."))


def test_each_frame_has_its_own_largest():
    batch = torch.cat([draw("###..#"), draw("#..###")])
    assert torch.equal(masks.keep_largest(batch, 1), torch.cat([draw("###..."), draw("...###")]))


@pytest.mark.parametrize("area, kept", [(1.9, True), (2, True), (2.1, False)])
def test_a_speck_is_smaller_than_the_area(area, kept):
    mask = draw("####", "####", "....", "##..")
    expected = mask if kept else draw("####", "####", "....", "....")
    assert torch.equal(masks.drop_specks(mask, area), expected)


def test_pixels_that_touch_by_a_corner_are_one_speck():
    mask = draw("#...", ".#..", "..#.", "...#")
    assert torch.equal(masks.drop_specks(mask, 4), mask)
    assert masks.drop_specks(mask, 4.1).sum() == 0


def test_a_speck_goes_with_its_fringe_and_leaves_the_subjects():
    mask = draw(
        "###8--..",
        "####-...",
        "###2-.--",
        "##5-..-6",
    )
    expected = draw(
        "###8--..",
        "####-...",
        "###2-...",
        "##5-....",
    )
    assert torch.equal(masks.drop_specks(mask, 3), expected)


def test_a_fringe_between_two_regions_is_shared():
    expected = draw("###---....")
    assert torch.equal(masks.drop_specks(draw("###-----##"), 3)[..., :6], expected[..., :6])
    assert torch.equal(masks.drop_specks(draw("###-----##"), 3), expected)


def test_a_blurred_speck_counts_about_as_large_as_a_sharp_one():
    subject, speck = disc(160, 60, 60, 40), disc(160, 130, 130, 5)
    mask = masks.feather(subject + speck, 4)
    area = float(speck.sum())
    assert torch.equal(masks.drop_specks(mask, area * 0.85), mask)
    cleaned = masks.drop_specks(mask, area * 1.1)
    torch.testing.assert_close(cleaned, masks.feather(subject, 4), atol=0.003, rtol=0)
    assert torch.equal(cleaned[:, :110, :110], mask[:, :110, :110])


def test_hair_joined_by_a_faint_stretch_stays():
    hair = draw("######", "##.3..", "...2..", "...9..", "...#..")
    assert torch.equal(masks.keep_largest(hair, 1), hair)
    assert torch.equal(masks.drop_specks(hair, 5), hair)


RING = draw(
    ".......",
    ".#####.",
    ".#8.9#.",
    ".#.-##.",
    ".#####.",
    ".......",
)


def test_a_hole_is_filled_with_its_fringe_up_to_the_area():
    area = 3.25  # 0.2 + 1 + 0.1 + 1 + 0.95, to the nearest twentieth
    filled = masks.fill_holes(RING, area + 0.01)
    assert torch.equal(filled, draw(".......", ".#####.", ".#####.", ".#####.", ".#####.", "......."))
    assert torch.equal(masks.fill_holes(RING, area - 0.2), RING)


def test_a_hole_leaks_through_sides_not_corners():
    closed = draw(".##.", "#..#", "#..#", ".##.")
    assert torch.equal(masks.fill_holes(closed, 4), draw(".##.", "####", "####", ".##."))
    leaking = draw("###", "#..", "###")
    assert torch.equal(masks.fill_holes(leaking, 9), leaking)


def test_filling_raises_the_hole_alone():
    mask = masks.feather(disc(160, 80, 80, 50) - disc(160, 80, 80, 6), 6)
    filled = masks.fill_holes(mask, 200)
    near = disc(160, 80, 80, 25)[0].bool()
    assert filled[0][near].min() > 0.997 and mask[0][near].min() < 0.5
    assert torch.equal(filled[0][~near], mask[0][~near])


def test_a_fringe_far_from_a_speck_is_haze_and_stays():
    mask = torch.full((1, 1, 200), 0.05)
    mask[..., 0] = 1
    assert (masks.drop_specks(mask, 2) == 0.05).sum() == 200 - 1 - 32


def test_keeping_the_largest_follows_its_fringe_to_the_end():
    mask = torch.full((1, 1, 200), 0.05)
    mask[..., :3] = 1
    assert torch.equal(masks.keep_largest(mask, 1), mask)


@pytest.mark.parametrize("value", [0.0, 0.05, 1.0])
def test_a_flat_mask_has_nothing_to_remove(value):
    mask = torch.full((1, 20, 30), value)
    for operator in (masks.keep_largest, masks.drop_specks, masks.fill_holes):
        assert torch.equal(operator(mask, 1), mask)


@pytest.mark.parametrize("operator, amount",
                         [(masks.keep_largest, 3), (masks.drop_specks, 4), (masks.fill_holes, 4)])
def test_a_second_time_changes_nothing(operator, amount):
    mask = masks.feather(torch.rand(2, 100, 100, generator=torch.Generator().manual_seed(3)).round(), 3)
    mask = masks.levels(mask, 0.4, 0.6)
    once = operator(mask, amount)
    assert not torch.equal(once, mask)
    assert torch.equal(operator(once, amount), once)
