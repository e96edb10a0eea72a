"""The packed cache of training pictures: one memory-mapped file of pixels and an index."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np


class Pictures:
    """The packed cache.

    Kinds: "animal", "thing", "human" (photographed), "model" and "person" (rendered) are cut-outs, uint8 RGBA
    [h,w,4]; "scene" and "portrait" whole photographs with the matte of their subject, RGBA too; "place",
    "empty" (nothing in it stands out) and "panorama" backgrounds, uint8 RGB [h,w,3], as is "unmarked".
    "labelled" are crops with soft mattes, RGBA [h,w,4] (see `teacher.label`).
    """

    def __init__(self, folder: Path) -> None:
        self.rows = json.loads((folder / "index.json").read_text())
        self.bytes = np.memmap(folder / "pictures.u8", mode="r", dtype=np.uint8)
        self.kinds: dict[str, list[int]] = {}
        for i, row in enumerate(self.rows):
            self.kinds.setdefault(row["kind"], []).append(i)

    def __getitem__(self, i: int) -> np.ndarray:
        row = self.rows[i]
        return self.bytes[row["offset"]:row["offset"] + int(np.prod(row["shape"]))].reshape(row["shape"])

    def draw(self, rng: np.random.Generator, *kinds: str) -> tuple[np.ndarray, str]:
        """One picture of these kinds, and its name. Raises ValueError where the cache holds none."""
        chosen = [i for kind in kinds for i in self.kinds.get(kind, ())]
        if not chosen:
            raise ValueError(f"the cache holds no {' or '.join(kinds)}; it has "
                             f"{', '.join(self.kinds) or 'nothing'}")
        i = chosen[rng.integers(len(chosen))]
        return self[i], self.rows[i]["name"]


def pack(folder: Path, entries: Iterable[tuple[str, str, np.ndarray]]) -> None:
    """Write (kind, name, pixels) entries as a cache for `Pictures`; the index comes last, so half a cache is
    none."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, offset = [], 0
    with open(folder / "pictures.u8", "wb") as out:
        for kind, name, pixels in entries:
            rows.append({"kind": kind, "name": name, "shape": pixels.shape, "offset": offset})
            offset += out.write(np.ascontiguousarray(pixels, np.uint8).tobytes())
    part = folder / "index.json.part"
    part.write_text(json.dumps(rows))
    part.replace(folder / "index.json")
