"""The decoder's inference form; birefnet.network.fused explains which layers are merged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..birefnet import Decoder, image_patches, stage_size
from ..blocks import DecoderBlock, resize
from ..config import Config
from ..family import Compose
from ..ops.algebra import compose_pointwise, fold_norm, make_convolution, mix_outputs, split_inputs
from ..ops.bands import Rows, as_rows, compute_by_bands, convolve_rows, lazy_convolution, resize_rows
from .head import ImageHead
from .pyramid import fuse_aspp


class Extent(NamedTuple):
    """Shape and dtype of a map whose rows are computed on demand."""

    batch: int
    size: tuple[int, int]
    dtype: torch.dtype


class FusedDecoder(nn.Module):
    """Four stages from stride 32 to stride 4; logits are the last one's output, resized, plus ImageHead's."""

    def __init__(self, config: Config, plain: Decoder, compose: Compose) -> None:
        super().__init__()
        self.patch_order = config.patch_order
        for n, tiles in ((4, 5), (3, 4), (2, 3), (1, 2)):
            block = getattr(plain, f"ipt_blk{tiles}")
            self.add_module(f"ipt_blk{tiles}",
                            compose([block], lambda: block.to(memory_format=torch.channels_last)))
        for n in (4, 3, 2):
            block, (conv, norm, _) = getattr(plain, f"decoder_block{n}"), getattr(plain, f"gdt_convs_{n}")
            lateral = getattr(plain, f"lateral_block{n}")
            neck = getattr(plain, f"pyramid_neck_x{n - 1}", None)
            tiles = getattr(plain, f"ipt_blk{n + 1}").conv_out.out_channels
            self.add_module(f"decoder_block{n}", compose([block], lambda: FusedDecoderBlock(block, tiles)))
            self.add_module(f"gate_{n}", compose([conv, norm], lambda: fold_norm(conv, norm)))
            self.add_module(f"gdt_convs_attn_{n}", getattr(plain, f"gdt_convs_attn_{n}"))
            self.add_module(f"lateral_block{n}", compose(
                [lateral] if neck is None else [lateral, neck],
                lambda: FusedLateral(lateral.conv if neck is None
                                     else compose_pointwise(neck.conv, lateral.conv),
                                     config.multi_scale)))
        self.pyramid_neck_x4 = plain.pyramid_neck_x4 if config.neck else None
        block, last = plain.decoder_block1, plain.conv_out1[0]
        widths = [block.conv_out.out_channels, plain.ipt_blk1.conv_out.out_channels]
        tiles = plain.ipt_blk2.conv_out.out_channels
        self.decoder_block1 = compose([block, last], lambda: FusedDecoderBlock(
            block, tiles, mix=last.weight.split(widths, 1)[0]))
        self.image_head = compose([plain.ipt_blk1, last], lambda: ImageHead(
            plain.ipt_blk1, last.weight.split(widths, 1)[1], last.bias))

    def forward(self, image: Tensor, large: list[Tensor], small: list[Tensor], x4: Tensor, scratch: int
                ) -> Tensor:
        """Compute logits.

        Args:
            image: [B,3,H,W].
            large: x1..x3 of the whole image. The list is emptied, so that each map is freed after its stage.
            small: x1..x3 of the half-size image, or none; emptied likewise.
            x4: the squeeze block's output.
            scratch: bytes of temporaries in one step.
        """
        if self.pyramid_neck_x4 is not None:
            x4 = self.pyramid_neck_x4(resize(x4, stage_size(image, 4)))
        dtype = x4.dtype
        p = self.block(4, as_rows(x4), image, dtype, scratch)
        for n in (4, 3, 2):
            edges = getattr(self, f"gate_{n}")(p).relu_()
            p.mul_(getattr(self, f"gdt_convs_attn_{n}")(edges).sigmoid_())
            skip, half = large.pop(), small.pop() if small else None
            rows = getattr(self, f"lateral_block{n}").sum_rows(p, skip, half, stage_size(image, n - 1))
            p = self.block(n - 1, rows, image, dtype, scratch)
        return self.image_head(image, scratch).add_(resize(p, image.shape[2:]))

    def block(self, n: int, rows: Rows, image: Tensor, dtype: torch.dtype, scratch: int) -> Tensor:
        """Apply stage n to its map, given as rows of `dtype`, and the image tiles of its size."""
        size = stage_size(image, n)
        tiles = getattr(self, f"ipt_blk{n + 1}")
        patches = lazy_convolution(tiles.conv1, image_rows(image, size, self.patch_order, dtype), size[0])
        inputs = [rows, lazy_convolution(tiles.conv_out, patches, size[0])]
        return getattr(self, f"decoder_block{n}")(inputs, Extent(len(image), size, dtype), scratch)


class FusedDecoderBlock(nn.Module):
    """A decoder block without batch norms; rows of its inputs are computed on demand.

    Args:
        plain: the block.
        tiles: channels of the image tiles.
        mix: [M,out,1,1], a 1×1 convolution that follows the block and is merged into its last convolution.
    """

    def __init__(self, plain: DecoderBlock, tiles: int = 0, mix: Tensor | None = None) -> None:
        super().__init__()
        widths = [plain.conv_in.in_channels - tiles] + [tiles] * bool(tiles)
        self.conv_in = split_inputs(fold_norm(plain.conv_in, plain.bn_in), widths)
        self.dec_att = fuse_aspp(plain.dec_att)
        conv_out, conv_resi = fold_norm(plain.conv_out, plain.bn_out), plain.conv_resi
        if mix is not None:
            conv_out = mix_outputs(conv_out, mix)
            conv_resi = None if conv_resi is None else mix_outputs(conv_resi, mix)
        self.conv_out = conv_out
        self.conv_resi = None if conv_resi is None else split_inputs(conv_resi, widths)
        self.outputs_logits = mix is not None

    def forward(self, inputs: list[Rows], extent: Extent, scratch: int) -> Tensor:
        """Rows of each input, all of one extent → [B,out,H,W], channels-last."""
        batch, (height, width), dtype = extent
        conv_in, conv_out = self.conv_in, self.conv_out
        channels = sum(4 * conv.in_channels + 2 * conv.out_channels for conv in conv_in)
        row_bytes = batch * width * channels * dtype.itemsize

        def read(start: int, stop: int) -> Tensor:
            first, *others = (convolve_rows(conv, rows, height, start, stop)
                              for conv, rows in zip(conv_in, inputs))
            return add_all_(first, others).relu_()

        def write(start: int, stop: int) -> Tensor:
            y = convolve_rows(conv_out, in_block_dtype(as_rows(features)), height, start, stop)
            if self.conv_resi is None:
                return y
            return add_all_(y, (convolve_rows(conv, in_block_dtype(rows), height, start, stop)
                                for conv, rows in zip(self.conv_resi, inputs)))

        def in_block_dtype(rows: Rows) -> Rows:  # logits are float32
            return (lambda start, stop: rows(start, stop).float()) if self.outputs_logits else rows

        features = compute_by_bands(read, height, row_bytes, scratch, self.dec_att.frame)
        features = self.dec_att(features, scratch)
        if self.conv_resi is None:
            row_bytes = features[:, :, :1].numel() * features.element_size() * 4
        return compute_by_bands(write, height, row_bytes, scratch)


def add_all_(y: Tensor, others: Iterable[Tensor]) -> Tensor:
    """Add tensors to y, in place."""
    for other in others:
        y.add_(other)
    return y


class FusedLateral(nn.Module):
    """A lateral 1×1 convolution of an encoder map, which joins maps of the whole and of the half-size image.

    A 1×1 convolution commutes with resizing, and the half-size image's map has the size of the stage below:
    it is convolved first and added to that stage's map, and both are resized together.
    """

    def __init__(self, conv: nn.Conv2d, multi_scale: str) -> None:
        super().__init__()
        if multi_scale == "cat":
            self.conv_whole, self.conv_half = split_inputs(conv, [conv.in_channels // 2] * 2)
        else:
            self.conv_whole = make_convolution(conv.weight, conv.bias, conv.padding)
            self.conv_half = None
            if multi_scale == "add":
                self.conv_half = make_convolution(conv.weight, None, conv.padding)

    def sum_rows(self, p: Tensor, whole: Tensor, half: Tensor | None, size: tuple[int, int]) -> Rows:
        """Return rows of resize(p) + lateral(whole, resize(half)), all of `size`; may overwrite p."""
        if whole.shape[2:] == size:
            if half is not None:
                p.add_(self.conv_half(half))
            def lateral_rows(start: int, stop: int) -> Tensor:
                return self.conv_whole(whole[:, :, start:stop])
        else:  # the encoder has no map of this stride
            y = self.conv_whole(whole)
            if half is not None:
                y.add_(resize(self.conv_half(half), y.shape[2:]))

            def lateral_rows(start: int, stop: int) -> Tensor:
                return resize_rows(y, size, start, stop)

        return lambda start, stop: resize_rows(p, size, start, stop).add_(lateral_rows(start, stop))


def image_rows(image: Tensor, size: tuple[int, int], order: str, dtype: torch.dtype) -> Rows:
    """Return rows of `image_patches`: rows [start, stop) of each tile."""
    batch, channels, height, width = image.shape
    tiles = image.view(batch, channels, height // size[0], size[0], width)

    def rows(start: int, stop: int) -> Tensor:
        part = tiles[:, :, :, start:stop].reshape(batch, channels, -1, width)
        patches = image_patches(part, (stop - start, size[1]), order)
        return patches.to(dtype, memory_format=torch.channels_last)

    return rows
