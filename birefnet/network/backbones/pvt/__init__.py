"""PVT v2 as an encoder family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ....files.errors import CheckpointError
from ...family import Compose, Family, Shapes, count
from ...ops.normalize import first_stage_dtype
from .fused import FusedPVT
from .plain import Block, PyramidVisionTransformer

if TYPE_CHECKING:
    from ...config import Config

__all__ = ["PVTFamily"]

HEADS = (1, 2, 5, 8)  # of the authors' builds; tensors do not determine them


def build(width: int, depths: tuple[int, ...], ratios: tuple[int, ...] = (8, 8, 4, 4)) -> dict[str, object]:
    """Return fields of `Config` for one of the authors' builds. width: of the first stage."""
    widths = (32, 64, 160, 256) if width == 32 else (64, 128, 320, 512)
    return {"family": PVTFamily.name, "widths": widths, "depths": depths, "heads": HEADS,
            "mlp_ratios": ratios}


class PVTFamily(Family):
    """Pyramid Vision Transformers v2, recognised by the tensors of their patch embeddings."""

    name = "pvt_v2"
    blocks = (Block,)

    @property
    def builds(self) -> dict[str, dict[str, object]]:
        return {"pvt_v2_b0": build(32, (2, 2, 2, 2)), "pvt_v2_b1": build(64, (2, 2, 2, 2)),
                "pvt_v2_b2": build(64, (3, 4, 6, 3)), "pvt_v2_b5": build(64, (3, 6, 40, 3), (4, 4, 4, 4))}

    def recognises(self, shapes: Shapes, encoder: str) -> bool:
        return not encoder and any(name.startswith("bb.patch_embed1.") for name in shapes)

    def read(self, shapes: Shapes, encoder: str, heads: tuple[int, ...] | None) -> dict[str, object]:
        widths = tuple(shapes[f"bb.norm{i}.weight"][0] for i in range(1, 5))
        heads = heads or HEADS
        if len(heads) != 4 or any(width % number for width, number in zip(widths, heads)):
            raise CheckpointError("Pass heads=(…), or write \"birefnet.heads\" into the file's metadata",
                                  f"PVT v2 of widths {widths} cannot have {heads} attention heads, and "
                                  "shapes do not determine them")
        return {
            "family": self.name,
            "widths": widths,
            "depths": tuple(count(shapes, rf"bb\.block{i}\.(\d+)\.") for i in range(1, 5)),
            "heads": tuple(heads),
            "mlp_ratios": tuple(shapes[f"bb.block{i}.0.mlp.fc1.weight"][0] // width
                                for i, width in enumerate(widths, 1)),
            "reductions": tuple(shapes.get(f"bb.block{i}.0.attn.sr.weight", (1,))[-1] for i in range(1, 5)),
        }

    def build(self, config: Config) -> PyramidVisionTransformer:
        return PyramidVisionTransformer(config)

    def fuse(self, plain: PyramidVisionTransformer, compose: Compose) -> FusedPVT:
        return FusedPVT(plain)

    def plain_bytes(self, encoder: nn.Module, config: Config, size: tuple[int, int]) -> float:
        element = encoder.norm1.weight.element_size()
        return size[0] * size[1] / 16 * element * config.widths[0] * (6 * config.mlp_ratios[0] + 8)

    def inference_bytes(
        self, encoder: nn.Module, config: Config, size: tuple[int, int]
    ) -> tuple[float, float]:
        positions, width = size[0] * size[1] / 16, config.widths[0]
        first = first_stage_dtype(encoder.norm1.weight.dtype).itemsize
        alive = width * (2 * 4 + 2 + first)  # two float32 maps, the next stage's input, x1
        token_bytes = 12 * width + 2 * config.mlp_ratios[0] * width * first
        return positions * alive, positions * token_bytes

    def first_convolution(self, encoder: nn.Module) -> nn.Conv2d:
        return encoder.patch_embed1.proj
