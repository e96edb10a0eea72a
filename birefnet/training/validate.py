"""Score a network during training: measures on held-out pictures, and tiles of their mattes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..data.pairs import Pair
from ..data.read import read_grey, read_mask
from ..evaluation.scores import MEASURES, score
from ..imaging import pictures
from ..imaging.levels import to_levels
from ..matting.predict import matte
from ..network.birefnet import BiRefNet
from .processes import Processes

SHOWN_PICTURES = 6   # first pictures, whose mattes are shown as tiles
TILE_PIXELS = 192    # side of a tile


def score_pairs(
    model: BiRefNet, pairs: Sequence[Pair], processes: Processes
) -> tuple[dict[str, float], list[Image.Image]]:
    """Score a network; its train or eval mode is restored afterwards.

    Args:
        model: the network.
        pairs: pictures and true masks, divided among the processes.
        processes: this process among those that train together.

    Returns:
        Means of all measures over the pairs, and tiles of the first SHOWN_PICTURES mattes; the same in each
        process.
    """
    was_training = [module for module in model.modules() if module.training]
    model.eval()
    scores, tiles = [], []
    for index in range(processes.rank, len(pairs), processes.count):
        alpha = matte(model, pictures.read(pairs[index].picture))
        values = score(alpha[0].double().numpy(), read_grey(pairs[index].truth)).values
        scores.append([values[name] for name in MEASURES])
        if index < SHOWN_PICTURES:
            tiles.append((index, make_tile(Image.fromarray(to_levels(alpha[0])))))
    for module in was_training:
        module.training = True
    means = np.mean(processes.everyone(scores), 0)
    tiles = [picture for _, picture in sorted(processes.everyone(tiles), key=lambda entry: entry[0])]
    return dict(zip(MEASURES, means.tolist())), tiles


def make_truth_tiles(pairs: Sequence[Pair]) -> tuple[list[Image.Image], list[Image.Image]]:
    """Make tiles of the pictures whose mattes are shown, and of their true masks."""
    shown = pairs[:SHOWN_PICTURES]
    return ([make_tile(Image.fromarray(to_levels(pictures.read(pair.picture)[0, ..., :3])))
             for pair in shown],
            [make_tile(Image.fromarray(to_levels(read_mask(pair.truth)[0]))) for pair in shown])


def make_tile(picture: Image.Image) -> Image.Image:
    """Fit a picture into a grey square of TILE_PIXELS, centred."""
    picture = picture.convert("RGB")
    picture.thumbnail((TILE_PIXELS, TILE_PIXELS))
    square = Image.new("RGB", (TILE_PIXELS, TILE_PIXELS), (128, 128, 128))
    square.paste(picture, ((TILE_PIXELS - picture.width) // 2, (TILE_PIXELS - picture.height) // 2))
    return square


def stack_tiles(tiles: Sequence[Image.Image]) -> Image.Image:
    """Stack tiles in one column."""
    return Image.fromarray(np.concatenate([np.asarray(tile) for tile in tiles]))
