"""Choose one subject among several.

`looks` needs only the matting network: it mattes the subject in a box or under a point.
`select` takes any combination of boxes, points, strokes and coarse masks, and separates subjects that touch
with a second small network, the selector. `follow` and `parting` apply it to clips.
"""

from __future__ import annotations

from .follow import Follower
from .looks import AlphaOf, Box, at_point, in_box, widen_box
from .parting import PARTING_REACH, Parting, find_parting, reduce_picture
from .prompts import Prompt, is_scribble, prompts_of_boxes
from .selection import select, select_all, select_each

__all__ = ["PARTING_REACH", "AlphaOf", "Box", "Follower", "Parting", "Prompt", "at_point", "find_parting",
           "in_box", "is_scribble", "prompts_of_boxes", "reduce_picture", "select", "select_all",
           "select_each", "widen_box"]
