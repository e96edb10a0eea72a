"""The inference form of a network: the same function with less arithmetic and memory.

Layers are merged exactly: batch norm is affine in eval mode, and linear layers can be composed, exchanged and
split.

- Each batch norm is folded into the convolution before it.
- An ASPP's 1×1 convolution is applied to each branch separately, so neither all branches' maps nor their
  concatenation are stored; the global-pooling branch, constant over the map, becomes a bias.
- Offset and modulation convolutions of branches with the same kernel size become one convolution.
- A convolution of a concatenation becomes a sum of convolutions: a decoder block's inputs are not
  concatenated.
- Maps of the half-size image are not resized to those of the whole image: the lateral 1×1 convolution is
  applied to them first, and its sum with the stage below, which has the same size, is resized once.
- decoder_block1's last convolution is linear up to the logits; with `conv_out1` it becomes one with a single
  output.
- `ipt_blk1` and its half of `conv_out1` become one 5×5 convolution of the image, exact at the borders.

The layers are computed in pieces that fit into the cache and into `BiRefNet.budget_bytes`: the encoder by
groups of windows or bands of rows, decoder blocks and their inputs by bands of rows
(birefnet.network.ops.bands), deformable convolutions by runs of positions. So a pass needs its maps and that
budget, for pictures of any size.

Weights are merged in float64. In every dtype, residual streams, LayerNorm, sampling positions and logits are
float32: rounding these to half precision would change alpha more than all other roundings together. The
result cannot be trained or saved; load the plain form for that.
"""

from __future__ import annotations

from ..birefnet import BiRefNet
from ..family import Compose
from .network import FusedBiRefNet

__all__ = ["fuse"]


def fuse(plain: BiRefNet, compose: Compose = lambda modules, build: build()) -> BiRefNet:
    """Make the inference form of a plain network in eval mode; layers that are not merged are shared with it.

    Args:
        plain: the network.
        compose: compose(modules, build) returns build(), which merges `modules` into one part and reads no
            other tensors. A loader may load their tensors just before, and free them after. All other tensors
            keep their names.
    """
    return FusedBiRefNet(plain, compose).eval().requires_grad_(False)
