"""Compositing: pure functions on images [B,H,W,C] in 0..1 and alphas [B,H,W] (1 = subject), on any device.

`background` and `canvas` make what lies behind and say where the subject goes; `shadow` and `light` make it belong
there; `blend` lays it over; `colour` and `resample` are their tools.
"""

from .background import plain, softened, without_subject
from .blend import Look, compose
from .canvas import FITS, POSITIONS, Placement, fitted, placed
from .colour import parse
from .shadow import SHADOWS

__all__ = ["FITS", "Look", "POSITIONS", "Placement", "SHADOWS", "compose", "fitted", "parse", "placed", "plain",
           "softened", "without_subject"]
