"""The reference cases: deterministic weights and images (recipe.py), and the logits the authors' network
gives on them."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("golden_recipe", HERE / "recipe.py")
recipe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipe)


@dataclass(frozen=True)
class Case:
    """One file golden/BACKBONE_BxHxW_sSEED[_OPTION].npz."""

    name: str
    backbone: str
    shape: tuple[int, int, int]
    seed: int
    option: str

    @property
    def manifest(self) -> dict[str, list[int]]:
        option = f"_{self.option}" if self.option else ""
        return json.loads((HERE / "golden" / f"manifest_{self.backbone}{option}.json").read_text())

    def state_dict(self) -> dict[str, Tensor]:
        return {name: torch.from_numpy(recipe.tensor(name, shape, self.seed))
                for name, shape in self.manifest.items()
                if not name.endswith(("relative_position_index", "num_batches_tracked"))}

    def empty_state(self) -> dict[str, Tensor]:
        """Zeros of the state dict's names and shapes, where numbers do not count: made in no time."""
        return {name: torch.zeros(shape) for name, shape in self.manifest.items()
                if not name.endswith(("relative_position_index", "num_batches_tracked"))}

    def image(self) -> Tensor:
        return torch.from_numpy(recipe.image_batch(*self.shape, self.seed))

    def reference(self) -> dict[str, Tensor]:
        with np.load(HERE / "golden" / f"{self.name}.npz") as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}

    @property
    def overrides(self) -> dict[str, str]:
        """What tensors cannot tell."""
        return {"multi_scale": "add"} if self.option == "add" else {}


def parse(path: Path) -> Case:
    backbone, batch, height, width, seed, option = re.fullmatch(
        r"(\w+?)_(\d+)x(\d+)x(\d+)_s(\d+)(?:_(\w+))?", path.stem).groups()
    return Case(path.stem, backbone, (int(batch), int(height), int(width)), int(seed), option or "")


CASES = [parse(path) for path in sorted((HERE / "golden").glob("*.npz"))]
