"""Tone-map HDR signals (PQ, HLG) to SDR: transfer functions of ITU-R BT.2100, tone curve of BT.2390."""

from __future__ import annotations

import torch
from torch import Tensor

PQ, HLG = 16, 18    # transfer characteristics of ITU-T H.273, table 3
BT2020 = 9          # its colour primaries, table 2
REFERENCE_WHITE = 203.0  # cd/m², of HDR (ITU-R BT.2408); becomes SDR's white
PEAK = 1000.0       # cd/m², of HLG's nominal display and most PQ masters; brighter light is clipped
HLG_GAMMA = 1.2     # system gamma at that peak (BT.2100)
SDR_GAMMA = 2.4     # of a display for BT.709 (ITU-R BT.1886)
PQ_M1, PQ_M2 = 2610 / 16384, 2523 / 4096 * 128
PQ_C1, PQ_C2, PQ_C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
HLG_A, HLG_B, HLG_C = 0.17883277, 0.28466892, 0.55991073
LUMA = (0.2627, 0.6780, 0.0593)  # of BT.2020's primaries
TO_BT709 = ((1.660491, -0.587641, -0.072850),  # linear BT.2020 to BT.709, ITU-R BT.2087
            (-0.124550, 1.132900, -0.008349),
            (-0.018151, -0.100579, 1.118730))


def is_hdr(transfer: int) -> bool:
    return transfer in (PQ, HLG)


def to_sdr(picture: Tensor, transfer: int, primaries: int = BT2020) -> Tensor:
    """Tone-map an HDR picture.

    Up to about half the reference white, colours keep their luminance; from there to the peak, the curve of
    BT.2390 (section 5.4.1) compresses them. It is applied to the largest of the three channels, and the
    others are scaled with it, so that hues are kept.

    Args:
        picture: float [H,W,C] in 0..1, the signal; C 1, 3, or 4 with alpha, which is kept.
        transfer: PQ or HLG.
        primaries: of ITU-T H.273; anything but BT.2020 counts as BT.709.

    Returns:
        float32 [H,W,C] in 0..1 for BT.709.
    """
    signal = picture[..., :3].float().clamp(0, 1)
    light = pq_to_light(signal) if transfer == PQ else hlg_to_light(signal)
    brightest = light.amax(-1, keepdim=True).clamp(min=1e-6)
    light = light * (_tone(brightest) / brightest)
    if primaries == BT2020 and light.shape[-1] == 3:
        light = light @ light.new_tensor(TO_BT709).T
    sdr = (light / REFERENCE_WHITE).clamp(0, 1).pow(1 / SDR_GAMMA)
    return torch.cat([sdr, picture[..., 3:].float()], dim=-1)


def pq_to_light(signal: Tensor) -> Tensor:
    """The light in cd/m² of a PQ signal in 0..1 (BT.2100, table 4)."""
    root = signal.pow(1 / PQ_M2)
    return 10_000 * ((root - PQ_C1).clamp(min=0) / (PQ_C2 - PQ_C3 * root)).pow(1 / PQ_M1)


def light_to_pq(light: Tensor) -> Tensor:
    """The inverse of `pq_to_light`."""
    share = (light / 10_000).clamp(min=0).pow(PQ_M1)
    return ((PQ_C1 + PQ_C2 * share) / (1 + PQ_C3 * share)).pow(PQ_M2)


def hlg_to_light(signal: Tensor) -> Tensor:
    """The light in cd/m² of a display of PEAK for an HLG signal [...,1 or 3] in 0..1 (BT.2100, table 5)."""
    scene = torch.where(signal <= 0.5, signal.square() / 3, (((signal - HLG_C) / HLG_A).exp() + HLG_B) / 12)
    luma = scene @ scene.new_tensor(LUMA)[:, None] if scene.shape[-1] == 3 else scene
    return PEAK * luma.clamp(min=1e-6).pow(HLG_GAMMA - 1) * scene


def _tone(light: Tensor) -> Tensor:
    """Compress light of up to PEAK to REFERENCE_WHITE, by the spline of BT.2390 on PQ values."""
    peak, white = (light_to_pq(light.new_tensor(end)) for end in (PEAK, REFERENCE_WHITE))
    share, most = (light_to_pq(light) / peak).clamp(max=1), white / peak
    knee = 1.5 * most - 0.5
    t = (share - knee) / (1 - knee)
    bent = ((2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee)
            + (-2 * t**3 + 3 * t**2) * most)
    return pq_to_light(torch.where(share < knee, share, bent) * peak)
