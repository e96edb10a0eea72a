"""Photographs out of Debian packages, and mattes of their subjects.

`marks.json` names every photograph that is used. Those of GCompris ("activity/…/file.webp") lie in Qt
resource files with a licence for each; the others are files below /usr/share. Subjects were marked by hand,
as strokes or as an outline; of 32 places, a first network drew the outline, and only those that hold when
looked at were kept. GrabCut (Rother et al. 2004, OpenCV's) finds the edge from these marks.
"""

from __future__ import annotations

import functools
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SHARE = Path("/usr/share")
RESOURCES = SHARE / "gcompris-qt/rcc"
LICENCES = {"public domain", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0"}
SUBJECT_SIDE, PLACE_SIDE = 512, 800  # pixels: longer sides as stored
CUTOUT_SIDE = 448
SMALLEST_CUTOUT = 40                 # pixels: thinner ones are left out
BAND = 0.03                          # of the longer side: how far from a drawn outline the edge may be
EDGE_SIGMA = 0.8                     # pixels: GrabCut's hard edge is softened by a Gaussian

Entry = tuple[str, str, np.ndarray]


def read_photographs() -> Iterator[Entry]:
    """Entries (kind, name, pixels) for the cache.

    Yields: whole photographs with the matte of their subject as "scene" (of people "portrait"), RGBA; their
        subjects cut out as "animal", "thing" or "human" (named by its framing), RGBA; places to stand behind
        others as "place", those without anything that stands out as "empty", and those for `teacher.label`
        as "unmarked", RGB.
    """
    marks = read_marks()
    for name, strokes in marks["strokes"].items():
        pixels = read(name, SUBJECT_SIDE)
        thing = name.startswith("categorization") and "fishes" not in name
        alpha = segment_by_strokes(pixels, strokes)
        yield from whole_and_cutout("scene", "thing" if thing else "animal", name, pixels, alpha)
    for name, mark in marks["outlines"].items():
        person = mark["kind"] == "person"
        pixels = read(name, SUBJECT_SIDE if person else PLACE_SIDE)
        alpha = segment_by_outline(pixels, mark["outline"])
        if person:
            yield from whole_and_cutout("portrait", "human", mark["framing"], pixels, alpha)
        else:
            yield from whole_and_cutout("scene", mark["kind"], name, pixels, alpha)
    for kind, key in (("place", "places"), ("empty", "empty"), ("unmarked", "unmarked")):
        for name in marks[key]:
            yield kind, name, read(name, PLACE_SIDE)


def whole_and_cutout(whole: str, part: str, name: str, pixels: np.ndarray, alpha: np.ndarray
                     ) -> Iterator[Entry]:
    """The whole photograph, and its subject cut out where it is large enough."""
    rgba = np.dstack([pixels, (alpha * 255 + 0.5).astype(np.uint8)])
    yield whole, name, rgba
    cutout = crop_to_subject(rgba, CUTOUT_SIDE)
    if cutout is not None:
        yield part, name, cutout


def crop_to_subject(pixels: np.ndarray, longest: int, keep: float = 1.0) -> np.ndarray | None:
    """The visible part of RGBA [h,w,4], the upper `keep` of it, reduced to `longest`; None where it is too
    thin."""
    rows, columns = (np.flatnonzero((pixels[..., 3] > 8).any(axis)) for axis in (1, 0))
    if min(len(rows), len(columns)) < SMALLEST_CUTOUT:
        return None
    part = pixels[rows[0]:rows[0] + int(keep * len(rows))]
    columns = np.flatnonzero((part[..., 3] > 8).any(0))
    if not len(columns):
        return None
    image = Image.fromarray(np.ascontiguousarray(part[:, columns[0]:columns[-1] + 1]))
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(image)


@functools.cache
def read_marks() -> dict:
    return json.loads((Path(__file__).parent / "marks.json").read_text())


# --- mattes -------------------------------------------------------------------------------------------------

def segment_by_strokes(pixels: np.ndarray, strokes: dict) -> np.ndarray:
    """Alpha float32 [h,w] in 0..1.

    Args:
        pixels: uint8 [h,w,3].
        strokes: all in percent of width and height. "box": left, top, right, bottom, outside of which is
            background; "inside" and "outside": lines x, y, x, y, …, half width; "smallest": share of the
            largest piece that another piece must have to be kept.
    """
    import cv2

    height, width = pixels.shape[:2]
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    box = np.array(strokes.get("box", (4, 4, 96, 96))) / 100 * (width, height, width, height)
    left, top, right, bottom = box
    labels[int(top):int(np.ceil(bottom)), int(left):int(np.ceil(right))] = cv2.GC_PR_FGD
    for key, label in (("outside", cv2.GC_BGD), ("inside", cv2.GC_FGD)):
        for *points, half in strokes.get(key, ()):
            line = (np.reshape(points, (-1, 2)) / 100 * (width, height)).astype(np.int32)
            thickness = max(2, int(half / 50 * max(width, height)))
            cv2.polylines(labels, [np.concatenate([line, line[-1:]])], False, label, thickness)
    return segment(pixels, labels, strokes.get("smallest", 0.25))


def segment_by_outline(pixels: np.ndarray, outline: list[float]) -> np.ndarray:
    """Alpha float32 [h,w] in 0..1 of what an outline x, y, x, y, … in percent encloses; the edge may be BAND
    off."""
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
    return segment(pixels, labels)


def segment(pixels: np.ndarray, labels: np.ndarray, smallest: float = 0.25) -> np.ndarray:
    """Alpha float32 [h,w] by GrabCut from its labels, without specks, pinholes, and pieces below `smallest`
    of the largest."""
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
    return cv2.GaussianBlur(found.astype(np.float32), (0, 0), EDGE_SIGMA)


# --- files --------------------------------------------------------------------------------------------------

def read(name: str, longest: int) -> np.ndarray:
    """A photograph over white, uint8 [h,w,3], reduced to `longest`.

    Raises:
        FileNotFoundError: where its package is not installed.
        PermissionError: where its licence is none of LICENCES.
    """
    path = SHARE / name
    if not path.exists():
        path = io.BytesIO(read_gcompris(name))
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGBA")
    picture = Image.new("RGBA", image.size, "white")
    picture.alpha_composite(image)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(picture.convert("RGB"))


def read_gcompris(name: str) -> bytes:
    activity, _, file = name.partition("/")
    inside = f"/gcompris/src/activities/{activity}/resource/{file}"
    content = read_resources(activity)
    licence = read_licences(activity).get(inside, "not named")
    if licence not in LICENCES:
        raise PermissionError(f"{name}: its licence is {licence}; expected one of "
                              f"{', '.join(sorted(LICENCES))}")
    return content[inside]


@functools.cache
def read_licences(activity: str) -> dict[str, str]:
    """Path of a picture → its licence in lower case, as the README files beside the pictures say."""
    found = {}
    for path, content in read_resources(activity).items():
        if path.endswith("/README"):
            for paragraph in re.split(r"\n\s*\n", content.decode("utf-8")):
                licence = re.search(r"^License:\s*(.+?)\s*$", paragraph, re.MULTILINE)
                files = re.search(r"^Files:\s*((?:\S+\s*?)(?:\n(?![A-Z]\w*:)\S+\s*)*)", paragraph,
                                  re.MULTILINE)
                if licence and files:
                    kind = licence[1].lower()
                    found.update({f"{path.removesuffix('README')}{file}": kind for file in files[1].split()})
    return found


@functools.cache
def read_resources(activity: str) -> dict[str, bytes]:
    """Path → content of all files of one activity's Qt resource file."""
    from PySide6.QtCore import QDirIterator, QFile, QIODevice, QResource

    file = RESOURCES / f"{activity}.rcc"
    if not file.exists():
        raise FileNotFoundError(f"{file} is not there; weights/NANO.md lists the packages to install")
    if not QResource.registerResource(str(file)):
        raise ValueError(f"install gcompris-qt-data again: {file} is no Qt resource file")
    paths, found = QDirIterator(":/gcompris", QDirIterator.IteratorFlag.Subdirectories), {}
    while paths.hasNext():
        inside = QFile(paths.next())
        if inside.open(QIODevice.OpenModeFlag.ReadOnly):
            found[inside.fileName().removeprefix(":")] = bytes(inside.readAll())
    QResource.unregisterResource(str(file))
    return found
