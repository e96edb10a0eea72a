"""The decoder's inference form: see birefnet.network.fused for the algebra."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..birefnet import Decoder, image_patches, stage_size
from ..blocks import DecoderBlock, resize
from ..config import Config
from ..family import Compose
from ..ops.algebra import composed, convolution, folded, mixed, split
from ..ops.bands import Rows, by_bands, convolve_rows, convolved, resize_rows, rows_of
from .head import ImageHead
from .pyramid import fused_aspp


class Extent(NamedTuple):
    """Of a map whose rows are made when they are asked for."""

    batch: int
    size: tuple[int, int]
    dtype: torch.dtype


class FusedDecoder(nn.Module):
    """Four stages from stride 32 to stride 4, then logits: one channel of the last stage, resized, and the image's."""

    def __init__(self, config: Config, plain: Decoder, compose: Compose) -> None:
        super().__init__()
        self.patch_order = config.patch_order
        for n, tiles in ((4, 5), (3, 4), (2, 3), (1, 2)):
            block = getattr(plain, f"ipt_blk{tiles}")
            self.add_module(f"ipt_blk{tiles}", compose([block], lambda: block.to(memory_format=torch.channels_last)))
        for n in (4, 3, 2):
            block, (conv, norm, _) = getattr(plain, f"decoder_block{n}"), getattr(plain, f"gdt_convs_{n}")
            lateral, neck = getattr(plain, f"lateral_block{n}"), getattr(plain, f"pyramid_neck_x{n - 1}", None)
            tiles = getattr(plain, f"ipt_blk{n + 1}").conv_out.out_channels
            self.add_module(f"decoder_block{n}", compose([block], lambda: FusedDecoderBlock(block, tiles)))
            self.add_module(f"gate_{n}", compose([conv, norm], lambda: folded(conv, norm)))
            self.add_module(f"gdt_convs_attn_{n}", getattr(plain, f"gdt_convs_attn_{n}"))
            self.add_module(f"lateral_block{n}", compose(
                [lateral] if neck is None else [lateral, neck],
                lambda: FusedLateral(lateral.conv if neck is None else composed(neck.conv, lateral.conv),
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
        """Logits from the image, x1..x3 of the whole and of the half-size look, and the squeezed x4.

        The lists are emptied: a map is let go when its stage has read it.
        """
        if self.pyramid_neck_x4 is not None:
            x4 = self.pyramid_neck_x4(resize(x4, stage_size(image, 4)))
        dtype = x4.dtype
        p = self.block(4, rows_of(x4), image, dtype, scratch)
        for n in (4, 3, 2):
            edges = getattr(self, f"gate_{n}")(p).relu_()
            p.mul_(getattr(self, f"gdt_convs_attn_{n}")(edges).sigmoid_())
            skip, half = large.pop(), small.pop() if small else None
            rows = getattr(self, f"lateral_block{n}").joined(p, skip, half, stage_size(image, n - 1))
            p = self.block(n - 1, rows, image, dtype, scratch)
        return self.image_head(image, scratch).add_(resize(p, image.shape[2:]))

    def block(self, n: int, rows: Rows, image: Tensor, dtype: torch.dtype, scratch: int) -> Tensor:
        """Stage n on its map, given by rows of `dtype`, and the image tiles of its size."""
        size = stage_size(image, n)
        tiles = getattr(self, f"ipt_blk{n + 1}")
        patches = convolved(tiles.conv1, image_rows(image, size, self.patch_order, dtype), size[0])
        return getattr(self, f"decoder_block{n}")(
            [rows, convolved(tiles.conv_out, patches, size[0])], Extent(len(image), size, dtype), scratch)


class FusedDecoderBlock(nn.Module):
    """A decoder block without batch norms, on a map and image tiles that need not exist as a whole.

    tiles: channels of the latter. mix [M,out,1,1]: a 1×1 convolution of the block's output, composed with its end.
    """

    def __init__(self, plain: DecoderBlock, tiles: int = 0, mix: Tensor | None = None) -> None:
        super().__init__()
        widths = [plain.conv_in.in_channels - tiles] + [tiles] * bool(tiles)
        self.conv_in = split(folded(plain.conv_in, plain.bn_in), widths)
        self.dec_att = fused_aspp(plain.dec_att)
        conv_out, conv_resi = folded(plain.conv_out, plain.bn_out), plain.conv_resi
        if mix is not None:
            conv_out = mixed(conv_out, mix)
            conv_resi = None if conv_resi is None else mixed(conv_resi, mix)
        self.conv_out = conv_out
        self.conv_resi = None if conv_resi is None else split(conv_resi, widths)
        self.gives_logits = mix is not None

    def forward(self, inputs: list[Rows], extent: Extent, scratch: int) -> Tensor:
        """Rows of every input, which have that extent → [B,out,H,W] in channels-last memory."""
        batch, (height, width), dtype = extent
        conv_in, conv_out = self.conv_in, self.conv_out
        channels = sum(4 * conv.in_channels + 2 * conv.out_channels for conv in conv_in)
        row_bytes = batch * width * channels * dtype.itemsize

        def read(start: int, stop: int) -> Tensor:
            first, *others = (convolve_rows(conv, rows, height, start, stop) for conv, rows in zip(conv_in, inputs))
            return sum_into(first, others).relu_()

        def write(start: int, stop: int) -> Tensor:
            y = convolve_rows(conv_out, stored(rows_of(view)), height, start, stop)
            if self.conv_resi is None:
                return y
            return sum_into(y, (convolve_rows(conv, stored(rows), height, start, stop)
                                for conv, rows in zip(self.conv_resi, inputs)))

        def stored(rows: Rows) -> Rows:
            return (lambda start, stop: rows(start, stop).float()) if self.gives_logits else rows

        view = self.dec_att(by_bands(read, height, row_bytes, scratch, self.dec_att.frame), scratch)
        row_bytes = row_bytes if self.conv_resi is not None else view[:, :, :1].numel() * view.element_size() * 4
        return by_bands(write, height, row_bytes, scratch)


def sum_into(y: Tensor, others: Iterable[Tensor]) -> Tensor:
    for other in others:
        y.add_(other)
    return y


class FusedLateral(nn.Module):
    """The 1×1 convolution of an encoder map, which is a whole look's map and a half-size look's one, grown.

    A 1×1 convolution commutes with resizing, and the half-size look's map has the size of the stage below: so its part
    is convolved where it is and added to that stage's map, and both grow in one resize.
    """

    def __init__(self, conv: nn.Conv2d, multi_scale: str) -> None:
        super().__init__()
        if multi_scale == "cat":
            self.of_whole, self.of_half = split(conv, [conv.in_channels // 2] * 2)
        else:
            self.of_whole = convolution(conv.weight, conv.bias, conv.padding)
            self.of_half = convolution(conv.weight, None, conv.padding) if multi_scale == "add" else None

    def joined(self, p: Tensor, whole: Tensor, half: Tensor | None, size: tuple[int, int]) -> Rows:
        """Rows of resize(p) + lateral(whole, grown half), all of that size."""
        if whole.shape[2:] == size:
            if half is not None:
                p.add_(self.of_half(half))
            return lambda start, stop: resize_rows(p, size, start, stop).add_(self.of_whole(whole[:, :, start:stop]))
        view = self.of_whole(whole)  # of an encoder that lacks this stride
        if half is not None:
            view.add_(resize(self.of_half(half), view.shape[2:]))
        return lambda start, stop: resize_rows(p, size, start, stop).add_(resize_rows(view, size, start, stop))


def image_rows(image: Tensor, size: tuple[int, int], order: str, dtype: torch.dtype) -> Rows:
    """Rows of `image_patches`: each tile's rows [start, stop)."""
    batch, channels, height, width = image.shape
    tiles = image.view(batch, channels, height // size[0], size[0], width)

    def rows(start: int, stop: int) -> Tensor:
        part = tiles[:, :, :, start:stop].reshape(batch, channels, -1, width)
        return image_patches(part, (stop - start, size[1]), order).to(dtype, memory_format=torch.channels_last)

    return rows
