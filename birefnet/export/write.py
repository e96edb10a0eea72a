"""Write a verified ONNX file and its description (JSON) from a checkpoint."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..files.atomic import atomic_write, atomic_write_bytes
from ..files.errors import UserError
from ..network.birefnet import BiRefNet
from ..network.builds import is_nano
from ..network.config import IMAGENET_MEAN, IMAGENET_STD, Config, snap
from ..network.sides import MIN_SIDE, STRIDE
from .graph import Contract, write_graph
from .precision import to_float16, to_int8_weights
from .verify import BOUNDS, Check, bounds, check, make_trials, within, worst_layer

DTYPES = tuple(BOUNDS)
NATIVE_RUNTIME = "1.25"    # the first onnxruntime that runs DeformConv
LARGEST_BYTES = 2_000_000_000  # of one file: the limit of protocol buffers, its format
FLOAT16_NOTE = "a float16 file is for GPUs: on most CPUs it is slower than float32"
NATIVE_NEEDS = ("DeformConv of opset 19: needs onnxruntime 1.25 or TensorRT 10.1 or newer; a portable file "
                "runs in others, too")


@dataclass(frozen=True)
class Exported:
    """An exported file.

    sidecar: its description. checks: that it passed. bytes: its size. float32_bytes: its size in float32.
    """

    file: Path
    sidecar: Path
    checks: list[Check]
    bytes: int
    float32_bytes: int

    def describe(self) -> str:
        """One line: the file and its size."""
        smaller = ""
        if self.bytes != self.float32_bytes:
            smaller = f" ({self.float32_bytes / 1e6:.1f} MB in float32)"
        return f"{self.file}: {self.bytes / 1e6:.1f} MB{smaller}, described in {self.sidecar.name}"


def export_onnx(
    load: Callable[[str], BiRefNet],
    path: Path,
    contract: Contract,
    dtype: str = "fp32",
    source: Mapping[str, object] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write a network as an ONNX file, and keep the file only if its alphas agree with PyTorch's.

    Args:
        load: load(form) loads the network in float32 on the CPU, in the form "inference" or "plain"; called
            once for each.
        path: the file, ending in .onnx; an old one is replaced when the new one is verified.
        contract: input and output of the file.
        dtype: "fp32"; "fp16", with float32 at both ends; "int8", weights only.
        source: the network's origin, for the description.
        report: called with a line for each step.

    Raises:
        UserError: the contract's size cannot be exported, a package is missing or too old, or the file's
            alpha deviates too much.
        OSError: the file cannot be written.
    """
    require_packages(contract)
    if dtype not in DTYPES:
        raise UserError(f"Choose a dtype of {', '.join(DTYPES)}; got {dtype!r}")
    network = load("inference")
    config = network.config
    contract = complete_contract(contract, config)
    report(f"our own alphas of photographs, {config.describe()}")
    trials = make_trials(network, contract)
    del network
    network = load("plain")
    refuse_large(network)
    with atomic_write(path, folder=True) as part:  # beside `path`: a temporary disk may be too small
        plain, finished = part.path / "float32.onnx", part.path / "finished.onnx"
        needs = "" if contract.portable else f": {NATIVE_NEEDS}"
        report(f"writing the graph, opset {contract.opset}{needs}")
        module = write_graph(network, contract, plain)
        float32_bytes = plain.stat().st_size
        graph = finish(plain, dtype, report)
        plain.unlink()
        finished.write_bytes(graph.SerializeToString())
        report("running it in onnxruntime")
        checks = check(finished, contract, trials)
        for item in checks:
            report(item.describe())
        limits = bounds(dtype, guided=module.nano and contract.any_size)
        if not within(checks, limits):
            worst = worst_layer(module, graph, contract, trials[0])
            raise UserError(explain_deviation(checks, dtype, limits, worst))
        part.keep(inner=finished.name)
    sidecar = path.with_suffix(".json")
    written = path.stat().st_size
    description = describe(config, contract, dtype, checks, source or {})
    text = json.dumps(description, indent=1, ensure_ascii=False)
    atomic_write_bytes(sidecar, f"{text}\n".encode())
    return Exported(path, sidecar, checks, written, float32_bytes)


def require_packages(contract: Contract) -> None:
    """Raise UserError if onnx or onnxruntime is missing, or too old for the contract."""
    for package in ("onnx", "onnxruntime"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UserError(f"Install {package} for exporting: pip install -r requirements-export.txt "
                            f"({error})") from None
    import onnxruntime

    version = onnxruntime.__version__
    if not contract.portable and numbers(version) < numbers(NATIVE_RUNTIME):
        raise UserError(f"Update onnxruntime (pip install -U onnxruntime): {version} is too old to run "
                        f"DeformConv and to verify the file with, {NATIVE_RUNTIME} or newer is needed; or "
                        "make the file portable")


def numbers(version: str) -> tuple[int, ...]:
    """"1.25.0rc1" → (1, 25)."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def complete_contract(contract: Contract, config: Config) -> Contract:
    """Fill in the size that a contract needs. Raises UserError for a contract that cannot be exported."""
    if contract.raw and contract.any_size:
        raise UserError("Choose --raw or --any-size: the network alone does not resize")
    if contract.size and contract.size != tuple(map(snap, contract.size)):
        height, width = contract.size
        near = "x".join(str(snap(side)) for side in (width, height))
        raise UserError(f"Choose a size of multiples of {STRIDE}, from {MIN_SIDE} up, such as {near}; got "
                        f"{width}x{height}")
    if not contract.any_size or contract.size:
        return contract
    if config.size is None:
        raise UserError("Choose a size: this checkpoint follows the photograph's, and resizing inside the "
                        "file is to one size")
    return replace(contract, size=tuple(config.size))


def refuse_large(network: BiRefNet) -> None:
    """Raise UserError for a network that one ONNX file cannot hold in float32."""
    parameters = sum(tensor.numel() for tensor in network.parameters())
    if 4 * parameters > LARGEST_BYTES:
        raise UserError(f"Choose a smaller checkpoint: this one's {parameters / 1e6:.0f} million weights "
                        "take more than the 2 GB that one ONNX file holds")


def finish(plain: Path, dtype: str, report: Callable[[str], None]):
    """Load the graph of a float32 file, and convert it to `dtype`."""
    import onnx

    graph = onnx.load(plain)
    if dtype == "fp16":
        report(FLOAT16_NOTE)
        return to_float16(graph)
    return to_int8_weights(graph) if dtype == "int8" else graph


def explain_deviation(checks: list[Check], dtype: str, limits: tuple[float, float],
                  worst: tuple[str, float]) -> str:
    """The error message for a file whose errors exceed the limits; worst: from `worst_layer`."""
    largest, mean = limits
    layer, error = worst
    return ("Choose another dtype or checkpoint: the file was not kept, because its alpha strays from ours "
            f"by up to {max(item.largest for item in checks):.1e}, "
            f"{max(item.mean for item in checks):.1e} on average, where {dtype} may by {largest:g} and "
            f"{mean:g}; the first layer that strays is {layer} ({error:.1e} of its largest value)")


def describe(config: Config, contract: Contract, dtype: str, checks: list[Check],
             source: Mapping[str, object]) -> dict[str, object]:
    """The content of the JSON beside the file: all that its users need to know."""
    normalize = config.normalize == "imagenet"
    colours = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD} if normalize else None
    size = contract.size or config.size
    alpha = "logits: alpha is their sigmoid" if contract.raw else "alpha, 0 to 1, 1 = subject"
    if is_nano(config):
        alpha += (" (BiRef itself averages it with the mirror image's)" if contract.raw else
                  ", the mean of the image's and its mirror image's")
    return {
        "network": config.describe(), "task": config.task,
        "input": {"name": contract.input_name, "layout": "NCHW", "colours": "RGB",
                  "values": "normalised" if contract.raw and normalize else "0 to 1", "dtype": "float32",
                  "shape": shape(contract, 3)},
        "output": {"name": contract.output_name, "values": alpha, "dtype": "float32",
                   "shape": shape(contract, 1)},
        "size": {"height": size[0], "width": size[1]} if size else "the photograph's, as multiples of 32",
        "resize": describe_resize(contract, config),
        "normalisation": {"inside": normalize and not contract.raw, **(colours or {})},
        "opset": contract.opset, "portable": contract.portable, "dtype": dtype,
        "needs": "" if contract.portable else NATIVE_NEEDS,
        "source": dict(source),
        "versions": {name: str(importlib.import_module(name).__version__)
                     for name in ("torch", "onnx", "onnxruntime")},
        "verified": [asdict(item) for item in checks],
    }


def describe_resize(contract: Contract, config: Config) -> str:
    """How the photograph is resized for the network, and alpha back."""
    if contract.any_size:
        return "inside, to size and back" + (", along the photograph's edges" if is_nano(config) else "")
    back = "and alpha back"
    if is_nano(config):
        back += " (BiRef itself does that along the photograph's edges, birefnet/matting/upsample.py)"
    return f"outside: stretch the photograph to size, bilinear with antialiasing, {back}"


def shape(contract: Contract, channels: int) -> list[int | str]:
    """The shape of input or output; free axes are named."""
    if not contract.free_axes:
        return [1, channels, *contract.size]
    step = "" if contract.any_size else f" (a multiple of {STRIDE})"
    return ["batch", channels, f"height{step}", f"width{step}"]
