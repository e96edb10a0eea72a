"""Safetensors files: damaged bytes, headers that lie, and networks that cannot be."""

from __future__ import annotations

import json
import math
from pathlib import Path

from .kind import Bytes, Kind

MARK = b"\0"  # ends the header in a seed


def refusals() -> tuple[type[BaseException], ...]:
    from birefnet import CheckpointError

    return (CheckpointError,)


def start(folder: Path):
    import birefnet
    import birefnet.checkpoint.load  # noqa: F401  all of it before memory is limited

    path = folder / "a.safetensors"
    birefnet.load(tiny(birefnet, "pvt"))  # warm: kernels, imports

    def load(content: bytes) -> None:
        path.write_bytes(content)
        birefnet.load(path)

    return load


def start_bytes(folder: Path):
    load = start(folder)

    def run(data: bytes) -> None:
        """ "S", a header, a zero byte and what follows it become a file whose length field is right; else as
        it is."""
        if data[:1] == b"S":
            header, _, body = data[1:].partition(MARK)
            data = len(header).to_bytes(8, "little") + header + body
        load(data)

    return run


def tiny(birefnet, name: str) -> dict:
    """A network that takes no time."""
    import torch

    backbone = {
        "pvt": {"family": "pvt_v2", "widths": (8, 16, 40, 64), "depths": (1, 1, 1, 1), "heads": (1, 2, 5, 8)},
        "swin": {
            "family": "swin_v1",
            "widths": (4, 8, 16, 32),
            "depths": (1, 2, 1, 1),
            "heads": (1, 2, 4, 8),
            "window": 3,
        },
    }[name]
    config = birefnet.Config(
        **backbone, mlp_ratios=(2, 2, 2, 2), kernels=(1, 3), inner=8, branch=8, patch_inner=8, gate=4,
        size=(64, 64)
    )
    torch.manual_seed(0)
    return {
        name: tensor for name, tensor in birefnet.BiRefNet(config).state_dict().items()
        if tensor.is_floating_point()
    }


# Headers ----------------------------------------------------------------------------------------------------

DTYPES = ("F32", "F16", "BF16", "F64", "U8", "I64", "BOOL", "F8_E4M3", "C64", "F4", "", "f32", "X" * 50)


def headers():
    from hypothesis import strategies as st

    number = st.one_of(
        st.integers(-2, 9),
        st.sampled_from(
            [2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, 1.5, 1e400, "3", None, True, [],
             {}]
        ),
    )
    entry = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(DTYPES),
            "shape": st.lists(number, max_size=6),
            "data_offsets": st.lists(number, min_size=1, max_size=3),
        },
        optional={"more": st.just(1)},
    )
    odd = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    )
    name = st.one_of(
        st.sampled_from(
            [
                "a",
                "__metadata__",
                "decoder.decoder_block4.x",
                "bb.patch_embed.proj.weight",
                "squeeze_module.0.conv_in.weight",
                "module." * 50 + "a",
                "\0",
                "\ud800",
                "é" * 300,
            ]
        ),
        st.text(max_size=12),
    )
    pairs = st.lists(st.tuples(name, entry | odd), max_size=6)
    depth = st.sampled_from([0, 0, 0, 1, 100, 5000])
    length = st.one_of(st.none(), st.sampled_from([0, 1, 2**20, 2**31, 2**63, 2**64 - 1]))
    return st.tuples(pairs, depth, length, st.binary(max_size=64))


def start_headers(folder: Path):
    load = start(folder)

    def run(case: tuple) -> None:
        pairs, depth, length, body = case
        # a name may come twice
        inside = ",".join(f"{json.dumps(name)}:{json.dumps(entry)}" for name, entry in pairs)
        header = ("{" + inside + "}").encode()
        if depth:
            header = b'{"a":' * depth + header + b"}" * depth
        load((len(header) if length is None else length).to_bytes(8, "little") + header + body)

    return run


# Networks ---------------------------------------------------------------------------------------------------


def networks():
    from hypothesis import strategies as st

    number = st.one_of(st.integers(0, 70),
                       st.sampled_from([127, 255, 256, 1024, 4096, 65536, 2**31 - 1, 2**40]))
    shape = st.lists(number, max_size=5)
    where = st.integers(0, 1000)
    change = st.one_of(
        st.tuples(st.just("shape"), where, shape),
        st.tuples(st.just("side"), where, st.tuples(st.integers(0, 3), number)),
        st.tuples(st.just("delete"), where, st.just(())),
        st.tuples(st.just("dtype"), where, st.sampled_from(DTYPES)),
        st.tuples(
            st.just("rename"), where,
            st.sampled_from(["x", "module.", "lora_up.", "é", "\n", "bb.", "a" * 3000])
        ),
        st.tuples(
            st.just("more"),
            where,
            st.sampled_from(
                [
                    "bb.block1.{}.x",
                    "bb.layers.0.blocks.{}.x",
                    "squeeze_module.0.dec_att.aspp_deforms.{}.atrous_conv.x",
                    "lora_unet_down.{}.lora_up.weight",
                    "model.diffusion_model.{}",
                    "nothing.{}",
                ]
            ),
        ),
    )
    text = st.one_of(
        st.text(max_size=20),
        st.sampled_from(
            [
                "1024",
                "dynamic",
                "0",
                "-1",
                "1x2x3",
                "9" * 5000,
                "1e9",
                "65536x65536",
                "none",
                "imagenet",
                "0,0,0,0",
                "1,2,5,8",
                "A" * 9999,
                "٣٢",
                "999999,1,1,1",
            ]
        ),
    )
    keys = st.sampled_from(
        [
            "birefnet.size",
            "birefnet.normalize",
            "birefnet.patch_order",
            "birefnet.heads",
            "birefnet.multi_scale",
            "birefnet.task",
            "other",
        ]
    )
    return st.tuples(
        st.sampled_from(["pvt", "swin"]), st.lists(change, max_size=3),
        st.dictionaries(keys, text, max_size=2)
    )


def start_networks(folder: Path):
    load = start(folder)
    import birefnet

    known = {
        name: {key: ("F32", list(tensor.shape)) for key, tensor in tiny(birefnet, name).items()}
        for name in ("pvt", "swin")
    }
    bytes_of = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "U8": 1, "I64": 8, "BOOL": 1, "F8_E4M3": 1, "C64": 8}

    def run(case: tuple) -> None:
        base, changes, metadata = case
        entries = dict(known[base])
        for kind, where, value in changes:
            apply(entries, kind, where, value)
        header, end = {"__metadata__": metadata} if metadata else {}, 0
        for name, (dtype, shape) in entries.items():
            begin, end = end, end + bytes_of.get(dtype, 1) * math.prod(shape)
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        if end > 1 << 26:  # longer than any disk: the file ends early, and says so
            end = 1 << 10
        text = json.dumps(header).encode()
        load(len(text).to_bytes(8, "little") + text + bytes(end))

    return run


def apply(entries: dict, kind: str, where: int, value) -> None:
    """One change to a header's entries."""
    name = list(entries)[where % len(entries)] if entries else ""
    if kind == "more":
        for i in range(where * 5):
            entries[value.format(i)] = ("F32", [0])
    elif not entries:
        return
    elif kind == "delete":
        del entries[name]
    elif kind == "dtype":
        entries[name] = (value, entries[name][1])
    elif kind == "shape":
        entries[name] = (entries[name][0], list(value))
    elif kind == "rename":
        entries[value + name] = entries.pop(name)
    elif kind == "side":
        index, side = value
        shape = list(entries[name][1])
        if shape:
            shape[index % len(shape)] = side
        entries[name] = (entries[name][0], shape)


KINDS = (
    Bytes(
        "safetensors",
        "bytes of checkpoint files",
        30,
        start_bytes,
        refusals,
        seeds="safetensors",
        instrument=("birefnet.checkpoint.tensorfile", "birefnet.checkpoint.detect",
                    "birefnet.checkpoint.load"),
    ),
    Kind(
        "headers", "safetensors headers: bombs, overlaps, absurd numbers, nesting", 8, start_headers,
        refusals, headers
    ),
    Kind(
        "networks",
        "whole small networks with wrong shapes, names, types and metadata",
        3,
        start_networks,
        refusals,
        networks,
    ),
)
