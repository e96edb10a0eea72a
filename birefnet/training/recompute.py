"""Gradient checkpointing: blocks drop their intermediate results and compute them again for the gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.utils.checkpoint import checkpoint

from ..network.birefnet import BiRefNet
from ..network.blocks import DecoderBlock, PatchBlock

BLOCKS = (DecoderBlock, PatchBlock)


def recompute_blocks(model: BiRefNet) -> None:
    """Let the backbone's and the decoder's blocks keep only their inputs; gradients stay the same.

    The forward of these modules is replaced: the model can no longer be copied, but trained, used and saved.
    """
    decoder = [module for module in model.modules() if isinstance(module, BLOCKS)]
    for module in [*model.family.blocks_of(model.bb), *decoder]:
        module.forward = _recomputed(module)


def _recomputed(module: nn.Module):
    forward = module.forward

    def run(*inputs):
        return checkpoint(forward, *inputs, use_reentrant=False,
                          context_fn=lambda: (contextlib.nullcontext(), _statistics_kept(module)))

    return run


@contextlib.contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Keep batch norms from counting a batch again: running means do not move, and no batch is counted."""
    counting = [(norm, norm.momentum, norm.num_batches_tracked) for norm in module.modules()
                if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.training]
    for norm, _, _ in counting:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, count in counting:
            norm.momentum, norm.num_batches_tracked = momentum, count
