"""Photographs of people, animals and things out of other Debian packages, and mattes of their subjects.

`outlines.json` names them (below /usr/share; weights/NANO.md says whose they are and under which licence) with an outline
drawn by hand, in percent of width and height. It is good to about a hundredth of the picture; GrabCut finds the edge
within a band around it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .models import trimmed
from .photographs import SIDE, grab

SHARE = Path("/usr/share")
BAND = 0.03  # of the longer side: how far from the hand-drawn outline the edge may be


def pictures() -> Iterator[tuple[str, str, np.ndarray]]:
    """Entries for the cache: every photograph as a "scene", or "portrait" of people; most subjects also cut out, a
    "human" with its framing as its name; and places to lie behind others."""
    for name, marks in marked()["subjects"].items():
        pixels = read(name, SIDE)
        whole = np.dstack([pixels, (matte(pixels, marks["outline"]) * 255 + 0.5).astype(np.uint8)])
        yield "portrait" if "person" in marks else "scene", name, whole
        if "person" in marks:
            yield "human", marks["person"], trimmed(whole, SIDE)
        elif "kind" in marks:
            yield marks["kind"], name, trimmed(whole, SIDE)
    for name in marked()["places"]:
        yield "place", name, read(name, 600)


@functools.cache
def marked() -> dict:
    return json.loads((Path(__file__).parent / "outlines.json").read_text())


def read(name: str, longest: int) -> np.ndarray:
    """The upright picture, uint8 [h,w,3]. Raises FileNotFoundError where the package is not installed."""
    with Image.open(SHARE / name) as image:
        picture = ImageOps.exif_transpose(image).convert("RGB")
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def matte(pixels: np.ndarray, outline: list[float]) -> np.ndarray:
    """float32 [h,w] in 0..1 of the subject within an outline x, y, x, y, … in percent."""
    import cv2

    height, width = pixels.shape[:2]
    corners = (np.reshape(outline, (-1, 2)) / 100 * (width, height)).round().astype(np.int32)
    drawn = cv2.fillPoly(np.zeros((height, width), np.uint8), [corners], 1)
    reach = max(2, round(BAND * max(height, width)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    # Replicated, so that a subject that leaves the picture stays sure up to its border.
    wide = cv2.copyMakeBorder(drawn, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    sure, possible = (change(wide, disc)[reach:-reach, reach:-reach] for change in (cv2.erode, cv2.dilate))
    labels = np.where(drawn, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[sure == 1], labels[possible == 0] = cv2.GC_FGD, cv2.GC_BGD
    return grab(pixels, labels)
