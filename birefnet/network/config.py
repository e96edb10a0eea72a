"""The configuration of a BiRefNet build: the network's shape, and how images are prepared for it."""

from __future__ import annotations

from dataclasses import dataclass

from .backbones import FAMILIES
from .sides import MIN_SIDE, STRIDE

DYNAMIC_RANGE = (256, 2304)  # sides in pixels that dynamic checkpoints were trained on

MULTI_SCALE = ("cat", "add", "none")
ATTENTION = ("deformable", "plain", "none")
PATCH_ORDERS = ("colour-slowest", "colour-fastest")
NORMALIZATIONS = ("imagenet", "none")
# Far above any real build, so that a damaged or hostile file cannot demand unlimited memory and time.
MAX_VALUES = {"widths": 8192, "neck": 8192, "depths": 256, "heads": 256, "mlp_ratios": 32, "window": 64,
              "reductions": 64, "kernels": 31, "inner": 4096, "branch": 4096, "patch_inner": 4096,
              "gate": 4096, "size": 16384}
MAX_KERNELS = 31  # branches of the deformable ASPP after the first
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Config:
    """One BiRefNet build. Defaults are those of the authors' decoder; an encoder has to be given.

    The first group is detected from a checkpoint's tensors (`birefnet.checkpoint.detect`), except for
    `encoder`, `heads` of PVT v2, and `multi_scale` "add" or "none". The second group says what a checkpoint
    was made for; it comes from the file's metadata or the catalog.

    Raises:
        ValueError: a value is impossible.
    """

    family: str                                 # encoder family, a key of `FAMILIES`
    widths: tuple[int, ...]                     # channels of the encoder's four maps
    depths: tuple[int, ...] = (1, 1, 1, 1)      # blocks per stage, or before each map
    heads: tuple[int, ...] = (1, 1, 1, 1)       # attention heads per stage
    mlp_ratios: tuple[int, ...] = (4, 4, 4, 4)  # hidden width of each stage's MLP over its width
    window: int = 7                             # side of Swin's attention windows, in tokens
    reductions: tuple[int, ...] = (8, 4, 2, 1)  # PVT v2's spatial reduction of keys and values, per stage
    gated_mlp: bool = False                     # SwiGLU in DINOv3's MLPs
    # the encoder's name, or JSON with its name and options, where tensors do not determine it
    encoder: str = ""
    # channels after the neck, for encoders without strides 4 8 16 32
    neck: tuple[int, ...] | None = None
    multi_scale: str = "cat"                    # maps of the half-size image: concatenated, added, or none
    attention: str = "deformable"               # the decoder blocks' ASPP: deformable, plain, or none
    # kernel sizes of the deformable ASPP's branches after the first
    kernels: tuple[int, ...] = (1, 3, 7)
    inner: int = 64                             # channels inside a decoder block
    branch: int = 256                           # channels of each ASPP branch
    patch_inner: int = 64                       # channels inside the blocks that read image patches
    gate: int = 16                              # channels of the outward reference's map, which gates a stage
    residual: bool = False                      # 1×1 shortcut in the decoder's four blocks
    batch_norm: bool = True                     # False in checkpoints trained at batch size 1
    supervision: bool = True                    # whether the heads that only training uses exist

    # channel order of stacked image tiles: (c, gy, gx) or (gx, gy, c)
    patch_order: str = "colour-slowest"
    normalize: str = "imagenet"                 # how `matte` normalises the image: imagenet or none
    size: tuple[int, int] | None = (1024, 1024)  # network height and width; None follows the photograph
    task: str = ""                              # what the checkpoint is for, in a user's words

    def __post_init__(self) -> None:
        for field, allowed in (("family", FAMILIES), ("multi_scale", MULTI_SCALE), ("attention", ATTENTION),
                               ("patch_order", PATCH_ORDERS), ("normalize", NORMALIZATIONS)):
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} must be one of {', '.join(allowed)}; got {getattr(self, field)!r}")
        for field in ("widths", "depths", "heads", "mlp_ratios", "reductions", "neck"):
            if getattr(self, field) is not None and len(getattr(self, field)) != 4:
                raise ValueError(f"{field} needs four numbers, one per stage; got {getattr(self, field)!r}")
        for field, most in MAX_VALUES.items():
            numbers = getattr(self, field) or ()  # a size of None, no kernels
            for number in numbers if isinstance(numbers, tuple) else (numbers,):
                if not 1 <= number <= most:
                    raise ValueError(f"{field} contains {number}; expected integers from 1 to {most}")
        if len(self.kernels) > MAX_KERNELS or not all(kernel % 2 for kernel in self.kernels):
            raise ValueError(f"kernels are {self.kernels[:9]}; expected at most {MAX_KERNELS} odd numbers")
        FAMILIES[self.family].check(self)

    @property
    def backbone(self) -> str:
        """The encoder's name, or its family and widths where the build has no name."""
        return FAMILIES[self.family].label(self)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of x1..x4 for the squeeze block; twice `widths` if the half-size maps are concatenated."""
        return tuple(self.width_factor * width for width in self.widths)

    @property
    def decoder_channels(self) -> tuple[int, ...]:
        """Channels of x1..x4 in the decoder, after its neck if it has one."""
        return tuple(self.width_factor * width for width in self.neck or self.widths)

    @property
    def width_factor(self) -> int:
        """Channels of x1..x4 over the encoder's: 2 where the half-size image's maps are concatenated."""
        return 2 if self.multi_scale == "cat" else 1

    def describe(self) -> str:
        """Describe the build in one line, for logs and error messages."""
        aspp = {"deformable": f"deformable ASPP {'-'.join(map(str, (1, *self.kernels)))}",
                "plain": "plain ASPP", "none": "no ASPP"}[self.attention]
        size = f"{self.size[0]}×{self.size[1]}" if self.size else "dynamic size"
        parts = [self.backbone, f"multi-scale {self.multi_scale}", aspp]
        parts += ["residual blocks"] * self.residual + ["no batch norm"] * (not self.batch_norm)
        return ", ".join([*parts, size])


def network_size(
    config: Config, height: int, width: int, size: int | tuple[int, int] | None = None
) -> tuple[int, int]:
    """Choose the size in pixels to which a photograph is resized for the network.

    Args:
        config: the checkpoint's build.
        height: of the photograph, in pixels.
        width: of the photograph, in pixels.
        size: None or 0 for the checkpoint's own size, or for a dynamic checkpoint the photograph's, limited
            to DYNAMIC_RANGE; an int for the longer side, with the checkpoint's aspect ratio, or the
            photograph's for a dynamic one; a pair for (H, W).

    Returns:
        (H, W), multiples of 32 from 64 up.
    """
    if isinstance(size, tuple):
        return snap(size[0]), snap(size[1])
    own = config.size or (height, width)
    longer = max(own)
    if size:
        scale = size / longer
    elif config.size:
        scale = 1.0
    else:
        shortest, longest = DYNAMIC_RANGE
        scale = min(max(1.0, shortest / min(own)), longest / longer)
    return snap(own[0] * scale), snap(own[1] * scale)


def snap(side: float) -> int:
    """Round a side in pixels to a multiple of STRIDE, at least MIN_SIDE."""
    return max(MIN_SIDE, round(side / STRIDE) * STRIDE)
