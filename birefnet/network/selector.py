"""The selector: a small network that predicts which part of a matte a prompt means.

    picture ── first stages of EfficientNet-Lite2, strides 2 4 8 16 ──┐
    prompts, matte, distance and likeness to the prompts ─────────────┴── decoder, strides 16 8 4 2 ── logits

Distances are geodesic (Bai and Sapiro, ICCV 2007): along paths whose cost grows where colours or features
change and where the matte ends.

The encoder began as the included checkpoint's; `python -m tools.subject.train` trained its later layers
together with the decoder. The selector reads the matte only, so it works with any matting network.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..files.packages import require
from .backbones.efficientnet_lite import EfficientNetLite
from .blocks import resize

ENCODER = "tf_efficientnet_lite2"
SIDE = 256                    # pixels: side of the square to which a picture is resized
STAGES = 5                    # of the encoder's seven
TAPS = (0, 1, 2, 4)           # stages whose maps are used, at strides 2, 4, 8, 16
FEATURES = (16, 24, 48, 120)  # channels of these maps
WIDTHS = (16, 32, 64, 128)    # the decoder's channels at these strides
PROMPTS = 5                   # maps: positive and negative touches, box, coarse mask, matte
DISTANCES = 4                 # maps of `measure_distances`
HEADS = 4                     # of the attention at stride 16

# Costs of a step between neighbours of the map at stride 4: constant, per difference of colours, of features,
# and of the matte's complement.
STEP_COST, COLOUR_COST, FEATURE_COST, GROUND_COST = 0.01, 1.5, 0.3, 4.0
NEAR, FAR = 4.0, 14.0         # path costs at which the two nearness maps fall to 1/e
REACH = 8.0                   # pixels at stride 4: Euclidean distance at which the last map falls to 1/e

TASK = "choosing one of several subjects"  # named where SciPy is missing


class Selector(nn.Module):
    """Predicts which part of a matte the prompts mean.

    `forward(features, prompts, distances)` → logits [B,1,SIDE/2,SIDE/2].

    - features: from `encode`; all prompts on one picture share them.
    - prompts: [B,5,SIDE/2,SIDE/2]: positive touches (clicks, strokes), 0 or 1; negative touches; box, 1
      inside, -1 outside, 0 without one; coarse mask, likewise; the matte of everything salient, 0..1.
    - distances: from `measure_distances`.
    """

    def __init__(self) -> None:
        super().__init__()
        encoder = EfficientNetLite(ENCODER)
        self.conv_stem, self.bn1, self.blocks = encoder.conv_stem, encoder.bn1, encoder.blocks[:STAGES]
        extras = PROMPTS + DISTANCES + len(FEATURES) - 1
        self.reduce = nn.ModuleList(nn.Conv2d(channels, width, 1)
                                    for channels, width in zip(FEATURES, WIDTHS))
        self.deepest = Block(WIDTHS[3] + extras, WIDTHS[3], 2)
        self.attention = Attention(WIDTHS[3])
        self.deep = Block(WIDTHS[3], WIDTHS[3], 2)
        self.up = nn.ModuleList(Block(WIDTHS[i + 1] + WIDTHS[i] + extras, WIDTHS[i], count)
                                for i, count in ((2, 2), (1, 2), (0, 1)))
        self.out = nn.Conv2d(WIDTHS[0], 1, 3, padding=1)
        # A shortcut to the logits: nearness to a prompt is a good first guess, which the decoder corrects.
        self.direct = nn.Conv2d(PROMPTS + DISTANCES, 1, 1)

    def encode(self, pictures: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Encode normalised pictures [B,3,SIDE,SIDE].

        Returns:
            Maps at strides 2, 4, 8, 16; and those at 4, 8, 16 centred and normalised to unit vectors, which
            compare positions by their cosine.
        """
        x = F.relu6(self.bn1(self.conv_stem(pictures)))
        maps = []
        for i, stage in enumerate(self.blocks):
            x = stage(x)
            if i in TAPS:
                maps.append(x)
        return maps, [F.normalize(x - x.mean((2, 3), keepdim=True), dim=1) for x in maps[1:]]

    def forward(self, features: tuple[list[Tensor], list[Tensor]], prompts: Tensor,
                distances: Tensor) -> Tensor:
        features, directions = features
        similarities = [likeness(direction, prompts) for direction in directions]

        def decoder_inputs(feature: Tensor, reduce: nn.Module) -> list[Tensor]:
            size = feature.shape[2:]
            return [reduce(feature), shrink(prompts, size), resize(distances, size),
                    *(resize(one, size) for one in similarities)]

        x = self.deepest(torch.cat(decoder_inputs(features[3], self.reduce[3]), 1))
        x = self.deep(self.attention(x))
        for block, i in zip(self.up, (2, 1, 0)):
            extras = decoder_inputs(features[i], self.reduce[i])
            x = block(torch.cat([resize(x, features[i].shape[2:]), *extras], 1))
        return self.out(x) + self.direct(torch.cat([prompts, resize(distances, x.shape[2:])], 1))


class Block(nn.Module):
    """A 1×1 convolution, then 3×3 ones with group norm, each with a residual."""

    def __init__(self, channels: int, out: int, count: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, out, 1)
        self.convs = nn.ModuleList(nn.Conv2d(out, out, 3, padding=1, bias=False) for _ in range(count))
        self.norms = nn.ModuleList(nn.GroupNorm(4, out) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.mix(x))
        for conv, norm in zip(self.convs, self.norms):
            x = F.relu(x + norm(conv(x)))
        return x


class Attention(nn.Module):
    """Self-attention over all positions of a map [B,C,h,w], with a residual: a click affects them all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, channels)
        self.qkv, self.project = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).view(batch, 3, HEADS, channels // HEADS, -1)
        q, k, v = qkv.transpose(3, 4).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(batch, channels, height, width)
        return x + self.project(y)


def shrink(prompts: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize prompts to a coarser map: touches by their maximum, so that small ones stay; others by mean."""
    if tuple(prompts.shape[2:]) == tuple(size):
        return prompts
    touches, others = prompts[:, :2], prompts[:, 2:]
    return torch.cat([F.adaptive_max_pool2d(touches, size), F.adaptive_avg_pool2d(others, size)], 1)


def likeness(direction: Tensor, prompts: Tensor) -> Tensor:
    """Compute the cosine similarity of each position's features to the mean of the prompted positions.

    Prompted are the touched positions; without any, those of the coarse mask, or of the box, in the matte.

    Args:
        direction: unit vectors [B,C,h,w].
        prompts: [B,5,H,W], see `Selector`.

    Returns:
        [B,1,h,w] in -1..1.
    """
    touched, _, box, coarse, matte = F.adaptive_avg_pool2d(prompts, direction.shape[2:]).split(1, 1)
    area = torch.where(coarse.abs().amax((2, 3), keepdim=True) > 0, coarse, box).clamp(min=0) * (matte + 1e-3)
    weight = torch.where(touched.amax((2, 3), keepdim=True) > 0, touched, area)
    mean = F.normalize((direction * weight).sum((2, 3), keepdim=True), dim=1)
    return (direction * mean).sum(1, keepdim=True)


def measure_distances(picture: Tensor, direction: Tensor, prompts: Tensor) -> Tensor:
    """Measure how near each position is to the prompts, by geodesic and Euclidean distance.

    Positive seeds are the touched positions; without any, the inner part of the coarse mask or the box.
    Negative seeds are negative touches, and the matte outside the coarse mask or the box.

    Args:
        picture: [1,3,SIDE,SIDE], normalised.
        direction: unit vectors [1,C,h,w] of the map at stride 4.
        prompts: [1,5,SIDE/2,SIDE/2], see `Selector`.

    Returns:
        [1,DISTANCES,h,w] in 0..1, exp(-distance / scale): geodesic to positive seeds with the scales NEAR and
        FAR; geodesic to negative seeds with FAR; Euclidean to positive seeds with REACH. 0 without seeds.

    Raises:
        PackageError: SciPy is missing.
    """
    height, width = direction.shape[2:]
    touched, unwanted = F.adaptive_max_pool2d(prompts[0, :2], (height, width)).cpu().numpy() > 0.5
    box, coarse, matte = F.adaptive_avg_pool2d(prompts[0, 2:], (height, width)).cpu().numpy()
    colours = F.adaptive_avg_pool2d(picture[0], (height, width)).permute(1, 2, 0).cpu().numpy() / 4
    features = direction[0].permute(1, 2, 0).cpu().numpy()
    area = coarse if (coarse > 0).any() else box
    if (area > 0).any():
        inside = area > 0
        touched = touched if touched.any() else _shrink_to_core(inside) & (matte > 0.5)
        touched = touched if touched.any() else _shrink_to_core(inside)
        unwanted = unwanted | ~_dilate(inside) & (matte > 0.5)

    # Edges of the grid graph: steps to the right, and down.
    number = np.arange(height * width).reshape(height, width)
    starts, ends, costs = [], [], []
    for here, there in (((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
                        ((slice(None, -1), slice(None)), (slice(1, None), slice(None)))):
        colour_change = np.sqrt(((colours[here] - colours[there]) ** 2).sum(-1))
        feature_change = 1 - (features[here] * features[there]).sum(-1)
        ground = 1 - np.minimum(matte[here], matte[there])
        starts.append(number[here].ravel())
        ends.append(number[there].ravel())
        costs.append((STEP_COST + COLOUR_COST * colour_change + FEATURE_COST * feature_change
                      + GROUND_COST * ground).ravel())
    sparse = require("scipy.sparse", TASK)
    graph = sparse.csr_matrix((np.concatenate(costs), (np.concatenate(starts), np.concatenate(ends))),
                              (height * width,) * 2)
    shortest = require("scipy.sparse.csgraph", TASK).dijkstra
    near = np.zeros((DISTANCES, height, width), np.float32)
    for seeds, rows in ((touched, ((0, NEAR), (1, FAR))), (unwanted, ((2, FAR),))):
        if seeds.any():
            distance = shortest(graph, directed=False, indices=number[seeds],
                                min_only=True).reshape(height, width)
            for row, unit in rows:
                near[row] = np.exp(-distance / unit)
    if touched.any():
        away = require("scipy.ndimage", TASK).distance_transform_edt(~touched)
        near[3] = np.exp(-away / REACH)
    return torch.from_numpy(near)[None].to(direction)


def _shrink_to_core(inside: np.ndarray) -> np.ndarray:
    """Return the inner part of an area: at least half as far from its edge as its innermost position."""
    depth = require("scipy.ndimage",
                    TASK).distance_transform_edt(np.pad(inside, 1))
    return depth[1:-1, 1:-1] >= max(1.0, depth.max() / 2)


def _dilate(inside: np.ndarray) -> np.ndarray:
    """Dilate an area by two positions."""
    return F.max_pool2d(torch.from_numpy(inside).float()[None], 5, 1, 2)[0].numpy() > 0
