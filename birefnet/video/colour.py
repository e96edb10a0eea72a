"""Convert video samples to RGB and back, by the matrix, range and chroma siting of ITU-T H.273."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

# Kr and Kb by the number of the matrix coefficients in ITU-T H.273, table 4.
WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087),
           9: (0.2627, 0.0593)}
BT709, UNKNOWN, BT601 = 1, 2, 6
HIGH_DEFINITION = 720  # lines from which players assume BT.709 for an untagged video


@dataclass(frozen=True)
class Colour:
    """Colour description of a video: code points of ITU-T H.273. full: whether the full range of codes is
    used."""

    matrix: int = BT709
    primaries: int = UNKNOWN
    transfer: int = UNKNOWN
    full: bool = False

    def resolve(self, lines: int) -> Colour:
        """The same with a matrix of WEIGHTS; an untagged video gets the one that players assume for its
        height."""
        if self.matrix in WEIGHTS:
            return self
        return replace(self, matrix=BT601 if self.matrix == UNKNOWN and lines < HIGH_DEFINITION else BT709)

    @property
    def weights(self) -> tuple[float, float, float]:
        """Kr, Kg, Kb: the luma of pure red, green and blue."""
        red, blue = WEIGHTS[self.matrix]
        return red, 1 - red - blue, blue

    def codes(self, bits: int) -> tuple[float, float, float, float]:
        """Luma code of black, its span to white, chroma code of grey, span of chroma (H.273, 8.3)."""
        if self.full:
            return 0, 2**bits - 1, 2 ** (bits - 1), 2**bits - 1
        step = 2 ** (bits - 8)
        return 16 * step, 219 * step, 128 * step, 224 * step


def to_rgb(planes: list[Tensor], bits: int, colour: Colour) -> Tensor:
    """Convert code planes to RGB.

    Args:
        planes: Y, YA, YUV or YUVA. U and V may be smaller; their samples are sited left and vertically
            centred, as in H.264, HEVC, VP9 and ProRes, and are interpolated linearly.
        bits: per code.
        colour: with a matrix of WEIGHTS, see `Colour.resolve`.

    Returns:
        float32 [H,W,C] in 0..1; C is 3, or 4 with straight alpha.
    """
    black, luma_codes, middle, chroma_codes = colour.codes(bits)
    luma = (planes[0].float() - black) / luma_codes
    if len(planes) < 3:
        rgb = luma.expand(3, *luma.shape)
    else:
        chroma = _upsample((torch.stack(planes[1:3]).float() - middle) / chroma_codes, luma.shape)
        kr, kg, kb = colour.weights
        red = luma + 2 * (1 - kr) * chroma[1]
        blue = luma + 2 * (1 - kb) * chroma[0]
        rgb = torch.stack([red, (luma - kr * red - kb * blue) / kg, blue])
    channels = [rgb.clamp(0, 1)]
    if len(planes) in (2, 4):
        channels.append(planes[-1].float()[None] / (2**bits - 1))
    return torch.cat(channels).permute(1, 2, 0)


def from_rgb(picture: Tensor, bits: int, colour: Colour, halved: bool) -> list[Tensor]:
    """Convert a picture [H,W,3 or 4] to code planes Y, U, V, and A if it has alpha: the inverse of `to_rgb`.

    Args:
        picture: in 0..1.
        bits: per code.
        colour: with a matrix of WEIGHTS.
        halved: U and V have half the height and width, rounded up (4:2:0).

    Returns:
        uint8 for 8 bits, else int16.
    """
    black, luma_codes, middle, chroma_codes = colour.codes(bits)
    kr, kg, kb = colour.weights
    red, green, blue, *alpha = picture.float().clamp(0, 1).unbind(-1)
    luma = kr * red + kg * green + kb * blue
    chroma = torch.stack([(blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))])
    if halved:
        chroma = _downsample(chroma)
    planes = [luma * luma_codes + black, *(chroma * chroma_codes + middle),
              *(a * (2**bits - 1) for a in alpha)]
    dtype = torch.uint8 if bits == 8 else torch.int16
    return [plane.round().clamp(0, 2**bits - 1).to(dtype) for plane in planes]


def _upsample(chroma: Tensor, size: tuple[int, int]) -> Tensor:
    """Upsample chroma [2,h,w] to the luma's size."""
    (height, width), (h, w) = size, chroma.shape[1:]
    rows, columns = -(-height // h), -(-width // w)  # luma samples for each chroma sample
    device = chroma.device
    if columns > 1:
        chroma = _interpolate(chroma, torch.arange(width, device=device) / columns, 2)
    if rows > 1:
        chroma = _interpolate(chroma, (torch.arange(height, device=device) + 0.5) / rows - 0.5, 1)
    return chroma


def _interpolate(x: Tensor, places: Tensor, dim: int) -> Tensor:
    """Interpolate x linearly at fractional positions along one dimension; its ends are repeated."""
    last = x.shape[dim] - 1
    low = places.floor()
    share = (places - low).view([-1 if d == dim else 1 for d in range(x.ndim)])
    before, after = (x.index_select(dim, i.long().clamp(0, last)) for i in (low, low + 1))
    return torch.lerp(before, after, share)


def _downsample(chroma: Tensor) -> Tensor:
    """Halve chroma [2,H,W]: (1, 2, 1) / 4 about every second column, then the mean of two rows."""
    _, height, width = chroma.shape
    padded = F.pad(chroma[None], (1, 1 + width % 2, 0, height % 2), mode="replicate")[0]
    columns = (padded[..., :-2:2] + 2 * padded[..., 1:-1:2] + padded[..., 2::2]) / 4
    return (columns[:, ::2] + columns[:, 1::2]) / 2
