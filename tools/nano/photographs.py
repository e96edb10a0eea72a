"""Real photographs out of GCompris (Debian gcompris-qt-data), and mattes of their subjects.

The package says of every picture who took it and under which licence; only those listed in `LICENCES` are used.
Subjects were marked by hand in scenes.json: where one is, where it is not, in percent of width and height. GrabCut
(Rother et al. 2004, OpenCV's) finds the outline from these marks; pictures where it failed were left out.
"""

from __future__ import annotations

import functools
import io
import json
import re
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

RESOURCES = Path("/usr/share/gcompris-qt/rcc")
LICENCES = {"public domain", "cc0-1.0", "cc-by-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-4.0"}
SIDE = 352   # pixels: longer side of a scene
EDGE = 0.8   # pixels: GrabCut's hard outline is softened by a Gaussian of this sigma


def scenes() -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 RGBA [h,w,4]): whole photographs with the matte of their subject."""
    for name, marks in marked()["scenes"].items():
        pixels = read(name, SIDE)
        yield name, np.dstack([pixels, (matte(pixels, marks) * 255 + 0.5).astype(np.uint8)])


def backgrounds(longest: int) -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 RGB [h,w,3]): places that serve as what is behind a subject."""
    for name in marked()["backgrounds"]:
        yield name, read(name, longest)


@functools.cache
def marked() -> dict:
    return json.loads((Path(__file__).parent / "scenes.json").read_text())


def matte(pixels: np.ndarray, marks: dict) -> np.ndarray:
    """float32 [h,w] in 0..1 by GrabCut. marks: "box" (left, top, right, bottom), outside of which is background;
    "inside" and "outside": strokes x, y, x, y, …, half width; "smallest": share of the largest piece that another must
    have to be kept."""
    import cv2

    height, width = pixels.shape[:2]
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    left, top, right, bottom = np.array(marks.get("box", (4, 4, 96, 96))) / 100 * (width, height, width, height)
    labels[int(top):int(np.ceil(bottom)), int(left):int(np.ceil(right))] = cv2.GC_PR_FGD
    for key, label in (("outside", cv2.GC_BGD), ("inside", cv2.GC_FGD)):
        for *points, half in marks.get(key, ()):
            line = (np.reshape(points, (-1, 2)) / 100 * (width, height)).astype(np.int32)
            thick = max(2, int(half / 50 * max(width, height)))
            cv2.polylines(labels, [np.concatenate([line, line[-1:]])], False, label, thick)
    return grab(pixels, labels, marks.get("smallest", 0.25))


def grab(pixels: np.ndarray, labels: np.ndarray, smallest: float = 0.25) -> np.ndarray:
    """float32 [h,w] in 0..1: OpenCV's GrabCut from its labels [h,w], without specks, holes of a few pixels, and pieces
    below `smallest` of the largest."""
    import cv2

    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(pixels[..., ::-1]), labels, None, *models, 6, cv2.GC_INIT_WITH_MASK)
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(found)
    areas = stats[1:, cv2.CC_STAT_AREA]
    found = np.isin(pieces, 1 + np.flatnonzero(areas >= smallest * areas.max())).astype(np.uint8)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(1 - found)
    specks = 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] < 0.002 * found.size)
    found[np.isin(pieces, specks)] = 1
    return cv2.GaussianBlur(found.astype(np.float32), (0, 0), EDGE)


def read(name: str, longest: int) -> np.ndarray:
    """A picture "activity/…/file.webp" over white, uint8 [h,w,3]. Raises PermissionError where its licence does not
    serve."""
    activity, _, file = name.partition("/")
    inside = f"/gcompris/src/activities/{activity}/resource/{file}"
    content = resources(activity)
    licence = licences(activity).get(inside, "not named")
    if licence not in LICENCES:
        raise PermissionError(f"{name}: its licence is {licence}; expected one of {', '.join(sorted(LICENCES))}")
    with Image.open(io.BytesIO(content[inside])) as image:
        picture = Image.new("RGBA", image.size, "white")
        picture.alpha_composite(image.convert("RGBA"))
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(picture.convert("RGB"))


@functools.cache
def licences(activity: str) -> dict[str, str]:
    """Path of a picture → its licence in lower case, as the README files beside the pictures say."""
    found = {}
    for path, content in resources(activity).items():
        if path.endswith("/README"):
            for paragraph in re.split(r"\n\s*\n", content.decode("utf-8")):
                licence = re.search(r"^License:\s*(.+?)\s*$", paragraph, re.MULTILINE)
                files = re.search(r"^Files:\s*((?:\S+\s*?)(?:\n(?![A-Z]\w*:)\S+\s*)*)", paragraph, re.MULTILINE)
                if licence and files:
                    kind = licence[1].lower().replace("cc-by-sa 4.0", "cc-by-sa-4.0")
                    found.update({f"{path.removesuffix('README')}{file}": kind for file in files[1].split()})
    return found


@functools.cache
def resources(activity: str) -> dict[str, bytes]:
    """Path → content of all files of one activity's Qt resource file.

    The format ("qres"): a header with the offsets of tree, data and names; tree nodes are folders (count and first
    child) or files (offset of a length and the bytes, which zlib or zstd may have compressed).
    """
    raw = (RESOURCES / f"{activity}.rcc").read_bytes()
    magic, version, tree, data, names = struct.unpack(">4sIIII", raw[:20])
    if magic != b"qres":
        raise ValueError(f"{activity}.rcc is no Qt resource file: it begins with {magic!r}")
    stride = 14 if version < 2 else 22
    found = {}

    def visit(index: int, folder: str) -> None:
        at = tree + index * stride
        name, flags, one, two = struct.unpack(">IHII", raw[at:at + 14])
        length = struct.unpack(">H", raw[names + name:names + name + 2])[0] if index else 0
        path = folder + raw[names + name + 6:names + name + 6 + 2 * length].decode("utf-16-be") if index else ""
        if flags & 2:
            for child in range(two, two + one):
                visit(child, path + "/")
            return
        start = data + two
        length = struct.unpack(">I", raw[start:start + 4])[0]
        content = raw[start + 4:start + 4 + length]
        if flags & 1:
            content = zlib.decompress(content[4:])  # after the length that it will have
        elif flags & 4:
            content = subprocess.run(["zstd", "-dc"], input=content, capture_output=True, check=True).stdout
        found[path] = content

    visit(0, "")
    return found
