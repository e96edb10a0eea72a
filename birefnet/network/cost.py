"""Estimates a pass's memory, and plans frames and temporaries to fit what is free.

A pass of the inference form needs the maps that later steps read, whose size is fixed, and the temporaries of
one step: windows of an encoder, columns of a deformable convolution, the inside of a decoder block.
`BiRefNet.budget_bytes` limits the latter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .birefnet import BiRefNet
from .fused.network import CPU_SCRATCH_BYTES

PLAIN_MARGIN, INFERENCE_MARGIN = 1.4, 1.3  # upper bounds of measured peaks over the sums below
WORKSPACE_BYTES = 128 << 20   # of kernels, and of one run of a deformable convolution; the same for any size
MIN_BUDGET_BYTES = 16 << 20   # smaller budgets slow the steps down and save hardly any memory


@dataclass(frozen=True)
class Plan:
    """How a batch goes through a network."""

    size: tuple[int, int]  # network size (H, W) of each frame
    frames: int            # frames in one pass
    budget: int | None     # `BiRefNet.budget_bytes`
    peak: int              # bytes that a pass needs besides the weights


def plan(
    model: BiRefNet, size: tuple[int, int], frames: int = 1, free: int | None = None, extra_bytes: int = 0
) -> Plan:
    """Plan the fastest passes that fit into memory.

    As many frames as fit go through the network at once. If one alone does not fit, its temporaries are
    limited to what its maps leave free, or to MIN_BUDGET_BYTES if they leave less.

    Args:
        model: the network.
        size: network size (H, W).
        frames: number of frames; at most these go into one pass.
        free: free bytes; None if unknown, which limits nothing.
        extra_bytes: bytes that each frame needs outside the network.
    """

    def peak(count: int, budget: int | None = None) -> int:
        return activation_bytes(model, size, count, budget) + count * extra_bytes

    if free is None or peak(frames) <= free:
        return Plan(size, frames, None, peak(frames))
    each = peak(2) - peak(1)
    fitting = max(1, min(frames, 1 + (free - peak(1)) // each))
    if fitting > 1 or peak(1) <= free:
        return Plan(size, fitting, None, peak(fitting))
    budget = max(MIN_BUDGET_BYTES, free - peak(1, 0))
    return Plan(size, 1, budget, peak(1, budget))


def activation_bytes(model: BiRefNet, size: tuple[int, int], frames: int = 1, budget: int | None = None,
                     device: torch.device | str | None = None) -> int:
    """Estimate the peak memory of one pass, besides the weights.

    Args:
        model: the network.
        size: network size (H, W).
        frames: frames in the pass.
        budget: `BiRefNet.budget_bytes`.
        device: where the pass will run; by default where the network is.

    Returns:
        Bytes.
    """
    if model.form == "plain":
        return plain_bytes(model, size, frames)
    alive, step = inference_bytes(model, size, frames)
    if budget is None:
        where = torch.device(device) if device is not None else next(model.parameters()).device
        budget = CPU_SCRATCH_BYTES if where.type == "cpu" else step
    return alive + min(step, budget) + WORKSPACE_BYTES


def plain_bytes(model: BiRefNet, size: tuple[int, int], frames: int) -> int:
    """`activation_bytes` of the plain form.

    The sum of x1..x4, the image, and the largest of three: a block of the encoder's first stage,
    decoder_block1, and the image's full-size branch.
    """
    config = model.config
    c1, c2, c3, c4 = config.decoder_channels
    alive = (c1 + c2 / 4 + c3 / 16 + c4 / 64) / 16 + 3
    block = 2 * (c1 + c2 // 8) + 4 * config.inner
    if config.attention == "deformable":
        block += 12 * max(config.kernels, default=1) ** 2
    block += {"deformable": 2 + len(config.kernels), "plain": 5,
              "none": 0}[config.attention] * 2 * config.branch
    image = 2 * (config.patch_inner + c1 // 8) + c1 / 2 / 16
    scale = next(model.parameters()).element_size() * size[0] * size[1]
    encoder = model.family.plain_bytes(model.bb, config, size)
    # Without stride 4: the encoder's map resized to it, in PyTorch's and in oneDNN's layout, and the neck's
    # output.
    neck = (4 * config.channels[0] + c1) / 16 if config.neck else 0
    largest = max(encoder, max(block / 16, image, neck) * scale)
    return int(PLAIN_MARGIN * (alive * scale + largest) * frames) + 2 * WORKSPACE_BYTES


def inference_bytes(model: BiRefNet, size: tuple[int, int], frames: int) -> tuple[int, int]:
    """Estimate the inference form's bytes: maps that later steps read, and the largest step's temporaries.

    The decoder's maps are counted per position at stride 4, the image's per pixel.
    """
    config, (c1, c2, _, _) = model.config, model.config.decoder_channels
    element = next(model.parameters()).element_size()
    encoder_alive, encoder_step = model.family.inference_bytes(model.bb, config, size)
    # Maps of the half-size image add a quarter.
    width, maps = c1 // config.width_factor, 1.0 if config.multi_scale == "none" else 1.25
    decoder = element * (1.875 * maps * width + width + 3 * config.inner)
    entry = element * (2.5 * (c1 + c2 // 8) + 4 * config.inner)
    sides = [1, *config.kernels] if config.attention == "deformable" else []
    pyramid = element * (sum(3 * side**2 for side in sides) + 8 * max(sides, default=1)**2
                         + 2 * config.branch)
    positions = size[0] * size[1] / 16
    # float32: the image, its half and framed copies, logits
    pixels = size[0] * size[1] * frames * 4 * (3 + 3 + 3)
    alive = max(encoder_alive, positions * decoder)
    step = max(encoder_step, positions * max(entry, pyramid))
    return int(INFERENCE_MARGIN * frames * alive) + pixels, int(INFERENCE_MARGIN * frames * step)
