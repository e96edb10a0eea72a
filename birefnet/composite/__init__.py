"""Compositing: pure functions on images [B,H,W,C] in 0..1 and alphas [B,H,W] (1 = subject), on any device.

`background` makes what lies behind the subject, `canvas` places a picture, `frame` many pictures alike,
`shadow` and `light` fit the subject into its new surroundings, `blend` takes the subject from its picture and
composites it. `inpaint` cuts windows for an image model and pastes its results.
"""

from ..imaging.colour import opaque_colour, parse_colour
from .background import BACKGROUNDS, Background
from .blend import BlendSettings, compose, split_layers
from .canvas import FITS, POSITIONS, Placement, fit_to_canvas, place_subject
from .frame import (
    FRAME_POSITIONS,
    LARGEST_SIDE,
    MARGIN_UNITS,
    SCALE_BY,
    SUBJECT_ALPHA,
    FramePlan,
    Framing,
    Subject,
    framed_window,
    measure_subject,
    plan_frames,
    show_original,
)
from .shadow import SHADOWS

__all__ = ["BACKGROUNDS", "Background", "BlendSettings", "FITS", "FRAME_POSITIONS", "FramePlan", "Framing",
           "LARGEST_SIDE", "MARGIN_UNITS", "POSITIONS", "Placement", "SCALE_BY", "SHADOWS", "SUBJECT_ALPHA",
           "Subject", "compose", "fit_to_canvas", "framed_window", "measure_subject", "opaque_colour",
           "parse_colour", "place_subject", "plan_frames", "show_original", "split_layers"]
