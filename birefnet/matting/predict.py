"""From a photograph of any size to its alpha: sizes, normalisation, and the way back."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from ..imaging.resize import GREY, _from_grey, from_pil, resample
from ..network.birefnet import BiRefNet
from ..network.config import IMAGENET_MEAN, IMAGENET_STD, Config, network_size

STRIP = 1 << 18              # pixels whose colours are worked out at a time, where they are not ready as they are


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
    batch, height, width, _ = frames.shape
    if not frames.numel():
        return frames.new_zeros((batch, height, width), dtype=torch.float32)
    frames = frames.to(next(model.parameters()).device)
    x = torch.cat([network_input(frame, model.config, size).to(model.input_dtype) for frame in frames])
    alphas = [full_alpha(small, frame) for small, frame in zip(network_alpha(model, x), frames)]
    alpha = torch.cat(alphas) if batch > 1 else alphas[0]
    return alpha.to(image.device if isinstance(image, Tensor) else "cpu")


# Its three steps, for those who do each of them elsewhere -------------------------------------------------------------


@torch.inference_mode()
def network_input(frame: Tensor, config: Config, size: int | tuple[int, int] | None = None) -> Tensor:
    """One frame [H,W,C] in 0..1 as the network takes it, float32 [1,3,h,w]; size as for `matte`."""
    height, width, _ = frame.shape
    return normalized(fitted(frame, network_size(config, height, width, size)), config)


@torch.inference_mode()
def network_alpha(model: BiRefNet, x: Tensor) -> Tensor:
    """Alpha at the network's own size, float32 [B,1,h,w] on its device, of network inputs [B,3,h,w]."""
    x = x.to(next(model.parameters()).device, model.input_dtype)
    if x.is_cuda:
        x = x.contiguous(memory_format=torch.channels_last)
    logits = model(x) if model.graphs is None else model.graphs(model, x)
    return logits.float().sigmoid()


@torch.inference_mode()
def full_alpha(small: Tensor, frame: Tensor) -> Tensor:
    """Alpha [1,H,W] of a frame [H,W,C] from the network's [1,h,w]; a frame's own alpha multiplies it."""
    alpha = resample(small[None], tuple(frame.shape[:2]))[0].clamp_(0, 1)
    if frame.shape[2] == 4:
        alpha.mul_(frame[..., 3])
    return alpha


def fitted(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """One frame [H,W,C] as the network sees it before normalisation: float32 [1,3,h,w], transparent parts over grey.

    Rows first: on the photograph's own layout, colours interleaved, that reads every pixel once and in order.
    """
    height, width, channels = frame.shape
    strips = [frame] if channels < 4 and frame.dtype == torch.float32 else frame.split(max(1, STRIP // height), 1)
    rows = torch.cat([resample(_from_grey(strip).reshape(1, 1, height, -1), (size[0], strip.shape[1] * min(channels, 3)))
                      for strip in strips], 3)
    x = resample(rows.view(1, size[0], width, -1).permute(0, 3, 1, 2), size)
    return (x + GREY if channels == 4 else x).expand(-1, 3, -1, -1)


def normalized(x: Tensor, config: Config) -> Tensor:
    """[B,3,H,W] in 0..1 as the checkpoint wants it."""
    if config.normalize == "none":
        return x
    # Numbers, not tensors: what is copied to a device makes it wait.
    return torch.stack([(x[:, c] - mean) / std for c, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD))], 1)


