"""Compositing: pure functions on images [B,H,W,C] in 0..1 and alphas [B,H,W] (1 = subject), on any device.

`background` and `canvas` make what lies behind and say where the subject goes; `shadow` and `light` make it belong
there; `blend` takes it from its picture and lays it over; `colour` and `resample` are their tools.
"""

from ..imaging.colour import opaque_colour, parse
from .background import BACKGROUNDS, Background
from .blend import Look, compose, layer
from .canvas import FITS, POSITIONS, Placement, fitted, placed
from .shadow import SHADOWS

__all__ = ["BACKGROUNDS", "Background", "FITS", "Look", "POSITIONS", "Placement", "SHADOWS", "compose", "fitted", "layer",
           "opaque_colour", "parse", "placed"]
