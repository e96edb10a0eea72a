"""Train one network: losses, optimiser, averaged weights, and the state to continue from."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from ..matting.predict import normalize
from ..network.birefnet import BiRefNet, TrainOutputs
from .losses import WEIGHTS, compute_losses
from .optimizers import Optimizer

MAX_GRADIENT_NORM = 20.0


class Learner:
    """Trains a network on its device; its modules keep their train or eval mode.

    Args:
        model: in form "plain".
        rate: learning rate. `rate` and `weights` may be changed between steps.
        weights: of the loss's terms, see `losses.WEIGHTS`.
        parameters: tensors to train, by default all of the model's; the others get no gradient.
        optimizer: "adamw" or "muon", see `Optimizer`.
        average: decay of the averaged weights, for instance 0.998; None for no average.
        dtype: of autocast; torch.float32 for none. With float16 the loss is scaled.
        accumulate: number of pieces in which a batch is computed, to save memory; batch norm uses each
            piece's statistics.
        seed: of dropout, which depends only on the seed and the step.
        wrap: wraps the network for several processes, such as DistributedDataParallel.
        processes: number of processes.

    Raises:
        PackageError: the optimiser's package is missing.
    """

    def __init__(
        self,
        model: BiRefNet,
        rate: float,
        weights: Mapping[str, float] = WEIGHTS["general"],
        *,
        parameters: Iterable[nn.Parameter] | None = None,
        optimizer: str = "adamw",
        average: float | None = None,
        dtype: torch.dtype = torch.bfloat16,
        accumulate: int = 1,
        seed: int = 0,
        wrap: Callable[[nn.Module], nn.Module] | None = None,
        processes: int = 1,
    ) -> None:
        self.model, self.rate, self.weights = model, rate, weights
        self.dtype, self.accumulate, self.seed, self.processes = dtype, accumulate, seed, processes
        self.decay, self.step = average, 0
        self.loss_terms: dict[str, float] = {}  # of the last step's loss, by term
        trained = list(model.parameters() if parameters is None else parameters)
        model.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        self.trained_parameters = trained
        self.average = copy.deepcopy(model).eval().requires_grad_(False) if average is not None else None
        self.network = wrap(Supervised(model)) if wrap else Supervised(model)
        self.optimizer = Optimizer(optimizer, trained, rate)
        self.scaler = torch.amp.GradScaler(trained[0].device.type, enabled=dtype == torch.float16)

    def train_step(self, images: Tensor, alphas: Tensor) -> float:
        """Do one step.

        Args:
            images: float [B,3,H,W] in 0..1, H and W multiples of 32.
            alphas: float [B,1,H,W] in 0..1.

        Returns:
            The loss of this process's batch; its mean over all processes is the loss of the whole batch.

        Raises:
            FloatingPointError: the loss is not finite; the weights are unchanged.
            PackageError: kornia is missing.
        """
        device = self.trained_parameters[0].device
        images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
        alphas = alphas.to(device, non_blocking=True)
        self.optimizer.begin(self.rate)
        pieces = list(zip(images.chunk(self.accumulate), alphas.chunk(self.accumulate)))
        totals: dict[str, Tensor] = {}
        with self.seed_dropout(device):
            for n, piece in enumerate(pieces, 1):
                with self.skip_gradient_exchange() if n < len(pieces) else contextlib.nullcontext():
                    parts = self.losses(*piece, share=len(piece[0]) / len(images))
                    self.scaler.scale(sum(parts.values())).backward()
                totals = {name: totals.get(name, 0) + part.detach() for name, part in parts.items()}
        values = torch.stack(list(totals.values())).tolist()
        self.loss_terms = dict(zip(totals, values))
        loss = sum(values)
        if loss - loss != 0:
            raise FloatingPointError(f"Lower the learning rate: the loss is {loss} at step {self.step + 1}")
        self.optimizer.step(self.scaler, MAX_GRADIENT_NORM)
        self.step += 1
        self.update_average()
        return loss

    def losses(self, images: Tensor, alphas: Tensor, share: float) -> dict[str, Tensor]:
        """Compute the weighted loss terms of a piece, so that those of all pieces add up to the batch's.

        share: of this process's batch.
        """
        images = normalize(images, self.model.config)
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            outputs = self.network(images)
        outputs = TrainOutputs(outputs.logits.float(), [x.float() for x in outputs.side],
                               [x.float() for x in outputs.gradient])
        parts = compute_losses(outputs, images, alphas, self.weights)
        # IoU is summed over the batch, the others are means; processes average their gradients.
        return {name: part * (self.processes if name == "iou" else share) for name, part in parts.items()}

    @contextlib.contextmanager
    def seed_dropout(self, device: torch.device) -> Iterator[None]:
        """Seed PyTorch's random numbers within the context by the step; restore their state afterwards."""
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed * 1_000_003 + self.step)
            yield

    def skip_gradient_exchange(self) -> contextlib.AbstractContextManager:
        """A context in which processes do not exchange gradients: for all pieces of a batch but the last."""
        no_sync = getattr(self.network, "no_sync", None)
        return no_sync() if no_sync else contextlib.nullcontext()

    @torch.no_grad()
    def update_average(self) -> None:
        """Update the averaged weights, with a decay that grows from 2/11 to `average`.

        Not by `torch.optim.swa_utils` or timm's ModelEmaV3, whose warm-up differs: runs would end with other
        numbers.
        """
        if self.average is None:
            return
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.average.state_dict().values(), self.model.state_dict().values()):
            mean.lerp_(now, 1 - decay) if mean.is_floating_point() else mean.copy_(now)

    def state_dict(self) -> dict[str, object]:
        """The state from which training continues with the same numbers: tensors and numbers only."""
        return {"step": self.step, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                "average": self.average.state_dict() if self.average else None,
                "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from a result of `state_dict`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.step = state["step"]

    @property
    def result(self) -> BiRefNet:
        """The trained network, with averaged weights if there are any."""
        return self.average if self.average is not None else self.model


class Supervised(nn.Module):
    """A module whose forward is `forward_train`, for wrappers such as DistributedDataParallel."""

    def __init__(self, model: BiRefNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> TrainOutputs:
        return self.model.forward_train(images)


def disable_dropout(model: BiRefNet) -> BiRefNet:
    """Set all dropout to 0; the authors' 0.5 blurs the output of small networks."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model
