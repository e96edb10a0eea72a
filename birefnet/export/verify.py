"""Run an exported file in onnxruntime on photographs, and compare its alpha with PyTorch's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..device.resident import resident_bytes
from ..files.errors import UserError
from ..imaging import pictures
from ..matting.predict import (
    explain_not_finite,
    is_finite,
    matte,
    network_alpha,
    normalize,
    one_pass,
    resize_to_network,
)
from ..network.birefnet import BiRefNet
from ..network.config import network_size
from ..network.sides import MIN_SIDE, STRIDE
from .graph import Contract

if TYPE_CHECKING:
    import onnx
    import onnxruntime

PHOTOGRAPHS = Path(__file__).parents[2] / "tests" / "data"
NAMES = ("astronaut.jpg", "coffee.jpg", "figure.jpg")
LARGEST_CHECKED = 1024  # pixels, longer side: larger inputs take gigabytes and verify nothing more
PERCENTILE = 99.9       # of the errors, that is reported
# Largest and mean error of alpha, 0..1, that a file may have, by dtype.
BOUNDS = {"fp32": (1e-4, 1e-5), "fp16": (0.02, 0.002), "int8": (0.05, 0.005)}
# The largest error for fp32 files with guided upsampling (upsample.py), which divides by the small variance
# of flat windows, so that rounding shows in single pixels (0.0002 was measured).
LARGEST_GUIDED = 1e-3


@dataclass(frozen=True)
class Check:
    """Errors of alpha, 0..1, in one pass of the file.

    size: (height, width) of its images. mean, percentile, largest: of the absolute errors. memory_bytes: by
    how much the process grew, None if the system does not report it.
    """

    size: tuple[int, int]
    batch: int
    mean: float
    percentile: float
    largest: float
    seconds: float
    memory_bytes: int | None

    def describe(self) -> str:
        """One line: size, batch, errors, time and memory."""
        memory = "" if self.memory_bytes is None else f", {self.memory_bytes / 2**30:.2f} GiB"
        height, width = self.size
        return (f"{width}x{height}, batch {self.batch}: mean error {self.mean:.1e}, {PERCENTILE}% below "
                f"{self.percentile:.1e}, largest {self.largest:.1e}; {self.seconds:.2f} s{memory}")


@dataclass(frozen=True)
class Trial:
    """Images [B,3,H,W] as the file takes them, and the alpha [B,1,H,W] that they should give."""

    images: np.ndarray
    alpha: np.ndarray


def make_trials(model: BiRefNet, contract: Contract) -> list[Trial]:
    """Matte photographs with PyTorch: at two sizes and as a batch, if the contract allows them.

    Args:
        model: in any form, on the CPU.
        contract: of the file.

    Raises:
        UserError: the network's output is not finite, or a photograph cannot be read.
    """
    photographs = [read(name) for name in NAMES]
    own = contract.size or network_size(model.config, LARGEST_CHECKED, LARGEST_CHECKED)
    if contract.any_size:
        return [Trial(photograph.permute(2, 0, 1)[None].contiguous().numpy(),
                      matte(model, photograph[None], contract.size)[:, None].numpy())
                for photograph in photographs]
    own = own if contract.size else limit_size(own)
    trials = [make_trial(model, contract, photographs[:1], own)]
    if contract.free_axes:
        trials.append(make_trial(model, contract, photographs, other_size(own)))
    else:
        trials.append(make_trial(model, contract, photographs[1:2], own))
    return trials


def read(name: str) -> Tensor:
    """Read a photograph [H,W,3] in 0..1. Raises UserError."""
    path = PHOTOGRAPHS / name
    try:
        return pictures.read(path)[0, ..., :3]
    except (OSError, UserError) as error:
        raise UserError(f"Restore {path}, which exported files are checked with: {error}") from None


def limit_size(size: tuple[int, int]) -> tuple[int, int]:
    """Scale a size to at most LARGEST_CHECKED, in multiples of STRIDE."""
    share = min(1.0, LARGEST_CHECKED / max(size))
    return tuple(max(MIN_SIDE, round(side * share / STRIDE) * STRIDE) for side in size)


def other_size(size: tuple[int, int]) -> tuple[int, int]:
    """A second size to check: about half as large, and of another shape."""
    height, width = size
    return max(MIN_SIDE, height // 2 // STRIDE * STRIDE), max(3 * STRIDE, width // 3 // STRIDE * STRIDE)


def make_trial(
    model: BiRefNet, contract: Contract, photographs: Sequence[Tensor], size: tuple[int, int]
) -> Trial:
    """A batch of photographs at one network size, with PyTorch's alpha."""
    seen = torch.cat([resize_to_network(photograph, size) for photograph in photographs])
    given = normalize(seen, model.config)
    alpha_of = one_pass if contract.raw else network_alpha
    alpha = torch.cat([alpha_of(model, image[None]) for image in given])
    if not is_finite(alpha):
        raise explain_not_finite(model, given)
    return Trial((given if contract.raw else seen).contiguous().numpy(), alpha.numpy())


def check(path: Path, contract: Contract, trials: Sequence[Trial]) -> list[Check]:
    """Run every trial through the file. Raises UserError if onnxruntime cannot load or run it."""
    session = open_session(path)
    return [run_trial(session, contract, item) for item in trials]


def run_trial(session: onnxruntime.InferenceSession, contract: Contract, item: Trial) -> Check:
    """Run one trial and measure its errors, infinite if an alpha is not finite. Raises UserError."""
    before, started = resident_bytes(), time.perf_counter()
    try:
        [found] = session.run([contract.output_name], {contract.input_name: item.images})
    except Exception as error:  # onnxruntime's errors have no common class
        import onnxruntime

        height, width = item.images.shape[2:]
        raise UserError(f"Install another version of onnxruntime: {onnxruntime.__version__} cannot run the "
                        f"file at {width}x{height}, batch {len(item.images)}: {error}") from None
    seconds, after = time.perf_counter() - started, resident_bytes()
    alpha = 1 / (1 + np.exp(-found.astype(np.float64))) if contract.raw else found
    error = np.abs(alpha - item.alpha)
    if not np.isfinite(error).all():
        error = np.full_like(error, np.inf)
    return Check(tuple(item.images.shape[2:]), len(item.images), float(error.mean()),
                 float(np.percentile(error, PERCENTILE)), float(error.max()), seconds,
                 None if before is None or after is None else max(0, after - before))


def open_session(model: Path | bytes) -> onnxruntime.InferenceSession:
    """Open a file or its content in onnxruntime, on the CPU, with PyTorch's number of threads.

    Raises:
        UserError: onnxruntime cannot load it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), options,
                                            providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(f"Install another version of onnxruntime: {onnxruntime.__version__} cannot load the "
                        f"file: {error}") from None


def bounds(dtype: str, guided: bool) -> tuple[float, float]:
    """The largest and the mean error of alpha that a file may have; guided: it has guided upsampling."""
    largest, mean = BOUNDS[dtype]
    return max(largest, LARGEST_GUIDED) if guided else largest, mean


def within(checks: Sequence[Check], limits: tuple[float, float]) -> bool:
    """Whether all checks are within the limits (largest, mean) of `bounds`."""
    largest, mean = limits
    return all(item.largest <= largest and item.mean <= mean for item in checks)


def worst_layer(model: nn.Module, graph: onnx.ModelProto, contract: Contract, item: Trial
                ) -> tuple[str, float]:
    """Find the layer at which an exported graph deviates from the PyTorch module that it was made from.

    Args:
        model: the graph.ExportedNetwork.
        graph: the file's; its nodes' names begin with the modules' names.
        contract: of the file.
        item: the images to run.

    Returns:
        The first layer whose error is at least half of the largest (later layers propagate it), and its
        error relative to the layer's largest value, at most 1.
    """
    import onnx

    expected: dict[str, Tensor] = {}
    places = outputs_of_layers(model, graph)
    hooks = [module.register_forward_hook(keep_output(expected, name))
             for name, module in model.named_modules() if name in places]
    hooks += [module.register_forward_hook(fold_norm(expected)) for module in model.modules()
              if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        model(torch.from_numpy(item.images))
    for hook in hooks:
        hook.remove()
    opened = onnx.ModelProto()
    opened.CopyFrom(graph)
    opened.graph.output.extend(onnx.ValueInfoProto(name=output) for output in places.values())
    session = open_session(opened.SerializeToString())
    found = session.run(list(places.values()), {contract.input_name: item.images})
    errors = {}
    for name, values in zip(places, found):
        if name in expected and values.shape == expected[name].shape:
            truth = expected[name].numpy()
            error = float(np.abs(values - truth).max() / max(np.abs(truth).max(), 1e-12))
            errors[name] = min(1.0, error)  # larger errors are all equally wrong
    name = next(name for name, error in errors.items() if error >= max(errors.values()) / 2)
    return name.removeprefix("network."), errors[name]


def merged_convolutions(model: nn.Module) -> tuple[str, ...]:
    """Names of the modules directly before a batch norm, which the exporter merges into them."""
    found = []
    for parent, module in model.named_modules():
        children = list(module.named_children())
        found += [f"{parent}.{name}".lstrip(".") for (name, _), (_, behind) in zip(children, children[1:])
                  if isinstance(behind, nn.BatchNorm2d)]
    return tuple(found)


def keep_output(kept: dict[str, Tensor], name: str) -> Callable[..., None]:
    """Make a forward hook that stores a module's output as kept[name]."""
    def keep(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        kept[name] = output

    return keep


def fold_norm(kept: dict[str, Tensor]) -> Callable[..., None]:
    """Make a forward hook for batch norms, which the exporter merges into the convolution before them: the
    convolution's output in the file is the norm's. If the norm includes an activation (timm's), the
    convolution is not compared."""
    def fold(norm: nn.Module, inputs: tuple, output: Tensor) -> None:
        for name in [name for name, values in kept.items() if values is inputs[0]]:
            if type(norm) is nn.BatchNorm2d:
                kept[name] = output
            else:
                del kept[name]

    return fold


def outputs_of_layers(model: nn.Module, graph: onnx.ModelProto) -> dict[str, str]:
    """Map each convolution, linear layer and layer norm, by module name, to its last output in the graph."""
    places = {}
    merged = merged_convolutions(model)  # in the file their output is the batch norm's
    layers = {name for name, module in model.named_modules()
              if isinstance(module, (nn.Conv2d, nn.Linear, nn.LayerNorm)) and not name.startswith(merged)}
    for node in graph.graph.node:
        scope = node.name.rpartition("/")[0].strip("/").replace("/", ".")
        if scope in layers and node.op_type not in ("Cast", "DequantizeLinear"):
            places[scope] = node.output[0]
    return places
