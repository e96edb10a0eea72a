"""Gradient checkpointing: blocks drop intermediate results and recompute them for the gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.utils.checkpoint import checkpoint

from ..network.birefnet import BiRefNet
from ..network.blocks import DecoderBlock, PatchBlock

BLOCKS = (DecoderBlock, PatchBlock)


def recompute_blocks(model: BiRefNet) -> None:
    """Make the blocks of backbone and decoder store only their inputs for the backward pass.

    Gradients are unchanged. Replaces the modules' forward, so the model can be trained, used and saved, but
    not copied.
    """
    decoder = [module for module in model.modules() if isinstance(module, BLOCKS)]
    for module in [*model.family.blocks_of(model.bb), *decoder]:
        module.forward = _make_recomputing(module)


def _make_recomputing(module: nn.Module):
    """Wrap a module's forward so that it stores only its inputs."""
    forward = module.forward

    def run(*inputs):
        return checkpoint(forward, *inputs, use_reentrant=False,
                          context_fn=lambda: (contextlib.nullcontext(), _freeze_statistics(module)))

    return run


@contextlib.contextmanager
def _freeze_statistics(module: nn.Module) -> Iterator[None]:
    """Keep batch norms from counting a batch twice: recomputing changes no running statistics or counters."""
    counting = [(norm, norm.momentum, norm.num_batches_tracked) for norm in module.modules()
                if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.training]
    for norm, _, _ in counting:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, count in counting:
            norm.momentum, norm.num_batches_tracked = momentum, count
