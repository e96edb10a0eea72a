"""BiRefNet (Zheng et al., "Bilateral Reference for High-Resolution Dichotomous Image Segmentation", 2024).

    image ─ encoder ─ x1..x4 (strides 4 8 16 32) ─ squeeze ─ decoder stages 4 3 2 1 ─ logits
                                                                │
        inward reference: each stage also reads the full-resolution image, cut into tiles stacked on channels
        outward reference: stages 4 3 2 are gated by a map that is trained to predict the image's gradients

Channel widths c1..c4 are `Config.channels`; H and W are multiples of 32. Encoder families: see `.family`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbones import FAMILIES
from .blocks import DecoderBlock, PatchBlock, make_norm, resize
from .config import Config
from .family import Family
from .sides import STRIDE


class TrainOutputs(NamedTuple):
    """What the losses need; `side` and `gradient` are of stages 4, 3, 2, each at its stage's size."""

    logits: Tensor           # [B,1,H,W]
    side: list[Tensor]       # logits [B,1,h,w] of each stage
    gradient: list[Tensor]   # logits [B,1,h,w] of predicted gradients


class Replay(Protocol):
    """Runs a network's pass in another way, such as birefnet.device.cuda_graphs.Graphs."""

    def __call__(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return what model(x) returns."""

    def drop(self) -> None:
        """Free the memory that earlier passes left."""


class BiRefNet(nn.Module):
    """`model(x)`: normalised images [B,3,H,W] → logits [B,1,H,W]; alpha is their sigmoid.

    Attributes:
        form: "plain" as built here, "inference" after birefnet.network.fused.fuse.
        graphs: a Replay through which birefnet.matte runs the network; None calls the network directly.
        budget_bytes: limit of temporaries in one step of the inference form, beyond the maps that later steps
            read (see birefnet.network.cost); None chooses the fastest.
        metadata: text entries of the file that the network was loaded from.
    """

    form = "plain"
    graphs: Replay | None = None
    budget_bytes: int | None = None
    metadata: Mapping[str, str] = MappingProxyType({})

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.bb = self.family.build(config)
        self.squeeze_module = nn.Sequential(DecoderBlock(config, sum(channels), channels[3]))
        self.decoder = Decoder(config)

    @property
    def family(self) -> Family:
        return FAMILIES[self.config.family]

    @property
    def input_dtype(self) -> torch.dtype:
        """The dtype that the image should have: float32 for the inference form, else that of the weights."""
        return torch.float32 if self.form == "inference" else next(self.parameters()).dtype

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        return self.decoder(x, *self.encode(x)).logits

    def forward_train(self, x: Tensor) -> TrainOutputs:
        """Compute logits, and the side predictions and predicted gradients that only training needs."""
        if self.form != "plain":
            raise ValueError('Load with form="plain": the inference form cannot be trained')
        if not self.config.supervision:
            raise ValueError("Set Config.supervision to train this build: it has no supervision heads "
                             "(conv_ms_spvn_*, gdt_convs_pred_*)")
        self.check(x)
        return self.decoder(x, *self.encode(x), supervise=True)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute x1, x2, x3 and the squeezed x4."""
        x1, x2, x3, x4 = self.backbone_features(x)
        context = [resize(feature, x4.shape[2:]) for feature in (x1, x2, x3)]
        return x1, x2, x3, self.squeeze_module(torch.cat([*context, x4], 1))

    def backbone_features(self, x: Tensor) -> list[Tensor]:
        """Compute x1..x4, with the maps of the half-size image concatenated or added if the build does so."""
        features = self.bb(x)
        if self.config.multi_scale == "none":
            return features
        half = self.bb(resize(x, (x.shape[2] // 2, x.shape[3] // 2)))
        half = [resize(small, large.shape[2:]) for small, large in zip(half, features)]
        if self.config.multi_scale == "add":
            return [large + small for small, large in zip(half, features)]
        return [torch.cat([large, small], 1) for small, large in zip(half, features)]

    def check(self, x: Tensor) -> None:
        """Raise ValueError for an input of the wrong shape."""
        smallest = STRIDE if self.config.multi_scale == "none" else 2 * STRIDE
        fits = x.ndim == 4 and x.shape[1] == 3 and not any(side % STRIDE for side in x.shape[2:])
        if not fits or min(x.shape[2:]) < smallest:
            raise ValueError(f"Give [batch, 3, H, W] with H and W multiples of {STRIDE} from {smallest} up, "
                             f"or use birefnet.matte, which takes any size: got {list(x.shape)}")

    def initialize(self) -> BiRefNet:
        """Draw fresh weights for training from scratch; deformable branches start undeformed."""
        encoder_done = self.family.initialize(self.bb)
        for name, module in self.named_modules():
            if encoder_done and name.startswith("bb."):
                continue
            if name.endswith(("offset_conv", "modulator_conv")):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                # Scaled by fan-in: patch blocks have thousands of inputs and no normalisation.
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif name.endswith("attn") and hasattr(module, "relative_position_bias_table"):
                nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)
        return self


class Decoder(nn.Module):
    """Four stages from stride 32 to stride 4, then the full-resolution head.

    Encoders without maps of strides 4, 8, 16, 32 need a neck (`Config.neck`): it resizes each map to its
    stage's size and changes its channels to `Config.decoder_channels`.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.patch_order = config.patch_order
        (c1, c2, c3, c4), (e1, e2, e3, e4) = config.decoder_channels, config.channels
        for i, (channels, out) in enumerate(zip(config.channels, config.decoder_channels), 1):
            if config.neck:
                self.add_module(f"pyramid_neck_x{i}", Lateral(channels, out))
        self.neck = config.neck is not None
        # Tiles per side and output channels, from stride 32 to full size.
        patches = ((32, e4 // 8), (16, e4 // 8), (8, e3 // 8), (4, e2 // 8), (1, e1 // 8))
        for n, (tiles, out) in zip((5, 4, 3, 2, 1), patches):
            self.add_module(f"ipt_blk{n}", PatchBlock(config, 3 * tiles**2, out))
        for n, channels, out in ((4, c4 + e4 // 8, c3), (3, c3 + e4 // 8, c2), (2, c2 + e3 // 8, c1),
                                 (1, c1 + e2 // 8, c1 // 2)):
            self.add_module(f"decoder_block{n}", DecoderBlock(config, channels, out, config.residual))
        self.conv_out1 = nn.Sequential(nn.Conv2d(c1 // 2 + e1 // 8, 1, 1))
        for n, channels in ((4, c3), (3, c2), (2, c1)):
            self.add_module(f"lateral_block{n}", Lateral(channels, channels))
            self.add_module(f"gdt_convs_{n}", nn.Sequential(
                nn.Conv2d(channels, config.gate, 3, padding=1), make_norm(config, config.gate), nn.ReLU()))
            self.add_module(f"gdt_convs_attn_{n}", nn.Sequential(nn.Conv2d(config.gate, 1, 1)))
            if config.supervision:
                self.add_module(f"conv_ms_spvn_{n}", nn.Conv2d(channels, 1, 1))
                self.add_module(f"gdt_convs_pred_{n}", nn.Sequential(nn.Conv2d(config.gate, 1, 1)))

    def forward(self, image: Tensor, x1: Tensor, x2: Tensor, x3: Tensor, x4: Tensor, supervise: bool = False
                ) -> TrainOutputs:
        if self.neck:
            x1, x2, x3, x4 = (getattr(self, f"pyramid_neck_x{i}")(resize(x, stage_size(image, i)))
                              for i, x in enumerate((x1, x2, x3, x4), 1))
        side: list[Tensor] = []
        gradient: list[Tensor] = []
        p = x4
        for n, skip in ((4, x3), (3, x2), (2, x1)):
            p = self.block(n, p, image)
            edges = getattr(self, f"gdt_convs_{n}")(p)
            if supervise:
                side.append(getattr(self, f"conv_ms_spvn_{n}")(p))
                gradient.append(getattr(self, f"gdt_convs_pred_{n}")(edges))
            p = p * getattr(self, f"gdt_convs_attn_{n}")(edges).sigmoid()
            p = resize(p, skip.shape[2:]) + getattr(self, f"lateral_block{n}")(skip)
        return TrainOutputs(self.head(self.block(1, p, image), image), side, gradient)

    def block(self, n: int, p: Tensor, image: Tensor) -> Tensor:
        """Apply the decoder block of stage n to the stage's map p and the image tiles of its size."""
        patches = image_patches(image, p.shape[2:], self.patch_order)
        tiles = getattr(self, f"ipt_blk{n + 1}")(patches)
        return getattr(self, f"decoder_block{n}")(torch.cat([p, tiles], 1))

    def head(self, p1: Tensor, image: Tensor) -> Tensor:
        """Apply `conv_out1` to [resized p1, ipt_blk1(image)].

        A 1×1 convolution commutes with resizing, so it is applied to p1 first: one channel is resized to full
        size instead of c1/2.
        """
        conv = self.conv_out1[0]
        of_p1, of_image = conv.weight.split([p1.shape[1], conv.in_channels - p1.shape[1]], 1)
        return resize(F.conv2d(p1, of_p1), image.shape[2:]) + F.conv2d(self.ipt_blk1(image), of_image,
                                                                       conv.bias)


class Lateral(nn.Module):
    """1×1 convolution of an encoder map on its way into the decoder."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def stage_size(image: Tensor, stage: int) -> tuple[int, int]:
    """Return height and width of the map that decoder stage 1..4 reads: strides 4, 8, 16, 32."""
    return image.shape[2] // 2**(stage + 1), image.shape[3] // 2**(stage + 1)


def image_patches(image: Tensor, size: torch.Size | tuple[int, int], order: str = "colour-slowest") -> Tensor:
    """Cut an image into a grid of tiles and stack them on channels.

    Args:
        image: [B,C,H,W].
        size: (h, w) of a tile; they divide H and W.
        order: of the channels, (c, gy, gx) for "colour-slowest", (gx, gy, c) for "colour-fastest", which is
            that of checkpoints trained with code older than November 2024.

    Returns:
        [B,C·(H/h)·(W/w),h,w].
    """
    batch, channels, height, width = image.shape
    h, w = size
    if order == "colour-slowest":  # in five dimensions, the most that some ONNX runtimes support
        tiles = image.reshape(batch * channels, height // h, h, width // w, w)
        return tiles.transpose(2, 3).reshape(batch, -1, h, w)
    tiles = image.view(batch, channels, height // h, h, width // w, w)
    return tiles.permute(0, 4, 2, 1, 3, 5).reshape(batch, -1, h, w)
