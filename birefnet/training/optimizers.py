"""Optimisers: AdamW for all weights, or Muon for matrices and AdamW for the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..files.packages import require
from .plan import OPTIMIZERS

WEIGHT_DECAY = 0.01    # of weights; none for biases and norms
MIN_MATRIX_SIDE = 8    # least inputs and outputs for Muon; depth-wise kernels have fewer


class Optimizer:
    """Updates parameters by their gradients.

    Args:
        kind: "adamw", or "muon" (Jordan et al. 2024), which orthogonalises a matrix's step; a convolution is
            the matrix [out, in × height × width]. The step is scaled to AdamW's at the same rate (Liu et al.
            2025). timm's Muon equals PyTorch's, supports convolutions, and runs on PyTorch before 2.9.
        parameters: all tensors to train.
        rate: learning rate.

    Raises:
        ValueError: the kind is unknown.
        PackageError: timm is missing or older than 1.0.21, for "muon".
    """

    def __init__(self, kind: str, parameters: Sequence[nn.Parameter], rate: float) -> None:
        if kind not in OPTIMIZERS:
            raise ValueError(f"Choose an optimiser of {', '.join(OPTIMIZERS)}: it is {kind!r}")
        self.parameters = parameters
        matrices = [p for p in parameters if is_matrix(p)] if kind == "muon" else []
        moved = set(map(id, matrices))
        rest = [p for p in parameters if id(p) not in moved]
        groups = [{"params": [p for p in rest if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
                  {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
        fused = parameters[0].device.type in ("cpu", "cuda")
        self.parts: list[torch.optim.Optimizer] = []
        if groups:
            self.parts.append(torch.optim.AdamW(groups, rate, fused=fused))
        if matrices:
            optim = require("timm.optim", "the optimiser muon", "Muon")
            groups = [{"params": matrices, "use_muon": True}]
            self.parts.append(optim.Muon(groups, rate, WEIGHT_DECAY, nesterov=True,
                                         ns_coefficients="original", adjust_lr_fn="match_rms_adamw"))

    def begin(self, rate: float) -> None:
        """Discard the gradients and set the rate of the next step."""
        for part in self.parts:
            part.zero_grad()
            for group in part.param_groups:
                group["lr"] = rate

    def step(self, scaler: torch.amp.GradScaler, max_norm: float) -> None:
        """Do one step. scaler: has scaled the loss. max_norm: gradients are clipped to this norm."""
        for part in self.parts:
            scaler.unscale_(part)
        nn.utils.clip_grad_norm_(self.parameters, max_norm)
        for part in self.parts:
            scaler.step(part)
        scaler.update()

    def state_dict(self) -> list[dict[str, object]]:
        """The states of PyTorch's optimisers."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: Sequence[dict[str, object]]) -> None:
        """Continue from a state, which may also be one of torch.optim.Muon."""
        for part, state in zip(self.parts, states):
            saved = state["param_groups"][0]
            if "momentum" in saved and "conv_mode" not in saved:
                # torch.optim.Muon's: the same momentum in another shape, and other settings.
                weights = part.param_groups[0]["params"]
                momenta = {i: shape_like(entry["momentum_buffer"], weights[i])
                           for i, entry in state["state"].items()}
                ours = {i: {"use_muon": True, "momentum_buffer": m} for i, m in momenta.items()}
                state = {"state": ours, "param_groups": part.state_dict()["param_groups"]}
            part.load_state_dict(state)


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon updates a parameter."""
    return parameter.ndim in (2, 4) and min(parameter.shape[:2]) >= MIN_MATRIX_SIDE


def shape_like(matrix: Tensor, weight: Tensor) -> Tensor:
    """View a matrix [out, rest], whose values are in the weight's memory order, in the weight's shape."""
    if weight.ndim == 4 and not weight.is_contiguous():  # channels last
        out, channels, height, width = weight.shape
        return matrix.view(out, height, width, channels).permute(0, 3, 1, 2)
    return matrix.view(weight.shape)
