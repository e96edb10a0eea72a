"""How good a network is between two steps: the field's measures on pictures held out, and their mattes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..data.pairs import Pair
from ..data.read import read_grey, read_mask
from ..data.sample import levels
from ..evaluation.scores import MEASURES, score
from ..imaging import pictures
from ..matting.predict import matte
from ..network.birefnet import BiRefNet
from .processes import Processes

SHOWN = 6      # pictures whose mattes are kept
TILE = 192     # pixels: side of the square in which a picture stands on the strip


def validate(model: BiRefNet, pairs: Sequence[Pair], processes: Processes
             ) -> tuple[dict[str, float], list[Image.Image]]:
    """Means of all measures over the pairs, and the mattes of the first SHOWN of them as tiles, in each process.

    The network's mode is restored.
    """
    was_training = [module for module in model.modules() if module.training]
    model.eval()
    scores, tiles = [], []
    for index in range(processes.rank, len(pairs), processes.count):
        alpha = matte(model, pictures.read(pairs[index].picture))
        values = score(alpha[0].double().numpy(), read_grey(pairs[index].truth)).values
        scores.append([values[name] for name in MEASURES])
        if index < SHOWN:
            tiles.append((index, tile(Image.fromarray(levels(alpha)))))
    for module in was_training:
        module.training = True
    means = np.mean(processes.everyone(scores), 0)
    tiles = [picture for _, picture in sorted(processes.everyone(tiles), key=lambda entry: entry[0])]
    return dict(zip(MEASURES, means.tolist())), tiles


def shown(pairs: Sequence[Pair]) -> tuple[list[Image.Image], list[Image.Image]]:
    """Tiles of the pictures, and of the masks, whose mattes `validate` keeps."""
    return ([tile(Image.fromarray(levels(pictures.read(pair.picture)[..., :3]))) for pair in pairs[:SHOWN]],
            [tile(Image.fromarray(levels(read_mask(pair.truth)))) for pair in pairs[:SHOWN]])


def tile(picture: Image.Image) -> Image.Image:
    """The picture in the middle of a grey square."""
    picture = picture.convert("RGB")
    picture.thumbnail((TILE, TILE))
    square = Image.new("RGB", (TILE, TILE), (128, 128, 128))
    square.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    return square


def column(tiles: Sequence[Image.Image]) -> Image.Image:
    """The tiles one below the other."""
    strip = Image.new("RGB", (TILE, TILE * len(tiles)))
    for place, picture in enumerate(tiles):
        strip.paste(picture, (0, place * TILE))
    return strip
