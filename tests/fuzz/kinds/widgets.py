"""What is typed into a node or arrives on its sockets: colours, boxes, pictures and masks of any shape and
kind."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from .kind import Kind


def refusals() -> tuple[type[BaseException], ...]:
    return (ValueError,)


def colours():
    from hypothesis import strategies as st

    number = st.one_of(
        st.integers(-999, 999).map(str),
        st.floats().map(str),
        st.sampled_from(["1e999", "nan", "inf", "50%", "%", "٣", "9" * 5000, "deg", "120deg", "", "-"]),
    )
    call = st.tuples(
        st.sampled_from(["rgb", "rgba", "hsl", "hsla", "hsv", "RGB"]),
        st.lists(number, max_size=5),
        st.sampled_from([",", " ", " / ", ";"]),
    ).map(lambda t: f"{t[0]}({t[2].join(t[1])})")
    hexes = st.text("0123456789abcdefg", max_size=9).map(lambda text: "#" + text)
    return st.one_of(call, hexes, st.text(),
                     st.sampled_from(["white", "transparent", "(" * 9999, "rgb(" * 999]))


def start_colours(folder: Path):
    from birefnet.imaging import colour

    def parse(text: str) -> None:
        values = colour.parse_colour(text)
        assert len(values) == 4 and all(0 <= value <= 1 for value in values), values

    return parse


def sockets():
    from hypothesis import strategies as st

    side = st.sampled_from([0, 1, 1, 2, 3, 4, 5, 8])
    tensor = st.tuples(
        st.just("tensor"),
        st.lists(side, max_size=6),
        st.sampled_from(
            ["float32", "float16", "bfloat16", "float64", "uint8", "int64", "bool", "complex64",
             "float8_e4m3fn"]
        ),
        st.sampled_from([0.0, 0.5, 1.0, 255.0, -1e9, float("nan"), float("inf"), float("-inf")]),
        st.sampled_from(["", "", "", "sparse", "meta", "expanded", "strided"]),
    )
    other = st.sampled_from([None, 1, "text", [], {}, [[1.0]], b"bytes", float("nan")]).map(
        lambda value: ("value", value)
    )
    number = st.one_of(st.integers(-99, 10**20), st.floats(), st.text(max_size=3), st.none())
    box = st.dictionaries(st.sampled_from(["x", "y", "width", "height", "z"]), number, max_size=5)
    boxes = st.one_of(box, st.lists(box | st.lists(box, max_size=3), max_size=4), number)
    given = st.one_of(tensor, tensor, other)
    good = st.fixed_dictionaries({side: st.integers(1, 99) for side in ("x", "y", "width", "height")})
    return st.one_of(
        st.tuples(st.just("frames"), given),
        st.tuples(st.just("masks"), given),
        st.tuples(st.just("boxes"), st.tuples(boxes | good | st.lists(good), st.integers(0, 4))),
    )


def start_sockets(folder: Path):
    import torch

    root = Path(__file__).parents[3]
    spec = importlib.util.spec_from_file_location("pack", root / "__init__.py",
                                                  submodule_search_locations=[str(root)])
    sys.modules["pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["pack"])
    boxes = importlib.import_module("pack.nodes.host.boxes")
    convert = importlib.import_module("pack.nodes.host.convert")

    def run(case: tuple) -> None:
        socket, given = case
        if socket == "boxes":
            assert len(boxes.boxes_per_frame(*given)) == given[1]
            return
        value = made(torch, *given[1:]) if given[0] == "tensor" else given[1]
        clean = convert.Cleaner("it")(getattr(convert, socket)(value))
        assert clean.dtype == torch.float32
        assert not clean.numel() or 0 <= clean.min() and clean.max() <= 1

    return run


def made(torch, shape: list[int], dtype: str, value: float, layout: str):
    """A tensor as another pack may send it."""
    kind = getattr(torch, dtype)
    if layout == "meta":
        return torch.empty(shape, dtype=kind, device="meta")
    if kind.is_floating_point:
        tensor = torch.full(shape, value).to(kind)
    else:
        tensor = torch.full(shape, value == 1, dtype=kind)
    if layout == "sparse" and not dtype.startswith("float8"):
        return tensor.to_sparse()
    if layout == "expanded" and shape:
        return tensor[:1].expand(-1, *shape[1:])
    return tensor.transpose(0, -1) if layout == "strided" and shape else tensor


KINDS = (
    Kind("colours", "colours as they may be typed", 6, start_colours, refusals, colours),
    Kind(
        "sockets",
        "pictures, masks and boxes of any shape, kind and value, as other nodes may send them",
        6,
        start_sockets,
        refusals,
        sockets,
    ),
)
