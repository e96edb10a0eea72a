"""What moves the weights: AdamW for all of them, or Muon for matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .plan import OPTIMIZERS

DECAY = 0.01   # of weights, but not of biases and norms
SMALLEST = 8   # inputs and outputs that a matrix has at least; kernels of one channel each have no directions to even out


class OptimizerMissing(ValueError):
    """The installed PyTorch does not have it; the message is one sentence."""


class Optimizer:
    """Moves parameters by their gradients.

    kind: "adamw", or "muon" (Jordan et al. 2024), which makes all directions of a matrix's step equally long; a
    convolution's kernels are the matrix [out, in × height × width]. Its step is as large as AdamW's would be at the same
    rate (Liu et al. 2025). parameters: must stay where they are in memory.

    Raises ValueError for another kind, and OptimizerMissing for "muon" with a PyTorch before 2.9.
    """

    def __init__(self, kind: str, parameters: Sequence[nn.Parameter], rate: float) -> None:
        if kind not in OPTIMIZERS:
            raise ValueError(f"expected one of the optimisers {', '.join(OPTIMIZERS)}, got {kind!r}")
        self.parameters = parameters
        self.weights = [p for p in parameters if is_matrix(p)] if kind == "muon" else []
        moved = set(map(id, self.weights))
        rest = [p for p in parameters if id(p) not in moved]
        groups = [{"params": [p for p in rest if p.ndim > 1], "weight_decay": DECAY},
                  {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
        fused = parameters[0].device.type in ("cpu", "cuda")
        self.parts: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, rate, fused=fused)] if groups else []
        self.matrices = [nn.Parameter(as_matrix(weight.detach(), weight)) for weight in self.weights]
        if self.matrices:
            if not hasattr(torch.optim, "Muon"):
                raise OptimizerMissing(f"the optimiser muon needs PyTorch 2.9 or newer, this is {torch.__version__}: take "
                                       "adamw")
            self.parts.append(torch.optim.Muon(self.matrices, rate, DECAY, adjust_lr_fn="match_rms_adamw"))

    def begin(self, rate: float) -> None:
        """Forget the gradients; the next step will be at this rate."""
        for parameter in (*self.parameters, *self.matrices):
            parameter.grad = None
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate

    def step(self, scaler: torch.amp.GradScaler, longest: float) -> None:
        """One step by the gradients, which `scaler` has made too large, cut to a norm of `longest` first."""
        for weight, matrix in zip(self.weights, self.matrices):
            if weight.grad is not None:  # both in the weight's own order, so that they share memory
                weight.grad = torch.empty_like(weight).copy_(weight.grad)
                matrix.grad = as_matrix(weight.grad, weight)
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
            part.load_state_dict(state)


def is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim in (2, 4) and min(parameter.shape[:2]) >= SMALLEST


def as_matrix(values: Tensor, weight: Tensor) -> Tensor:
    """A view [out, rest] of values that lie in memory as the weight does, plain or with the channels last."""
    if weight.ndim == 4 and not weight.is_contiguous():
        values = values.permute(0, 2, 3, 1)
    return values.view(len(weight), -1)
