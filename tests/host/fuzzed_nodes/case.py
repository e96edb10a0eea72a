"""Draws inputs for each node from its schema: at the ends of ranges, beyond them, and of wrong types."""

import math
import sys
from fractions import Fraction
from pathlib import Path

import torch
from comfy_api.input_impl import VideoFromComponents, VideoFromFile
from comfy_api.latest import io
from comfy_api.util import VideoComponents

CLIPS = Path(__file__).resolve().parents[2] / "fuzz" / "seeds" / "videos"

# Larger values are valid, too, but would take longer than a case may.
LARGEST = {"size": 256, "megapixels": 0.2, "window": 512, "radius": 64, "frames": 9, "steps": 2, "batch": 2,
           "rank": 4,
           "width": 256, "height": 256, "margin": 64}
WRONG = [None, "abc", "", [], {}, b"x", 10**400, 2**63, -(2**63), math.nan, math.inf, -math.inf, 1e300,
         object]
NAMES = [
    "../x",
    "/tmp/x",
    "C:\\x",
    "..\\x",
    "CON",
    "a/nul.txt",
    "a\0b",
    "x" * 5000,
    "a.",
    "video/",
    "",
    "link/x",
    "~/x",
    "%year%/../../x",
    "\u202ex",
    "\ud800",
    "a/b/c",
    "birefnet-nano",
    "BiRefNet_HR",
    "good",
    "//host/x",
    "*",
    "a:b",
    ".",
    "-",
]
COLOURS = ["white", "#20a0ff", "rgb(1,2,nan)", "hsl(1 1% 1%)", "transparent", "#12345678", "(" * 5000]


def writable(base):
    """Return the folders below the host's base directory in which nodes may write."""
    return base / "output", base / "temp", base / "models" / "BiRefNet" / "adapters"


class FlatModel:
    """A model as another pack may send it. odd: what is wrong with its masks."""

    def __init__(self, odd):
        self.odd = odd

    def encode_image(self, image):
        mask = torch.full(image.shape[:3], 0.7)
        return {
            "": mask,
            "none": None,
            "small": mask[:, :1],
            "nan": mask * math.nan,
            "four": mask[..., None],
            "double": mask.double() * 5,
            "text": "mask",
        }[self.odd]


class Cases:
    """Draws a node's inputs, with descriptions of tensors, models and videos, which `execute` makes."""

    def __init__(self):
        import nodes

        self.nodes = {name: node for name, node in nodes.NODE_CLASS_MAPPINGS.items()
                      if name.startswith("BiRef")}
        self.pack = next(iter(self.nodes.values())).__module__.rsplit(".", 1)[0].removesuffix(".nodes")
        self.inputs = {name: [widget for widget in node.define_schema().inputs]
                       for name, node in self.nodes.items()}
        self.refusals = (
            ValueError,
            self.of("weights").NotFound,
            self.of("weights").FetchError,
            self.of("birefnet.device.passes").OutOfMemory,
        )

    def of(self, module):
        return sys.modules[f"{self.pack}.{module}"]

    def warm(self):
        """Load modules and kernels before memory is limited and files are watched."""
        import av  # noqa: F401
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401

        self.nano = self.execute(
            "BiRefLoad", {"checkpoint": "birefnet-nano", "dtype": "fp32", "device": "cpu", "fetch": False}
        )[0]
        image = ("tensor", [1, 16, 24, 3], "float32", 0.5, "")
        self.execute("BiRefSegment",
                     {"model": ("model", "nano"), "image": image, "size": 32, "frames_per_pass": 0})
        inputs = {widget.id: widget.default for widget in self.inputs["BiRefVideo"]
                  if hasattr(widget, "default")}
        self.execute(
            "BiRefVideo",
            inputs | {"model": ("model", ""), "video": ("video", "clip.mp4"), "clean_edges": False}
        )
        self.before = set(self.files())

    def files(self):
        import folder_paths

        base = Path(folder_paths.get_output_directory()).parent
        inside = (*writable(base), base / "custom_nodes")
        return (path for path in base.rglob("*") if not any(path.is_relative_to(folder) for folder in inside))

    def outside(self, base):
        return sorted(map(str, set(self.files()) - self.before))

    def strategy(self, name):
        """Return the hypothesis strategy for a node's inputs."""
        from hypothesis import strategies as st

        side = st.sampled_from([1, 2, 3, 5, 16, 33])
        image = st.tuples(st.integers(1, 2), side, side, st.sampled_from([1, 3, 4])).map(list)
        mask = st.tuples(st.integers(1, 2), side, side).map(list)
        odd = st.lists(st.sampled_from([0, 1, 2, 3, 4, 7]), max_size=5)
        numbers = st.sampled_from([0.0, 0.5, 1.0, 1e30, -3.0, math.nan, math.inf])
        kinds = st.sampled_from(
            ["float32", "float32", "float16", "float64", "bfloat16", "uint8", "int64", "bool", "complex64"]
        )
        layouts = st.sampled_from(["", "", "", "noise", "noise", "strided", "expanded", "sparse", "meta"])
        wrong = st.sampled_from(WRONG)

        def tensor(good):
            usual = st.tuples(
                st.just("tensor"),
                good,
                st.just("float32"),
                st.sampled_from([0.0, 0.5, 1.0]),
                st.sampled_from(["noise", "", "strided"]),
            )
            strange = st.tuples(st.just("tensor"), st.one_of(good, odd), kinds, numbers, layouts)
            return st.one_of(usual, usual, usual, usual, strange, strange, wrong)

        def value(widget):
            if isinstance(widget, io.Int.Input):
                most = min(widget.max, LARGEST.get(widget.id, widget.max))
                edges = [
                    n
                    for n in (widget.min, most, widget.min - 1, widget.max + 1, -1, 0, 1.5, True)
                    if n <= most or n > widget.max
                ]
                return st.one_of(
                    st.just(widget.default),
                    st.integers(widget.min, min(most, widget.min + 64)),
                    st.sampled_from(edges),
                    wrong,
                )
            if isinstance(widget, io.Float.Input):
                most = min(widget.max, LARGEST.get(widget.id, widget.max))
                return st.one_of(
                    st.just(widget.default),
                    st.floats(widget.min, most),
                    st.sampled_from([widget.min, most, widget.min - 1e-3, widget.max + 1e-3, 0]),
                    wrong,
                )
            if isinstance(widget, io.Combo.Input):
                # The list of folders is empty: none has pairs.
                options = [name for name in widget.options if isinstance(name, str)] or NAMES
                return st.one_of(st.sampled_from(options), st.sampled_from(options), st.sampled_from(NAMES),
                                 wrong)
            if isinstance(widget, io.Boolean.Input):
                return st.one_of(st.booleans(), st.booleans(), wrong)
            if isinstance(widget, io.String.Input):
                return st.one_of(
                    st.sampled_from(NAMES if "colour" not in widget.id else COLOURS), st.text(max_size=9),
                    wrong
                )
            kind = widget.get_io_type()
            if kind == "IMAGE":
                return tensor(image)
            if kind == "MASK":
                return tensor(mask)
            if kind == "BACKGROUND_REMOVAL":
                return st.one_of(
                    st.sampled_from(["", "", "nano", "none", "small", "nan", "four", "double", "text"]).map(
                        lambda name: ("model", name)
                    ),
                    wrong,
                )
            if kind == "VIDEO":
                return st.one_of(
                    st.sampled_from(sorted(path.name
                                           for path in CLIPS.iterdir())).map(lambda name: ("video", name)),
                    st.tuples(
                        st.just("pictures"), tensor(image),
                        st.sampled_from([25, 0, -1, Fraction(1, 1000), 10**6])
                    ),
                    wrong,
                )
            if kind == "BOUNDING_BOX":
                number = st.one_of(st.integers(-9, 40), st.sampled_from([math.nan, 1e30, "x", None]))
                box = st.fixed_dictionaries({side: number for side in ("x", "y", "width", "height")})
                return st.one_of(box, st.lists(box, max_size=3),
                                 st.lists(st.lists(box, max_size=2), max_size=3), wrong)
            return st.one_of(st.just(("crop",)), st.just(("crop",)), wrong)  # BIREF_CROP

        required = {widget.id: value(widget) for widget in self.inputs[name] if not widget.optional}
        optional = {widget.id: value(widget) for widget in self.inputs[name] if widget.optional}
        usual = {widget.id: widget.default for widget in self.inputs[name]
                 if getattr(widget, "default", None) is not None}
        # Most widgets keep their defaults, or nearly every case would be refused at once.
        drawn = st.fixed_dictionaries(required, optional=optional)
        odd = st.sets(st.sampled_from(sorted(usual) or [""]))
        return st.tuples(drawn, odd).map(lambda pair: pair[0] | {
            key: usual[key] for key in usual if key not in pair[1] and key in pair[0]})

    def make(self, value):
        """Make the value that a description stands for."""
        if value is object:
            return object()
        if not isinstance(value, tuple):
            return value
        kind, *rest = value
        if kind == "tensor":
            return tensor_of(*rest)
        if kind == "model":
            return self.nano if rest[0] == "nano" else FlatModel(rest[0])
        if kind == "video":
            return VideoFromFile(str(CLIPS / rest[0]))
        if kind == "pictures":
            images, rate = self.make(rest[0]), rest[1]
            return VideoFromComponents(VideoComponents(images=images, audio=None, frame_rate=rate))
        image, mask = torch.rand(1, 20, 30, 3), torch.zeros(1, 20, 30)
        mask[:, 5:12, 6:20] = 1
        inputs = {widget.id: widget.default for widget in self.inputs["BiRefInpaintCrop"]
                  if hasattr(widget, "default")}
        return self.execute("BiRefInpaintCrop",
                            inputs | {"image": image, "mask": mask, "megapixels": 0.01})[2]

    def execute(self, name, values):
        """Run a node as the host does."""
        hidden = {"prompt": {}, "extra_pnginfo": {}}
        # Newer hosts read the entry "hidden_inputs".
        node = self.nodes[name].PREPARE_CLASS_CLONE(hidden | {"hidden_inputs": hidden})
        made = {key: self.make(value) for key, value in values.items()}
        if node.INPUT_IS_LIST:
            made = {key: [value] for key, value in made.items()}
        return node.EXECUTE_NORMALIZED(**made)


def tensor_of(shape, dtype, value, layout):
    """Make a tensor as another node may send it."""
    kind = getattr(torch, dtype)
    if layout == "meta":
        return torch.empty(shape, dtype=kind, device="meta")
    tensor = torch.rand(shape) if layout == "noise" else torch.full(shape, value)
    tensor = tensor.to(kind) if kind.is_floating_point or kind.is_complex else (tensor > 0.5).to(kind)
    if layout == "sparse":
        return tensor.to_sparse()
    if layout == "expanded" and shape:
        return tensor[:1].expand(-1, *shape[1:])
    if layout == "strided" and shape:
        return tensor.flip(-1).transpose(0, -1).contiguous().transpose(0, -1)
    return tensor
