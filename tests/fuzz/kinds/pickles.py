"""PyTorch files: damaged bytes, pickles that try to run code, zip bombs, and tensors that are not what they
claim."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

from .checkpoints import refusals, start, tiny
from .kind import Bytes, Kind

ZIP, LEGACY = b"Z", b"L"  # what a seed's pickle is put into


def zipped(content: bytes, compression: int = zipfile.ZIP_STORED, storage: bytes = bytes(64)) -> bytes:
    """A PyTorch file around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", storage)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def legacy(content: bytes) -> bytes:
    """A PyTorch file of before 2020 around a pickle."""
    parts = (
        0x1950A86A20F9469CFC6C,
        1001,
        {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}},
    )
    return b"".join(pickle.dumps(part, 2) for part in parts) + content


def start_bytes(folder: Path):
    load = start(folder)

    def run(data: bytes) -> None:
        wrap = {ZIP: zipped, LEGACY: legacy}.get(data[:1])
        load(wrap(data[1:]) if wrap else data)

    return run


# Objects ----------------------------------------------------------------------------------------------------


class Calls:
    """Unpickling this calls a function, unless somebody is careful."""

    def __init__(self, function: str, arguments: tuple) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        import importlib

        module, _, name = self.function.rpartition(".")
        return getattr(importlib.import_module(module), name), self.arguments


CALLS = (
    ("os.system", ("echo > ran",)),
    ("builtins.eval", ("open('ran', 'w')",)),
    ("builtins.exec", ("open('ran', 'w')",)),
    ("builtins.open", ("ran", "w")),
    ("subprocess.Popen", (["true"],)),
    ("os.remove", ("a.safetensors",)),
    ("shutil.rmtree", (".",)),
    ("importlib.import_module", ("antigravity",)),
    ("builtins.getattr", ("a", "upper")),
    ("torch.storage._load_from_bytes", (b"\x80\x02cos\nsystem\nX\x08\0\0\0echo>ranq\0\x85q\1R.",)),
    ("torch.hub.load", ("a/b", "c")),
    ("torch.load", ("a.safetensors",)),
    ("builtins.bytearray", (2**45,)),
    ("torch._utils._rebuild_parameter", (1, 2, 3)),
    ("collections.OrderedDict", ([(1, 2)],)),
    ("builtins.input", ()),
    ("builtins.print", ("x" * 99,)),
    ("socket.create_connection", (("127.0.0.1", 9),)),
)


def tensors() -> dict:
    """Tensors that a state dict does not have, by name."""
    import torch

    return {
        "expanded": lambda: torch.zeros(1).expand(3000, 3000, 3000),
        "expanded weight": lambda: torch.zeros(1).expand(8, 3, 7, 7),
        "strided": lambda: torch.zeros(64)[::2],
        "sparse": lambda: torch.zeros(8).to_sparse(),
        "csr": lambda: torch.zeros(8, 8).to_sparse_csr(),
        "quantised": lambda: torch.quantize_per_tensor(torch.zeros(8), 0.1, 0, torch.quint8),
        "complex": lambda: torch.zeros(8, dtype=torch.complex64),
        "integers": lambda: torch.zeros(8, dtype=torch.int64),
        "float8": lambda: torch.zeros(8).to(torch.float8_e4m3fn),
        "parameter": lambda: torch.nn.Parameter(torch.zeros(8)),
        "meta": lambda: torch.zeros(8, device="meta"),
        "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        "scalar": lambda: torch.tensor(1.0),
        "nothing": lambda: torch.zeros(0, 2**40),
        "not finite": lambda: torch.full((8,), float("nan")),
    }


def objects():
    from hypothesis import strategies as st

    odd = st.one_of(
        st.sampled_from(CALLS).map(lambda call: ("call", call)),
        st.sampled_from(
            [
                "expanded",
                "expanded weight",
                "strided",
                "sparse",
                "csr",
                "quantised",
                "complex",
                "integers",
                "float8",
                "parameter",
                "meta",
                "nested",
                "scalar",
                "nothing",
                "not finite",
            ]
        ).map(lambda name: ("tensor", name)),
        st.one_of(
            st.none(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5),
            st.just(float("inf"))
        ).map(lambda value: ("value", value)),
    )
    key = st.one_of(
        st.sampled_from(["model", "state_dict", "weight", "module.module", "bb.norm1.weight", "", "\n",
                         "\ud800"]),
        st.integers(),
        st.tuples(),
        st.text(max_size=6),
    )
    tree = st.recursive(
        odd,
        lambda inner: (
            st.lists(inner, max_size=3).map(lambda list_: ("list", list_))
            | st.dictionaries(key, inner, max_size=4).map(lambda dict_: ("dict", dict_))
        ),
        max_leaves=6,
    )
    base = st.sampled_from([None, None, "pvt", "swin"])
    return st.tuples(
        base,
        st.integers(0, 900),
        tree,
        st.sampled_from([0, 0, 0, 1, 3, 2000, -1]),
        st.sampled_from(["zip", "zip", "legacy", "plain", "deflated", "bomb", "tar", "cut"]),
    )


def start_objects(folder: Path):
    load = start(folder)
    import torch

    import birefnet

    made, states = tensors(), {name: tiny(birefnet, name) for name in ("pvt", "swin")}

    def build(tree: tuple) -> object:
        kind, value = tree
        if kind == "call":
            return Calls(*value)
        if kind == "tensor":
            return made[value]()
        if kind == "list":
            return [build(entry) for entry in value]
        if kind == "dict":
            return {key: build(entry) for key, entry in value.items()}
        return value

    def run(case: tuple) -> None:
        base, where, tree, depth, form = case
        content = build(tree)
        if base:
            content = {**states[base], **{name: content for name in list(states[base])[where : where + 1]}}
        for _ in range(depth):
            content = {("model", "state_dict")[depth % 2]: content}
        if depth == -1:  # a circle
            circle: dict = {"weight": content}
            circle["model"] = circle
            content = circle
        load(stored(torch, content, form))

    return run


def stored(torch, content: object, form: str) -> bytes:
    """The file's bytes; an object that PyTorch itself cannot save is pickled plainly."""
    import sys

    buffer = io.BytesIO()
    sys.setrecursionlimit(50_000)  # ours is deep; who reads it has the usual limit
    try:
        if form in ("zip", "legacy", "cut"):
            torch.save(content, buffer, _use_new_zipfile_serialization=form != "legacy")
            data = buffer.getvalue()
            return data[: len(data) * 2 // 3] if form == "cut" else data
        plain = pickle.dumps(content, 2)
    except Exception:
        plain = pickle.dumps({"weight": 1}, 2)
    finally:
        sys.setrecursionlimit(1000)
    if form == "deflated":
        return zipped(plain, zipfile.ZIP_DEFLATED)
    if form == "bomb":
        return zipped(plain, zipfile.ZIP_DEFLATED, bytes(1 << 24))
    if form == "tar":
        import tarfile

        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo("pickle")
            entry.size = len(plain)
            archive.addfile(entry, io.BytesIO(plain))
        return buffer.getvalue()
    return plain


KINDS = (
    Bytes(
        "pickles",
        "bytes of PyTorch files, zipped and old",
        30,
        start_bytes,
        refusals,
        seeds="pickles",
        instrument=("birefnet.checkpoint.tensorfile",),
    ),
    Kind(
        "pickled objects",
        "PyTorch files that try to run code or hold odd tensors and nests",
        6,
        start_objects,
        refusals,
        objects,
    ),
)
