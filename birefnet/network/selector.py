"""The selector: which part of a matte is meant by clicks, strokes, a box or a coarse mask.

    picture ─ first stages of an EfficientNet-Lite2 (strides 2 4 8 16) ─┐
    prompts, matte, how far and how unlike each place is from them ─────┴─ decoder, 16 8 4 2 ─ logits at half
    size

How far: along the cheapest path, which costs where colours or features change and where the matte ends
(geodesic distance as in Bai and Sapiro, ICCV 2007).

The encoder is that of the included checkpoint, unchanged; the decoder was taught by `python -m
tools.subject.train`. It works beside any matting network, of which it sees the matte only.
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
SIDE = 256                           # pixels: the side at which it sees a picture
STAGES = 5                           # of the encoder's seven
TAPS = (0, 1, 2, 4)                  # stages whose maps are used, at strides 2, 4, 8, 16
FEATURES = (16, 24, 48, 120)         # their channels
WIDTHS = (12, 24, 48, 96)            # the decoder's channels at these strides
PROMPTS = 5                          # touched, not wanted, box, coarse mask, matte
DISTANCES = 4                        # maps of `measure_distances`
HEADS = 4                            # of the attention at stride 16

# The cost of a step to the next place of the map at stride 4, and what a cost of 1 is on the maps.
STEP_COST, COLOUR_COST, FEATURE_COST, GROUND_COST = 0.01, 1.5, 0.3, 4.0
NEAR, FAR = 4.0, 14.0
REACH = 8.0                          # pixels of that map at which closeness as the crow flies falls to 1/e


class Selector(nn.Module):
    """`forward(features, prompts)` → logits [B,1,SIDE/2,SIDE/2] of the subject that the prompts mean.

    features: of `encode`, which are shared by all prompts on one picture. prompts: [B,5,SIDE/2,SIDE/2]: 1
    where a click or a stroke touches the subject; 1 where one touches what is not wanted; 1 inside and -1
    outside a box, 0 without; the same of a coarse mask; the matte of everything that stands out. distances:
    of `measure_distances`.
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
        # what is near is meant, until the decoder knows better
        self.direct = nn.Conv2d(PROMPTS + DISTANCES, 1, 1)

    def encode(self, pictures: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Of normalised pictures [B,3,SIDE,SIDE]: maps at strides 2, 4, 8, 16, and their directions at 4, 8,
        16."""
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
        alike = [likeness(direction, prompts) for direction in directions]

        def beside(feature: Tensor, reduce: nn.Module) -> list[Tensor]:
            size = feature.shape[2:]
            return [reduce(feature), shrink(prompts, size), resize(distances, size),
                    *(resize(one, size) for one in alike)]

        x = self.deepest(torch.cat(beside(features[3], self.reduce[3]), 1))
        x = self.deep(self.attention(x))
        for block, i in zip(self.up, (2, 1, 0)):
            x = block(torch.cat([resize(x, features[i].shape[2:]), *beside(features[i], self.reduce[i])], 1))
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
    """Self-attention over all places of a map [B,C,h,w], with a residual: what a click says reaches
    everywhere."""

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
    """Prompts at a coarser map's size: a touch, however small, stays one; the others are averaged."""
    if tuple(prompts.shape[2:]) == tuple(size):
        return prompts
    touches, others = prompts[:, :2], prompts[:, 2:]
    return torch.cat([F.adaptive_max_pool2d(touches, size), F.adaptive_avg_pool2d(others, size)], 1)


def likeness(direction: Tensor, prompts: Tensor) -> Tensor:
    """Cosine of each place's direction [B,C,h,w] and the prompted ones' mean, [B,1,h,w] in -1..1.

    Prompted is what was touched; where nothing was, the coarse mask, or the box, within the matte.
    """
    touched, _, box, coarse, matte = F.adaptive_avg_pool2d(prompts, direction.shape[2:]).split(1, 1)
    area = torch.where(coarse.abs().amax((2, 3), keepdim=True) > 0, coarse, box).clamp(min=0) * (matte + 1e-3)
    weight = torch.where(touched.amax((2, 3), keepdim=True) > 0, touched, area)
    mean = F.normalize((direction * weight).sum((2, 3), keepdim=True), dim=1)
    return (direction * mean).sum(1, keepdim=True)


def measure_distances(picture: Tensor, direction: Tensor, prompts: Tensor) -> Tensor:
    """How near each place is to what is prompted, [1,DISTANCES,h,w] in 0..1, 0 where nothing is.

    Args:
        picture: [1,3,SIDE,SIDE], normalised.
        direction: of the map at stride 4, [1,C,h,w].
        prompts: [1,5,SIDE/2,SIDE/2], see Selector.

    Returns:
        Nearness along the cheapest path to the subject's seeds, by NEAR and by FAR; to the others', by FAR;
        and to the subject's as the crow flies, by REACH. Seeds are what was touched; else the inner part of
        the coarse mask or the box, and the matte outside of it.

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
        touched = touched if touched.any() else _inner(inside) & (matte > 0.5)
        touched = touched if touched.any() else _inner(inside)
        unwanted = unwanted | ~_grown(inside) & (matte > 0.5)

    # Steps to the right and down, as edges of a graph of all places.
    number = np.arange(height * width).reshape(height, width)
    starts, ends, costs = [], [], []
    for here, there in (((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
                        ((slice(None, -1), slice(None)), (slice(1, None), slice(None)))):
        apart = np.sqrt(((colours[here] - colours[there]) ** 2).sum(-1))
        unlike = 1 - (features[here] * features[there]).sum(-1)
        ground = 1 - np.minimum(matte[here], matte[there])
        starts.append(number[here].ravel())
        ends.append(number[there].ravel())
        costs.append((STEP_COST + COLOUR_COST * apart + FEATURE_COST * unlike + GROUND_COST * ground).ravel())
    sparse = require("scipy.sparse", "finding the subject that is meant")
    graph = sparse.csr_matrix((np.concatenate(costs), (np.concatenate(starts), np.concatenate(ends))),
                              (height * width,) * 2)
    shortest = require("scipy.sparse.csgraph", "finding the subject that is meant").dijkstra
    near = np.zeros((DISTANCES, height, width), np.float32)
    for seeds, rows in ((touched, ((0, NEAR), (1, FAR))), (unwanted, ((2, FAR),))):
        if seeds.any():
            distance = shortest(graph, directed=False, indices=number[seeds],
                                min_only=True).reshape(height, width)
            for row, unit in rows:
                near[row] = np.exp(-distance / unit)
    if touched.any():
        away = require("scipy.ndimage", "finding the subject that is meant").distance_transform_edt(~touched)
        near[3] = np.exp(-away / REACH)
    return torch.from_numpy(near)[None].to(direction)


def _inner(inside: np.ndarray) -> np.ndarray:
    """Half of an area, by its middle: places at least half as far from its edge as the farthest."""
    depth = require("scipy.ndimage",
                    "finding the subject that is meant").distance_transform_edt(np.pad(inside, 1))
    return depth[1:-1, 1:-1] >= max(1.0, depth.max() / 2)


def _grown(inside: np.ndarray) -> np.ndarray:
    return F.max_pool2d(torch.from_numpy(inside).float()[None], 5, 1, 2)[0].numpy() > 0
