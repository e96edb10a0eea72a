"""The inference form of a network: the same function with less arithmetic and far less memory.

Algebra, not approximation (batch norm is affine in eval mode, and convolutions without an activation between compose):

- every batch norm is folded into the convolution before it;
- an ASPP's 1×1 convolution acts on each branch as the branch appears, so neither the branches' maps nor their
  concatenation exist; the global-pooling branch, constant over the map, becomes a bias;
- offset and modulation convolutions of branches that share a kernel size are one convolution of their common input;
- decoder_block1's last convolution, linear up to the logits, composes with `conv_out1` to one with a single output;
- `ipt_blk1` composes with its half of `conv_out1` to one 5×5 convolution of the image, with the exact border.

Weights are composed in float64, and logits are float32 in every dtype: rounding them to a half would cost more alpha
than all the rest. The result cannot be trained or saved: load the plain form for that.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ASPP, DecoderBlock, DeformableASPP, PatchBlock, resize
from .deform import column_kernel, deformed_columns
from .network import BiRefNet, Decoder


def fuse(model: BiRefNet) -> BiRefNet:
    """Turn a plain network in eval mode into its inference form, in place."""
    model.squeeze_module[0] = FusedDecoderBlock(model.squeeze_module[0])
    model.decoder = FusedDecoder(model.decoder)
    model.form = "inference"
    return model.requires_grad_(False)


class FusedDecoder(Decoder):
    """The decoder with fused blocks and a head that sees one channel instead of c1/2 + c1/8."""

    def __init__(self, plain: Decoder) -> None:
        nn.Module.__init__(self)
        self.patch_order = plain.patch_order
        for name, module in plain.named_children():
            if name.startswith("gdt_convs_") and len(module) == 3:  # conv, BN, ReLU
                module = nn.Sequential(folded(module[0], module[1]), nn.ReLU())
            elif isinstance(module, DecoderBlock) and name != "decoder_block1":
                module = FusedDecoderBlock(module)
            if not name.startswith(("conv_ms_spvn_", "gdt_convs_pred_", "ipt_blk1", "conv_out1")):
                self.add_module(name, module)
        conv = plain.conv_out1[0]
        of_p1 = plain.decoder_block1.conv_out.out_channels
        self.decoder_block1 = FusedDecoderBlock(plain.decoder_block1, mix=conv.weight[:, :of_p1])
        self.image_head = ImageHead(plain.ipt_blk1, conv.weight[:, of_p1:], conv.bias)

    def head(self, p1: Tensor, image: Tensor) -> Tensor:
        """p1 is already mixed down to its share of the logits, [B,1,h,w]."""
        return resize(p1, image.shape[2:]) + self.image_head(image)


class FusedDecoderBlock(nn.Module):
    """A decoder block without batch norms. `mix` [M,out,1,1]: a 1×1 convolution of its output, composed with its end."""

    def __init__(self, plain: DecoderBlock, mix: Tensor | None = None) -> None:
        super().__init__()
        self.conv_in = folded(plain.conv_in, plain.bn_in)
        self.dec_att = fused_aspp(plain.dec_att)
        self.conv_out = folded(plain.conv_out, plain.bn_out)
        self.conv_resi = plain.conv_resi
        if mix is not None:
            self.conv_out = Float32Conv(mixed(self.conv_out, mix))
            self.conv_resi = None if plain.conv_resi is None else Float32Conv(mixed(plain.conv_resi, mix))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_out(self.dec_att(F.relu(self.conv_in(x))))
        return y if self.conv_resi is None else y + self.conv_resi(x)


class Float32Conv(nn.Module):
    """A convolution that computes and answers in float32, whatever its weights and input are stored in."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x.float(), self.conv.weight.float(), self.conv.bias.float(), padding=self.conv.padding)


# Pyramids --------------------------------------------------------------------------------------------------------


def fused_aspp(plain: nn.Module) -> nn.Module:
    if not isinstance(plain, ASPP):
        return plain
    return FusedDeformableASPP(plain) if isinstance(plain, DeformableASPP) else FusedASPP(plain)


class FusedASPP(nn.Module):
    """Plain atrous branches; the mixing convolution acts on each, and the sum takes the concatenation's place."""

    def __init__(self, plain: ASPP) -> None:
        super().__init__()
        branches = plain.branches()
        self.branches = nn.ModuleList(folded(branch.atrous_conv, branch.bn) for branch in branches)
        self.pool = folded(plain.global_avg_pool[1], plain.global_avg_pool[2])
        mix = folded(plain.conv1, plain.bn1)
        self.bias = nn.Parameter(mix.bias)
        *parts, of_pool = mix.weight.split(self.pool.out_channels, 1)
        self.mix = nn.ParameterList(parts)
        self.mix_pool = nn.Parameter(of_pool)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(F.relu(self.pool(x.mean((2, 3), keepdim=True))), self.mix_pool, self.bias)
        for branch, mix in zip(self.branches, self.mix):
            y = y + F.conv2d(F.relu(branch(x)), mix)
        return F.relu(y)


class FusedDeformableASPP(FusedASPP):
    """Deformable branches, each mixed down while its columns are at hand."""

    def __init__(self, plain: DeformableASPP) -> None:
        super().__init__(plain)
        convs = [branch.atrous_conv for branch in plain.branches()]
        # `folded` above saw the branch as an ordinary convolution of the deformed samples.
        self.kernels = nn.ParameterList(column_kernel(branch.weight) for branch in self.branches)
        self.biases = nn.ParameterList(branch.bias for branch in self.branches)
        self.sides = [branch.kernel_size[0] for branch in self.branches]
        del self.branches
        self.places = nn.ModuleDict({str(side): merged([conv for conv, at in zip(convs, self.sides) if at == side])
                                     for side in sorted(set(self.sides))})

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        total = None
        places = {side: list(self.places[str(side)](x).split(3 * side**2, 1)) for side in set(self.sides)}
        for side, kernel, bias, mix in zip(self.sides, self.kernels, self.biases, self.mix):
            offset, modulation = places[side].pop(0).split([2 * side**2, side**2], 1)
            runs = deformed_columns(x, offset, 2 * modulation.float().sigmoid(), side)
            part = torch.cat([torch.addmm(bias, columns, kernel).relu_() @ mix.flatten(1).T for columns in runs])
            total = part if total is None else total.add_(part)
        pooled = F.conv2d(F.relu(self.pool(x.mean((2, 3), keepdim=True))), self.mix_pool, self.bias)
        return F.relu(total.view(batch, height, width, -1).permute(0, 3, 1, 2) + pooled)


def merged(convs: list[nn.Module]) -> nn.Conv2d:
    """One convolution for the offsets and modulations of deformable convolutions of one kernel size."""
    parts = [part for conv in convs for part in (conv.offset_conv, conv.modulator_conv)]
    return convolution(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]),
                       parts[0].padding)


# The image's share of the logits -----------------------------------------------------------------------------------


class ImageHead(nn.Module):
    """`ipt_blk1` and its half of `conv_out1` as one 5×5 convolution, [B,3,H,W] → [B,1,H,W].

    The second 3×3 convolution reads zeros, not the first one's values, outside the map. So on the outermost pixels
    its taps that lie outside are dropped before composing: nine kernels, for {first, inner, last} row × column.
    """

    def __init__(self, block: PatchBlock, mix: Tensor, bias: Tensor) -> None:
        super().__init__()
        first, second = block.conv1, block.conv_out
        dtype = first.weight.dtype
        taps = torch.einsum("o,ochw->chw", mix.double().flatten(), second.weight.double())
        constant = bias.double() + mix.double().flatten() @ second.bias.double()
        kernels, biases = [], []
        for rows in (slice(1, 3), slice(0, 3), slice(0, 2)):
            for columns in (slice(1, 3), slice(0, 3), slice(0, 2)):
                seen = torch.zeros_like(taps)
                seen[:, rows, columns] = taps[:, rows, columns]
                # Correlating twice is a full convolution of the kernels.
                kernels.append(F.conv_transpose2d(seen[None], first.weight.double()))
                biases.append(constant + (seen.sum((1, 2)) * first.bias.double()).sum())
        self.kernels = nn.Parameter(torch.stack(kernels).view(3, 3, 1, first.in_channels, 5, 5).to(dtype))
        self.biases = nn.Parameter(torch.stack(biases).view(3, 3, 1).to(dtype))

    def forward(self, image: Tensor) -> Tensor:
        padded = F.pad(image.float(), (2, 2, 2, 2))
        logits = self.part(padded, 1, 1)
        ends = ((0, slice(0, 5), slice(0, 1)), (2, slice(-5, None), slice(-1, None)))
        for row, read, write in ends:
            logits[:, :, write] = self.part(padded[:, :, read], row, 1)
        for column, read, write in ends:
            logits[..., write] = self.part(padded[..., read], 1, column)
        for row, read_rows, write_rows in ends:
            for column, read_columns, write_columns in ends:
                logits[:, :, write_rows, write_columns] = self.part(padded[:, :, read_rows, read_columns], row, column)
        return logits

    def part(self, padded: Tensor, row: int, column: int) -> Tensor:
        return F.conv2d(padded, self.kernels[row, column].float(), self.biases[row, column].float())


# Convolutions ----------------------------------------------------------------------------------------------------


def folded(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """A convolution (an ordinary or a deformable one's `regular_conv`) with the batch norm behind it, if there is one."""
    conv = getattr(conv, "regular_conv", conv)
    weight = conv.weight.double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.double()
    if isinstance(norm, nn.BatchNorm2d):
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = weight * scale.view(-1, 1, 1, 1)
        bias = (bias - norm.running_mean.double()) * scale + norm.bias.double()
    return convolution(weight, bias, conv.padding, conv.dilation, conv.weight.dtype)


def mixed(conv: nn.Conv2d, mix: Tensor) -> nn.Conv2d:
    """A convolution followed by the 1×1 convolution `mix` [M,out,1,1] without bias."""
    matrix = mix.double().flatten(1)
    return convolution(torch.einsum("mo,ochw->mchw", matrix, conv.weight.double()), matrix @ conv.bias.double(),
                       conv.padding, conv.dilation, conv.weight.dtype)


def convolution(weight: Tensor, bias: Tensor, padding: tuple[int, ...], dilation: tuple[int, ...] = (1, 1),
                dtype: torch.dtype | None = None) -> nn.Conv2d:
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), padding=padding, dilation=dilation,
                     device="meta")
    conv.weight = nn.Parameter(weight.detach().to(dtype or weight.dtype).contiguous())
    conv.bias = nn.Parameter(bias.detach().to(dtype or bias.dtype))
    return conv
