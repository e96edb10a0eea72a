"""Report an evaluation: a table, a CSV file, a JSON file, a contact sheet of the worst cases."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..data.pairs import Pair
from ..data.read import read_grey
from ..files.atomic import atomic_write_bytes
from ..files.errors import one_line
from ..imaging.levels import to_levels
from ..imaging.pictures import PictureError, open_picture
from .run import resize_prediction
from .scores import MEASURES, Score

TILE_SIDE, CAPTION_HEIGHT = 320, 22  # pixels: longer side of a picture on the sheet, height of its caption


def table(means: dict[str, float], pictures: int) -> str:
    """Format the means as text, in two blocks: against the binary truth, and against the soft one."""
    blocks = (MEASURES[:9], MEASURES[9:])
    lines = [f"{pictures} pictures"]
    for names in blocks:
        widths = [max(len(name), 9) for name in names]
        lines.append("  ".join(name.rjust(width) for name, width in zip(names, widths)))
        lines.append("  ".join(f"{means[name]:.4f}".rjust(width) for name, width in zip(names, widths)))
    return "\n".join(lines)


def write_json(path: Path, means: dict[str, float], scores: dict[str, Score], about: dict[str, object]
               ) -> None:
    """Write `about`, the means, and each picture's measures."""
    content = {**about, "pictures": len(scores), "mean": means,
               "each": {name: score.values for name, score in sorted(scores.items())}}
    atomic_write_bytes(path, json.dumps(content, indent=1).encode())


def write_csv(path: Path, scores: dict[str, Score]) -> None:
    """Write one row for each picture: its name and measures."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["name", *MEASURES])
    rows.writerows([name, *(f"{score.values[measure]:.6g}" for measure in MEASURES)]
                   for name, score in sorted(scores.items()))
    atomic_write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))


def write_sheet(path: Path, worst: list[tuple[Pair, Score]], predict: Callable[[Pair], np.ndarray]
                ) -> list[PictureError]:
    """Write a JPEG with a row for each case: picture, truth, prediction, difference.

    The difference is red where the prediction is too high, and blue where it is too low.

    Args:
        path: the file.
        worst: pairs with their scores, in the order of the rows.
        predict: a pair's prediction, float [H,W] in 0..1.

    Returns:
        Errors of the pictures that cannot be read; the sheet shows grey in their place.
    """
    rows, unread = [], []
    for pair, score in worst:
        truth = read_grey(pair.truth)
        prediction = resize_prediction(predict(pair), truth.shape)
        try:
            photograph = read_photograph(pair.picture, truth.shape[::-1])
        except PictureError as error:  # scoring saved mattes does not need the picture
            unread.append(error)
            photograph = Image.new("RGB", truth.shape[::-1], "lightgrey")
        difference = np.stack([1 - (truth - prediction).clip(0), 1 - np.abs(truth - prediction),
                               1 - (prediction - truth).clip(0)], -1)
        shown = Image.fromarray(to_levels(difference))
        tiles = [photograph, grey(truth), grey(prediction), shown]
        caption = f"{pair.name}   weighted F {score.values['weighted_f']:.3f}   MAE {score.values['mae']:.3f}"
        rows.append(strip(tiles, one_line(caption)))
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    held = io.BytesIO()
    sheet.save(held, "JPEG", quality=88)
    atomic_write_bytes(path, held.getvalue())
    return unread


def read_photograph(path: Path, size: tuple[int, int]) -> Image.Image:
    """Read a picture, upright, in RGB, resized to (width, height). Raises PictureError."""
    with open_picture(path) as picture:
        return picture.convert("RGB").resize(size)


def strip(tiles: list[Image.Image], caption: str) -> Image.Image:
    """A row of the sheet: tiles side by side, below a caption."""
    scale = TILE_SIDE / max(tiles[0].size)
    size = tuple(max(1, round(side * scale)) for side in tiles[0].size)
    row = Image.new("RGB", (len(tiles) * (size[0] + 4), size[1] + CAPTION_HEIGHT), "white")
    for place, tile in enumerate(tiles):
        small = tile.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        row.paste(small, (place * (size[0] + 4), CAPTION_HEIGHT))
    ImageDraw.Draw(row).text((4, 4), caption, fill="black", font=ImageFont.load_default(13))
    return row


def grey(values: np.ndarray) -> Image.Image:
    """A picture of values [H,W] in 0..1."""
    return Image.fromarray(to_levels(values))
