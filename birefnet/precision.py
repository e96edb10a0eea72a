"""Which number format a device computes fastest in without harm to the matte."""

from __future__ import annotations

import platform

import torch

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def name(dtype: torch.dtype) -> str:
    """The short name of a format: "bf16" of torch.bfloat16."""
    return next(short for short, kind in DTYPES.items() if kind is dtype)


def best_dtype(device: str | torch.device) -> torch.dtype:
    """float16 on CUDA and MPS, bfloat16 on a CPU with instructions for its products, else float32."""
    kind = torch.device(device).type
    if kind in ("cuda", "mps"):
        return torch.float16
    return torch.bfloat16 if kind == "cpu" and cpu_computes_bfloat16() else torch.float32


def cpu_computes_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively: AVX512_BF16 or AMX on x86, the BF16 extension on ARM.

    Without, PyTorch emulates it, slower than float32.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    if platform.machine().lower() in ("x86_64", "amd64"):
        return any(getattr(torch.cpu, query, bool)() for query in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
