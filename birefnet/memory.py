"""What a pass through the network needs, and how an allocator says that it did not get it."""

from __future__ import annotations

import torch

from .network import BiRefNet

MARGIN = 1.4            # of measured peaks over the count of channels
WORK_SPACE = 192 << 20  # of kernels and of the deformable convolution's runs, whatever the size

# What allocators say where PyTorch has no exception of its own: Linux and Windows RAM, MPS, CUDA, cuDNN.
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "status_alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator gave up, on any device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in NO_MEMORY)


def activation_bytes(model: BiRefNet, size: tuple[int, int], frames: int = 1) -> int:
    """Estimated peak memory of one pass beyond the weights: `frames` images of network size (H, W).

    The largest of three moments, on top of what is alive throughout (x1..x4 and the image): a block of the backbone's
    first stage, decoder_block1, and the image's way into the logits; channels are counted at the stride of 4 or 1 that
    they live at.
    """
    config = model.config
    c1, c2, c3, c4 = config.channels
    alive = (c1 + c2 / 4 + c3 / 16 + c4 / 64) / 16 + 3
    backbone = config.widths[0] * (6 * config.mlp_ratios[0] + 8) / 16
    block = 2 * (c1 + c2 // 8) + 4 * config.inner
    if config.attention == "deformable":
        block += 12 * max(config.kernels, default=1) ** 2
    image = 8.0
    if model.form == "plain":
        block += {"deformable": 2 + len(config.kernels), "plain": 5, "none": 0}[config.attention] * 2 * config.branch
        image = 2 * (config.patch_inner + c1 // 8) + c1 / 2 / 16
    per_pixel = alive + max(backbone, block / 16, image)
    element = next(model.parameters()).element_size()
    return int(MARGIN * per_pixel * element * size[0] * size[1] * frames) + WORK_SPACE
