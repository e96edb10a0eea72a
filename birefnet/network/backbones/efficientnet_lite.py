"""EfficientNet-Lite (Tan & Le 2019, in its form for mobile processors): inverted residuals with ReLU6.

Values and tensor names equal those of timm's `tf_efficientnet_lite*`. The included checkpoint uses this
encoder, and has to run without timm.
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
from ..ops.algebra import fold_norm
from ..ops.bands import compute_by_bands, lazy_convolution
from ..ops.normalize import first_stage_dtype
from ..ops.products import convolve

if TYPE_CHECKING:
    from ..config import Config

# Multipliers of width and depth, by timm's names.
SCALES = {"tf_efficientnet_lite0": (1.0, 1.0), "tf_efficientnet_lite1": (1.0, 1.1),
          "tf_efficientnet_lite2": (1.1, 1.2), "tf_efficientnet_lite3": (1.2, 1.4),
          "tf_efficientnet_lite4": (1.4, 1.8)}
STEM_CHANNELS = 32
# Blocks, kernel, stride and channels of each stage before scaling; first and last keep their one block.
STAGES = ((1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192),
          (1, 3, 1, 320))
EXPANSION = 6                 # hidden channels of an inverted residual over its input's
OUTPUT_STAGES = (1, 2, 4, 6)  # whose outputs are x1..x4
EPS = 1e-3                    # of batch norm


def scale_channels(channels: int, factor: float) -> int:
    """Multiply channels by a factor and round to a multiple of 8, but not down by more than 10 %."""
    exact = channels * factor
    multiple = max(8, int(exact + 4) // 8 * 8)
    return multiple + 8 if multiple < 0.9 * exact else multiple


def scale_stages(name: str) -> list[tuple[int, int, int, int]]:
    """Return blocks, kernel, stride of the first block, and channels of each stage."""
    width, depth = SCALES[name]
    last = len(STAGES) - 1
    return [(blocks if i in (0, last) else math.ceil(blocks * depth), kernel, stride,
             scale_channels(channels, width))
            for i, (blocks, kernel, stride, channels) in enumerate(STAGES)]


class EfficientNetLite(nn.Module):
    """[B,3,H,W] → x1..x4 at strides 4, 8, 16, 32."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, STEM_CHANNELS, 3, 2)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS, EPS)
        channels, built = STEM_CHANNELS, []
        for i, (count, kernel, stride, out) in enumerate(scale_stages(name)):
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
            if i in OUTPUT_STAGES:
                features.append(x)
        return features


class SameConv(nn.Conv2d):
    """A convolution without bias, with TensorFlow's "same" padding: an odd zero is added right and below."""

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
    """A depth-wise convolution, then a 1×1 convolution without an activation."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = SameConv(channels, channels, kernel, stride, channels)
        self.bn1 = nn.BatchNorm2d(channels, EPS)
        self.conv_pw = nn.Conv2d(channels, out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(x)))))


class InvertedResidual(nn.Module):
    """1×1 convolution to EXPANSION times the channels, depth-wise convolution, 1×1 convolution.

    With a residual connection if the output has the input's shape.
    """

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
    """The inference form: batch norms are folded, blocks are computed in bands of rows.

    Maps between blocks are float32 in every dtype. In bfloat16 products are float32 and weights keep 16 bits:
    the 8 bits of bfloat16 change alpha too much in these thin layers. On ten photographs, the 99.9th
    percentile of the difference was up to 0.11 with 8 bits, and up to 0.012 with 16.
    """

    def __init__(self, plain: EfficientNetLite, compose: Compose) -> None:
        super().__init__()
        stem, norm = plain.conv_stem, plain.bn1
        self.conv_stem = compose([stem, norm], lambda: FoldedConv(stem, norm))
        self.blocks = nn.ModuleList(
            nn.ModuleList(compose([block], lambda: FusedBlock(block)) for block in stage)
            for stage in plain.blocks)

    def forward(self, image: Tensor, scratch: int = sys.maxsize) -> list[Tensor]:
        """Return x1..x4, [B,C,H,W], channels-last, in the weights' dtype. image: preferably float32."""
        dtype = next(self.parameters()).dtype
        x = relu6_(convolve(self.conv_stem(torch.float32, image.shape[2:]), image.float()))
        features = []
        for i, stage in enumerate(self.blocks):
            for block in stage:
                x = block(x, first_stage_dtype(dtype), scratch)
            if i in OUTPUT_STAGES:
                features.append(x.to(dtype))
        return features


class FusedBlock(nn.Module):
    """A block of either kind, in bands of rows."""

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
        widen = None if self.expand is None else self.expand(dtype, size)
        depthwise, project = self.filter(dtype, size), self.project(dtype, size)
        stride, (out, hidden) = depthwise.stride[0], project.weight.shape[:2]

        def expand_rows(start: int, stop: int) -> Tensor:
            rows = x[:, :, start:stop].to(dtype)
            return rows if widen is None else relu6_(convolve(widen, rows))

        filter_rows = lazy_convolution(depthwise, expand_rows, height)

        def project_rows(start: int, stop: int) -> Tensor:
            y = convolve(project, relu6_(filter_rows(start, stop))).float()
            return y.add_(x[:, :, start:stop]) if self.residual else y

        row_bytes = batch * width * ((stride * (channels + hidden) + hidden) * dtype.itemsize + 8 * out)
        return compute_by_bands(project_rows, -(-height // stride), row_bytes, scratch)


class ConvParameters(NamedTuple):
    """The tensors and settings of a convolution, with the names of nn.Conv2d's attributes."""

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
    """A SameConv or 1×1 convolution with the batch norm after it folded in, for maps of any size."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        fused = fold_norm(conv, norm)
        self.stride, self.padding, self.groups = fused.stride, fused.padding, fused.groups
        # With stride 2, maps of even size are padded by one more zero right and below. Symmetric padding and
        # a kernel with zeros added above and left give the same result, without a padded copy of the map.
        weight = F.pad(fused.weight, (1, 0, 1, 0)) if fused.stride[0] == 2 else fused.weight
        self.weight = HighLowTensor(weight.contiguous(memory_format=torch.channels_last))
        self.bias = HighLowTensor(fused.bias)

    def forward(self, dtype: torch.dtype, size: tuple[int, int]) -> ConvParameters:
        """Return it in `dtype` for a map of `size` (H, W). Odd sides need no added zeros in the kernel."""
        weight = self.weight(dtype)
        if self.stride[0] == 2 and (size[0] % 2 or size[1] % 2):
            weight = weight[:, :, size[0] % 2:, size[1] % 2:].contiguous(memory_format=torch.channels_last)
        return ConvParameters(weight, self.bias(dtype), self.stride, self.padding, self.groups)


class HighLowTensor(nn.Module):
    """A tensor as the sum of two parameters, which together keep 16 bits of its values in bfloat16, not 8."""

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
    """Return the name in SCALES whose tensors have these names and shapes, or None.

    timm's models without `tf_` have the same tensors and another padding; they are taken for those with it.
    """
    found = {name.removeprefix("bb."): tuple(shape) for name, shape in shapes.items()
             if name.startswith("bb.") and not name.endswith("num_batches_tracked")}
    if found.get("conv_stem.weight") != (STEM_CHANNELS, 3, 3, 3):
        return None
    return next((name for name in SCALES if tensor_shapes(name) == found), None)


@functools.cache
def tensor_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an encoder's tensors by their names."""
    with torch.device("meta"):
        state = EfficientNetLite(name).state_dict()
    return {key: tuple(tensor.shape) for key, tensor in state.items()
            if not key.endswith("num_batches_tracked")}


class EfficientNetLiteFamily(Family):
    """The encoders of SCALES, recognised by name or by tensors."""

    name = "efficientnet_lite"
    blocks = (SeparableConv, InvertedResidual)

    def recognises(self, shapes: Shapes, encoder: str) -> bool:
        return encoder in SCALES or not encoder and recognise_tensors(shapes) is not None

    def read(self, shapes: Shapes, encoder: str, heads: tuple[int, ...] | None) -> dict[str, object]:
        encoder = encoder or recognise_tensors(shapes)
        return {"family": self.name, "encoder": encoder, **self.shape(encoder)}

    def shape(self, encoder: str) -> dict[str, object]:
        """Return the widths of x1..x4, and how many blocks lie between each of them and the one before."""
        own = scale_stages(encoder)
        bounds = (0, *(tap + 1 for tap in OUTPUT_STAGES))
        parts = [own[start:stop] for start, stop in zip(bounds, bounds[1:])]
        return {"widths": tuple(own[tap][3] for tap in OUTPUT_STAGES),
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
        hidden = EXPANSION * scale_channels(STAGES[0][3], SCALES[config.encoder][0])
        element = next(encoder.parameters()).element_size()
        return size[0] * size[1] / 4 * element * (3 * hidden + STEM_CHANNELS)

    def inference_bytes(
        self, encoder: nn.Module, config: Config, size: tuple[int, int]
    ) -> tuple[float, float]:
        first = scale_channels(STAGES[0][3], SCALES[config.encoder][0])
        dtype = next(encoder.parameters()).dtype
        pixels = size[0] * size[1] / 4  # positions at stride 2
        alive = 4 * (STEM_CHANNELS + first) + 2 * 4 * config.widths[0] / 4
        return pixels * alive, pixels * first_stage_dtype(dtype).itemsize * 2.5 * EXPANSION * first
