"""Subjects in their frames: boxes where they belong, batches alike, and the way back."""

from __future__ import annotations

import pytest
import torch
from known_boxes import COUNT, drawn, framed_edges

from birefnet.composite import (
    Framing,
    Placement,
    Subject,
    compose,
    framed_window,
    inpaint,
    measure_subject,
    plan_frames,
    show_original,
)
from birefnet.imaging.boxes import Box, bounding_box

WHITE = torch.ones(3)
TALL = Subject((400, 300), Box(100, 120, 300, 180), 9000)  # 200 high, 60 wide
WIDE = Subject((300, 500), Box(200, 50, 260, 450), 20000)  # 60 high, 400 wide


def on_canvas(subject: Subject, where: Placement) -> tuple[float, ...]:
    """The subject's top, left, bottom and right on the canvas."""
    return tuple(start + at * where.scale for start, at in zip((where.top, where.left) * 2, subject.box))


def framed(*subjects: Subject, **words) -> tuple[tuple[int, int], list[tuple[float, ...]], list[int]]:
    plan = plan_frames(list(subjects), Framing(**words))
    return plan.canvas, [on_canvas(*pair) for pair in zip(subjects, plan.places)], plan.limited


@pytest.mark.parametrize("number", range(COUNT))
def test_a_known_box_is_framed_right_to_two_pixels(number):
    image, alpha, edges = drawn(number)
    subject = measure_subject(alpha[0])
    plan = plan_frames([subject], Framing(500, 500, margin=0.05))
    _, placed = compose(image, alpha, plan.places[0], plan.canvas, torch.ones(1, 500, 500, 3))
    found = bounding_box(placed[0], 0.5)
    assert found == pytest.approx(framed_edges(edges, 500, 25), abs=2)


def test_fit_is_as_large_as_the_margins_allow():
    canvas, boxes, _ = framed(TALL, WIDE, width=1000, height=1000, margin=0.05)
    assert canvas == (1000, 1000)
    assert boxes[0] == pytest.approx((50, 365, 950, 635))
    assert boxes[1] == pytest.approx((432.5, 50, 567.5, 950))
    _, (box,), _ = framed(TALL, width=800, height=600, margin=40, margin_unit="pixels")
    assert box == pytest.approx((40, 322, 560, 478))


def test_bottom_stands_on_the_ground_line():
    _, boxes, _ = framed(TALL, WIDE, width=1000, height=1000, margin=0.05, position="bottom")
    assert [box[2] for box in boxes] == pytest.approx([950, 950])
    assert boxes[1] == pytest.approx((815, 50, 950, 950))
    _, boxes, _ = framed(TALL, WIDE, width=1000, height=1000, margin=0.05, position="bottom", ground=0.2)
    assert boxes[0] == pytest.approx((50, 387.5, 800, 612.5))  # smaller: it fits between margin and ground
    assert boxes[1][2] == pytest.approx(800)


def test_keep_stays_where_it_was_as_far_as_the_margins_allow():
    at_the_left = Subject((400, 400), Box(180, 20, 220, 60), 1600)
    size = {"width": 200, "height": 200, "margin": 0.05, "position": "keep"}
    _, (box,), _ = framed(at_the_left, **size, scale_by="height", share=0.1)
    assert box == pytest.approx((90, 10, 110, 30))  # in the picture its middle is 40 from the left, here 20
    _, (box,), _ = framed(at_the_left, **size, scale_by="height", share=0.5)
    assert box == pytest.approx((50, 10, 150, 110))  # not beyond the margin


@pytest.mark.parametrize("share, height", [(0, 60 * 900 / 400), (0.1, 100)])
def test_equal_height(share, height):
    _, boxes, limited = framed(TALL, WIDE, width=1000, height=1000, scale_by="height", share=share)
    assert [bottom - top for top, _, bottom, _ in boxes] == pytest.approx([height, height])
    assert limited == []


def test_equal_area():
    subjects = [TALL, WIDE]
    for share in (0, 0.04):
        plan = plan_frames(subjects, Framing(1000, 1000, scale_by="area", share=share))
        areas = [subject.area * where.scale**2 for subject, where in zip(subjects, plan.places)]
        assert areas[0] == pytest.approx(areas[1]) and plan.limited == []
        assert not share or areas[0] == pytest.approx(40000)
    # Without a share one of them is as large as the margins allow.
    assert plan_frames(subjects,
                       Framing(1000, 1000, scale_by="area")).places[1].scale == pytest.approx(900 / 400)


def test_a_subject_without_room_for_the_wanted_height_fits_and_is_named():
    _, boxes, limited = framed(TALL, WIDE, width=1000, height=1000, scale_by="height", share=0.8)
    assert limited == [1]
    assert boxes[0][2] - boxes[0][0] == pytest.approx(800)
    assert boxes[1][1::2] == pytest.approx((50, 950))


def test_without_a_canvas_the_picture_is_cropped_to_the_box():
    canvas, (box,), _ = framed(TALL, margin=0)
    assert (canvas, box) == ((200, 60), (0, 0, 200, 60))
    assert framed(TALL, margin=10, margin_unit="pixels")[0] == (220, 80)
    canvas, (box,), _ = framed(TALL, margin=0.1)
    assert (canvas, box) == ((215, 75), (8, 8, 208, 68))  # 7.5 is a tenth of 75
    assert framed(TALL, WIDE, margin=0)[0] == (200, 400)  # one canvas for both


@pytest.mark.parametrize("words, canvas", [
    ({"aspect": 1}, (223, 223)), ({"aspect": 0.8}, (218, 174)), ({"aspect": 1, "multiple": 64}, (256, 256)),
    ({"width": 500, "aspect": 0.8}, (625, 500)), ({"height": 900, "margin": 0}, (900, 270)),
    ({"width": 500, "height": 300, "multiple": 64}, (320, 512)),
    ({"position": "bottom", "ground": 0.2, "margin": 10, "margin_unit": "pixels"}, (263, 80)),
])
def test_canvas(words, canvas):
    found, ((top, left, bottom, right),), _ = framed(TALL, **words)
    assert found == canvas
    assert min(top, left, found[0] - bottom, found[1] - right) > -1e-6


@pytest.mark.parametrize("words, sentence", [
    ({"scale_by": "height"}, "Set width and height"),
    ({"position": "top"}, "Set position to centre, bottom"),
    ({"margin": 0.5}, "Lower margin"),
    ({"width": 90, "height": 90, "margin": 45, "margin_unit": "pixels"}, "Lower"),
    ({"width": 90, "height": 90, "position": "bottom", "ground": 0.97}, "Lower margin or ground"),
])
def test_what_cannot_be(words, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        framed(TALL, **words)


def test_no_subject():
    assert measure_subject(torch.full((9, 9), 0.4)) is None
    assert measure_subject(torch.full((9, 9), 0.4), 0.3) == Subject((9, 9), Box(0, 0, 9, 9),
                                                                    pytest.approx(81 * 0.4))


def test_the_photograph_is_cropped_exactly_and_colour_shows_beside_it():
    image = torch.rand(1, 40, 30, 3, generator=torch.Generator().manual_seed(0))
    subject = Subject((40, 30), Box(0, 5, 20, 15), 200)
    plan = plan_frames([subject], Framing(margin=5, margin_unit="pixels"))
    shown = show_original(image, plan.places[0], plan.canvas, WHITE)
    assert torch.equal(shown[0, 5:], image[0, :25, :20])
    assert (shown[0, :5] == 1).all()


def test_undone_exactly():
    """At its own pixels to the bit; else each point of the picture to 1e-9."""
    image = torch.rand(1, 64, 48, 4, generator=torch.Generator().manual_seed(0))
    image[..., 3] = 1
    alpha = torch.zeros(1, 64, 48)
    alpha[:, 10:50, 8:30] = 1
    subject = measure_subject(alpha[0])
    plan = plan_frames([subject], Framing(margin=3, margin_unit="pixels"))
    rgba, _ = compose(image[..., :3], alpha, plan.places[0], plan.canvas)
    window = framed_window(plan.places[0], plan.canvas)
    black = torch.zeros_like(image)
    back = inpaint.paste_window(black, alpha, window, rgba[..., :3])
    assert torch.equal(back[0, 10:50, 8:30, :3], image[0, 10:50, 8:30, :3])
    assert not back[alpha == 0].any()

    for subject in (TALL, WIDE):
        plan = plan_frames([subject], Framing(997, 1003, margin=0.03, position="keep"))
        window, (top, left, scale, *_) = framed_window(plan.places[0], plan.canvas), plan.places[0]
        for row, column in ((0, 0), (17.25, 3), (399, 299)):
            y, x = top + row * scale, left + column * scale  # on the canvas
            back = window.top + y * window.height / 1003, window.left + x * window.width / 997
            assert back == pytest.approx((row, column), abs=1e-9)


@pytest.mark.parametrize("number", range(3))
def test_a_framed_subject_goes_back_into_its_picture(number):
    """Enlarged by its frame, the subject comes back as it was; what is not subject is unchanged."""
    image, alpha, _ = drawn(number)
    plan = plan_frames([measure_subject(alpha[0])], Framing(1200, 1200))
    shown = show_original(image, plan.places[0], plan.canvas, WHITE)
    back = inpaint.paste_window(image, alpha, framed_window(plan.places[0], plan.canvas), shown)
    assert torch.equal(back[alpha == 0], image[alpha == 0])
    assert (back - image)[alpha == 1].square().mean().sqrt() < 0.015
