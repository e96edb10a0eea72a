"""From a photograph of any size to its alpha: resize, normalise, run the network, resize back."""

from __future__ import annotations

import copy

import torch
from PIL import Image
from torch import Tensor

from ..device.placement import place
from ..files.errors import UserError
from ..imaging.resize import GREY, from_pil, premultiply_around_grey, resample
from ..network.birefnet import BiRefNet
from ..network.builds import is_nano
from ..network.config import IMAGENET_MEAN, IMAGENET_STD, Config, network_size
from .upsample import upsample_guided

STRIP_PIXELS = 1 << 18  # converted at a time, if a frame has alpha or is not float32


def matte(model: BiRefNet, image: Tensor | Image.Image, size: int | tuple[int, int] | None = None) -> Tensor:
    """Matte the subject of each picture.

    Args:
        model: as `birefnet.load` returns it; it runs on its own device and in its own dtype.
        image: float [B,H,W,C] in 0..1 with C = 1 (grey), 3 (RGB) or 4 (RGBA, straight alpha), or a PIL image
            (B = 1). An RGBA image is composited over grey, and its own alpha multiplies the result: what is
            transparent stays so.
        size: the network's size, see `network_size`; None for the checkpoint's own. The picture is
            stretched to it, as in training. All B frames go through the network at once.

    Returns:
        float32 [B,H,W] in 0..1 (1 = subject), on the image's device.

    Raises:
        ValueError: the image is none of these.
        UserError: the network's output is not finite, even in float32. Alpha that stays on a CUDA device is
            not checked, as that would synchronise; birefnet.matting.runner checks it.
    """
    frames = from_pil(image) if isinstance(image, Image.Image) else image
    home = image.device if isinstance(image, Tensor) else "cpu"
    alpha = compute_alpha(model, frames, size).to(home)
    if alpha.is_cuda or is_finite(alpha):
        return alpha
    if next(model.parameters()).dtype is not torch.float32:
        model = copy_in_float32(model)
        alpha = compute_alpha(model, frames, size).to(home)
        if is_finite(alpha):
            return alpha
    raise explain_not_finite(model, frames)


@torch.inference_mode()
def compute_alpha(model: BiRefNet, frames: Tensor, size: int | tuple[int, int] | None = None) -> Tensor:
    """`matte` of a tensor, without the check for finite values; the result is on the model's device."""
    if not isinstance(frames, Tensor) or not frames.is_floating_point():
        raise ValueError("Give a float tensor in 0..1 or a PIL image: got "
                         f"{getattr(frames, 'dtype', type(frames))}")
    if frames.ndim != 4 or frames.shape[3] not in (1, 3, 4):
        raise ValueError(f"Give an image [B, H, W, C] with 1, 3 or 4 channels: got {list(frames.shape)}")
    batch, height, width, _ = frames.shape
    if not frames.numel():
        return frames.new_zeros((batch, height, width), dtype=torch.float32)
    frames = frames.to(next(model.parameters()).device)
    x = torch.cat([network_input(frame, model.config, size).to(model.input_dtype) for frame in frames])
    alphas = [full_alpha(small, frame, model.config)
              for small, frame in zip(network_alpha(model, x), frames)]
    return torch.cat(alphas) if batch > 1 else alphas[0]


# Values that are not finite ---------------------------------------------------------------------------------


def is_finite(alpha: Tensor) -> bool:
    """Whether alpha has no NaN; `one_pass` turns infinite logits into NaN. Synchronises with the device."""
    return bool(alpha.sum().isfinite())


def copy_in_float32(model: BiRefNet) -> BiRefNet:
    """Copy a half-precision network whose output was not finite to float32, on the same device."""
    return place(copy.deepcopy(model), next(model.parameters()).device, torch.float32)


def explain_not_finite(model: BiRefNet, inputs: Tensor) -> UserError:
    """Make the error for a network whose output for these inputs is not finite in float32."""
    if not inputs.isfinite().all():
        return UserError("Take another picture: this one holds values that are not numbers (NaN or infinite)")
    broken = [name for name, tensor in model.state_dict().items()
              if tensor.is_floating_point() and not tensor.isfinite().all()]
    where = f", because it holds NaN or infinite values (in {broken[0]})" if broken else ""
    return UserError("Load another copy of the checkpoint, or choose fp32 where it is loaded in a half "
                     f"precision: this one gives values that are not numbers (NaN){where}")


# The three steps of `matte`, for callers that run them separately -------------------------------------------


@torch.inference_mode()
def network_input(frame: Tensor, config: Config, size: int | tuple[int, int] | None = None) -> Tensor:
    """Resize and normalise one frame [H,W,C] in 0..1: float32 [1,3,h,w]; size as for `matte`."""
    height, width, _ = frame.shape
    return normalize(resize_to_network(frame, network_size(config, height, width, size)), config)


@torch.inference_mode()
def network_alpha(model: BiRefNet, x: Tensor) -> Tensor:
    """Compute alpha at the network's size, float32 [B,1,h,w] on its device, from inputs [B,3,h,w].

    The authors' networks take one pass, as in their code. The included small network takes a second one, over
    the mirror image, and alpha is the mean (weights/NANO.md has measures of both).
    """
    x = x.to(next(model.parameters()).device, model.input_dtype)
    alpha = one_pass(model, x)
    if is_nano(model.config):
        alpha = (alpha + one_pass(model, x.flip(3)).flip(3)) / 2
    return alpha


@torch.inference_mode()
def one_pass(model: BiRefNet, x: Tensor) -> Tensor:
    """The sigmoid of the network's logits, float32 [B,1,h,w], for inputs on its device and in its dtype."""
    if x.is_cuda:
        x = x.contiguous(memory_format=torch.channels_last)
    logits = (model(x) if model.graphs is None else model.graphs(model, x)).float()
    # x - x is 0, and NaN where x is infinite or NaN: an infinite logit must not pass for a certain alpha.
    return logits.sigmoid() + (logits - logits)


@torch.inference_mode()
def full_alpha(small: Tensor, frame: Tensor, config: Config) -> Tensor:
    """Alpha [1,H,W] of a frame [H,W,C] from the network's [1,h,w]; a frame's own alpha multiplies it.

    The alpha of the authors' networks is resized bilinearly, as in their code; that of the included small
    network is upsampled along the picture's edges.
    """
    if is_nano(config):
        alpha = upsample_guided(small, frame)
    else:
        alpha = resample(small[None], tuple(frame.shape[:2]))[0].clamp_(0, 1)
    if frame.shape[2] == 4:
        alpha.mul_(frame[..., 3])
    return alpha


def resize_to_network(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a frame [H,W,C] to the network's size, transparent parts over grey: float32 [1,3,h,w].

    Rows first: in the photograph's own layout (interleaved colours) this reads every pixel once, in order.
    """
    height, width, channels = frame.shape
    as_it_is = channels < 4 and frame.dtype == torch.float32
    strips = [frame] if as_it_is else frame.split(max(1, STRIP_PIXELS // height), 1)
    rows = torch.cat([resample(premultiply_around_grey(strip).reshape(1, 1, height, -1),
                               (size[0], strip.shape[1] * min(channels, 3))) for strip in strips], 3)
    x = resample(rows.view(1, size[0], width, -1).permute(0, 3, 1, 2), size)
    return (x + GREY if channels == 4 else x).expand(-1, 3, -1, -1)


def normalize(x: Tensor, config: Config) -> Tensor:
    """Normalise [B,3,H,W] in 0..1 as the checkpoint's `Config.normalize` says."""
    return x if config.normalize == "none" else normalize_imagenet(x)


def normalize_imagenet(x: Tensor) -> Tensor:
    """Normalise [B,3,H,W] in 0..1 by ImageNet's mean and standard deviation of each colour."""
    # Numbers, not tensors: copying those to the device would synchronise.
    pairs = zip(IMAGENET_MEAN, IMAGENET_STD)
    return torch.stack([(x[:, c] - mean) / std for c, (mean, std) in enumerate(pairs)], 1)
