"""EfficientNet-Lite (Tan & Le 2019, in its form for mobile processors): inverted residuals with ReLU6.

The same numbers and tensor names as timm's `tf_efficientnet_lite*`, without timm: the included checkpoint is
built on it, and must run where timm is missing or broken.
"""

from __future__ import annotations

import functools
import math
import sys
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..family import Compose, Family, Shapes
from ..ops.algebra import folded
from ..ops.bands import by_bands, convolved
from ..ops.normalize import early_dtype
from ..ops.products import convolve

if TYPE_CHECKING:
    from ..config import Config

# Multipliers of width and depth by timm's name.
SCALES = {"tf_efficientnet_lite0": (1.0, 1.0), "tf_efficientnet_lite1": (1.0, 1.1),
          "tf_efficientnet_lite2": (1.1, 1.2), "tf_efficientnet_lite3": (1.2, 1.4),
          "tf_efficientnet_lite4": (1.4, 1.8)}
STEM = 32
# Blocks, kernel, stride and channels of each stage before scaling; first and last keep their one block.
STAGES = ((1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192),
          (1, 3, 1, 320))
EXPANSION = 6
TAPS = (1, 2, 4, 6)  # stages whose outputs are x1..x4
EPS = 1e-3


def scaled(channels: int, factor: float) -> int:
    """Channels times a factor, as a multiple of 8 that is not more than 10 % too small."""
    channels *= factor
    multiple = max(8, int(channels + 4) // 8 * 8)
    return multiple + 8 if multiple < 0.9 * channels else multiple


def stages(name: str) -> list[tuple[int, int, int, int]]:
    """Blocks, kernel, stride of the first block, and channels of each stage."""
    width, depth = SCALES[name]
    last = len(STAGES) - 1
    return [(blocks if i in (0, last) else math.ceil(blocks * depth), kernel, stride, scaled(channels, width))
            for i, (blocks, kernel, stride, channels) in enumerate(STAGES)]


class EfficientNetLite(nn.Module):
    """`forward` maps [B,3,H,W] to x1..x4 at strides 4, 8, 16, 32."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, STEM, 3, 2)
        self.bn1 = nn.BatchNorm2d(STEM, EPS)
        channels, built = STEM, []
        for i, (count, kernel, stride, out) in enumerate(stages(name)):
            block = InvertedResidual if i else SeparableConv
            built.append(nn.Sequential(*(block(out if j else channels, out, kernel, 1 if j else stride)
                                         for j in range(count))))
            channels = out
        self.blocks = nn.Sequential(*built)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = F.relu6(self.bn1(self.conv_stem(image)))
        features = []
        for i, stage in enumerate(self.blocks):
            x = stage(x)
            if i in TAPS:
                features.append(x)
        return features


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as by TensorFlow: ⌈size/stride⌉ outputs, odd zeros right and below."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 1:
            return super().forward(x)
        sides = []
        for size in (x.shape[3], x.shape[2]):
            total = self.kernel_size[0] - 2 + size % 2
            sides += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, sides), self.weight, None, self.stride, 0, 1, self.groups)


class SeparableConv(nn.Module):
    """Depth-wise convolution, then a 1×1 convolution without an activation."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = SameConv(channels, channels, kernel, stride, channels)
        self.bn1 = nn.BatchNorm2d(channels, EPS)
        self.conv_pw = nn.Conv2d(channels, out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(x)))))


class InvertedResidual(nn.Module):
    """1×1 convolution to six times the channels, depth-wise one, 1×1 convolution; a residual where it fits."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = EXPANSION * channels
        self.conv_pw = nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden, EPS)
        self.conv_dw = SameConv(hidden, hidden, kernel, stride, hidden)
        self.bn2 = nn.BatchNorm2d(hidden, EPS)
        self.conv_pwl = nn.Conv2d(hidden, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out, EPS)
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn1(self.conv_pw(x)))
        y = self.bn3(self.conv_pwl(F.relu6(self.bn2(self.conv_dw(y)))))
        return x + y if self.residual else y


# Inference form ---------------------------------------------------------------------------------------------


class FusedEfficientNetLite(nn.Module):
    """Batch norms folded, blocks by bands of rows; the maps between blocks are float32 in every dtype.

    In bfloat16 it computes in float32, with weights of 16 bits. Weights of 8 bits, in these thin layers, move alpha
    too far: the 99.9th percentile of the difference was up to 0.11 on ten photographs, and is up to 0.012 so.
    """

    def __init__(self, plain: EfficientNetLite, compose: Compose) -> None:
        super().__init__()
        stem, norm = plain.conv_stem, plain.bn1
        self.conv_stem = compose([stem, norm], lambda: FoldedConv(stem, norm))
        self.blocks = nn.ModuleList(
            nn.ModuleList(compose([block], lambda: FusedBlock(block)) for block in stage)
            for stage in plain.blocks)

    def forward(self, image: Tensor, scratch: int = sys.maxsize) -> list[Tensor]:
        """x1..x4, [B,C,H,W] in channels-last memory and the weights' dtype; the image is best float32."""
        dtype = next(self.parameters()).dtype
        x = relu6_(convolve(self.conv_stem(torch.float32, image.shape[2:]), image.float()))
        features = []
        for i, stage in enumerate(self.blocks):
            for block in stage:
                x = block(x, early_dtype(dtype), scratch)
            if i in TAPS:
                features.append(x.to(dtype))
        return features


class FusedBlock(nn.Module):
    def __init__(self, plain: SeparableConv | InvertedResidual) -> None:
        super().__init__()
        if isinstance(plain, InvertedResidual):
            self.expand = FoldedConv(plain.conv_pw, plain.bn1)
            self.filter = FoldedConv(plain.conv_dw, plain.bn2)
            self.project = FoldedConv(plain.conv_pwl, plain.bn3)
        else:
            self.expand = None
            self.filter = FoldedConv(plain.conv_dw, plain.bn1)
            self.project = FoldedConv(plain.conv_pw, plain.bn2)
        self.residual = isinstance(plain, InvertedResidual) and plain.residual

    def forward(self, x: Tensor, dtype: torch.dtype, scratch: int) -> Tensor:
        """float32 [B,C,H,W] → float32 [B,out,H/stride,W/stride]; products are in `dtype`."""
        batch, channels, height, width = x.shape
        size = (height, width)
        expand = None if self.expand is None else self.expand(dtype, size)
        depthwise, project = self.filter(dtype, size), self.project(dtype, size)
        stride, (out, hidden) = depthwise.stride[0], project.weight.shape[:2]

        def expanded(start: int, stop: int) -> Tensor:
            rows = x[:, :, start:stop].to(dtype)
            return rows if expand is None else relu6_(convolve(expand, rows))

        filtered = convolved(depthwise, expanded, height)

        def made(start: int, stop: int) -> Tensor:
            y = convolve(project, relu6_(filtered(start, stop))).float()
            return y.add_(x[:, :, start:stop]) if self.residual else y

        row_bytes = batch * width * ((stride * (channels + hidden) + hidden) * dtype.itemsize + 8 * out)
        return by_bands(made, -(-height // stride), row_bytes, scratch)


class Kernel(NamedTuple):
    """A convolution's values and numbers, under nn.Conv2d's names."""

    weight: Tensor
    bias: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    groups: int
    dilation: tuple[int, int] = (1, 1)

    @property
    def kernel_size(self) -> torch.Size:
        return self.weight.shape[2:]


class FoldedConv(nn.Module):
    """A convolution with the batch norm behind it, for maps of any size."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        made = folded(conv, norm)
        self.stride, self.padding, self.groups = made.stride, made.padding, made.groups
        # Of stride 2, maps of even size get their odd zero right and below. Zeros above and left of the kernel move
        # it by as much as padding all sides alike would be wrong by, so no map is copied to be padded.
        weight = F.pad(made.weight, (1, 0, 1, 0)) if made.stride[0] == 2 else made.weight
        self.weight, self.bias = Exact(weight.contiguous(memory_format=torch.channels_last)), Exact(made.bias)

    def forward(self, dtype: torch.dtype, size: tuple[int, int]) -> Kernel:
        """In that dtype, for a map (H, W). Odd sides are padded alike, so there the kernel's added zeros go."""
        weight = self.weight(dtype)
        if self.stride[0] == 2 and (size[0] % 2 or size[1] % 2):
            weight = weight[:, :, size[0] % 2:, size[1] % 2:].contiguous(memory_format=torch.channels_last)
        return Kernel(weight, self.bias(dtype), self.stride, self.padding, self.groups)


class Exact(nn.Module):
    """A tensor as the sum of two parameters: as bfloat16 they keep 16 bits of its values, not 8."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        high = values.detach().bfloat16().to(values.dtype)
        self.high, self.low = nn.Parameter(high), nn.Parameter(values.detach() - high)

    def forward(self, dtype: torch.dtype) -> Tensor:
        return self.high.to(dtype) + self.low.to(dtype)


def relu6_(x: Tensor) -> Tensor:
    return F.relu6(x, inplace=True)


# The family -------------------------------------------------------------------------------------------------


def recognise_tensors(shapes: Shapes) -> str | None:
    """The one of SCALES whose tensors a file without metadata holds, or None.

    timm's models without `tf_` have the same tensors and another padding; of the two, the included checkpoint's
    is meant.
    """
    found = {name.removeprefix("bb."): tuple(shape) for name, shape in shapes.items()
             if name.startswith("bb.") and not name.endswith("num_batches_tracked")}
    if found.get("conv_stem.weight") != (STEM, 3, 3, 3):
        return None
    return next((name for name in SCALES if tensors_of(name) == found), None)


@functools.cache
def tensors_of(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of an encoder's tensors."""
    with torch.device("meta"):
        state = EfficientNetLite(name).state_dict()
    return {key: tuple(tensor.shape) for key, tensor in state.items() if not key.endswith("num_batches_tracked")}


class EfficientNetLiteFamily(Family):
    name = "efficientnet_lite"
    blocks = (SeparableConv, InvertedResidual)

    def recognises(self, shapes: Shapes, encoder: str) -> bool:
        return encoder in SCALES or not encoder and recognise_tensors(shapes) is not None

    def read(self, shapes: Shapes, encoder: str, heads: tuple[int, ...] | None) -> dict[str, object]:
        encoder = encoder or recognise_tensors(shapes)
        return {"family": self.name, "encoder": encoder, **self.shape(encoder)}

    def shape(self, encoder: str) -> dict[str, object]:
        """Widths and depths: a stage of stride 16 has two of the network's own."""
        own = stages(encoder)
        bounds = (0, *(tap + 1 for tap in TAPS))
        parts = [own[start:stop] for start, stop in zip(bounds, bounds[1:])]
        return {"widths": tuple(own[tap][3] for tap in TAPS),
                "depths": tuple(sum(stage[0] for stage in part) for part in parts)}

    def check(self, config: Config) -> None:
        if config.encoder not in SCALES:
            raise ValueError(f"encoder must be one of {', '.join(SCALES)}; got {config.encoder!r}")
        widths = self.shape(config.encoder)["widths"]
        if config.widths != widths:
            raise ValueError(f"{config.encoder} has widths {widths}, got {config.widths}")

    def label(self, config: Config) -> str:
        return config.encoder

    def build(self, config: Config) -> EfficientNetLite:
        return EfficientNetLite(config.encoder)

    def fuse(self, plain: EfficientNetLite, compose: Compose) -> FusedEfficientNetLite:
        return FusedEfficientNetLite(plain, compose)

    def plain_bytes(self, encoder: nn.Module, config: Config, size: tuple[int, int]) -> float:
        hidden = EXPANSION * scaled(STAGES[0][3], SCALES[config.encoder][0])
        element = next(encoder.parameters()).element_size()
        return size[0] * size[1] / 4 * element * (3 * hidden + STEM)

    def inference_bytes(
        self, encoder: nn.Module, config: Config, size: tuple[int, int]
    ) -> tuple[float, float]:
        first = scaled(STAGES[0][3], SCALES[config.encoder][0])
        dtype = next(encoder.parameters()).dtype
        pixels = size[0] * size[1] / 4  # of stride 2
        alive = 4 * (STEM + first) + 2 * 4 * config.widths[0] / 4
        return pixels * alive, pixels * early_dtype(dtype).itemsize * 2.5 * EXPANSION * first
