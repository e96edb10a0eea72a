"""The selector: a small network that predicts which part of a matte a prompt means.

    picture ── first stages of EfficientNet-Lite2, strides 4 8 16 ──┐
    prompts, matte, distance and likeness to the prompts ───────────┴── mixers at 16, decoder 8 4 ── logits

Distances are geodesic (Bai and Sapiro, ICCV 2007): along paths whose cost grows where colours or features
change and where the matte ends.

The encoder began as the included checkpoint's; `python -m tools.subject.train` trained its later layers
together with the decoder. The selector reads the matte only, so it works with any matting network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbones.efficientnet_lite import EfficientNetLite
from .blocks import resize

ENCODER = "tf_efficientnet_lite2"
SIDE = 256                # pixels: side of the square to which a picture is resized
STAGES = 5                # of the encoder's seven
TAPS = (1, 2, 4)          # stages whose maps are used, at strides 4, 8, 16
FEATURES = (24, 48, 120)  # channels of these maps
WIDTHS = (32, 64, 128)    # the decoder's channels at these strides
PROMPTS = 5               # maps: positive and negative touches, box, coarse mask, matte
DISTANCES = 4             # maps of `measure_distances`
MIXERS, HEADS = 3, 4      # blocks with attention at stride 16, and heads of each

# Costs of a step between neighbours of the map at stride 4: constant, per difference of colours, of features,
# and of the matte's complement.
STEP_COST, COLOUR_COST, FEATURE_COST, GROUND_COST = 0.01, 1.5, 0.3, 4.0
NEAR, FAR = 4.0, 14.0     # path costs at which the two nearness maps fall to 1/e
REACH = 8.0               # pixels at stride 4: Euclidean distance at which the last map falls to 1/e
UNREACHED = 1e4           # distance without seeds
ROUNDS = 12               # of sweeps along rows and columns: paths with more turns are found by their detours


class Selector(nn.Module):
    """Predicts which part of a matte the prompts mean.

    `forward(features, prompts, distances)` → logits [B,1,SIDE/4,SIDE/4].

    - features: from `encode`; all prompts on one picture share them.
    - prompts: [B,5,SIDE/2,SIDE/2]: positive touches (clicks, strokes), 0 or 1; negative touches; box, 1
      inside, -1 outside, 0 without one; coarse mask, likewise; the matte of everything salient, 0..1.
    - distances: from `measure_distances`.
    """

    def __init__(self) -> None:
        super().__init__()
        encoder = EfficientNetLite(ENCODER)
        self.conv_stem, self.bn1, self.blocks = encoder.conv_stem, encoder.bn1, encoder.blocks[:STAGES]
        extras = PROMPTS + DISTANCES + len(FEATURES)
        self.reduce = nn.ModuleList(nn.Conv2d(channels, width, 1)
                                    for channels, width in zip(FEATURES, WIDTHS))
        self.deepest = Block(WIDTHS[2] + extras, WIDTHS[2])
        self.mixers = nn.Sequential(*(Mixer(WIDTHS[2]) for _ in range(MIXERS)))
        self.deep = Block(WIDTHS[2], WIDTHS[2])
        self.up = nn.ModuleList(Block(WIDTHS[i + 1] + WIDTHS[i] + extras, WIDTHS[i]) for i in (1, 0))
        self.out = nn.Conv2d(WIDTHS[0], 1, 3, padding=1)
        # A shortcut to the logits: nearness to a prompt is a good first guess, which the decoder corrects.
        self.direct = nn.Conv2d(PROMPTS + DISTANCES, 1, 1)

    def encode(self, pictures: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Encode normalised pictures [B,3,SIDE,SIDE].

        Returns:
            Maps at strides 4, 8, 16; and the same centred and normalised to unit vectors, which compare
            positions by their cosine.
        """
        x = F.relu6(self.bn1(self.conv_stem(pictures)))
        maps = []
        for i, stage in enumerate(self.blocks):
            x = stage(x)
            if i in TAPS:
                maps.append(x)
        return maps, [F.normalize(x - x.mean((2, 3), keepdim=True), dim=1) for x in maps]

    def forward(self, features: tuple[list[Tensor], list[Tensor]], prompts: Tensor,
                distances: Tensor) -> Tensor:
        maps, directions = features
        pyramid = [halve(prompts)]
        for _ in maps[1:]:
            pyramid.append(halve(pyramid[-1]))
        similarities = [likeness(direction, some) for direction, some in zip(directions, pyramid)]

        def decoder_inputs(i: int) -> list[Tensor]:
            size = maps[i].shape[2:]
            return [self.reduce[i](maps[i]), pyramid[i], resize(distances, size),
                    *(resize(one, size) for one in similarities)]

        x = self.deep(self.mixers(self.deepest(torch.cat(decoder_inputs(2), 1))))
        for block, i in zip(self.up, (1, 0)):
            x = block(torch.cat([resize(x, maps[i].shape[2:]), *decoder_inputs(i)], 1))
        return self.out(x) + self.direct(torch.cat([pyramid[0], distances], 1))


class Block(nn.Module):
    """A 1×1 convolution, then two 3×3 ones with group norm, each with a residual."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, out, 1)
        self.convs = nn.ModuleList(nn.Conv2d(out, out, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.GroupNorm(4, out) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.mix(x))
        for conv, norm in zip(self.convs, self.norms):
            x = F.relu(x + norm(conv(x)))
        return x


class Mixer(nn.Module):
    """A transformer block on a map [B,C,h,w]: self-attention over all positions, by which a click affects
    them all, then an MLP with a depthwise convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = 3 * channels
        self.norm, self.norm2 = nn.GroupNorm(4, channels), nn.GroupNorm(4, channels)
        self.qkv, self.project = nn.Conv2d(channels, hidden, 1), nn.Conv2d(channels, channels, 1)
        self.expand, self.contract = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)
        self.local = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).view(batch, 3, HEADS, channels // HEADS, -1)
        q, k, v = qkv.transpose(3, 4).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(batch, channels, height, width)
        x = x + self.project(y)
        return x + self.contract(F.relu(self.local(self.expand(self.norm2(x)))))


def halve(prompts: Tensor) -> Tensor:
    """Halve the sides of prompts: touches by their maximum, so that small ones stay; others by their mean."""
    return torch.cat([F.max_pool2d(prompts[:, :2], 2), F.avg_pool2d(prompts[:, 2:], 2)], 1)


def likeness(direction: Tensor, prompts: Tensor) -> Tensor:
    """Compute the cosine similarity of each position's features to the mean of the prompted positions.

    Prompted are the touched positions; without any, those of the coarse mask, or of the box, in the matte.

    Args:
        direction: unit vectors [B,C,h,w].
        prompts: [B,5,h,w], see `Selector`.

    Returns:
        [B,1,h,w] in -1..1.
    """
    touched, _, box, coarse, matte = prompts.split(1, 1)
    area = torch.where(coarse.abs().amax((2, 3), keepdim=True) > 0, coarse, box).clamp(min=0) * (matte + 1e-3)
    weight = torch.where(touched.amax((2, 3), keepdim=True) > 0, touched, area)
    mean = F.normalize((direction * weight).sum((2, 3), keepdim=True), dim=1)
    return (direction * mean).sum(1, keepdim=True)


def measure_distances(pictures: Tensor, directions: Tensor, prompts: Tensor) -> Tensor:
    """Measure how near each position is to the prompts, by geodesic and Euclidean distance.

    Positive seeds are the touched positions; without any, the inner part of the coarse mask or the box.
    Negative seeds are negative touches, and the matte outside the coarse mask or the box.

    Args:
        pictures: [B,3,SIDE,SIDE], normalised.
        directions: unit vectors [B,C,SIDE/4,SIDE/4] of the map at stride 4.
        prompts: [B,5,SIDE/2,SIDE/2], see `Selector`.

    Returns:
        [B,DISTANCES,SIDE/4,SIDE/4] in 0..1, exp(-distance / scale): geodesic to positive seeds with the
        scales NEAR and FAR; geodesic to negative seeds with FAR; Euclidean to positive seeds with REACH. 0
        without seeds.
    """
    touched, unwanted, box, coarse, matte = halve(prompts).unbind(1)
    touched, unwanted = touched > 0.5, unwanted > 0.5
    inside = torch.where((coarse > 0).any(2).any(1)[:, None, None], coarse, box) > 0
    core = shrink_to_core(inside)
    for seeds in (core & (matte > 0.5), core):
        touched = torch.where(touched.any(2).any(1)[:, None, None], touched, seeds)
    outside = ~(F.max_pool2d(inside.float()[:, None], 5, 1, 2)[:, 0] > 0) & (matte > 0.5)
    unwanted = unwanted | outside & inside.any(2).any(1)[:, None, None]

    colours = F.avg_pool2d(pictures, 4) / 4
    right, down = (STEP_COST + COLOUR_COST * (colours.narrow(axis, 0, size) - colours.narrow(axis, 1, size)
                                              ).square().sum(1).sqrt()
                   + FEATURE_COST * (1 - (directions.narrow(axis, 0, size) * directions.narrow(axis, 1, size)
                                          ).sum(1))
                   + GROUND_COST * (1 - torch.minimum(matte.narrow(axis - 1, 0, size),
                                                      matte.narrow(axis - 1, 1, size)))
                   for axis in (3, 2) for size in [colours.shape[axis] - 1])
    wanted, others = measure_paths(torch.cat([touched, unwanted]), right.repeat(2, 1, 1),
                                   down.repeat(2, 1, 1)).chunk(2)
    return torch.stack([(-wanted / NEAR).exp(), (-wanted / FAR).exp(), (-others / FAR).exp(),
                        (-measure_away(touched) / REACH).exp()], 1)


def measure_paths(seeds: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Measure the cheapest path from each position of a grid to the nearest seed, by ROUNDS of sweeps.

    In a row with the running sum C of the costs, a path from position j to i > j costs C[i] - C[j], so one
    cumulative minimum of d - C finds the best of all j.

    Args:
        seeds: bool [B,h,w].
        right, down: costs [B,h,w-1], [B,h-1,w] of the steps to the neighbours.

    Returns:
        [B,h,w]; UNREACHED without seeds.
    """
    distance = torch.where(seeds, 0.0, UNREACHED)
    sums = [F.pad(right, (1, 0)).cumsum(2), F.pad(down, (0, 0, 1, 0)).cumsum(1).transpose(1, 2).contiguous()]
    for _ in range(ROUNDS):
        before = distance
        for along in sums:
            distance = (distance - along).cummin(2).values + along
            distance = ((distance + along).flip(2).cummin(2).values.flip(2) - along).transpose(1, 2)
        if torch.equal(distance, before):
            break
    return distance


def measure_away(seeds: Tensor) -> Tensor:
    """The Euclidean distance, in positions, to the nearest seed [B,h,w]: first along rows, then across."""
    height, width = seeds.shape[1:]
    rows = measure_paths(seeds, torch.ones_like(seeds[:, :, 1:], dtype=torch.float32),
                         torch.full_like(seeds[:, 1:], UNREACHED, dtype=torch.float32)).square()
    across = torch.arange(height, device=seeds.device, dtype=torch.float32)
    across = (across[:, None] - across).square()[None, :, :, None]
    return (rows[:, None] + across).amin(2).sqrt()


def shrink_to_core(inside: Tensor) -> Tensor:
    """The inner part of areas, bool [B,h,w]: at least half as far from the edge as the innermost position.

    Far is counted in steps to neighbours; the picture's edge is an edge too.
    """
    outside = F.pad(~inside, (1, 1, 1, 1), value=True)
    ones = torch.ones_like(outside, dtype=torch.float32)
    depth = measure_paths(outside, ones[:, :, 1:], ones[:, 1:])[:, 1:-1, 1:-1] * inside
    return inside & (depth >= depth.amax((1, 2), keepdim=True) / 2)
