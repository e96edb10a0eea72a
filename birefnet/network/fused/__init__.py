"""The inference form of a network: the same function with less arithmetic, less traffic, and far less memory.

Algebra, not approximation (batch norm is affine in eval mode, and what is linear composes, commutes and splits):

- every batch norm is folded into the convolution before it;
- an ASPP's 1×1 convolution acts on each branch as the branch appears, so neither the branches' maps nor their
  concatenation exist; the global-pooling branch, constant over the map, becomes a bias;
- offset and modulation convolutions of branches that share a kernel size are one convolution of their common input;
- a convolution of a concatenation is a sum of convolutions: nothing is concatenated on the way into a decoder block;
- the half-size look never grows to the whole one's size: a lateral 1×1 convolution acts on it where it is, and its
  sum with the stage below, which has the same size, grows in one resize;
- decoder_block1's last convolution, linear up to the logits, composes with `conv_out1` to one with a single output;
- `ipt_blk1` composes with its half of `conv_out1` to one 5×5 convolution of the image, with the exact border.

What is left runs in pieces that fit the cache and a budget of memory: the backbone over groups of windows or bands of
rows, decoder blocks and their inputs by bands of rows (`bands`), deformable convolutions by runs of positions. So
beside the maps that later steps read, a pass needs `BiRefNet.budget_bytes`, whatever the size of the picture.

Weights are composed in float64. Whatever the dtype, the residual streams, LayerNorm, sampling places and logits are
float32: rounding these to a half would cost more alpha than all the rest. The result cannot be trained or saved: load
the plain form for that.
"""

from __future__ import annotations

from ..birefnet import BiRefNet
from ..family import Compose
from .network import FusedBiRefNet

__all__ = ["fuse"]


def fuse(plain: BiRefNet, compose: Compose = lambda modules, build: build()) -> BiRefNet:
    """The inference form of a plain network in eval mode. What it shares with the plain one, it shares.

    compose(modules, build) makes one part: `build()` composes it from the values of `modules`, and of no others. A
    loader may fill those just before and empty them after. All other tensors keep their names and are only adopted.
    """
    return FusedBiRefNet(plain, compose).eval().requires_grad_(False)
