"""The subject over its background: exact numbers, no fringes, shadows and light that behave."""

from __future__ import annotations

import pytest
import torch

from birefnet.composite import BlendSettings, Placement, compose, split_layers
from birefnet.composite.light import wrap_light
from birefnet.composite.shadow import cast_shadow
from birefnet.imaging.colour import to_srgb
from birefnet.imaging.transform import blur

HERE = Placement(0, 0, 1)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def disc(side: int, radius: float, y: float | None = None) -> torch.Tensor:
    """A soft-edged disc [1,side,side] in the middle, or `y` pixels down."""
    rows, columns = (torch.arange(side) + 0.5 - (side / 2 if at is None else at) for at in (y, None))
    return (radius + 0.5 - torch.hypot(rows[:, None], columns)).clamp(0, 1)[None]


def test_over_is_over():
    image, back, alpha = random(1, 9, 7, 3), random(1, 9, 7, 3, seed=1), random(1, 9, 7, seed=2)
    picture, placed = compose(image, alpha, HERE, (9, 7), back)
    a = alpha[..., None]
    torch.testing.assert_close(picture, image * a + back * (1 - a), atol=1e-7, rtol=0)
    assert torch.equal(placed, alpha)


def test_opacity_multiplies_alpha():
    picture, placed = compose(torch.ones(1, 2, 2, 3), torch.full((1, 2, 2), 0.8), HERE, (2, 2),
                              torch.zeros(1, 2, 2, 3),
                              BlendSettings(opacity=0.5))
    assert picture.unique().item() == placed.unique().item() == pytest.approx(0.4)


def test_linear_light_is_brighter_in_between_and_the_same_at_the_ends():
    alpha = torch.tensor([[[0.0, 0.5, 1.0]]])
    picture, _ = compose(torch.ones(1, 1, 3, 3), alpha, HERE, (1, 3), torch.zeros(1, 1, 3, 3),
                         BlendSettings(linear_light=True))
    half = to_srgb(torch.full((1, 1, 3), 0.5))[0, 0, 0].item()
    assert picture[0, 0, :, 0].tolist() == pytest.approx([0, half, 1], abs=1e-6)
    assert picture[0, 0, 1, 0].item() == pytest.approx(0.7354, abs=1e-4)


@pytest.mark.parametrize("linear", [False, True])
def test_what_the_mask_hides_never_shows(linear):
    """White colours outside the mask, resampled at odd places and scales over a subject and background of one
    grey."""
    alpha = disc(60, 20)
    image = torch.where(alpha[..., None] > 0, 0.3, 1.0).expand(-1, -1, -1, 3)
    for scale, shift in ((0.37, 3.3), (1.0, 0.5), (2.6, -10.1)):
        picture, _ = compose(image, alpha, Placement(shift, shift, scale), (50, 50),
                             torch.full((1, 50, 50, 3), 0.3),
                             BlendSettings(linear_light=linear))
        torch.testing.assert_close(picture, torch.full_like(picture, 0.3), atol=2e-6, rtol=0)


def turned(degrees: float, pivot: tuple[float, float], canvas: tuple[int, int] = (40, 60), scale: float = 1.0,
           top: float = 0.0, left: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture of 40×60 with a soft mask, composed without a background: premultiplied colours and alpha."""
    image, alpha = random(1, 40, 60, 3), random(1, 40, 60, seed=2)
    rgba, alpha = compose(image, alpha, Placement(top, left, scale, degrees, pivot), canvas)
    return rgba[0, ..., :3] * rgba[0, ..., 3:], alpha[0]


def test_a_quarter_turn_is_exact_and_clockwise():
    """Around the picture's middle, on a canvas that has its sides swapped: 10 pixels farther down and 10 less
    right."""
    colour, alpha = turned(0, (0, 0))
    quarter = turned(90, (30, 20), (60, 40), top=10, left=-10)
    half = turned(-180, (20, 30))
    torch.testing.assert_close(quarter[1], alpha.rot90(-1), atol=1e-4, rtol=0)
    torch.testing.assert_close(quarter[0], colour.rot90(-1), atol=1e-4, rtol=0)
    torch.testing.assert_close(half[1], alpha.rot90(2), atol=1e-4, rtol=0)
    assert torch.equal(turned(360, (20, 30))[1], alpha)


def test_what_turns_out_of_the_canvas_is_gone_and_what_turns_in_is_there():
    """A picture left of the canvas, and half a turn around the canvas's left edge."""
    assert not turned(0, (20, 0), left=-60)[1].any()
    torch.testing.assert_close(turned(180, (20, 0), left=-60)[1], turned(180, (20, 30))[1], atol=1e-4, rtol=0)
    assert not turned(180, (20, 0), left=60)[1].any()  # goes far left


@pytest.mark.parametrize("degrees", [1, 30, 137.5, -45])
def test_a_turned_disc_stays_where_and_as_large_as_it_was(degrees):
    alpha, image = blur(disc(80, 20)[..., None], 2)[..., 0], torch.full((1, 80, 80, 3), 0.3)
    grey = torch.full((1, 100, 120, 3), 0.3)
    where = Placement(10.5, 20.25, 0.9, degrees, (46.5, 56.25))  # its own centre
    picture, straight = compose(image, alpha, where._replace(rotation=0), (100, 120), grey)
    again, placed = compose(image, alpha, where, (100, 120), grey)
    torch.testing.assert_close(again, picture, atol=2e-6, rtol=0)  # one grey: no fringe of another
    assert (placed - straight).abs().max() < 0.03
    assert placed.sum().item() == pytest.approx(straight.sum().item(), rel=1e-3)
    rows, columns = torch.meshgrid(torch.arange(100) + 0.5, torch.arange(120) + 0.5, indexing="ij")
    middle = [(placed[0] * axis).sum().item() / placed.sum().item() for axis in (rows, columns)]
    assert middle == pytest.approx((46.5, 56.25), abs=0.02)


def test_a_turned_edge_of_the_picture_is_smooth():
    """A mask that is white up to its picture's border."""
    _, alpha = compose(torch.ones(1, 40, 40, 3), torch.ones(1, 40, 40), Placement(20, 20, 1, 45, (40, 40)),
                       (80, 80))
    assert alpha.sum().item() == pytest.approx(1600, rel=5e-3)
    assert ((alpha > 0.05) & (alpha < 0.95)).sum() > 100 and not alpha[0, 22, 22]
    assert alpha[0, 40, 40].item() == pytest.approx(1, abs=1e-6)


def test_transparent_over_anything_is_the_same_as_composed_on_it():
    image, alpha, back = random(1, 40, 40, 3), disc(40, 12), random(1, 40, 40, 3, seed=1)
    look = BlendSettings(opacity=0.9, shadow="drop", shadow_strength=0.6, shadow_y=0.1)
    rgba, _ = compose(image, alpha, HERE, (40, 40), None, look)
    direct, _ = compose(image, alpha, HERE, (40, 40), back, look)
    over = rgba[..., :3] * rgba[..., 3:] + back * (1 - rgba[..., 3:])
    torch.testing.assert_close(over, direct, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["contact", "drop"])
def test_a_shadow_scales_with_its_subject(kind):
    small, large = cast_shadow(disc(120, 25)[0], kind, 0.1, 0.1,
                               0.1), cast_shadow(disc(480, 100)[0], kind, 0.1, 0.1, 0.1)
    reduced = torch.nn.functional.avg_pool2d(large[None, None], 4)[0, 0]
    torch.testing.assert_close(reduced, small, atol=0.08, rtol=0)  # edges lie on whole rows
    assert 0.3 < small.max() <= 1 and small.min() >= 0


def test_a_drop_shadow_is_the_outline_moved_and_blurred():
    alpha = disc(200, 40)[0]
    cast = cast_shadow(alpha, "drop", 0.02, x=0.25, y=0.125)  # of 80 pixels: 20 right, 10 down
    rows, columns = torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
    centre = (cast * rows).sum() / cast.sum(), (cast * columns).sum() / cast.sum()
    assert (centre[0].item(), centre[1].item()) == pytest.approx((109.5, 119.5), abs=0.05)
    assert cast.sum().item() == pytest.approx(alpha.sum().item(), rel=1e-3)
    torch.testing.assert_close(cast_shadow(alpha, "drop", 0, 0, 0), alpha)


def test_a_contact_shadow_lies_at_the_feet():
    """A post on two feet, one of them higher up in the picture, that is farther back, and an arm held out."""
    alpha = torch.zeros(300, 300)
    alpha[40:180, 100:200] = 1
    alpha[180:260, 100:120] = 1  # the nearer foot ends at row 260
    alpha[180:250, 180:200] = 1
    alpha[60:80, 200:280] = 1  # the arm
    cast = cast_shadow(alpha, "contact", 0.05)
    assert cast[262, 110] > 0.6 and cast[252, 190] > 0.3  # at both feet
    assert cast[:150].max() < 0.02 and cast[262, 270] < 0.1  # neither up there nor below the arm
    assert cast[295, 110] < 0.1  # it ends


def test_no_subject_has_no_shadow():
    assert not cast_shadow(torch.zeros(20, 20), "drop", 0.1).any()
    assert not cast_shadow(disc(20, 5)[0], "none", 0.1).any()
    with pytest.raises(ValueError, match="^Choose a shadow of none, contact, drop: it is 'long'"):
        cast_shadow(torch.zeros(2, 2), "long", 0.1)


def test_light_falls_on_the_edge_only_and_only_lightens():
    alpha = disc(200, 60)[..., None]
    colour = 0.2 * alpha.expand(-1, -1, -1, 3)
    orange = torch.tensor([1.0, 0.5, 0.0]).expand(1, 200, 200, 3)
    added = wrap_light(colour, alpha, orange, 0.5, 12) - colour
    gain = added[0, 100, :, 0]  # from the left edge at 40 to the right one at 160
    assert (added >= 0).all() and not added[..., 2].any()  # no light in this channel
    # Half of what screen with white adds to 0.2; 1.5 pixels inside the edge, 0.83 of that.
    assert gain[41] == pytest.approx(0.5 * 0.8 * 0.83, abs=0.03)
    assert gain[46] < gain[41] and gain[60:140].max() < 1e-3
    assert torch.equal(wrap_light(colour, alpha, torch.zeros_like(orange), 0.5, 12), colour)
    assert torch.equal(wrap_light(colour, alpha, orange, 0, 12), colour)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_layer_is_colours_and_the_smaller_of_mask_and_opacity(channels):
    image, mask = torch.rand(1, 6, 8, channels), torch.rand(1, 6, 8)
    colours, alpha = split_layers(image, mask)
    assert torch.equal(colours, image[..., :3].expand(1, 6, 8, 3))
    assert torch.equal(alpha, torch.minimum(mask, image[..., 3]) if channels == 4 else mask)


def test_a_layer_takes_a_mask_of_another_size_or_none():
    rgba = torch.rand(1, 6, 8, 4)
    assert torch.equal(split_layers(rgba)[1], rgba[..., 3])
    assert torch.equal(split_layers(rgba[..., :3], torch.full((1, 3, 2), 0.5))[1], torch.full((1, 6, 8), 0.5))
    with pytest.raises(ValueError, match="^Give a mask, or an image with opacity"):
        split_layers(rgba[..., :3])
