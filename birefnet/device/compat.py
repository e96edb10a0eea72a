"""Row operations with a fallback for devices on which some PyTorch releases lack the operator."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def weighted_rows(rows: Tensor, index: Tensor, share: Tensor) -> Tensor:
    """Compute Σₙ share[i,n]·rows[index[i,n]]: rows [N,C], index [M,4], share [M,4] → [M,C]."""
    try:
        return F.embedding_bag(index, rows, mode="sum", per_sample_weights=share)
    except NotImplementedError:  # some releases of PyTorch lack it on MPS
        return (rows[index] * share[..., None]).sum(1)


def put_rows(target: Tensor, index: Tensor, rows: Tensor) -> None:
    """Set target[index[i]] = rows[i]: target [N,C], index [M] without repeats, rows [M,C]."""
    if target.device.type == "mps":  # no index_copy_ there before PyTorch 2.8, and a slow one since
        target[index] = rows
    else:
        target.index_copy_(0, index, rows)
