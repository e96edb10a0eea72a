"""Row operations with a fallback for devices on which some PyTorch releases lack the operator."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def weighted_rows(rows: Tensor, index: Tensor, share: Tensor) -> Tensor:
    """Σₙ share[i,n]·rows[index[i,n]]: [N,C], [M,4], [M,4] → [M,C]."""
    try:
        return F.embedding_bag(index, rows, mode="sum", per_sample_weights=share)
    except NotImplementedError:  # some releases of PyTorch lack it on MPS
        return (rows[index] * share[..., None]).sum(1)


def put_rows(target: Tensor, index: Tensor, rows: Tensor) -> None:
    """target[index[i]] = rows[i], in place: [N,C], [M] without repeats, [M,C]."""
    if target.device.type == "mps":  # before PyTorch 2.8 it has no index_copy_ there, and then a slow one
        target[index] = rows
    else:
        target.index_copy_(0, index, rows)
