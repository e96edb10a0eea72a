"""From a photograph of any size to its alpha: sizes, normalisation, and the way back."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .config import IMAGENET_MEAN, IMAGENET_STD, Config
from .network import STRIDE, BiRefNet

DYNAMIC_RANGE = (256, 2304)  # sides the dynamic checkpoints were trained on
SMALLEST = 2 * STRIDE
GREY = 0.5                   # what transparent pixels of an RGBA input are laid over


@torch.inference_mode()
def matte(model: BiRefNet, image: Tensor | Image.Image, size: int | tuple[int, int] | None = None) -> Tensor:
    """Alpha of the subject, float32 [B,H,W] in 0..1 (1 = subject) at the image's size, on the image's device.

    image: float [B,H,W,C] in 0..1 with C = 1 (grey), 3 (RGB) or 4 (RGBA, straight), or a PIL image (B = 1). Colours of
    an RGBA image are laid over grey, and its own alpha multiplies the result: what was transparent stays so.
    size: the network's size, see `network_size`; None takes the checkpoint's own. The photograph is stretched to it, as
    in training. All B frames go through the network at once, on the model's device and in its dtype.
    """
    frames = from_pil(image) if isinstance(image, Image.Image) else image
    if not isinstance(frames, Tensor) or not frames.is_floating_point():
        raise ValueError(f"expected a float tensor in 0..1 or a PIL image, got {getattr(frames, 'dtype', type(frames))}")
    if frames.ndim != 4 or frames.shape[3] not in (1, 3, 4):
        raise ValueError(f"expected an image [B, H, W, C] with 1, 3 or 4 channels, got {list(frames.shape)}")
    batch, height, width, channels = frames.shape
    if not frames.numel():
        return frames.new_zeros((batch, height, width), dtype=torch.float32)
    weight = next(model.parameters())
    x = frames.to(weight.device).permute(0, 3, 1, 2).float()
    opacity = x[:, 3] if channels == 4 else None
    if opacity is not None:
        x = GREY + (x[:, :3] - GREY) * x[:, 3:]
    x = resample(x, network_size(model.config, height, width, size)).expand(-1, 3, -1, -1)
    alpha = model(normalized(x, model.config).to(weight.dtype)).float().sigmoid()
    alpha = resample(alpha, (height, width))[:, 0]
    if opacity is not None:
        alpha = alpha * opacity
    return alpha.clamp_(0, 1).to(frames.device)


def network_size(config: Config, height: int, width: int, size: int | tuple[int, int] | None = None) -> tuple[int, int]:
    """(H, W) at which the network will see a photograph: multiples of 32, 64 at least.

    size None or 0: the checkpoint's own; a dynamic checkpoint follows the photograph, within the range it was trained
    on. An int: the longer side, with the checkpoint's own aspect (square for nearly all), or the photograph's for a
    dynamic one. A pair: height and width themselves.
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
    return max(SMALLEST, round(side / STRIDE) * STRIDE)


def normalized(x: Tensor, config: Config) -> Tensor:
    """[B,3,H,W] in 0..1 as the checkpoint wants it."""
    if config.normalize == "none":
        return x
    mean, std = (x.new_tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (x - mean) / std


def resample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, antialiased where it shrinks; the same pixel grid on the way in and on the way back."""
    if x.shape[2:] == size:
        return x
    try:
        return F.interpolate(x, size, mode="bilinear", antialias=True)
    except NotImplementedError:  # some releases of PyTorch lack the antialiased kernel on MPS
        return F.interpolate(x.cpu(), size, mode="bilinear", antialias=True).to(x.device)


def from_pil(image: Image.Image) -> Tensor:
    """[1,H,W,C] in 0..1; what is neither grey, RGB nor RGBA is converted to RGB(A)."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"a picture of mode {image.mode} has no known range; birefnet.pictures.read scales such files")
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255)
    return pixels.view(1, image.height, image.width, -1)
