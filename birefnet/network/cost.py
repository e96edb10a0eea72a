"""What a pass through the network needs, what to do where there is less, and how an allocator says that it was less.

The inference form needs maps that stay alive from one step to the next, which nothing can make smaller, and the
temporaries of one step: windows, columns, a decoder block's inside. Those obey `BiRefNet.budget_bytes`, so that a pass
needs its maps and a budget of one's choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .birefnet import BiRefNet
from .fused.network import CPU_SCRATCH

PLAIN_MARGIN, MARGIN = 1.4, 1.3  # of measured peaks over the count of channels
WORK_SPACE = 128 << 20           # of kernels and of the deformable convolution's runs, whatever the size
LEAST_BUDGET = 16 << 20          # below it steps get slow and hardly smaller


@dataclass(frozen=True)
class Plan:
    """How a batch goes through a network.

    size: (H, W) at which the network sees each frame. frames: to a pass. budget: its `BiRefNet.budget_bytes`. peak:
    bytes that a pass needs beyond the weights.
    """

    size: tuple[int, int]
    frames: int
    budget: int | None
    peak: int


def plan(model: BiRefNet, size: tuple[int, int], frames: int = 1, free: int | None = None, beside: int = 0) -> Plan:
    """The fastest way to take up to `frames` images of network size (H, W) through a network in `free` bytes.

    As many at once as fit as they are; where not even one does, one, its steps' temporaries cut down to what its maps
    leave. Where those do not fit either the plan is the least that can be tried. free None: unknown, all is tried.
    beside: bytes that each frame needs outside the network.
    """

    def peak(count: int, budget: int | None = None) -> int:
        return activation_bytes(model, size, count, budget) + count * beside

    if free is None or peak(frames) <= free:
        return Plan(size, frames, None, peak(frames))
    each = peak(2) - peak(1)
    fitting = max(1, min(frames, 1 + (free - peak(1)) // each))
    if fitting > 1 or peak(1) <= free:
        return Plan(size, fitting, None, peak(fitting))
    budget = max(LEAST_BUDGET, free - peak(1, 0))
    return Plan(size, 1, budget, peak(1, budget))


def activation_bytes(model: BiRefNet, size: tuple[int, int], frames: int = 1, budget: int | None = None,
                     device: torch.device | str | None = None) -> int:
    """Estimated peak memory of one pass beyond the weights: `frames` images of network size (H, W), with
    `BiRefNet.budget_bytes` at `budget`. device: where the pass will run, if not where the network is now."""
    if model.form == "plain":
        return plain_bytes(model, size, frames)
    alive, step = inference_bytes(model, size, frames)
    if budget is None:
        where = torch.device(device) if device is not None else next(model.parameters()).device
        budget = CPU_SCRATCH if where.type == "cpu" else step
    return alive + min(step, budget) + WORK_SPACE


def plain_bytes(model: BiRefNet, size: tuple[int, int], frames: int) -> int:
    """Of the plain form: what is alive throughout (x1..x4 and the image) and the largest of three moments, a block of
    the backbone's first stage, decoder_block1, and the image's way into the logits. Channels are counted at the stride
    of 4 or 1 that they live at."""
    config = model.config
    c1, c2, c3, c4 = config.decoder_channels
    alive = (c1 + c2 / 4 + c3 / 16 + c4 / 64) / 16 + 3
    block = 2 * (c1 + c2 // 8) + 4 * config.inner
    if config.attention == "deformable":
        block += 12 * max(config.kernels, default=1) ** 2
    block += {"deformable": 2 + len(config.kernels), "plain": 5, "none": 0}[config.attention] * 2 * config.branch
    image = 2 * (config.patch_inner + c1 // 8) + c1 / 2 / 16
    scale = next(model.parameters()).element_size() * size[0] * size[1]
    encoder = model.family.plain_bytes(model.bb, config, size)
    # Of an encoder without stride 4: its map grown to it, as PyTorch and as oneDNN lay it out, and what is made of it.
    neck = (4 * config.channels[0] + c1) / 16 if config.neck else 0
    most = max(encoder, max(block / 16, image, neck) * scale)
    return int(PLAIN_MARGIN * (alive * scale + most) * frames) + 2 * WORK_SPACE


def inference_bytes(model: BiRefNet, size: tuple[int, int], frames: int) -> tuple[int, int]:
    """Of the inference form: what is alive from step to step, and the largest step's temporaries if nothing bounds
    them. The decoder's are counted in bytes for each position of stride 4, the image's for each pixel."""
    config, (c1, c2, _, _) = model.config, model.config.decoder_channels
    element = next(model.parameters()).element_size()
    backbone, token = model.family.inference_bytes(model.bb, config, size)
    width, looks = c1 // config.looks, 1.0 if config.multi_scale == "none" else 1.25
    decoder = element * (1.875 * looks * width + width + 3 * config.inner)
    entry = element * (2.5 * (c1 + c2 // 8) + 4 * config.inner)
    sides = [1, *config.kernels] if config.attention == "deformable" else []
    pyramid = element * (sum(3 * side**2 for side in sides) + 8 * max(sides, default=1)**2 + 2 * config.branch)
    positions = size[0] * size[1] / 16
    pixels = size[0] * size[1] * frames * 4 * (3 + 3 + 3)  # float32: the image, its half and framed copies, logits
    alive = max(backbone, positions * decoder)
    return int(MARGIN * frames * alive) + pixels, int(MARGIN * frames * max(token, positions * max(entry, pyramid)))
