"""Catalog files with rows that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

from .kind import Kind


def refusals() -> tuple[type[BaseException], ...]:
    from weights.catalog import CatalogError

    return (CatalogError,)


def catalogs():
    from hypothesis import strategies as st

    odd = st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=12),
            st.sampled_from(
                [
                    "../x.pth",
                    "/etc/passwd",
                    "a/b",
                    "a\\b.pth",
                    "CON.pth",
                    "x.exe",
                    "\0.pth",
                    "\ud800",
                    "a" * 3000,
                    "https://example.com/a.pth",
                    "C:\\a.pth",
                    "model.safetensors",
                    "..",
                    "",
                ]
            ),
        ),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=4,
    )
    keys = [
        "name",
        "repo",
        "file",
        "task",
        "size",
        "backbone",
        "license",
        "non_commercial",
        "normalize",
        "patch_order",
        "note",
        "aliases",
        "megabytes",
        "more",
    ]
    change = st.tuples(st.sampled_from(keys), st.booleans(), odd)
    rows = st.tuples(st.integers(0, 30), st.lists(change, max_size=3))
    text = st.one_of(
        st.binary(max_size=20),
        st.sampled_from([b"[" * 100_000, b"{}", b"[]", b"[[]]", b"\xff\xfe[", b"[NaN]"])
    )
    return st.one_of(
        rows.map(lambda case: ("row", case)),
        rows.map(lambda case: ("row", case)),
        odd.map(lambda value: ("json", value)),
        text.map(lambda value: ("bytes", value)),
    )


def start(folder: Path):
    from weights import catalog

    path = folder / "catalog.json"
    known = json.loads(Path(catalog.__file__).with_name("catalog.json").read_text(encoding="utf-8"))

    def read(case: tuple) -> None:
        kind, value = case
        if kind == "row":
            which, changes = value
            rows = [dict(row) for row in known]
            row = rows[which % len(rows)]
            for key, delete, other in changes:
                if delete:
                    row.pop(key, None)
                else:
                    row[key] = other
            kind, value = "json", rows
        path.write_bytes(value if kind == "bytes" else json.dumps(value).encode())
        for row in catalog.read(path):
            assert Path("models", row.filename).resolve().parent == Path("models").resolve(), row.filename

    return read


KINDS = (Kind("catalogs", "rows of the catalog with anything in them", 4, start, refusals, catalogs),)
