"""Choose one subject among several.

`looks` needs no more than the network itself: the one in a box, under a point, under a coarse mask. `select`
takes any mixture of boxes, points, strokes and coarse masks, and parts subjects that touch, by the selector.
"""

from __future__ import annotations

from .follow import Follower
from .looks import AlphaOf, Box, at_point, in_box, under_mask, widen_box
from .parting import PARTING_REACH, Parting, find_parting, reduce_picture
from .prompts import Prompt, is_scribble
from .select import select, select_each

__all__ = ["PARTING_REACH", "AlphaOf", "Box", "Follower", "Parting", "Prompt", "at_point", "find_parting",
           "in_box", "is_scribble", "reduce_picture", "select", "select_each", "under_mask", "widen_box"]
