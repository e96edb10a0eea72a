"""What moves the weights: AdamW for all of them, or Muon for matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..files.packages import require
from .plan import OPTIMIZERS

DECAY = 0.01   # of weights, but not of biases and norms
SMALLEST = 8   # inputs and outputs that a matrix has at least; kernels of one channel each have no directions to even out


class Optimizer:
    """Moves parameters by their gradients.

    kind: "adamw", or "muon" (Jordan et al. 2024), which makes all directions of a matrix's step equally long; a
    convolution's kernels are the matrix [out, in × height × width]. Its step is as large as AdamW's would be at the same
    rate (Liu et al. 2025).

    Raises ValueError for another kind, and PackageError for "muon" where timm is missing or older than 1.0.21.
    """

    def __init__(self, kind: str, parameters: Sequence[nn.Parameter], rate: float) -> None:
        if kind not in OPTIMIZERS:
            raise ValueError(f"expected one of the optimisers {', '.join(OPTIMIZERS)}, got {kind!r}")
        self.parameters = parameters
        matrices = [p for p in parameters if is_matrix(p)] if kind == "muon" else []
        moved = set(map(id, matrices))
        rest = [p for p in parameters if id(p) not in moved]
        groups = [{"params": [p for p in rest if p.ndim > 1], "weight_decay": DECAY},
                  {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
        fused = parameters[0].device.type in ("cpu", "cuda")
        self.parts: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, rate, fused=fused)] if groups else []
        if matrices:
            optim = require("timm.optim", "the optimiser muon", "Muon")
            self.parts.append(optim.Muon([{"params": matrices, "use_muon": True}], rate, DECAY, nesterov=True,
                                         ns_coefficients="original", adjust_lr_fn="match_rms_adamw"))

    def begin(self, rate: float) -> None:
        """Forget the gradients; the next step will be at this rate."""
        for part in self.parts:
            part.zero_grad()
            for group in part.param_groups:
                group["lr"] = rate

    def step(self, scaler: torch.amp.GradScaler, longest: float) -> None:
        """One step by the gradients, which `scaler` has made too large, cut to a norm of `longest` first."""
        for part in self.parts:
            scaler.unscale_(part)
        nn.utils.clip_grad_norm_(self.parameters, longest)
        for part in self.parts:
            scaler.step(part)
        scaler.update()

    def state_dict(self) -> list[dict[str, object]]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: Sequence[dict[str, object]]) -> None:
        for part, state in zip(self.parts, states):
            saved = state["param_groups"][0]
            if "momentum" in saved and "conv_mode" not in saved:
                # Of a run begun with torch.optim.Muon: the same momentum, but of matrices, and settings of its own.
                weights = part.param_groups[0]["params"]
                buffers = {i: {"use_muon": True, "momentum_buffer": like_weight(entry["momentum_buffer"], weights[i])}
                           for i, entry in state["state"].items()}
                state = {"state": buffers, "param_groups": part.state_dict()["param_groups"]}
            part.load_state_dict(state)


def is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim in (2, 4) and min(parameter.shape[:2]) >= SMALLEST


def like_weight(matrix: Tensor, weight: Tensor) -> Tensor:
    """A matrix [out, rest], whose values lie in memory as the weight's do, in the weight's shape."""
    if weight.ndim == 4 and not weight.is_contiguous():  # channels last
        out, channels, height, width = weight.shape
        return matrix.view(out, height, width, channels).permute(0, 3, 1, 2)
    return matrix.view(weight.shape)
