"""Draw a loss curve as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SIZE = (512, 256)  # width and height in pixels
BORDER = 36   # pixels
FONT_SIZE = 24  # pixels: readable on a node that shows the picture at half its size
# RGB colours of 8 bits: background, frame, each step's loss, means, text.
PAPER, FRAME, EACH, SMOOTH, INK = (24, 26, 30), (70, 74, 82), (70, 100, 130), (90, 170, 240), (210, 214, 220)
MAX_MEANS = 20  # points of the smoothed curve


def draw_curve(losses: Sequence[float]) -> Tensor:
    """Draw the loss of each step and, on top, the means of neighbouring steps; 0 is at the bottom.

    Args:
        losses: one per step.

    Returns:
        float32 [1,H,W,3] in 0..1.
    """
    picture = Image.new("RGB", SIZE, PAPER)
    pen = ImageDraw.Draw(picture)
    width, height = SIZE[0] - 2 * BORDER, SIZE[1] - 2 * BORDER
    top = max(losses)
    pen.rectangle([BORDER, BORDER, BORDER + width, BORDER + height], outline=FRAME)

    def points(steps: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
        last = max(1, len(losses) - 1)
        return [(BORDER + width * step / last, BORDER + height * (1 - value / top))
                for step, value in zip(steps, values)]

    pen.line(points(range(len(losses)), losses), EACH)
    parts = np.array_split(np.asarray(losses), min(MAX_MEANS, len(losses)))
    ends = np.cumsum([len(part) for part in parts])
    middles = [end - (len(part) + 1) / 2 for end, part in zip(ends, parts)]
    pen.line(points(middles, [part.mean() for part in parts]), SMOOTH, 3)
    font, middle = ImageFont.load_default(FONT_SIZE), BORDER // 2
    pen.text((BORDER, middle), f"loss {losses[0]:.1f} to {parts[-1].mean():.1f}", INK, font, anchor="lm")
    pen.text((BORDER + width, SIZE[1] - middle), f"{len(losses)} steps", INK, font, anchor="rm")
    return torch.from_numpy(np.asarray(picture, np.float32) / 255)[None]
