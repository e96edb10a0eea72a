"""The plain network in a form that can be exported: for any size, with tensors of at most five dimensions.

PyTorch's exporter traces one pass. Blocks that branch on the map's size, assign to slices, or use six
dimensions are replaced by blocks that compute the same from the traced shape.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..network.backbones.swin.plain import WindowAttention, edge_masks
from ..network.birefnet import BiRefNet
from ..network.blocks import DeformableConv
from ..network.builds import is_nano
from ..network.config import IMAGENET_MEAN, IMAGENET_STD, Config
from .deform import NativeDeformableConv, SampledDeformableConv
from .resize import resample
from .upsample import upsample_guided

NATIVE_OPSET = 19    # the first with DeformConv
PORTABLE_OPSET = 17  # the first with LayerNormalization
MASKED = -1e4        # added to masked attention scores: its exp is 0, and float16 can represent it
TRACED = (2, 64, 96)  # batch, height, width of the image that is traced, if these axes are free
TRAINING_ONLY = ("conv_ms_spvn_", "gdt_convs_pred_")  # prefixes of the decoder's heads for supervision


@dataclass(frozen=True)
class Contract:
    """Input and output of an exported file.

    Args:
        size: (height, width) of the network's input; None: any multiples of 32.
        raw: the network alone, from normalised images to logits, with rembg's names; else from RGB in 0..1
            to alpha.
        any_size: images of any size are resized to `size`, and alpha back, inside the file.
        portable: deformable convolution by standard operators of opset 17 instead of DeformConv.
    """

    size: tuple[int, int] | None = None
    raw: bool = False
    any_size: bool = False
    portable: bool = False

    @property
    def opset(self) -> int:
        return PORTABLE_OPSET if self.portable else NATIVE_OPSET

    @property
    def input_name(self) -> str:
        return "input_image" if self.raw else "image"

    @property
    def output_name(self) -> str:
        return "output_image" if self.raw else "alpha"

    @property
    def free_axes(self) -> dict[int, str]:
        """The dynamic axes of image and alpha, by index."""
        if self.size and not self.any_size:
            return {}
        return {0: "batch", 2: "height", 3: "width"}


def sides(longer: int, config: Config) -> tuple[int, int]:
    """(height, width) with this longer side, in the checkpoint's own shape, or a square if it has none."""
    height, width = config.size or (longer, longer)
    return longer * height // max(height, width), longer * width // max(height, width)


class ExportedNetwork(nn.Module):
    """A plain network that fulfils a contract: [B,3,H,W] → [B,1,H,W]. The network is changed in place."""

    def __init__(self, network: BiRefNet, contract: Contract) -> None:
        super().__init__()
        self.network = prepare(network, contract.portable)
        self.contract, self.nano = contract, is_nano(network.config)
        normalize = network.config.normalize != "none" and not contract.raw
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if normalize else ((0.0,) * 3, (1.0,) * 3)
        self.normalize = normalize
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        seen = resample(image, self.contract.size) if self.contract.any_size else image
        x = (seen - self.mean) / self.std if self.normalize else seen
        if self.contract.raw:
            return self.network(x)
        alpha = self.network_alpha(x)
        if not self.contract.any_size:
            return alpha
        if self.nano:
            return upsample_guided(alpha, seen, image)
        return resample(alpha, image.shape[2:]).clamp(0, 1)

    def network_alpha(self, x: Tensor) -> Tensor:
        """`matting.predict.network_alpha`, with the mirror images in the same batch, so that the file holds
        the network once."""
        if not self.nano:
            return self.network(x).sigmoid()
        alpha = self.network(torch.cat([x, x.flip(3)])).sigmoid()
        batch = x.shape[0]
        return (alpha[:batch] + alpha[batch:].flip(3)) / 2


def prepare(network: BiRefNet, portable: bool) -> BiRefNet:
    """Remove the heads that only training uses, and replace blocks by those that can be exported, in
    place."""
    decoder = network.decoder
    for name in [name for name, _ in decoder.named_children() if name.startswith(TRAINING_ONLY)]:
        delattr(decoder, name)
    if decoder.patch_order == "colour-fastest":
        for name, block in decoder.named_children():
            if name.startswith("ipt_blk"):
                reorder_patch_channels(block.conv1)
        decoder.patch_order = "colour-slowest"
    replacements = {WindowAttention: ExportedWindowAttention,
                    DeformableConv: SampledDeformableConv if portable else NativeDeformableConv}
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if type(module) in replacements:
                setattr(parent, name, replacements[type(module)](module))
    return network.eval().requires_grad_(False)


def reorder_patch_channels(conv: nn.Conv2d) -> None:
    """Permute the weights of a convolution over tiles stacked as (gx, gy, c), for the order (c, gy, gx)."""
    side = round((conv.in_channels / 3) ** 0.5)
    weight = conv.weight.detach()
    tiles = weight.reshape(len(weight), side, side, 3, *weight.shape[2:])
    conv.weight = nn.Parameter(tiles.permute(0, 3, 2, 1, 4, 5).reshape_as(weight).contiguous())


class ExportedWindowAttention(nn.Module):
    """Swin's window attention with the number of windows, padding and masks computed from the map's shape."""

    def __init__(self, plain: WindowAttention) -> None:
        super().__init__()
        self.heads, self.window, self.shift = plain.heads, plain.window, plain.shift
        self.qkv, self.proj = plain.qkv, plain.proj
        self.register_buffer("bias", plain.position_bias(torch.float32).detach())
        if plain.shift:
            below, beside = edge_masks(plain.window, plain.shift, torch.device("cpu"), torch.float32)
            self.register_buffer("below", below.clamp(min=MASKED))
            self.register_buffer("beside", beside.clamp(min=MASKED))

    def forward(self, x: Tensor) -> Tensor:
        """[B,H,W,C] → [B,H,W,C]."""
        batch, height, width, channels = x.shape
        side, shift = self.window, self.shift
        rows, columns = (height + side - 1) // side, (width + side - 1) // side
        x = F.pad(x, (0, 0, 0, columns * side - width, 0, rows * side - height))
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        # A row of a window's tokens and their channels share one dimension, so that five suffice.
        windows = x.reshape(batch, rows, side, columns, side * channels).transpose(2, 3)
        tokens = self.qkv(windows.reshape(batch, rows * columns, side * side, channels))
        split = (batch, rows * columns, side * side, self.heads, channels // self.heads)
        q, k, v = (part.reshape(split).transpose(2, 3) for part in tokens.chunk(3, -1))
        scores = (q * (channels // self.heads) ** -0.5) @ k.transpose(-1, -2) + self.bias
        if shift:
            scores = scores + self.mask(rows, columns)
        y = (scores.softmax(-1) @ v).transpose(2, 3).reshape(batch, rows, columns, side, side * channels)
        y = self.proj(y.transpose(2, 3).reshape(batch, rows * side, columns * side, channels))
        if shift:
            y = y.roll((shift, shift), (1, 2))
        return y[:, :height, :width]

    def mask(self, rows: int | Tensor, columns: int | Tensor) -> Tensor:
        """The attention mask [1,rows·columns,1,N,N], not 0 in the last row and the last column of windows."""
        last_row = (torch.arange(rows) == rows - 1).to(self.below.dtype)
        last_column = (torch.arange(columns) == columns - 1).to(self.below.dtype)
        mask = last_row[:, None, None, None] * self.below + last_column[:, None, None] * self.beside
        return mask.reshape(1, rows * columns, 1, *self.below.shape)


def write_graph(network: BiRefNet, contract: Contract, path: Path) -> ExportedNetwork:
    """Write a plain network as a float32 ONNX file.

    Args:
        network: plain form, float32, on the CPU; it is changed in place.
        path: the file; not written atomically.

    Returns:
        The PyTorch module that the file was made from.
    """
    model = ExportedNetwork(network, contract).eval()  # the exporter restores the mode that it found
    batch, height, width = TRACED if contract.free_axes else (1, *contract.size)
    options: dict[str, object] = {}
    if contract.free_axes:
        names = (contract.input_name, contract.output_name)
        options["dynamic_axes"] = dict.fromkeys(names, contract.free_axes)
    if "dynamo" in torch.onnx.export.__code__.co_varnames:  # from PyTorch 2.5 on
        # The newer exporter takes minutes for a Swin and needs one more package.
        options["dynamo"] = False
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of traced comparisons, and of deprecation
        torch.onnx.export(model, (torch.rand(batch, 3, height, width),), str(path),
                          opset_version=contract.opset, input_names=[contract.input_name],
                          output_names=[contract.output_name], **options)
    return model
